//! The methods: password, token, application credential.

use super::Proof;
use super::request::{AuthRequest, CredentialRef, DomainRef, UserRef};
use crate::Identity;
use crate::errors::unauthorized;
use crate::store::app_credentials::{AppCredential, app_credential_fetch, app_credential_fetch_by_name};
use crate::store::domains::{domain_fetch, domain_fetch_by_name};
use crate::store::users::{User, user_fetch, user_fetch_by_name};
use ferrostack_db::Tx;
use ferrostack_types::{Result, Secret};
use std::time::Duration;

impl Identity {
    pub(super) async fn prove(&self, method: &str, request: &AuthRequest, proof: &mut Proof) -> Result<()> {
        match method {
            "password" => {
                let (user, password) = request.password.as_ref().ok_or_else(|| unauthorized("no password"))?;
                let user = self.check_password(user, password).await?;
                proof.is_user(user.id.as_str())?;
                proof.password_hash = user.password_hash;
            }
            "token" => {
                let token = request.token.as_ref().ok_or_else(|| unauthorized("no token"))?;
                self.prove_by_token(token, proof).await?;
            }
            "application_credential" => {
                let (credential, secret) = request.credential.as_ref().ok_or_else(|| unauthorized("no credential"))?;
                let credential = self.check_credential(credential, secret).await?;
                proof.is_user(credential.user_id.as_str())?;
                proof.credential_id = Some(credential.id);
            }
            other => return Err(unauthorized(format!("method {other} is not served"))),
        }
        proof.methods.push(method.to_owned());
        Ok(())
    }

    /// A token proves its user again, for no longer than it lasts, with the methods that it was got by.
    async fn prove_by_token(&self, token: &Secret, proof: &mut Proof) -> Result<()> {
        let known = self.tokens.known(token.expose(), Duration::ZERO).await?;
        let caller = &known.caller;
        proof.is_user(caller.user_id.as_str())?;
        proof.ends_by(caller.expires_at);
        proof.methods.extend(caller.methods.iter().cloned());
        proof.parent_audit_id = caller.audit_ids.last().cloned();
        if let Some((id, _)) = &caller.application_credential {
            proof.credential_id = Some(id.clone());
        }
        proof.token = Some(std::sync::Arc::clone(caller));
        Ok(())
    }

    /// The user, if the password is theirs and they may log in. The same work whatever is wrong.
    pub(crate) async fn check_password(&self, user: &UserRef, password: &Secret) -> Result<User> {
        let wanted = user.clone();
        let found = self.db.read("auth_user", move |tx| user_of(tx, &wanted)).await?;
        let hash = found.as_ref().and_then(|(user, _)| user.password_hash.as_deref());
        let matches = self.passwords.verify(password, hash).await?;
        match found {
            Some((user, true)) if matches => Ok(user),
            Some((user, _)) => Err(unauthorized(format!("wrong password for, or disabled: user {}", user.id))),
            None => Err(unauthorized("no such user")),
        }
    }

    async fn check_credential(&self, credential: &CredentialRef, secret: &Secret) -> Result<AppCredential> {
        let wanted = credential.clone();
        let found = self.db.read("auth_credential", move |tx| credential_of(tx, &wanted)).await?;
        let matches = self.passwords.verify(secret, found.as_ref().map(|c| c.secret_hash.as_str())).await?;
        match found {
            Some(credential) if matches => Ok(credential),
            Some(credential) => Err(unauthorized(format!("wrong secret for application credential {}", credential.id))),
            None => Err(unauthorized("no such application credential")),
        }
    }
}

/// The user and whether they and their domain are enabled.
fn user_of(tx: &mut Tx<'_>, wanted: &UserRef) -> Result<Option<(User, bool)>> {
    let user = match wanted {
        UserRef::Id(id) => user_fetch(tx, id)?,
        UserRef::Name(name, domain) => {
            let domain = match domain {
                DomainRef::Id(id) => domain_fetch(tx, id)?,
                DomainRef::Name(name) => domain_fetch_by_name(tx, name)?,
            };
            match domain {
                Some(domain) => user_fetch_by_name(tx, &domain.id, name)?,
                None => None,
            }
        }
    };
    let Some(user) = user else { return Ok(None) };
    let domain = domain_fetch(tx, user.domain_id.as_str())?;
    let enabled = user.enabled && domain.is_some_and(|d| d.enabled);
    Ok(Some((user, enabled)))
}

fn credential_of(tx: &mut Tx<'_>, wanted: &CredentialRef) -> Result<Option<AppCredential>> {
    match wanted {
        CredentialRef::Id(id) => app_credential_fetch(tx, id),
        CredentialRef::Name(name, user) => match user_of(tx, user)? {
            Some((user, _)) => app_credential_fetch_by_name(tx, &user.id, name),
            None => Ok(None),
        },
    }
}
