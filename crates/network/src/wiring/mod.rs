//! What carries packets: the border to the network engine.

mod none;
mod ovn;

pub use none::NoWiring;
pub use ovn::OvnWiring;

use async_trait::async_trait;
use ferrostack_ovn::northbound::{Change, Key, Object, ReconcileReport};
use ferrostack_types::Result;
use ferrostack_types::ids::PortId;
use std::collections::BTreeMap;
use tokio::sync::broadcast;

/// What the service asks of the engine that carries packets. Everything is level-triggered: repeating is harmless.
#[async_trait]
pub trait Wiring: Send + Sync + 'static {
    /// Whether the engine has to be told of changes. If not, every bound port counts as up at once.
    fn tracks(&self) -> bool;

    /// Puts and deletes objects in one transaction. A retryable error leaves nothing of it.
    async fn apply(&self, put: &[Object], delete: &[Key]) -> Result<()>;

    /// What the engine has, with revisions.
    fn revisions(&self) -> BTreeMap<Key, i64>;

    /// Brings the engine to `all`; deletes only what is in `seen`, which was read before `all` was.
    async fn reconcile(&self, all: &[Object], seen: &BTreeMap<Key, i64>) -> Result<ReconcileReport>;

    /// Whether a host has wired the port up.
    fn port_up(&self, id: PortId) -> bool;

    /// What the engine does from now on; `None` if nothing ever happens by itself.
    fn changes(&self) -> Option<broadcast::Receiver<Change>>;
}
