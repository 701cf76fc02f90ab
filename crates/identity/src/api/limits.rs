//! `/v3/limits` and `/v3/registered_limits`: unified limits, of which there are none; quotas are the services' own.

use super::{collection, link};
use crate::Identity;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::Result;
use serde_json::json;
use std::sync::Arc;

/// `GET /v3/limits`
pub(crate) async fn list(_: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    collection(&request, "limits", Vec::new())
}

/// `GET /v3/registered_limits`
pub(crate) async fn registered(_: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    collection(&request, "registered_limits", Vec::new())
}

/// `GET /v3/limits/model`
pub(crate) async fn model(_: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let description = "Limit enforcement and validation does not take project hierarchy into consideration.";
    Ok(Reply::ok(&json!({
        "model": {"name": "flat", "description": description},
        "links": {"self": link(&request, "limits/model")},
    })))
}
