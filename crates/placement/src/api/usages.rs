//! `/usages` and `/resource_providers/{uuid}/usages`

use crate::Placement;
use crate::api::view::dated;
use crate::api::{only_known, provider_id};
use crate::microversions::V38_CONSUMER_TYPE;
use crate::store::allocations::{self as rows, UsageRow};
use crate::store::providers;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// `GET /resource_providers/{uuid}/usages`
pub async fn of_provider(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let (head, stock) = service
        .db
        .read("placement_provider_usage", move |tx| {
            Ok((providers::head_require(tx, id)?, providers::stock_list(tx, id)?))
        })
        .await?;
    let usages: Map<String, Value> = stock.iter().map(|s| (s.class.to_string(), json!(s.used))).collect();
    let view = json!({"resource_provider_generation": head.generation, "usages": usages});
    Ok(dated(Reply::ok(&view), &request, None))
}

/// `GET /usages`
pub async fn of_project(service: Arc<Placement>, request: Request) -> Result<Reply> {
    let project = request.query.get("project_id").map(str::to_owned);
    request.authorize(&Target::none().set_opt("project_id", project.as_deref()))?;
    let typed = request.version() >= V38_CONSUMER_TYPE;
    only_known(&request, if typed { &["project_id", "user_id", "consumer_type"] } else { &["project_id", "user_id"] })?;
    let bad = |why: &str| Error::invalid(format!("Invalid query string parameters: {why}"));
    let project = project.ok_or_else(|| bad("'project_id' is a required property"))?;
    let user = request.query.get("user_id").map(str::to_owned);
    for text in [Some(&project), user.as_ref()].into_iter().flatten() {
        if text.is_empty() || text.chars().count() > 255 {
            return Err(bad(&format!("'{text}' is too {}", if text.is_empty() { "short" } else { "long" })));
        }
    }
    let kind = request.query.get("consumer_type").map(str::to_owned);
    if let Some(kind) = &kind {
        let upper = kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if kind.is_empty() || kind.len() > 255 || !(upper || kind == "all" || kind == "unknown") {
            return Err(bad(&format!("'{kind}' does not match '^[A-Z0-9_]+$|^all|^unknown$'")));
        }
    }
    let (sums, consumers) =
        service.db.read("placement_usage", move |tx| rows::usage_list(tx, &project, user.as_deref())).await?;
    let usages = if typed { by_type(&sums, &consumers, kind.as_deref()) } else { flat(&sums) };
    Ok(dated(Reply::ok(&json!({"usages": usages})), &request, None))
}

fn flat(sums: &[UsageRow]) -> Value {
    let mut by_class: BTreeMap<&str, u64> = BTreeMap::new();
    for sum in sums {
        *by_class.entry(&sum.class).or_default() += sum.used;
    }
    json!(by_class)
}

/// Consumers from before types existed are of type `unknown`; `all` puts everything under one key.
fn by_type(sums: &[UsageRow], consumers: &BTreeMap<Option<String>, u64>, asked: Option<&str>) -> Value {
    let key = |kind: &Option<String>| kind.clone().unwrap_or_else(|| "unknown".to_owned());
    let group = |kind: &Option<String>| -> Option<String> {
        match asked {
            None => Some(key(kind)),
            Some("all") => Some("all".to_owned()),
            Some(asked) => (key(kind) == asked).then(|| asked.to_owned()),
        }
    };
    let mut view: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for sum in sums {
        if let Some(group) = group(&sum.kind) {
            *view.entry(group).or_default().entry(sum.class.clone()).or_default() += sum.used;
        }
    }
    for (kind, count) in consumers {
        if let Some(group) = group(kind) {
            *view.entry(group).or_default().entry("consumer_count".to_owned()).or_default() += count;
        }
    }
    json!(view)
}
