//! What answers look like at each microversion.

use crate::microversions::*;
use crate::model::Stock;
use ferrostack_contracts::placement::Inventory;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Microversion, Timestamp};
use serde_json::{Map, Value, json};

/// Where the service is mounted: links are relative to the host, so that a proxy in front does not matter.
pub const PREFIX: &str = "/placement";

/// What of a provider is shown by itself.
pub struct ProviderHead<'a> {
    /// Its id.
    pub id: ProviderId,
    /// Its name.
    pub name: &'a str,
    /// Its generation.
    pub generation: i64,
    /// Its parent.
    pub parent: Option<ProviderId>,
    /// Its root.
    pub root: ProviderId,
}

/// A provider.
pub fn provider(p: &ProviderHead<'_>, version: Microversion) -> Value {
    let url = format!("{PREFIX}/resource_providers/{}", p.id);
    let mut links = vec![json!({"rel": "self", "href": url})];
    let kinds = [
        ("inventories", V0),
        ("usages", V0),
        ("aggregates", V1_AGGREGATES),
        ("traits", V6_TRAITS),
        ("allocations", V11_ALLOCATIONS_LINK),
    ];
    for (rel, _) in kinds.iter().filter(|(_, since)| version >= *since) {
        links.push(json!({"rel": rel, "href": format!("{url}/{rel}")}));
    }
    let mut view = json!({"uuid": p.id.to_string(), "name": p.name, "generation": p.generation, "links": links});
    if version >= V14_TREES {
        view["parent_provider_uuid"] = p.parent.map_or(Value::Null, |id| json!(id.to_string()));
        view["root_provider_uuid"] = json!(p.root.to_string());
    }
    view
}

/// One inventory.
pub fn inventory(i: &Inventory) -> Map<String, Value> {
    let mut view = Map::new();
    view.insert("total".into(), json!(i.total));
    view.insert("reserved".into(), json!(i.reserved));
    view.insert("min_unit".into(), json!(i.min_unit));
    view.insert("max_unit".into(), json!(i.max_unit));
    view.insert("step_size".into(), json!(i.step_size));
    view.insert("allocation_ratio".into(), json!(i.allocation_ratio));
    view
}

/// All inventories of a provider.
pub fn inventories(stock: &[Stock], generation: i64) -> Value {
    let all: Map<String, Value> =
        stock.iter().map(|s| (s.class.to_string(), Value::Object(inventory(&s.inventory)))).collect();
    json!({"resource_provider_generation": generation, "inventories": all})
}

/// `Sun, 22 Nov 2026 17:00:00 GMT`
pub fn http_date(time: Timestamp) -> String {
    let instant = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::tz::TimeZone::UTC.to_datetime(instant).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Adds `last-modified` and `cache-control`, which come with 1.15.
pub fn dated(reply: Reply, request: &Request, modified: Option<Timestamp>) -> Reply {
    if request.version() < V15_LAST_MODIFIED {
        return reply;
    }
    let modified = modified.unwrap_or_else(|| request.cx.env.now());
    reply.header("last-modified", &http_date(modified)).header("cache-control", "no-cache")
}
