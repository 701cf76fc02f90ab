//! `/servers/{server_id}/ips`, `/os-interface`, `/os-security-groups`, `/os-volume_attachments`

use super::resolve;
use super::view::{addresses, security_groups};
use crate::Compute;
use crate::microversions::V2_70;
use crate::model::Server;
use ferrostack_contracts::network::PortInfo;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;

async fn ports(compute: &Compute, server: &Server) -> Result<Vec<PortInfo>> {
    let mut ports = compute.ports.of_servers(&[server.id]).await?;
    Ok(ports.remove(&server.id).unwrap_or_default())
}

/// Addresses by network, without what only a server's own view shows.
fn plain(ports: &[PortInfo]) -> Value {
    let mut networks = addresses(ports);
    for list in networks.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        for address in list.as_array_mut().into_iter().flatten() {
            *address = json!({"version": address["version"], "addr": address["addr"]});
        }
    }
    networks
}

/// `GET .../ips`
pub(crate) async fn ips(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    Ok(Reply::ok(&json!({"addresses": plain(&ports(&compute, &server).await?)})))
}

/// `GET .../ips/{network}`
pub(crate) async fn ips_of(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let network = request.param("network");
    let all = plain(&ports(&compute, &server).await?);
    let list = all.get(network).ok_or_else(|| Error::not_found("Network name not found"))?;
    Ok(Reply::ok(&json!({ network: list })))
}

fn interface(request: &Request, port: &PortInfo) -> Value {
    let fixed: Vec<Value> = port
        .fixed_ips
        .iter()
        .map(|fixed| json!({"ip_address": fixed.address.to_string(), "subnet_id": fixed.subnet_id.to_string()}))
        .collect();
    let mut view = json!({
        "port_id": port.id.to_string(),
        "net_id": port.network_id.to_string(),
        "mac_addr": port.mac,
        "port_state": "ACTIVE",
        "fixed_ips": fixed,
    });
    if request.version() >= V2_70 {
        view["tag"] = Value::Null;
    }
    view
}

/// `GET .../os-interface`
pub(crate) async fn interfaces(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let ports = ports(&compute, &server).await?;
    let list: Vec<Value> = ports.iter().map(|port| interface(&request, port)).collect();
    Ok(Reply::ok(&json!({"interfaceAttachments": list})))
}

/// `GET .../os-interface/{port_id}`
pub(crate) async fn interface_show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let id = request.param("port_id");
    let ports = ports(&compute, &server).await?;
    let port = ports.iter().find(|port| port.id.to_string() == id);
    let missing = || Error::not_found(format!("Instance {} does not have a port with id {id}", server.id));
    Ok(Reply::ok(&json!({"interfaceAttachment": interface(&request, port.ok_or_else(missing)?)})))
}

/// `GET .../os-security-groups`
pub(crate) async fn groups(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let ports = ports(&compute, &server).await?;
    let list: Vec<Value> = security_groups(&ports)
        .into_iter()
        .map(|group| json!({"name": group["name"], "tenant_id": server.project.as_str(), "description": "", "rules": []}))
        .collect();
    Ok(Reply::ok(&json!({"security_groups": list})))
}

/// `GET .../os-volume_attachments`
pub(crate) async fn volumes(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    resolve(&compute, &request).await?;
    Ok(Reply::ok(&json!({"volumeAttachments": []})))
}
