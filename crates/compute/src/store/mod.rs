//! SQL. Rows never leave as rows.

pub(crate) mod actions;
pub(crate) mod aggregates;
pub(crate) mod consoles;
pub(crate) mod flavors;
pub(crate) mod groups;
pub(crate) mod guests;
pub(crate) mod keypairs;
pub(crate) mod nodes;
pub(crate) mod quotas;
pub(crate) mod servers;

use ferrostack_db::{Tx, params};
use ferrostack_types::{Error, Result};
use serde::Serialize;

/// The next `count` numbers of a counter; the first of them.
pub(crate) fn counter_take_in_tx(tx: &mut Tx<'_>, name: &'static str, count: u64) -> Result<u64> {
    let changed = tx.execute("UPDATE compute_counters SET value = value + ? WHERE name = ?", params![count, name])?;
    if changed == 0 {
        tx.execute("INSERT INTO compute_counters (name, value) VALUES (?, ?)", params![name, count])?;
    }
    let last: u64 = tx.scalar("SELECT value FROM compute_counters WHERE name = ?", params![name])?;
    Ok(last + 1 - count)
}

/// JSON for a column.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::from_source("write a column's JSON", e))
}
