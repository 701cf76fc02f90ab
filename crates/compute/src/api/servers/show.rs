//! `GET`, `PUT`, `DELETE /servers/{server_id}`

use super::body::{UPDATE, check_hostname, truncate};
use super::view::{Extras, add_single, detail};
use super::{new_action, refuse_locked, resolve};
use crate::Compute;
use crate::microversions::{V2_71, V2_75};
use crate::servers::create::no_such_server;
use crate::store::{guests, servers};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use ferrostack_types::ids::WorkflowId;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /servers/{server_id}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let extras = Extras::read(&compute, &request, std::slice::from_ref(&server)).await?;
    let mut view = detail(&request, &server, &extras);
    add_single(&mut view, request.version(), &server);
    Ok(Reply::ok(&json!({"server": view})))
}

/// `DELETE /servers/{server_id}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    refuse_locked(&request, &server)?;
    let action = new_action(&request, "delete", Some("compute_terminate_instance"));
    let workflow = WorkflowId::from_uuid(compute.env.uuid());
    let (service, now, id) = (Arc::clone(&compute), compute.env.now(), server.id);
    let work = move |tx: &mut Tx<'_>| {
        let server = servers::server_fetch_in_tx(tx, id)?.ok_or_else(|| no_such_server(&id.to_string()))?;
        service.server_delete_in_tx(tx, &server, Some(&action), workflow, now)
    };
    compute.db.write("server_delete", work).await?;
    Ok(Reply::no_content())
}

/// `PUT /servers/{server_id}`
pub(crate) async fn update(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let body = request.json().await?;
    UPDATE.check(&body, Some(request.version()))?;
    check_hostname(&body["server"], request.version())?;
    let server = resolve(&compute, &request).await?;
    let (id, now, asked, service) = (server.id, compute.env.now(), body["server"].clone(), Arc::clone(&compute));
    let work = move |tx: &mut Tx<'_>| {
        let mut server = servers::server_fetch_in_tx(tx, id)?.ok_or_else(|| no_such_server(&id.to_string()))?;
        let text = |key: &str| asked.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(name) = text("name") {
            server.name = name.trim().to_owned();
        }
        if let Some(hostname) = text("hostname") {
            server.hostname = hostname;
        }
        if let Some(description) = asked.get("description") {
            server.description = description.as_str().map(str::to_owned);
        }
        for (key, slot) in [("accessIPv4", &mut server.access_ipv4), ("accessIPv6", &mut server.access_ipv6)] {
            if let Some(address) = asked.get(key) {
                *slot = address.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            }
        }
        if let Some(disk_config) = text("OS-DCF:diskConfig") {
            server.disk_config = disk_config;
        }
        server.updated_at = now;
        servers::server_update_in_tx(tx, &server)?;
        let (name, hostname) = (server.name.clone(), server.hostname.clone());
        let node = guests::guest_change_spec_in_tx(tx, id, now, move |spec| {
            spec.metadata.name = name;
            spec.metadata.hostname = hostname;
        })?;
        if let Some(node) = node {
            service.messenger.tell_in_tx(tx, node, id);
        }
        Ok(server)
    };
    let server = compute.db.write("server_update", work).await?;
    let extras = Extras::read(&compute, &request, std::slice::from_ref(&server)).await?;
    let mut view = detail(&request, &server, &extras);
    if request.version() < V2_75 {
        truncate(&mut view, request.version());
    }
    if request.version() >= V2_71 {
        add_single(&mut view, request.version(), &server);
    }
    Ok(Reply::ok(&json!({"server": view})))
}
