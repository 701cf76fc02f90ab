//! What compute asks of placement: who has room, and a claim that holds.

use async_trait::async_trait;
use ferrostack_types::Result;
use ferrostack_types::ids::{ProjectId, ProviderId, ServerId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Amounts by resource class, e.g. `{"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}`.
pub type Resources = BTreeMap<String, u64>;

/// A provider's inventory of one resource class, in Placement's terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// All there is.
    pub total: u64,
    /// What the host keeps for itself.
    pub reserved: u64,
    /// The least a single consumer may take.
    pub min_unit: u64,
    /// The most a single consumer may take.
    pub max_unit: u64,
    /// Amounts must be multiples of this.
    pub step_size: u64,
    /// Capacity is `(total - reserved) * allocation_ratio`.
    pub allocation_ratio: f64,
}

/// A host that could take a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The host's provider.
    pub provider: ProviderId,
    /// Its name: the host's name.
    pub name: String,
    /// Its generation, which a claim compares.
    pub generation: i64,
    /// Capacity by class (ratio applied).
    pub capacity: Resources,
    /// What is taken by class.
    pub used: Resources,
}

/// The result of asking for candidates: who fits, and why the rest does not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Candidates {
    /// The hosts that fit.
    pub fitting: Vec<Candidate>,
    /// How many hosts there are at all.
    pub hosts: usize,
    /// By reason (e.g. `not enough MEMORY_MB: 4096 asked, at most 512 free`), how many hosts it removed.
    pub refused: BTreeMap<String, usize>,
}

/// Who a claim belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// The server; its allocation is written under this id, so that a repeat finds its own claim.
    pub server: ServerId,
    /// Its project.
    pub project: ProjectId,
    /// Its user.
    pub user: UserId,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is written (or was already).
    Held,
    /// Somebody else was quicker and there is no room any more.
    NoRoom,
}

/// What compute asks of placement.
#[async_trait]
pub trait Placement: Send + Sync {
    /// Makes the provider and its inventory what the node reports. Repeatable.
    async fn ensure_provider(&self, id: ProviderId, name: &str, inventory: &BTreeMap<String, Inventory>) -> Result<()>;

    /// Hosts with room for `wanted`, and why the others have none.
    async fn candidates(&self, wanted: &Resources) -> Result<Candidates>;

    /// Takes `wanted` from `provider` in one compare-and-swap. A repeat by the same consumer finds its own claim;
    /// a claim on another provider is moved.
    async fn claim(&self, consumer: &Consumer, provider: ProviderId, wanted: &Resources) -> Result<Claim>;

    /// Gives everything back that the server holds. Repeatable.
    async fn release(&self, server: ServerId) -> Result<()>;

    /// Every server that holds something, with its host: for audits and for the loop that finds orphans.
    async fn holders(&self) -> Result<Vec<(ServerId, ProviderId, Resources)>>;
}
