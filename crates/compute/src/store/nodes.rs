//! `compute_nodes`: the hosts.

use super::{counter_take_in_tx, json};
use ferrostack_contracts::node::NodeInfo;
use ferrostack_db::{Row, Select, Tx, params};
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Error, Result, SortDirection, Timestamp};
use uuid::Uuid;

/// A host as it last introduced itself, and what administrators say about it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// The number that old microversions know it by.
    pub(crate) number: u64,
    /// The id of its `nova-compute` service in the API.
    pub(crate) service_id: Uuid,
    pub(crate) name: String,
    pub(crate) info: NodeInfo,
    pub(crate) disabled: bool,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) forced_down: bool,
    pub(crate) heartbeat_at: Timestamp,
}

impl Node {
    /// Whether it has been heard of lately and nobody says otherwise.
    pub(crate) fn is_up(&self, now: Timestamp, down_after: std::time::Duration) -> bool {
        !self.forced_down && now.since(self.heartbeat_at) < down_after
    }
}

const SELECT: &str = "SELECT id, number, service_id, name, info, disabled, disabled_reason, forced_down, heartbeat_at
    FROM compute_nodes";

fn read(row: &Row<'_>) -> Result<Node> {
    Ok(Node {
        id: row.get(0)?,
        number: row.get(1)?,
        service_id: row.get(2)?,
        name: row.get(3)?,
        info: row.json(4)?,
        disabled: row.get(5)?,
        disabled_reason: row.get(6)?,
        forced_down: row.get(7)?,
        heartbeat_at: row.get(8)?,
    })
}

/// All hosts by name.
pub(crate) fn node_list_in_tx(tx: &mut Tx<'_>) -> Result<Vec<Node>> {
    Select::new(SELECT).order("name", SortDirection::Asc).fetch(tx, read)
}

/// One host.
pub(crate) fn node_fetch_in_tx(tx: &mut Tx<'_>, id: NodeId) -> Result<Option<Node>> {
    Ok(Select::new(SELECT).filter("id = ?", id).fetch(tx, read)?.pop())
}

/// Writes down that a host is there. A host of the same name with another id is refused.
pub(crate) fn node_upsert_in_tx(tx: &mut Tx<'_>, info: &NodeInfo, service_id: Uuid, now: Timestamp) -> Result<()> {
    let namesake: Option<NodeId> =
        tx.query_opt("SELECT id FROM compute_nodes WHERE name = ?", params![&info.name], |row| row.get(0))?;
    if namesake.is_some_and(|id| id != info.id) {
        return Err(Error::conflict("Another host has this name.").context(format!("host {} {}", info.name, info.id)));
    }
    let text = json(info)?;
    let changed = tx.execute(
        "UPDATE compute_nodes SET name = ?, info = ?, heartbeat_at = ? WHERE id = ?",
        params![&info.name, &text, now, info.id],
    )?;
    if changed == 0 {
        let number = counter_take_in_tx(tx, "nodes", 1)?;
        tx.execute(
            "INSERT INTO compute_nodes (id, number, service_id, name, info, disabled, disabled_reason, forced_down,
                 heartbeat_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?, 0, NULL, 0, ?, ?, ?)",
            params![info.id, number, service_id, &info.name, &text, now, now, now],
        )?;
    }
    Ok(())
}

/// What administrators say about a host.
pub(crate) fn node_administer_in_tx(tx: &mut Tx<'_>, node: &Node, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE compute_nodes SET disabled = ?, disabled_reason = ?, forced_down = ?, updated_at = ? WHERE id = ?",
        params![node.disabled, node.disabled_reason.as_deref(), node.forced_down, now, node.id],
    )?;
    Ok(())
}

/// Forgets a host that has no servers. Guests that it had yet to take away are gone with it: theirs are the ids.
pub(crate) fn node_delete_in_tx(tx: &mut Tx<'_>, node: &Node) -> Result<Vec<ServerId>> {
    let left =
        tx.query("SELECT server_id FROM compute_guests WHERE node_id = ? AND pending = 1", params![node.id], |row| {
            row.get(0)
        })?;
    tx.execute("UPDATE compute_guests SET want = 'absent', pending = 0 WHERE node_id = ?", params![node.id])?;
    tx.execute("DELETE FROM compute_aggregate_hosts WHERE host = ?", params![&node.name])?;
    tx.execute("DELETE FROM compute_nodes WHERE id = ?", params![node.id])?;
    Ok(left)
}
