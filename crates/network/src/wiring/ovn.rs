//! OVN, through its northbound database.

use crate::Wiring;
use async_trait::async_trait;
use ferrostack_ovn::northbound::{Change, Key, Northbound, Object, ReconcileReport};
use ferrostack_types::Result;
use ferrostack_types::ids::PortId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::broadcast;

/// OVN as the engine.
#[derive(Clone)]
pub struct OvnWiring(Arc<Northbound>);

impl OvnWiring {
    /// Works through this connection.
    pub fn new(northbound: Arc<Northbound>) -> OvnWiring {
        OvnWiring(northbound)
    }
}

#[async_trait]
impl Wiring for OvnWiring {
    fn tracks(&self) -> bool {
        true
    }

    async fn apply(&self, put: &[Object], delete: &[Key]) -> Result<()> {
        self.0.apply(put, delete).await
    }

    fn revisions(&self) -> BTreeMap<Key, i64> {
        self.0.revisions()
    }

    async fn reconcile(&self, all: &[Object], seen: &BTreeMap<Key, i64>) -> Result<ReconcileReport> {
        self.0.reconcile_seen(all, seen).await
    }

    fn port_up(&self, id: PortId) -> bool {
        self.0.port_up(id)
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        Some(self.0.changes())
    }
}
