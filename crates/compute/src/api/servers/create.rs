//! `POST /servers`

use super::body::{CREATE, read};
use crate::Compute;
use crate::api::links;
use ferrostack_contracts::network::NicsRequest;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::Result;
use serde_json::json;
use std::sync::Arc;

/// `POST /servers`
pub(crate) async fn create(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let target = Target::own(request.caller());
    request.authorize(&target)?;
    let body = request.json().await?;
    CREATE.check(&body, Some(request.version()))?;
    let password: String =
        compute.env.random_text(12).chars().map(|c| if c == '-' || c == '_' { 'x' } else { c }).collect();
    let asked = read(&body, request.version(), password)?;
    if asked.forced_host {
        request.authorize_as("os_compute_api:servers:create:forced_host", &target)?;
    }
    if asked.requested_host {
        request.authorize_as("os_compute_api:compute:servers:create:requested_destination", &target)?;
    }
    if matches!(asked.order.nics, NicsRequest::List(_)) {
        request.authorize_as("os_compute_api:servers:create:attach_network", &target)?;
    }
    let password = asked.order.admin_password.clone();
    let mut groups = asked.order.security_groups.clone();
    if groups.is_empty() {
        groups.push("default".to_owned());
    }
    let disk_config = asked.order.disk_config.clone();
    let caller = Arc::clone(request.caller());
    let servers = compute.servers_create(&caller, &request.cx.request_id, asked.order).await?;
    let Some(first) = servers.first() else { return Ok(Reply::accepted(&json!({}))) };
    if asked.return_reservation_id {
        return Ok(Reply::accepted(&json!({"reservation_id": first.reservation_id})));
    }
    let id = first.id.to_string();
    let base = request.base_url();
    let view = json!({"server": {
        "id": id,
        "links": links(base, "servers", &id),
        "OS-DCF:diskConfig": disk_config,
        "security_groups": groups.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "adminPass": password.expose(),
    }});
    Ok(Reply::accepted(&view).header("location", &format!("{base}/v2.1/servers/{id}")))
}
