//! What requests must look like.

use crate::microversions::*;
use ferrostack_rest::Schema;
use ferrostack_types::Microversion;
use serde_json::{Value, json};
use std::sync::LazyLock;

const MAX_INT: u64 = 0x7FFF_FFFF;
/// The largest float of single precision: what an allocation ratio may be.
const MAX_RATIO: f64 = 3.402_823_466_385_288_6e38;
const UUID: &str = "^[a-fA-F0-9-]{36}$";
const NAME: &str = "^[A-Z0-9_]+$";

fn provider(with_uuid: bool, with_parent: bool) -> Schema {
    let mut properties = json!({"name": {"type": "string", "maxLength": 200, "minLength": 1}});
    if with_uuid {
        properties["uuid"] = json!({"type": "string", "format": "uuid"});
    }
    if with_parent {
        properties["parent_provider_uuid"] = json!({"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]});
    }
    Schema::new(
        json!({"type": "object", "properties": properties, "required": ["name"], "additionalProperties": false}),
    )
}

/// `POST /resource_providers`
pub fn create_provider(version: Microversion) -> &'static Schema {
    static OLD: LazyLock<Schema> = LazyLock::new(|| provider(true, false));
    static NEW: LazyLock<Schema> = LazyLock::new(|| provider(true, true));
    if version >= V14_TREES { &NEW } else { &OLD }
}

/// `PUT /resource_providers/{uuid}`
pub fn update_provider(version: Microversion) -> &'static Schema {
    static OLD: LazyLock<Schema> = LazyLock::new(|| provider(false, false));
    static NEW: LazyLock<Schema> = LazyLock::new(|| provider(false, true));
    if version >= V14_TREES { &NEW } else { &OLD }
}

fn inventory(required: &[&str], more: Option<(&str, Value)>) -> Value {
    let integer = |least: u64| json!({"type": "integer", "minimum": least, "maximum": MAX_INT});
    let mut properties = json!({
        "resource_provider_generation": {"type": "integer"},
        "total": integer(1),
        "reserved": integer(0),
        "min_unit": integer(1),
        "max_unit": integer(1),
        "step_size": integer(1),
        "allocation_ratio": {"type": "number", "maximum": MAX_RATIO, "minimum": 0},
    });
    if let Some((name, schema)) = more {
        properties[name] = schema;
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// `POST .../inventories`
pub static CREATE_INVENTORY: LazyLock<Schema> = LazyLock::new(|| {
    let class = json!({"type": "string", "pattern": NAME});
    Schema::new(inventory(&["total", "resource_class"], Some(("resource_class", class))))
});

/// `PUT .../inventories/{resource_class}`
pub static UPDATE_INVENTORY: LazyLock<Schema> =
    LazyLock::new(|| Schema::new(inventory(&["total", "resource_provider_generation"], None)));

fn inventories() -> Value {
    json!({
        "type": "object",
        "properties": {
            "resource_provider_generation": {"type": "integer"},
            "inventories": {
                "type": "object",
                "patternProperties": {NAME: inventory(&["total"], None)},
                "additionalProperties": false,
            },
        },
        "required": ["resource_provider_generation", "inventories"],
        "additionalProperties": false,
    })
}

/// `PUT .../inventories`
pub static SET_INVENTORIES: LazyLock<Schema> = LazyLock::new(|| Schema::new(inventories()));

/// `PUT .../aggregates`
pub fn aggregates(version: Microversion) -> &'static Schema {
    fn list() -> Value {
        json!({"type": "array", "items": {"type": "string", "format": "uuid"}, "uniqueItems": true})
    }
    static OLD: LazyLock<Schema> = LazyLock::new(|| Schema::new(list()));
    static NEW: LazyLock<Schema> = LazyLock::new(|| {
        Schema::new(json!({
            "type": "object",
            "properties": {"aggregates": list(), "resource_provider_generation": {"type": "integer"}},
            "required": ["aggregates", "resource_provider_generation"],
            "additionalProperties": false,
        }))
    });
    if version >= V19_AGGREGATE_GENERATION { &NEW } else { &OLD }
}

/// `PUT .../traits`
pub static TRAITS: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({
        "type": "object",
        "properties": {
            "traits": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}},
            "resource_provider_generation": {"type": "integer"},
        },
        "required": ["traits", "resource_provider_generation"],
        "additionalProperties": false,
    }))
});

/// `POST /resource_classes`, and `PUT /resource_classes/{name}` up to 1.6
pub static CLASS: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({
        "type": "object",
        "properties": {"name": {"type": "string", "pattern": "^CUSTOM_[A-Z0-9_]+$", "maxLength": 255}},
        "required": ["name"],
        "additionalProperties": false,
    }))
});

fn resources() -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "patternProperties": {NAME: {"type": "integer", "minimum": 1, "maximum": MAX_INT}},
        "additionalProperties": false,
    })
}

/// One consumer's allocations at a microversion; `deletable` if none may be given.
fn consumer(version: Microversion, deletable: bool) -> Value {
    let text = || json!({"type": "string", "minLength": 1, "maxLength": 255});
    let mut required = vec!["allocations"];
    let allocations = if version >= V12_ALLOCATIONS_DICT {
        json!({
            "type": "object",
            "minProperties": u64::from(!deletable),
            "patternProperties": {UUID: {
                "type": "object",
                "properties": {"generation": {"type": "integer"}, "resources": resources()},
                "required": ["resources"],
                "additionalProperties": false,
            }},
            "additionalProperties": false,
        })
    } else {
        json!({
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "resource_provider": {
                        "type": "object",
                        "properties": {"uuid": {"type": "string", "format": "uuid"}},
                        "required": ["uuid"],
                        "additionalProperties": false,
                    },
                    "resources": resources(),
                },
                "required": ["resource_provider", "resources"],
                "additionalProperties": false,
            },
        })
    };
    let mut properties = json!({"allocations": allocations});
    if version >= V8_OWNER {
        properties["project_id"] = text();
        properties["user_id"] = text();
        required.extend(["project_id", "user_id"]);
    }
    if version >= V28_CONSUMER_GENERATION {
        properties["consumer_generation"] = json!({"type": ["integer", "null"]});
        required.push("consumer_generation");
    }
    if version >= V34_MAPPINGS {
        properties["mappings"] = json!({
            "type": "object",
            "minProperties": 1,
            "patternProperties": {"": {
                "type": "array", "minItems": 1, "items": {"type": "string", "format": "uuid"},
            }},
        });
    }
    if version >= V38_CONSUMER_TYPE {
        properties["consumer_type"] = json!({"type": "string", "pattern": NAME, "minLength": 1, "maxLength": 255});
        required.push("consumer_type");
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn consumers(version: Microversion, least: u64) -> Value {
    json!({
        "type": "object",
        "minProperties": least,
        "patternProperties": {UUID: consumer(version, true)},
        "additionalProperties": false,
    })
}

/// The versions at which the form of allocations changes, newest first.
const FORMS: [Microversion; 6] =
    [V38_CONSUMER_TYPE, V34_MAPPINGS, V28_CONSUMER_GENERATION, V12_ALLOCATIONS_DICT, V8_OWNER, V0];

fn form(version: Microversion) -> usize {
    FORMS.iter().position(|since| version >= *since).unwrap_or(FORMS.len() - 1)
}

/// `PUT /allocations/{consumer_uuid}`
pub fn set_allocations(version: Microversion) -> &'static Schema {
    static ALL: LazyLock<Vec<Schema>> =
        LazyLock::new(|| FORMS.iter().map(|v| Schema::new(consumer(*v, *v >= V28_CONSUMER_GENERATION))).collect());
    &ALL[form(version)]
}

/// `POST /allocations`
pub fn set_many_allocations(version: Microversion) -> &'static Schema {
    static ALL: LazyLock<Vec<Schema>> = LazyLock::new(|| FORMS.iter().map(|v| Schema::new(consumers(*v, 1))).collect());
    &ALL[form(version)]
}

/// `POST /reshaper`
pub fn reshape(version: Microversion) -> &'static Schema {
    static ALL: LazyLock<Vec<Schema>> = LazyLock::new(|| {
        let schema = |v: &Microversion| {
            Schema::new(json!({
                "type": "object",
                "properties": {
                    "inventories": {
                        "type": "object",
                        "patternProperties": {UUID: inventories()},
                        "minProperties": 1,
                        "additionalProperties": false,
                    },
                    "allocations": consumers(*v, 0),
                },
                "required": ["inventories", "allocations"],
                "additionalProperties": false,
            }))
        };
        FORMS.iter().map(schema).collect()
    });
    &ALL[form(version)]
}
