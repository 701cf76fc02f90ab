//! `/v2.0/floatingips`

use super::kit::{self, Item, Resource};
use super::{ports, subnets};
use crate::attrs::{self, Attr, Attrs, Default, Kind, attr, read_only};
use crate::model::{FloatingIpRow, PortRow, Standard};
use crate::rules::floating_ips::{
    Association, NewFloatingIp, floating_ip_create_in_tx, floating_ip_delete_checked_in_tx,
    floating_ip_update_checked_in_tx,
};
use crate::rules::ips::WantedIp;
use crate::store::floating_ips::{TABLE, floating_ip_fetch};
use crate::store::list::{self, ListQuery, ListSpec, column};
use crate::store::ports::port_fetch_many;
use crate::store::tags;
use crate::{Network, errors};
use ferrostack_db::{Tx, Value as Sql};
use ferrostack_rest::{Reply, Request};
use ferrostack_types::ids::{FloatingIpId, NetworkId, PortId};
use ferrostack_types::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub(crate) const RESOURCE: Resource = Resource {
    singular: "floatingip",
    plural: "floatingips",
    guarded: &[],
    missing: |id| errors::floating_ip_not_found(id),
};

const ATTRS: &[Attr] = &[
    read_only("id"),
    attr("description", Kind::Text(255), Default::Text("")),
    attr("floating_network_id", Kind::Uuid, Default::Required).create_only(),
    attr("floating_ip_address", Kind::IpOrNull, Default::Unset).create_only(),
    attr("subnet_id", Kind::UuidOrNull, Default::Null).create_only(),
    attr("port_id", Kind::UuidOrNull, Default::Null),
    attr("fixed_ip_address", Kind::IpOrNull, Default::Null),
    attr("dns_name", Kind::Text(255), Default::Text("")).create_only(),
    attr("dns_domain", Kind::Text(255), Default::Text("")).create_only(),
    attr("qos_policy_id", Kind::OneOfOrNull(&[]), Default::Null),
    attr("tags", Kind::Check(attrs::tags), Default::List).create_only(),
    read_only("router_id"),
    read_only("status"),
    read_only("port_details"),
    read_only("created_at"),
    read_only("updated_at"),
    read_only("revision_number"),
];

const LIST: ListSpec = ListSpec {
    table: TABLE,
    columns: FloatingIpRow::COLUMNS,
    filters: &[
        column("id", list::Kind::Text, "id"),
        column("description", list::Kind::Text, "description"),
        column("project_id", list::Kind::Text, "project_id"),
        column("tenant_id", list::Kind::Text, "project_id"),
        column("floating_network_id", list::Kind::Text, "floating_network_id"),
        column("floating_ip_address", list::Kind::Ip, "floating_ip"),
        column("fixed_ip_address", list::Kind::Ip, "COALESCE(fixed_ip, '-')"),
        column("port_id", list::Kind::Text, "COALESCE(port_id, '')"),
        column("router_id", list::Kind::Text, "COALESCE(router_id, '')"),
        column("status", list::Kind::Text, "status"),
        column("revision_number", list::Kind::Int, "revision"),
    ],
    sorts: &[
        ("id", "id"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("floating_network_id", "floating_network_id"),
        ("floating_ip_address", "floating_ip"),
        ("fixed_ip_address", "COALESCE(fixed_ip, '')"),
        ("port_id", "COALESCE(port_id, '')"),
        ("router_id", "COALESCE(router_id, '')"),
        ("status", "status"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ],
};

/// Views of rows, in a fixed number of queries.
pub(crate) fn items(tx: &mut Tx<'_>, rows: &[FloatingIpRow]) -> Result<Vec<Item>> {
    let names: Vec<String> = rows.iter().map(|f| f.id.to_string()).collect();
    let tags = tags::tags_of(tx, &names)?;
    let ports: Vec<PortId> = rows.iter().filter_map(|f| f.port_id).collect();
    let ports: HashMap<PortId, PortRow> = port_fetch_many(tx, &ports)?.into_iter().map(|p| (p.row.id, p.row)).collect();
    let item = |f: &FloatingIpRow| {
        let details = f.port_id.and_then(|id| ports.get(&id)).map(|p| {
            json!({
                "name": p.name, "network_id": p.network_id, "mac_address": p.mac, "admin_state_up": p.admin_state_up,
                "status": p.status, "device_id": p.device_id, "device_owner": p.device_owner,
            })
        });
        let mut body = json!({
            "id": f.id, "floating_network_id": f.network_id, "floating_ip_address": f.address,
            "fixed_ip_address": f.fixed_ip, "port_id": f.port_id, "router_id": f.router_id, "status": f.status,
            "port_details": details, "dns_name": "", "dns_domain": "", "qos_policy_id": null,
        });
        kit::with_standard(&mut body, &f.standard, tags.get(&f.id.to_string()));
        Item::new(body, kit::target(&f.standard.project_id))
    };
    Ok(rows.iter().map(item).collect())
}

fn one_item(tx: &mut Tx<'_>, row: FloatingIpRow) -> Result<Item> {
    let id = row.id;
    items(tx, &[row])?.pop().ok_or_else(|| errors::floating_ip_not_found(id))
}

/// `GET /v2.0/floatingips`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let mut query = ListQuery::parse(&LIST, &req.query)?;
    if !kit::sees_all(&req) {
        query.only("project_id = ?", vec![Sql::from(kit::own_project(&req))]);
    }
    let list = query.clone();
    let items = service
        .db
        .read("floating_ip_list", move |tx| {
            let rows = list.fetch(tx, &LIST, RESOURCE.missing, FloatingIpRow::read)?;
            items(tx, &rows)
        })
        .await?;
    Ok(kit::list(&req, &RESOURCE, &query, items))
}

async fn fetch(service: &Network, id: FloatingIpId) -> Result<Item> {
    service
        .db
        .read("floating_ip_show", move |tx| {
            let row = floating_ip_fetch(tx, id)?;
            one_item(tx, row)
        })
        .await
}

/// `GET /v2.0/floatingips/{id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: FloatingIpId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "get", &[], &item, req.param("id"))?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// Where the body wants it to lead. The port must be the floating IP's project's, or the caller an administrator.
async fn association(service: &Network, req: &Request, attrs: &Attrs) -> Result<Option<Association>> {
    let fixed_ip: Option<IpAddr> = attrs.parsed("fixed_ip_address");
    let Some(port) = attrs.parsed::<PortId>("port_id") else {
        if fixed_ip.is_some() {
            return Err(errors::bad("floatingip", "fixed_ip_address cannot be specified without a port_id"));
        }
        return Ok(None);
    };
    let item = ports::fetch(service, port).await?;
    kit::visible(req, &ports::RESOURCE, &item, &port.to_string())?;
    let owner = item.body.get("project_id").and_then(Value::as_str).unwrap_or_default();
    if owner != kit::own_project(req) && !kit::sees_all(req) {
        return Err(errors::port_not_found(port));
    }
    Ok(Some(Association { port, fixed_ip }))
}

/// `POST /v2.0/floatingips`
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let (raws, bulk) = kit::bodies(&mut req, &RESOURCE).await?;
    let cx = service.cx();
    let mut new = Vec::new();
    for mut raw in raws {
        let project = kit::take_project(&req, &mut raw)?;
        let attrs = Attrs::create(ATTRS, &raw)?;
        let given: Vec<&str> = attrs.explicit.iter().copied().filter(|name| !attrs.value(name).is_null()).collect();
        kit::authorize(&req, "create_floatingip", &given, &kit::target(&project))?;
        let network: NetworkId = attrs.parsed("floating_network_id").ok_or_else(|| Error::internal("a checked id"))?;
        subnets::network_for(&service, &req, network).await?;
        let to = association(&service, &req, &attrs).await?;
        let row = FloatingIpRow {
            id: FloatingIpId(cx.env.uuid()),
            standard: Standard::new(&project, &attrs.text("description"), cx.now),
            network_id: network,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            floating_port: PortId(cx.env.uuid()),
            port_id: None,
            fixed_ip: None,
            router_id: None,
            status: "DOWN".to_owned(),
        };
        let from = WantedIp { subnet: attrs.parsed("subnet_id"), ip: attrs.parsed("floating_ip_address") };
        new.push(NewFloatingIp { row, from, to, tags: kit::new_tags(&attrs) });
    }
    let items = service
        .db
        .write("floating_ip_create", move |tx| {
            let mut rows = Vec::new();
            for one in &new {
                rows.push(floating_ip_create_in_tx(tx, &cx, one.clone())?);
            }
            items(tx, &rows)
        })
        .await?;
    Ok(kit::created(&req, &RESOURCE, items, bulk))
}

/// `PUT /v2.0/floatingips/{id}`
pub(crate) async fn update(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: FloatingIpId = kit::path_id(&req, &RESOURCE, "id")?;
    let raw: Map<String, Value> = kit::body(&mut req, &RESOURCE).await?;
    let item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    let attrs = Attrs::update(ATTRS, &raw)?;
    kit::authorize_change(&req, &RESOURCE, "update", &attrs.explicit, &item, req.param("id"))?;
    let moves = attrs.has("port_id") || attrs.has("fixed_ip_address");
    let to = if moves { association(&service, &req, &attrs).await? } else { None };
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    let item = service
        .db
        .write("floating_ip_update", move |tx| {
            let mut row = floating_ip_fetch(tx, id)?;
            expected.check(&row.standard)?;
            attrs.set_text("description", &mut row.standard.description);
            floating_ip_update_checked_in_tx(tx, &cx, &mut row, attrs.has("port_id").then_some(to))?;
            one_item(tx, row)
        })
        .await?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// `DELETE /v2.0/floatingips/{id}`
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: FloatingIpId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "delete", &[], &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    service
        .db
        .write("floating_ip_delete", move |tx| {
            expected.check(&floating_ip_fetch(tx, id)?.standard)?;
            floating_ip_delete_checked_in_tx(tx, &cx, id)
        })
        .await?;
    Ok(Reply::no_content())
}
