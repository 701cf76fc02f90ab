//! What can fail half way and has to be taken back then: building a server; and what takes long: deleting one.

mod build_server;
mod delete_server;

pub(crate) use build_server::{BuildServer, BuildState, fail_in_tx, public_key};
pub(crate) use delete_server::{DeleteServer, DeleteState};

use crate::Compute;
use ferrostack_jobs::Retry;
use ferrostack_types::Error;
use std::sync::Arc;
use std::time::Duration;

/// Makes the workflows known.
pub(crate) fn register(compute: &Arc<Compute>) {
    compute.jobs.register(Arc::new(BuildServer { compute: Arc::downgrade(compute) }));
    compute.jobs.register(Arc::new(DeleteServer { compute: Arc::downgrade(compute) }));
}

/// For what has to succeed some day.
const FOR_EVER: Retry = Retry {
    attempts: u32::MAX,
    time: Duration::MAX,
    first: Duration::from_millis(500),
    longest: Duration::from_secs(60),
};

/// The service is being taken down; the workflow goes on elsewhere or after the restart.
fn going_down() -> Error {
    Error::unavailable("The service is being stopped.")
}
