//! What a server looks like, by microversion.

use crate::Compute;
use crate::api::links;
use crate::microversions::*;
use crate::model::{Server, VmState};
use crate::store::{nodes, servers};
use ferrostack_contracts::network::PortInfo;
use ferrostack_db::Tx;
use ferrostack_rest::Request;
use ferrostack_types::ids::{NodeId, ProjectId, ServerId};
use ferrostack_types::{Microversion, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha224};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a view needs beside the rows, for a whole page, in a fixed number of queries.
pub(crate) struct Extras {
    tags: HashMap<ServerId, Vec<String>>,
    user_data: HashMap<ServerId, String>,
    ports: HashMap<ServerId, Vec<PortInfo>>,
    hosts: BTreeMap<NodeId, &'static str>,
    attributes: bool,
    host_status: bool,
    admin: bool,
}

impl Extras {
    /// Reads them.
    pub(crate) async fn read(compute: &Arc<Compute>, request: &Request, servers: &[Server]) -> Result<Extras> {
        let version = request.version();
        let project = servers.first().map(super::target).unwrap_or_default();
        let attributes = request.allowed("os_compute_api:os-extended-server-attributes", &project);
        let host_status = version >= V2_16 && request.allowed("os_compute_api:servers:show:host_status", &project);
        let ids: Vec<ServerId> = servers.iter().map(|server| server.id).collect();
        let (with_data, asked) = (attributes && version >= V2_3, ids.clone());
        let (now, down_after) = (compute.env.now(), compute.config.node_down_after);
        let read = move |tx: &mut Tx<'_>| {
            let tags = if version >= V2_26 { servers::tags_in_tx(tx, &asked)? } else { HashMap::new() };
            let data = if with_data { servers::user_data_in_tx(tx, &asked)? } else { HashMap::new() };
            let mut hosts = BTreeMap::new();
            if host_status {
                for node in nodes::node_list_in_tx(tx)? {
                    let state = match (node.disabled, node.is_up(now, down_after)) {
                        (true, _) => "MAINTENANCE",
                        (false, true) => "UP",
                        (false, false) => "DOWN",
                    };
                    hosts.insert(node.id, state);
                }
            }
            Ok((tags, data, hosts))
        };
        let (tags, user_data, hosts) = compute.db.read("server_extras", read).await?;
        let ports = compute.ports.of_servers(&ids).await?;
        let admin = request.caller().has_role("admin");
        Ok(Extras { tags, user_data, ports, hosts, attributes, host_status, admin })
    }
}

/// `id`, `name`, `links`.
pub(crate) fn brief(base: &str, server: &Server) -> Value {
    let id = server.id.to_string();
    json!({"id": id, "name": server.name, "links": links(base, "servers", &id)})
}

/// One host for one project, without telling which.
pub(crate) fn host_id(project: &ProjectId, host: Option<&str>) -> String {
    host.map_or(String::new(), |host| hex::encode(Sha224::digest(format!("{project}{host}").as_bytes())))
}

/// A server's addresses by network.
pub(crate) fn addresses(ports: &[PortInfo]) -> Value {
    let mut networks: Map<String, Value> = Map::new();
    for port in ports {
        let list = networks.entry(port.network_name.clone()).or_insert_with(|| json!([]));
        let Value::Array(list) = list else { continue };
        let mut add = |address: std::net::IpAddr, kind: &str| {
            list.push(json!({
                "version": if address.is_ipv4() { 4 } else { 6 },
                "addr": address.to_string(),
                "OS-EXT-IPS:type": kind,
                "OS-EXT-IPS-MAC:mac_addr": port.mac,
            }));
        };
        for fixed in &port.fixed_ips {
            add(fixed.address, "fixed");
        }
        for floating in port.fixed_ips.iter().flat_map(|fixed| &fixed.floating) {
            add(*floating, "floating");
        }
    }
    Value::Object(networks)
}

/// The names of the security groups of a server's ports.
pub(crate) fn security_groups(ports: &[PortInfo]) -> Vec<Value> {
    let mut names: Vec<&str> = ports.iter().flat_map(|port| port.security_groups.iter().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| json!({"name": name})).collect()
}

fn flavor(base: &str, server: &Server, version: Microversion) -> Value {
    let copy = &server.flavor;
    if version < V2_47 {
        return json!({"id": copy.id, "links": [
            {"rel": "bookmark", "href": format!("{base}/flavors/{}", copy.id)}]});
    }
    json!({
        "original_name": copy.name, "vcpus": copy.vcpus, "ram": copy.memory_mb, "disk": copy.root_gb,
        "ephemeral": copy.ephemeral_gb, "swap": copy.swap_mb, "extra_specs": copy.extra_specs,
    })
}

/// A whole server.
pub(crate) fn detail(request: &Request, server: &Server, extras: &Extras) -> Value {
    let (base, version) = (request.base_url(), request.version());
    let id = server.id.to_string();
    let ports = extras.ports.get(&server.id).map(Vec::as_slice).unwrap_or_default();
    let image = match server.image {
        Some(image) => {
            json!({"id": image.to_string(), "links": [
                {"rel": "bookmark", "href": format!("{base}/images/{image}")}]})
        }
        None => json!(""),
    };
    let iso = |at: Option<ferrostack_types::Timestamp>| at.map(|at| at.to_iso_naive_micros());
    let mut view = json!({
        "id": id,
        "name": server.name,
        "status": server.status(),
        "tenant_id": server.project.as_str(),
        "user_id": server.user.as_str(),
        "metadata": server.metadata,
        "hostId": host_id(&server.project, server.host.as_deref()),
        "image": image,
        "flavor": flavor(base, server, version),
        "created": server.created_at.to_iso(),
        "updated": server.updated_at.to_iso(),
        "addresses": addresses(ports),
        "accessIPv4": server.access_ipv4.as_deref().unwrap_or(""),
        "accessIPv6": server.access_ipv6.as_deref().unwrap_or(""),
        "links": links(base, "servers", &id),
        "OS-DCF:diskConfig": server.disk_config,
        "OS-EXT-AZ:availability_zone": server.zone.as_deref().unwrap_or(""),
        "config_drive": if server.config_drive { "True" } else { "" },
        "key_name": server.key_name,
        "OS-SRV-USG:launched_at": iso(server.launched_at),
        "OS-SRV-USG:terminated_at": iso(server.terminated_at),
        "OS-EXT-STS:task_state": server.task_state.map(|task| task.as_str()),
        "OS-EXT-STS:vm_state": server.vm_state.as_str(),
        "OS-EXT-STS:power_state": server.power_state,
        "os-extended-volumes:volumes_attached": [],
    });
    if matches!(server.vm_state, VmState::Active | VmState::Building) {
        view["progress"] = json!(if server.vm_state == VmState::Active { 100 } else { 0 });
    }
    let groups = security_groups(ports);
    if !groups.is_empty() {
        view["security_groups"] = Value::Array(groups);
    }
    add_fault(&mut view, server, extras.admin);
    add_by_version(&mut view, version, server, extras);
    view
}

fn add_fault(view: &mut Value, server: &Server, admin: bool) {
    let Some(fault) = &server.fault else { return };
    if !matches!(server.vm_state, VmState::Error | VmState::Deleted) {
        return;
    }
    let mut shown = json!({"code": fault.code, "created": fault.created.to_iso(), "message": fault.message});
    if admin && !fault.details.is_empty() {
        shown["details"] = json!(fault.details);
    }
    view["fault"] = shown;
}

fn add_by_version(view: &mut Value, version: Microversion, server: &Server, extras: &Extras) {
    if extras.attributes {
        view["OS-EXT-SRV-ATTR:host"] = json!(server.host);
        view["OS-EXT-SRV-ATTR:instance_name"] = json!(server.instance_name());
        view["OS-EXT-SRV-ATTR:hypervisor_hostname"] = json!(server.host);
    }
    if extras.attributes && version >= V2_3 {
        view["OS-EXT-SRV-ATTR:reservation_id"] = json!(server.reservation_id);
        view["OS-EXT-SRV-ATTR:launch_index"] = json!(server.launch_index);
        view["OS-EXT-SRV-ATTR:hostname"] = json!(server.hostname);
        view["OS-EXT-SRV-ATTR:kernel_id"] = json!("");
        view["OS-EXT-SRV-ATTR:ramdisk_id"] = json!("");
        view["OS-EXT-SRV-ATTR:root_device_name"] = json!("/dev/vda");
        view["OS-EXT-SRV-ATTR:user_data"] = json!(extras.user_data.get(&server.id));
    }
    if version >= V2_9 {
        view["locked"] = json!(server.locked_by.is_some());
    }
    if extras.host_status {
        let state = server.node.map_or("", |node| extras.hosts.get(&node).copied().unwrap_or("UNKNOWN"));
        view["host_status"] = json!(state);
    }
    if version >= V2_19 {
        view["description"] = json!(server.description);
    }
    if version >= V2_26 {
        view["tags"] = json!(extras.tags.get(&server.id).cloned().unwrap_or_default());
    }
    if version >= V2_63 {
        view["trusted_image_certificates"] = Value::Null;
    }
    if version >= V2_73 {
        view["locked_reason"] = json!(server.locked_reason);
    }
    if version >= V2_90 {
        view["OS-EXT-SRV-ATTR:hostname"] = json!(server.hostname);
    }
    if version >= V2_96 {
        view["pinned_availability_zone"] = json!(server.zone_wanted);
    }
}

/// What only a single server shows.
pub(crate) fn add_single(view: &mut Value, version: Microversion, server: &Server) {
    if version >= V2_71 {
        view["server_groups"] = json!(server.group.iter().collect::<Vec<_>>());
    }
}
