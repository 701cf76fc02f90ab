//! What must become true in the end: OVN has what SQL says, and SQL has what OVN says.

pub(crate) use objects::known_hosts;

mod objects;
mod ovn_reconcile;
mod ovn_sync;
mod port_status;

use crate::Network;
use ferrostack_jobs::LoopHint;
use std::sync::Arc;

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
