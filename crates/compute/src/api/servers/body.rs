//! What may be said about servers, by microversion, and what it means.

use crate::api::{boolean_schema, integer_schema, metadata_schema, name_schema, number, truth};
use crate::microversions::*;
use crate::servers::create::Order;
use ferrostack_contracts::network::{NicRequest, NicsRequest};
use ferrostack_rest::{FieldVersions, Schema};
use ferrostack_types::ids::{ImageId, NetworkId, PortId};
use ferrostack_types::{Error, Microversion, Result, Secret};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

fn hostname_schema() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255,
        "pattern": "^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$"})
}

/// A tag: no slashes, no commas, at most 60 characters.
pub(crate) fn tag_schema() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"})
}

fn description_schema() -> Value {
    json!({"type": ["string", "null"], "maxLength": 255, "pattern": "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]*$"})
}

fn address_schema(format: &str) -> Value {
    json!({"type": "string", "oneOf": [{"format": format}, {"maxLength": 0}]})
}

const CREATE_VERSIONS: &[FieldVersions] = &[
    FieldVersions::since("/server/description", V2_19),
    FieldVersions::since("/server/tags", V2_52),
    FieldVersions::since("/server/hostname", V2_90),
    FieldVersions::since("/server/host", V2_74),
    FieldVersions::since("/server/hypervisor_hostname", V2_74),
    FieldVersions::since("/server/trusted_image_certificates", V2_63),
    FieldVersions::until("/server/personality", before(V2_57)),
];

/// `POST /servers`
pub(crate) static CREATE: LazyLock<Schema> = LazyLock::new(|| {
    let network = json!({"type": "object", "additionalProperties": false, "properties": {
        "fixed_ip": {"type": "string", "oneOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        "port": {"type": ["string", "null"], "format": "uuid"},
        "uuid": {"type": "string", "format": "uuid"},
        "tag": tag_schema()}});
    let device = json!({"type": "object", "additionalProperties": false, "properties": {
        "virtual_name": {"type": "string"}, "volume_id": {"type": "string"}, "snapshot_id": {"type": "string"},
        "volume_size": {"type": ["integer", "string"]}, "device_name": {"type": "string"},
        "delete_on_termination": boolean_schema(), "no_device": {}, "connection_info": {"type": "string"},
        "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
        "uuid": {"type": "string", "minLength": 1, "maxLength": 255}, "image_id": {"type": "string"},
        "destination_type": {"type": "string", "enum": ["local", "volume"]}, "guest_format": {"type": "string"},
        "device_type": {"type": "string"}, "disk_bus": {"type": "string"},
        "boot_index": {"type": ["integer", "string", "null"]}, "tag": tag_schema(),
        "volume_type": {"type": ["string", "null"]}}});
    let hints = json!({"type": "object", "properties": {"group": {"type": "string", "format": "uuid"}}});
    let server = json!({"type": "object", "additionalProperties": false, "required": ["name", "flavorRef"],
    "properties": {
        "name": name_schema(),
        "imageRef": {"type": "string"},
        "flavorRef": {"type": ["string", "integer"], "minLength": 1},
        "adminPass": {"type": "string"},
        "metadata": metadata_schema(),
        "networks": {"oneOf": [
            {"type": "array", "items": network}, {"type": "string", "enum": ["none", "auto"]}]},
        "OS-DCF:diskConfig": {"type": "string", "enum": ["AUTO", "MANUAL"]},
        "accessIPv4": address_schema("ipv4"),
        "accessIPv6": address_schema("ipv6"),
        "personality": {"type": "array"},
        "availability_zone": {"type": "string", "minLength": 1, "maxLength": 255},
        "block_device_mapping": {"type": "array"},
        "block_device_mapping_v2": {"type": "array", "items": device},
        "config_drive": boolean_schema(),
        "key_name": {"type": "string", "minLength": 1, "maxLength": 255},
        "min_count": integer_schema(1),
        "max_count": integer_schema(1),
        "return_reservation_id": boolean_schema(),
        "security_groups": {"type": "array", "items": {"type": "object", "additionalProperties": false,
            "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 255}}}},
        "user_data": {"type": "string", "maxLength": 65535},
        "description": description_schema(),
        "tags": {"type": "array", "maxItems": 50, "items": tag_schema()},
        "trusted_image_certificates": {"type": ["array", "null"]},
        "host": {"type": "string", "minLength": 1, "maxLength": 255},
        "hypervisor_hostname": {"type": "string", "minLength": 1, "maxLength": 255},
        "hostname": hostname_schema(),
        "scheduler_hints": hints,
        "os:scheduler_hints": hints,
        "OS-SCH-HNT:scheduler_hints": hints,
    }});
    Schema::versioned(
        json!({"type": "object", "required": ["server"], "additionalProperties": false, "properties": {
            "server": server, "os:scheduler_hints": hints, "OS-SCH-HNT:scheduler_hints": hints}}),
        CREATE_VERSIONS,
    )
});

const UPDATE_VERSIONS: &[FieldVersions] =
    &[FieldVersions::since("/server/description", V2_19), FieldVersions::since("/server/hostname", V2_90)];

/// `PUT /servers/{server_id}`
pub(crate) static UPDATE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::versioned(
        json!({"type": "object", "required": ["server"], "additionalProperties": false, "properties": {"server": {
            "type": "object", "additionalProperties": false, "properties": {
                "name": name_schema(),
                "hostname": hostname_schema(),
                "description": description_schema(),
                "OS-DCF:diskConfig": {"type": "string", "enum": ["AUTO", "MANUAL"]},
                "accessIPv4": address_schema("ipv4"),
                "accessIPv6": address_schema("ipv6")}}}}),
        UPDATE_VERSIONS,
    )
});

/// What old versions of `PUT` answered of a server.
pub(crate) fn truncate(view: &mut Value, version: Microversion) {
    let Value::Object(map) = view else { return };
    map.retain(|key, _| {
        let extended =
            ["OS-EXT", "OS-SRV", "os-extended", "security_groups", "key_name", "config_drive", "host_status"];
        let kept = key == "OS-EXT-SRV-ATTR:hostname" && version >= V2_90;
        kept || !extended.iter().any(|prefix| key.starts_with(prefix))
    });
}

/// What `POST /servers` asks for.
pub(crate) struct Asked {
    pub(crate) order: Order,
    pub(crate) return_reservation_id: bool,
    /// A host was named (`zone:host`), so the caller has to be asked for more than a member.
    pub(crate) forced_host: bool,
    /// `host` or `hypervisor_hostname` was given (2.74).
    pub(crate) requested_host: bool,
}

fn text(server: &Value, key: &str) -> Option<String> {
    server.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Understands a checked body.
pub(crate) fn read(body: &Value, version: Microversion, generated_password: String) -> Result<Asked> {
    let server = &body["server"];
    check_base64(server)?;
    check_devices(server)?;
    let count = |key: &str| server.get(key).and_then(number).and_then(|n| u32::try_from(n).ok());
    let min_count = count("min_count").unwrap_or(1);
    let max_count = count("max_count").unwrap_or(min_count);
    if min_count > max_count {
        return Err(Error::invalid("min_count must be <= max_count"));
    }
    let image = text(server, "imageRef").filter(|image| !image.is_empty());
    let image = match image {
        None => {
            return Err(Error::invalid(
                "Invalid imageRef provided. Servers without an image need a volume, which is not served here.",
            ));
        }
        // Old clients send the image's URL.
        Some(image) => ImageId::parse(image.rsplit('/').next().unwrap_or_default())
            .ok_or_else(|| Error::invalid("Invalid imageRef provided."))?,
    };
    let flavor = match &server["flavorRef"] {
        Value::String(text) => text.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    };
    check_hostname(server, version)?;
    let (zone, mut host, forced_host) = zone(server)?;
    let named = text(server, "host").or_else(|| text(server, "hypervisor_hostname"));
    if named.is_some() && host.is_some() {
        return Err(Error::invalid("Compute host cannot be given both with an availability zone and by name."));
    }
    let requested_host = named.is_some();
    host = host.or(named);
    let order = Order {
        name: text(server, "name").unwrap_or_default().trim().to_owned(),
        hostname: text(server, "hostname"),
        description: description(server, version),
        count: max_count,
        min_count,
        flavor,
        image,
        key_name: text(server, "key_name"),
        user_data: text(server, "user_data"),
        config_drive: server.get("config_drive").and_then(truth).unwrap_or(false),
        disk_config: text(server, "OS-DCF:diskConfig").unwrap_or_else(|| "MANUAL".to_owned()),
        nics: nics(server, version)?,
        security_groups: groups(server),
        zone,
        host,
        metadata: strings(&server["metadata"]),
        tags: tags(&server["tags"]),
        access_ipv4: text(server, "accessIPv4").filter(|text| !text.is_empty()),
        access_ipv6: text(server, "accessIPv6").filter(|text| !text.is_empty()),
        admin_password: Secret::new(text(server, "adminPass").unwrap_or(generated_password)),
        group: hint_group(body),
    };
    let return_reservation_id = server.get("return_reservation_id").and_then(truth).unwrap_or(false);
    Ok(Asked { order, return_reservation_id, forced_host, requested_host })
}

/// Before 2.94 a host name has one label.
pub(crate) fn check_hostname(server: &Value, version: Microversion) -> Result<()> {
    match server.get("hostname").and_then(Value::as_str) {
        Some(name) if version < V2_94 && (name.contains('.') || name.len() > 63) => Err(Error::invalid(format!(
            "Invalid input for field/attribute hostname. Value: {name}. '{name}' is not a host name of one label"
        ))),
        _ => Ok(()),
    }
}

/// Before 2.19 the name was the description.
fn description(server: &Value, version: Microversion) -> Option<String> {
    if version < V2_19 { text(server, "name") } else { text(server, "description") }
}

fn check_base64(server: &Value) -> Result<()> {
    use base64::Engine;
    let Some(data) = server.get("user_data").and_then(Value::as_str) else { return Ok(()) };
    let compact: String = data.chars().filter(|c| !c.is_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(compact).map(|_| ()).map_err(|_| {
        let shown: String = data.chars().take(64).collect();
        Error::invalid(format!(
            "Invalid input for field/attribute user_data. Value: {shown}. '{shown}' is not a 'base64'"
        ))
    })
}

/// Only the form in which clients say "boot from the image, on the host's disk".
fn check_devices(server: &Value) -> Result<()> {
    let refuse = || {
        Err(Error::invalid(
            "Block Device Mapping is Invalid: only a local root disk made from the server's image is served here.",
        ))
    };
    if server.get("block_device_mapping").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return refuse();
    }
    let Some(devices) = server.get("block_device_mapping_v2").and_then(Value::as_array) else { return Ok(()) };
    let is = |device: &Value, key: &str, value: &str| device.get(key).is_none_or(|v| v.as_str() == Some(value));
    match devices.as_slice() {
        [] => Ok(()),
        [device]
            if device.get("source_type").and_then(Value::as_str) == Some("image")
                && is(device, "destination_type", "local")
                && device.get("boot_index").and_then(number) == Some(0)
                && device.get("uuid").or(device.get("image_id")) == server.get("imageRef") =>
        {
            Ok(())
        }
        _ => refuse(),
    }
}

/// Zone and host of `zone`, `zone:host`, `zone:host:node`, `:host`.
fn zone(server: &Value) -> Result<(Option<String>, Option<String>, bool)> {
    let Some(asked) = text(server, "availability_zone") else { return Ok((None, None, false)) };
    let parts: Vec<&str> = asked.split(':').collect();
    let some = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
    match parts.as_slice() {
        [zone] => Ok((some(zone), None, false)),
        [zone, host] => Ok((some(zone), some(host), true)),
        [zone, host, node] => Ok((some(zone), some(host).or_else(|| some(node)), true)),
        _ => Err(Error::invalid("Invalid availability zone: it has more than one host.")),
    }
}

fn nics(server: &Value, version: Microversion) -> Result<NicsRequest> {
    let networks = match server.get("networks") {
        None if version >= V2_37 => return Err(Error::invalid("'networks' is a required property")),
        None => return Ok(NicsRequest::Auto),
        Some(networks) => networks,
    };
    if let Some(word) = networks.as_str() {
        if version < V2_37 {
            return Err(Error::invalid(format!(
                "Invalid input for field/attribute networks. Value: {word}. '{word}' is not of type 'array'"
            )));
        }
        return Ok(if word == "none" { NicsRequest::None } else { NicsRequest::Auto });
    }
    let list = networks.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return Ok(NicsRequest::Auto);
    }
    let mut nics: Vec<NicRequest> = Vec::new();
    for network in list {
        let fixed_ip = network.get("fixed_ip").and_then(Value::as_str).and_then(|ip| ip.parse::<IpAddr>().ok());
        let nic = if let Some(port) = network.get("port").and_then(Value::as_str) {
            if fixed_ip.is_some() {
                return Err(Error::invalid(format!(
                    "Specified Fixed IP cannot be used with port {port}: the two together are ambiguous."
                )));
            }
            NicRequest::Port(PortId::parse(port).ok_or_else(|| bad_uuid("Bad port format: port uuid", port))?)
        } else {
            let id = network.get("uuid").and_then(Value::as_str).unwrap_or_default();
            let id = NetworkId::parse(id).ok_or_else(|| bad_uuid("Bad networks format: network uuid", id))?;
            NicRequest::Network { id, fixed_ip }
        };
        nics.push(nic);
    }
    Ok(NicsRequest::List(nics))
}

fn bad_uuid(what: &str, text: &str) -> Error {
    Error::invalid(format!("{what} is not in proper format ({text})"))
}

fn groups(server: &Value) -> Vec<String> {
    let list = server.get("security_groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = list.iter().filter_map(|group| text(group, "name")).collect();
    names.sort();
    names.dedup();
    // "default" is what is meant when nothing is said.
    if names.len() == 1 && names[0] == "default" { Vec::new() } else { names }
}

/// An object of texts.
pub(crate) fn strings(value: &Value) -> BTreeMap<String, String> {
    let Some(map) = value.as_object() else { return BTreeMap::new() };
    map.iter().filter_map(|(key, value)| value.as_str().map(|text| (key.clone(), text.to_owned()))).collect()
}

/// A list of tags, each once.
pub(crate) fn tags(value: &Value) -> Vec<String> {
    let mut tags: Vec<String> = value
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|tag| tag.as_str().map(str::to_owned))
        .collect();
    tags.sort();
    tags.dedup();
    tags
}

fn hint_group(body: &Value) -> Option<String> {
    let keys = ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints", "scheduler_hints"];
    let hints = keys.iter().find_map(|key| body.get(key).or_else(|| body["server"].get(key)))?;
    text(hints, "group").map(|group| group.to_ascii_lowercase())
}
