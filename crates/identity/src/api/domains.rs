//! `/v3/domains`

use super::body::{self, merge_extra, merge_options, take_bool, take_object, take_text, take_texts};
use super::{collection, flag, link, scope_domain, text, with_extra};
use crate::Identity;
use crate::errors::{forbidden_action, immutable, not_found};
use crate::store::domains::{Domain, domain_delete, domain_fetch, domain_insert, domain_list, domain_update};
use crate::store::groups::{group_delete, group_list};
use crate::store::is_immutable;
use crate::store::projects::{ProjectFilter, project_delete, project_list};
use crate::store::roles::{role_delete, role_list};
use crate::store::users::{user_delete, user_list};
use crate::tokens::revocation_mark;
use ferrostack_db::{Tx, params};
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::ids::DomainId;
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static CREATE: LazyLock<Schema> = LazyLock::new(|| {
    let mut properties = properties();
    properties["explicit_domain_id"] = json!({"type": "string", "pattern": "^[a-zA-Z0-9-]{1,64}$"});
    body::wrapped("domain", properties, &["name"])
});
static UPDATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("domain", properties(), &[]));

fn properties() -> Value {
    json!({
        "name": body::name(64),
        "description": {"type": ["string", "null"]},
        "enabled": {"type": "boolean"},
        "options": body::immutable_options(),
        "tags": body::tags(),
    })
}

/// A domain as clients see it.
pub(crate) fn view(request: &Request, domain: &Domain) -> Value {
    let item = json!({
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": domain.tags,
        "options": domain.options,
        "links": {"self": link(request, &format!("domains/{}", domain.id))},
    });
    with_extra(item, &domain.extra)
}

fn target(id: &str) -> Target {
    Target::none().set("target.domain.id", id)
}

pub(crate) fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<Domain> {
    domain_fetch(tx, id)?.ok_or_else(|| not_found("domain", id))
}

/// `GET /v3/domains`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let only = scope_domain(&request);
    request.authorize(&Target::none().set_opt("target.domain.id", only.clone()))?;
    let (name, enabled) = (text(&request.query, "name"), flag(&request.query, "enabled"));
    let found =
        service.db.read("domain_list", move |tx| domain_list(tx, name.as_deref(), enabled, only.as_deref())).await?;
    collection(&request, "domains", found.iter().map(|d| view(&request, d)).collect())
}

/// `GET /v3/domains/{domain_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("domain_id").to_owned();
    let found =
        service.db.read("domain_show", move |tx| fetch(tx, &id)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(found.id.as_str()))?;
    Ok(Reply::ok(&json!({"domain": view(&request, &found)})))
}

/// `POST /v3/domains`
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let mut given = body::object(&mut request, "domain", &CREATE).await?;
    let id = take_text(&mut given, "explicit_domain_id").unwrap_or_else(|| service.env.hex_id());
    let domain = Domain {
        id: DomainId::new(id),
        name: take_text(&mut given, "name").unwrap_or_default(),
        enabled: take_bool(&mut given, "enabled").unwrap_or(true),
        description: take_text(&mut given, "description").unwrap_or_default(),
        tags: take_texts(&mut given, "tags").unwrap_or_default(),
        options: take_object(&mut given, "options").unwrap_or_default(),
        extra: body::extra(given),
        revoked_before: 0,
    };
    let (row, now) = (domain.clone(), service.env.now());
    service.db.write("domain_create", move |tx| domain_insert(tx, &row, now)).await?;
    Ok(Reply::created(&json!({"domain": view(&request, &domain)})))
}

/// `PATCH /v3/domains/{domain_id}`
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let id = request.param("domain_id").to_owned();
    let wanted = id.clone();
    service.db.read("domain_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&id))?;
    let mut given = body::object(&mut request, "domain", &UPDATE).await?;
    body::same_id(&mut given, &id)?;
    let (stamps, env) = (Arc::clone(&service.tokens.stamps), service.env.clone());
    let domain = service
        .db
        .write("domain_update", move |tx| {
            let mut domain = fetch(tx, &id)?;
            let mut given = given.clone();
            let options = take_object(&mut given, "options");
            // Only lifting the protection is possible while it is on.
            let lifts = options.as_ref().and_then(|o| o.get("immutable")).is_some_and(|v| v != &Value::Bool(true));
            if is_immutable(&domain.options) && !(lifts && given.is_empty()) {
                return Err(immutable("update", "domain", &domain.id));
            }
            merge_options(&mut domain.options, options);
            if let Some(name) = take_text(&mut given, "name") {
                domain.name = name;
            }
            if let Some(description) = body::take_nullable(&mut given, "description") {
                domain.description = description.unwrap_or_default();
            }
            if let Some(tags) = take_texts(&mut given, "tags") {
                domain.tags = tags;
            }
            if let Some(enabled) = take_bool(&mut given, "enabled") {
                if domain.enabled && !enabled {
                    domain.revoked_before = revocation_mark(&env);
                }
                domain.enabled = enabled;
            }
            merge_extra(&mut domain.extra, given);
            domain_update(tx, &domain)?;
            stamps.touch_everything(tx);
            Ok(domain)
        })
        .await?;
    Ok(Reply::ok(&json!({"domain": view(&request, &domain)})))
}

/// `DELETE /v3/domains/{domain_id}`: with everything in it, and only once it is disabled.
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("domain_id").to_owned();
    let wanted = id.clone();
    service.db.read("domain_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&id))?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("domain_delete", move |tx| {
            let domain = fetch(tx, &id)?;
            if is_immutable(&domain.options) {
                return Err(immutable("delete", "domain", &domain.id));
            }
            if id == crate::bootstrap::DEFAULT_DOMAIN {
                return Err(forbidden_action("delete the default domain"));
            }
            if domain.enabled {
                return Err(Error::forbidden("Cannot delete a domain that is enabled, please disable it first."));
            }
            empty(tx, &domain.id)?;
            domain_delete(tx, &domain.id)?;
            stamps.touch_everything(tx);
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

fn empty(tx: &mut Tx<'_>, id: &DomainId) -> Result<()> {
    for user in user_list(tx, Some(id.as_str()), None, None)? {
        user_delete(tx, &user.id)?;
    }
    for group in group_list(tx, Some(id.as_str()), None, None)? {
        group_delete(tx, &group.id)?;
    }
    let filter = ProjectFilter { domain_id: Some(id.as_str().to_owned()), ..ProjectFilter::default() };
    for project in project_list(tx, &filter)? {
        project_delete(tx, &project.id)?;
    }
    for role in role_list(tx, Some(id.as_str()), None)? {
        role_delete(tx, &role.id)?;
    }
    tx.execute("DELETE FROM identity_assignments WHERE target_kind = 'domain' AND target_id = ?", params![id]).map(drop)
}
