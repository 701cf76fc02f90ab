//! `/v3/roles`, with which role implies which.

use super::body::{self, merge_extra, merge_options, take_object, take_text};
use super::{collection, link, text, with_extra};
use crate::Identity;
use crate::errors::{immutable, not_found};
use crate::grants::expand_implied;
use crate::store::is_immutable;
use crate::store::roles::{
    Role, implied_delete, implied_exists, implied_insert, implied_list, implied_map, role_delete, role_fetch,
    role_insert, role_list, role_update,
};
use ferrostack_db::Tx;
use ferrostack_rest::{Method, Reply, Request, Schema, Target};
use ferrostack_types::ids::{DomainId, RoleId};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

static CREATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("role", properties(), &["name"]));
static UPDATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("role", properties(), &[]));

fn properties() -> Value {
    json!({
        "name": body::name(255),
        "description": {"type": ["string", "null"]},
        "domain_id": body::nullable_id(),
        "options": body::immutable_options(),
    })
}

/// A role as clients see it.
pub(crate) fn view(request: &Request, role: &Role) -> Value {
    let item = json!({
        "id": role.id,
        "name": role.name,
        "domain_id": role.domain_id,
        "description": role.description,
        "options": role.options,
        "links": {"self": link(request, &format!("roles/{}", role.id))},
    });
    with_extra(item, &role.extra)
}

pub(crate) fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<Role> {
    role_fetch(tx, id)?.ok_or_else(|| not_found("role", id))
}

pub(crate) fn target(role: &Role) -> Target {
    Target::none()
        .set("target.role.id", role.id.as_str())
        .set("target.role.name", &role.name)
        .set_opt("target.role.domain_id", role.domain_id.as_ref().map(|d| d.as_str()))
}

/// A domain's own roles have rules of their own.
fn authorize(request: &Request, role: &Role, verb: &str) -> Result<()> {
    let rule = match (verb, role.domain_id.is_some()) {
        ("get", true) => "identity:get_domain_role",
        ("create", true) => "identity:create_domain_role",
        ("update", true) => "identity:update_domain_role",
        ("delete", true) => "identity:delete_domain_role",
        _ => return request.authorize(&target(role)),
    };
    request.authorize_as(rule, &target(role))
}

/// `GET /v3/roles`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (domain, name) = (text(&request.query, "domain_id"), text(&request.query, "name"));
    let rule = if domain.is_some() { "identity:list_domain_roles" } else { "identity:list_roles" };
    request.authorize_as(rule, &Target::none())?;
    let found = service.db.read("role_list", move |tx| role_list(tx, domain.as_deref(), name.as_deref())).await?;
    collection(&request, "roles", found.iter().map(|r| view(&request, r)).collect())
}

/// `GET /v3/roles/{role_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("role_id").to_owned();
    let role = service.db.read("role_show", move |tx| fetch(tx, &id)).await.map_err(|e| super::unseen(&request, e))?;
    authorize(&request, &role, "get")?;
    Ok(Reply::ok(&json!({"role": view(&request, &role)})))
}

/// `POST /v3/roles`
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let mut given = body::object(&mut request, "role", &CREATE).await?;
    let role = Role {
        id: RoleId::new(service.env.hex_id()),
        domain_id: take_text(&mut given, "domain_id").map(DomainId::new),
        name: take_text(&mut given, "name").unwrap_or_default(),
        description: take_text(&mut given, "description"),
        options: take_object(&mut given, "options").unwrap_or_default(),
        extra: body::extra(given),
    };
    authorize(&request, &role, "create")?;
    let row = role.clone();
    service
        .db
        .write("role_create", move |tx| {
            if let Some(domain) = &row.domain_id {
                super::domains::fetch(tx, domain.as_str())?;
            }
            role_insert(tx, &row)
        })
        .await?;
    Ok(Reply::created(&json!({"role": view(&request, &role)})))
}

/// `PATCH /v3/roles/{role_id}`
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let id = request.param("role_id").to_owned();
    let wanted = id.clone();
    let before =
        service.db.read("role_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    authorize(&request, &before, "update")?;
    let mut given = body::object(&mut request, "role", &UPDATE).await?;
    body::same_id(&mut given, &id)?;
    if let Some(domain) = body::take_nullable(&mut given, "domain_id")
        && domain.as_deref() != before.domain_id.as_ref().map(|d| d.as_str())
    {
        return Err(Error::invalid("Update of `domain_id` is not allowed."));
    }
    let stamps = Arc::clone(&service.tokens.stamps);
    let role = service
        .db
        .write("role_update", move |tx| {
            let mut role = fetch(tx, &id)?;
            let mut given = given.clone();
            let options = take_object(&mut given, "options");
            let lifts = options.as_ref().and_then(|o| o.get("immutable")).is_some_and(|v| v != &Value::Bool(true));
            if is_immutable(&role.options) && !(lifts && given.is_empty()) {
                return Err(immutable("update", "role", &role.id));
            }
            merge_options(&mut role.options, options);
            if let Some(name) = take_text(&mut given, "name") {
                role.name = name;
            }
            if let Some(description) = body::take_nullable(&mut given, "description") {
                role.description = description;
            }
            merge_extra(&mut role.extra, given);
            role_update(tx, &role)?;
            stamps.touch_everything(tx);
            Ok(role)
        })
        .await?;
    Ok(Reply::ok(&json!({"role": view(&request, &role)})))
}

/// `DELETE /v3/roles/{role_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("role_id").to_owned();
    let wanted = id.clone();
    let before =
        service.db.read("role_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    authorize(&request, &before, "delete")?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("role_delete", move |tx| {
            let role = fetch(tx, &id)?;
            if is_immutable(&role.options) {
                return Err(immutable("delete", "role", &role.id));
            }
            role_delete(tx, &role.id)?;
            stamps.touch_everything(tx);
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

/// A role inside a role inference.
pub(crate) fn short_view(request: &Request, role: &Role) -> Value {
    json!({"id": role.id, "name": role.name, "links": {"self": link(request, &format!("roles/{}", role.id))}})
}

/// `GET /v3/roles/{role_id}/implies`
pub(crate) async fn implied(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("role_id").to_owned();
    let (prior, implied) = service
        .db
        .read("implied_list", move |tx| {
            let prior = fetch(tx, &id)?;
            let implied = implied_list(tx, &prior.id)?;
            Ok((prior, implied))
        })
        .await
        .map_err(|e| super::unseen(&request, e))?;
    request.authorize(&Target::none())?;
    let implies: Vec<Value> = implied.iter().map(|r| short_view(&request, r)).collect();
    Ok(Reply::ok(&json!({
        "role_inference": {"prior_role": short_view(&request, &prior), "implies": implies},
        "links": {"self": link(&request, &format!("roles/{}/implies", prior.id))},
    })))
}

async fn pair(service: &Identity, request: &Request) -> Result<(Role, Role, bool)> {
    let (prior, implied) = (request.param("role_id").to_owned(), request.param("implied_role_id").to_owned());
    service
        .db
        .read("implied_show", move |tx| {
            let (prior, implied) = (fetch(tx, &prior)?, fetch(tx, &implied)?);
            let there = implied_exists(tx, &prior.id, &implied.id)?;
            Ok((prior, implied, there))
        })
        .await
        .map_err(|e| super::unseen(request, e))
}

fn pair_view(request: &Request, prior: &Role, implied: &Role) -> Value {
    json!({
        "role_inference": {
            "prior_role": short_view(request, prior),
            "implies": short_view(request, implied),
        },
        "links": {"self": link(request, &format!("roles/{}/implies/{}", prior.id, implied.id))},
    })
}

fn not_implied(prior: &Role, implied: &Role) -> Error {
    Error::not_found(format!("{} does not imply {}", prior.id, implied.id))
}

/// `GET` and `HEAD /v3/roles/{role_id}/implies/{implied_role_id}`
pub(crate) async fn implied_show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (prior, implied, there) = pair(&service, &request).await?;
    let head = request.method == Method::HEAD;
    request.authorize_as(
        if head { "identity:check_implied_role" } else { "identity:get_implied_role" },
        &Target::none(),
    )?;
    if !there {
        return Err(not_implied(&prior, &implied));
    }
    Ok(if head { Reply::no_content() } else { Reply::ok(&pair_view(&request, &prior, &implied)) })
}

/// `PUT /v3/roles/{role_id}/implies/{implied_role_id}`
pub(crate) async fn implied_create(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (prior, implied, _) = pair(&service, &request).await?;
    request.authorize(&Target::none())?;
    if prior.domain_id.is_none() && implied.domain_id.is_some() {
        return Err(Error::forbidden("Global role cannot imply a domain-specific role"));
    }
    if implied.name == "admin" {
        return Err(Error::forbidden(format!("{} cannot be an implied roles", implied.id)));
    }
    let (ids, stamps) = ((prior.id.clone(), implied.id.clone()), Arc::clone(&service.tokens.stamps));
    service
        .db
        .write("implied_create", move |tx| {
            let below = expand_implied(&BTreeSet::from([ids.1.clone()]), &implied_map(tx)?);
            if below.contains(&ids.0) {
                return Err(Error::invalid(format!("{} already implies {}: no role can imply itself.", ids.1, ids.0)));
            }
            implied_insert(tx, &ids.0, &ids.1)?;
            stamps.touch_everything(tx);
            Ok(())
        })
        .await?;
    Ok(Reply::created(&pair_view(&request, &prior, &implied)))
}

/// `DELETE /v3/roles/{role_id}/implies/{implied_role_id}`
pub(crate) async fn implied_remove(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (prior, implied, _) = pair(&service, &request).await?;
    request.authorize(&Target::none())?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("implied_delete", move |tx| {
            if !implied_delete(tx, &prior.id, &implied.id)? {
                return Err(not_implied(&prior, &implied));
            }
            stamps.touch_everything(tx);
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}
