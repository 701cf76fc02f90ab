//! `POST /servers/{server_id}/action`

use super::console;
use super::{new_action, refuse_locked, target};
use crate::Compute;
use crate::api::number;
use crate::microversions::*;
use crate::model::{Server, VmState, power};
use crate::servers::create::no_such_server;
use crate::servers::power::{PowerAction, bad_state};
use crate::store::{actions, guests, servers};
use ferrostack_contracts::node::{NodeReply, NodeRequest};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, StatusCode};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Error, Kind, Microversion, Result};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// What an action's body must look like.
static BODY: LazyLock<Schema> = LazyLock::new(|| {
    let nothing = json!({});
    let console = |kinds: Value| {
        json!({"type": "object", "required": ["type"], "additionalProperties": false,
            "properties": {"type": {"type": "string", "enum": kinds}}})
    };
    let lock = json!({"type": ["object", "null"], "additionalProperties": false, "properties": {
        "locked_reason": {"type": "string", "minLength": 1, "maxLength": 255}}});
    Schema::new(json!({"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
    "properties": {
        "os-start": nothing, "os-stop": nothing, "pause": nothing, "unpause": nothing, "unlock": nothing,
        "forceDelete": nothing, "lock": lock,
        "reboot": {"type": "object", "required": ["type"], "additionalProperties": false, "properties": {
            "type": {"type": "string", "enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]}}},
        "os-resetState": {"type": "object", "required": ["state"], "additionalProperties": false, "properties": {
            "state": {"type": "string", "enum": ["active", "error"]}}},
        "os-getConsoleOutput": {"type": "object", "additionalProperties": false, "properties": {
            "length": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$", "minimum": -1}}},
        "os-getVNCConsole": console(json!(["novnc", "xvpvnc"])),
        "os-getSerialConsole": console(json!(["serial"])),
        "os-getSPICEConsole": console(json!(["spice-html5"])),
        "os-getRDPConsole": console(json!(["rdp-html5"])),
    }}))
});

/// What Nova can do and this deployment cannot, with the rule that Nova asks for.
const NOT_SERVED: &[&str] = &[
    "rebuild",
    "resize",
    "confirmResize",
    "revertResize",
    "createImage",
    "createBackup",
    "migrate",
    "os-migrateLive",
    "evacuate",
    "suspend",
    "resume",
    "shelve",
    "shelveOffload",
    "unshelve",
    "rescue",
    "unrescue",
    "restore",
    "changePassword",
    "addFixedIp",
    "removeFixedIp",
    "addFloatingIp",
    "removeFloatingIp",
    "addSecurityGroup",
    "removeSecurityGroup",
    "resetNetwork",
    "injectNetworkInfo",
    "trigger_crash_dump",
];

/// Since when an action is known, until when.
fn is_known(action: &str, version: Microversion) -> bool {
    match action {
        "os-getVNCConsole" | "os-getSerialConsole" | "os-getSPICEConsole" | "os-getRDPConsole" => version < V2_6,
        _ => true,
    }
}

/// `POST /servers/{server_id}/action`
pub(crate) async fn action(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let server = compute.server_of(request.caller(), request.param("server_id")).await?;
    // Readers may know of the server, so that they hear 403 and not 404 for what they may not do.
    request.authorize(&target(&server))?;
    let body = request.json().await?;
    let name = match body.as_object() {
        Some(map) if map.len() == 1 => map.keys().next().cloned().unwrap_or_default(),
        _ => return Err(Error::invalid("There should be one action in the request body.")),
    };
    if NOT_SERVED.contains(&name.as_str()) {
        return Err(Error::new(Kind::NotImplemented, format!("The action {name} is not served by this deployment.")));
    }
    if rule_of(&name).is_none() || !is_known(&name, request.version()) {
        return Err(Error::invalid(format!("There is no such action: {name}")));
    }
    request.authorize_as(rule_of(&name).unwrap_or_default(), &target(&server))?;
    BODY.check(&body, Some(request.version()))?;
    let asked = &body[name.as_str()];
    match name.as_str() {
        "os-start" => power(compute, request, server, PowerAction::Start).await,
        "os-stop" => power(compute, request, server, PowerAction::Stop).await,
        "pause" => power(compute, request, server, PowerAction::Pause).await,
        "unpause" => power(compute, request, server, PowerAction::Unpause).await,
        "reboot" => {
            let soft = asked["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("soft"));
            let action = if soft { PowerAction::RebootSoft } else { PowerAction::RebootHard };
            power(compute, request, server, action).await
        }
        "lock" => lock(compute, request, server, asked).await,
        "unlock" => unlock(compute, request, server).await,
        "forceDelete" => force_delete(compute, request, server).await,
        "os-resetState" => reset_state(compute, request, server, asked["state"] == "active").await,
        "os-getConsoleOutput" => console_output(compute, server, asked).await,
        _ => console::open_old(compute, request, server, asked["type"].as_str().unwrap_or_default()).await,
    }
}

/// The rule of an action.
fn rule_of(action: &str) -> Option<&'static str> {
    Some(match action {
        "os-start" => "os_compute_api:servers:start",
        "os-stop" => "os_compute_api:servers:stop",
        "reboot" => "os_compute_api:servers:reboot",
        "pause" => "os_compute_api:os-pause-server:pause",
        "unpause" => "os_compute_api:os-pause-server:unpause",
        "lock" => "os_compute_api:os-lock-server:lock",
        "unlock" => "os_compute_api:os-lock-server:unlock",
        "forceDelete" => "os_compute_api:os-deferred-delete:force",
        "os-resetState" => "os_compute_api:os-admin-actions:reset_state",
        "os-getConsoleOutput" => "os_compute_api:os-console-output",
        "os-getVNCConsole" | "os-getSerialConsole" | "os-getSPICEConsole" | "os-getRDPConsole" => {
            "os_compute_api:os-remote-consoles"
        }
        _ => return None,
    })
}

fn accepted() -> Reply {
    Reply::empty(StatusCode::ACCEPTED)
}

async fn power(compute: Arc<Compute>, request: Request, server: Server, action: PowerAction) -> Result<Reply> {
    refuse_locked(&request, &server)?;
    let (name, event) = action.names();
    let record = new_action(&request, name, Some(event));
    let (service, now, id) = (Arc::clone(&compute), compute.env.now(), server.id);
    let work = move |tx: &mut Tx<'_>| {
        let server = servers::server_fetch_in_tx(tx, id)?.ok_or_else(|| no_such_server(&id.to_string()))?;
        service.server_power_in_tx(tx, &server, action, &record, now)
    };
    compute.db.write("server_power", work).await?;
    Ok(accepted())
}

async fn lock(compute: Arc<Compute>, request: Request, server: Server, asked: &Value) -> Result<Reply> {
    let reason = asked.get("locked_reason").and_then(Value::as_str).map(str::to_owned);
    if reason.is_some() && request.version() < V2_73 {
        return Err(Error::invalid("Additional properties are not allowed ('locked_reason' was unexpected)"));
    }
    let by = if request.caller().project_id() == Some(&server.project) { "owner" } else { "admin" };
    let record = new_action(&request, "lock", None);
    let (now, id) = (compute.env.now(), server.id);
    let work = move |tx: &mut Tx<'_>| {
        servers::server_lock_in_tx(tx, id, Some(by), reason.as_deref(), now)?;
        actions::action_insert_in_tx(tx, &record, id, now)
    };
    compute.db.write("server_lock", work).await?;
    Ok(accepted())
}

async fn unlock(compute: Arc<Compute>, request: Request, server: Server) -> Result<Reply> {
    let own = request.caller().project_id() == Some(&server.project);
    let expected = server.locked_by.is_none() || (own && server.locked_by.as_deref() == Some("owner"));
    if !expected {
        request.authorize_as("os_compute_api:os-lock-server:unlock:unlock_override", &target(&server))?;
    }
    let record = new_action(&request, "unlock", None);
    let (now, id) = (compute.env.now(), server.id);
    let work = move |tx: &mut Tx<'_>| {
        servers::server_lock_in_tx(tx, id, None, None, now)?;
        actions::action_insert_in_tx(tx, &record, id, now)
    };
    compute.db.write("server_unlock", work).await?;
    Ok(accepted())
}

async fn force_delete(compute: Arc<Compute>, request: Request, server: Server) -> Result<Reply> {
    refuse_locked(&request, &server)?;
    let record = new_action(&request, "delete", Some("compute_terminate_instance"));
    let workflow = WorkflowId::from_uuid(compute.env.uuid());
    let (service, now, id) = (Arc::clone(&compute), compute.env.now(), server.id);
    let work = move |tx: &mut Tx<'_>| {
        let server = servers::server_fetch_in_tx(tx, id)?.ok_or_else(|| no_such_server(&id.to_string()))?;
        service.server_delete_in_tx(tx, &server, Some(&record), workflow, now)
    };
    compute.db.write("server_delete", work).await?;
    Ok(accepted())
}

/// An administrator says what a server is. Only when nothing works on it: a workflow would say otherwise soon.
async fn reset_state(compute: Arc<Compute>, request: Request, server: Server, active: bool) -> Result<Reply> {
    let record = new_action(&request, "os-resetState", None);
    let (service, now, id) = (Arc::clone(&compute), compute.env.now(), server.id);
    let work = move |tx: &mut Tx<'_>| {
        let server = servers::server_fetch_in_tx(tx, id)?.ok_or_else(|| no_such_server(&id.to_string()))?;
        if !service.jobs.active_in_tx(tx, &Compute::subject(id))?.is_empty() {
            return Err(bad_state("reset_state", &server));
        }
        let vm = if active { VmState::Active } else { VmState::Error };
        if active && guests::guest_fetch_in_tx(tx, id)?.is_none_or(|guest| guest.is_gone()) {
            // There is nothing on any host that could be active.
            return Err(bad_state("reset_state", &server));
        }
        servers::server_set_state_in_tx(tx, id, vm, None, server.power_state, now)?;
        actions::action_insert_in_tx(tx, &record, id, now)
    };
    compute.db.write("server_reset", work).await?;
    Ok(accepted())
}

/// 409 for what has no guest yet.
pub(crate) fn not_ready(server: &Server) -> Error {
    Error::conflict(format!("Instance {} is not ready", server.id))
}

async fn console_output(compute: Arc<Compute>, server: Server, asked: &Value) -> Result<Reply> {
    let lines = asked.get("length").and_then(number).and_then(|n| u32::try_from(n).ok());
    let node = server.node.filter(|_| server.vm_state != VmState::Building).ok_or_else(|| not_ready(&server))?;
    match compute.nodes.request(node, NodeRequest::ConsoleLog { server: server.id, lines }).await {
        Ok(NodeReply::Text(output)) => Ok(Reply::ok(&json!({"output": output}))),
        Ok(other) => Err(Error::internal(format!("a node answered ConsoleLog with {other:?}"))),
        Err(error) if error.kind() == Kind::NotFound => Err(not_ready(&server)),
        Err(error) => Err(error),
    }
}

/// Whether the guest has power, for what needs it.
pub(crate) fn is_on(server: &Server) -> bool {
    matches!(server.power_state, power::RUNNING | power::PAUSED)
}
