//! What a client may say about an image.

use crate::ImageConfig;
use crate::api::schemas::image_properties;
use crate::model::{Image, Status, Visibility};
use ferrostack_rest::Schema;
use ferrostack_types::{Error, Kind, Result};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Attributes that no request sets.
const READ_ONLY: [&str; 13] = [
    "created_at",
    "updated_at",
    "status",
    "checksum",
    "size",
    "virtual_size",
    "direct_url",
    "self",
    "file",
    "schema",
    "stores",
    "os_hash_algo",
    "os_hash_value",
];

/// Names that nobody may use.
const RESERVED: [&str; 3] = ["location", "deleted", "deleted_at"];

/// Properties with this beginning are the service's own.
const RESERVED_NAMESPACE: &str = "os_glance";

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({
        "type": "object",
        "properties": image_properties(),
        "additionalProperties": {"type": "string", "maxLength": 65535},
    }))
});

/// Checks types and values.
pub(crate) fn check(body: &Value) -> Result<()> {
    let refuse =
        |error: Error| Error::invalid(format!("Provided object does not match schema 'image': {}", error.public()));
    SCHEMA.check(body, None).map_err(refuse)
}

/// 403 for attributes that are not the client's to set.
pub(crate) fn check_name(name: &str, creating: bool) -> Result<()> {
    if READ_ONLY.contains(&name) || (name == "id" && !creating) {
        return Err(Error::forbidden(format!("Attribute '{name}' is read-only.")));
    }
    if RESERVED.contains(&name) || name.starts_with(RESERVED_NAMESPACE) {
        return Err(Error::forbidden(format!("Attribute '{name}' is reserved.")));
    }
    if name == "locations" {
        return Err(Error::forbidden("It's not allowed to set locations: data comes by upload only."));
    }
    if name.chars().count() > 255 {
        return Err(Error::invalid("Custom property should not be greater than 255 characters."));
    }
    if name.is_empty() {
        return Err(Error::invalid("The name of a custom property must not be empty."));
    }
    Ok(())
}

/// Whether this is one of the attributes that every image has.
pub(crate) fn is_base(name: &str) -> bool {
    matches!(
        name,
        "id" | "name"
            | "visibility"
            | "owner"
            | "protected"
            | "os_hidden"
            | "disk_format"
            | "container_format"
            | "min_disk"
            | "min_ram"
            | "tags"
    )
}

/// Sets an attribute to a value whose type has been checked.
pub(crate) fn set(image: &mut Image, name: &str, value: &Value) -> Result<()> {
    let text = || value.as_str().map(str::to_owned);
    match name {
        "name" => image.name = text(),
        "visibility" => {
            image.visibility =
                value.as_str().and_then(Visibility::parse).ok_or_else(|| Error::invalid("Invalid visibility value"))?;
        }
        "owner" => image.owner = text(),
        "protected" => image.protected = value.as_bool().unwrap_or_default(),
        "os_hidden" => image.os_hidden = value.as_bool().unwrap_or_default(),
        "min_disk" => image.min_disk = value.as_u64().unwrap_or_default(),
        "min_ram" => image.min_ram = value.as_u64().unwrap_or_default(),
        "disk_format" | "container_format" => {
            // The format is a promise about the bytes: it is never changed under them.
            if image.status != Status::Queued {
                return Err(Error::forbidden(format!("Attribute {name} can be only replaced for a queued image.")));
            }
            if name == "disk_format" {
                image.disk_format = text();
            } else {
                image.container_format = text();
            }
        }
        "tags" => {
            let tags = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            image.tags = tags.map(str::to_owned).collect();
        }
        property => {
            let value = text().ok_or_else(|| Error::invalid("The value of a custom property must be a text."))?;
            image.properties.insert(property.to_owned(), value);
        }
    }
    Ok(())
}

/// 413 for more properties or tags than allowed.
pub(crate) fn check_limits(image: &Image, config: &ImageConfig) -> Result<()> {
    let over = |what: &str, most: usize, count: usize| {
        Err(Error::new(
            Kind::OverQuota,
            format!(
                "The limit has been exceeded on the number of allowed image {what}. Attempted: {count}, Maximum: {most}"
            ),
        ))
    };
    let (properties, tags) = (image.properties.len(), image.tags.len());
    if properties > config.properties_per_image {
        return over("properties", config.properties_per_image, properties);
    }
    if tags > config.tags_per_image {
        return over("tags", config.tags_per_image, tags);
    }
    Ok(())
}
