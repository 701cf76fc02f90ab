//! What an image looks like.

use crate::model::Image;
use serde_json::{Map, Value, json};

/// An image. Extra properties stand beside the others; they can never have the others' names.
pub fn image(image: &Image) -> Value {
    let i = image;
    let mut view: Map<String, Value> = Map::new();
    for (name, value) in &i.properties {
        view.insert(name.clone(), json!(value));
    }
    let fixed = json!({
        "name": i.name,
        "disk_format": i.disk_format,
        "container_format": i.container_format,
        "visibility": i.visibility.as_str(),
        "size": i.size,
        "virtual_size": i.virtual_size,
        "status": i.status.as_str(),
        "checksum": i.checksum,
        "protected": i.protected,
        "min_ram": i.min_ram,
        "min_disk": i.min_disk,
        "owner": i.owner,
        "os_hidden": i.os_hidden,
        "os_hash_algo": i.sha512.as_ref().map(|_| "sha512"),
        "os_hash_value": i.sha512,
        "id": i.id.to_string(),
        "created_at": i.created_at.to_iso(),
        "updated_at": i.updated_at.to_iso(),
        "tags": i.tags,
        "self": format!("/v2/images/{}", i.id),
        "file": format!("/v2/images/{}/file", i.id),
        "schema": "/v2/schemas/image",
    });
    if let Value::Object(fixed) = fixed {
        view.extend(fixed);
    }
    Value::Object(view)
}
