//! `/v3/auth`: tokens, and what the caller could have a token for.

use super::{collection, link};
use crate::Identity;
use crate::auth::AuthRequest;
use crate::catalog::Names;
use crate::errors::{expecting, not_found};
use crate::grants::user_targets_in_tx;
use crate::store::domains::domain_list_by_ids;
use crate::store::projects::{ProjectFilter, project_list};
use crate::store::revocations::revocation_insert;
use crate::tokens::{ALLOW_EXPIRED, Known};
use ferrostack_contracts::identity::Scope;
use ferrostack_rest::{Method, Reply, Request, StatusCode, Target};
use ferrostack_types::{Error, Kind, Result};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// `POST /v3/auth/tokens`
pub(crate) async fn issue(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let body = request.json().await?;
    let (token, known) = service.authenticate(&AuthRequest::parse(&body)?).await?;
    reply(&service, &request, StatusCode::CREATED, &token, &known).await
}

/// `GET` and `HEAD /v3/auth/tokens`: about the token in `X-Subject-Token`.
pub(crate) async fn validate(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let window = match request.query.bool("allow_expired").unwrap_or_default() {
        Some(true) => ALLOW_EXPIRED,
        _ => Duration::ZERO,
    };
    let (token, known) = subject(&service, &request, window).await?;
    let rule = if request.method == Method::HEAD { "identity:check_token" } else { "identity:validate_token" };
    request.authorize_as(rule, &target(&known))?;
    reply(&service, &request, StatusCode::OK, &token, &known).await
}

/// `DELETE /v3/auth/tokens`
pub(crate) async fn revoke(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let (_, known) = subject(&service, &request, Duration::ZERO).await?;
    request.authorize(&target(&known))?;
    let caller = Arc::clone(&known.caller);
    let (stamps, now) = (Arc::clone(&service.tokens.stamps), service.env.now());
    service
        .db
        .write("token_revoke", move |tx| {
            let audit_id = caller.audit_ids.first().cloned().unwrap_or_default();
            revocation_insert(tx, &audit_id, caller.expires_at + ALLOW_EXPIRED, now)?;
            stamps.touch(tx, caller.user_id.as_str());
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

fn target(known: &Known) -> Target {
    Target::none().set("target.token.user_id", known.caller.user_id.as_str())
}

/// The token that the request is about. 404 if it is not good, as it is then nothing that exists.
async fn subject(service: &Identity, request: &Request, window: Duration) -> Result<(String, Arc<Known>)> {
    let token = request.header("x-subject-token").ok_or_else(|| expecting("X-Subject-Token", "request headers"))?;
    let known = service.tokens.known(token, window).await.map_err(|error| {
        if error.kind() == Kind::Unauthenticated {
            not_found("token", "Failed to validate token").context(error.internal_text())
        } else {
            error
        }
    })?;
    Ok((token.to_owned(), known))
}

async fn reply(service: &Identity, request: &Request, status: StatusCode, token: &str, known: &Known) -> Result<Reply> {
    let with_catalog = known.caller.scope != Scope::Unscoped && !request.query.has("nocatalog");
    let mut body = String::with_capacity(known.body.len() + 4096);
    body.push_str(&known.body);
    if with_catalog {
        let names =
            Names { project: known.caller.project_id().map(|p| p.as_str()), user: Some(known.caller.user_id.as_str()) };
        body.push_str(",\"catalog\":");
        body.push_str(&service.catalog.text(names).await?);
    }
    body.push_str("}}");
    Ok(Reply::bytes(status, "application/json", body).header("x-subject-token", token).header("vary", "X-Auth-Token"))
}

/// `GET /v3/auth/catalog`
pub(crate) async fn catalog(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let caller = request.caller();
    let project = caller
        .project_id()
        .ok_or_else(|| Error::forbidden("A project-scoped token is required to produce a service catalog."))?;
    let names = Names { project: Some(project.as_str()), user: Some(caller.user_id.as_str()) };
    let catalog = service.catalog.value(names).await?;
    Ok(Reply::ok(&json!({"catalog": catalog, "links": {"self": link(&request, "auth/catalog")}})))
}

/// `GET /v3/auth/projects`: where the caller has a role.
pub(crate) async fn projects(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let user = request.caller().user_id.clone();
    let found = service
        .db
        .read("auth_projects", move |tx| {
            let ids = user_targets_in_tx(tx, &user)?.projects;
            project_list(tx, &ProjectFilter { ids: Some(ids), enabled: Some(true), ..ProjectFilter::default() })
        })
        .await?;
    let items = found.iter().map(|p| super::projects::view(&request, p)).collect();
    collection(&request, "projects", items)
}

/// `GET /v3/auth/domains`
pub(crate) async fn domains(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let user = request.caller().user_id.clone();
    let found = service
        .db
        .read("auth_domains", move |tx| {
            let ids = user_targets_in_tx(tx, &user)?.domains;
            domain_list_by_ids(tx, &ids)
        })
        .await?;
    let items = found.iter().filter(|d| d.enabled).map(|d| super::domains::view(&request, d)).collect();
    collection(&request, "domains", items)
}

/// `GET /v3/auth/system`
pub(crate) async fn system(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let user = request.caller().user_id.clone();
    let any = service.db.read("auth_system", move |tx| Ok(user_targets_in_tx(tx, &user)?.system)).await?;
    let system = if any { json!([{"all": true}]) } else { json!([]) };
    Ok(Reply::ok(&json!({"system": system, "links": {"self": link(&request, "auth/system")}})))
}
