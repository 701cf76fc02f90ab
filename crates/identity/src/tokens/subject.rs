//! What a token stands for: user, scope, roles, as the database has them now.

use super::payload::{Payload, PayloadScope};
use crate::errors::unauthorized;
use crate::grants::{RoleTarget, user_roles_in_tx};
use crate::store::app_credentials::{AppCredential, app_credential_fetch};
use crate::store::domains::{Domain, domain_fetch};
use crate::store::projects::{Project, project_fetch};
use crate::store::revocations::revocation_exists;
use crate::store::roles::Role;
use crate::store::users::{User, user_fetch};
use ferrostack_db::Tx;
use ferrostack_types::{Result, Timestamp};

/// A scope with what it names.
#[derive(Debug, Clone)]
pub(crate) enum SubjectScope {
    Unscoped,
    Domain(Domain),
    Project(Box<Project>, Domain),
    System,
}

/// Who and where, checked: everything exists and is enabled, and there is a role (unless unscoped).
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) user: User,
    pub(crate) user_domain: Domain,
    pub(crate) scope: SubjectScope,
    pub(crate) roles: Vec<Role>,
    pub(crate) credential: Option<AppCredential>,
    /// Tokens that were issued in this second or earlier are void.
    pub(crate) revoked_before: i64,
}

impl Subject {
    pub(crate) fn payload_scope(&self) -> PayloadScope {
        match &self.scope {
            SubjectScope::Unscoped => PayloadScope::Unscoped,
            SubjectScope::System => PayloadScope::System,
            SubjectScope::Domain(domain) => PayloadScope::Domain(domain.id.as_str().to_owned()),
            SubjectScope::Project(project, _) => PayloadScope::Project(project.id.as_str().to_owned()),
        }
    }
}

/// The subject of a token. 401 if there is none any more.
pub(crate) fn of_payload_in_tx(tx: &mut Tx<'_>, payload: &Payload, now: Timestamp) -> Result<Subject> {
    if let Some(audit_id) = payload.audit_ids.first()
        && revocation_exists(tx, audit_id)?
    {
        return Err(unauthorized("the token was revoked"));
    }
    subject_in_tx(tx, &payload.user_id, &payload.scope, payload.application_credential_id.as_deref(), now)
}

/// The subject for a user and a scope. 401, with the reason for the log, if somebody or something is not there,
/// disabled, or without any role.
pub(crate) fn subject_in_tx(
    tx: &mut Tx<'_>,
    user_id: &str,
    scope: &PayloadScope,
    credential_id: Option<&str>,
    now: Timestamp,
) -> Result<Subject> {
    let user = user_fetch(tx, user_id)?.ok_or_else(|| unauthorized("the user is gone"))?;
    let user_domain = domain_fetch(tx, user.domain_id.as_str())?.ok_or_else(|| unauthorized("the domain is gone"))?;
    if !user.enabled || !user_domain.enabled {
        return Err(unauthorized(format!("user {} or their domain is disabled", user.id)));
    }
    let mut revoked_before = user.revoked_before.max(user_domain.revoked_before);
    let (scope, mut roles) = match scope {
        PayloadScope::Unscoped => (SubjectScope::Unscoped, Vec::new()),
        PayloadScope::System => (SubjectScope::System, user_roles_in_tx(tx, &user.id, RoleTarget::System)?),
        PayloadScope::Domain(id) => {
            let domain = enabled_domain(tx, id)?;
            revoked_before = revoked_before.max(domain.revoked_before);
            let roles = user_roles_in_tx(tx, &user.id, RoleTarget::Domain(&domain.id))?;
            (SubjectScope::Domain(domain), roles)
        }
        PayloadScope::Project(id) => {
            let project = project_fetch(tx, id)?.ok_or_else(|| unauthorized("the project is gone"))?;
            let domain = enabled_domain(tx, project.domain_id.as_str())?;
            if !project.enabled {
                return Err(unauthorized(format!("project {} is disabled", project.id)));
            }
            revoked_before = revoked_before.max(project.revoked_before).max(domain.revoked_before);
            let roles = user_roles_in_tx(tx, &user.id, RoleTarget::Project(&project))?;
            (SubjectScope::Project(Box::new(project), domain), roles)
        }
    };
    let credential = match credential_id {
        None => None,
        Some(id) => {
            let credential = valid_credential(tx, id, &user, &scope, now)?;
            // Never more than the user still has, whatever the credential was made with.
            roles.retain(|role| credential.roles.contains(&role.id));
            Some(credential)
        }
    };
    if roles.is_empty() && !matches!(scope, SubjectScope::Unscoped) {
        return Err(unauthorized(format!("user {} has no role there", user.id)));
    }
    Ok(Subject { user, user_domain, scope, roles, credential, revoked_before })
}

fn enabled_domain(tx: &mut Tx<'_>, id: &str) -> Result<Domain> {
    let domain = domain_fetch(tx, id)?.ok_or_else(|| unauthorized("the domain is gone"))?;
    if domain.enabled { Ok(domain) } else { Err(unauthorized(format!("domain {id} is disabled"))) }
}

fn valid_credential(
    tx: &mut Tx<'_>,
    id: &str,
    user: &User,
    scope: &SubjectScope,
    now: Timestamp,
) -> Result<AppCredential> {
    let credential = app_credential_fetch(tx, id)?.ok_or_else(|| unauthorized("the application credential is gone"))?;
    let fits = credential.user_id == user.id
        && matches!(scope, SubjectScope::Project(project, _) if project.id == credential.project_id);
    if !fits {
        return Err(unauthorized("the application credential is for another user or project"));
    }
    if credential.expires_at.is_some_and(|end| end <= now) {
        return Err(unauthorized("the application credential has expired"));
    }
    Ok(credential)
}
