//! `/v2.0/networks`

use super::kit::{self, Item, Resource};
use crate::attrs::{self, Attr, Attrs, Default, Kind, attr, read_only};
use crate::model::{NetworkRow, Standard};
use crate::rules::networks::{
    GENEVE_OVERHEAD, check_default, check_narrowing, mark_with_routers, network_create_in_tx,
    network_delete_checked_in_tx,
};
use crate::store::list::{self, ListQuery, ListSpec, column, within};
use crate::store::networks::{TABLE, network_fetch, network_update_in_tx};
use crate::store::subnets::subnets_of_networks;
use crate::store::{group_by, tags};
use crate::{Network, NetworkConfig, errors};
use ferrostack_db::{Tx, Value as Sql};
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use ferrostack_types::ids::NetworkId;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) const RESOURCE: Resource = Resource {
    singular: "network",
    plural: "networks",
    guarded: &["provider:network_type", "provider:physical_network", "provider:segmentation_id"],
    missing: |id| errors::network_not_found(id),
};

const TYPES: &[&str] = &["geneve", "vlan", "flat", "local"];

const ATTRS: &[Attr] = &[
    read_only("id"),
    attr("name", Kind::Text(255), Default::Text("")),
    attr("description", Kind::Text(255), Default::Text("")),
    attr("admin_state_up", Kind::Bool, Default::Bool(true)),
    attr("shared", Kind::Bool, Default::Bool(false)),
    attr("router:external", Kind::Bool, Default::Bool(false)),
    attr("is_default", Kind::Bool, Default::Bool(false)),
    attr("mtu", Kind::Int(0, 65535), Default::Unset),
    attr("port_security_enabled", Kind::Bool, Default::Bool(true)),
    attr("provider:network_type", Kind::OneOfOrNull(TYPES), Default::Unset).create_only(),
    attr("provider:physical_network", Kind::TextOrNull(64), Default::Unset).create_only(),
    attr("provider:segmentation_id", Kind::IntOrNull(1, 16_777_215), Default::Unset).create_only(),
    attr("availability_zone_hints", Kind::Check(attrs::words), Default::List).create_only(),
    attr("dns_domain", Kind::TextOrNull(255), Default::Unset),
    attr("tags", Kind::Check(attrs::tags), Default::List).create_only(),
    read_only("status"),
    read_only("subnets"),
    read_only("availability_zones"),
    read_only("ipv4_address_scope"),
    read_only("ipv6_address_scope"),
    read_only("created_at"),
    read_only("updated_at"),
    read_only("revision_number"),
];

const LIST: ListSpec = ListSpec {
    table: TABLE,
    columns: NetworkRow::COLUMNS,
    filters: &[
        column("id", list::Kind::Text, "id"),
        column("name", list::Kind::Text, "name"),
        column("description", list::Kind::Text, "description"),
        column("project_id", list::Kind::Text, "project_id"),
        column("tenant_id", list::Kind::Text, "project_id"),
        column("admin_state_up", list::Kind::Bool, "admin_state_up"),
        column("shared", list::Kind::Bool, "shared"),
        column("router:external", list::Kind::Bool, "external"),
        column("is_default", list::Kind::Bool, "is_default"),
        column("mtu", list::Kind::Int, "mtu"),
        column("port_security_enabled", list::Kind::Bool, "port_security_enabled"),
        column("provider:network_type", list::Kind::Text, "network_type"),
        column("provider:physical_network", list::Kind::Text, "COALESCE(physical_network, '')"),
        column("provider:segmentation_id", list::Kind::Int, "segmentation_id"),
        column("revision_number", list::Kind::Int, "revision"),
        column("status", list::Kind::Text, "'ACTIVE'"),
        within("subnets", list::Kind::Text, "id IN (SELECT network_id FROM network_subnets WHERE id", ")"),
    ],
    sorts: &[
        ("id", "id"),
        ("name", "name"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
        ("admin_state_up", "admin_state_up"),
        ("shared", "shared"),
        ("mtu", "mtu"),
        ("status", "id"),
        ("created_at", "created_at"),
        ("updated_at", "updated_at"),
    ],
};

/// Views of rows, in a fixed number of queries.
pub(crate) fn items(tx: &mut Tx<'_>, config: &NetworkConfig, rows: &[NetworkRow]) -> Result<Vec<Item>> {
    let ids: Vec<NetworkId> = rows.iter().map(|n| n.id).collect();
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let tags = tags::tags_of(tx, &names)?;
    let mut subnets = group_by(subnets_of_networks(tx, &ids)?.into_iter().map(|s| (s.network_id, s.id.to_string())));
    let item = |n: &NetworkRow| {
        let mut body = json!({
            "id": n.id, "name": n.name, "admin_state_up": n.admin_state_up, "status": "ACTIVE",
            "subnets": subnets.remove(&n.id).unwrap_or_default(), "shared": n.shared, "router:external": n.external,
            "mtu": n.mtu, "port_security_enabled": n.port_security, "availability_zone_hints": n.az_hints,
            "availability_zones": [config.availability_zone], "ipv4_address_scope": null, "ipv6_address_scope": null,
            "provider:network_type": n.network_type, "provider:physical_network": n.physical_network,
            "provider:segmentation_id": n.segmentation_id, "dns_domain": null,
        });
        if n.external {
            body["is_default"] = Value::Bool(n.is_default);
        }
        kit::with_standard(&mut body, &n.standard, tags.get(&n.id.to_string()));
        let target = kit::target(&n.standard.project_id)
            .set("shared", kit::flag(n.shared))
            .set("router:external", kit::flag(n.external));
        Item::new(body, target)
    };
    Ok(rows.iter().map(item).collect())
}

fn one_item(tx: &mut Tx<'_>, config: &NetworkConfig, row: NetworkRow) -> Result<Item> {
    let id = row.id;
    items(tx, config, &[row])?.pop().ok_or_else(|| errors::network_not_found(id))
}

/// `GET /v2.0/networks`
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let mut query = ListQuery::parse(&LIST, &req.query)?;
    if !kit::sees_all(&req) {
        query.only("project_id = ? OR shared = 1 OR external = 1", vec![Sql::from(kit::own_project(&req))]);
    }
    let (list, config) = (query.clone(), Arc::clone(&service.config));
    let items = service
        .db
        .read("network_list", move |tx| {
            let rows = list.fetch(tx, &LIST, RESOURCE.missing, NetworkRow::read)?;
            items(tx, &config, &rows)
        })
        .await?;
    Ok(kit::list(&req, &RESOURCE, &query, items))
}

async fn fetch(service: &Network, id: NetworkId) -> Result<Item> {
    let config = Arc::clone(&service.config);
    service
        .db
        .read("network_show", move |tx| {
            let row = network_fetch(tx, id)?;
            one_item(tx, &config, row)
        })
        .await
}

/// `GET /v2.0/networks/{id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: NetworkId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "get", &[], &item, req.param("id"))?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// `POST /v2.0/networks`
pub(crate) async fn create(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let (raws, bulk) = kit::bodies(&mut req, &RESOURCE).await?;
    let cx = service.cx();
    let mut new = Vec::new();
    for mut raw in raws {
        let project = kit::take_project(&req, &mut raw)?;
        let attrs = Attrs::create(ATTRS, &raw)?;
        kit::authorize(&req, "create_network", &attrs.explicit, &kit::target(&project))?;
        let standard = Standard::new(&project, &attrs.text("description"), cx.now);
        new.push((row(&service.config, NetworkId(cx.env.uuid()), standard, &attrs)?, kit::new_tags(&attrs)));
    }
    let config = Arc::clone(&service.config);
    let items = service
        .db
        .write("network_create", move |tx| {
            let mut rows = Vec::new();
            for (row, tags) in &new {
                rows.push(network_create_in_tx(tx, &cx, row.clone(), tags)?);
            }
            items(tx, &config, &rows)
        })
        .await?;
    Ok(kit::created(&req, &RESOURCE, items, bulk))
}

fn row(config: &NetworkConfig, id: NetworkId, standard: Standard, attrs: &Attrs) -> Result<NetworkRow> {
    let external = attrs.bool("router:external").unwrap_or_default();
    let network_type = attrs.opt_text("provider:network_type");
    let physical_network = attrs.opt_text("provider:physical_network");
    let segmentation_id = attrs.int("provider:segmentation_id");
    let network_type = match network_type {
        Some(kind) => kind,
        None if physical_network.is_some() || segmentation_id.is_some() => {
            return Err(errors::invalid_input("network_type required"));
        }
        None => "geneve".to_owned(),
    };
    check_provider(config, &network_type, physical_network.as_deref(), segmentation_id)?;
    let most = match network_type.as_str() {
        "geneve" => config.physical_mtu.saturating_sub(GENEVE_OVERHEAD),
        _ => config.physical_mtu,
    };
    Ok(NetworkRow {
        id,
        standard,
        name: attrs.text("name"),
        admin_state_up: attrs.bool("admin_state_up").unwrap_or(true),
        shared: attrs.bool("shared").unwrap_or_default(),
        external,
        is_default: attrs.bool("is_default").unwrap_or_default(),
        mtu: mtu(attrs, most)?.unwrap_or(most),
        port_security: attrs.bool("port_security_enabled").unwrap_or(true),
        network_type,
        physical_network,
        segmentation_id,
        az_hints: attrs.texts("availability_zone_hints"),
    })
}

/// The asked MTU; 0 means "what fits".
fn mtu(attrs: &Attrs, most: u32) -> Result<Option<u32>> {
    match attrs.int("mtu").and_then(|m| u32::try_from(m).ok()) {
        None | Some(0) => Ok(None),
        Some(mtu) if mtu < 68 => {
            Err(errors::invalid_input(format!("Requested MTU is too small, minimum is 68: {mtu}")))
        }
        Some(mtu) if mtu > most => Err(errors::invalid_input(format!("Requested MTU is too big, maximum is {most}"))),
        Some(mtu) => Ok(Some(mtu)),
    }
}

fn check_provider(config: &NetworkConfig, kind: &str, physical: Option<&str>, id: Option<i64>) -> Result<()> {
    match kind {
        "flat" | "vlan" => {
            let name = physical.ok_or_else(|| {
                errors::invalid_input(format!("physical_network required for {kind} provider network"))
            })?;
            if !config.physical_networks.iter().any(|p| p == name) {
                let text = format!("physical_network '{name}' unknown for {kind} provider network");
                return Err(errors::invalid_input(text));
            }
        }
        _ if physical.is_some() => {
            let text = format!("provider:physical_network specified for {kind} network");
            return Err(errors::invalid_input(text));
        }
        _ => {}
    }
    match (kind, id) {
        ("vlan", None) => Err(errors::invalid_input("segmentation_id required for VLAN provider network")),
        ("vlan", Some(id)) if !(1..=4094).contains(&id) => {
            Err(errors::invalid_input("segmentation_id out of range (1 through 4094)"))
        }
        ("flat" | "local", Some(_)) => {
            Err(errors::invalid_input(format!("segmentation_id specified for {kind} provider network")))
        }
        _ => Ok(()),
    }
}

/// `PUT /v2.0/networks/{id}`
pub(crate) async fn update(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let id: NetworkId = kit::path_id(&req, &RESOURCE, "id")?;
    let raw: Map<String, Value> = kit::body(&mut req, &RESOURCE).await?;
    let item = fetch(&service, id).await?;
    kit::visible(&req, &RESOURCE, &item, req.param("id"))?;
    let attrs = Attrs::update(ATTRS, &raw)?;
    kit::authorize_change(&req, &RESOURCE, "update", &attrs.explicit, &item, req.param("id"))?;
    let expected = kit::expected(&req)?;
    let (cx, config) = (service.cx(), Arc::clone(&service.config));
    let item = service
        .db
        .write("network_update", move |tx| {
            let before = network_fetch(tx, id)?;
            expected.check(&before.standard)?;
            let mut after = before.clone();
            attrs.set_text("name", &mut after.name);
            attrs.set_text("description", &mut after.standard.description);
            attrs.set_bool("admin_state_up", &mut after.admin_state_up);
            attrs.set_bool("shared", &mut after.shared);
            attrs.set_bool("router:external", &mut after.external);
            attrs.set_bool("is_default", &mut after.is_default);
            attrs.set_bool("port_security_enabled", &mut after.port_security);
            let overhead = if after.network_type == "geneve" { GENEVE_OVERHEAD } else { 0 };
            if let Some(mtu) = mtu(&attrs, config.physical_mtu.saturating_sub(overhead))? {
                after.mtu = mtu;
            }
            check_narrowing(tx, &before, &after)?;
            check_default(tx, &after)?;
            after.standard.touch(cx.now);
            network_update_in_tx(tx, &after)?;
            mark_with_routers(tx, &cx, id)?;
            one_item(tx, &config, after)
        })
        .await?;
    Ok(kit::one(&req, &RESOURCE, item))
}

/// `DELETE /v2.0/networks/{id}`
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: NetworkId = kit::path_id(&req, &RESOURCE, "id")?;
    let item = fetch(&service, id).await?;
    kit::authorize_change(&req, &RESOURCE, "delete", &[], &item, req.param("id"))?;
    let (cx, expected) = (service.cx(), kit::expected(&req)?);
    service
        .db
        .write("network_delete", move |tx| {
            expected.check(&network_fetch(tx, id)?.standard)?;
            network_delete_checked_in_tx(tx, &cx, id)
        })
        .await?;
    Ok(Reply::no_content())
}
