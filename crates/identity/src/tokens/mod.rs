//! Tokens: issued, validated from memory, revoked.
//!
//! A token is a sealed payload ([`payload`] in [`fernet`]) that names a user, a scope and an end; what it is good for
//! is read from the database and remembered ([`Known`]) for as long as nothing that matters has changed
//! ([`crate::stamps`]).
//!
//! ```text
//!  X-Auth-Token ─► SHA-256 ─► remembered, not expired, counters unchanged ─► caller           (no lock, no database)
//!                              └─ otherwise: MAC, decrypt, read user/scope/roles/revocations ─► remember ─► caller
//! ```
//!
//! What ends a token: its time; its own revocation; the user, their domain, the project, its domain or the application
//! credential being gone, disabled or marked (`revoked_before`); no role left in its scope.
//!
//! Times are whole seconds, so a token issued in the very second of such a mark could be older or newer than it. It
//! counts as older; a new one is stamped with the second after the mark instead. And a mark lies a second ahead, so that
//! it also covers a token that is issued from what was read just before the mark's commit.

pub(crate) mod fernet;
pub(crate) mod keys;
pub(crate) mod payload;
pub(crate) mod subject;

use crate::errors::unauthorized;
use crate::stamps::{Stamp, Stamps};
use ferrostack_contracts::identity::{Caller, Scope};
use ferrostack_db::Db;
use ferrostack_types::{Env, Result, Timestamp};
use keys::KeyRing;
use moka::sync::Cache;
use payload::{Payload, PayloadScope};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;
use subject::{Subject, SubjectScope};

/// Keystone's `allow_expired_window`: how long after its end a service may still ask about a token.
pub(crate) const ALLOW_EXPIRED: Duration = Duration::from_secs(172_800);

/// A token that is known to be good.
pub(crate) struct Known {
    /// Who holds it.
    pub(crate) caller: Arc<Caller>,
    /// The roles with their ids, for application credentials.
    pub(crate) roles: Vec<(String, String)>,
    /// The token's JSON without catalog, still open: `}}` closes it.
    pub(crate) body: String,
    stamp: Stamp,
}

/// What is asked of a new token.
pub(crate) struct Issue {
    pub(crate) subject: Subject,
    pub(crate) stamp: Stamp,
    pub(crate) methods: Vec<&'static str>,
    pub(crate) expires_at: Timestamp,
    /// The audit id of the first token of a chain.
    pub(crate) parent_audit_id: Option<String>,
}

/// The keys of the memory are digests already: no second hash is needed, and no token's text stays in memory.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Issues and validates.
pub(crate) struct Tokens {
    env: Env,
    db: Db,
    keys: KeyRing,
    pub(crate) stamps: Arc<Stamps>,
    known: Cache<[u8; 32], Arc<Known>, BuildHasherDefault<Folded>>,
}

impl Tokens {
    pub(crate) fn new(env: Env, db: Db, keys: KeyRing, stamps: Arc<Stamps>, remembered: u64) -> Tokens {
        let known = Cache::builder().max_capacity(remembered).build_with_hasher(BuildHasherDefault::default());
        Tokens { env, db, keys, stamps, known }
    }

    /// The token's holder, if the token is good or ended at most `window` ago. 401 otherwise.
    pub(crate) async fn known(&self, token: &str, window: Duration) -> Result<Arc<Known>> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = self.env.now();
        if let Some(known) = self.known.get(&key) {
            if self.stamps.is_current(&known.stamp) {
                return if known.caller.expires_at + window > now {
                    Ok(known)
                } else {
                    Err(unauthorized("the token has expired"))
                };
            }
            self.known.invalidate(&key);
        }
        let known = Arc::new(self.load(token, window, now).await?);
        self.known.insert(key, Arc::clone(&known));
        Ok(known)
    }

    async fn load(&self, token: &str, window: Duration, now: Timestamp) -> Result<Known> {
        let (issued_at, bytes) = fernet::open(&self.keys.keys(), token)
            .ok_or_else(|| unauthorized("the token was not sealed by a key of ours"))?;
        let payload =
            Payload::decode(&bytes).ok_or_else(|| unauthorized("the token is of a kind that is not served"))?;
        if payload.expires_at + window <= now {
            return Err(unauthorized("the token has expired"));
        }
        let stamp = self.stamps.read(&payload.user_id, scope_id(&payload.scope));
        let asked = payload.clone();
        let subject = self.db.read("token_validate", move |tx| subject::of_payload_in_tx(tx, &asked, now)).await?;
        if issued_at.as_secs() <= subject.revoked_before {
            return Err(unauthorized("the token is older than a change that ended it"));
        }
        Ok(known(&subject, &payload, issued_at, stamp))
    }

    /// Whether nothing has changed since the counters were read.
    pub(crate) fn is_current(&self, stamp: &Stamp) -> bool {
        self.stamps.is_current(stamp)
    }

    /// Seals a new token for a subject that was just read, and remembers it.
    pub(crate) fn issue(&self, issue: Issue) -> Result<(String, Arc<Known>)> {
        let Issue { subject, stamp, methods, expires_at, parent_audit_id } = issue;
        let issued_at = self.env.now().whole_seconds().max(Timestamp::from_secs(subject.revoked_before + 1));
        if expires_at <= issued_at {
            return Err(unauthorized("the new token would be over already"));
        }
        let mut audit_ids = vec![self.audit_id()];
        audit_ids.extend(parent_audit_id);
        let payload = Payload {
            user_id: subject.user.id.as_str().to_owned(),
            methods,
            scope: subject.payload_scope(),
            expires_at,
            audit_ids,
            application_credential_id: subject.credential.as_ref().map(|c| c.id.clone()),
        };
        let keys = self.keys.keys();
        let primary = keys.first().ok_or_else(|| unauthorized("there is no token key"))?;
        let token = primary.seal(&self.env, issued_at, &payload.encode());
        let known = Arc::new(known(&subject, &payload, issued_at, stamp));
        self.known.insert(Sha256::digest(token.as_bytes()).into(), Arc::clone(&known));
        Ok((token, known))
    }

    /// Makes the staged key the primary, as `keystone-manage fernet_rotate` does.
    pub(crate) fn rotate(&self, max_active: usize) -> Result<()> {
        self.keys.rotate(max_active)?;
        // A key that is gone opens nothing, remembered or not.
        self.known.invalidate_all();
        Ok(())
    }

    fn audit_id(&self) -> String {
        use base64::Engine as _;
        fernet::BASE64.encode(self.env.random::<16>())
    }
}

/// The mark that ends every token issued until now. To be taken inside the transaction that writes it.
pub(crate) fn revocation_mark(env: &Env) -> i64 {
    env.now().as_secs() + 1
}

/// What a token's scope is counted under.
pub(crate) fn scope_id(scope: &PayloadScope) -> &str {
    match scope {
        PayloadScope::Project(id) | PayloadScope::Domain(id) => id,
        PayloadScope::System | PayloadScope::Unscoped => "",
    }
}

fn known(subject: &Subject, payload: &Payload, issued_at: Timestamp, stamp: Stamp) -> Known {
    let scope = match &subject.scope {
        SubjectScope::Unscoped => Scope::Unscoped,
        SubjectScope::System => Scope::System,
        SubjectScope::Domain(domain) => Scope::Domain { id: domain.id.clone(), name: domain.name.clone() },
        SubjectScope::Project(project, domain) => Scope::Project {
            id: project.id.clone(),
            name: project.name.clone(),
            domain_id: domain.id.clone(),
            domain_name: domain.name.clone(),
        },
    };
    let mut roles: Vec<(String, String)> =
        subject.roles.iter().map(|role| (role.id.as_str().to_owned(), role.name.clone())).collect();
    roles.sort_by(|a, b| a.1.cmp(&b.1));
    let caller = Caller {
        user_id: subject.user.id.clone(),
        user_name: subject.user.name.clone(),
        user_domain_id: subject.user_domain.id.clone(),
        user_domain_name: subject.user_domain.name.clone(),
        scope,
        roles: roles.iter().map(|(_, name)| name.clone()).collect(),
        audit_ids: payload.audit_ids.clone(),
        expires_at: payload.expires_at,
        methods: payload.methods.iter().map(|m| (*m).to_owned()).collect(),
        application_credential: subject.credential.as_ref().map(|c| (c.id.clone(), !c.unrestricted)),
    };
    let body = render(&caller, &roles, subject, issued_at);
    Known { caller: Arc::new(caller), roles, body, stamp }
}

/// The token as `GET /v3/auth/tokens` shows it, up to where the catalog would stand.
fn render(caller: &Caller, roles: &[(String, String)], subject: &Subject, issued_at: Timestamp) -> String {
    let domain = |id: &str, name: &str| json!({"id": id, "name": name});
    let mut token = json!({
        "methods": caller.methods,
        "user": {
            "domain": domain(caller.user_domain_id.as_str(), &caller.user_domain_name),
            "id": caller.user_id,
            "name": caller.user_name,
            "password_expires_at": null,
        },
        "audit_ids": caller.audit_ids,
        "expires_at": caller.expires_at.to_iso_micros(),
        "issued_at": issued_at.to_iso_micros(),
    });
    let roles: Vec<Value> = roles.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
    match &caller.scope {
        Scope::Unscoped => {}
        Scope::System => {
            token["roles"] = roles.into();
            token["system"] = json!({"all": true});
        }
        Scope::Domain { id, name } => {
            token["domain"] = domain(id.as_str(), name);
            token["roles"] = roles.into();
        }
        Scope::Project { id, name, domain_id, domain_name } => {
            token["project"] = json!({"domain": domain(domain_id.as_str(), domain_name), "id": id, "name": name});
            token["is_domain"] = false.into();
            token["roles"] = roles.into();
        }
    }
    if let Some(credential) = &subject.credential {
        token["application_credential"] =
            json!({"id": credential.id, "name": credential.name, "restricted": !credential.unrestricted});
    }
    let mut body = json!({"token": token}).to_string();
    body.truncate(body.len() - 2);
    body
}
