//! What every service asks of identity: who is calling.

use async_trait::async_trait;
use ferrostack_types::ids::{DomainId, ProjectId, UserId};
use ferrostack_types::{Result, Timestamp};
use serde_json::Value;
use std::sync::Arc;

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// No scope: the token only says who somebody is.
    Unscoped,
    /// A project, and the domain that owns it.
    Project {
        /// The project.
        id: ProjectId,
        /// Its name.
        name: String,
        /// Its domain.
        domain_id: DomainId,
        /// Its domain's name.
        domain_name: String,
    },
    /// A whole domain.
    Domain {
        /// The domain.
        id: DomainId,
        /// Its name.
        name: String,
    },
    /// The deployment itself.
    System,
}

/// Who is calling, as a verified token says. The one source of identity: headers such as `X-Roles` are never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// The user's domain.
    pub user_domain_id: DomainId,
    /// The user's domain's name.
    pub user_domain_name: String,
    /// What the token is good for.
    pub scope: Scope,
    /// The names of the roles in that scope, implied ones included, sorted.
    pub roles: Vec<String>,
    /// The token's audit ids, newest first.
    pub audit_ids: Vec<String>,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// How the user proved who they are: `password`, `token`, `application_credential` ...
    pub methods: Vec<String>,
    /// The application credential behind the token, and whether it is restricted (may not mint credentials).
    pub application_credential: Option<(String, bool)>,
}

impl Caller {
    /// The project of a project-scoped token.
    pub fn project_id(&self) -> Option<&ProjectId> {
        match &self.scope {
            Scope::Project { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The domain of a domain-scoped token.
    pub fn domain_id(&self) -> Option<&DomainId> {
        match &self.scope {
            Scope::Domain { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Whether the token is good for the whole deployment.
    pub fn is_system(&self) -> bool {
        self.scope == Scope::System
    }

    /// Whether a role of this name (compared without case, as oslo.policy does) is held.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|held| held.eq_ignore_ascii_case(role))
    }
}

/// Verifies tokens. Answered from memory; a revocation is seen by the very next call.
#[async_trait]
pub trait TokenVerifier: Send + Sync {
    /// Who holds this token. [`ferrostack_types::Kind::Unauthenticated`] if it is forged, expired or revoked.
    async fn verify(&self, token: &str) -> Result<Arc<Caller>>;
}

/// What the other services ask about projects and users.
#[async_trait]
pub trait IdentityDirectory: Send + Sync {
    /// Whether a project of this id exists (enabled or not).
    async fn project_exists(&self, id: &ProjectId) -> Result<bool>;

    /// The service catalog in the form of a token's `catalog`, for version documents and clients.
    async fn catalog(&self) -> Result<Value>;
}
