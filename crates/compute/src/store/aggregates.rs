//! `compute_aggregates`: named sets of hosts; those with `availability_zone` make the zones.

use super::{counter_take_in_tx, json};
use ferrostack_db::{Tx, params};
use ferrostack_types::{Result, Timestamp};
use std::collections::BTreeMap;
use uuid::Uuid;

/// An aggregate.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) id: u64,
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Option<Timestamp>,
}

impl Aggregate {
    /// The zone that its hosts are in.
    pub(crate) fn zone(&self) -> Option<&str> {
        self.metadata.get("availability_zone").map(String::as_str)
    }
}

/// All aggregates with their hosts.
pub(crate) fn aggregate_list_in_tx(tx: &mut Tx<'_>) -> Result<Vec<Aggregate>> {
    let mut aggregates = tx.query(
        "SELECT id, uuid, name, metadata, created_at, updated_at FROM compute_aggregates ORDER BY id",
        params![],
        |row| {
            Ok(Aggregate {
                id: row.get(0)?,
                uuid: row.get(1)?,
                name: row.get(2)?,
                metadata: row.json(3)?,
                hosts: Vec::new(),
                created_at: row.get(4)?,
                updated_at: row.get(5)?,
            })
        },
    )?;
    let hosts: Vec<(u64, String)> =
        tx.query("SELECT aggregate_id, host FROM compute_aggregate_hosts ORDER BY host", params![], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    for (id, host) in hosts {
        if let Some(aggregate) = aggregates.iter_mut().find(|a| a.id == id) {
            aggregate.hosts.push(host);
        }
    }
    Ok(aggregates)
}

/// One aggregate.
pub(crate) fn aggregate_fetch_in_tx(tx: &mut Tx<'_>, id: u64) -> Result<Option<Aggregate>> {
    Ok(aggregate_list_in_tx(tx)?.into_iter().find(|a| a.id == id))
}

/// Writes a new aggregate; its number.
pub(crate) fn aggregate_insert_in_tx(tx: &mut Tx<'_>, new: &Aggregate) -> Result<u64> {
    let id = counter_take_in_tx(tx, "aggregates", 1)?;
    tx.execute(
        "INSERT INTO compute_aggregates (id, uuid, name, metadata, created_at) VALUES (?, ?, ?, ?, ?)",
        params![id, new.uuid, &new.name, json(&new.metadata)?, new.created_at],
    )?;
    Ok(id)
}

/// Writes name and metadata.
pub(crate) fn aggregate_update_in_tx(tx: &mut Tx<'_>, aggregate: &Aggregate, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE compute_aggregates SET name = ?, metadata = ?, updated_at = ? WHERE id = ?",
        params![&aggregate.name, json(&aggregate.metadata)?, now, aggregate.id],
    )?;
    Ok(())
}

/// Takes an aggregate without hosts away.
pub(crate) fn aggregate_delete_in_tx(tx: &mut Tx<'_>, id: u64) -> Result<()> {
    tx.execute("DELETE FROM compute_aggregates WHERE id = ?", params![id])?;
    Ok(())
}

/// Puts a host in.
pub(crate) fn host_add_in_tx(tx: &mut Tx<'_>, id: u64, host: &str) -> Result<()> {
    tx.execute("INSERT INTO compute_aggregate_hosts (aggregate_id, host) VALUES (?, ?)", params![id, host])?;
    Ok(())
}

/// Takes a host out.
pub(crate) fn host_remove_in_tx(tx: &mut Tx<'_>, id: u64, host: &str) -> Result<()> {
    tx.execute("DELETE FROM compute_aggregate_hosts WHERE aggregate_id = ? AND host = ?", params![id, host])?;
    Ok(())
}

/// The zone of each host that is in an aggregate with one.
pub(crate) fn zones_in_tx(tx: &mut Tx<'_>) -> Result<BTreeMap<String, String>> {
    let mut zones = BTreeMap::new();
    for aggregate in aggregate_list_in_tx(tx)? {
        if let Some(zone) = aggregate.zone() {
            zones.extend(aggregate.hosts.iter().map(|host| (host.clone(), zone.to_owned())));
        }
    }
    Ok(zones)
}
