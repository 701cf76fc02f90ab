//! `/v2.0/routers`

use super::kit::{self, Item, Resource};
use super::{ports, subnets};
use crate::attrs::{self, Attr, Attrs, Default, Kind, attr, read_only};
use crate::model::{Allocation, Port, RouterRow, Standard};
use crate::rules::ips::WantedIp;
use crate::rules::ports::fixed_ips_view;
use crate::rules::routers::{
    WantedGateway, WantedInterface, interface_add_in_tx, interface_remove_in_tx, router_create_in_tx,
    router_delete_checked_in_tx, router_update_checked_in_tx,
};
use crate::store::list::{self, ListQuery, ListSpec, column};
use crate::store::ports::allocations_of_ports;
use crate::store::routers::{TABLE, router_fetch};
use crate::store::subnets::subnet_fetch;
use crate::store::{group_by, tags};
use crate::{Network, NetworkConfig, errors};
use ferrostack_db::{Tx, Value as Sql};
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use ferrostack_types::ids::{PortId, RouterId, SubnetId};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) const RESOURCE: Resource = Resource {
    singular: "router",
    plural: "routers",
    guarded: &["distributed", "ha"],
    missing: |id| errors::router_not_found(id),
};

const ATTRS: &[Attr] = &[
    read_only("id"),
    attr("name", Kind::Text(255), Default::Text("")),
    attr("description", Kind::Text(255), Default::Text("")),
    attr("admin_state_up", Kind::Bool, Default::Bool(true)),
    attr("external_gateway_info", Kind::Check(gateway_info), Default::Null),
    attr("routes", Kind::Check(attrs::routes), Default::Unset),
    attr("distributed", Kind::Bool, Default::Unset),
    attr("ha", Kind::Bool, Default::Unset),
    attr("availability_zone_hints", Kind::Check(attrs::words), Default::List).create_only(),
    attr("flavor_id", Kind::OneOfOrNull(&[]), Default::Null).create_only(),
    attr("tags", Kind::Check(attrs::tags), Default::List).create_only(),
    read_only("status"),
    read_only("availability_zones"),
    read_only("created_at"),
    read_only("updated_at"),
    read_only("revision_number"),
];

const LIST: ListSpec = ListSpec {
    table: TABLE,
    columns: RouterRow::COLUMNS,
    filters: &[
        column("id", list::Kind::Text, "id"),
        column("name", list::Kind::Text, "name"),
        column("description", list::Kind::Text, "description"),
        column("project_id", list::Kind::Text, "project_id"),
        column("tenant_id", list::Kind::Text, "project_id"),
        column("admin_state_up", list::Kind::Bool, "admin_state_up"),
        column("status", list::Kind::Text, "status"),
        column("distributed", list::Kind::Bool, "distributed"),
        column("ha", list::Kind::Bool, "ha"),
        column("flavor_id", list::Kind::Text, "''"),
        column("revision_number", list::Kind::Int, "revision"),
    ],
    sorts: &[
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("admin_state_up", "admin_state_up"),
        ("status", "status"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ],
};

/// `{"network_id", "enable_snat", "external_fixed_ips"}`; null and `{}` both mean "none".
fn gateway_info(given: &Value) -> Result<Value, String> {
    let Some(map) = given.as_object() else {
        return if given.is_null() {
            Ok(Value::Null)
        } else {
            Err(format!("'{}' is not a dictionary", attrs::shown(given)))
        };
    };
    if map.is_empty() {
        return Ok(Value::Null);
    }
    let mut info = Map::new();
    for (key, value) in map {
        let value = match key.as_str() {
            "network_id" if value.is_null() => Value::Null,
            "network_id" => Value::from(attrs::uuid(value)?),
            "enable_snat" => match value {
                Value::Bool(_) => value.clone(),
                Value::String(text) if text.eq_ignore_ascii_case("true") => Value::Bool(true),
                Value::String(text) if text.eq_ignore_ascii_case("false") => Value::Bool(false),
                _ => return Err(format!("'{}' cannot be converted to boolean", attrs::shown(value))),
            },
            "external_fixed_ips" => external_ips(value)?,
            "qos_policy_id" if value.is_null() => continue,
            _ => return Err(format!("Unexpected keys supplied: {}", attrs::shown(&Value::from(key.as_str())))),
        };
        info.insert(key.clone(), value);
    }
    if info.get("network_id").is_none_or(Value::is_null) {
        return if info.len() <= 1 {
            Ok(Value::Null)
        } else {
            Err("Required keys not supplied: network_id".to_owned())
        };
    }
    Ok(Value::Object(info))
}

fn external_ips(given: &Value) -> Result<Value, String> {
    let wrong = || format!("Invalid data format for fixed IP: '{}'", attrs::shown(given));
    let mut found = Vec::new();
    for item in given.as_array().ok_or_else(wrong)? {
        let map = item.as_object().filter(|m| !m.is_empty()).ok_or_else(wrong)?;
        let mut entry = Map::new();
        for (key, value) in map {
            match key.as_str() {
                "subnet_id" => entry.insert(key.clone(), attrs::uuid(value)?.into()),
                "ip_address" => entry.insert(key.clone(), json!(attrs::ip(value)?)),
                _ => return Err(wrong()),
            };
        }
        found.push(Value::Object(entry));
    }
    Ok(Value::Array(found))
}

fn wanted_gateway(info: &Value) -> Option<WantedGateway> {
    let ips = info["external_fixed_ips"].as_array().filter(|ips| !ips.is_empty());
    let entry = |item: &Value| WantedIp {
        subnet: item["subnet_id"].as_str().and_then(|id| id.parse().ok()),
        ip: item["ip_address"].as_str().and_then(|ip| ip.parse().ok()),
    };
    Some(WantedGateway {
        network: info["network_id"].as_str()?.parse().ok()?,
        enable_snat: info["enable_snat"].as_bool(),
        fixed_ips: ips.map(|ips| ips.iter().map(entry).collect()),
    })
}

/// The attributes with rules of their own, those inside the gateway included.
fn ruled(attrs: &Attrs) -> Vec<&'static str> {
    let mut names = attrs.explicit.clone();
    let info = attrs.value("external_gateway_info");
    for (key, rule) in [
        ("network_id", "external_gateway_info:network_id"),
        ("enable_snat", "external_gateway_info:enable_snat"),
        ("external_fixed_ips", "external_gateway_info:external_fixed_ips"),
    ] {
        if info.get(key).is_some() {
            names.push(rule);
        }
    }
    names
}

/// Views of rows, in a fixed number of queries.
pub(crate) fn items(tx: &mut Tx<'_>, config: &NetworkConfig, rows: &[RouterRow]) -> Result<Vec<Item>> {
    let names: Vec<String> = rows.iter().map(|r| r.id.to_string()).collect();
    let tags = tags::tags_of(tx, &names)?;
    let gateways: Vec<PortId> = rows.iter().filter_map(|r| r.gateway_port).collect();
    let addresses: HashMap<PortId, Vec<Allocation>> =
        group_by(allocations_of_ports(tx, &gateways)?.into_iter().map(|a| (a.port_id, a)));
    let item = |r: &RouterRow| {
        let gateway = r.gateway_port.zip(r.gateway_network).map(|(port, network)| {
            let addresses = addresses.get(&port).map(Vec::as_slice).unwrap_or_default();
            json!({
                "network_id": network, "enable_snat": r.enable_snat,
                "external_fixed_ips": fixed_ips_view(addresses),
            })
        });
        let mut body = json!({
            "id": r.id, "name": r.name, "admin_state_up": r.admin_state_up, "status": r.status,
            "external_gateway_info": gateway, "routes": r.routes, "distributed": r.distributed, "ha": r.ha,
            "availability_zone_hints": r.az_hints, "availability_zones": [config.availability_zone], "flavor_id": null,
        });
        kit::with_standard(&mut body, &r.standard, tags.get(&r.id.to_string()));
        Item::new(body, kit::target(&r.standard.project_id))
    };
    Ok(rows.iter().map(item).collect())
}

fn one_item(tx: &mut Tx<'_>, config: &NetworkConfig, row: RouterRow) -> Result<Item> {
    let id = row.id;
    items(tx, config, &[row])?.pop().ok_or_else(|| errors::router_not_found(id))
}

/// `GET /v2.0/routers`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let mut query = ListQuery::parse(&LIST, &req.query)?;
    if !kit::sees_all(&req) {
        query.only("project_id = ?", vec![Sql::from(kit::own_project(&req))]);
    }
    let (list, config) = (query.clone(), Arc::clone(&service.config));
    let items = service
        .db
        .read("router_list", move |tx| {
            let rows = list.fetch(tx, &LIST, RESOURCE.missing, RouterRow::read)?;
            items(tx, &config, &rows)
        })
        .await?;
    Ok(kit::list(&req, &RESOURCE, &query, items))
}

async fn fetch(service: &Network, id: RouterId) -> Result<Item> {
    let config = Arc::clone(&service.config);
    service
        .db
        .read("router_show", move |tx| {
            let row = router_fetch(tx, id)?;
            one_item(tx, &config, row)
        })
        .await
}

/// `GET /v2.0/routers/{id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: RouterId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "get", &[], &item, req.param("id"))?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// A gateway's network must be one that the caller may know of.
async fn check_gateway(service: &Network, req: &Request, gateway: Option<&WantedGateway>) -> Result<()> {
    match gateway {
        Some(gateway) => subnets::network_for(service, req, gateway.network).await.map(drop),
        None => Ok(()),
    }
}

/// `POST /v2.0/routers`
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let (raws, bulk) = kit::bodies(&mut req, &RESOURCE).await?;
    let cx = service.cx();
    let mut new = Vec::new();
    for mut raw in raws {
        let project = kit::take_project(&req, &mut raw)?;
        let attrs = Attrs::create(ATTRS, &raw)?;
        kit::authorize(&req, "create_router", &ruled(&attrs), &kit::target(&project))?;
        let gateway = wanted_gateway(attrs.value("external_gateway_info"));
        check_gateway(&service, &req, gateway.as_ref()).await?;
        let row = RouterRow {
            id: RouterId(cx.env.uuid()),
            standard: Standard::new(&project, &attrs.text("description"), cx.now),
            name: attrs.text("name"),
            admin_state_up: attrs.bool("admin_state_up").unwrap_or(true),
            status: "ACTIVE".to_owned(),
            gateway_port: None,
            gateway_network: None,
            enable_snat: true,
            distributed: attrs.bool("distributed").unwrap_or_default(),
            ha: attrs.bool("ha").unwrap_or_default(),
            routes: Vec::new(),
            az_hints: attrs.texts("availability_zone_hints"),
        };
        new.push((row, gateway, kit::new_tags(&attrs)));
    }
    let config = Arc::clone(&service.config);
    let items = service
        .db
        .write("router_create", move |tx| {
            let mut rows = Vec::new();
            for (row, gateway, tags) in &new {
                rows.push(router_create_in_tx(tx, &cx, row.clone(), gateway.as_ref(), tags)?);
            }
            items(tx, &config, &rows)
        })
        .await?;
    Ok(kit::created(&req, &RESOURCE, items, bulk))
}

/// `PUT /v2.0/routers/{id}`
pub(crate) async fn update(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: RouterId = kit::path_id(&req, &RESOURCE, "id")?;
    let raw: Map<String, Value> = kit::body(&mut req, &RESOURCE).await?;
    let item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    let attrs = Attrs::update(ATTRS, &raw)?;
    kit::authorize_change(&req, &RESOURCE, "update", &ruled(&attrs), &item, req.param("id"))?;
    let gateway = wanted_gateway(attrs.value("external_gateway_info"));
    check_gateway(&service, &req, gateway.as_ref()).await?;
    let (cx, expected, config) = (service.cx(), kit::expected(&req)?, Arc::clone(&service.config));
    let item = service
        .db
        .write("router_update", move |tx| {
            let mut row = router_fetch(tx, id)?;
            expected.check(&row.standard)?;
            attrs.set_text("name", &mut row.name);
            attrs.set_text("description", &mut row.standard.description);
            attrs.set_bool("admin_state_up", &mut row.admin_state_up);
            attrs.set_bool("distributed", &mut row.distributed);
            attrs.set_bool("ha", &mut row.ha);
            if attrs.has("routes") {
                row.routes = serde_json::from_value(attrs.value("routes").clone()).unwrap_or_default();
            }
            let change = attrs.has("external_gateway_info").then_some(gateway.as_ref());
            router_update_checked_in_tx(tx, &cx, &mut row, change)?;
            one_item(tx, &config, row)
        })
        .await?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// `DELETE /v2.0/routers/{id}`
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: RouterId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "delete", &[], &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    service
        .db
        .write("router_delete", move |tx| {
            expected.check(&router_fetch(tx, id)?.standard)?;
            router_delete_checked_in_tx(tx, &cx, id)
        })
        .await?;
    Ok(Reply::no_content())
}

/// `subnet_id` and `port_id` of a body.
async fn interface_ids(req: &mut Request) -> Result<(Option<SubnetId>, Option<PortId>)> {
    let body = kit::read(req).await?;
    let text = |key: &str| -> Result<Option<String>> {
        match body.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => attrs::uuid(value)
                .map(Some)
                .map_err(|reason| errors::bad("router", format!("Invalid input for {key}. Reason: {reason}"))),
        }
    };
    let (subnet, port) = (text("subnet_id")?, text("port_id")?);
    if subnet.is_none() && port.is_none() {
        return Err(errors::bad("router", "Either subnet_id or port_id must be specified"));
    }
    Ok((subnet.and_then(|id| id.parse().ok()), port.and_then(|id| id.parse().ok())))
}

fn interface_view(router: &RouterRow, port: &Port) -> Value {
    let subnets: Vec<SubnetId> = port.addresses.iter().map(|a| a.subnet_id).collect();
    json!({
        "id": router.id, "tenant_id": router.standard.project_id, "project_id": router.standard.project_id,
        "port_id": port.row.id, "network_id": port.row.network_id, "subnet_id": subnets.first(), "subnet_ids": subnets,
        "tags": [],
    })
}

/// `PUT /v2.0/routers/{id}/add_router_interface`
pub(crate) async fn add_interface(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: RouterId = kit::path_id(&req, &RESOURCE, "id")?;
    let (subnet, port) = interface_ids(&mut req).await?;
    let item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    kit::authorize(&req, "add_router_interface", &[], &item.target)?;
    let wanted = match (subnet, port) {
        (Some(_), Some(_)) => return Err(errors::bad("router", "Cannot specify both subnet-id and port-id")),
        (Some(subnet), None) => {
            check_subnet(&service, &req, subnet).await?;
            WantedInterface::Subnet(subnet)
        }
        (None, Some(port)) => {
            let item = ports::fetch(&service, port).await?;
            kit::visible(&req, &ports::RESOURCE, &item, &port.to_string())?;
            WantedInterface::Port(port)
        }
        (None, None) => return Err(errors::bad("router", "Either subnet_id or port_id must be specified")),
    };
    let (cx, project) = (service.cx(), kit::own_project(&req));
    let (router, port) =
        service.db.write("router_interface_add", move |tx| interface_add_in_tx(tx, &cx, id, wanted, &project)).await?;
    Ok(Reply::ok(&interface_view(&router, &port)))
}

/// The subnet must be one that the caller may know of.
async fn check_subnet(service: &Network, req: &Request, id: SubnetId) -> Result<()> {
    let subnet = service.db.read("subnet_for", move |tx| subnet_fetch(tx, id)).await?;
    let hidden = |_| errors::subnet_not_found(id);
    if subnet.standard.project_id == kit::own_project(req) {
        return Ok(());
    }
    let network = subnets::network_for(service, req, subnet.network_id).await.map_err(hidden)?;
    // Its gateway's address is taken, which is for the network's owner unless the network is everybody's.
    let own = network.standard.project_id == kit::own_project(req);
    if own || network.shared || kit::is_admin(req) { Ok(()) } else { Err(errors::subnet_not_found(id)) }
}

/// `PUT /v2.0/routers/{id}/remove_router_interface`
pub(crate) async fn remove_interface(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: RouterId = kit::path_id(&req, &RESOURCE, "id")?;
    let (subnet, port) = interface_ids(&mut req).await?;
    let item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    kit::authorize(&req, "remove_router_interface", &[], &item.target)?;
    let cx = service.cx();
    let (router, port) = service
        .db
        .write("router_interface_remove", move |tx| interface_remove_in_tx(tx, &cx, id, port, subnet))
        .await?;
    Ok(Reply::ok(&interface_view(&router, &port)))
}
