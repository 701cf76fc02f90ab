//! The operations of a transaction (RFC 7047, section 5.2).

use super::{Atom, Datum};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Columns with values.
pub type Columns<'a> = &'a [(&'a str, Datum)];

fn row<'a>(columns: impl IntoIterator<Item = (&'a str, &'a Datum)>) -> Value {
    Value::Object(columns.into_iter().map(|(name, datum)| (name.to_owned(), datum.to_json())).collect::<Map<_, _>>())
}

fn where_uuid(uuid: Uuid) -> Value {
    json!([["_uuid", "==", Atom::Uuid(uuid).to_json()]])
}

/// A new row with an UUID of our choosing: a second insert of the same row is refused, so two control nodes that have
/// the same idea cannot make two rows of it (an extension of ovsdb-server(7)). A row must not have the UUID of a row that
/// refers to it: ovsdb-server takes that for a reference to itself, whatever the tables, and collects the row as garbage.
pub fn insert<'a>(table: &str, uuid: Uuid, columns: impl IntoIterator<Item = (&'a str, &'a Datum)>) -> Value {
    json!({"op": "insert", "table": table, "uuid": uuid.hyphenated().to_string(), "row": row(columns)})
}

/// Sets columns of a row.
pub fn update<'a>(table: &str, uuid: Uuid, columns: impl IntoIterator<Item = (&'a str, &'a Datum)>) -> Value {
    json!({"op": "update", "table": table, "where": where_uuid(uuid), "row": row(columns)})
}

/// Changes columns of a row in place: `(column, mutator, value)`, e.g. `("ports", "insert", ...)`.
pub fn mutate(table: &str, uuid: Uuid, mutations: &[(&str, &str, Datum)]) -> Value {
    let mutations: Vec<Value> =
        mutations.iter().map(|(column, how, what)| json!([column, how, what.to_json()])).collect();
    json!({"op": "mutate", "table": table, "where": where_uuid(uuid), "mutations": mutations})
}

/// Removes keys from a map column of a row.
pub fn remove_keys<'a>(table: &str, uuid: Uuid, column: &str, keys: impl IntoIterator<Item = &'a str>) -> Value {
    let keys: Vec<&str> = keys.into_iter().collect();
    json!({"op": "mutate", "table": table, "where": where_uuid(uuid), "mutations": [[column, "delete", ["set", keys]]]})
}

/// Deletes a row.
pub fn delete(table: &str, uuid: Uuid) -> Value {
    json!({"op": "delete", "table": table, "where": where_uuid(uuid)})
}

/// Refuses the transaction unless the row has exactly these values now.
pub fn expect<'a>(table: &str, uuid: Uuid, columns: impl IntoIterator<Item = (&'a str, &'a Datum)>) -> Value {
    let columns: Vec<_> = columns.into_iter().collect();
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    json!({
        "op": "wait", "timeout": 0, "table": table, "where": where_uuid(uuid),
        "columns": names, "until": "==", "rows": [row(columns)],
    })
}

/// Whether an operation of this form should have found its row. A delete may find it gone.
pub(crate) fn must_match(operation: &Value) -> bool {
    matches!(operation["op"].as_str(), Some("update" | "mutate"))
}
