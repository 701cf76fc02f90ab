//! Durable work: workflows, loops, leases, wake-ups.

mod executor;
mod failure;
mod flow;
mod handle;
mod loops;
mod scheduler;
mod status;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use executor::{Moment, Part};
pub use failure::Failure;
pub use flow::{AfterUndo, Effects, Outcome, Retry, Step, StepCx, Workflow};
pub use handle::{Active, Jobs, JobsConfig};
pub use loops::{Loop, LoopCx, LoopHint};
pub use status::{JobsStatus, LoopStatus};
pub use store::MIGRATIONS;
