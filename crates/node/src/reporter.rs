//! Observations on their way to the control plane.
//!
//! Only the newest observation of a guest is kept, so however long the control plane is away, what waits for it is at
//! most one per guest. While one report is on its way, the next one gathers.

use crate::agent::Core;
use ferrostack_contracts::node::{NodeReport, ObservedGuest, ReportReply};
use ferrostack_types::ids::ServerId;
use ferrostack_types::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How many observations travel in one message: far below what the bus carries, even if each tells of an error.
const BATCH: usize = 250;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Observations that were not acknowledged yet.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<BTreeMap<ServerId, ObservedGuest>>,
    more: Notify,
}

impl Outbox {
    /// To be reported; replaces an older one of the same guest.
    pub fn put(&self, observed: ObservedGuest) {
        self.waiting.lock().insert(observed.server, observed);
        self.more.notify_one();
    }

    fn batch(&self) -> Vec<ObservedGuest> {
        self.waiting.lock().values().take(BATCH).cloned().collect()
    }

    fn acknowledged(&self, sent: &[ObservedGuest]) {
        let mut waiting = self.waiting.lock();
        for old in sent {
            if waiting.get(&old.server).is_some_and(|now| now.sequence == old.sequence) {
                waiting.remove(&old.server);
            }
        }
    }
}

/// Sends what is in the outbox, for ever.
pub(crate) async fn report_for_ever(core: Arc<Core>) {
    let mut pause = Duration::ZERO;
    loop {
        let batch = core.outbox.batch();
        if batch.is_empty() {
            core.outbox.more.notified().await;
            continue;
        }
        match send(&core, NodeReport::Guests(batch.clone())).await {
            Ok(()) => {
                core.outbox.acknowledged(&batch);
                pause = Duration::ZERO;
            }
            Err(error) => {
                pause = (pause * 2).clamp(Duration::from_millis(50), LONGEST_PAUSE);
                tracing::debug!(error = error.internal_text(), ?pause, "the control plane has not taken a report");
                core.env.sleep(pause).await;
            }
        }
    }
}

/// Says hello, for ever.
pub(crate) async fn greet_for_ever(core: Arc<Core>) {
    loop {
        let hello = NodeReport::Hello(core.info().await);
        let pause = match send(&core, hello).await {
            Ok(()) => core.config.heartbeat,
            Err(error) => {
                tracing::debug!(error = error.internal_text(), "the control plane has not heard the hello");
                core.config.heartbeat.min(Duration::from_secs(1))
            }
        };
        core.env.sleep(pause).await;
        core.forget_tombstones();
    }
}

async fn send(core: &Core, report: NodeReport) -> Result<()> {
    match core.ask_control(&report).await? {
        ReportReply::Done => Ok(()),
        ReportReply::Bytes(_) => Err(Error::internal("the control plane answered a report with bytes")),
    }
}
