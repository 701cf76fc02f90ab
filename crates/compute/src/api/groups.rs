//! `/os-server-groups`

use super::{query_number, truth};
use crate::Compute;
use crate::microversions::*;
use crate::servers::create::may_see;
use crate::store::groups::{self, Group};
use crate::store::quotas;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::ids::ServerId;
use ferrostack_types::{Error, Kind, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

fn schema(policies: &Value) -> Schema {
    Schema::new(json!({"type": "object", "required": ["server_group"], "additionalProperties": false, "properties": {
        "server_group": {"type": "object", "required": ["name", "policies"], "additionalProperties": false,
            "properties": {"name": super::name_schema(), "policies": {
                "type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string", "enum": policies}}}}}}))
}

static HARD: LazyLock<Schema> = LazyLock::new(|| schema(&json!(["anti-affinity", "affinity"])));
static SOFT: LazyLock<Schema> =
    LazyLock::new(|| schema(&json!(["anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity"])));
static RULES: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({"type": "object", "required": ["server_group"], "additionalProperties": false, "properties": {
        "server_group": {"type": "object", "required": ["name", "policy"], "additionalProperties": false,
            "properties": {
                "name": super::name_schema(),
                "policy": {"type": "string", "enum": [
                    "anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity"]},
                "rules": {"type": "object", "additionalProperties": false, "properties": {
                    "max_server_per_host": super::integer_schema(1)}}}}}}))
});

fn view(request: &Request, group: &Group, members: &[ServerId]) -> Value {
    let version = request.version();
    let members: Vec<String> = members.iter().map(ServerId::to_string).collect();
    let mut view = json!({"id": group.id, "name": group.name, "members": members});
    if version >= V2_64 {
        view["policy"] = json!(group.policy);
        view["rules"] = json!(group.rules);
    } else {
        view["policies"] = json!([group.policy]);
        view["metadata"] = json!({});
    }
    if version >= V2_13 {
        view["project_id"] = json!(group.project.as_str());
        view["user_id"] = json!(group.user.as_str());
    }
    view
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("Instance group {id} could not be found."))
}

async fn resolve(compute: &Compute, request: &Request) -> Result<(Group, Vec<ServerId>)> {
    let id = request.param("group_id").to_ascii_lowercase();
    let wanted = id.clone();
    let read = move |tx: &mut Tx<'_>| {
        let Some(group) = groups::group_fetch_in_tx(tx, &wanted)? else { return Ok(None) };
        let members = groups::members_in_tx(tx, &[&wanted])?.remove(&wanted).unwrap_or_default();
        Ok(Some((group, members)))
    };
    let found = compute.db.read("group_fetch", read).await?;
    let found = found.filter(|(group, _)| may_see(request.caller(), &group.project)).ok_or_else(|| missing(&id))?;
    request.authorize(&Target::project(&found.0.project).user(&found.0.user))?;
    Ok(found)
}

/// `GET /os-server-groups`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let own = Target::own(request.caller());
    request.authorize(&own)?;
    let query = &request.query;
    let all = query.get("all_projects").is_some_and(|v| v.is_empty() || truth(&json!(v)) == Some(true));
    // Who may not see all sees their own, as in Nova.
    let all = all && request.allowed("os_compute_api:os-server-groups:index:all_projects", &own);
    let most = compute.config.max_limit;
    let size = |key: &str| query_number(query, key).map(|n| n.and_then(|n| usize::try_from(n).ok()));
    let limit = size("limit")?.filter(|n| *n > 0).unwrap_or(most).min(most);
    let offset = size("offset")?.unwrap_or(0);
    let project = request.caller().project_id().cloned().filter(|_| !all);
    if project.is_none() && !all {
        return Ok(Reply::ok(&json!({"server_groups": []})));
    }
    let read = move |tx: &mut Tx<'_>| {
        let found = groups::group_list_in_tx(tx, project.as_ref(), offset, Some(limit))?;
        let ids: Vec<&str> = found.iter().map(|group| group.id.as_str()).collect();
        let members = groups::members_in_tx(tx, &ids)?;
        Ok((found, members))
    };
    let (found, members) = compute.db.read("group_list", read).await?;
    let of = |group: &Group| members.get(&group.id).map(Vec::as_slice).unwrap_or_default();
    let list: Vec<Value> = found.iter().map(|group| view(&request, group, of(group))).collect();
    Ok(Reply::ok(&json!({"server_groups": list})))
}

/// `GET /os-server-groups/{group_id}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let (group, members) = resolve(&compute, &request).await?;
    Ok(Reply::ok(&json!({"server_group": view(&request, &group, &members)})))
}

/// `POST /os-server-groups`
pub(crate) async fn create(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let version = request.version();
    let body = request.json().await?;
    let schema = match version {
        v if v >= V2_64 => &RULES,
        v if v >= V2_15 => &SOFT,
        _ => &HARD,
    };
    schema.check(&body, Some(version))?;
    let asked = &body["server_group"];
    let policy = asked["policy"].as_str().or_else(|| asked["policies"][0].as_str()).unwrap_or_default().to_owned();
    let most = asked["rules"].get("max_server_per_host").and_then(super::number).and_then(|n| u64::try_from(n).ok());
    if most.is_some() && policy != "anti-affinity" {
        return Err(Error::invalid("Only anti-affinity policy supports rules."));
    }
    let project = request.caller().project_id().cloned();
    let project = project.ok_or_else(|| Error::invalid("A server group needs a project; the token has none."))?;
    let group = Group {
        id: compute.env.uuid().to_string(),
        project,
        user: request.caller().user_id.clone(),
        name: asked["name"].as_str().unwrap_or_default().trim().to_owned(),
        policy,
        rules: most.map(|most| ("max_server_per_host".to_owned(), most)).into_iter().collect::<BTreeMap<_, _>>(),
        created_at: compute.env.now(),
    };
    let (new, defaults) = (group.clone(), compute.config.quotas);
    let work = move |tx: &mut Tx<'_>| {
        groups::group_insert_in_tx(tx, &new)?;
        let limit = quotas::limits_in_tx(tx, &new.project, &defaults)?.server_groups;
        if limit >= 0 && quotas::groups_used_in_tx(tx, &new.project)? > limit {
            return Err(Error::new(Kind::OverQuota, "Quota exceeded, too many server groups."));
        }
        Ok(())
    };
    compute.db.write("group_create", work).await?;
    Ok(Reply::ok(&json!({"server_group": view(&request, &group, &[])})))
}

/// `DELETE /os-server-groups/{group_id}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let (group, _) = resolve(&compute, &request).await?;
    compute.db.write("group_delete", move |tx| groups::group_delete_in_tx(tx, &group.id)).await?;
    Ok(Reply::no_content())
}
