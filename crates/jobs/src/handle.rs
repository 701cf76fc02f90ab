//! The handle that services hold: enqueue, wake, interrupt.

use crate::flow::{AnyFlow, Registered};
use crate::loops::{LoopSlot, Loops};
use crate::status::{Counters, JobsStatus};
use crate::store::{self, Claimed, Lease, New};
use crate::{Loop, LoopHint, Workflow};
use ferrostack_db::{Db, Tx, params};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Env, Error, Result, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// How a process works.
#[derive(Debug, Clone)]
pub struct JobsConfig {
    /// This control node and a nonce of this start of its process: no two processes ever share it.
    pub owner: String,
    /// How long a lease lasts without renewal; the time until another node takes over from a dead one.
    pub lease: Duration,
    /// How often the table is looked at for work that no hint told of.
    pub poll: Duration,
    /// How many workflows run at the same time.
    pub workers: usize,
    /// No other control node exists: at the start every lease is void, since its owner is dead.
    pub sole: bool,
}

impl JobsConfig {
    /// The usual figures for the process that calls itself `owner`.
    pub fn new(owner: impl Into<String>) -> JobsConfig {
        JobsConfig {
            owner: owner.into(),
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            workers: 64,
            sole: false,
        }
    }
}

/// A workflow that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// The run.
    pub id: WorkflowId,
    /// [`Workflow::KIND`]
    pub kind: String,
    /// Whether it is being undone (or about to be, after an interrupt).
    pub undoing: bool,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) env: Env,
    pub(crate) config: JobsConfig,
    pub(crate) flows: Mutex<BTreeMap<&'static str, Arc<dyn AnyFlow>>>,
    pub(crate) loops: Loops,
    pub(crate) counters: Counters,
    /// Claims are made and hand-offs taken.
    pub(crate) accepting: AtomicBool,
    /// Runs end at their next save.
    pub(crate) stopping: watch::Sender<bool>,
    /// Everything is dropped where it stands.
    pub(crate) killed: watch::Sender<bool>,
    /// Claimed workflows on their way to a worker. The receiver is taken at the start.
    pub(crate) handed: mpsc::UnboundedSender<Claimed>,
    pub(crate) hand: Mutex<Option<mpsc::UnboundedReceiver<Claimed>>>,
    /// How many are on their way or run.
    pub(crate) held: AtomicUsize,
    /// The table held more than there was room for at the last look.
    pub(crate) more: AtomicBool,
    /// What runs here, with the flag that a step can look at.
    pub(crate) running: Mutex<HashMap<WorkflowId, Arc<AtomicBool>>>,
    /// There may be something to claim.
    pub(crate) hint: Notify,
    /// The earliest time at which something that was parked here is due.
    pub(crate) next_due: Mutex<Option<Timestamp>>,
    /// A run has ended.
    pub(crate) ended: Notify,
    #[cfg(any(test, feature = "testing"))]
    pub(crate) plan: Mutex<Option<Arc<crate::testing::CrashPlan>>>,
}

impl Jobs {
    /// A handle that does no work before [`Jobs::start`]; what is enqueued stays in the table.
    pub fn new(db: Db, env: Env, config: JobsConfig) -> Jobs {
        let (handed, hand) = mpsc::unbounded_channel();
        let inner = Inner {
            db,
            env,
            config,
            flows: Mutex::default(),
            loops: Loops::default(),
            counters: Counters::default(),
            accepting: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
            killed: watch::Sender::new(false),
            handed,
            hand: Mutex::new(Some(hand)),
            held: AtomicUsize::new(0),
            more: AtomicBool::new(false),
            running: Mutex::default(),
            hint: Notify::new(),
            next_due: Mutex::new(None),
            ended: Notify::new(),
            #[cfg(any(test, feature = "testing"))]
            plan: Mutex::new(None),
        };
        Jobs { inner: Arc::new(inner) }
    }

    /// Makes a kind of workflow known. Before [`Jobs::start`]: what is not known is not claimed.
    pub fn register<W: Workflow>(&self, flow: Arc<W>) {
        let before = self.inner.flows.lock().insert(W::KIND, Arc::new(Registered(flow)));
        assert!(before.is_none(), "two workflows call themselves {}", W::KIND);
    }

    /// Makes a loop known; it runs from [`Jobs::start`] on (at once, if that has been).
    pub fn add_loop(&self, it: Arc<dyn Loop>) -> LoopHint {
        let slot = Arc::new(LoopSlot::new(it));
        let hint = LoopHint(Arc::clone(&slot));
        if self.inner.loops.add(Arc::clone(&slot)) {
            crate::loops::spawn(&self.inner, slot);
        }
        hint
    }

    /// Begins a workflow on `subject` (e.g. `server/<id>`) in the caller's transaction: it exists if and only if the
    /// reason for it does. Workflows of one subject run one after another, in the order of their creation.
    pub fn enqueue_in_tx<W: Workflow>(
        &self,
        tx: &mut Tx<'_>,
        id: WorkflowId,
        subject: &str,
        state: &W::State,
        now: Timestamp,
    ) -> Result<()> {
        let state = serde_json::to_string(state).map_err(|e| Error::from_source("write a workflow's state", e))?;
        let new = New { id, kind: W::KIND, version: W::VERSION, subject, state: &state, now };
        let known = self.inner.flows.lock().contains_key(W::KIND);
        let lease = self.inner.lease(now).filter(|_| known && self.inner.has_room());
        let claimed = store::insert(tx, &new, lease.as_ref())?;
        let inner = Arc::clone(&self.inner);
        tx.on_commit(move || match claimed {
            Some(claimed) => inner.hand_over(claimed),
            None => inner.hint.notify_one(),
        });
        Ok(())
    }

    /// Something that the subject's workflows may wait for has changed, in this transaction.
    pub fn wake_in_tx(&self, tx: &mut Tx<'_>, subject: &str, now: Timestamp) -> Result<()> {
        let ready = store::wake(tx, subject, now)?;
        self.inner.start_in_tx(tx, &ready, now)
    }

    /// Asks the subject's workflows of a kind (`None`: of all kinds) to end: each turns back at its next save, as if it
    /// had failed with [`Failure::interruption`](crate::Failure::interruption). What is queued or waiting turns back, too.
    /// How many were asked. Call it before enqueueing what is to run next.
    pub fn interrupt_in_tx(&self, tx: &mut Tx<'_>, subject: &str, kind: Option<&str>, now: Timestamp) -> Result<usize> {
        let (flagged, ready) = store::interrupt(tx, subject, kind, now)?;
        let (inner, ids) = (Arc::clone(&self.inner), flagged.clone());
        tx.on_commit(move || inner.flag_interrupted(&ids));
        self.inner.start_in_tx(tx, &ready, now)?;
        Ok(flagged.len())
    }

    /// The subject's workflows, the one whose turn it is first.
    pub fn active_in_tx(&self, tx: &mut Tx<'_>, subject: &str) -> Result<Vec<Active>> {
        tx.query(
            "SELECT id, kind, CASE WHEN undoing = 1 OR interrupted = 1 THEN 1 ELSE 0 END
             FROM jobs_workflows WHERE subject = ? ORDER BY place",
            params![subject],
            |row| Ok(Active { id: row.get(0)?, kind: row.get(1)?, undoing: row.get(2)? }),
        )
    }

    /// Starts to work. Call once, after everything is registered.
    pub async fn start(&self) -> Result<()> {
        self.inner.start().await
    }

    /// Takes no new work, lets running steps reach their next save within `limit`, gives every lease back.
    pub async fn shutdown(&self, limit: Duration) -> Result<()> {
        self.inner.shutdown(limit).await
    }

    /// What this process does.
    pub fn status(&self) -> JobsStatus {
        self.inner.counters.status(
            self.inner.held.load(Ordering::SeqCst),
            self.inner.running.lock().len(),
            self.inner.loops.status(),
        )
    }

    /// How many workflows there are in the table, by status (`ready`, `running`, `parked`, `backoff`, `queued`).
    pub async fn backlog(&self) -> Result<BTreeMap<String, u64>> {
        let counts = self.inner.db.read("jobs_backlog", |tx| {
            tx.query("SELECT status, COUNT(*) FROM jobs_workflows GROUP BY status", params![], |row| {
                Ok((row.get::<String>(0)?, row.get::<u64>(1)?))
            })
        });
        Ok(counts.await?.into_iter().collect())
    }
}

impl Inner {
    /// More than this many claimed workflows in one process would only wait here while another node is idle.
    pub(crate) fn room(&self) -> usize {
        (self.config.workers * 2).saturating_sub(self.held.load(Ordering::SeqCst))
    }

    /// Whether new work may be taken past the table. Not while others wait there: they were first.
    fn has_room(&self) -> bool {
        self.room() > 0 && !self.more.load(Ordering::SeqCst)
    }

    /// The lease that this process would take now; none while it takes no work.
    pub(crate) fn lease(&self, now: Timestamp) -> Option<Lease> {
        let lease = Lease { owner: self.config.owner.clone(), until: now + self.config.lease };
        self.accepting.load(Ordering::SeqCst).then_some(lease)
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.flows.lock().keys().copied().collect()
    }

    /// Claims workflows that have just become ready, in the transaction that made them so: one commit less.
    pub(crate) fn start_in_tx(self: &Arc<Self>, tx: &mut Tx<'_>, ready: &[WorkflowId], now: Timestamp) -> Result<()> {
        for id in ready {
            let claimed = match self.lease(now).filter(|_| self.has_room()) {
                Some(lease) => store::claim(tx, *id, &self.kinds(), &lease, now)?,
                None => None,
            };
            let inner = Arc::clone(self);
            tx.on_commit(move || match claimed {
                Some(claimed) => inner.hand_over(claimed),
                None => inner.hint.notify_one(),
            });
        }
        Ok(())
    }

    /// Gives a claimed workflow to a worker. If the process is stopping, its last act gives the lease back.
    pub(crate) fn hand_over(&self, claimed: Claimed) {
        self.held.fetch_add(1, Ordering::SeqCst);
        if self.handed.send(claimed).is_err() {
            self.held.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn flag_interrupted(&self, ids: &[WorkflowId]) {
        let running = self.running.lock();
        for flag in ids.iter().filter_map(|id| running.get(id)) {
            flag.store(true, Ordering::SeqCst);
        }
    }

    /// Something is due at this time: the scheduler must not sleep longer.
    pub(crate) fn due_at(&self, at: Timestamp) {
        let mut next = self.next_due.lock();
        if next.is_none_or(|known| at < known) {
            *next = Some(at);
            self.hint.notify_one();
        }
    }
}
