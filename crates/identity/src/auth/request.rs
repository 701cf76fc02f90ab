//! The body of `POST /v3/auth/tokens`.

use crate::errors::expecting;
use ferrostack_rest::Schema;
use ferrostack_types::{Error, Result, Secret};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A domain as a client names it.
#[derive(Debug, Clone)]
pub(crate) enum DomainRef {
    Id(String),
    Name(String),
}

/// A project as a client names it.
#[derive(Debug, Clone)]
pub(crate) enum ProjectRef {
    Id(String),
    Name(String, DomainRef),
}

/// A user as a client names them.
#[derive(Debug, Clone)]
pub(crate) enum UserRef {
    Id(String),
    Name(String, DomainRef),
}

/// What the token should be good for.
#[derive(Debug, Clone)]
pub(crate) enum ScopeRequest {
    /// Nothing is said: the user's default project, if there is one.
    Default,
    Unscoped,
    Project(ProjectRef),
    Domain(DomainRef),
    System,
}

/// An application credential as a client names it.
#[derive(Debug, Clone)]
pub(crate) enum CredentialRef {
    Id(String),
    Name(String, UserRef),
}

/// A request for a token.
#[derive(Debug, Clone)]
pub(crate) struct AuthRequest {
    pub(crate) methods: Vec<String>,
    pub(crate) password: Option<(UserRef, Secret)>,
    pub(crate) token: Option<Secret>,
    pub(crate) credential: Option<(CredentialRef, Secret)>,
    pub(crate) scope: ScopeRequest,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let named = json!({"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}});
    let project = json!({
        "type": "object",
        "properties": {"id": {"type": "string"}, "name": {"type": "string"}, "domain": named},
    });
    let user = json!({
        "type": "object",
        "properties": {
            "id": {"type": "string"}, "name": {"type": "string"}, "password": {"type": "string"}, "domain": named,
        },
    });
    Schema::new(json!({
        "type": "object",
        "required": ["identity"],
        "properties": {
            "identity": {
                "type": "object",
                "required": ["methods"],
                "properties": {
                    "methods": {"type": "array", "items": {"type": "string"}},
                    "password": {"type": "object", "properties": {"user": user}},
                    "token": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
                    "application_credential": {"type": "object", "properties": {
                        "id": {"type": "string"}, "name": {"type": "string"}, "secret": {"type": "string"},
                        "user": user,
                    }},
                },
            },
            "scope": {
                "type": ["object", "string"],
                "properties": {
                    "project": project,
                    "domain": named,
                    "OS-TRUST:trust": {"type": "object", "properties": {"id": {"type": "string"}}},
                    "system": {"type": "object", "properties": {"all": {"type": "boolean"}}},
                },
            },
        },
    }))
});

impl AuthRequest {
    /// Reads a body. 400 for what is malformed, before anything is looked up.
    pub(crate) fn parse(body: &Value) -> Result<AuthRequest> {
        let auth = body.get("auth").ok_or_else(|| expecting("auth", "request body"))?;
        SCHEMA.check(auth, None)?;
        let identity = &auth["identity"];
        let mut methods: Vec<String> = Vec::new();
        for method in identity["methods"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !methods.iter().any(|m| m == method) {
                methods.push(method.to_owned());
            }
        }
        for method in &methods {
            if identity.get(method).is_none() {
                return Err(expecting(method, "identity"));
            }
        }
        let uses = |name: &str| methods.iter().any(|m| m == name);
        let password = if uses("password") { Some(password(&identity["password"])?) } else { None };
        let token =
            if uses("token") { Some(Secret::new(identity["token"]["id"].as_str().unwrap_or_default())) } else { None };
        let credential =
            if uses("application_credential") { Some(credential(&identity["application_credential"])?) } else { None };
        let scope = auth.get("scope").map_or(Ok(ScopeRequest::Default), scope)?;
        Ok(AuthRequest { methods, password, token, credential, scope })
    }
}

fn password(value: &Value) -> Result<(UserRef, Secret)> {
    let user = value.get("user").ok_or_else(|| expecting("user", "password"))?;
    let password = text(user, "password").ok_or_else(|| expecting("password", "user"))?;
    Ok((user_ref(user)?, Secret::new(password)))
}

fn credential(value: &Value) -> Result<(CredentialRef, Secret)> {
    let secret = text(value, "secret").ok_or_else(|| expecting("secret", "application credential"))?;
    let named = match text(value, "id") {
        Some(id) => CredentialRef::Id(id),
        None => {
            let name = text(value, "name").ok_or_else(|| expecting("name or ID", "application credential"))?;
            let user = value.get("user").ok_or_else(|| expecting("user", "application credential"))?;
            CredentialRef::Name(name, user_ref(user)?)
        }
    };
    Ok((named, Secret::new(secret)))
}

fn user_ref(value: &Value) -> Result<UserRef> {
    if let Some(name) = text(value, "name").filter(|n| !n.is_empty()) {
        let domain = value.get("domain").ok_or_else(|| expecting("domain", "user"))?;
        return Ok(UserRef::Name(name, domain_ref(domain, "identity/password/user/domain")?));
    }
    text(value, "id").filter(|id| !id.is_empty()).map(UserRef::Id).ok_or_else(|| missing("identity/password/user"))
}

fn domain_ref(value: &Value, place: &str) -> Result<DomainRef> {
    match (text(value, "name").filter(|n| !n.is_empty()), text(value, "id")) {
        (Some(name), _) => Ok(DomainRef::Name(name)),
        (None, Some(id)) => Ok(DomainRef::Id(id)),
        (None, None) => Err(missing(place)),
    }
}

fn scope(value: &Value) -> Result<ScopeRequest> {
    const KINDS: [&str; 5] = ["project", "domain", "unscoped", "system", "OS-TRUST:trust"];
    if let Some(text) = value.as_str() {
        return if text == "unscoped" { Ok(ScopeRequest::Unscoped) } else { Err(wrong_scope()) };
    }
    if KINDS.iter().filter(|kind| value.get(**kind).is_some()).count() != 1 {
        return Err(wrong_scope());
    }
    if value.get("unscoped").is_some() {
        return Ok(ScopeRequest::Unscoped);
    }
    if let Some(system) = value.get("system") {
        return if system.get("all") == Some(&Value::Bool(true)) {
            Ok(ScopeRequest::System)
        } else {
            Err(wrong_scope())
        };
    }
    if let Some(domain) = value.get("domain") {
        return Ok(ScopeRequest::Domain(domain_ref(domain, "scope/domain")?));
    }
    let Some(project) = value.get("project") else {
        return Err(Error::unauthenticated("The request you have made requires authentication."));
    };
    if let Some(name) = text(project, "name").filter(|n| !n.is_empty()) {
        let domain = project.get("domain").ok_or_else(|| expecting("domain", "project"))?;
        return Ok(ScopeRequest::Project(ProjectRef::Name(name, domain_ref(domain, "scope/project/domain")?)));
    }
    text(project, "id").map(|id| ScopeRequest::Project(ProjectRef::Id(id))).ok_or_else(|| missing("scope/project"))
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn missing(place: &str) -> Error {
    Error::invalid(format!("Invalid input for field {place}: id or name must be present."))
}

fn wrong_scope() -> Error {
    expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope")
}
