//! `POST /servers/{server_id}/remote-consoles` and the console actions of old.

use super::action::{is_on, not_ready};
use super::resolve;
use crate::Compute;
use crate::model::Server;
use crate::store::consoles;
use ferrostack_contracts::node::ConsoleKind;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema};
use ferrostack_types::{Error, Result};
use serde_json::json;
use std::sync::{Arc, LazyLock};

static BODY: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({"type": "object", "required": ["remote_console"], "additionalProperties": false, "properties": {
        "remote_console": {"type": "object", "required": ["protocol", "type"], "additionalProperties": false,
            "properties": {
                "protocol": {"type": "string", "enum": ["vnc", "spice", "rdp", "serial", "mks"]},
                "type": {"type": "string", "enum": [
                    "novnc", "xvpvnc", "rdp-html5", "spice-html5", "serial", "webmks"]}}}}}))
});

/// `POST /servers/{server_id}/remote-consoles`
pub(crate) async fn create(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let body = request.json().await?;
    BODY.check(&body, Some(request.version()))?;
    let asked = &body["remote_console"];
    let kind = asked["type"].as_str().unwrap_or_default();
    let url = open(&compute, &request, &server, kind).await?;
    Ok(Reply::ok(&json!({"remote_console": {"protocol": asked["protocol"], "type": kind, "url": url}})))
}

/// `{"os-getVNCConsole": {"type": "novnc"}}` and the like.
pub(crate) async fn open_old(compute: Arc<Compute>, request: Request, server: Server, kind: &str) -> Result<Reply> {
    let url = open(&compute, &request, &server, kind).await?;
    Ok(Reply::ok(&json!({"console": {"type": kind, "url": url}})))
}

/// A URL that works once and not for long. Only a hash of its token is kept.
async fn open(compute: &Arc<Compute>, request: &Request, server: &Server, kind: &str) -> Result<String> {
    let kind = match kind {
        "novnc" => ConsoleKind::Vnc,
        "serial" => ConsoleKind::Serial,
        other => return Err(Error::invalid(format!("Unavailable console type {other}."))),
    };
    let node = server.node.filter(|_| is_on(server)).ok_or_else(|| not_ready(server))?;
    let token = compute.env.random_text(43);
    let (hash, id, until) = (consoles::hash(&token), server.id, compute.env.now() + compute.config.console_ttl);
    let work = move |tx: &mut Tx<'_>| consoles::console_insert_in_tx(tx, &hash, id, node, kind, until);
    compute.db.write("console_create", work).await?;
    let origin = request.base_url().trim_end_matches("/compute");
    let base = compute.config.console_base.as_deref().unwrap_or(origin);
    Ok(format!("{base}/console/?token={token}"))
}
