//! Version discovery.

use crate::Placement;
use crate::api::view::dated;
use crate::microversions::{V0, V39_ANY_TRAITS};
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use serde_json::json;
use std::sync::Arc;

/// `GET /`
pub async fn show(_: Arc<Placement>, request: Request) -> Result<Reply> {
    let version = json!({
        "id": format!("v{V0}"),
        "max_version": V39_ANY_TRAITS.to_string(),
        "min_version": V0.to_string(),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    });
    Ok(dated(Reply::ok(&json!({"versions": [version]})), &request, None))
}
