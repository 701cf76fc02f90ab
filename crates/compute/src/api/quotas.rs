//! `/limits`, `/os-quota-sets`, `/os-quota-class-sets`

use super::{number, truth};
use crate::microversions::*;
use crate::store::quotas::{self, Usage};
use crate::{Compute, Quotas};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, StatusCode, Target};
use ferrostack_types::ids::ProjectId;
use ferrostack_types::{Error, Microversion, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What is limited here, by Nova's names.
const LIMITED: &[&str] =
    &["instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members"];

/// What Nova once limited: fixed values, shown up to a version.
const BYGONE: &[(&str, i64, Microversion)] = &[
    ("fixed_ips", -1, before(V2_36)),
    ("floating_ips", -1, before(V2_36)),
    ("security_groups", -1, before(V2_36)),
    ("security_group_rules", -1, before(V2_36)),
    ("injected_files", 0, before(V2_57)),
    ("injected_file_content_bytes", 0, before(V2_57)),
    ("injected_file_path_bytes", 0, before(V2_57)),
];

static UPDATE: LazyLock<Schema> = LazyLock::new(|| {
    let limit = json!({"type": ["integer", "string"], "pattern": "^-?[0-9]+$", "minimum": -1, "maximum": i32::MAX});
    let mut properties: Map<String, Value> = LIMITED.iter().map(|name| ((*name).to_owned(), limit.clone())).collect();
    properties.extend(BYGONE.iter().map(|(name, ..)| ((*name).to_owned(), limit.clone())));
    properties.insert("tenant_id".to_owned(), json!({}));
    properties.insert("force".to_owned(), super::boolean_schema());
    Schema::new(json!({"type": "object", "required": ["quota_set"], "additionalProperties": false, "properties": {
        "quota_set": {"type": "object", "additionalProperties": false, "properties": properties}}}))
});

fn limit(limits: &Quotas, name: &str) -> i64 {
    let mut copy = *limits;
    quotas::slot(&mut copy, name).map_or(-1, |slot| *slot)
}

fn used(usage: &Usage, groups: i64, name: &str) -> i64 {
    match name {
        "instances" => usage.instances,
        "cores" => usage.cores,
        "ram" => usage.ram,
        "server_groups" => groups,
        _ => 0,
    }
}

/// A set of quotas; each value as `shape` has it.
fn view(version: Microversion, id: Option<&str>, shape: impl Fn(&str, i64) -> Value, limits: &Quotas) -> Value {
    let mut set = Map::new();
    if let Some(id) = id {
        set.insert("id".to_owned(), json!(id));
    }
    for name in LIMITED {
        set.insert((*name).to_owned(), shape(name, limit(limits, name)));
    }
    for (name, value, until) in BYGONE {
        if version <= *until {
            set.insert((*name).to_owned(), shape(name, *value));
        }
    }
    Value::Object(set)
}

async fn facts(compute: &Compute, project: &ProjectId) -> Result<(Quotas, Usage, i64)> {
    let (project, defaults) = (project.clone(), compute.config.quotas);
    let read = move |tx: &mut Tx<'_>| {
        let limits = quotas::limits_in_tx(tx, &project, &defaults)?;
        Ok((limits, quotas::usage_in_tx(tx, &project)?, quotas::groups_used_in_tx(tx, &project)?))
    };
    compute.db.read("quotas", read).await
}

/// `GET /limits`
pub(crate) async fn limits(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let own = Target::own(request.caller());
    request.authorize(&own)?;
    let version = request.version();
    let project = match request.query.get("tenant_id").filter(|id| !id.is_empty()) {
        Some(id) if request.caller().project_id().is_none_or(|p| p.as_str() != id) => {
            let project = ProjectId::new(id);
            request.authorize_as("os_compute_api:limits:other_project", &Target::project(&project))?;
            project
        }
        _ => request.caller().project_id().cloned().unwrap_or_else(|| ProjectId::new("")),
    };
    let (limits, usage, groups) = facts(&compute, &project).await?;
    let mut absolute = json!({
        "maxServerMeta": limits.metadata_items,
        "maxTotalInstances": limits.instances,
        "maxTotalCores": limits.cores,
        "maxTotalRAMSize": limits.ram,
        "maxTotalKeypairs": limits.key_pairs,
        "maxServerGroups": limits.server_groups,
        "maxServerGroupMembers": limits.server_group_members,
        "totalInstancesUsed": usage.instances,
        "totalCoresUsed": usage.cores,
        "totalRAMUsed": usage.ram,
        "totalServerGroupsUsed": groups,
    });
    let mut add = |name: &str, value: i64| absolute[name] = json!(value);
    if version < V2_57 {
        add("maxPersonality", 0);
        add("maxPersonalitySize", 0);
    }
    if version < V2_39 {
        add("maxImageMeta", limits.metadata_items);
    }
    if version < V2_36 {
        for name in ["maxTotalFloatingIps", "maxSecurityGroups", "maxSecurityGroupRules"] {
            add(name, -1);
        }
        for name in ["totalFloatingIpsUsed", "totalSecurityGroupsUsed"] {
            add(name, 0);
        }
    }
    Ok(Reply::ok(&json!({"limits": {"rate": [], "absolute": absolute}})))
}

fn project(request: &Request) -> ProjectId {
    ProjectId::new(request.param("project_id"))
}

/// `GET /os-quota-sets/{project_id}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let project = project(&request);
    request.authorize(&Target::project(&project))?;
    let (limits, ..) = facts(&compute, &project).await?;
    let set = view(request.version(), Some(project.as_str()), |_, value| json!(value), &limits);
    Ok(Reply::ok(&json!({"quota_set": set})))
}

/// `GET /os-quota-sets/{project_id}/detail`
pub(crate) async fn detail(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let project = project(&request);
    request.authorize(&Target::project(&project))?;
    let (limits, usage, groups) = facts(&compute, &project).await?;
    let shape = |name: &str, value: i64| json!({"limit": value, "in_use": used(&usage, groups, name), "reserved": 0});
    let set = view(request.version(), Some(project.as_str()), shape, &limits);
    Ok(Reply::ok(&json!({"quota_set": set})))
}

/// `GET /os-quota-sets/{project_id}/defaults`
pub(crate) async fn defaults(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let project = project(&request);
    request.authorize(&Target::project(&project))?;
    let set = view(request.version(), Some(project.as_str()), |_, value| json!(value), &compute.config.quotas);
    Ok(Reply::ok(&json!({"quota_set": set})))
}

/// `PUT /os-quota-sets/{project_id}`
pub(crate) async fn update(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let project = project(&request);
    request.authorize(&Target::project(&project))?;
    let body = request.json().await?;
    UPDATE.check(&body, Some(request.version()))?;
    let asked = &body["quota_set"];
    for (name, _, until) in BYGONE {
        if asked.get(*name).is_some() && request.version() > *until {
            let text = format!("Additional properties are not allowed ('{name}' was unexpected)");
            return Err(Error::invalid(text));
        }
    }
    let force = asked.get("force").and_then(truth).unwrap_or(false);
    let wanted: BTreeMap<String, i64> = LIMITED
        .iter()
        .filter_map(|name| asked.get(*name).and_then(number).map(|value| ((*name).to_owned(), value)))
        .collect();
    let (of, defaults) = (project, compute.config.quotas);
    let work = move |tx: &mut Tx<'_>| {
        let (usage, groups) = (quotas::usage_in_tx(tx, &of)?, quotas::groups_used_in_tx(tx, &of)?);
        for (name, value) in wanted.iter().filter(|_| !force) {
            let in_use = used(&usage, groups, name);
            if *value >= 0 && *value < in_use {
                return Err(Error::invalid(format!(
                    "Quota limit {value} for {name} must be greater than or equal to already used and reserved {in_use}."
                )));
            }
        }
        quotas::limits_set_in_tx(tx, &of, &wanted)?;
        quotas::limits_in_tx(tx, &of, &defaults)
    };
    let limits = compute.db.write("quota_update", work).await?;
    let set = view(request.version(), None, |_, value| json!(value), &limits);
    Ok(Reply::ok(&json!({"quota_set": set})))
}

/// `DELETE /os-quota-sets/{project_id}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let project = project(&request);
    request.authorize(&Target::project(&project))?;
    compute.db.write("quota_delete", move |tx| quotas::limits_delete_in_tx(tx, &project)).await?;
    Ok(Reply::empty(StatusCode::ACCEPTED))
}

/// `GET /os-quota-class-sets/{class}`: there is one class, that of the defaults.
pub(crate) async fn class(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let id = request.param("class").to_owned();
    let set = view(request.version(), Some(&id), |_, value| json!(value), &compute.config.quotas);
    Ok(Reply::ok(&json!({"quota_class_set": set})))
}
