//! Loops: what must become true in the end.
//!
//! A loop's lease stays with the node that got it, for as long as that lives: on one machine a run costs no write.
//! A hint is remembered until a run *begins* after it, so a run that was under way cannot swallow it. On a node that
//! does not hold the lease, a hint becomes a count in `jobs_leases`, which the holder looks at every poll; whoever takes
//! the lease over runs at once, whatever was hinted before.

use crate::LoopStatus;
use crate::handle::Inner;
use crate::scheduler::raised;
use async_trait::async_trait;
use ferrostack_db::{Db, Tx, params};
use ferrostack_types::{Env, Error, Result, Timestamp};
use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Work that converges: takes no input, reads what is wanted, makes it so, and may be run at any time, any number of
/// times. A loop that stops half way (error, crash, lost lease) is simply run again.
#[async_trait]
pub trait Loop: Send + Sync + 'static {
    /// Its name, e.g. `network.ovn_sync`.
    fn name(&self) -> &'static str;

    /// It runs at least this often.
    fn period(&self) -> Duration;

    /// Whether it runs on every control node, without a lease.
    fn everywhere(&self) -> bool {
        false
    }

    /// One run. What it reports is shown to operators.
    async fn run(&self, cx: &LoopCx) -> Result<Value>;
}

/// What a run of a loop knows.
#[derive(Clone)]
pub struct LoopCx {
    /// Time, randomness, tasks.
    pub env: Env,
    /// The database.
    pub db: Db,
    /// Which taking of the lease this run belongs to: a later holder has a greater one. 0 for a loop that runs everywhere.
    pub epoch: i64,
}

/// Makes a loop run soon. Cheap to clone; any number of hints before a run are one.
#[derive(Clone)]
pub struct LoopHint(pub(crate) Arc<LoopSlot>);

impl LoopHint {
    /// There may be something to do. A run begins after this call.
    pub fn hint(&self) {
        self.0.wanted.notify_one();
    }

    /// The same once this transaction is committed.
    pub fn hint_in_tx(&self, tx: &mut Tx<'_>) {
        let hint = self.clone();
        tx.on_commit(move || hint.hint());
    }
}

pub(crate) struct LoopSlot {
    it: Arc<dyn Loop>,
    wanted: Notify,
    status: Mutex<LoopStatus>,
    held: Mutex<Option<Held>>,
}

/// A lease on a loop, as far as its holder knows.
#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: i64,
    until: Timestamp,
    hints: i64,
}

impl LoopSlot {
    pub(crate) fn new(it: Arc<dyn Loop>) -> LoopSlot {
        let status = LoopStatus {
            name: it.name(),
            held: false,
            running: false,
            runs: 0,
            failures: 0,
            failing: 0,
            started: None,
            ended: None,
            error: None,
            last: Value::Null,
        };
        LoopSlot { it, wanted: Notify::new(), status: Mutex::new(status), held: Mutex::new(None) }
    }
}

/// The loops of a process.
#[derive(Default)]
pub(crate) struct Loops {
    all: Mutex<(bool, Vec<Arc<LoopSlot>>)>,
}

impl Loops {
    /// Whether it has to be started by the caller, because the others have been.
    pub(crate) fn add(&self, slot: Arc<LoopSlot>) -> bool {
        let mut all = self.all.lock();
        assert!(all.1.iter().all(|s| s.it.name() != slot.it.name()), "two loops call themselves {}", slot.it.name());
        all.1.push(slot);
        all.0
    }

    /// Those to start now.
    pub(crate) fn begin(&self) -> Vec<Arc<LoopSlot>> {
        let mut all = self.all.lock();
        all.0 = true;
        all.1.clone()
    }

    pub(crate) fn status(&self) -> Vec<LoopStatus> {
        self.all.lock().1.iter().map(|slot| slot.status.lock().clone()).collect()
    }
}

/// Starts a loop's task, which ends with the process's work.
pub(crate) fn spawn(inner: &Arc<Inner>, slot: Arc<LoopSlot>) {
    let run = Arc::clone(inner);
    inner.spawn("loop", async move { run_for_ever(&run, &slot).await });
}

async fn run_for_ever(inner: &Arc<Inner>, slot: &LoopSlot) {
    let mut next = inner.env.instant();
    let mut hinted = false;
    loop {
        let now = inner.env.instant();
        match hold(inner, slot, hinted).await {
            Ok(Holding::Here { epoch, fresh }) if hinted || fresh || now >= next => {
                // Whatever is hinted from here on causes another run; so this one reads only after here.
                hinted = false;
                let failing = run_once(inner, slot, epoch).await;
                next = now + pause(slot.it.period(), failing);
            }
            Ok(Holding::Here { .. }) => {}
            Ok(Holding::Elsewhere) => hinted = false,
            Err(error) => tracing::warn!(name = slot.it.name(), ?error, "the lease of a loop cannot be looked at"),
        }
        // A loop of its own node looks up only for its period; one with a lease has to look after that, too.
        let look = inner.env.instant() + inner.config.poll;
        let until = if slot.it.everywhere() { next } else { next.min(look) };
        let until = if hinted { look } else { until };
        tokio::select! {
            biased;
            () = raised(&inner.stopping) => return,
            () = slot.wanted.notified() => hinted = true,
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

enum Holding {
    /// `fresh`: just taken, or hinted from another node.
    Here { epoch: i64, fresh: bool },
    /// And it has been told, if there was a hint.
    Elsewhere,
}

async fn hold(inner: &Arc<Inner>, slot: &LoopSlot, hinted: bool) -> Result<Holding> {
    if slot.it.everywhere() {
        slot.status.lock().held = true;
        return Ok(Holding::Here { epoch: 0, fresh: false });
    }
    let (name, owner, now) = (slot.it.name(), inner.config.owner.clone(), inner.env.now());
    let until = now + inner.config.lease;
    let before = *slot.held.lock();
    let found = inner.db.read("jobs_lease_look", move |tx| look(tx, name)).await?;
    let lease = match found {
        // Ours, with most of its time left: nothing to write.
        Some(lease) if lease.owner == owner && lease.expires_at > now + inner.config.lease / 2 => lease,
        // Another's, and nothing to tell it.
        Some(lease) if lease.owner != owner && lease.expires_at > now && !hinted => lease,
        _ => {
            let owner = owner.clone();
            inner.db.write("jobs_lease_take", move |tx| take(tx, name, &owner, now, until, hinted)).await?
        }
    };
    let here = lease.owner == owner;
    let held = here.then_some(Held { epoch: lease.epoch, until: lease.expires_at, hints: lease.hints });
    *slot.held.lock() = held;
    slot.status.lock().held = here;
    let fresh = before.is_none_or(|b| b.epoch != lease.epoch || b.hints != lease.hints || b.until <= now);
    Ok(if here { Holding::Here { epoch: lease.epoch, fresh } } else { Holding::Elsewhere })
}

struct LeaseRow {
    owner: String,
    epoch: i64,
    expires_at: Timestamp,
    hints: i64,
}

fn look(tx: &mut Tx<'_>, name: &str) -> Result<Option<LeaseRow>> {
    tx.query_opt("SELECT owner, epoch, expires_at, hints FROM jobs_leases WHERE name = ?", params![name], |row| {
        Ok(LeaseRow { owner: row.get(0)?, epoch: row.get(1)?, expires_at: row.get(2)?, hints: row.get(3)? })
    })
}

/// Renews the lease if it is ours, takes it if it is free, else leaves word of a hint.
fn take(
    tx: &mut Tx<'_>,
    name: &'static str,
    owner: &str,
    now: Timestamp,
    until: Timestamp,
    hinted: bool,
) -> Result<LeaseRow> {
    match look(tx, name)? {
        None => {
            tx.execute(
                "INSERT INTO jobs_leases (name, owner, epoch, expires_at, hints) VALUES (?, ?, 1, ?, 0)",
                params![name, owner, until],
            )?;
        }
        Some(lease) if lease.owner == owner => {
            tx.execute(
                "UPDATE jobs_leases SET expires_at = ? WHERE name = ? AND owner = ?",
                params![until, name, owner],
            )?;
        }
        Some(lease) if lease.expires_at <= now => {
            tx.execute(
                "UPDATE jobs_leases SET owner = ?, epoch = epoch + 1, expires_at = ? WHERE name = ? AND epoch = ?",
                params![owner, until, name, lease.epoch],
            )?;
        }
        Some(_) if hinted => {
            tx.execute("UPDATE jobs_leases SET hints = hints + 1 WHERE name = ?", params![name])?;
        }
        Some(_) => {}
    }
    look(tx, name)?.ok_or_else(|| Error::internal(format!("the lease of {name} has vanished")))
}

/// Gives up the leases of an owner (or, without one, of everybody).
pub(crate) fn release_all(tx: &mut Tx<'_>, owner: Option<&str>) -> Result<usize> {
    match owner {
        Some(owner) => tx.execute("UPDATE jobs_leases SET expires_at = 0 WHERE owner = ?", params![owner]),
        None => tx.execute("UPDATE jobs_leases SET expires_at = 0", params![]),
    }
}

/// The period; after failures sooner, since a hint may have been lost to them.
fn pause(period: Duration, failing: u64) -> Duration {
    match u32::try_from(failing) {
        Ok(0) => period,
        Ok(failing) => period.min(Duration::from_secs(1).saturating_mul(1 << (failing - 1).min(16))),
        Err(_) => period,
    }
}

/// How many runs failed in a row, this one included.
async fn run_once(inner: &Arc<Inner>, slot: &LoopSlot, epoch: i64) -> u64 {
    {
        let mut status = slot.status.lock();
        status.running = true;
        status.started = Some(inner.env.now());
    }
    let cx = LoopCx { env: inner.env.clone(), db: inner.db.clone(), epoch };
    let run = AssertUnwindSafe(slot.it.run(&cx)).catch_unwind();
    let result = keep_held(inner, slot, run).await.unwrap_or_else(|_| Err(Error::internal("it panicked")));
    let mut status = slot.status.lock();
    status.running = false;
    status.runs += 1;
    status.ended = Some(inner.env.now());
    match result {
        Ok(last) => {
            status.failing = 0;
            status.error = None;
            status.last = last;
        }
        Err(error) => {
            tracing::warn!(name = slot.it.name(), ?error, "a loop's run failed");
            status.failures += 1;
            status.failing += 1;
            status.error = Some(error.internal_text());
        }
    }
    status.failing
}

/// Renews the lease while a long run is under way. Hints are left for after it.
async fn keep_held<T>(inner: &Arc<Inner>, slot: &LoopSlot, run: impl Future<Output = T>) -> T {
    let mut run = std::pin::pin!(run);
    loop {
        tokio::select! {
            biased;
            result = &mut run => return result,
            () = inner.env.sleep(inner.config.lease / 3) => {}
        }
        if slot.it.everywhere() {
            continue;
        }
        let hints = slot.held.lock().map(|h| h.hints);
        if let Err(error) = hold(inner, slot, false).await {
            tracing::warn!(name = slot.it.name(), ?error, "the lease of a loop cannot be renewed");
        }
        // A hint of another node that came during the run must still be news after it.
        if let (Some(held), Some(hints)) = (slot.held.lock().as_mut(), hints) {
            held.hints = hints;
        }
    }
}
