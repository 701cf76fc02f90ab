//! `/v2.0/quotas`

use super::kit;
use crate::attrs;
use crate::store::quotas::{ALL, quota_clear_in_tx, quota_limit, quota_list, quota_set_in_tx, quota_used};
use crate::{Network, errors};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The project in the path; old clients end it with `.json`.
fn project(req: &Request) -> Result<String> {
    let text = req.param("project_id");
    let text = text.strip_suffix(".json").unwrap_or(text);
    if text.is_empty() || text.len() > 255 {
        return Err(errors::invalid("QuotaMissingProject", "Project-id was missing from quota request."));
    }
    Ok(text.to_owned())
}

fn limits(tx: &mut Tx<'_>, project: &str) -> Result<Value> {
    let mut quota = Map::new();
    for what in ALL {
        quota.insert(what.name.to_owned(), quota_limit(tx, project, *what)?.into());
    }
    Ok(Value::Object(quota))
}

/// `GET /v2.0/quotas`: the projects that have limits of their own.
pub(crate) async fn list(service: Arc<Network>, req: Request) -> Result<Reply> {
    kit::authorize(&req, "update_quota", &[], &kit::target(""))?;
    let rows = service.db.read("quota_list", quota_list).await?;
    let mut projects: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (project, resource, value) in rows {
        projects.entry(project).or_default().insert(resource, value.into());
    }
    let view = |(project, own): (String, Map<String, Value>)| {
        let mut quota = Map::new();
        for what in ALL {
            let value = own.get(what.name).cloned().unwrap_or_else(|| what.default.into());
            quota.insert(what.name.to_owned(), value);
        }
        quota.insert("tenant_id".to_owned(), project.clone().into());
        quota.insert("project_id".to_owned(), project.into());
        Value::Object(quota)
    };
    Ok(Reply::ok(&json!({"quotas": projects.into_iter().map(view).collect::<Vec<_>>()})))
}

/// `GET /v2.0/quotas/{project_id}`
pub(crate) async fn show(service: Arc<Network>, req: Request) -> Result<Reply> {
    let project = project(&req)?;
    kit::authorize(&req, "get_quota", &[], &kit::target(&project))?;
    let quota = service.db.read("quota_show", move |tx| limits(tx, &project)).await?;
    Ok(Reply::ok(&json!({"quota": quota})))
}

/// `GET /v2.0/quotas/{project_id}/default`
pub(crate) async fn default(_service: Arc<Network>, req: Request) -> Result<Reply> {
    let project = project(&req)?;
    kit::authorize(&req, "get_quota", &[], &kit::target(&project))?;
    let quota: Map<String, Value> = ALL.iter().map(|what| (what.name.to_owned(), what.default.into())).collect();
    Ok(Reply::ok(&json!({"quota": quota})))
}

/// `GET /v2.0/quotas/{project_id}/details`: limits and what is used of them.
pub(crate) async fn details(service: Arc<Network>, req: Request) -> Result<Reply> {
    let project = project(&req)?;
    kit::authorize(&req, "get_quota", &[], &kit::target(&project))?;
    let quota = service
        .db
        .read("quota_details", move |tx| {
            let mut quota = Map::new();
            for what in ALL {
                let (limit, used) = (quota_limit(tx, &project, *what)?, quota_used(tx, &project, *what)?);
                quota.insert(what.name.to_owned(), json!({"limit": limit, "used": used, "reserved": 0}));
            }
            Ok(quota)
        })
        .await?;
    Ok(Reply::ok(&json!({"quota": quota})))
}

/// `PUT /v2.0/quotas/{project_id}`
pub(crate) async fn update(service: Arc<Network>, mut req: Request) -> Result<Reply> {
    let project = project(&req)?;
    kit::authorize(&req, "update_quota", &[], &kit::target(&project))?;
    let body = kit::read(&mut req).await?;
    let quota = body.get("quota").and_then(Value::as_object);
    let quota = quota.ok_or_else(|| errors::bad_request("Unable to find 'quota' in request body"))?;
    let (mut wanted, mut check_limit) = (Vec::new(), false);
    for (name, value) in quota {
        match name.as_str() {
            "tenant_id" | "project_id" | "force" => continue,
            "check_limit" => {
                check_limit = value.as_bool().unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let what = ALL.iter().find(|what| what.name == name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            errors::bad_request(format!("Unrecognized attribute(s) '{shown}'"))
        })?;
        let value = attrs::integer(value, -1, i64::from(i32::MAX))
            .map_err(|reason| errors::bad_request(format!("Invalid input for {name}. Reason: {reason}.")))?;
        wanted.push((*what, value.as_i64().unwrap_or(-1)));
    }
    let quota = service
        .db
        .write("quota_update", move |tx| {
            for (what, value) in &wanted {
                if check_limit && *value >= 0 && quota_used(tx, &project, *what)? > *value {
                    let text =
                        format!("Change would make usage less than 0 for the following resources: ['{}'].", what.name);
                    return Err(errors::conflict("InvalidQuotaValue", text));
                }
                quota_set_in_tx(tx, &project, what.name, *value)?;
            }
            limits(tx, &project)
        })
        .await?;
    Ok(Reply::ok(&json!({"quota": quota})))
}

/// `DELETE /v2.0/quotas/{project_id}`: back to the defaults.
pub(crate) async fn delete(service: Arc<Network>, req: Request) -> Result<Reply> {
    let project = project(&req)?;
    kit::authorize(&req, "delete_quota", &[], &kit::target(&project))?;
    service.db.write("quota_delete", move |tx| quota_clear_in_tx(tx, &project)).await?;
    Ok(Reply::no_content())
}
