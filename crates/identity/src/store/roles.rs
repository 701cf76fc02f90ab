//! Roles, and which role implies which.

use super::{Map, json};
use ferrostack_db::{Row, Select, Tx, is_unique_violation, params};
use ferrostack_types::ids::{DomainId, RoleId};
use ferrostack_types::{Error, Result, SortDirection};
use std::collections::{BTreeMap, BTreeSet};

/// A role.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) id: RoleId,
    /// Set for a domain's own role, which only ever stands for the roles that it implies.
    pub(crate) domain_id: Option<DomainId>,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) options: Map,
    pub(crate) extra: Map,
}

const COLUMNS: &str = "SELECT id, domain_id, name, description, options, extra FROM identity_roles";

fn read(row: &Row<'_>) -> Result<Role> {
    // No domain is stored as an empty text: NULLs would not keep names unique.
    let domain: String = row.get(1)?;
    Ok(Role {
        id: row.get(0)?,
        domain_id: (!domain.is_empty()).then(|| DomainId::new(domain)),
        name: row.get(2)?,
        description: row.get(3)?,
        options: row.json(4)?,
        extra: row.json(5)?,
    })
}

fn domain_text(role: &Role) -> &str {
    role.domain_id.as_ref().map_or("", DomainId::as_str)
}

pub(crate) fn role_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<Role>> {
    tx.query_opt(&format!("{COLUMNS} WHERE id = ?"), params![id], read)
}

/// The role of this name that belongs to no domain.
pub(crate) fn role_fetch_by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Role>> {
    tx.query_opt(&format!("{COLUMNS} WHERE domain_id = '' AND name = ?"), params![name], read)
}

/// The roles of a domain, or those of none.
pub(crate) fn role_list(tx: &mut Tx<'_>, domain: Option<&str>, name: Option<&str>) -> Result<Vec<Role>> {
    Select::new(COLUMNS)
        .filter("domain_id = ?", domain.unwrap_or_default())
        .filter_opt("name = ?", name)
        .order("name", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read)
}

pub(crate) fn role_list_by_ids<'a>(tx: &mut Tx<'_>, ids: impl IntoIterator<Item = &'a RoleId>) -> Result<Vec<Role>> {
    Select::new(COLUMNS)
        .filter_in("id", ids)
        .order("name", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read)
}

pub(crate) fn role_insert(tx: &mut Tx<'_>, role: &Role) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_roles (id, domain_id, name, description, options, extra) VALUES (?, ?, ?, ?, ?, ?)",
        params![
            &role.id,
            domain_text(role),
            &role.name,
            role.description.as_ref(),
            json(&role.options),
            json(&role.extra)
        ],
    )
    .map(drop)
    .map_err(|e| duplicate(e, role))
}

pub(crate) fn role_update(tx: &mut Tx<'_>, role: &Role) -> Result<()> {
    tx.execute(
        "UPDATE identity_roles SET name = ?, description = ?, options = ?, extra = ? WHERE id = ?",
        params![&role.name, role.description.as_ref(), json(&role.options), json(&role.extra), &role.id],
    )
    .map(drop)
    .map_err(|e| duplicate(e, role))
}

/// The role with everything that names it.
pub(crate) fn role_delete(tx: &mut Tx<'_>, id: &RoleId) -> Result<()> {
    tx.execute("DELETE FROM identity_assignments WHERE role_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_implied_roles WHERE prior_id = ? OR implied_id = ?", params![id, id])?;
    tx.execute("DELETE FROM identity_application_credential_roles WHERE role_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_roles WHERE id = ?", params![id]).map(drop)
}

/// Which role implies which, directly.
pub(crate) fn implied_map(tx: &mut Tx<'_>) -> Result<BTreeMap<RoleId, BTreeSet<RoleId>>> {
    let mut map: BTreeMap<RoleId, BTreeSet<RoleId>> = BTreeMap::new();
    let rows = tx.query("SELECT prior_id, implied_id FROM identity_implied_roles", params![], |row| {
        Ok((row.get::<RoleId>(0)?, row.get::<RoleId>(1)?))
    })?;
    for (prior, implied) in rows {
        map.entry(prior).or_default().insert(implied);
    }
    Ok(map)
}

pub(crate) fn implied_list(tx: &mut Tx<'_>, prior: &RoleId) -> Result<Vec<Role>> {
    Select::new(COLUMNS)
        .filter("id IN (SELECT implied_id FROM identity_implied_roles WHERE prior_id = ?)", prior)
        .order("name", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read)
}

pub(crate) fn implied_exists(tx: &mut Tx<'_>, prior: &RoleId, implied: &RoleId) -> Result<bool> {
    tx.exists("SELECT 1 FROM identity_implied_roles WHERE prior_id = ? AND implied_id = ?", params![prior, implied])
}

pub(crate) fn implied_insert(tx: &mut Tx<'_>, prior: &RoleId, implied: &RoleId) -> Result<()> {
    if implied_exists(tx, prior, implied)? {
        return Ok(());
    }
    tx.execute("INSERT INTO identity_implied_roles (prior_id, implied_id) VALUES (?, ?)", params![prior, implied])
        .map(drop)
}

/// Whether there was such a rule.
pub(crate) fn implied_delete(tx: &mut Tx<'_>, prior: &RoleId, implied: &RoleId) -> Result<bool> {
    let gone = tx
        .execute("DELETE FROM identity_implied_roles WHERE prior_id = ? AND implied_id = ?", params![prior, implied])?;
    Ok(gone > 0)
}

fn duplicate(error: Error, role: &Role) -> Error {
    if is_unique_violation(&error) {
        return crate::errors::duplicate("role", &role.name);
    }
    error
}
