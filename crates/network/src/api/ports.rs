//! `/v2.0/ports`

use super::kit::{self, Item, Resource};
use super::subnets::network_for;
use crate::attrs::{self, Attr, Attrs, Default, Kind, attr, read_only};
use crate::model::{AddressPair, NetworkRow, Port, PortRole, PortRow};
use crate::rules::ips::WantedIp;
use crate::rules::ports::{
    NewPort, PortChange, blank_row, fixed_ips_view, port_create_in_tx, port_delete_checked_in_tx,
    port_update_checked_in_tx,
};
use crate::store::list::{self, ListQuery, ListSpec, column, within};
use crate::store::networks::network_fetch_many;
use crate::store::ports::{TABLE, port_fetch, with_details};
use crate::store::tags;
use crate::{Network, errors};
use ferrostack_db::{Tx, Value as Sql};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::{NetworkId, PortId};
use ferrostack_types::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const RESOURCE: Resource = Resource {
    singular: "port",
    plural: "ports",
    guarded: &["binding:vif_type", "binding:vif_details", "binding:host_id", "binding:profile"],
    missing: |id| errors::port_not_found(id),
};

const VNIC_TYPES: &[&str] = &[
    "normal",
    "direct",
    "macvtap",
    "baremetal",
    "direct-physical",
    "virtio-forwarder",
    "smart-nic",
    "vdpa",
    "accelerator-direct",
    "accelerator-direct-physical",
    "remote-managed",
];

const ATTRS: &[Attr] = &[
    read_only("id"),
    attr("name", Kind::Text(255), Default::Text("")),
    attr("description", Kind::Text(255), Default::Text("")),
    attr("network_id", Kind::Uuid, Default::Required).create_only(),
    attr("admin_state_up", Kind::Bool, Default::Bool(true)),
    attr("mac_address", Kind::MacAddress, Default::Unset),
    attr("fixed_ips", Kind::Check(fixed_ips), Default::Unset),
    attr("device_id", Kind::Text(255), Default::Text("")),
    attr("device_owner", Kind::Text(255), Default::Text("")),
    attr("security_groups", Kind::Check(attrs::uuids), Default::Unset),
    attr("port_security_enabled", Kind::Bool, Default::Unset),
    attr("allowed_address_pairs", Kind::Check(address_pairs), Default::List),
    attr("extra_dhcp_opts", Kind::Check(dhcp_opts), Default::List),
    attr("binding:host_id", Kind::TextOrNull(255), Default::Unset),
    attr("binding:profile", Kind::Check(profile), Default::Unset),
    attr("binding:vnic_type", Kind::OneOf(VNIC_TYPES), Default::Text("normal")),
    attr("dns_name", Kind::Check(dns_name), Default::Text("")),
    attr("dns_domain", Kind::TextOrNull(255), Default::Unset),
    attr("propagate_uplink_status", Kind::Bool, Default::Unset),
    attr("qos_policy_id", Kind::OneOfOrNull(&[]), Default::Null),
    attr("tags", Kind::Check(attrs::tags), Default::List).create_only(),
    read_only("status"),
    read_only("binding:vif_type"),
    read_only("binding:vif_details"),
    read_only("dns_assignment"),
    read_only("ip_allocation"),
    read_only("created_at"),
    read_only("updated_at"),
    read_only("revision_number"),
];

const LIST: ListSpec = ListSpec {
    table: TABLE,
    columns: PortRow::COLUMNS,
    filters: &[
        column("id", list::Kind::Text, "id"),
        column("name", list::Kind::Text, "name"),
        column("description", list::Kind::Text, "description"),
        column("project_id", list::Kind::Text, "project_id"),
        column("tenant_id", list::Kind::Text, "project_id"),
        column("network_id", list::Kind::Text, "network_id"),
        column("admin_state_up", list::Kind::Bool, "admin_state_up"),
        column("mac_address", list::Kind::Text, "mac"),
        column("device_id", list::Kind::Text, "device_id"),
        column("device_owner", list::Kind::Text, "device_owner"),
        column("status", list::Kind::Text, "status"),
        column("port_security_enabled", list::Kind::Bool, "port_security_enabled"),
        column("binding:host_id", list::Kind::Text, "host"),
        column("binding:vnic_type", list::Kind::Text, "vnic_type"),
        column("binding:vif_type", list::Kind::Text, "CASE WHEN host = '' THEN 'unbound' ELSE 'ovs' END"),
        column("dns_name", list::Kind::Text, "dns_name"),
        column("ip_allocation", list::Kind::Text, "'immediate'"),
        column("revision_number", list::Kind::Int, "revision"),
        within(
            "security_groups",
            list::Kind::Text,
            "id IN (SELECT port_id FROM network_port_groups WHERE security_group_id",
            ")",
        ),
    ],
    sorts: &[
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("network_id", "network_id"),
        ("admin_state_up", "admin_state_up"),
        ("mac_address", "mac"),
        ("device_id", "device_id"),
        ("device_owner", "device_owner"),
        ("status", "status"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ],
};

fn fixed_ips(given: &Value) -> Result<Value, String> {
    if given.is_null() {
        return Ok(json!([]));
    }
    let wrong = || format!("Invalid data format for fixed IP: '{}'", attrs::shown(given));
    let mut found: Vec<Value> = Vec::new();
    for item in given.as_array().ok_or_else(wrong)? {
        let map = item.as_object().ok_or_else(wrong)?;
        let mut entry = Map::new();
        for (key, value) in map {
            let value = match key.as_str() {
                "subnet_id" => Value::from(attrs::uuid(value)?),
                "ip_address" => json!(attrs::ip(value)?),
                _ => return Err(wrong()),
            };
            entry.insert(key.clone(), value);
        }
        if entry.is_empty() {
            return Err(wrong());
        }
        let same_ip = |other: &Value| entry.get("ip_address").is_some_and(|ip| other.get("ip_address") == Some(ip));
        if found.iter().any(same_ip) {
            return Err(format!("Duplicate IP address '{}'", entry["ip_address"].as_str().unwrap_or_default()));
        }
        found.push(Value::Object(entry));
    }
    if found.len() > 64 {
        return Err("Exceeded maximum amount of fixed ips per port".to_owned());
    }
    Ok(Value::Array(found))
}

fn wanted_ips(value: &Value) -> Option<Vec<WantedIp>> {
    let items = value.as_array()?;
    let entry = |item: &Value| WantedIp {
        subnet: item["subnet_id"].as_str().and_then(|id| id.parse().ok()),
        ip: item["ip_address"].as_str().and_then(|ip| ip.parse().ok()),
    };
    Some(items.iter().map(entry).collect())
}

/// At most ten, of an address or a range each; the MAC address is the port's own unless one is given.
fn address_pairs(given: &Value) -> Result<Value, String> {
    if given.is_null() {
        return Ok(json!([]));
    }
    let items = given.as_array().ok_or_else(|| format!("'{}' is not a list", attrs::shown(given)))?;
    if items.len() > 10 {
        return Err("The number of allowed address pair exceeds the maximum 10".to_owned());
    }
    let mut pairs: Vec<Value> = Vec::new();
    for item in items {
        let map = item.as_object().ok_or_else(|| format!("'{}' is not a dictionary", attrs::shown(item)))?;
        if let Some(unknown) = map.keys().find(|k| *k != "ip_address" && *k != "mac_address") {
            return Err(format!("Unrecognized attribute(s) '{}'", attrs::shown(&Value::from(unknown.as_str()))));
        }
        let ip = map.get("ip_address").ok_or("AllowedAddressPair must contain ip_address")?;
        let address = match attrs::ip(ip) {
            Ok(ip) => ip.to_string(),
            Err(_) => match ip.as_str().and_then(|t| t.parse::<ipnet::IpNet>().ok()) {
                Some(net) if net.prefix_len() > 0 => net.to_string(),
                _ => {
                    let shown = attrs::shown(ip);
                    return Err(format!("'{shown}' is neither a valid IP address, nor is it a valid IP subnet"));
                }
            },
        };
        let mac = match map.get("mac_address") {
            None | Some(Value::Null) => Value::Null,
            Some(mac) => Value::from(attrs::mac(mac)?),
        };
        let pair = json!({"ip_address": address, "mac_address": mac});
        if pairs.contains(&pair) {
            return Err(format!("Request contains duplicate address pair: ip_address {address}"));
        }
        pairs.push(pair);
    }
    Ok(Value::Array(pairs))
}

fn pairs_of(value: &Value, mac: &str) -> Vec<AddressPair> {
    let pair = |item: &Value| AddressPair {
        ip_address: item["ip_address"].as_str().unwrap_or_default().to_owned(),
        mac_address: item["mac_address"].as_str().unwrap_or(mac).to_owned(),
    };
    value.as_array().into_iter().flatten().map(pair).collect()
}

/// Nothing that could end a line or a field of a DHCP server's configuration gets through.
fn dhcp_opts(given: &Value) -> Result<Value, String> {
    if given.is_null() {
        return Ok(json!([]));
    }
    let items = given.as_array().ok_or_else(|| format!("'{}' is not a list", attrs::shown(given)))?;
    let mut found = Vec::new();
    for item in items {
        let wrong = || format!("Invalid data format for extra_dhcp_opts: '{}'", attrs::shown(item));
        let map = item.as_object().ok_or_else(wrong)?;
        if map.keys().any(|k| !["opt_name", "opt_value", "ip_version"].contains(&k.as_str())) {
            return Err(wrong());
        }
        let name = map.get("opt_name").and_then(Value::as_str).ok_or_else(wrong)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(wrong());
        }
        let value = match map.get("opt_value") {
            None | Some(Value::Null) => Value::Null,
            Some(Value::String(text)) if is_plain_option(text) => Value::from(text.as_str()),
            Some(_) => return Err(wrong()),
        };
        let version = match map.get("ip_version") {
            None => 4,
            Some(version) => attrs::integer(version, 4, 6)?.as_i64().unwrap_or(4),
        };
        if version == 5 {
            return Err(wrong());
        }
        found.push(json!({"opt_name": name, "opt_value": value, "ip_version": version}));
    }
    Ok(Value::Array(found))
}

fn is_plain_option(text: &str) -> bool {
    let plain = |c: char| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\'' | '\\' | '`');
    !text.is_empty() && text.len() <= 255 && text.chars().all(plain) && !text.to_ascii_lowercase().contains("option:")
}

fn profile(given: &Value) -> Result<Value, String> {
    match given {
        Value::Null => Ok(json!({})),
        Value::Object(_) if given.to_string().len() <= 4095 => Ok(given.clone()),
        _ => Err(format!("'{}' is not a dictionary", attrs::shown(given))),
    }
}

/// One label of a host name, or several with dots.
fn dns_name(given: &Value) -> Result<Value, String> {
    let wrong = || format!("'{}' not a valid PQDN or FQDN", attrs::shown(given));
    let text = given.as_str().ok_or_else(wrong)?;
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !text.is_empty() && (text.len() > 253 || !text.trim_end_matches('.').split('.').all(label)) {
        return Err(wrong());
    }
    Ok(given.clone())
}

fn target(project: &str, network: &NetworkRow, device_owner: &str) -> Target {
    kit::target(project)
        .set("network:project_id", network.standard.project_id.as_str())
        .set("network:tenant_id", network.standard.project_id.as_str())
        .set("shared", kit::flag(network.shared))
        .set("device_owner", device_owner)
}

/// Views of ports, in a fixed number of queries.
pub(crate) fn items(tx: &mut Tx<'_>, ports: &[Port]) -> Result<Vec<Item>> {
    let names: Vec<String> = ports.iter().map(|p| p.row.id.to_string()).collect();
    let tags = tags::tags_of(tx, &names)?;
    let mut networks: Vec<NetworkId> = ports.iter().map(|p| p.row.network_id).collect();
    networks.sort();
    networks.dedup();
    let networks: HashMap<NetworkId, NetworkRow> =
        network_fetch_many(tx, &networks)?.into_iter().map(|n| (n.id, n)).collect();
    let item = |port: &Port| {
        let row = &port.row;
        let network = networks.get(&row.network_id)?;
        let bound = row.is_bound();
        let mut body = json!({
            "id": row.id, "name": row.name, "network_id": row.network_id, "admin_state_up": row.admin_state_up,
            "mac_address": row.mac, "status": row.status, "device_id": row.device_id, "device_owner": row.device_owner,
            "fixed_ips": fixed_ips_view(&port.addresses), "allowed_address_pairs": row.address_pairs,
            "extra_dhcp_opts": row.dhcp_opts, "security_groups": port.groups,
            "port_security_enabled": row.port_security, "binding:vnic_type": row.vnic_type,
            "binding:host_id": row.host, "binding:profile": row.profile,
            "binding:vif_type": if bound { "ovs" } else { "unbound" },
            "binding:vif_details": if bound { json!({"port_filter": true, "connectivity": "l2"}) } else { json!({}) },
            "dns_name": row.dns_name, "dns_assignment": [], "ip_allocation": "immediate", "qos_policy_id": null,
        });
        kit::with_standard(&mut body, &row.standard, tags.get(&row.id.to_string()));
        Some(Item::new(body, target(&row.standard.project_id, network, &row.device_owner)))
    };
    Ok(ports.iter().filter_map(item).collect())
}

fn one_item(tx: &mut Tx<'_>, port: Port) -> Result<Item> {
    let id = port.row.id;
    items(tx, &[port])?.pop().ok_or_else(|| errors::port_not_found(id))
}

/// `GET /v2.0/ports`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let mut query = ListQuery::parse(&LIST, &req.query)?;
    if !kit::sees_all(&req) {
        let own = Sql::from(kit::own_project(&req));
        query.only(
            "project_id = ? OR network_id IN (SELECT id FROM network_networks WHERE project_id = ?)",
            vec![own.clone(), own],
        );
    }
    let list = query.clone();
    let items = service
        .db
        .read("port_list", move |tx| {
            let rows = list.fetch(tx, &LIST, RESOURCE.missing, PortRow::read)?;
            let ports = with_details(tx, rows)?;
            items(tx, &ports)
        })
        .await?;
    Ok(kit::list(&req, &RESOURCE, &query, items))
}

pub(crate) async fn fetch(service: &Network, id: PortId) -> Result<Item> {
    service
        .db
        .read("port_show", move |tx| {
            let port = port_fetch(tx, id)?;
            one_item(tx, port)
        })
        .await
}

/// `GET /v2.0/ports/{id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: PortId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "get", &[], &item, req.param("id"))?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// Whose `device_owner` begins with `network:` is trusted by old clients and tools alike; only the service itself and
/// administrators make such ports, whoever owns the network.
fn check_device_owner(req: &Request, rule: &str, owner: &str) -> Result<()> {
    if !owner.trim_start().to_ascii_lowercase().starts_with("network:") || kit::sees_all(req) {
        return Ok(());
    }
    Err(Error::forbidden(format!("(rule:{rule} and rule:{rule}:device_owner) is disallowed by policy"))
        .with_code("PolicyNotAuthorized"))
}

/// The attributes with rules of their own, those of entries of lists included.
fn ruled(attrs: &Attrs) -> Vec<&'static str> {
    let mut names = attrs.explicit.clone();
    let entries = attrs.value("fixed_ips").as_array();
    for (key, rule) in [("ip_address", "fixed_ips:ip_address"), ("subnet_id", "fixed_ips:subnet_id")] {
        if entries.into_iter().flatten().any(|entry| entry.get(key).is_some()) {
            names.push(rule);
        }
    }
    let pairs = attrs.value("allowed_address_pairs").as_array();
    if pairs.is_some_and(|p| !p.is_empty()) {
        names.push("allowed_address_pairs:ip_address");
    }
    if pairs.into_iter().flatten().any(|pair| !pair["mac_address"].is_null()) {
        names.push("allowed_address_pairs:mac_address");
    }
    names
}

/// `POST /v2.0/ports`
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let (raws, bulk) = kit::bodies(&mut req, &RESOURCE).await?;
    let cx = service.cx();
    let any_group = kit::sees_all(&req);
    let mut new = Vec::new();
    let mut networks: HashMap<NetworkId, NetworkRow> = HashMap::new();
    for mut raw in raws {
        let project = kit::take_project(&req, &mut raw)?;
        let attrs = Attrs::create(ATTRS, &raw)?;
        let id: NetworkId = attrs.parsed("network_id").ok_or_else(|| Error::internal("a checked id"))?;
        let network = match networks.get(&id) {
            Some(network) => network.clone(),
            None => network_for(&service, &req, id).await?,
        };
        let owner = attrs.text("device_owner");
        kit::authorize(&req, "create_port", &ruled(&attrs), &target(&project, &network, &owner))?;
        check_device_owner(&req, "create_port", &owner)?;
        let mut row = blank_row(&cx, PortId(cx.env.uuid()), id, &project, PortRole::Plain);
        row.port_security = network.port_security;
        fill(&mut row, &attrs);
        let groups = attrs.has("security_groups").then(|| attrs.parsed_list("security_groups"));
        let fixed_ips = wanted_ips(attrs.value("fixed_ips"));
        row.address_pairs = pairs_of(attrs.value("allowed_address_pairs"), &row.mac);
        new.push(NewPort { row, fixed_ips, groups, any_group, tags: kit::new_tags(&attrs) });
        networks.insert(id, network);
    }
    let items = service
        .db
        .write("port_create", move |tx| {
            let mut ports = Vec::new();
            for port in &new {
                ports.push(port_create_in_tx(tx, &cx, port.clone())?);
            }
            items(tx, &ports)
        })
        .await?;
    Ok(kit::created(&req, &RESOURCE, items, bulk))
}

/// What a body says of the row, address pairs excepted: they may need the MAC address.
fn fill(row: &mut PortRow, attrs: &Attrs) {
    attrs.set_text("name", &mut row.name);
    attrs.set_text("description", &mut row.standard.description);
    attrs.set_bool("admin_state_up", &mut row.admin_state_up);
    attrs.set_text("mac_address", &mut row.mac);
    attrs.set_text("device_id", &mut row.device_id);
    attrs.set_text("device_owner", &mut row.device_owner);
    attrs.set_bool("port_security_enabled", &mut row.port_security);
    attrs.set_text("binding:host_id", &mut row.host);
    attrs.set_text("binding:vnic_type", &mut row.vnic_type);
    attrs.set_text("dns_name", &mut row.dns_name);
    if attrs.has("binding:profile") {
        row.profile = attrs.value("binding:profile").clone();
    }
    if attrs.has("extra_dhcp_opts") {
        row.dhcp_opts = merged_opts(&row.dhcp_opts, attrs.value("extra_dhcp_opts"));
    }
}

/// An option without a value takes the one of that name away; the others replace or add.
fn merged_opts(before: &Value, given: &Value) -> Value {
    let same = |a: &Value, b: &Value| a["opt_name"] == b["opt_name"] && a["ip_version"] == b["ip_version"];
    let given: Vec<&Value> = given.as_array().into_iter().flatten().collect();
    let kept = before.as_array().into_iter().flatten().filter(|old| !given.iter().any(|new| same(old, new)));
    let added = given.iter().copied().filter(|new| !new["opt_value"].is_null());
    kept.chain(added).cloned().collect()
}

/// `PUT /v2.0/ports/{id}`
pub(crate) async fn update(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: PortId = kit::path_id(&req, &RESOURCE, "id")?;
    let raw: Map<String, Value> = kit::body(&mut req, &RESOURCE).await?;
    let mut item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    let attrs = Attrs::update(ATTRS, &raw)?;
    if attrs.has("device_owner") {
        // The rule is about what it is going to be.
        item.target = item.target.set("device_owner", attrs.text("device_owner"));
    }
    kit::authorize_change(&req, &RESOURCE, "update", &ruled(&attrs), &item, req.param("id"))?;
    if attrs.has("device_owner") && item.body.get("device_owner") != Some(attrs.value("device_owner")) {
        check_device_owner(&req, "update_port", &attrs.text("device_owner"))?;
    }
    let (cx, expected, any_group) = (service.cx(), kit::expected(&req)?, kit::sees_all(&req));
    let item = service
        .db
        .write("port_update", move |tx| {
            let before = port_fetch(tx, id)?;
            expected.check(&before.row.standard)?;
            check_role(&before, &attrs)?;
            let mut row = before.row.clone();
            fill(&mut row, &attrs);
            if attrs.has("allowed_address_pairs") {
                row.address_pairs = pairs_of(attrs.value("allowed_address_pairs"), &row.mac);
            }
            let change = PortChange {
                fixed_ips: wanted_ips(attrs.value("fixed_ips")),
                groups: attrs.has("security_groups").then(|| attrs.parsed_list("security_groups")),
                any_group,
            };
            let port = port_update_checked_in_tx(tx, &cx, &before, row, change)?;
            one_item(tx, port)
        })
        .await?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// A port that a router or a floating IP stands on keeps what it is for.
fn check_role(before: &Port, attrs: &Attrs) -> Result<()> {
    if before.row.role == PortRole::Plain {
        return Ok(());
    }
    let fixed = [
        "device_id",
        "device_owner",
        "fixed_ips",
        "mac_address",
        "binding:host_id",
        "security_groups",
        "port_security_enabled",
    ];
    let changes = |name: &&&str| match **name {
        "device_id" => attrs.has("device_id") && attrs.text("device_id") != before.row.device_id,
        "device_owner" => attrs.has("device_owner") && attrs.text("device_owner") != before.row.device_owner,
        "fixed_ips" => wanted_ips(attrs.value("fixed_ips")).is_some_and(|wanted| {
            let has = |w: &WantedIp| w.ip.is_some_and(|ip: IpAddr| before.addresses.iter().any(|a| a.ip == ip));
            wanted.len() != before.addresses.len() || !wanted.iter().all(has)
        }),
        name => attrs.has(name),
    };
    match fixed.iter().find(changes) {
        Some(name) => Err(Error::conflict(format!(
            "Operation update of {name} is not supported for device_owner {} on port {}.",
            before.row.device_owner, before.row.id
        ))
        .with_code("UnsupportedPortDeviceOwner")),
        None => Ok(()),
    }
}

/// `DELETE /v2.0/ports/{id}`
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: PortId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "delete", &[], &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    service
        .db
        .write("port_delete", move |tx| {
            expected.check(&port_fetch(tx, id)?.row.standard)?;
            port_delete_checked_in_tx(tx, &cx, id)
        })
        .await?;
    Ok(Reply::no_content())
}
