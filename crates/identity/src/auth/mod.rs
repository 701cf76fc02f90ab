//! Proving who one is: `POST /v3/auth/tokens`.
//!
//! ```text
//!  methods ─► each proves a user ─► one user, earliest end ─► scope ─► subject (enabled? roles?) ─► token
//! ```
//!
//! Every failure is the same 401, after the same work: an unknown user costs a password check like a known one.

mod methods;
mod request;

pub(crate) use request::{AuthRequest, UserRef};

use crate::Identity;
use crate::errors::{forbidden_action, unauthorized};
use crate::stamps::Stamp;
use crate::store::app_credentials::app_credential_fetch;
use crate::store::domains::{domain_fetch, domain_fetch_by_name};
use crate::store::projects::{project_fetch, project_fetch_by_name};
use crate::store::users::{User, user_fetch};
use crate::tokens::payload::{PayloadScope, normalize_methods};
use crate::tokens::subject::{Subject, subject_in_tx};
use crate::tokens::{Issue, Known, scope_id};
use ferrostack_contracts::identity::{Caller, Scope};
use ferrostack_types::{Error, Result, Timestamp};
use request::{DomainRef, ProjectRef, ScopeRequest};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What the methods proved.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    user_id: Option<String>,
    methods: Vec<String>,
    /// The earliest end among the tokens that took part.
    expires_at: Option<Timestamp>,
    parent_audit_id: Option<String>,
    /// Set if an application credential is behind it, directly or through a token.
    credential_id: Option<String>,
    /// The hash that a password was checked against.
    password_hash: Option<String>,
    /// The token that was used, if one was.
    token: Option<Arc<Caller>>,
}

impl Proof {
    /// All methods have to prove the same user.
    fn is_user(&mut self, id: &str) -> Result<()> {
        match &self.user_id {
            Some(known) if known != id => Err(unauthorized("the methods prove different users")),
            _ => {
                self.user_id = Some(id.to_owned());
                Ok(())
            }
        }
    }

    fn ends_by(&mut self, end: Timestamp) {
        self.expires_at = Some(self.expires_at.map_or(end, |known| known.min(end)));
    }
}

impl Identity {
    /// Checks the proofs of a request and issues the token that it asks for.
    pub(crate) async fn authenticate(&self, request: &AuthRequest) -> Result<(String, Arc<Known>)> {
        let mut proof = Proof::default();
        for method in &request.methods {
            self.prove(method, request, &mut proof).await?;
        }
        let user_id = proof.user_id.clone().ok_or_else(|| unauthorized("no method proved a user"))?;
        check_rescoping(&proof, request)?;
        let scope = self.wanted_scope(&user_id, request, &proof).await?;
        let now = self.env.now();
        let (subject, stamp) = self.current_subject(&user_id, &scope, &proof, request).await?;
        check_mfa_rules(&subject.user, &proof)?;
        let mut expires_at = now.whole_seconds() + self.config.token_ttl;
        for end in [proof.expires_at, subject.credential.as_ref().and_then(|c| c.expires_at)].into_iter().flatten() {
            expires_at = expires_at.min(end.whole_seconds());
        }
        self.tokens.issue(Issue {
            subject,
            stamp,
            methods: normalize_methods(proof.methods.iter().map(String::as_str)),
            expires_at,
            parent_audit_id: proof.parent_audit_id,
        })
    }

    /// The subject, read after all proofs were checked, with nothing having changed while it was read: whoever changes
    /// a password or ends a token is not overtaken by a login that was under way.
    async fn current_subject(
        &self,
        user_id: &str,
        scope: &PayloadScope,
        proof: &Proof,
        request: &AuthRequest,
    ) -> Result<(Subject, Stamp)> {
        const TRIES: usize = 10;
        for _ in 0..TRIES {
            let stamp = self.tokens.stamps.read(user_id, scope_id(scope));
            let subject = self.subject(user_id, scope, proof, self.env.now()).await?;
            if proof.password_hash.is_some() && proof.password_hash != subject.user.password_hash {
                return Err(unauthorized("the password was changed meanwhile"));
            }
            if let (Some(_), Some(token)) = (&proof.token, &request.token) {
                self.tokens.known(token.expose(), Duration::ZERO).await?;
            }
            if self.tokens.is_current(&stamp) {
                return Ok((subject, stamp));
            }
        }
        Err(Error::unavailable("Too many changes at the moment; try again."))
    }

    async fn subject(&self, user: &str, scope: &PayloadScope, proof: &Proof, now: Timestamp) -> Result<Subject> {
        let (user, scope, credential) = (user.to_owned(), scope.clone(), proof.credential_id.clone());
        self.db.read("token_issue", move |tx| subject_in_tx(tx, &user, &scope, credential.as_deref(), now)).await
    }

    /// The scope by id: as asked, or the application credential's, or the user's default project if that is usable.
    async fn wanted_scope(&self, user_id: &str, request: &AuthRequest, proof: &Proof) -> Result<PayloadScope> {
        if let Some(id) = &proof.credential_id {
            let id = id.clone();
            let project = self
                .db
                .read("token_scope", move |tx| app_credential_fetch(tx, &id))
                .await?
                .ok_or_else(|| unauthorized("the application credential is gone"))?
                .project_id;
            return Ok(PayloadScope::Project(project.as_str().to_owned()));
        }
        match &request.scope {
            ScopeRequest::Unscoped => Ok(PayloadScope::Unscoped),
            ScopeRequest::System => Ok(PayloadScope::System),
            ScopeRequest::Domain(domain) => Ok(PayloadScope::Domain(self.domain_id(domain).await?)),
            ScopeRequest::Project(project) => Ok(PayloadScope::Project(self.project_id(project).await?)),
            ScopeRequest::Default => self.default_scope(user_id).await,
        }
    }

    async fn domain_id(&self, domain: &DomainRef) -> Result<String> {
        let domain = domain.clone();
        let found = self
            .db
            .read("token_scope", move |tx| match &domain {
                DomainRef::Id(id) => domain_fetch(tx, id),
                DomainRef::Name(name) => domain_fetch_by_name(tx, name),
            })
            .await?;
        Ok(found.ok_or_else(|| unauthorized("no such domain"))?.id.as_str().to_owned())
    }

    async fn project_id(&self, project: &ProjectRef) -> Result<String> {
        match project {
            ProjectRef::Id(id) => Ok(id.clone()),
            ProjectRef::Name(name, domain) => {
                let domain = ferrostack_types::ids::DomainId::new(self.domain_id(domain).await?);
                let name = name.clone();
                let found = self.db.read("token_scope", move |tx| project_fetch_by_name(tx, &domain, &name)).await?;
                Ok(found.ok_or_else(|| unauthorized("no such project"))?.id.as_str().to_owned())
            }
        }
    }

    /// A default project that is gone, disabled or without a role for the user is passed over in silence.
    async fn default_scope(&self, user_id: &str) -> Result<PayloadScope> {
        let (id, now) = (user_id.to_owned(), self.env.now());
        self.db
            .read("token_scope", move |tx| {
                let user = user_fetch(tx, &id)?;
                let Some(project) = user.and_then(|u| u.default_project_id) else { return Ok(PayloadScope::Unscoped) };
                if project_fetch(tx, project.as_str())?.is_none() {
                    return Ok(PayloadScope::Unscoped);
                }
                let scope = PayloadScope::Project(project.as_str().to_owned());
                match subject_in_tx(tx, &id, &scope, None, now) {
                    Ok(_) => Ok(scope),
                    Err(error) if error.kind() == ferrostack_types::Kind::Unauthenticated => Ok(PayloadScope::Unscoped),
                    Err(error) => Err(error),
                }
            })
            .await
    }
}

/// A token cannot be turned into one that is good for more than it was meant for.
fn check_rescoping(proof: &Proof, request: &AuthRequest) -> Result<()> {
    let asks = !matches!(request.scope, ScopeRequest::Default);
    if let Some(token) = &proof.token {
        let narrower = matches!(request.scope, ScopeRequest::Project(_) | ScopeRequest::Domain(_));
        if token.scope == Scope::System && narrower {
            return Err(forbidden_action(
                "Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.",
            ));
        }
        if token.application_credential.is_some() && asks {
            return Err(forbidden_action(
                "Using an application credential token to create a scoped token is not allowed.",
            ));
        }
    } else if proof.credential_id.is_some() && asks {
        return Err(Error::unauthenticated(
            "Error authenticating with application credential: Application credentials cannot request a scope.",
        ));
    }
    Ok(())
}

/// A user's own rules about which methods have to come together.
fn check_mfa_rules(user: &User, proof: &Proof) -> Result<()> {
    const SERVED: [&str; 3] = ["password", "token", "application_credential"];
    if user.options.get("multi_factor_auth_enabled") == Some(&Value::Bool(false)) {
        return Ok(());
    }
    let rules = user.options.get("multi_factor_auth_rules").and_then(Value::as_array);
    let mut any = false;
    for rule in rules.into_iter().flatten() {
        let served: Vec<&str> = rule
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|method| SERVED.contains(method))
            .collect();
        if served.is_empty() {
            continue;
        }
        any = true;
        if served.iter().all(|method| proof.methods.iter().any(|m| m == method)) {
            return Ok(());
        }
    }
    if any { Err(unauthorized(format!("user {} has to use more methods", user.id))) } else { Ok(()) }
}
