//! No packets at all.

use crate::Wiring;
use async_trait::async_trait;
use ferrostack_ovn::northbound::{Change, Key, Object, ReconcileReport};
use ferrostack_types::Result;
use ferrostack_types::ids::PortId;
use std::collections::BTreeMap;
use tokio::sync::broadcast;

/// For clouds whose guests are not real: nothing is told to anybody, and every bound port is up.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWiring;

#[async_trait]
impl Wiring for NoWiring {
    fn tracks(&self) -> bool {
        false
    }

    async fn apply(&self, _put: &[Object], _delete: &[Key]) -> Result<()> {
        Ok(())
    }

    fn revisions(&self) -> BTreeMap<Key, i64> {
        BTreeMap::new()
    }

    async fn reconcile(&self, all: &[Object], _seen: &BTreeMap<Key, i64>) -> Result<ReconcileReport> {
        Ok(ReconcileReport { objects: all.len(), ..ReconcileReport::default() })
    }

    fn port_up(&self, _id: PortId) -> bool {
        true
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        None
    }
}
