//! The version documents.

use crate::Identity;
use ferrostack_rest::{Reply, Request, StatusCode};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Arc;

fn v3(request: &Request) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": url(request)}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

fn url(request: &Request) -> String {
    format!("{}/v3/", request.base_url())
}

/// `GET /`: 300 with all versions, of which there is one.
pub(crate) async fn list(_: Arc<Identity>, request: Request) -> Result<Reply> {
    let body = json!({"versions": {"values": [v3(&request)]}});
    Ok(Reply::json(StatusCode::MULTIPLE_CHOICES, &body).header("location", &url(&request)))
}

/// `GET /v3`
pub(crate) async fn show(_: Arc<Identity>, request: Request) -> Result<Reply> {
    Ok(Reply::ok(&json!({"version": v3(&request)})))
}
