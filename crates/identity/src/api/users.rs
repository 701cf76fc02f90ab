//! `/v3/users`

use super::body::{self, merge_extra, merge_options, take_bool, take_object, take_text};
use super::{collection, flag, link, own_domain, scope_domain, text, with_extra};
use crate::Identity;
use crate::auth::UserRef;
use crate::errors::not_found;
use crate::store::users::{User, user_delete, user_fetch, user_insert, user_list, user_update};
use crate::tokens::revocation_mark;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::ids::{DomainId, ProjectId, UserId};
use ferrostack_types::{Error, Kind, Result, Secret};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static CREATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("user", properties(), &["name"]));
static UPDATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("user", properties(), &[]));
static PASSWORD: LazyLock<Schema> = LazyLock::new(|| {
    let properties = json!({"original_password": {"type": "string"}, "password": {"type": "string"}});
    body::wrapped("user", properties, &["original_password", "password"])
});

fn properties() -> Value {
    let flag = json!({"type": ["boolean", "null"]});
    json!({
        "name": body::name(255),
        "domain_id": body::nullable_id(),
        "default_project_id": {"type": ["string", "null"], "maxLength": 64},
        "description": {"type": ["string", "null"]},
        "enabled": {"type": "boolean"},
        "password": {"type": ["string", "null"]},
        "options": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "ignore_change_password_upon_first_use": flag,
                "ignore_password_expiry": flag,
                "ignore_lockout_failure_attempts": flag,
                "ignore_user_inactivity": flag,
                "lock_password": flag,
                "multi_factor_auth_enabled": flag,
                "multi_factor_auth_rules": {
                    "type": ["array", "null"],
                    "items": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "string"}},
                },
            },
        },
    })
}

/// A user as clients see them; nothing of the password is in it.
pub(crate) fn view(request: &Request, user: &User) -> Value {
    let mut item = json!({
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": null,
        "options": user.options,
        "links": {"self": link(request, &format!("users/{}", user.id))},
    });
    if let Some(project) = &user.default_project_id {
        item["default_project_id"] = json!(project);
    }
    with_extra(item, &user.extra)
}

pub(crate) fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<User> {
    user_fetch(tx, id)?.ok_or_else(|| not_found("user", id))
}

/// `user_id` is the owner of what stands below a user.
pub(crate) fn target(user: &User) -> Target {
    Target::none()
        .set("target.user.id", user.id.as_str())
        .set("target.user.domain_id", user.domain_id.as_str())
        .set("user_id", user.id.as_str())
}

/// `GET /v3/users`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let bound = scope_domain(&request);
    request.authorize(&Target::none().set_opt("target.domain_id", bound.clone()))?;
    let asked = text(&request.query, "domain_id");
    if bound.is_some() && asked.is_some() && bound != asked {
        return collection(&request, "users", Vec::new());
    }
    let domain = bound.or(asked);
    let (name, enabled) = (text(&request.query, "name"), flag(&request.query, "enabled"));
    let found =
        service.db.read("user_list", move |tx| user_list(tx, domain.as_deref(), name.as_deref(), enabled)).await?;
    collection(&request, "users", found.iter().map(|u| view(&request, u)).collect())
}

/// `GET /v3/users/{user_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("user_id").to_owned();
    let user = service.db.read("user_show", move |tx| fetch(tx, &id)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&user))?;
    Ok(Reply::ok(&json!({"user": view(&request, &user)})))
}

/// `POST /v3/users`
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let mut given = body::object(&mut request, "user", &CREATE).await?;
    let domain = take_text(&mut given, "domain_id").unwrap_or_else(|| own_domain(&request));
    request.authorize(&Target::none().set("target.user.domain_id", &domain))?;
    let wanted = domain.clone();
    service.db.read("domain_show", move |tx| super::domains::fetch(tx, &wanted)).await?;
    let password = take_text(&mut given, "password");
    let mut user = User {
        id: UserId::new(service.env.hex_id()),
        domain_id: DomainId::new(domain),
        name: take_text(&mut given, "name").unwrap_or_default().trim().to_owned(),
        enabled: take_bool(&mut given, "enabled").unwrap_or(true),
        default_project_id: take_text(&mut given, "default_project_id").map(ProjectId::new),
        password_hash: None,
        options: take_object(&mut given, "options").unwrap_or_default(),
        extra: body::extra(given),
        revoked_before: 0,
    };
    if let Some(password) = password {
        user.password_hash = Some(service.passwords.hash(&Secret::new(password)).await?);
    }
    let (row, now) = (user.clone(), service.env.now());
    service
        .db
        .write("user_create", move |tx| {
            // It may have gone while the password was hashed.
            super::domains::fetch(tx, row.domain_id.as_str())?;
            user_insert(tx, &row, now)
        })
        .await?;
    Ok(Reply::created(&json!({"user": view(&request, &user)})))
}

/// `PATCH /v3/users/{user_id}`. A new password or a disabled user ends all tokens of theirs.
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let id = request.param("user_id").to_owned();
    let wanted = id.clone();
    let before =
        service.db.read("user_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&before))?;
    let mut given = body::object(&mut request, "user", &UPDATE).await?;
    body::same_id(&mut given, &id)?;
    if take_text(&mut given, "domain_id").is_some_and(|d| d != before.domain_id.as_str()) {
        return Err(Error::invalid("Cannot change Domain ID"));
    }
    let password = body::take_nullable(&mut given, "password");
    let hash = match &password {
        Some(Some(password)) => Some(service.passwords.hash(&Secret::new(password.as_str())).await?),
        _ => None,
    };
    let (stamps, env, new_password) = (Arc::clone(&service.tokens.stamps), service.env.clone(), password.is_some());
    let user = service
        .db
        .write("user_update", move |tx| {
            let mut user = fetch(tx, &id)?;
            let mut given = given.clone();
            if let Some(name) = take_text(&mut given, "name") {
                name.trim().clone_into(&mut user.name);
            }
            if let Some(project) = body::take_nullable(&mut given, "default_project_id") {
                user.default_project_id = project.map(ProjectId::new);
            }
            if let Some(enabled) = take_bool(&mut given, "enabled") {
                if user.enabled && !enabled {
                    user.revoked_before = revocation_mark(&env);
                }
                user.enabled = enabled;
            }
            if new_password {
                user.password_hash.clone_from(&hash);
                user.revoked_before = revocation_mark(&env);
            }
            merge_options(&mut user.options, take_object(&mut given, "options"));
            merge_extra(&mut user.extra, given);
            user_update(tx, &user)?;
            stamps.touch(tx, user.id.as_str());
            Ok(user)
        })
        .await?;
    Ok(Reply::ok(&json!({"user": view(&request, &user)})))
}

/// `DELETE /v3/users/{user_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("user_id").to_owned();
    let user = service.db.read("user_show", move |tx| fetch(tx, &id)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&user))?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("user_delete", move |tx| {
            user_delete(tx, &user.id)?;
            stamps.touch(tx, user.id.as_str());
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

/// `POST /v3/users/{user_id}/password`: needs no token, since the old password is one proof more than a token.
pub(crate) async fn change_password(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let id = request.param("user_id").to_owned();
    let mut given = body::object(&mut request, "user", &PASSWORD).await?;
    let original = Secret::new(take_text(&mut given, "original_password").unwrap_or_default());
    let password = Secret::new(take_text(&mut given, "password").unwrap_or_default());
    let user = service.check_password(&UserRef::Id(id), &original).await.map_err(|error| {
        if error.kind() == Kind::Unauthenticated { error.context("change a password") } else { error }
    })?;
    if user.options.get("lock_password") == Some(&Value::Bool(true)) {
        return Err(Error::invalid(
            "You cannot change your password at this time due to password policy disallowing password changes. Please \
             contact your administrator to reset your password.",
        ));
    }
    let hash = service.passwords.hash(&password).await?;
    let (stamps, env) = (Arc::clone(&service.tokens.stamps), service.env.clone());
    service
        .db
        .write("user_password", move |tx| {
            let mut row = fetch(tx, user.id.as_str())?;
            if row.password_hash != user.password_hash {
                // Somebody else changed it in between: the old password that was shown is no proof any more.
                return Err(crate::errors::unauthorized("the password was changed meanwhile"));
            }
            row.password_hash = Some(hash.clone());
            row.revoked_before = revocation_mark(&env);
            user_update(tx, &row)?;
            stamps.touch(tx, row.id.as_str());
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}
