//! HTTP: one file per resource, with its verbs, its bodies and its view. No SQL here.

pub(crate) mod app_credentials;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod domains;
pub(crate) mod endpoints;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod limits;
pub(crate) mod members;
pub(crate) mod project_tags;
pub(crate) mod projects;
pub(crate) mod regions;
pub(crate) mod role_assignments;
pub(crate) mod role_inferences;
pub(crate) mod roles;
pub(crate) mod services;
pub(crate) mod users;
pub(crate) mod versions;

use crate::store::Map;
use ferrostack_contracts::identity::Scope;
use ferrostack_rest::{Query, Reply, Request, Target};
use ferrostack_types::{Error, Kind, Result};
use serde_json::{Value, json};

/// What a caller hears of something that is not there: those who may not see such things hear the same as of one that
/// is there, so that nobody finds out which ids exist.
pub(crate) fn unseen(request: &Request, missing: Error) -> Error {
    if missing.kind() != Kind::NotFound {
        return missing;
    }
    request.authorize(&Target::none()).err().unwrap_or(missing)
}

/// The URL of something below `/v3`.
pub(crate) fn link(request: &Request, path: &str) -> String {
    format!("{}/v3/{path}", request.base_url())
}

/// A list as Keystone sends it, narrowed by inexact filters such as `name__contains`.
pub(crate) fn collection(request: &Request, key: &str, mut items: Vec<Value>) -> Result<Reply> {
    items.retain(|item| inexact_filters_hold(&request.query, item));
    Ok(Reply::ok(&json!({
        key: items,
        "links": {"next": null, "self": format!("{}{}", request.base_url(), request.path), "previous": null},
    })))
}

/// `name__contains=x` and its relatives, on texts. Others are ignored, as Keystone ignores them.
fn inexact_filters_hold(query: &Query, item: &Value) -> bool {
    query.iter().all(|(key, wanted)| {
        let Some((field, comparison)) = key.split_once("__") else { return true };
        let Some(text) = item.get(field).and_then(Value::as_str) else { return true };
        let (lower, wanted_lower) = (text.to_lowercase(), wanted.to_lowercase());
        match comparison {
            "contains" => text.contains(wanted),
            "icontains" => lower.contains(&wanted_lower),
            "startswith" => text.starts_with(wanted),
            "istartswith" => lower.starts_with(&wanted_lower),
            "endswith" => text.ends_with(wanted),
            "iendswith" => lower.ends_with(&wanted_lower),
            _ => true,
        }
    })
}

/// The item with the attributes that clients added to it. They never replace one of ours.
pub(crate) fn with_extra(mut item: Value, extra: &Map) -> Value {
    if let Some(map) = item.as_object_mut() {
        for (key, value) in extra {
            if !map.contains_key(key) {
                map.insert(key.clone(), value.clone());
            }
        }
    }
    item
}

/// A filter that says true or false. Anything but a clear no is yes, as in Keystone.
pub(crate) fn flag(query: &Query, key: &str) -> Option<bool> {
    query.get(key).map(|text| !matches!(text.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off" | "f" | "n"))
}

/// An exact filter that has a value.
pub(crate) fn text(query: &Query, key: &str) -> Option<String> {
    query.get(key).filter(|v| !v.is_empty()).map(str::to_owned)
}

/// The domain that a token of domain scope is bound to: its lists show nothing else.
pub(crate) fn scope_domain(request: &Request) -> Option<String> {
    request.caller().domain_id().map(|d| d.as_str().to_owned())
}

/// The domain that a new thing belongs to if the request names none, as Keystone chooses it.
pub(crate) fn own_domain(request: &Request) -> String {
    match &request.caller().scope {
        Scope::Domain { id, .. } => id.as_str().to_owned(),
        Scope::Project { domain_id, .. } => domain_id.as_str().to_owned(),
        Scope::System | Scope::Unscoped => crate::bootstrap::DEFAULT_DOMAIN.to_owned(),
    }
}
