//! `/servers`

pub(crate) mod action;
pub(crate) mod addresses;
pub(crate) mod body;
pub(crate) mod console;
pub(crate) mod create;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod show;
pub(crate) mod tags;
pub(crate) mod view;

use crate::Compute;
use crate::model::Server;
use crate::store::actions::NewAction;
use ferrostack_rest::{Request, Target};
use ferrostack_types::{Error, Result};
use std::sync::Arc;

/// The server of the path, if the caller may know of it, and the route's rule holds on it.
pub(crate) async fn resolve(compute: &Arc<Compute>, request: &Request) -> Result<Server> {
    let server = compute.server_of(request.caller(), request.param("server_id")).await?;
    request.authorize(&target(&server))?;
    Ok(server)
}

/// What rules are checked against.
pub(crate) fn target(server: &Server) -> Target {
    Target::project(&server.project).user(&server.user)
}

/// Who does what in this request.
pub(crate) fn new_action(request: &Request, action: &'static str, event: Option<&'static str>) -> NewAction {
    let caller = request.caller();
    NewAction {
        request_id: request.cx.request_id.clone(),
        action,
        event,
        project: caller.project_id().cloned().unwrap_or_else(|| ferrostack_types::ids::ProjectId::new("")),
        user: caller.user_id.clone(),
    }
}

/// 409 if somebody has locked the server and the caller is not an administrator.
pub(crate) fn refuse_locked(request: &Request, server: &Server) -> Result<()> {
    if server.locked_by.is_some() && !request.caller().has_role("admin") {
        return Err(Error::conflict(format!("Instance {} is locked", server.id)));
    }
    Ok(())
}
