//! `/v2.0/subnets`

use super::kit::{self, Item, Resource};
use crate::address::{self, Pool};
use crate::attrs::{self, Attr, Attrs, Default, Kind, attr, read_only};
use crate::model::{NetworkRow, Route, Standard, SubnetRow};
use crate::rules::subnets::{
    check_values, default_gateway, subnet_create_in_tx, subnet_delete_checked_in_tx, subnet_update_checked_in_tx,
};
use crate::store::list::{self, ListQuery, ListSpec, column};
use crate::store::networks::{network_fetch, network_fetch_many};
use crate::store::subnets::{TABLE, subnet_fetch};
use crate::store::tags;
use crate::{Network, errors};
use ferrostack_db::{Tx, Value as Sql};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::{NetworkId, SubnetId};
use ferrostack_types::{Error, Result};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const RESOURCE: Resource =
    Resource { singular: "subnet", plural: "subnets", guarded: &[], missing: |id| errors::subnet_not_found(id) };

const V6_MODES: &[&str] = &["slaac", "dhcpv6-stateful", "dhcpv6-stateless"];

const ATTRS: &[Attr] = &[
    read_only("id"),
    attr("name", Kind::Text(255), Default::Text("")),
    attr("description", Kind::Text(255), Default::Text("")),
    attr("network_id", Kind::Uuid, Default::Required).create_only(),
    attr("ip_version", Kind::Int(4, 6), Default::Required).create_only(),
    attr("cidr", Kind::Cidr, Default::Unset).create_only(),
    attr("subnetpool_id", Kind::UuidOrNull, Default::Null).create_only(),
    attr("use_default_subnetpool", Kind::Bool, Default::Bool(false)).create_only(),
    attr("prefixlen", Kind::IntOrNull(0, 128), Default::Null).create_only(),
    attr("segment_id", Kind::UuidOrNull, Default::Null).create_only(),
    attr("gateway_ip", Kind::IpOrNull, Default::Unset),
    attr("allocation_pools", Kind::Check(pools), Default::Unset),
    attr("dns_nameservers", Kind::Check(addresses), Default::List),
    attr("host_routes", Kind::Check(attrs::routes), Default::List),
    attr("enable_dhcp", Kind::Bool, Default::Bool(true)),
    attr("ipv6_ra_mode", Kind::OneOfOrNull(V6_MODES), Default::Null).create_only(),
    attr("ipv6_address_mode", Kind::OneOfOrNull(V6_MODES), Default::Null).create_only(),
    attr("service_types", Kind::Check(service_types), Default::List),
    attr("dns_publish_fixed_ip", Kind::Bool, Default::Bool(false)),
    attr("tags", Kind::Check(attrs::tags), Default::List).create_only(),
    read_only("router:external"),
    read_only("shared"),
    read_only("created_at"),
    read_only("updated_at"),
    read_only("revision_number"),
];

const LIST: ListSpec = ListSpec {
    table: TABLE,
    columns: SubnetRow::COLUMNS,
    filters: &[
        column("id", list::Kind::Text, "id"),
        column("name", list::Kind::Text, "name"),
        column("description", list::Kind::Text, "description"),
        column("project_id", list::Kind::Text, "project_id"),
        column("tenant_id", list::Kind::Text, "project_id"),
        column("network_id", list::Kind::Text, "network_id"),
        column("ip_version", list::Kind::Int, "ip_version"),
        column("cidr", list::Kind::Text, "cidr"),
        column("gateway_ip", list::Kind::Text, "COALESCE(gateway_ip, '')"),
        column("enable_dhcp", list::Kind::Bool, "enable_dhcp"),
        column("ipv6_ra_mode", list::Kind::Text, "COALESCE(ipv6_ra_mode, '')"),
        column("ipv6_address_mode", list::Kind::Text, "COALESCE(ipv6_address_mode, '')"),
        column("subnetpool_id", list::Kind::Text, "''"),
        column("segment_id", list::Kind::Text, "''"),
        column("revision_number", list::Kind::Int, "revision"),
        list::within(
            "router:external",
            list::Kind::Bool,
            "network_id IN (SELECT id FROM network_networks WHERE external",
            ")",
        ),
        list::within("shared", list::Kind::Bool, "network_id IN (SELECT id FROM network_networks WHERE shared", ")"),
    ],
    sorts: &[
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("network_id", "network_id"),
        ("ip_version", "ip_version"),
        ("cidr", "cidr"),
        ("gateway_ip", "COALESCE(gateway_ip, '')"),
        ("enable_dhcp", "enable_dhcp"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ],
};

fn pools(given: &Value) -> Result<Value, String> {
    let wrong = || format!("Invalid data format for IP pool: '{}'", attrs::shown(given));
    let items = given.as_array().ok_or_else(wrong)?;
    let mut pools = Vec::new();
    for item in items {
        let map = item.as_object().filter(|m| m.len() == 2).ok_or_else(wrong)?;
        let start = attrs::ip(map.get("start").ok_or_else(wrong)?)?;
        let end = attrs::ip(map.get("end").ok_or_else(wrong)?)?;
        pools.push(json!({"start": start, "end": end}));
    }
    Ok(Value::Array(pools))
}

fn addresses(given: &Value) -> Result<Value, String> {
    if given.is_null() {
        return Ok(json!([]));
    }
    let items = given.as_array().ok_or_else(|| format!("'{}' is not a list", attrs::shown(given)))?;
    let mut found: Vec<IpAddr> = Vec::new();
    for item in items {
        let ip = attrs::ip(item).map_err(|_| {
            format!("'{}' is not a valid nameserver. '{0}' is not a valid IP address", attrs::shown(item))
        })?;
        if found.contains(&ip) {
            return Err(format!("Duplicate nameserver '{ip}'"));
        }
        found.push(ip);
    }
    Ok(json!(found))
}

fn service_types(given: &Value) -> Result<Value, String> {
    let items = given.as_array().ok_or("Subnet service types must be a list")?;
    for item in items {
        let text = item.as_str().unwrap_or_default();
        let known = ["network:", "compute:", "baremetal:", "trunk:"].iter().any(|p| text.starts_with(p));
        if !known || text.len() > 255 {
            let shown = attrs::shown(item);
            return Err(format!("Subnet service type {shown} does not correspond to a valid device owner"));
        }
    }
    Ok(given.clone())
}

fn target(project: &str, network: &NetworkRow) -> Target {
    kit::target(project)
        .set("network:project_id", network.standard.project_id.as_str())
        .set("network:tenant_id", network.standard.project_id.as_str())
        .set("shared", kit::flag(network.shared))
        .set("router:external", kit::flag(network.external))
}

/// Views of rows, in a fixed number of queries.
pub(crate) fn items(tx: &mut Tx<'_>, rows: &[SubnetRow]) -> Result<Vec<Item>> {
    let names: Vec<String> = rows.iter().map(|s| s.id.to_string()).collect();
    let tags = tags::tags_of(tx, &names)?;
    let mut networks: Vec<NetworkId> = rows.iter().map(|s| s.network_id).collect();
    networks.sort();
    networks.dedup();
    let networks: HashMap<NetworkId, NetworkRow> =
        network_fetch_many(tx, &networks)?.into_iter().map(|n| (n.id, n)).collect();
    let item = |s: &SubnetRow| {
        let network = networks.get(&s.network_id)?;
        let mut body = json!({
            "id": s.id, "name": s.name, "network_id": s.network_id, "ip_version": s.ip_version,
            "cidr": s.cidr.to_string(), "gateway_ip": s.gateway, "enable_dhcp": s.dhcp,
            "allocation_pools": s.pools, "dns_nameservers": s.dns, "host_routes": s.host_routes,
            "ipv6_ra_mode": s.ra_mode, "ipv6_address_mode": s.address_mode, "service_types": s.service_types,
            "subnetpool_id": null, "segment_id": null, "router:external": network.external,
            "dns_publish_fixed_ip": false,
        });
        kit::with_standard(&mut body, &s.standard, tags.get(&s.id.to_string()));
        Some(Item::new(body, target(&s.standard.project_id, network)))
    };
    Ok(rows.iter().filter_map(item).collect())
}

fn one_item(tx: &mut Tx<'_>, row: SubnetRow) -> Result<Item> {
    let id = row.id;
    items(tx, &[row])?.pop().ok_or_else(|| errors::subnet_not_found(id))
}

/// `GET /v2.0/subnets`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let mut query = ListQuery::parse(&LIST, &req.query)?;
    if !kit::sees_all(&req) {
        let own = Sql::from(kit::own_project(&req));
        query.only(
            "project_id = ? OR network_id IN (SELECT id FROM network_networks WHERE project_id = ? OR shared = 1 OR external = 1)",
            vec![own.clone(), own],
        );
    }
    let list = query.clone();
    let items = service
        .db
        .read("subnet_list", move |tx| {
            let rows = list.fetch(tx, &LIST, RESOURCE.missing, SubnetRow::read)?;
            items(tx, &rows)
        })
        .await?;
    Ok(kit::list(&req, &RESOURCE, &query, items))
}

async fn fetch(service: &Network, id: SubnetId) -> Result<Item> {
    service
        .db
        .read("subnet_show", move |tx| {
            let row = subnet_fetch(tx, id)?;
            one_item(tx, row)
        })
        .await
}

/// `GET /v2.0/subnets/{id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: SubnetId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "get", &[], &item, req.param("id"))?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// The network that something is made on, if the caller may know of it.
pub(crate) async fn network_for(service: &Network, req: &Request, id: NetworkId) -> Result<NetworkRow> {
    let network = service.db.read("network_for", move |tx| network_fetch(tx, id)).await?;
    let target = kit::target(&network.standard.project_id)
        .set("shared", kit::flag(network.shared))
        .set("router:external", kit::flag(network.external));
    if req.allowed("get_network", &target) { Ok(network) } else { Err(errors::network_not_found(id)) }
}

/// `POST /v2.0/subnets`
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let (raws, bulk) = kit::bodies(&mut req, &RESOURCE).await?;
    let cx = service.cx();
    let mut new = Vec::new();
    for mut raw in raws {
        let project = kit::take_project(&req, &mut raw)?;
        let attrs = Attrs::create(ATTRS, &raw)?;
        let network_id: NetworkId = attrs.parsed("network_id").ok_or_else(|| Error::internal("a checked id"))?;
        let network = network_for(&service, &req, network_id).await?;
        kit::authorize(&req, "create_subnet", &attrs.explicit, &target(&project, &network))?;
        let standard = Standard::new(&project, &attrs.text("description"), cx.now);
        let row = row(SubnetId(cx.env.uuid()), network_id, standard, &attrs)?;
        check_values(&row)?;
        new.push((row, kit::new_tags(&attrs)));
    }
    let items = service
        .db
        .write("subnet_create", move |tx| {
            for (row, tags) in &new {
                subnet_create_in_tx(tx, &cx, row, tags)?;
            }
            let rows: Vec<SubnetRow> = new.iter().map(|(row, _)| row.clone()).collect();
            items(tx, &rows)
        })
        .await?;
    Ok(kit::created(&req, &RESOURCE, items, bulk))
}

fn row(id: SubnetId, network_id: NetworkId, standard: Standard, attrs: &Attrs) -> Result<SubnetRow> {
    if let Some(pool) = attrs.opt_text("subnetpool_id") {
        let text = format!("Subnet pool {pool} could not be found.");
        return Err(Error::not_found(text).with_code("SubnetPoolNotFound"));
    }
    let ip_version = attrs.int("ip_version").and_then(|v| u8::try_from(v).ok()).unwrap_or(4);
    if ip_version == 5 {
        return Err(errors::bad_request("Invalid input for ip_version. Reason: '5' is not in [4, 6]."));
    }
    let cidr: IpNet = attrs
        .parsed("cidr")
        .ok_or_else(|| errors::bad("subnets", "a subnetpool must be specified in the absence of a cidr"))?;
    let gateway = if attrs.has("gateway_ip") { attrs.parsed("gateway_ip") } else { default_gateway(cidr) };
    let pools: Vec<Pool> = match serde_json::from_value(attrs.value("allocation_pools").clone()) {
        Ok(pools) => pools,
        Err(_) => address::default_pools(cidr, gateway),
    };
    Ok(SubnetRow {
        id,
        standard,
        network_id,
        name: attrs.text("name"),
        ip_version,
        cidr,
        gateway,
        dhcp: attrs.bool("enable_dhcp").unwrap_or(true),
        ra_mode: attrs.opt_text("ipv6_ra_mode"),
        address_mode: attrs.opt_text("ipv6_address_mode"),
        pools,
        dns: attrs.parsed_list("dns_nameservers"),
        host_routes: host_routes(attrs),
        service_types: attrs.texts("service_types"),
    })
}

fn host_routes(attrs: &Attrs) -> Vec<Route> {
    serde_json::from_value(attrs.value("host_routes").clone()).unwrap_or_default()
}

/// `PUT /v2.0/subnets/{id}`
pub(crate) async fn update(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: SubnetId = kit::path_id(&req, &RESOURCE, "id")?;
    let raw: Map<String, Value> = kit::body(&mut req, &RESOURCE).await?;
    let item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    let attrs = Attrs::update(ATTRS, &raw)?;
    kit::authorize_change(&req, &RESOURCE, "update", &attrs.explicit, &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    let item = service
        .db
        .write("subnet_update", move |tx| {
            let before = subnet_fetch(tx, id)?;
            expected.check(&before.standard)?;
            let mut after = before.clone();
            attrs.set_text("name", &mut after.name);
            attrs.set_text("description", &mut after.standard.description);
            attrs.set_bool("enable_dhcp", &mut after.dhcp);
            if attrs.has("gateway_ip") {
                after.gateway = attrs.parsed("gateway_ip");
            }
            if let Ok(pools) = serde_json::from_value::<Vec<Pool>>(attrs.value("allocation_pools").clone()) {
                after.pools = pools;
            }
            if attrs.has("dns_nameservers") {
                after.dns = attrs.parsed_list("dns_nameservers");
            }
            if attrs.has("host_routes") {
                after.host_routes = host_routes(&attrs);
            }
            if attrs.has("service_types") {
                after.service_types = attrs.texts("service_types");
            }
            subnet_update_checked_in_tx(tx, &cx, &before, &mut after)?;
            one_item(tx, after)
        })
        .await?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// `DELETE /v2.0/subnets/{id}`
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: SubnetId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "delete", &[], &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    service
        .db
        .write("subnet_delete", move |tx| {
            expected.check(&subnet_fetch(tx, id)?.standard)?;
            subnet_delete_checked_in_tx(tx, &cx, id)
        })
        .await?;
    Ok(Reply::no_content())
}
