//! `/servers/{server_id}/os-instance-actions`

use super::target;
use super::view::host_id;
use crate::Compute;
use crate::microversions::*;
use crate::model::Server;
use crate::servers::create::{may_see, no_such_server};
use crate::store::actions::{self, Action, Event};
use crate::store::servers;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::ids::ServerId;
use ferrostack_types::{Error, Microversion, Result, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Since 2.21 the history of a deleted server can be read, too.
const V2_21: Microversion = Microversion::new(2, 21);

async fn resolve(compute: &Compute, request: &Request) -> Result<Server> {
    let text = request.param("server_id");
    let id = ServerId::parse(text).ok_or_else(|| no_such_server(text))?;
    let found = compute.db.read("server_fetch", move |tx| servers::server_fetch_any_in_tx(tx, id)).await?;
    let server = found
        .filter(|server| may_see(request.caller(), &server.project))
        .filter(|server| server.deleted_at.is_none() || request.version() >= V2_21)
        .ok_or_else(|| no_such_server(text))?;
    request.authorize(&target(&server))?;
    Ok(server)
}

fn view(request: &Request, action: &Action) -> Value {
    let mut view = json!({
        "action": action.action,
        "instance_uuid": action.server.to_string(),
        "request_id": action.request_id,
        "user_id": action.user.as_str(),
        "project_id": action.project.as_str(),
        "start_time": action.started_at.to_iso_naive_micros(),
        "message": action.message,
    });
    if request.version() >= V2_58 {
        view["updated_at"] = json!(action.updated_at.to_iso_naive_micros());
    }
    view
}

fn event(request: &Request, server: &Server, event: &Event) -> Value {
    let version = request.version();
    let admin = request.allowed("os_compute_api:os-instance-actions:events", &target(server));
    let mut view = json!({
        "event": event.name,
        "start_time": event.started_at.to_iso_naive_micros(),
        "finish_time": event.finished_at.map(|at| at.to_iso_naive_micros()),
        "result": event.result,
    });
    if version < V2_51 || admin {
        view["traceback"] = Value::Null;
    }
    if version >= V2_62 {
        view["hostId"] = json!(host_id(&server.project, event.host.as_deref()));
        if admin {
            view["host"] = json!(event.host);
        }
    }
    if version >= V2_84 {
        view["details"] = json!(event.details);
    }
    view
}

/// `GET .../os-instance-actions`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let paged = request.version() >= V2_58;
    let most = compute.config.max_limit;
    let limit = match request.query.page(&crate::api::plain_paging(most)) {
        Ok(page) if paged => page.limit.unwrap_or(most),
        Err(error) if paged => return Err(error),
        _ => most,
    };
    let time = |key: &str, since: Microversion| -> Result<Option<Timestamp>> {
        let Some(text) = request.query.get(key).filter(|_| request.version() >= since) else { return Ok(None) };
        let bad = || Error::invalid(format!("Invalid filter field: {key}"));
        Timestamp::parse(text).map(Some).ok_or_else(bad)
    };
    let (since, before) = (time("changes-since", V2_58)?, time("changes-before", V2_66)?);
    let marker = request.query.get("marker").filter(|_| paged).map(str::to_owned);
    let id = server.id;
    let read = move |tx: &mut Tx<'_>| {
        let marker = match &marker {
            None => None,
            Some(text) => {
                let found = actions::action_fetch_in_tx(tx, id, text)?;
                Some(found.ok_or_else(|| Error::invalid(format!("Marker {text} could not be found.")))?)
            }
        };
        actions::action_list_in_tx(tx, id, since, before, marker.as_ref(), Some(limit + 1))
    };
    let mut found = compute.db.read("action_list", read).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let mut body = json!({"instanceActions": found.iter().map(|action| view(&request, action)).collect::<Vec<_>>()});
    if paged
        && more
        && let Some(last) = found.last()
    {
        body["links"] = json!([{"rel": "next", "href": request.next_url(&last.request_id)}]);
    }
    Ok(Reply::ok(&body))
}

/// `GET .../os-instance-actions/{request_id}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let (id, wanted) = (server.id, request.param("request_id").to_owned());
    let shown = wanted.clone();
    let found = compute.db.read("action_fetch", move |tx| actions::action_fetch_in_tx(tx, id, &wanted)).await?;
    let action =
        found.ok_or_else(|| Error::not_found(format!("Action for request_id {shown} on instance {id} not found")))?;
    let mut whole = view(&request, &action);
    let events =
        request.version() >= V2_51 || request.allowed("os_compute_api:os-instance-actions:events", &target(&server));
    if events {
        let list: Vec<Value> = action.event.iter().map(|e| event(&request, &server, e)).collect();
        whole["events"] = Value::Array(list);
    }
    Ok(Reply::ok(&json!({"instanceAction": whole})))
}
