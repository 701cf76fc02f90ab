//! What must become true in the end: OVN has what SQL says, and SQL has what OVN says.

pub(crate) use objects::known_hosts;
#[cfg(test)]
pub(crate) use objects::{Wanted, objects as objects_of};

mod objects;
mod ovn_reconcile;
mod ovn_sync;
mod port_status;

use crate::{Network, NetworkConfig, Wiring};
use ferrostack_db::Db;
use ferrostack_jobs::LoopHint;
use ferrostack_ovn::northbound::ReconcileReport;
use ferrostack_types::Result;
use std::sync::Arc;

/// One full reconciliation, for whoever does not want to wait for its turn.
pub(crate) async fn reconcile_now(db: &Db, wiring: &dyn Wiring, config: Arc<NetworkConfig>) -> Result<ReconcileReport> {
    // Before the rows: what comes into the engine after this is not in the rows and must not be deleted.
    let seen = wiring.revisions();
    let all = db.read("ovn_reconcile", move |tx| objects::objects(tx, &config, &objects::Wanted::All)).await?;
    wiring.reconcile(&all, &seen).await
}

/// Adds the loops to the service's jobs. The hint makes the sync loop run.
pub(crate) fn register(service: &Arc<Network>) -> LoopHint {
    if service.wiring.tracks() {
        port_status::add(service);
        service.jobs.add_loop(Arc::new(ovn_reconcile::OvnReconcile {
            wiring: Arc::clone(&service.wiring),
            config: Arc::clone(&service.config),
        }));
    }
    service.jobs.add_loop(Arc::new(ovn_sync::OvnSync {
        wiring: Arc::clone(&service.wiring),
        config: Arc::clone(&service.config),
    }))
}
