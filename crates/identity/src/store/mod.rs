//! SQL. Rows become the plain structs here and never leave as rows.

pub(crate) mod app_credentials;
pub(crate) mod assignments;
pub(crate) mod catalog;
pub(crate) mod domains;
pub(crate) mod groups;
pub(crate) mod projects;
pub(crate) mod revocations;
pub(crate) mod roles;
pub(crate) mod users;

use serde_json::Value;

/// A JSON object.
pub(crate) type Map = serde_json::Map<String, Value>;

/// A JSON object as a column's value.
pub(crate) fn json(map: &Map) -> String {
    serde_json::to_string(map).unwrap_or_else(|_| "{}".to_owned())
}

/// Whether the options forbid changes.
pub(crate) fn is_immutable(options: &Map) -> bool {
    options.get("immutable") == Some(&Value::Bool(true))
}
