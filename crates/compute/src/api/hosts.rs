//! `/os-availability-zone`, `/os-services`, `/os-hypervisors`

use super::query_number;
use crate::Compute;
use crate::microversions::*;
use crate::model::Server;
use crate::store::aggregates;
use crate::store::nodes::{self, Node};
use crate::store::servers::{ServerFilter, servers_where_in_tx};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::ids::NodeId;
use ferrostack_types::{Error, Microversion, Result, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The hosts with their zones.
struct Cloud {
    nodes: Vec<Node>,
    zones: BTreeMap<String, String>,
    now: Timestamp,
}

impl Cloud {
    async fn read(compute: &Compute) -> Result<Cloud> {
        let read = |tx: &mut Tx<'_>| Ok((nodes::node_list_in_tx(tx)?, aggregates::zones_in_tx(tx)?));
        let (nodes, zones) = compute.db.read("hosts", read).await?;
        Ok(Cloud { nodes, zones, now: compute.env.now() })
    }

    fn zone<'a>(&'a self, compute: &'a Compute, host: &str) -> &'a str {
        self.zones.get(host).map_or(compute.config.default_zone.as_str(), String::as_str)
    }

    fn is_up(&self, compute: &Compute, node: &Node) -> bool {
        node.is_up(self.now, compute.config.node_down_after)
    }
}

/// `GET /os-availability-zone`
pub(crate) async fn zones(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    zone_list(compute, request, false).await
}

/// `GET /os-availability-zone/detail`
pub(crate) async fn zones_detail(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    zone_list(compute, request, true).await
}

async fn zone_list(compute: Arc<Compute>, request: Request, whole: bool) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let cloud = Cloud::read(&compute).await?;
    let mut by_zone: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in &cloud.nodes {
        by_zone.entry(cloud.zone(&compute, &node.name)).or_default().push(node);
    }
    let list: Vec<Value> = by_zone
        .into_iter()
        .map(|(zone, nodes)| {
            let available = nodes.iter().any(|node| !node.disabled);
            let hosts: BTreeMap<&str, Value> = nodes
                .iter()
                .map(|node| {
                    let service = json!({"nova-compute": {
                        "available": cloud.is_up(&compute, node), "active": !node.disabled,
                        "updated_at": node.heartbeat_at.to_iso_naive_micros()}});
                    (node.name.as_str(), service)
                })
                .collect();
            let hosts = if whole { json!(hosts) } else { Value::Null };
            json!({"zoneName": zone, "zoneState": {"available": available}, "hosts": hosts})
        })
        .collect();
    Ok(Reply::ok(&json!({"availabilityZoneInfo": list})))
}

fn service_view(compute: &Compute, cloud: &Cloud, node: &Node, version: Microversion) -> Value {
    let mut view = json!({
        "id": if version >= V2_53 { json!(node.service_id.to_string()) } else { json!(node.number) },
        "binary": "nova-compute",
        "host": node.name,
        "zone": cloud.zone(compute, &node.name),
        "status": if node.disabled { "disabled" } else { "enabled" },
        "state": if cloud.is_up(compute, node) { "up" } else { "down" },
        "updated_at": node.heartbeat_at.to_iso_naive_micros(),
        "disabled_reason": node.disabled_reason,
    });
    if version >= V2_11 {
        view["forced_down"] = json!(node.forced_down);
    }
    view
}

/// `GET /os-services`
pub(crate) async fn services(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let cloud = Cloud::read(&compute).await?;
    let (host, binary) = (request.query.get("host"), request.query.get("binary"));
    let wanted = |node: &&Node| {
        host.is_none_or(|host| host == node.name) && binary.is_none_or(|binary| binary == "nova-compute")
    };
    let list: Vec<Value> =
        cloud.nodes.iter().filter(wanted).map(|node| service_view(&compute, &cloud, node, request.version())).collect();
    Ok(Reply::ok(&json!({"services": list})))
}

static SERVICE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({"type": "object", "additionalProperties": false, "properties": {
        "status": {"type": "string", "enum": ["enabled", "disabled"]},
        "disabled_reason": {"type": "string", "minLength": 1, "maxLength": 255},
        "forced_down": super::boolean_schema()}}))
});

static OLD_SERVICE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({"type": "object", "required": ["host", "binary"], "additionalProperties": false, "properties": {
        "host": {"type": "string", "minLength": 1}, "binary": {"type": "string"},
        "disabled_reason": {"type": "string", "minLength": 1, "maxLength": 255},
        "forced_down": super::boolean_schema()}}))
});

/// `PUT /os-services/{id}`: by id since 2.53, by verb before.
pub(crate) async fn service_update(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let body = request.json().await?;
    if request.version() < V2_53 {
        return service_update_old(compute, request, body).await;
    }
    SERVICE.check(&body, Some(request.version()))?;
    let reason = body["disabled_reason"].as_str().map(str::to_owned);
    let status = body["status"].as_str();
    if reason.is_some() && status != Some("disabled") {
        return Err(Error::invalid("Specifying disabled_reason requires that status is \"disabled\"."));
    }
    let forced = body.get("forced_down").and_then(super::truth);
    if status.is_none() && forced.is_none() {
        return Err(Error::invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified."));
    }
    let id = request.param("service_id").to_owned();
    let disabled = status.map(|status| status == "disabled");
    let shown = id.clone();
    let node = administer(
        &compute,
        move |node| node.service_id.to_string() == id,
        move |node| {
            if let Some(disabled) = disabled {
                node.disabled = disabled;
                node.disabled_reason = reason.clone();
            }
            if let Some(forced) = forced {
                node.forced_down = forced;
            }
        },
    )
    .await?;
    let node = node.ok_or_else(|| Error::not_found(format!("Service {shown} could not be found.")))?;
    let cloud = Cloud::read(&compute).await?;
    Ok(Reply::ok(&json!({"service": service_view(&compute, &cloud, &node, request.version())})))
}

async fn service_update_old(compute: Arc<Compute>, request: Request, body: Value) -> Result<Reply> {
    OLD_SERVICE.check(&body, Some(request.version()))?;
    let verb = request.param("service_id").to_owned();
    let host = body["host"].as_str().unwrap_or_default().to_owned();
    let reason = body["disabled_reason"].as_str().map(str::to_owned);
    let forced = body.get("forced_down").and_then(super::truth).unwrap_or(false);
    let known = ["enable", "disable", "disable-log-reason", "force-down"].contains(&verb.as_str());
    if !known || (verb == "force-down" && request.version() < V2_11) {
        return Err(Error::not_found("Unknown action"));
    }
    if verb == "disable-log-reason" && reason.is_none() {
        return Err(Error::invalid("'disabled_reason' is a required property"));
    }
    let (wanted, did, kept) = (host.clone(), verb.clone(), reason.clone());
    let right = body["binary"] == "nova-compute";
    let node = administer(
        &compute,
        move |node| right && node.name == wanted,
        move |node| match did.as_str() {
            "force-down" => node.forced_down = forced,
            "enable" => {
                node.disabled = false;
                node.disabled_reason = None;
            }
            _ => {
                node.disabled = true;
                node.disabled_reason = kept.clone();
            }
        },
    )
    .await?;
    let missing = || Error::not_found(format!("Host '{host}' is not mapped to any cell"));
    let node = node.ok_or_else(missing)?;
    let mut view = json!({"host": host, "binary": "nova-compute"});
    if verb == "force-down" {
        view["forced_down"] = json!(node.forced_down);
    } else {
        view["status"] = json!(if node.disabled { "disabled" } else { "enabled" });
    }
    if verb == "disable-log-reason" {
        view["disabled_reason"] = json!(reason);
    }
    Ok(Reply::ok(&json!({"service": view})))
}

async fn administer(
    compute: &Compute,
    mut which: impl FnMut(&Node) -> bool + Send + 'static,
    mut change: impl FnMut(&mut Node) + Send + 'static,
) -> Result<Option<Node>> {
    let now = compute.env.now();
    let work = move |tx: &mut Tx<'_>| {
        let Some(mut node) = nodes::node_list_in_tx(tx)?.into_iter().find(|node| which(node)) else { return Ok(None) };
        change(&mut node);
        nodes::node_administer_in_tx(tx, &node, now)?;
        Ok(Some(node))
    };
    compute.db.write("node_administer", work).await
}

/// `DELETE /os-services/{id}`: a host that is gone for good. Refused while it has servers.
pub(crate) async fn service_delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let (id, new) = (request.param("service_id").to_owned(), request.version() >= V2_53);
    let missing = format!("Service {id} could not be found.");
    let (service, now) = (Arc::clone(&compute), compute.env.now());
    let work = move |tx: &mut Tx<'_>| {
        let all = nodes::node_list_in_tx(tx)?;
        let is = |node: &&Node| if new { node.service_id.to_string() == id } else { node.number.to_string() == id };
        let node = all.iter().find(is).ok_or_else(|| Error::not_found(missing.clone()))?;
        let mut filter = ServerFilter::default();
        filter.with("node_id = ?", node.id);
        filter.plain("deleted_at IS NULL");
        if !servers_where_in_tx(tx, &filter)?.is_empty() {
            return Err(Error::conflict(
                "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.",
            ));
        }
        for server in nodes::node_delete_in_tx(tx, node)? {
            service.jobs.wake_in_tx(tx, &Compute::subject(server), now)?;
        }
        Ok(())
    };
    compute.db.write("node_delete", work).await?;
    Ok(Reply::no_content())
}

/// What servers take of a host.
#[derive(Default, Clone, Copy)]
struct Taken {
    vcpus: u64,
    memory_mb: u64,
    disk_gb: u64,
    servers: u64,
}

struct Hypervisors {
    cloud: Cloud,
    servers: BTreeMap<NodeId, Vec<Server>>,
}

impl Hypervisors {
    async fn read(compute: &Compute) -> Result<Hypervisors> {
        let cloud = Cloud::read(compute).await?;
        let read = |tx: &mut Tx<'_>| {
            let mut filter = ServerFilter::default();
            filter.plain("deleted_at IS NULL");
            filter.plain("node_id IS NOT NULL");
            servers_where_in_tx(tx, &filter)
        };
        let mut servers: BTreeMap<NodeId, Vec<Server>> = BTreeMap::new();
        for server in compute.db.read("host_servers", read).await? {
            if let Some(node) = server.node {
                servers.entry(node).or_default().push(server);
            }
        }
        Ok(Hypervisors { cloud, servers })
    }

    fn of(&self, node: &Node) -> &[Server] {
        self.servers.get(&node.id).map(Vec::as_slice).unwrap_or_default()
    }

    fn taken(&self, node: &Node) -> Taken {
        self.of(node).iter().fold(Taken::default(), |sum, server| Taken {
            vcpus: sum.vcpus + server.flavor.vcpus,
            memory_mb: sum.memory_mb + server.flavor.memory_mb,
            disk_gb: sum.disk_gb + server.flavor.root_gb + server.flavor.ephemeral_gb,
            servers: sum.servers + 1,
        })
    }

    fn brief(&self, compute: &Compute, node: &Node, version: Microversion) -> Value {
        json!({
            "id": if version >= V2_53 { json!(node.id.to_string()) } else { json!(node.number) },
            "hypervisor_hostname": node.name,
            "state": if self.cloud.is_up(compute, node) { "up" } else { "down" },
            "status": if node.disabled { "disabled" } else { "enabled" },
        })
    }

    fn servers_view(&self, node: &Node) -> Value {
        json!(
            self.of(node)
                .iter()
                .map(|s| json!({"name": s.instance_name(), "uuid": s.id.to_string()}))
                .collect::<Vec<_>>()
        )
    }

    fn whole(&self, compute: &Compute, node: &Node, version: Microversion) -> Value {
        let (info, taken) = (&node.info, self.taken(node));
        let mut view = self.brief(compute, node, version);
        view["host_ip"] = json!(info.address);
        view["hypervisor_type"] = json!(info.hypervisor_type);
        view["hypervisor_version"] = json!(info.hypervisor_version);
        let service = if version >= V2_53 { json!(node.service_id.to_string()) } else { json!(node.number) };
        view["service"] = json!({"id": service, "host": node.name, "disabled_reason": node.disabled_reason});
        if version >= V2_88 {
            view["uptime"] = json!(uptime(self.cloud.now, info.started_at));
            return view;
        }
        let cpu = json!({"arch": info.architecture, "model": info.cpu_model, "vendor": "", "features": [],
            "topology": {"sockets": 1, "cores": info.vcpus, "threads": 1}});
        view["cpu_info"] = if version >= V2_28 { cpu } else { json!(cpu.to_string()) };
        for (key, value) in numbers(node, taken) {
            view[key] = json!(value);
        }
        view
    }
}

/// The figures of a host as old microversions show them.
fn numbers(node: &Node, taken: Taken) -> [(&'static str, i64); 11] {
    let info = &node.info;
    let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    [
        ("vcpus", i64::from(info.vcpus)),
        ("memory_mb", int(info.memory_mb)),
        ("local_gb", int(info.disk_gb)),
        ("vcpus_used", int(taken.vcpus)),
        ("memory_mb_used", int(taken.memory_mb)),
        ("local_gb_used", int(taken.disk_gb)),
        ("free_ram_mb", int(info.memory_mb) - int(taken.memory_mb)),
        ("free_disk_gb", int(info.disk_gb) - int(taken.disk_gb)),
        ("current_workload", 0),
        ("running_vms", int(taken.servers)),
        ("disk_available_least", int(info.disk_free_gb)),
    ]
}

/// ` 12:30:00 up 3 days,  4:05`, as the program `uptime` says it; counted from the start of the host's agent.
fn uptime(now: Timestamp, since: Timestamp) -> String {
    let minutes = now.since(since).as_secs() / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    let clock = now.to_iso();
    format!(" {} up {days} days, {hours:2}:{minutes:02}", clock.get(11..19).unwrap_or_default())
}

/// `GET /os-hypervisors`
pub(crate) async fn hypervisors(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    hypervisor_list(compute, request, false).await
}

/// `GET /os-hypervisors/detail`
pub(crate) async fn hypervisors_detail(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    hypervisor_list(compute, request, true).await
}

async fn hypervisor_list(compute: Arc<Compute>, request: Request, whole: bool) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let (version, query) = (request.version(), &request.query);
    let all = Hypervisors::read(&compute).await?;
    let pattern = query.get("hypervisor_hostname_pattern").filter(|_| version >= V2_53);
    let with_servers =
        version >= V2_53 && query.get("with_servers").is_some_and(|v| super::truth(&json!(v)) == Some(true));
    let mut found: Vec<&Node> =
        all.cloud.nodes.iter().filter(|node| pattern.is_none_or(|pattern| node.name.contains(pattern))).collect();
    if pattern.is_some() && found.is_empty() {
        return Err(no_match(pattern.unwrap_or_default()));
    }
    // A total order that the marker can be looked up in.
    found.sort_by_key(|node| node.number);
    let mut more = None;
    if version >= V2_33 && pattern.is_none() {
        if let Some(marker) = query.get("marker") {
            let at = found.iter().position(|node| key(node, version) == marker);
            let at = at.ok_or_else(|| Error::invalid(format!("marker [{marker}] not found")))?;
            found.drain(..=at);
        }
        let limit = query_number(query, "limit")?.filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok());
        let limit = limit.unwrap_or(usize::MAX).min(compute.config.max_limit);
        if found.len() > limit {
            found.truncate(limit);
            more = found.last().map(|node| key(node, version));
        }
    }
    let list: Vec<Value> = found
        .iter()
        .map(|node| {
            let mut view = if whole { all.whole(&compute, node, version) } else { all.brief(&compute, node, version) };
            if with_servers && (version >= V2_75 || !all.of(node).is_empty()) {
                view["servers"] = all.servers_view(node);
            }
            view
        })
        .collect();
    let mut body = json!({"hypervisors": list});
    if let Some(marker) = more {
        body["hypervisors_links"] = json!([{"rel": "next", "href": request.next_url(&marker)}]);
    }
    Ok(Reply::ok(&body))
}

fn key(node: &Node, version: Microversion) -> String {
    if version >= V2_53 { node.id.to_string() } else { node.number.to_string() }
}

fn no_match(pattern: &str) -> Error {
    Error::not_found(format!("No hypervisor matching '{pattern}' could be found."))
}

fn find<'a>(all: &'a Hypervisors, request: &Request) -> Result<&'a Node> {
    let id = request.param("hypervisor_id");
    let found = all.cloud.nodes.iter().find(|node| key(node, request.version()) == id);
    found.ok_or_else(|| Error::not_found(format!("Hypervisor with ID '{id}' could not be found.")))
}

/// `GET /os-hypervisors/{id}`
pub(crate) async fn hypervisor_show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let all = Hypervisors::read(&compute).await?;
    let node = find(&all, &request)?;
    let version = request.version();
    let mut view = all.whole(&compute, node, version);
    let with = request.query.get("with_servers").is_some_and(|v| super::truth(&json!(v)) == Some(true));
    if version >= V2_53 && with {
        view["servers"] = all.servers_view(node);
    }
    Ok(Reply::ok(&json!({"hypervisor": view})))
}

/// `GET /os-hypervisors/{id}/uptime`
pub(crate) async fn hypervisor_uptime(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let all = Hypervisors::read(&compute).await?;
    let node = find(&all, &request)?;
    let mut view = all.brief(&compute, node, request.version());
    view["uptime"] = json!(uptime(all.cloud.now, node.info.started_at));
    Ok(Reply::ok(&json!({"hypervisor": view})))
}

/// `GET /os-hypervisors/{pattern}/search`
pub(crate) async fn hypervisor_search(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    matching(compute, request, false).await
}

/// `GET /os-hypervisors/{pattern}/servers`
pub(crate) async fn hypervisor_servers(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    matching(compute, request, true).await
}

async fn matching(compute: Arc<Compute>, request: Request, servers: bool) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let all = Hypervisors::read(&compute).await?;
    let pattern = request.param("hypervisor_id");
    let found: Vec<Value> = all
        .cloud
        .nodes
        .iter()
        .filter(|node| node.name.contains(pattern))
        .map(|node| {
            let mut view = all.brief(&compute, node, request.version());
            if servers && !all.of(node).is_empty() {
                view["servers"] = all.servers_view(node);
            }
            view
        })
        .collect();
    if found.is_empty() { Err(no_match(pattern)) } else { Ok(Reply::ok(&json!({"hypervisors": found}))) }
}

/// `GET /os-hypervisors/statistics`
pub(crate) async fn statistics(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let all = Hypervisors::read(&compute).await?;
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for node in &all.cloud.nodes {
        for (key, value) in numbers(node, all.taken(node)) {
            *sums.entry(key).or_default() += value;
        }
    }
    let mut view = json!({"count": all.cloud.nodes.len()});
    for key in numbers_keys() {
        view[key] = json!(sums.get(key).copied().unwrap_or(0));
    }
    Ok(Reply::ok(&json!({"hypervisor_statistics": view})))
}

fn numbers_keys() -> [&'static str; 11] {
    [
        "vcpus",
        "memory_mb",
        "local_gb",
        "vcpus_used",
        "memory_mb_used",
        "local_gb_used",
        "free_ram_mb",
        "free_disk_gb",
        "current_workload",
        "running_vms",
        "disk_available_least",
    ]
}
