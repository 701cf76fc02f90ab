//! `/v3/groups`

use super::body::{self, merge_extra, take_text};
use super::{collection, link, own_domain, scope_domain, text, with_extra};
use crate::Identity;
use crate::errors::not_found;
use crate::store::groups::{Group, group_delete, group_fetch, group_insert, group_list, group_update};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::ids::{DomainId, GroupId};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static CREATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("group", properties(), &["name"]));
static UPDATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("group", properties(), &[]));

fn properties() -> Value {
    json!({
        "name": body::name(64),
        "domain_id": body::id(),
        "description": {"type": ["string", "null"]},
    })
}

/// A group as clients see it.
pub(crate) fn view(request: &Request, group: &Group) -> Value {
    let item = json!({
        "id": group.id,
        "name": group.name,
        "domain_id": group.domain_id,
        "description": group.description,
        "links": {"self": link(request, &format!("groups/{}", group.id))},
    });
    with_extra(item, &group.extra)
}

pub(crate) fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<Group> {
    group_fetch(tx, id)?.ok_or_else(|| not_found("group", id))
}

pub(crate) fn target(group: &Group) -> Target {
    Target::none().set("target.group.id", group.id.as_str()).set("target.group.domain_id", group.domain_id.as_str())
}

/// `GET /v3/groups`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let bound = scope_domain(&request);
    request.authorize(&Target::none().set_opt("target.group.domain_id", bound.clone()))?;
    let asked = text(&request.query, "domain_id");
    if bound.is_some() && asked.is_some() && bound != asked {
        return collection(&request, "groups", Vec::new());
    }
    let (domain, name) = (bound.or(asked), text(&request.query, "name"));
    let found =
        service.db.read("group_list", move |tx| group_list(tx, domain.as_deref(), name.as_deref(), None)).await?;
    collection(&request, "groups", found.iter().map(|g| view(&request, g)).collect())
}

/// `GET /v3/groups/{group_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("group_id").to_owned();
    let group =
        service.db.read("group_show", move |tx| fetch(tx, &id)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&group))?;
    Ok(Reply::ok(&json!({"group": view(&request, &group)})))
}

/// `POST /v3/groups`
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let mut given = body::object(&mut request, "group", &CREATE).await?;
    let domain = take_text(&mut given, "domain_id").unwrap_or_else(|| own_domain(&request));
    request.authorize(&Target::none().set("target.group.domain_id", &domain))?;
    let group = Group {
        id: GroupId::new(service.env.hex_id()),
        domain_id: DomainId::new(domain),
        name: take_text(&mut given, "name").unwrap_or_default(),
        description: take_text(&mut given, "description").unwrap_or_default(),
        extra: body::extra(given),
    };
    let (row, now) = (group.clone(), service.env.now());
    service
        .db
        .write("group_create", move |tx| {
            super::domains::fetch(tx, row.domain_id.as_str())?;
            group_insert(tx, &row, now)
        })
        .await?;
    Ok(Reply::created(&json!({"group": view(&request, &group)})))
}

/// `PATCH /v3/groups/{group_id}`
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let id = request.param("group_id").to_owned();
    let wanted = id.clone();
    let before =
        service.db.read("group_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&before))?;
    let mut given = body::object(&mut request, "group", &UPDATE).await?;
    body::same_id(&mut given, &id)?;
    if take_text(&mut given, "domain_id").is_some_and(|d| d != before.domain_id.as_str()) {
        return Err(Error::invalid("Cannot change Domain ID"));
    }
    let group = service
        .db
        .write("group_update", move |tx| {
            let mut group = fetch(tx, &id)?;
            let mut given = given.clone();
            if let Some(name) = take_text(&mut given, "name") {
                group.name = name;
            }
            if let Some(description) = body::take_nullable(&mut given, "description") {
                group.description = description.unwrap_or_default();
            }
            merge_extra(&mut group.extra, given);
            group_update(tx, &group)?;
            Ok(group)
        })
        .await?;
    Ok(Reply::ok(&json!({"group": view(&request, &group)})))
}

/// `DELETE /v3/groups/{group_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("group_id").to_owned();
    let group =
        service.db.read("group_show", move |tx| fetch(tx, &id)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&group))?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("group_delete", move |tx| {
            group_delete(tx, &group.id)?;
            stamps.touch_everything(tx);
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}
