//! From the table to the workers: claims, hand-offs, renewal, start and end.

use crate::handle::Inner;
use crate::store::{self, Claimed};
use crate::{executor, loops};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Error, Result};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Waits until a signal is given; signals are never taken back.
pub(crate) async fn raised(signal: &watch::Sender<bool>) {
    let mut signal = signal.subscribe();
    // The sender is there, so this cannot fail.
    drop(signal.wait_for(|raised| *raised).await);
}

impl Inner {
    /// Starts a task that is dropped where it stands when the process's work is killed.
    pub(crate) fn spawn(self: &Arc<Self>, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let killed = self.killed.clone();
        drop(self.env.spawn(name, async move {
            tokio::select! {
                biased;
                () = raised(&killed) => {}
                () = work => {}
            }
        }));
    }

    pub(crate) async fn start(self: &Arc<Self>) -> Result<()> {
        let hand = self.hand.lock().take().ok_or_else(|| Error::internal("jobs were started twice"))?;
        if self.config.sole {
            let now = self.env.now();
            let release = move |tx: &mut ferrostack_db::Tx<'_>| {
                loops::release_all(tx, None)?;
                store::release_all(tx, None, now)
            };
            let released = self.db.write("jobs_start", release).await?;
            if released > 0 {
                tracing::info!(workflows = released, "took over the work of the process before this one");
            }
        }
        self.accepting.store(true, Ordering::SeqCst);
        let inner = Arc::clone(self);
        self.spawn("jobs-dispatch", async move { inner.dispatch(hand).await });
        let inner = Arc::clone(self);
        self.spawn("jobs-claim", async move { inner.claim_for_ever().await });
        let inner = Arc::clone(self);
        self.spawn("jobs-renewal", async move { inner.renew_for_ever().await });
        for slot in self.loops.begin() {
            loops::spawn(self, slot);
        }
        Ok(())
    }

    pub(crate) async fn shutdown(self: &Arc<Self>, limit: Duration) -> Result<()> {
        self.accepting.store(false, Ordering::SeqCst);
        self.stopping.send_replace(true);
        let drained = async {
            loop {
                // Registered before looking, so that an end in between is not missed.
                let ended = self.ended.notified();
                if self.running.lock().is_empty() {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(limit, drained).await.is_err() {
            tracing::warn!(running = self.running.lock().len(), "steps are left unfinished; they will be repeated");
        }
        self.killed.send_replace(true);
        // Workflows may hold a handle of their own: without this the two would keep each other alive.
        self.flows.lock().clear();
        let (owner, now) = (self.config.owner.clone(), self.env.now());
        let release = move |tx: &mut ferrostack_db::Tx<'_>| {
            loops::release_all(tx, Some(&owner))?;
            store::release_all(tx, Some(&owner), now)
        };
        self.db.write("jobs_shutdown", release).await.map(|_| ())
    }

    /// Drops everything where it stands, as the process's death would; leases stay.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn kill(&self) {
        self.accepting.store(false, Ordering::SeqCst);
        self.stopping.send_replace(true);
        self.killed.send_replace(true);
    }

    /// Gives every workflow that was handed over to a worker, in order.
    async fn dispatch(self: Arc<Self>, mut hand: mpsc::UnboundedReceiver<Claimed>) {
        let workers = Arc::new(Semaphore::new(self.config.workers.max(1)));
        while let Some(claimed) = hand.recv().await {
            let Ok(permit) = Arc::clone(&workers).acquire_owned().await else {
                return;
            };
            if *self.stopping.borrow() {
                return;
            }
            let inner = Arc::clone(&self);
            self.spawn("workflow", async move {
                let _permit = permit;
                inner.work(claimed).await;
            });
        }
    }

    /// Brings from the table what no hand-off brought.
    async fn claim_for_ever(self: Arc<Self>) {
        loop {
            if let Err(error) = self.claim_due().await {
                tracing::warn!(?error, "work cannot be claimed");
                self.env.sleep(self.config.poll).await;
            }
            let sleep = self.until_next_due();
            tokio::select! {
                biased;
                () = raised(&self.stopping) => return,
                () = self.hint.notified() => {}
                () = self.env.sleep(sleep) => {}
            }
        }
    }

    fn until_next_due(&self) -> Duration {
        let next = self.next_due.lock().map(|next| next.since(self.env.now()));
        next.map_or(self.config.poll, |next| next.min(self.config.poll))
    }

    /// Claims what there is room for. Looks before it writes: an idle process makes no commits.
    async fn claim_due(self: &Arc<Self>) -> Result<()> {
        let (now, room, kinds) = (self.env.now(), self.room(), self.kinds());
        // Whatever is parked after this look is noted anew by whoever parks it.
        *self.next_due.lock() = None;
        self.more.store(room == 0, Ordering::SeqCst);
        let Some(lease) = self.lease(now).filter(|_| room > 0 && !kinds.is_empty()) else {
            return Ok(());
        };
        let mine: Vec<WorkflowId> = self.running.lock().keys().copied().collect();
        let asked = kinds.clone();
        let (due, next) = self
            .db
            .read("jobs_due", move |tx| Ok((store::due(tx, &asked, now, room)?, store::next_due(tx, now)?)))
            .await?;
        if let Some(next) = next {
            self.note_due(next);
        }
        self.more.store(due.len() == room, Ordering::SeqCst);
        // Its lease ran out while it runs here: its save will tell, and only then is it claimed again.
        let due: Vec<WorkflowId> = due.into_iter().filter(|id| !mine.contains(id)).collect();
        if due.is_empty() {
            return Ok(());
        }
        let claim = move |tx: &mut ferrostack_db::Tx<'_>| {
            let mut claimed = Vec::new();
            for id in &due {
                claimed.extend(store::claim(tx, *id, &kinds, &lease, now)?);
            }
            Ok(claimed)
        };
        for claimed in self.db.write("jobs_claim", claim).await? {
            self.hand_over(claimed);
        }
        Ok(())
    }

    fn note_due(&self, at: ferrostack_types::Timestamp) {
        let mut next = self.next_due.lock();
        *next = Some(next.map_or(at, |known| known.min(at)));
    }

    /// Runs one claimed workflow; whatever happens to it, the next one gets its turn.
    async fn work(self: &Arc<Self>, claimed: Claimed) {
        let (id, epoch) = (claimed.id, claimed.epoch);
        let run = AssertUnwindSafe(executor::drive(self, claimed)).catch_unwind();
        if run.await.is_err() {
            tracing::error!(%id, "the executor panicked; the workflow is tried again later");
            executor::put_off(self, store::Fence { id, epoch }, 0, Duration::from_secs(30)).await;
        }
        self.running.lock().remove(&id);
        self.held.fetch_sub(1, Ordering::SeqCst);
        if self.more.load(Ordering::SeqCst) {
            self.hint.notify_one();
        }
        self.ended.notify_waiters();
    }

    async fn renew_for_ever(self: Arc<Self>) {
        loop {
            self.env.sleep(self.config.lease / 3).await;
            if let Err(error) = self.renew().await {
                tracing::warn!(?error, "leases cannot be renewed");
            }
        }
    }

    async fn renew(self: &Arc<Self>) -> Result<()> {
        let now = self.env.now();
        let lease = store::Lease { owner: self.config.owner.clone(), until: now + self.config.lease };
        if self.held.load(Ordering::SeqCst) > 0 {
            let interrupted = self.db.write("jobs_renew", move |tx| store::renew(tx, &lease)).await?;
            self.flag_interrupted(&interrupted);
        }
        let stranded = self.db.read("jobs_stranded", store::stranded_subjects).await?;
        for subject in stranded {
            self.db.write("jobs_promote", move |tx| store::promote(tx, &subject, now)).await?;
            self.hint.notify_one();
        }
        Ok(())
    }
}
