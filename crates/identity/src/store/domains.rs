//! Domains.

use super::{Map, json};
use ferrostack_db::{Row, Select, Tx, is_foreign_key_violation, is_unique_violation, params};
use ferrostack_types::ids::DomainId;
use ferrostack_types::{Error, Result, SortDirection, Timestamp};

/// A domain.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) id: DomainId,
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
    pub(crate) options: Map,
    pub(crate) extra: Map,
    /// Tokens that were issued in this second or earlier are void.
    pub(crate) revoked_before: i64,
}

const COLUMNS: &str =
    "SELECT id, name, enabled, description, tags, options, extra, revoked_before FROM identity_domains";

fn read(row: &Row<'_>) -> Result<Domain> {
    Ok(Domain {
        id: row.get(0)?,
        name: row.get(1)?,
        enabled: row.get(2)?,
        description: row.get(3)?,
        tags: row.json(4)?,
        options: row.json(5)?,
        extra: row.json(6)?,
        revoked_before: row.get(7)?,
    })
}

pub(crate) fn domain_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<Domain>> {
    tx.query_opt(&format!("{COLUMNS} WHERE id = ?"), params![id], read)
}

pub(crate) fn domain_fetch_by_name(tx: &mut Tx<'_>, name: &str) -> Result<Option<Domain>> {
    tx.query_opt(&format!("{COLUMNS} WHERE name = ?"), params![name], read)
}

/// Domains, by name and state if asked, `only` one if the caller may see no other.
pub(crate) fn domain_list(
    tx: &mut Tx<'_>,
    name: Option<&str>,
    enabled: Option<bool>,
    only: Option<&str>,
) -> Result<Vec<Domain>> {
    Select::new(COLUMNS)
        .filter_opt("name = ?", name)
        .filter_opt("enabled = ?", enabled)
        .filter_opt("id = ?", only)
        .order("name", SortDirection::Asc)
        .fetch(tx, read)
}

pub(crate) fn domain_list_by_ids(tx: &mut Tx<'_>, ids: &[DomainId]) -> Result<Vec<Domain>> {
    Select::new(COLUMNS).filter_in("id", ids).order("name", SortDirection::Asc).fetch(tx, read)
}

pub(crate) fn domain_insert(tx: &mut Tx<'_>, domain: &Domain, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_domains (id, name, enabled, description, tags, options, extra, revoked_before, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            &domain.id,
            &domain.name,
            domain.enabled,
            &domain.description,
            tags(domain),
            json(&domain.options),
            json(&domain.extra),
            domain.revoked_before,
            now
        ],
    )
    .map(drop)
    .map_err(|e| duplicate(e, domain))
}

pub(crate) fn domain_update(tx: &mut Tx<'_>, domain: &Domain) -> Result<()> {
    tx.execute(
        "UPDATE identity_domains SET name = ?, enabled = ?, description = ?, tags = ?, options = ?, extra = ?, \
         revoked_before = ? WHERE id = ?",
        params![
            &domain.name,
            domain.enabled,
            &domain.description,
            tags(domain),
            json(&domain.options),
            json(&domain.extra),
            domain.revoked_before,
            &domain.id
        ],
    )
    .map(drop)
    .map_err(|e| duplicate(e, domain))
}

/// The row alone; what belongs to the domain goes first.
pub(crate) fn domain_delete(tx: &mut Tx<'_>, id: &DomainId) -> Result<()> {
    tx.execute("DELETE FROM identity_domains WHERE id = ?", params![id]).map(drop).map_err(|e| {
        if is_foreign_key_violation(&e) { Error::conflict("The domain is not empty.").with_source(text(&e)) } else { e }
    })
}

fn text(error: &Error) -> String {
    error.internal_text()
}

fn tags(domain: &Domain) -> String {
    serde_json::to_string(&domain.tags).unwrap_or_else(|_| "[]".to_owned())
}

fn duplicate(error: Error, domain: &Domain) -> Error {
    if !is_unique_violation(&error) {
        return error;
    }
    crate::errors::conflict(
        "project",
        format!("it is not permitted to have two projects acting as domains with the same name: {}", domain.name),
    )
}
