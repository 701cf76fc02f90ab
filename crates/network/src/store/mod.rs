//! SQL. What leaves here are the types of [`crate::model`].

pub(crate) mod floating_ips;
pub(crate) mod groups;
pub(crate) mod list;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod quotas;
pub(crate) mod routers;
pub(crate) mod subnets;
pub(crate) mod tags;

use ferrostack_db::{Row, Tx, Value, placeholders};
use ferrostack_types::{Result, Timestamp};
use std::collections::HashMap;
use std::hash::Hash;

/// More values than this are looked up in several queries: databases limit how many a statement may have.
const IN_LIMIT: usize = 500;

/// `SELECT columns FROM tables WHERE key IN (keys)`, in as few queries as the number of keys allows.
pub(crate) fn fetch_in<K: Clone + Into<Value>, T>(
    tx: &mut Tx<'_>,
    select: &str,
    column: &str,
    order: &str,
    keys: &[K],
    mut map: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for chunk in keys.chunks(IN_LIMIT) {
        let values: Vec<Value> = chunk.iter().cloned().map(Into::into).collect();
        let sql = format!("{select} WHERE {column} IN ({}) {order}", placeholders(chunk.len()));
        found.append(&mut tx.query(&sql, &values, &mut map)?);
    }
    Ok(found)
}

/// Groups in the order of the rows.
pub(crate) fn group_by<K: Eq + Hash, V>(rows: impl IntoIterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in rows {
        groups.entry(key).or_default().push(value);
    }
    groups
}

/// Raises the revision of a row.
pub(crate) fn bump_in_tx(tx: &mut Tx<'_>, table: &'static str, id: impl Into<Value>, now: Timestamp) -> Result<()> {
    let sql = format!("UPDATE {table} SET revision = revision + 1, updated_at = ? WHERE id = ?");
    tx.execute(&sql, &[now.into(), id.into()]).map(drop)
}

/// JSON for a column.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
