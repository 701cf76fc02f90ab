//! Requests and answers. No SQL and no rules here.

pub mod aggregates;
pub mod allocations;
pub mod body;
pub mod candidates;
pub mod classes;
pub mod inventories;
pub mod providers;
pub mod reshaper;
pub mod root;
pub mod traits;
pub mod usages;
pub mod view;

use ferrostack_rest::{Request, Schema};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Kind, Result};
use serde_json::Value;

/// The provider of the path. An id that is none names nothing.
pub(crate) fn provider_id(request: &Request) -> Result<ProviderId> {
    let text = request.param("uuid");
    ProviderId::parse(text).ok_or_else(|| Error::not_found(format!("No resource provider with uuid {text} found")))
}

/// The JSON body, checked.
pub(crate) async fn body(request: &mut Request, schema: &Schema) -> Result<Value> {
    let kind = request.header("content-type").unwrap_or("None");
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence != "application/json" {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            format!("The media type {essence} is not supported, use application/json"),
        ));
    }
    let bytes = request.bytes().await?;
    let value = serde_json::from_slice(&bytes).map_err(|e| Error::invalid(format!("Malformed JSON: {e}")))?;
    schema
        .check(&value, None)
        .map_err(|error| Error::invalid(format!("JSON does not validate: {}", error.public())))?;
    Ok(value)
}

/// 409 as clients know it, with the code that they retry on.
pub(crate) fn concurrent(text: impl Into<String>) -> Error {
    Error::conflict(text).with_code("placement.concurrent_update")
}

/// Refuses query parameters that are not among these.
pub(crate) fn only_known(request: &Request, known: &[&str]) -> Result<()> {
    match request.query.iter().find(|(key, _)| !known.contains(key)) {
        None => Ok(()),
        Some((key, _)) => Err(Error::invalid(format!(
            "Invalid query string parameters: Additional properties are not allowed ('{key}' was unexpected)"
        ))),
    }
}
