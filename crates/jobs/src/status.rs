//! What the process says about its work, for metrics and for the operator.

use ferrostack_types::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};

/// The state of a process's durable work. Counters are since its start.
#[derive(Debug, Clone, Serialize)]
pub struct JobsStatus {
    /// Workflows that this process holds the lease of.
    pub held: usize,
    /// Those of them that a worker runs right now.
    pub running: usize,
    /// Workflows whose last step was recorded.
    pub finished: u64,
    /// Workflows that were undone and gave up.
    pub given_up: u64,
    /// Steps recorded.
    pub steps: u64,
    /// Steps recorded as undone.
    pub undone: u64,
    /// Executions that failed and were put off.
    pub retries: u64,
    /// Executions of undo that failed. Rising for long means that something cannot be taken back: an alarm.
    pub undo_failures: u64,
    /// Times that a worker found its lease gone.
    pub lost_leases: u64,
    /// The loops.
    pub loops: Vec<LoopStatus>,
}

/// The state of a loop on this node.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct LoopStatus {
    /// [`Loop::name`](crate::Loop::name)
    pub name: &'static str,
    /// Whether this node holds its lease.
    pub held: bool,
    /// Whether it runs right now.
    pub running: bool,
    /// How often it ran here.
    pub runs: u64,
    /// How many of the runs failed.
    pub failures: u64,
    /// How many of the last runs failed, without a success since.
    pub failing: u64,
    /// When the last run began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The last failure's text, for the operator.
    pub error: Option<String>,
    /// What the last successful run reported.
    pub last: Value,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) finished: AtomicU64,
    pub(crate) given_up: AtomicU64,
    pub(crate) steps: AtomicU64,
    pub(crate) undone: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) undo_failures: AtomicU64,
    pub(crate) lost_leases: AtomicU64,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self, held: usize, running: usize, loops: Vec<LoopStatus>) -> JobsStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        JobsStatus {
            held,
            running,
            finished: read(&self.finished),
            given_up: read(&self.given_up),
            steps: read(&self.steps),
            undone: read(&self.undone),
            retries: read(&self.retries),
            undo_failures: read(&self.undo_failures),
            lost_leases: read(&self.lost_leases),
            loops,
        }
    }
}
