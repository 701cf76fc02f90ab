//! The version documents.

use crate::Network;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Arc;

fn version(base: &str) -> Value {
    json!({"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": format!("{base}/v2.0/")}]})
}

/// `GET /`
pub(crate) async fn list(_service: Arc<Network>, req: Request) -> Result<Reply> {
    Ok(Reply::ok(&json!({"versions": [version(req.base_url())]})))
}

/// `GET /v2.0`: the collections that there are.
pub(crate) async fn show(_service: Arc<Network>, req: Request) -> Result<Reply> {
    const COLLECTIONS: &[(&str, &str)] = &[
        ("network", "networks"),
        ("subnet", "subnets"),
        ("port", "ports"),
        ("router", "routers"),
        ("floatingip", "floatingips"),
        ("security-group", "security-groups"),
        ("security-group-rule", "security-group-rules"),
        ("quota", "quotas"),
        ("agent", "agents"),
        ("extension", "extensions"),
    ];
    let entry = |(name, collection): &(&str, &str)| {
        let href = format!("{}/v2.0/{collection}", req.base_url());
        json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]})
    };
    Ok(Reply::ok(&json!({"resources": COLLECTIONS.iter().map(entry).collect::<Vec<_>>()})))
}
