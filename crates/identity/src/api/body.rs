//! Reading bodies: known attributes are taken out one by one; what is left is kept as the client's own.

use crate::store::Map;
use ferrostack_rest::{Request, Schema};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};

/// The object under `key`, checked.
pub(crate) async fn object(request: &mut Request, key: &str, schema: &Schema) -> Result<Map> {
    let mut body = request.json().await?;
    schema.check(&body, None)?;
    match body.get_mut(key).map(Value::take) {
        Some(Value::Object(map)) => Ok(map),
        _ => Err(crate::errors::expecting(key, "request body")),
    }
}

/// A text; an explicit `null` counts as not given.
pub(crate) fn take_text(map: &mut Map, key: &str) -> Option<String> {
    match map.shift_remove(key) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Whether the key is there, and its text unless it is `null`.
pub(crate) fn take_nullable(map: &mut Map, key: &str) -> Option<Option<String>> {
    map.contains_key(key).then(|| take_text(map, key))
}

/// A truth value.
pub(crate) fn take_bool(map: &mut Map, key: &str) -> Option<bool> {
    match map.shift_remove(key) {
        Some(Value::Bool(value)) => Some(value),
        _ => None,
    }
}

/// A list of texts.
pub(crate) fn take_texts(map: &mut Map, key: &str) -> Option<Vec<String>> {
    match map.shift_remove(key) {
        Some(Value::Array(items)) => Some(items.into_iter().filter_map(|i| i.as_str().map(str::to_owned)).collect()),
        _ => None,
    }
}

/// An object.
pub(crate) fn take_object(map: &mut Map, key: &str) -> Option<Map> {
    match map.shift_remove(key) {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// Options as they are after an update: `null` takes one away.
pub(crate) fn merge_options(options: &mut Map, update: Option<Map>) {
    for (key, value) in update.into_iter().flatten() {
        if value.is_null() {
            options.shift_remove(&key);
        } else {
            options.insert(key, value);
        }
    }
}

/// The client's own attributes after an update; the ones that every answer makes itself are not kept.
pub(crate) fn merge_extra(extra: &mut Map, update: Map) {
    for (key, value) in update {
        if key != "links" && key != "id" {
            extra.insert(key, value);
        }
    }
}

/// 400 if the body names another id than the path.
pub(crate) fn same_id(map: &mut Map, id: &str) -> Result<()> {
    match map.shift_remove("id") {
        Some(Value::String(other)) if other != id => Err(Error::invalid("Cannot change ID")),
        _ => Ok(()),
    }
}

/// The schema of a body whose one member is `key`.
pub(crate) fn wrapped(key: &str, properties: Value, required: &[&str]) -> Schema {
    Schema::new(json!({
        "type": "object",
        "required": [key],
        "additionalProperties": false,
        "properties": {key: {
            "type": "object",
            "properties": properties,
            "required": required,
            "minProperties": 1,
            "additionalProperties": true,
        }},
    }))
}

/// A name of up to `length` characters, of which one is not a space.
pub(crate) fn name(length: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": length, "pattern": "[\\S]+"})
}

/// Options that know `immutable`.
pub(crate) fn immutable_options() -> Value {
    json!({
        "type": "object",
        "properties": {"immutable": {"type": ["boolean", "null"]}},
        "additionalProperties": false,
    })
}

/// An id as Keystone takes it from a client.
pub(crate) fn id() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"})
}

/// The same, or `null`.
pub(crate) fn nullable_id() -> Value {
    json!({"type": ["string", "null"], "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"})
}

/// Tags.
pub(crate) fn tags() -> Value {
    json!({
        "type": "array",
        "maxItems": 80,
        "uniqueItems": true,
        "items": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"},
    })
}

/// The client's own attributes of a new thing.
pub(crate) fn extra(given: Map) -> Map {
    let mut extra = Map::new();
    merge_extra(&mut extra, given);
    extra
}
