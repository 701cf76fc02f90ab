//! Version documents, for discovery.

use crate::Compute;
use crate::microversions::RANGE;
use ferrostack_rest::{Reply, Request, StatusCode};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Arc;

fn document(request: &Request) -> Value {
    json!({
        "id": "v2.1",
        "status": "CURRENT",
        "version": RANGE.max.to_string(),
        "min_version": RANGE.min.to_string(),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{}/v2.1/", request.base_url())}],
    })
}

/// `GET /`
pub(crate) async fn list(_: Arc<Compute>, request: Request) -> Result<Reply> {
    Ok(Reply::json(StatusCode::OK, &json!({"versions": [document(&request)]})))
}

/// `GET /v2.1`
pub(crate) async fn show(_: Arc<Compute>, request: Request) -> Result<Reply> {
    let mut version = document(&request);
    version["links"] = json!([
        {"rel": "self", "href": format!("{}/v2.1/", request.base_url())},
        {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"},
    ]);
    version["media-types"] =
        json!([{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]);
    Ok(Reply::ok(&json!({"version": version})))
}
