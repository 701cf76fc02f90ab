//! Users.

use super::{Map, json};
use ferrostack_db::{Row, Select, Tx, is_unique_violation, params};
use ferrostack_types::ids::{DomainId, GroupId, ProjectId, UserId};
use ferrostack_types::{Error, Result, SortDirection, Timestamp};

/// A user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) domain_id: DomainId,
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) default_project_id: Option<ProjectId>,
    /// Never leaves this crate.
    pub(crate) password_hash: Option<String>,
    pub(crate) options: Map,
    pub(crate) extra: Map,
    /// Tokens that were issued in this second or earlier are void.
    pub(crate) revoked_before: i64,
}

const COLUMNS: &str = "SELECT id, domain_id, name, enabled, default_project_id, password_hash, options, extra, \
                       revoked_before FROM identity_users";

fn read(row: &Row<'_>) -> Result<User> {
    Ok(User {
        id: row.get(0)?,
        domain_id: row.get(1)?,
        name: row.get(2)?,
        enabled: row.get(3)?,
        default_project_id: row.get(4)?,
        password_hash: row.get(5)?,
        options: row.json(6)?,
        extra: row.json(7)?,
        revoked_before: row.get(8)?,
    })
}

pub(crate) fn user_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<User>> {
    tx.query_opt(&format!("{COLUMNS} WHERE id = ?"), params![id], read)
}

pub(crate) fn user_fetch_by_name(tx: &mut Tx<'_>, domain: &DomainId, name: &str) -> Result<Option<User>> {
    tx.query_opt(&format!("{COLUMNS} WHERE domain_id = ? AND name = ?"), params![domain, name], read)
}

pub(crate) fn user_list(
    tx: &mut Tx<'_>,
    domain: Option<&str>,
    name: Option<&str>,
    enabled: Option<bool>,
) -> Result<Vec<User>> {
    Select::new(COLUMNS)
        .filter_opt("domain_id = ?", domain)
        .filter_opt("name = ?", name)
        .filter_opt("enabled = ?", enabled)
        .order("name", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read)
}

pub(crate) fn user_list_of_group(tx: &mut Tx<'_>, group: &GroupId) -> Result<Vec<User>> {
    Select::new(COLUMNS)
        .filter("id IN (SELECT user_id FROM identity_memberships WHERE group_id = ?)", group)
        .order("name", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read)
}

pub(crate) fn user_insert(tx: &mut Tx<'_>, user: &User, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_users (id, domain_id, name, enabled, default_project_id, password_hash, options, extra, \
         revoked_before, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            &user.id,
            &user.domain_id,
            &user.name,
            user.enabled,
            user.default_project_id.as_ref(),
            user.password_hash.as_ref(),
            json(&user.options),
            json(&user.extra),
            user.revoked_before,
            now
        ],
    )
    .map(drop)
    .map_err(|e| duplicate(e, user))
}

pub(crate) fn user_update(tx: &mut Tx<'_>, user: &User) -> Result<()> {
    tx.execute(
        "UPDATE identity_users SET name = ?, enabled = ?, default_project_id = ?, password_hash = ?, options = ?, \
         extra = ?, revoked_before = ? WHERE id = ?",
        params![
            &user.name,
            user.enabled,
            user.default_project_id.as_ref(),
            user.password_hash.as_ref(),
            json(&user.options),
            json(&user.extra),
            user.revoked_before,
            &user.id
        ],
    )
    .map(drop)
    .map_err(|e| duplicate(e, user))
}

/// The user with their memberships, assignments and application credentials.
pub(crate) fn user_delete(tx: &mut Tx<'_>, id: &UserId) -> Result<()> {
    super::app_credentials::app_credentials_delete_of_user(tx, id)?;
    tx.execute("DELETE FROM identity_assignments WHERE actor_kind = 'user' AND actor_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_memberships WHERE user_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_users WHERE id = ?", params![id]).map(drop)
}

fn duplicate(error: Error, user: &User) -> Error {
    if is_unique_violation(&error) {
        return crate::errors::duplicate_in_domain("user", &user.name, &user.domain_id);
    }
    error
}
