//! `compute_groups`: servers that want to be together or apart.

use ferrostack_db::{Row, Select, Tx, params};
use ferrostack_types::ids::{ProjectId, ServerId, UserId};
use ferrostack_types::{Error, Result, SortDirection, Timestamp};
use std::collections::BTreeMap;

/// A server group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) project: ProjectId,
    pub(crate) user: UserId,
    pub(crate) name: String,
    /// `affinity`, `anti-affinity`, `soft-affinity`, `soft-anti-affinity`.
    pub(crate) policy: String,
    pub(crate) rules: BTreeMap<String, u64>,
    pub(crate) created_at: Timestamp,
}

impl Group {
    /// How many members one host may have.
    pub(crate) fn most_per_host(&self) -> u64 {
        self.rules.get("max_server_per_host").copied().unwrap_or(1)
    }
}

const SELECT: &str = "SELECT id, project_id, user_id, name, policy, rules, created_at FROM compute_groups";

fn read(row: &Row<'_>) -> Result<Group> {
    Ok(Group {
        id: row.get(0)?,
        project: row.get(1)?,
        user: row.get(2)?,
        name: row.get(3)?,
        policy: row.get(4)?,
        rules: row.json(5)?,
        created_at: row.get(6)?,
    })
}

/// A page of groups.
pub(crate) fn group_list_in_tx(
    tx: &mut Tx<'_>,
    project: Option<&ProjectId>,
    offset: usize,
    limit: Option<usize>,
) -> Result<Vec<Group>> {
    // This list is paged by offset in Nova's API, so the rows before it have to be read.
    let groups = Select::new(SELECT)
        .filter_opt("project_id = ?", project)
        .order("created_at", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .limit(limit.map(|l| l + offset))
        .fetch(tx, read)?;
    Ok(groups.into_iter().skip(offset).collect())
}

/// One group.
pub(crate) fn group_fetch_in_tx(tx: &mut Tx<'_>, id: &str) -> Result<Option<Group>> {
    Ok(Select::new(SELECT).filter("id = ?", id).fetch(tx, read)?.pop())
}

/// Writes a new group.
pub(crate) fn group_insert_in_tx(tx: &mut Tx<'_>, group: &Group) -> Result<()> {
    tx.execute(
        "INSERT INTO compute_groups (id, project_id, user_id, name, policy, rules, generation, created_at)
         VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
        params![
            &group.id,
            &group.project,
            &group.user,
            &group.name,
            &group.policy,
            super::json(&group.rules)?,
            group.created_at
        ],
    )?;
    Ok(())
}

/// Takes a group away; its servers stay and are free.
pub(crate) fn group_delete_in_tx(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.execute("UPDATE compute_servers SET group_id = NULL WHERE group_id = ?", params![id])?;
    tx.execute("DELETE FROM compute_groups WHERE id = ?", params![id])?;
    Ok(())
}

/// The live members of groups.
pub(crate) fn members_in_tx(tx: &mut Tx<'_>, groups: &[&str]) -> Result<BTreeMap<String, Vec<ServerId>>> {
    let mut members: BTreeMap<String, Vec<ServerId>> = BTreeMap::new();
    for chunk in groups.chunks(500) {
        let rows: Vec<(String, ServerId)> = Select::new("SELECT group_id, id FROM compute_servers")
            .filter_in("group_id", chunk.iter().copied())
            .filter_with("deleted_at IS NULL", [])
            .order("created_at", SortDirection::Asc)
            .order("id", SortDirection::Asc)
            .fetch(tx, |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (group, server) in rows {
            members.entry(group).or_default().push(server);
        }
    }
    Ok(members)
}

/// Holds a hard rule at the moment of a claim: the group's row is changed first, so that of two claims that run at the
/// same time the second sees the first. A retryable error sends the step back to look for another host.
pub(crate) fn group_claim_in_tx(
    tx: &mut Tx<'_>,
    group: &str,
    server: ServerId,
    node: ferrostack_types::ids::NodeId,
) -> Result<()> {
    tx.execute("UPDATE compute_groups SET generation = generation + 1 WHERE id = ?", params![group])?;
    let Some(found) = group_fetch_in_tx(tx, group)? else { return Ok(()) };
    let others = members_on_in_tx(tx, group, server)?;
    let here = others.iter().filter(|(host, _)| **host == node).map(|(_, count)| *count).sum::<u64>();
    let broken = match found.policy.as_str() {
        "anti-affinity" => here >= found.most_per_host(),
        "affinity" => !others.is_empty() && here == 0,
        _ => false,
    };
    if broken {
        return Err(Error::unavailable("The hosts of the server group have changed.").context("group claim"));
    }
    Ok(())
}

/// How many other live members of a group each host has.
pub(crate) fn members_on_in_tx(
    tx: &mut Tx<'_>,
    group: &str,
    except: ServerId,
) -> Result<BTreeMap<ferrostack_types::ids::NodeId, u64>> {
    let rows = tx.query(
        "SELECT node_id, COUNT(*) FROM compute_servers
         WHERE group_id = ? AND id <> ? AND deleted_at IS NULL AND node_id IS NOT NULL GROUP BY node_id",
        params![group, except],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(rows.into_iter().collect())
}
