//! What must become true in the end.

mod converge;
mod orphans;
mod purge;
mod stuck_servers;

use crate::{Compute, Hints};
use std::sync::Arc;

/// Makes the loops known.
pub(crate) fn register(compute: &Arc<Compute>) -> Hints {
    let weak = || Arc::downgrade(compute);
    Hints {
        converge: compute.jobs.add_loop(Arc::new(converge::Converge(weak(), compute.config.repeat_after))),
        stuck: compute.jobs.add_loop(Arc::new(stuck_servers::StuckServers(weak()))),
        orphans: compute.jobs.add_loop(Arc::new(orphans::Orphans::new(weak()))),
        purge: compute.jobs.add_loop(Arc::new(purge::Purge(weak()))),
    }
}
