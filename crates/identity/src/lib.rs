//! The Keystone v3 API: who may do what, where; and where everything is.
//!
//! * **Tokens** ([`tokens`]): Keystone's own Fernet format, answered from memory; a revocation is seen by the next
//!   request. **Proof** ([`auth`]): password, token, application credential.
//! * **People and places**: domains, projects with tags, users, groups. **Rights** ([`grants`]): roles, implied roles,
//!   assignments on projects, domains and the system, inherited ones included.
//! * **Catalog** ([`catalog`]): regions, services, endpoints. [`bootstrap`] makes a new cloud's first entries.
//!
//! Tables: `identity_domains`, `_projects`, `_project_tags`, `_users`, `_groups`, `_memberships`, `_roles`,
//! `_implied_roles`, `_assignments`, `_regions`, `_services`, `_endpoints`, `_application_credentials`,
//! `_application_credential_roles`, `_revoked_tokens`. There are no loops: everything here is done when it is answered.
//!
//! Every write that could change what a token is good for says so in its transaction ([`stamps`]); that is the one
//! rule that must not be forgotten when a write is added.

mod api;
mod auth;
mod bootstrap;
mod catalog;
mod directory;
mod errors;
mod grants;
mod passwords;
mod policy;
mod routes;
mod stamps;
mod store;
mod tokens;

pub use bootstrap::BootstrapConfig;

use catalog::Catalog;
use ferrostack_db::{Db, Migration};
use ferrostack_rest::{Enforcer, ErrorStyle, Kit, ServiceApi, ServiceSpec};
use ferrostack_types::{Env, Result};
use passwords::Passwords;
use stamps::Stamps;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokens::Tokens;
use tokens::keys::KeyRing;

/// The schema.
pub const MIGRATIONS: &[Migration] =
    &[Migration { service: "identity", version: 1, sql: include_str!("../migrations/0001_initial.sql") }];

/// What an operator may choose.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of token keys; made at the first start.
    pub key_repository: PathBuf,
    /// How long a token is good.
    pub token_ttl: Duration,
    /// bcrypt's cost: each step doubles the work of a login, and of guessing.
    pub bcrypt_cost: u32,
    /// How many tokens are remembered; each takes some two kilobytes.
    pub remembered_tokens: u64,
}

impl Config {
    /// Keystone's defaults.
    pub fn new(key_repository: PathBuf) -> Config {
        Config { key_repository, token_ttl: Duration::from_secs(3600), bcrypt_cost: 12, remembered_tokens: 20_000 }
    }
}

/// What the service is made of.
pub struct Deps {
    /// The database, with [`MIGRATIONS`] applied.
    pub db: Db,
    /// Time, randomness, tasks.
    pub env: Env,
    /// What an operator may choose.
    pub config: Config,
}

/// The service. It is the `TokenVerifier` and the `IdentityDirectory` of the others.
pub struct Identity {
    pub(crate) db: Db,
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) tokens: Tokens,
    pub(crate) passwords: Passwords,
    pub(crate) catalog: Catalog,
}

impl Identity {
    /// Opens the token keys, or makes them.
    pub async fn new(deps: Deps) -> Result<Arc<Identity>> {
        let Deps { db, env, config } = deps;
        let keys = KeyRing::open(&config.key_repository, &env)?;
        let stamps = Stamps::new();
        let tokens = Tokens::new(env.clone(), db.clone(), keys, Arc::clone(&stamps), config.remembered_tokens);
        let passwords = Passwords::new(env.clone(), config.bcrypt_cost);
        let catalog = Catalog::new(db.clone(), stamps);
        Ok(Arc::new(Identity { db, env, config, tokens, passwords, catalog }))
    }

    /// Rotates the token keys: the staged key seals from now on, and the oldest beyond `max_active` opens nothing any
    /// more. Rotate no more often than a token lasts, or tokens end early.
    pub fn rotate_token_keys(&self, max_active: usize) -> Result<()> {
        self.tokens.rotate(max_active)
    }
}

/// The API under `/identity`.
pub fn api(service: Arc<Identity>, kit: Kit, policy_file: Option<PathBuf>) -> Result<Arc<dyn ServiceApi>> {
    let enforcer = Enforcer::new("identity", &[policy::RULES], policy_file)?;
    let spec = ServiceSpec {
        name: "identity",
        prefix: "/identity",
        style: ErrorStyle::Keystone,
        microversions: None,
        body_limit: 114_688,
        time_limit: Duration::from_secs(60),
    };
    ferrostack_rest::build(spec, routes::routes(), service, enforcer, kit)
}
