//! The Neutron API: networks, subnets, ports, routers, floating IPs, security groups.
//!
//! SQL is the truth; OVN is brought to it.
//!
//! ```text
//!   API, contract Ports ──► one transaction: rows + quota + network_ovn_dirty ──► answer
//!                                                   │ hint on commit
//!                                                   ▼
//!                     loop network.ovn_sync: dirty keys ─► Objects ─► Wiring::apply ─► marks removed if unchanged
//!                     loop network.ovn_reconcile: everything ─► Wiring::reconcile
//!   OVN says "up" ──► loop network.port_status: ports.status, and the server's workflow is woken
//! ```
//!
//! **Tables.** `network_networks`, `_subnets`, `_ports` with `_allocations` (one row per address; its primary key makes
//! an address unique in its network) and `_port_groups`, `_security_groups`, `_security_group_rules`, `_routers` with
//! `_router_interfaces`, `_floating_ips`, `_quotas`, `_tags`, and `network_ovn_dirty`: what OVN has not been told yet. A
//! mark with `gone` is the tombstone of a row that is deleted here while OVN may still have it.
//!
//! **Races.** Every write reads what it decides on inside its own transaction, whatever the handler looked at before.
//! A mark carries a sequence that grows with every change; the sync loop removes it only if it is still the one
//! that it read, so a change during a sync stays dirty. OVN itself refuses to go back behind a revision.
//!
//! **What is hidden.** A network with a DHCP subnet has a port with role `metadata` (OVN's localport), which
//! belongs to no project and counts for no quota. It comes and goes with the subnet in the same transaction.

mod address;
mod api;
mod attrs;
mod contract;
mod cx;
mod errors;
mod loops;
mod model;
mod policy;
mod routes;
mod rules;
mod store;
mod wiring;

pub use wiring::{NoWiring, OvnWiring, Wiring};

use cx::WriteCx;
use ferrostack_db::{Db, Migration};
use ferrostack_jobs::{Jobs, LoopHint};
use ferrostack_rest::{Enforcer, ErrorStyle, Kit, ServiceApi, ServiceSpec};
use ferrostack_types::{Env, Result};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The service's schema.
pub const MIGRATIONS: &[Migration] =
    &[Migration { service: "network", version: 1, sql: include_str!("../migrations/0001_networks.sql") }];

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The MTU of the machines' own network; networks inside tunnels get what is left of it.
    pub physical_mtu: u32,
    /// Physical networks that provider networks may name.
    pub physical_networks: Vec<String>,
    /// Hosts that may carry routers' gateways, the preferred one first. Empty: any host that is known.
    pub gateway_hosts: Vec<String>,
    /// The one availability zone.
    pub availability_zone: String,
}

impl Default for NetworkConfig {
    fn default() -> NetworkConfig {
        NetworkConfig {
            physical_mtu: 1500,
            physical_networks: vec!["public".to_owned()],
            gateway_hosts: Vec::new(),
            availability_zone: "nova".to_owned(),
        }
    }
}

/// What the service works with.
pub struct Deps {
    /// The database.
    pub db: Db,
    /// Time, randomness, tasks.
    pub env: Env,
    /// Durable work: the loops are added to it.
    pub jobs: Jobs,
    /// What carries packets.
    pub wiring: Arc<dyn Wiring>,
    /// What an operator may set.
    pub config: NetworkConfig,
}

/// The service.
pub struct Network {
    pub(crate) db: Db,
    pub(crate) env: Env,
    pub(crate) jobs: Jobs,
    pub(crate) wiring: Arc<dyn Wiring>,
    pub(crate) config: Arc<NetworkConfig>,
    sync_hint: Arc<OnceLock<LoopHint>>,
}

impl Network {
    /// The service with its loops registered; they run once `jobs` is started.
    pub async fn new(deps: Deps) -> Result<Arc<Network>> {
        let service = Arc::new(Network {
            db: deps.db,
            env: deps.env,
            jobs: deps.jobs,
            wiring: deps.wiring,
            config: Arc::new(deps.config),
            sync_hint: Arc::new(OnceLock::new()),
        });
        let hint = loops::register(&service);
        if service.sync_hint.set(hint).is_err() {
            tracing::error!("the network service was set up twice");
        }
        Ok(service)
    }

    /// What transactions of one operation need.
    pub(crate) fn cx(&self) -> WriteCx {
        WriteCx {
            env: self.env.clone(),
            now: self.env.now(),
            tracks: self.wiring.tracks(),
            hint: Arc::clone(&self.sync_hint),
            config: Arc::clone(&self.config),
        }
    }
}

/// The API, ready to be mounted at `/network`.
pub fn api(service: Arc<Network>, kit: Kit, policy_file: Option<PathBuf>) -> Result<Arc<dyn ServiceApi>> {
    let spec = ServiceSpec {
        name: "network",
        prefix: "/network",
        style: ErrorStyle::Neutron,
        microversions: None,
        body_limit: 1_048_576,
        time_limit: Duration::from_secs(60),
    };
    let enforcer = Enforcer::new("network", &[policy::BASE, policy::RULES], policy_file)?;
    ferrostack_rest::build(spec, routes::routes(), service, enforcer, kit)
}

#[cfg(test)]
mod tests;
