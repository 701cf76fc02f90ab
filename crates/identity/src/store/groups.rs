//! Groups and who is in them.

use super::{Map, json};
use ferrostack_db::{Row, Select, Tx, is_unique_violation, params};
use ferrostack_types::ids::{DomainId, GroupId, UserId};
use ferrostack_types::{Error, Result, SortDirection, Timestamp};

/// A group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) domain_id: DomainId,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) extra: Map,
}

const COLUMNS: &str = "SELECT id, domain_id, name, description, extra FROM identity_groups";

fn read(row: &Row<'_>) -> Result<Group> {
    Ok(Group {
        id: row.get(0)?,
        domain_id: row.get(1)?,
        name: row.get(2)?,
        description: row.get(3)?,
        extra: row.json(4)?,
    })
}

pub(crate) fn group_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<Group>> {
    tx.query_opt(&format!("{COLUMNS} WHERE id = ?"), params![id], read)
}

/// Groups by name: of a domain, of a name, of a user.
pub(crate) fn group_list(
    tx: &mut Tx<'_>,
    domain: Option<&str>,
    name: Option<&str>,
    user: Option<&UserId>,
) -> Result<Vec<Group>> {
    Select::new(COLUMNS)
        .filter_opt("domain_id = ?", domain)
        .filter_opt("name = ?", name)
        .filter_opt("id IN (SELECT group_id FROM identity_memberships WHERE user_id = ?)", user)
        .order("name", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read)
}

pub(crate) fn group_insert(tx: &mut Tx<'_>, group: &Group, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_groups (id, domain_id, name, description, extra, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        params![&group.id, &group.domain_id, &group.name, &group.description, json(&group.extra), now],
    )
    .map(drop)
    .map_err(|e| duplicate(e, group))
}

pub(crate) fn group_update(tx: &mut Tx<'_>, group: &Group) -> Result<()> {
    tx.execute(
        "UPDATE identity_groups SET name = ?, description = ?, extra = ? WHERE id = ?",
        params![&group.name, &group.description, json(&group.extra), &group.id],
    )
    .map(drop)
    .map_err(|e| duplicate(e, group))
}

/// The group with its memberships and assignments.
pub(crate) fn group_delete(tx: &mut Tx<'_>, id: &GroupId) -> Result<()> {
    tx.execute("DELETE FROM identity_assignments WHERE actor_kind = 'group' AND actor_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_memberships WHERE group_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_groups WHERE id = ?", params![id]).map(drop)
}

pub(crate) fn member_exists(tx: &mut Tx<'_>, group: &GroupId, user: &UserId) -> Result<bool> {
    tx.exists("SELECT 1 FROM identity_memberships WHERE user_id = ? AND group_id = ?", params![user, group])
}

pub(crate) fn member_insert(tx: &mut Tx<'_>, group: &GroupId, user: &UserId) -> Result<()> {
    if member_exists(tx, group, user)? {
        return Ok(());
    }
    tx.execute("INSERT INTO identity_memberships (user_id, group_id) VALUES (?, ?)", params![user, group]).map(drop)
}

/// Whether there was a membership.
pub(crate) fn member_delete(tx: &mut Tx<'_>, group: &GroupId, user: &UserId) -> Result<bool> {
    let gone =
        tx.execute("DELETE FROM identity_memberships WHERE user_id = ? AND group_id = ?", params![user, group])?;
    Ok(gone > 0)
}

fn duplicate(error: Error, group: &Group) -> Error {
    if is_unique_violation(&error) {
        return crate::errors::duplicate_in_domain("group", &group.name, &group.domain_id);
    }
    error
}
