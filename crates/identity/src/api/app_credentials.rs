//! `/v3/users/{user_id}/application_credentials`

use super::body::{self, take_bool, take_text};
use super::{collection, link, text};
use crate::Identity;
use crate::errors::{forbidden_action, not_found};
use crate::grants::expand_implied;
use crate::store::Map;
use crate::store::app_credentials::{
    AppCredential, app_credential_delete, app_credential_fetch, app_credential_insert, app_credential_list,
};
use crate::store::roles::{Role, implied_map, role_fetch, role_fetch_by_name, role_list_by_ids};
use ferrostack_contracts::identity::Caller;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::ids::{RoleId, UserId};
use ferrostack_types::{Error, Result, Secret, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static CREATE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({
        "type": "object",
        "required": ["application_credential"],
        "additionalProperties": false,
        "properties": {"application_credential": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": false,
            "properties": {
                "id": {"type": "string"},
                "name": body::name(255),
                "description": {"type": ["string", "null"]},
                "secret": {"type": ["string", "null"]},
                "expires_at": {"type": ["string", "null"]},
                "project_id": {"type": "string"},
                "unrestricted": {"type": ["boolean", "null"]},
                "system": {"type": ["string", "null"]},
                "access_rules": {"type": "array"},
                "roles": {"type": "array", "items": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                    "properties": {"id": body::id(), "name": body::name(255)},
                }},
            },
        }},
    }))
});

fn view(request: &Request, credential: &AppCredential, roles: &[Role]) -> Value {
    let roles: Vec<Value> = roles
        .iter()
        .filter(|role| credential.roles.contains(&role.id))
        .map(|role| {
            json!({
                "id": role.id, "name": role.name, "domain_id": role.domain_id, "description": role.description,
                "options": role.options,
            })
        })
        .collect();
    let path = format!("users/{}/application_credentials/{}", credential.user_id, credential.id);
    json!({
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "project_id": credential.project_id,
        "user_id": credential.user_id,
        "expires_at": credential.expires_at.map(Timestamp::to_iso_naive_micros),
        "unrestricted": credential.unrestricted,
        "system": null,
        "roles": roles,
        "links": {"self": link(request, &path)},
    })
}

fn owner(user: &str) -> Target {
    Target::none().set("user_id", user)
}

/// Credentials make credentials only if they were made to.
fn check_unrestricted(caller: &Caller) -> Result<()> {
    match &caller.application_credential {
        Some((_, true)) => Err(forbidden_action(
            "Using method 'application_credential' is not allowed for managing additional application credentials.",
        )),
        _ => Ok(()),
    }
}

/// `GET /v3/users/{user_id}/application_credentials`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let user = request.param("user_id").to_owned();
    request.authorize(&owner(&user))?;
    let name = text(&request.query, "name");
    let (found, roles) = service
        .db
        .read("app_credential_list", move |tx| {
            let found = app_credential_list(tx, &UserId::new(&user), name.as_deref())?;
            let ids: BTreeSet<RoleId> = found.iter().flat_map(|c| c.roles.iter().cloned()).collect();
            Ok((found, role_list_by_ids(tx, &ids)?))
        })
        .await?;
    collection(&request, "application_credentials", found.iter().map(|c| view(&request, c, &roles)).collect())
}

fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<(AppCredential, Vec<Role>)> {
    let credential = app_credential_fetch(tx, id)?.ok_or_else(|| not_found("Application Credential", id))?;
    let roles = role_list_by_ids(tx, &credential.roles)?;
    Ok((credential, roles))
}

/// The credential of the path. Its owner decides, not the user that the path claims; a stranger's is not there.
async fn authorized(service: &Identity, request: &Request) -> Result<(AppCredential, Vec<Role>)> {
    let id = request.param("application_credential_id").to_owned();
    let wanted = id.clone();
    let (credential, roles) = service.db.read("app_credential_show", move |tx| fetch(tx, &wanted)).await?;
    request.authorize_or(&owner(credential.user_id.as_str()), || not_found("Application Credential", &id))?;
    Ok((credential, roles))
}

/// `GET /v3/users/{user_id}/application_credentials/{application_credential_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (credential, roles) = authorized(&service, &request).await?;
    Ok(Reply::ok(&json!({"application_credential": view(&request, &credential, &roles)})))
}

/// `DELETE /v3/users/{user_id}/application_credentials/{application_credential_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (credential, _) = authorized(&service, &request).await?;
    check_unrestricted(request.caller())?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("app_credential_delete", move |tx| {
            app_credential_delete(tx, &credential.id)?;
            stamps.touch(tx, credential.user_id.as_str());
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

/// `POST /v3/users/{user_id}/application_credentials`. The secret is shown here once and never again.
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let user = request.param("user_id").to_owned();
    request.authorize(&owner(&user))?;
    let caller = Arc::clone(request.caller());
    check_unrestricted(&caller)?;
    if caller.user_id.as_str() != user {
        return Err(forbidden_action("Cannot create an application credential for another user."));
    }
    let mut given = body::object(&mut request, "application_credential", &CREATE).await?;
    let project_id = caller
        .project_id()
        .cloned()
        .ok_or_else(|| Error::invalid("An application credential needs a token that is scoped to a project."))?;
    if given.get("access_rules").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty()) {
        // Taking them and not enforcing them would hand out more than was asked for.
        return Err(Error::invalid("Access rules of application credentials are not supported."));
    }
    let expires_at = expiry(&mut given, service.env.now())?;
    let (asked, held) = (given.shift_remove("roles").unwrap_or(Value::Null), held_roles(&service, &request).await?);
    let roles = service.db.read("app_credential_roles", move |tx| chosen_roles(tx, &asked, &held)).await?;
    let secret =
        take_text(&mut given, "secret").filter(|s| !s.is_empty()).unwrap_or_else(|| service.env.random_text(86));
    let credential = AppCredential {
        id: service.env.hex_id(),
        user_id: caller.user_id.clone(),
        project_id,
        name: take_text(&mut given, "name").unwrap_or_default(),
        description: take_text(&mut given, "description"),
        secret_hash: service.passwords.hash(&Secret::new(secret.as_str())).await?,
        expires_at,
        unrestricted: take_bool(&mut given, "unrestricted").unwrap_or(false),
        roles: roles.iter().map(|role| role.id.clone()).collect(),
    };
    let row = credential.clone();
    service
        .db
        .write("app_credential_create", move |tx| {
            // User and project may have gone while the secret was hashed.
            super::users::fetch(tx, row.user_id.as_str())?;
            super::projects::fetch(tx, row.project_id.as_str())?;
            app_credential_insert(tx, &row)
        })
        .await?;
    let mut item = view(&request, &credential, &roles);
    item["secret"] = secret.into();
    Ok(Reply::created(&json!({"application_credential": item})))
}

fn expiry(given: &mut Map, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some(text) = take_text(given, "expires_at") else { return Ok(None) };
    let end = Timestamp::parse(&text).ok_or_else(|| {
        Error::invalid(
            "Timestamp not in expected format. The server could not comply with the request since it is either \
             malformed or otherwise incorrect. The client is assumed to be in error.",
        )
    })?;
    if end <= now {
        return Err(Error::invalid(
            "The 'expires_at' must not be before now. The server could not comply with the request since it is either \
             malformed or otherwise incorrect. The client is assumed to be in error.",
        ));
    }
    Ok(Some(end))
}

/// The ids of the roles in the caller's own token: nobody hands on more than they have.
async fn held_roles(service: &Identity, request: &Request) -> Result<BTreeSet<RoleId>> {
    let token = request.header("x-auth-token").unwrap_or_default();
    let known = service.tokens.known(token, Duration::ZERO).await?;
    Ok(known.roles.iter().map(|(id, _)| RoleId::new(id)).collect())
}

fn chosen_roles(tx: &mut Tx<'_>, asked: &Value, held: &BTreeSet<RoleId>) -> Result<Vec<Role>> {
    let asked = asked.as_array().map(Vec::as_slice).unwrap_or_default();
    if asked.is_empty() {
        return role_list_by_ids(tx, held);
    }
    let mut ids = BTreeSet::new();
    for role in asked {
        let found = match (role["id"].as_str(), role["name"].as_str()) {
            (Some(id), _) => role_fetch(tx, id)?.ok_or_else(|| not_found("role", id))?,
            (None, Some(name)) => {
                role_fetch_by_name(tx, name)?.ok_or_else(|| Error::invalid(format!("Role {name} is not defined")))?
            }
            (None, None) => return Err(Error::invalid("A role needs an id or a name.")),
        };
        ids.insert(found.id);
    }
    let all = expand_implied(&ids, &implied_map(tx)?);
    if !all.is_subset(held) {
        return Err(Error::invalid(
            "Invalid application credential: Cannot create an application credential with unassigned role",
        ));
    }
    role_list_by_ids(tx, &all)
}
