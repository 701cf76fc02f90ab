//! Version discovery.

use crate::Images;
use ferrostack_rest::{Reply, Request, StatusCode};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Arc;

/// Newest first where it matters to clients: they look for `CURRENT` or take the highest.
const VERSIONS: [&str; 11] = ["2.17", "2.15", "2.9", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0"];

fn all(request: &Request) -> Value {
    let href = format!("{}/v2/", request.base_url());
    let one = |(index, id): (usize, &&str)| {
        let status = if index == 0 { "CURRENT" } else { "SUPPORTED" };
        json!({"id": format!("v{id}"), "status": status, "links": [{"rel": "self", "href": href}]})
    };
    json!({"versions": VERSIONS.iter().enumerate().map(one).collect::<Vec<_>>()})
}

/// `GET /`
pub async fn choices(_: Arc<Images>, request: Request) -> Result<Reply> {
    Ok(Reply::json(StatusCode::MULTIPLE_CHOICES, &all(&request)))
}

/// `GET /versions`
pub async fn list(_: Arc<Images>, request: Request) -> Result<Reply> {
    Ok(Reply::ok(&all(&request)))
}
