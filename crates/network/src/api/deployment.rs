//! What the deployment is like: extensions, agents, availability zones, how full networks are.

use super::kit;
use crate::loops::known_hosts;
use crate::model::{NetworkRow, SubnetRow};
use crate::rules::groups::derived_id;
use crate::rules::subnets::used_addresses;
use crate::store::group_by;
use crate::store::networks::network_fetch;
use crate::store::subnets::subnets_of_networks;
use crate::{Network, errors};
use ferrostack_db::{Tx, params};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::{NetworkId, SubnetId};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// What is served beyond the core: alias and name.
const EXTENSIONS: &[(&str, &str)] = &[
    ("agent", "agent"),
    ("allowed-address-pairs", "Allowed Address Pairs"),
    ("availability_zone", "Availability Zone"),
    ("binding", "Port Binding"),
    ("empty-string-filtering", "Empty String Filtering Extension"),
    ("ext-gw-mode", "Neutron L3 Configurable external gateway mode"),
    ("external-net", "Neutron external network"),
    ("extra_dhcp_opt", "Neutron Extra DHCP options"),
    ("extraroute", "Neutron Extra Route"),
    ("filter-validation", "Filter parameters validation"),
    ("fip-port-details", "Floating IP Port Details Extension"),
    ("ip_allocation", "IP Allocation"),
    ("net-mtu", "Network MTU"),
    ("net-mtu-writable", "Network MTU (writable)"),
    ("network-ip-availability", "Network IP Availability"),
    ("network_availability_zone", "Network Availability Zone"),
    ("pagination", "Pagination support"),
    ("port-security", "Port Security"),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("quotas", "Quota management support"),
    ("quota_details", "Quota details management support"),
    ("revision-if-match", "If-Match constraints based on revision_number"),
    ("router", "Neutron L3 Router"),
    ("router_availability_zone", "Router Availability Zone"),
    ("security-group", "security-group"),
    ("security-groups-normalized-cidr", "Normalized CIDR field for security group rules"),
    ("security-groups-rules-belongs-to-default-sg", "Security group rules in the default group"),
    ("service-type", "Neutron Service Type Management"),
    ("sort-key-validation", "Sort keys validation"),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    ("standard-attr-tag", "Tag support for resources with standard attribute"),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("stateful-security-group", "Stateful security group"),
    ("subnet-external-network", "Subnet belongs to an external network"),
    ("subnet-service-types", "Subnet service types"),
    ("tag-creation", "Tag creation extension"),
    ("tag-ports-during-bulk-creation", "Tag Ports During Bulk Creation"),
];

fn extension((alias, name): &(&str, &str)) -> Value {
    json!({"alias": alias, "name": name, "description": name, "updated": "2024-01-01T00:00:00-00:00", "links": []})
}

/// `GET /v2.0/extensions`
pub(crate) async fn extensions(_service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    Ok(Reply::ok(&json!({"extensions": EXTENSIONS.iter().map(extension).collect::<Vec<_>>()})))
}

/// `GET /v2.0/extensions/{alias}`
pub(crate) async fn extension_show(_service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    let alias = req.param("alias");
    let found = EXTENSIONS.iter().find(|(known, _)| *known == alias).ok_or_else(|| {
        let shown: String = alias.chars().take(64).collect();
        Error::not_found(format!("Extension with alias {shown} does not exist")).with_code("HTTPNotFound")
    })?;
    Ok(Reply::ok(&json!({"extension": extension(found)})))
}

/// `GET /v2.0/service-providers`
pub(crate) async fn service_providers(_service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize(&req, "get_service_provider", &[], &Target::none())?;
    Ok(Reply::ok(&json!({"service_providers": []})))
}

/// `GET /v2.0/availability_zones`
pub(crate) async fn availability_zones(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize(&req, "get_availability_zone", &[], &Target::none())?;
    let zone =
        |resource: &str| json!({"name": service.config.availability_zone, "resource": resource, "state": "available"});
    Ok(Reply::ok(&json!({"availability_zones": [zone("network"), zone("router")]})))
}

fn agent(host: &str, zone: &str) -> Value {
    json!({
        "id": derived_id("agent on", host), "agent_type": "OVN Controller agent", "binary": "ovn-controller",
        "host": host, "topic": "n/a", "admin_state_up": true, "alive": true, "availability_zone": zone,
        "configurations": {}, "description": "", "resources_synced": null,
    })
}

/// `GET /v2.0/agents`: the hosts that carry ports.
pub(crate) async fn agents(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    if !req.allowed("get_agent", &Target::none()) {
        return Ok(Reply::ok(&json!({"agents": []})));
    }
    let hosts = service.db.read("agents", known_hosts).await?;
    let wanted: Vec<&str> = req.query.all("host").collect();
    let hosts = hosts.iter().filter(|host| wanted.is_empty() || wanted.contains(&host.as_str()));
    let zone = &service.config.availability_zone;
    Ok(Reply::ok(&json!({"agents": hosts.map(|host| agent(host, zone)).collect::<Vec<_>>()})))
}

/// `GET /v2.0/agents/{id}`
pub(crate) async fn agent_show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let id: String = req.param("id").chars().take(64).collect();
    let missing = || Error::not_found(format!("Agent {id} could not be found.")).with_code("AgentNotFound");
    req.authorize_or(&Target::none(), missing)?;
    let hosts = service.db.read("agents", known_hosts).await?;
    let found = hosts.iter().find(|host| derived_id("agent on", host).to_string() == id);
    let host = found.ok_or_else(missing)?;
    Ok(Reply::ok(&json!({"agent": agent(host, &service.config.availability_zone)})))
}

/// How full networks are.
fn availability(tx: &mut Tx<'_>, networks: &[NetworkRow]) -> Result<Vec<Value>> {
    let ids: Vec<NetworkId> = networks.iter().map(|n| n.id).collect();
    let subnets = subnets_of_networks(tx, &ids)?;
    let subnet_ids: Vec<SubnetId> = subnets.iter().map(|s| s.id).collect();
    let used: HashMap<SubnetId, u64> = used_addresses(tx, &subnet_ids)?.into_iter().collect();
    let mut by_network = group_by(subnets.into_iter().map(|s| (s.network_id, s)));
    let view = |n: &NetworkRow| {
        let subnets = by_network.remove(&n.id).unwrap_or_default();
        let total = |s: &SubnetRow| s.pools.iter().map(|p| p.size()).fold(0_u128, u128::saturating_add);
        let taken = |s: &SubnetRow| used.get(&s.id).copied().unwrap_or_default();
        let number = |n: u128| u64::try_from(n).map_or_else(|_| json!(n as f64), |n| json!(n));
        let each = subnets.iter().map(|s| {
            json!({
                "subnet_id": s.id, "subnet_name": s.name, "cidr": s.cidr.to_string(), "ip_version": s.ip_version,
                "total_ips": number(total(s)), "used_ips": taken(s),
            })
        });
        let each: Vec<Value> = each.collect();
        json!({
            "network_id": n.id, "network_name": n.name, "tenant_id": n.standard.project_id,
            "project_id": n.standard.project_id, "subnet_ip_availability": each,
            "total_ips": number(subnets.iter().map(total).fold(0, u128::saturating_add)),
            "used_ips": subnets.iter().map(taken).sum::<u64>(),
        })
    };
    Ok(networks.iter().map(view).collect())
}

/// `GET /v2.0/network-ip-availabilities`
pub(crate) async fn ip_availabilities(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize_list(&req)?;
    if !req.allowed("get_network_ip_availability", &Target::none()) {
        return Ok(Reply::ok(&json!({"network_ip_availabilities": []})));
    }
    let own = |key: &str| -> Vec<String> { req.query.all(key).map(str::to_owned).collect() };
    let (ids, names) = (own("network_id"), own("network_name"));
    let projects: Vec<String> = own("project_id").into_iter().chain(own("tenant_id")).collect();
    let views = service
        .db
        .read("ip_availabilities", move |tx| {
            let sql = format!("SELECT {} FROM network_networks ORDER BY id", NetworkRow::COLUMNS);
            let mut rows = tx.query(&sql, params![], NetworkRow::read)?;
            let wanted = |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value);
            rows.retain(|n| {
                wanted(&ids, &n.id.to_string()) && wanted(&names, &n.name) && wanted(&projects, &n.standard.project_id)
            });
            availability(tx, &rows)
        })
        .await?;
    Ok(Reply::ok(&json!({"network_ip_availabilities": views})))
}

/// `GET /v2.0/network-ip-availabilities/{network_id}`
pub(crate) async fn ip_availability(service: Arc<Network>, req: Request) -> Result<Reply> {
    let text: String = req.param("network_id").chars().take(64).collect();
    let missing = || errors::network_not_found(&text);
    req.authorize_or(&Target::none(), missing)?;
    let id = NetworkId::parse(&text).ok_or_else(missing)?;
    let view = service
        .db
        .read("ip_availability", move |tx| {
            let row = network_fetch(tx, id)?;
            Ok(availability(tx, &[row])?.pop())
        })
        .await?;
    Ok(Reply::ok(&json!({"network_ip_availability": view})))
}
