//! `/v2/schemas`: what images and members look like, for clients that ask.

use crate::Images;
use crate::model::{CONTAINER_FORMATS, DISK_FORMATS};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Arc;

fn or_null(values: &[&str]) -> Vec<Value> {
    std::iter::once(Value::Null).chain(values.iter().map(|v| json!(v))).collect()
}

/// The properties of an image.
pub(crate) fn image_properties() -> Value {
    json!({
        "id": {
            "type": "string",
            "description": "An identifier for the image",
            "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$",
        },
        "name": {"type": ["null", "string"], "description": "The image's name", "maxLength": 255},
        "status": {
            "type": "string", "readOnly": true, "description": "Where the image is in its life",
            "enum": ["queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete",
                     "deactivated"],
        },
        "visibility": {
            "type": "string", "description": "Who may use the image",
            "enum": ["community", "public", "private", "shared"],
        },
        "protected": {"type": "boolean", "description": "Whether the image refuses to be deleted"},
        "os_hidden": {"type": "boolean", "description": "Whether lists leave the image out"},
        "checksum": {
            "type": ["null", "string"], "readOnly": true, "description": "MD5 of the image's data", "maxLength": 32,
        },
        "os_hash_algo": {
            "type": ["null", "string"], "readOnly": true, "description": "The algorithm of os_hash_value",
            "maxLength": 64,
        },
        "os_hash_value": {
            "type": ["null", "string"], "readOnly": true, "description": "Digest of the image's data", "maxLength": 128,
        },
        "owner": {"type": ["null", "string"], "description": "The project that owns the image", "maxLength": 255},
        "size": {"type": ["null", "integer"], "readOnly": true, "description": "Bytes of the image's data"},
        "virtual_size": {
            "type": ["null", "integer"], "readOnly": true, "description": "Bytes of the disk in the image",
        },
        "container_format": {
            "type": ["null", "string"], "description": "What is around the disk", "enum": or_null(&CONTAINER_FORMATS),
        },
        "disk_format": {
            "type": ["null", "string"], "description": "The disk's format", "enum": or_null(&DISK_FORMATS),
        },
        "created_at": {"type": "string", "readOnly": true, "description": "When the image was made"},
        "updated_at": {"type": "string", "readOnly": true, "description": "When the image was last changed"},
        "tags": {
            "type": "array", "description": "Words about the image", "items": {"type": "string", "maxLength": 255},
        },
        "direct_url": {"type": "string", "readOnly": true, "description": "Where the data is"},
        "min_ram": {
            "type": "integer", "description": "MB of memory that a guest must have", "minimum": 0,
            "maximum": 2147483647,
        },
        "min_disk": {
            "type": "integer", "description": "GB of disk that a guest must have", "minimum": 0, "maximum": 2147483647,
        },
        "self": {"type": "string", "readOnly": true, "description": "The image's URL"},
        "file": {"type": "string", "readOnly": true, "description": "The URL of the image's data"},
        "stores": {"type": "string", "readOnly": true, "description": "The stores that hold the data"},
        "schema": {"type": "string", "readOnly": true, "description": "The URL of this schema"},
        "locations": {
            "type": "array", "description": "Where the data is",
            "items": {
                "type": "object", "required": ["url", "metadata"],
                "properties": {"url": {"type": "string", "maxLength": 255}, "metadata": {"type": "object"}},
            },
        },
    })
}

fn image_schema() -> Value {
    json!({
        "name": "image",
        "properties": image_properties(),
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

fn member_schema() -> Value {
    json!({
        "name": "member",
        "properties": {
            "created_at": {"type": "string", "description": "When the image was shared"},
            "updated_at": {"type": "string", "description": "When that was last changed"},
            "image_id": {
                "type": "string",
                "description": "The image",
                "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$",
            },
            "member_id": {"type": "string", "description": "The project that the image is shared with"},
            "status": {
                "type": "string", "description": "What the project says to it",
                "enum": ["pending", "accepted", "rejected"],
            },
            "schema": {"readOnly": true, "type": "string"},
        },
    })
}

fn collection(name: &str, of: Value, paged: bool) -> Value {
    let mut properties = json!({
        name: {"type": "array", "items": of},
        "schema": {"type": "string"},
    });
    let mut links = vec![json!({"rel": "describedby", "href": "{schema}"})];
    if paged {
        properties["first"] = json!({"type": "string"});
        properties["next"] = json!({"type": "string"});
        links.insert(0, json!({"rel": "first", "href": "{first}"}));
        links.insert(1, json!({"rel": "next", "href": "{next}"}));
    }
    json!({"name": name, "properties": properties, "links": links})
}

fn answer(request: &Request, schema: &Value) -> Result<Reply> {
    request.authorize(&Target::none())?;
    Ok(Reply::ok(schema))
}

/// `GET /v2/schemas/image`
pub async fn image(_: Arc<Images>, request: Request) -> Result<Reply> {
    answer(&request, &image_schema())
}

/// `GET /v2/schemas/images`
pub async fn images(_: Arc<Images>, request: Request) -> Result<Reply> {
    answer(&request, &collection("images", image_schema(), true))
}

/// `GET /v2/schemas/member`
pub async fn member(_: Arc<Images>, request: Request) -> Result<Reply> {
    answer(&request, &member_schema())
}

/// `GET /v2/schemas/members`
pub async fn members(_: Arc<Images>, request: Request) -> Result<Reply> {
    answer(&request, &collection("members", member_schema(), false))
}
