//! The service catalog, as tokens carry it.
//!
//! It is read once and kept as text until a write to regions, services or endpoints. URLs may hold `$(project_id)s` and
//! the like; a catalog without any is the same text for everybody.

use crate::stamps::Stamps;
use crate::store::catalog::{Endpoint, endpoint_list, service_list};
use ferrostack_db::Db;
use ferrostack_types::Result;
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers with the catalog.
pub(crate) struct Catalog {
    db: Db,
    stamps: Arc<Stamps>,
    kept: RwLock<Option<Arc<Kept>>>,
}

struct Kept {
    stamp: u64,
    services: Vec<Value>,
    /// The catalog as text, if it is the same for everybody.
    text: Option<Arc<str>>,
}

/// What URLs may name.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    pub(crate) project: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
}

impl Catalog {
    pub(crate) fn new(db: Db, stamps: Arc<Stamps>) -> Catalog {
        Catalog { db, stamps, kept: RwLock::new(None) }
    }

    /// The catalog as JSON text.
    pub(crate) async fn text(&self, names: Names<'_>) -> Result<Arc<str>> {
        let kept = self.kept().await?;
        Ok(match &kept.text {
            Some(text) => Arc::clone(text),
            None => Arc::from(filled(&kept.services, names).to_string()),
        })
    }

    /// The catalog.
    pub(crate) async fn value(&self, names: Names<'_>) -> Result<Value> {
        Ok(filled(&self.kept().await?.services, names))
    }

    async fn kept(&self) -> Result<Arc<Kept>> {
        // Read before the database: a write in between makes the result stale at once, never wrong.
        let stamp = self.stamps.catalog();
        if let Some(kept) = self.kept.read().as_ref().filter(|kept| kept.stamp == stamp) {
            return Ok(Arc::clone(kept));
        }
        let services = self
            .db
            .read("catalog", |tx| {
                let endpoints = endpoint_list(tx, None, None, None)?;
                let services = service_list(tx, None, None)?;
                let of = |id: &str| -> Vec<Value> {
                    endpoints.iter().filter(|e| e.enabled && e.service_id == id).map(entry).collect()
                };
                Ok(services
                    .iter()
                    .filter(|s| s.enabled)
                    .map(|s| json!({"endpoints": of(&s.id), "id": s.id, "type": s.kind, "name": s.name}))
                    .collect::<Vec<Value>>())
            })
            .await?;
        let plain = !services.iter().flat_map(endpoints_of).filter_map(|e| e["url"].as_str()).any(has_names);
        let text = plain.then(|| Arc::from(Value::Array(services.clone()).to_string()));
        let kept = Arc::new(Kept { stamp, services, text });
        *self.kept.write() = Some(Arc::clone(&kept));
        Ok(kept)
    }
}

fn entry(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id,
        "interface": endpoint.interface,
        "region_id": endpoint.region_id,
        "url": endpoint.url,
        "region": endpoint.region_id,
    })
}

fn endpoints_of(service: &Value) -> impl Iterator<Item = &Value> {
    service["endpoints"].as_array().into_iter().flatten()
}

fn has_names(url: &str) -> bool {
    url.contains("$(") || url.contains("%(")
}

/// The catalog with the names in its URLs replaced. An endpoint whose URL needs a name that is not there is left out.
fn filled(services: &[Value], names: Names<'_>) -> Value {
    let fill = |service: &Value| {
        let mut service = service.clone();
        if let Some(endpoints) = service["endpoints"].as_array_mut() {
            endpoints.retain_mut(|endpoint| match endpoint["url"].as_str().map(|url| fill_url(url, names)) {
                Some(Some(url)) => {
                    endpoint["url"] = url.into();
                    true
                }
                _ => false,
            });
        }
        service
    };
    services.iter().map(fill).collect()
}

fn fill_url(url: &str, names: Names<'_>) -> Option<String> {
    if !has_names(url) {
        return Some(url.to_owned());
    }
    let mut filled = url.to_owned();
    for (name, value) in [("project_id", names.project), ("tenant_id", names.project), ("user_id", names.user)] {
        for form in [format!("$({name})s"), format!("%({name})s")] {
            if filled.contains(&form) {
                filled = filled.replace(&form, value?);
            }
        }
    }
    (!has_names(&filled)).then_some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_or_leaves_out() {
        let names = Names { project: Some("p"), user: None };
        assert_eq!(fill_url("http://h/v1/AUTH_$(tenant_id)s", names).as_deref(), Some("http://h/v1/AUTH_p"));
        assert_eq!(fill_url("http://h/%(project_id)s/x", names).as_deref(), Some("http://h/p/x"));
        assert_eq!(fill_url("http://h/%(user_id)s", names), None);
        assert_eq!(fill_url("http://h/$(secret)s", names), None);
        assert_eq!(fill_url("http://h", Names::default()).as_deref(), Some("http://h"));
    }
}
