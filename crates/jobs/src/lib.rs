//! Durable work: workflows, loops, leases, wake-ups.
//!
//! A request's answer promises something that takes longer than the request: a server that boots, a network that is
//! wired up. Two kinds of work keep such promises across crashes:
//!
//! * **Bounded, can fail, must be taken back**: a [`Workflow`]. A list of repeatable [`Step`]s over one saved state.
//! * **Must become true in the end**: a [`Loop`]. No input; it compares what is wanted with what is, by period and by
//!   hint. The happy path and the repair are the same code.
//!
//! # A workflow's life
//!
//! ```text
//!  enqueue_in_tx ─► queued ──────────► ready ◄──────────────────────────┐ wake-up, interrupt, time
//!                   behind others      │ claim: epoch + 1               │
//!                   of its subject     ▼                                │
//!                                    running ── WaitUntil ──► parked ───┤
//!       ┌──────────────────────────────┤ │ ─── error, retryable ─► backoff┘
//!       │ step, save, step, save ...   │ │
//!       │                              │ └─ error, interrupt: undoing = 1
//!       ▼                              ▼
//!    finished                 undo the failed step and all before it, in reverse
//!    (row deleted)                     │
//!       ▲                              ▼
//!       └──── GiveUp ──────────── after_undo ──── Again ──► running, from the first step
//! ```
//!
//! While a workflow is `running`, `due_at` is the end of its lease; else it is the time from which anybody may claim
//! it; while `queued` it is NULL. So "what may be claimed" is one condition on one index, dead owners included, and a
//! claim is one conditional update that raises the epoch.
//!
//! Ended workflows leave no row: what they did is in the tables of those who asked for it.
//!
//! # What a step may rely on
//!
//! Each turn of the executor is one execution and one save. The save is one transaction with the step's own changes
//! ([`Outcome::DoneWith`]): after a crash either both are there or neither. Effects outside of the database are
//! repeated, hence the rule that all ids are in the state before the first step. The memory never knows more than the
//! table: after an error the state is what was saved last, exactly as after a crash.
//!
//! A workflow is enqueued in the transaction that creates the reason for it, already leased by this process (epoch 1),
//! and goes to a worker when that transaction is durable. In the usual case a workflow of n steps costs n commits.
//!
//! # Races
//!
//! * *Lease lost while a step runs* (the process was stopped, the database away): another process claims it, the epoch
//!   rises, and every save of the first is fenced by `WHERE id = ? AND epoch = ?`. It changes nothing and the worker goes
//!   away silently. Both may have executed the same step at the same time: repeatable includes that.
//! * *Wake-up while the step decides to wait*: each wake-up raises `wakeups`. A workflow parks only if the counter is
//!   what it was at the save before the step began; else the step runs again. Whoever changes the world calls
//!   [`Jobs::wake_in_tx`] in the transaction of the change, so the step sees either the change or the new counter.
//! * *Interrupt against save*: a forward save has `interrupted = 0` in its condition. If that fails, its changes are
//!   not made, and the same transaction records that the workflow turns back. A workflow is therefore either finished
//!   or interrupted, never both.
//! * *Two workflows on one thing*: they share a subject. Only the first of a subject (by `place`) is ever claimable; the
//!   transaction that ends it makes the next one ready, or begins it. A delete is: interrupt what builds, enqueue the
//!   deletion, in one transaction; the deletion runs when everything is undone.
//! * *Hint to a loop while it runs*: see the module of the loops; a run begins after every hint.
//! * *Dead owner*: its leases run out. A process that knows to be the only one ([`JobsConfig::sole`]) voids them at once.
//!
//! Undo has no way to fail: it is retried for ever with growing pauses, an error in the log and a counter
//! ([`JobsStatus::undo_failures`]) to raise an alarm on.
//!
//! # Crash tests
//!
//! With the feature `testing`, `testing::crash_everywhere` kills a scenario's process at every point of every workflow
//! that it runs, and lets a second process finish. It works inside the executor, so new steps are covered as they are
//! written.

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
