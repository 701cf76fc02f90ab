//! The Placement API: who has how much of what, and who holds it.
//!
//! | table | what |
//! |---|---|
//! | `placement_providers` | what has resources; a forest of trees |
//! | `placement_inventories` | how much a provider has of a class, and how much of that is used |
//! | `placement_consumers`, `placement_allocations` | who holds what |
//! | `placement_resource_classes`, `placement_traits` | names that operators added to the standard ones |
//! | `placement_provider_traits`, `placement_provider_aggregates` | what is said of providers |
//!
//! Two things are asked often and must be quick. *Candidates* come from memory ([`snapshot`]), which every commit
//! brings up to date. A *claim* ([`allocations`]) is one transaction on a handful of rows: the sum of the allocations
//! is a counter in the inventory's row, moved together with them.
//!
//! Loops: `placement.refresh` (memory follows the database).

pub mod allocations;
mod api;
mod candidates;
mod claims;
pub mod loops;
mod microversions;
pub mod model;
mod policy;
mod routes;
pub mod snapshot;
mod standard;
mod store;

use ferrostack_db::{Db, Migration};
use ferrostack_jobs::Jobs;
use ferrostack_rest::{Enforcer, Kit, ServiceApi};
use ferrostack_types::{Env, Result};
use snapshot::Snapshot;
use std::path::PathBuf;
use std::sync::Arc;

/// The schema.
pub const MIGRATIONS: &[Migration] =
    &[Migration { service: "placement", version: 1, sql: include_str!("../migrations/0001_placement.sql") }];

/// What the service is built from.
pub struct Deps {
    /// The database.
    pub db: Db,
    /// Time, randomness, tasks.
    pub env: Env,
    /// Where loops are registered.
    pub jobs: Jobs,
}

/// The service. Implements [`ferrostack_contracts::placement::Placement`].
pub struct Placement {
    db: Db,
    env: Env,
    snapshot: Arc<Snapshot>,
}

impl Placement {
    /// Reads all providers into memory and registers the loops.
    pub async fn new(deps: Deps) -> Result<Arc<Placement>> {
        let snapshot = Arc::new(Snapshot::default());
        loops::refresh(&deps.db, &snapshot).await?;
        deps.jobs.add_loop(Arc::new(loops::Refresh::new(Arc::clone(&snapshot))));
        Ok(Arc::new(Placement { db: deps.db, env: deps.env, snapshot }))
    }

    /// Counters of used amounts that differ from the allocations, in words. Empty unless something is broken.
    pub async fn audit(&self) -> Result<Vec<String>> {
        let drift = self.db.read("placement_audit", store::allocations::drift_list).await?;
        let say = |(provider, class, counted, held): store::allocations::Drift| {
            format!("provider {provider}, {class}: {counted} counted, {held} held")
        };
        Ok(drift.into_iter().map(say).collect())
    }
}

/// The HTTP API.
pub fn api(service: Arc<Placement>, kit: Kit, policy_file: Option<PathBuf>) -> Result<Arc<dyn ServiceApi>> {
    let enforcer = Enforcer::new("placement", &[policy::RULES], policy_file)?;
    ferrostack_rest::build(routes::SPEC, routes::routes(), service, enforcer, kit)
}
