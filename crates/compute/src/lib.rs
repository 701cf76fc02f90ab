//! Compute: servers, flavors, key pairs, hosts; the Nova API and the scheduler.
//!
//! ```text
//!  POST /servers ── one transaction ──► compute_servers (BUILD) + compute_usages + compute_actions + workflow row
//!                                            │
//!                    build_server: claim_host ─► assign (ports, compute_guests) ─► await_guest ─► ACTIVE
//!                                            │                 │ after the commit        ▲ wake "server:<id>"
//!                                            │                 ▼                         │
//!                                            │            Messenger ── Converge ──► node ┴─ Guests (NodeReports)
//! ```
//!
//! **Tables.** `compute_servers` is what the API shows; a deleted server's row stays for a while, for lists of deleted
//! ones. `compute_guests` is what is wanted of a node, at which generation, and what the node has said about it; a row
//! whose `want` is `absent` and which is not `pending` is known to be gone. `compute_usages` is what quotas are checked
//! against, changed in the transaction that makes or ends a server. `compute_nodes` are the hosts as they last
//! introduced themselves. The rest are the API's own resources.
//!
//! **Work.** Building and deleting are workflows, since both touch other services and can take long.
//! Power actions are not: they change what is wanted of the guest and set `task_state` in one transaction; the report
//! that says that the generation is reached clears it. A message that is lost is repeated by the loop `converge`.
//! Everything that is said to a node goes through the messenger, after the commit that is the reason for it.
//!
//! **Loops.** `compute.converge` (wanted against observed), `compute.stuck_servers`, `compute.orphans`
//! (allocations and ports without a server), `compute.purge`. What they must keep true, [`Compute::audit`] checks.

mod api;
mod audit;
mod config;
mod loops;
mod microversions;
mod model;
mod nodes;
mod policy;
mod routes;
mod scheduler;
mod servers;
mod store;
#[cfg(test)]
mod tests;
mod workflows;

pub use audit::Offence;
pub use config::{Config, Quotas};

use ferrostack_contracts::image::Images;
use ferrostack_contracts::network::Ports;
use ferrostack_contracts::node::{ConsoleKind, Nodes};
use ferrostack_contracts::placement::Placement;
use ferrostack_db::{Db, Migration};
use ferrostack_jobs::{Jobs, LoopHint};
use ferrostack_rest::{Enforcer, ErrorStyle, Kit, ServiceApi, ServiceSpec};
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Env, Error, Result};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] =
    &[Migration { service: "compute", version: 1, sql: include_str!("../migrations/0001_initial.sql") }];

/// What compute works with.
pub struct Deps {
    /// The database, with [`MIGRATIONS`] and those of jobs.
    pub db: Db,
    /// Time, randomness, tasks.
    pub env: Env,
    /// Durable work. Compute registers its workflows and loops; whoever owns it calls [`Jobs::start`].
    pub jobs: Jobs,
    /// Who has room.
    pub placement: Arc<dyn Placement>,
    /// Ports for servers.
    pub ports: Arc<dyn Ports>,
    /// What servers boot from.
    pub images: Arc<dyn Images>,
    /// How the hosts are reached.
    pub nodes: Arc<dyn Nodes>,
    /// The operator's choices.
    pub config: Config,
}

/// The service.
pub struct Compute {
    pub(crate) db: Db,
    pub(crate) env: Env,
    pub(crate) jobs: Jobs,
    pub(crate) placement: Arc<dyn Placement>,
    pub(crate) ports: Arc<dyn Ports>,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) config: Config,
    pub(crate) messenger: nodes::Messenger,
    pub(crate) known: nodes::KnownNodes,
    hints: OnceLock<Hints>,
}

struct Hints {
    converge: LoopHint,
    stuck: LoopHint,
    orphans: LoopHint,
    purge: LoopHint,
}

impl Compute {
    /// Builds the service and registers its workflows and loops. Nothing works before [`Jobs::start`].
    pub async fn new(deps: Deps) -> Result<Arc<Compute>> {
        let Deps { db, env, jobs, placement, ports, images, nodes, config } = deps;
        let messenger = nodes::Messenger::start(&env, db.clone(), Arc::clone(&nodes));
        let known = nodes::KnownNodes::default();
        let compute = Arc::new(Compute {
            db,
            env,
            jobs,
            placement,
            ports,
            images,
            nodes,
            config,
            messenger,
            known,
            hints: OnceLock::new(),
        });
        workflows::register(&compute);
        let hints = loops::register(&compute);
        let _ = compute.hints.set(hints);
        Ok(compute)
    }

    /// Takes a console token and says what it is good for. A token works once and not for long; anything else about it
    /// is 404, without saying which.
    pub async fn redeem_console(&self, token: &str) -> Result<(NodeId, ServerId, ConsoleKind)> {
        let (hash, now) = (store::consoles::hash(token), self.env.now());
        let found = self.db.write("console_redeem", move |tx| store::consoles::console_redeem_in_tx(tx, &hash, now));
        found.await?.ok_or_else(|| Error::not_found("The console token is invalid or has expired."))
    }

    /// Runs every loop soon: for tests and for an operator who has just repaired something.
    pub fn hint_all_loops(&self) {
        if let Some(hints) = self.hints.get() {
            for hint in [&hints.converge, &hints.stuck, &hints.orphans, &hints.purge] {
                hint.hint();
            }
        }
    }

    /// The subject of a server's workflows.
    pub(crate) fn subject(server: ServerId) -> String {
        format!("server:{server}")
    }
}

/// The Nova API, to be mounted at `/compute`.
pub fn api(service: Arc<Compute>, kit: Kit, policy_file: Option<PathBuf>) -> Result<Arc<dyn ServiceApi>> {
    let spec = ServiceSpec {
        name: "compute",
        prefix: "/compute",
        style: ErrorStyle::Nova,
        microversions: Some(microversions::RANGE),
        body_limit: 114_688,
        time_limit: Duration::from_secs(60),
    };
    let enforcer = Enforcer::new("compute", &[policy::RULES], policy_file)?;
    ferrostack_rest::build(spec, routes::routes(), service, enforcer, kit)
}
