//! The Nova API: what comes in as text and goes out as JSON. No SQL and no rules here.

pub(crate) mod aggregates;
pub(crate) mod extensions;
pub(crate) mod flavors;
pub(crate) mod groups;
pub(crate) mod hosts;
pub(crate) mod keypairs;
pub(crate) mod quotas;
pub(crate) mod servers;
pub(crate) mod usage;
pub(crate) mod versions;

use ferrostack_rest::{PagingRules, Query};
use ferrostack_types::{Error, Result, SortDirection};
use serde_json::{Value, json};

/// Paging without an order that could be chosen.
pub(crate) const fn plain_paging(max: usize) -> PagingRules {
    PagingRules {
        sortable: &[],
        default_sort: &[],
        max_limit: Some(max),
        default_limit: None,
        default_direction: SortDirection::Asc,
    }
}

/// `self` and `bookmark`.
pub(crate) fn links(base: &str, collection: &str, id: &str) -> Value {
    json!([
        {"rel": "self", "href": format!("{base}/v2.1/{collection}/{id}")},
        {"rel": "bookmark", "href": format!("{base}/{collection}/{id}")},
    ])
}

/// A schema's way to say true or false, as Nova's clients do.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => Some(n.as_i64() == Some(1)),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
            "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A number that may come as text.
pub(crate) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// JSON Schema of a truth value.
pub(crate) fn boolean_schema() -> Value {
    json!({"type": ["boolean", "string"], "enum": [
        true, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t",
        false, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f"]})
}

/// JSON Schema of a name: no blanks at its ends, no control characters.
pub(crate) fn name_schema() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^(?!\\s)[^\\x00-\\x1f\\x7f]*(?<!\\s)$"})
}

/// JSON Schema of metadata.
pub(crate) fn metadata_schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "patternProperties": {
        "^[a-zA-Z0-9_:. /-]{1,255}$": {"type": "string", "maxLength": 255}}})
}

/// JSON Schema of a number that may come as text.
pub(crate) fn integer_schema(least: i64) -> Value {
    json!({"type": ["integer", "string"], "pattern": "^[0-9]+$", "minimum": least, "minLength": 1, "maximum": i32::MAX})
}

/// A number of a query that must not be negative.
pub(crate) fn query_number(query: &Query, key: &str) -> Result<Option<i64>> {
    let Some(text) = query.get(key) else { return Ok(None) };
    let number = text.parse::<i64>().ok().filter(|n| *n >= 0);
    let bad = || {
        Error::invalid(format!(
            "Invalid input for query parameters {key}. Value: {text}. '{text}' does not match '^[0-9]*$'"
        ))
    };
    number.map(Some).ok_or_else(bad)
}
