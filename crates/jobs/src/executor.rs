//! Runs one workflow: step, record, step, record; and back.
//!
//! Each turn does one execution and one save. What is in memory is always what was saved last, so that ending at any
//! point, for any reason, is the same as never having begun the turn.

use crate::Failure;
use crate::flow::{AfterUndo, AnyRun, Effects, Outcome, Retry, StepCx};
use crate::handle::Inner;
use crate::status::Counters;
use crate::store::{self, Claimed, Fence, Position, Saved};
use ferrostack_db::Tx;
use ferrostack_types::{Error, Kind, Result, Timestamp};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where in a turn the process may be killed by a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// Nothing has happened.
    Before,
    /// The execution is over, its record is not made.
    BetweenEffectAndRecord,
    /// The record is made.
    AfterRecord,
}

/// What a turn executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// A step.
    Run,
    /// The undo of a step.
    Undo,
    /// [`Workflow::after_undo`](crate::Workflow::after_undo)
    AfterUndo,
}

enum Next {
    /// Another turn.
    On,
    /// The lease is given back, lost, or the workflow has ended.
    End,
}

struct Drive<'a> {
    inner: &'a Arc<Inner>,
    at: Claimed,
    run: Box<dyn AnyRun>,
    interrupted: Arc<AtomicBool>,
}

/// Runs a claimed workflow until it ends, waits, or the process stops.
pub(crate) async fn drive(inner: &Arc<Inner>, at: Claimed) {
    let fence = Fence { id: at.id, epoch: at.epoch };
    let interrupted = Arc::new(AtomicBool::new(at.interrupted));
    inner.running.lock().insert(at.id, Arc::clone(&interrupted));
    let flow = inner.flows.lock().get(at.kind.as_str()).cloned();
    let opened = match flow {
        Some(flow) => flow.open(at.version, &at.state),
        None => Err(Error::internal("its kind is not known to this process")),
    };
    let run = match opened {
        Ok(run) => run,
        Err(error) => {
            tracing::error!(id = %at.id, kind = at.kind, ?error, "a workflow cannot be read");
            put_off(inner, fence, at.failures + 1, Duration::from_secs(60)).await;
            return;
        }
    };
    let mut drive = Drive { inner, at, run, interrupted };
    loop {
        if *inner.stopping.borrow() {
            // The lease is given back with all others when everything has stopped.
            return;
        }
        if let Next::End = drive.turn().await {
            return;
        }
    }
}

/// Gives a lease back for a while, trying until the database takes it or the process stops.
pub(crate) async fn put_off(inner: &Arc<Inner>, fence: Fence, failures: u32, pause: Duration) {
    let now = inner.env.now();
    back_off(inner, fence, failures, now, now + pause).await;
}

async fn back_off(inner: &Arc<Inner>, fence: Fence, failures: u32, since: Timestamp, until: Timestamp) {
    Counters::count(&inner.counters.retries);
    let now = inner.env.now();
    let saved = persist(inner, move |tx| store::back_off(tx, fence, failures, since, until, now)).await;
    if let Some(Saved::Yes { .. }) = saved {
        inner.due_at(until);
    }
}

/// A save that must succeed for anything to go on; `None` when the process stops before it does.
async fn persist(
    inner: &Arc<Inner>,
    save: impl FnMut(&mut Tx<'_>) -> Result<Saved> + Clone + Send + 'static,
) -> Option<Saved> {
    let mut pause = Duration::from_millis(100);
    loop {
        match inner.db.write("jobs_save", save.clone()).await {
            Ok(saved) => return Some(saved),
            Err(error) => tracing::warn!(?error, "the state of a workflow cannot be saved"),
        }
        if *inner.stopping.borrow() {
            return None;
        }
        inner.env.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

impl Drive<'_> {
    fn fence(&self) -> Fence {
        Fence { id: self.at.id, epoch: self.at.epoch }
    }

    fn cx(&self) -> StepCx {
        StepCx {
            id: self.at.id,
            subject: Arc::from(self.at.subject.as_str()),
            env: self.inner.env.clone(),
            db: self.inner.db.clone(),
            failures: self.at.failures,
            since: self.at.step_since,
            interrupted: Arc::clone(&self.interrupted),
        }
    }

    fn position(&self, step: usize) -> Result<Position> {
        let now = self.inner.env.now();
        Ok(Position {
            step,
            version: self.run.version(),
            state: self.run.json()?,
            now,
            lease_until: now + self.inner.config.lease,
        })
    }

    async fn turn(&mut self) -> Next {
        if !self.at.undoing && self.at.interrupted {
            return self.turn_back(Failure::interruption()).await;
        }
        let (part, index) = match (self.at.undoing, self.at.step) {
            (false, step) => (Part::Run, step),
            (true, 0) => return self.after_undo().await,
            (true, left) => (Part::Undo, left - 1),
        };
        if part == Part::Run && index >= self.run.steps() {
            // Another version had more steps, or there are none at all.
            return self.record(part, index, Outcome::Done).await;
        }
        self.point(part, index, Moment::Before).await;
        let outcome = self.execute(part, index).await;
        self.point(part, index, Moment::BetweenEffectAndRecord).await;
        match outcome {
            Ok(outcome) => self.record(part, index, outcome).await,
            Err(error) => self.failed(part, index, error).await,
        }
    }

    async fn execute(&mut self, part: Part, index: usize) -> Result<Outcome> {
        if self.repeats() {
            // As a crash before the record would have it: the first execution leaves its effects and no memory.
            drop(self.execute_once(part, index).await);
            self.run.forget();
        }
        self.execute_once(part, index).await
    }

    async fn execute_once(&mut self, part: Part, index: usize) -> Result<Outcome> {
        let cx = self.cx();
        let limit = if index < self.run.steps() { self.run.limit(index) } else { Duration::from_secs(600) };
        let name = self.run.step_name(index);
        tracing::debug!(id = %self.at.id, kind = self.at.kind, step = name, ?part, "begins");
        let work = match part {
            Part::Run => self.run.run(index, &cx),
            _ => self.run.undo(index, &cx),
        };
        let late = |_| Error::new(Kind::Timeout, "An operation took too long.").context(format!("{name}: {limit:?}"));
        match AssertUnwindSafe(tokio::time::timeout(limit, work)).catch_unwind().await {
            Ok(result) => result.map_err(late).flatten(),
            Err(_) => Err(Error::internal(format!("{name} panicked"))),
        }
    }

    async fn record(&mut self, part: Part, index: usize, outcome: Outcome) -> Next {
        let effects = match outcome {
            Outcome::WaitUntil(until) => return self.park(part, index, until).await,
            Outcome::Done => None,
            Outcome::DoneWith(effects) => Some(effects),
        };
        let forward = part == Part::Run;
        let step = if forward { (index + 1).min(self.run.steps()) } else { index };
        let saved = if forward && step == self.run.steps() {
            self.finish(step, effects).await
        } else {
            self.save(step, effects, store::advance).await
        };
        let counters = &self.inner.counters;
        match saved {
            Err(error) => return self.failed(part, index, error).await,
            Ok(Saved::Yes { .. }) if forward => Counters::count(&counters.steps),
            Ok(Saved::Yes { .. }) => Counters::count(&counters.undone),
            Ok(_) => {}
        }
        self.point(part, index, Moment::AfterRecord).await;
        match saved {
            Ok(Saved::Yes { .. }) if forward && step == self.run.steps() => {
                Counters::count(&counters.finished);
                Next::End
            }
            Ok(saved) => self.saved(saved, step),
            Err(_) => Next::End,
        }
    }

    /// Saves with effects in the same transaction.
    async fn save(
        &mut self,
        step: usize,
        effects: Option<Effects>,
        how: fn(&mut Tx<'_>, Fence, &Position) -> Result<Saved>,
    ) -> Result<Saved> {
        let (fence, at) = (self.fence(), self.position(step)?);
        let mut effects = effects;
        let save = move |tx: &mut Tx<'_>| {
            let saved = how(tx, fence, &at)?;
            if let (Saved::Yes { .. }, Some(effects)) = (saved, effects.as_mut()) {
                (effects.0)(tx)?;
            }
            Ok(saved)
        };
        self.inner.db.write("jobs_save", save).await
    }

    /// Ends the workflow, with effects; the subject's next one begins in the same transaction.
    async fn finish(&mut self, step: usize, effects: Option<Effects>) -> Result<Saved> {
        let (fence, at) = (self.fence(), self.position(step)?);
        let (mut effects, inner, subject) = (effects, Arc::clone(self.inner), self.at.subject.clone());
        let save = move |tx: &mut Tx<'_>| {
            let saved = store::finish(tx, fence, &at)?;
            if let Saved::Yes { .. } = saved {
                if let Some(effects) = effects.as_mut() {
                    (effects.0)(tx)?;
                }
                let next = store::promote(tx, &subject, at.now)?;
                inner.start_in_tx(tx, next.as_slice(), at.now)?;
            }
            Ok(saved)
        };
        self.inner.db.write("jobs_finish", save).await
    }

    /// Takes over in memory what was saved.
    fn saved(&mut self, saved: Saved, step: usize) -> Next {
        match saved {
            Saved::Yes { wakeups } => {
                self.at.step = step;
                self.at.wakeups = wakeups;
            }
            Saved::Woken { wakeups } => self.at.wakeups = wakeups,
            Saved::Interrupted => self.turned_back(Failure::interruption(), step),
            Saved::Lost => {
                Counters::count(&self.inner.counters.lost_leases);
                tracing::info!(id = %self.at.id, kind = self.at.kind, "somebody else has taken this workflow over");
                return Next::End;
            }
        }
        self.run.keep();
        if !matches!(saved, Saved::Woken { .. }) {
            self.at.failures = 0;
            self.at.failing_since = None;
            self.at.step_since = self.inner.env.now();
        }
        Next::On
    }

    fn turned_back(&mut self, failure: Failure, step: usize) {
        tracing::info!(
            id = %self.at.id, kind = self.at.kind, subject = self.at.subject, step = failure.step,
            error = failure.internal, "a workflow turns back"
        );
        self.at.undoing = true;
        self.at.step = step;
        self.at.failure = serde_json::to_string(&failure).ok();
    }

    async fn park(&mut self, part: Part, index: usize, until: Timestamp) -> Next {
        let step = self.at.step;
        let at = match self.position(step) {
            Ok(at) => at,
            Err(error) => return self.failed(part, index, error).await,
        };
        let (fence, seen) = (self.fence(), self.at.wakeups);
        let Some(saved) = persist(self.inner, move |tx| store::park(tx, fence, &at, seen, until)).await else {
            return Next::End;
        };
        self.point(part, index, Moment::AfterRecord).await;
        match saved {
            Saved::Yes { .. } => {
                self.inner.due_at(until);
                Next::End
            }
            Saved::Interrupted => self.saved(saved, step + 1),
            _ => self.saved(saved, step),
        }
    }

    async fn failed(&mut self, part: Part, index: usize, error: Error) -> Next {
        self.run.forget();
        let name = if part == Part::AfterUndo { "after_undo" } else { self.run.step_name(index) };
        let (id, kind, subject) = (self.at.id, &self.at.kind, &self.at.subject);
        let now = self.inner.env.now();
        let failures = self.at.failures.saturating_add(1);
        let since = self.at.failing_since.unwrap_or(now);
        let retry = match part {
            Part::Run => self.run.retry(index),
            _ => Retry::FOR_EVER,
        };
        if part == Part::Run {
            if self.interrupted.load(Ordering::SeqCst) {
                return self.turn_back(Failure::interruption()).await;
            }
            let spent = failures >= retry.attempts || now.since(since) >= retry.time;
            if !error.retryable() || spent {
                tracing::warn!(%id, kind, subject, step = name, ?error, failures, "a step failed");
                return self.turn_back(Failure::of(&error, name)).await;
            }
            tracing::warn!(%id, kind, subject, step = name, ?error, failures, "a step failed and is tried again");
        } else {
            Counters::count(&self.inner.counters.undo_failures);
            tracing::error!(%id, kind, subject, step = name, ?part, ?error, failures, "something cannot be taken back");
        }
        let until = now + self.jitter(retry.pause(failures));
        back_off(self.inner, self.fence(), failures, since, until).await;
        Next::End
    }

    /// Between three quarters and all of it, so that what failed together is not retried together.
    fn jitter(&self, pause: Duration) -> Duration {
        let [byte] = self.inner.env.random::<1>();
        pause - pause / 4 * u32::from(byte) / 256
    }

    /// The step that failed may have half happened: it is undone, too.
    async fn turn_back(&mut self, failure: Failure) -> Next {
        let left = (self.at.step + 1).min(self.run.steps());
        let at = match self.position(left) {
            Ok(at) => at,
            Err(error) => {
                tracing::error!(id = %self.at.id, ?error, "a workflow's state cannot be written");
                put_off(self.inner, self.fence(), self.at.failures, Duration::from_secs(60)).await;
                return Next::End;
            }
        };
        let (fence, kept) = (self.fence(), failure.clone());
        let save = move |tx: &mut Tx<'_>| store::turn_back(tx, fence, &at, &failure);
        let Some(saved) = persist(self.inner, save).await else {
            return Next::End;
        };
        let next = self.saved(saved, left);
        if let Next::On = next {
            self.turned_back(kept, left);
        }
        next
    }

    async fn after_undo(&mut self) -> Next {
        let failure = self.at.failure.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let failure = failure.unwrap_or_else(|| Failure::of(&Error::internal("the failure was not recorded"), ""));
        self.point(Part::AfterUndo, 0, Moment::Before).await;
        let decided = self.decide(&failure).await;
        self.point(Part::AfterUndo, 0, Moment::BetweenEffectAndRecord).await;
        let (again, effects) = match decided {
            Ok(AfterUndo::Again(effects)) if !failure.interrupted => (true, effects),
            Ok(AfterUndo::Again(effects) | AfterUndo::GiveUp(effects)) => (false, effects),
            Err(error) => return self.failed(Part::AfterUndo, 0, error).await,
        };
        let saved = if again { self.save(0, effects, store::begin_again).await } else { self.finish(0, effects).await };
        let saved = match saved {
            Ok(saved) => saved,
            Err(error) => return self.failed(Part::AfterUndo, 0, error).await,
        };
        self.point(Part::AfterUndo, 0, Moment::AfterRecord).await;
        match saved {
            Saved::Yes { .. } if !again => {
                tracing::info!(id = %self.at.id, kind = self.at.kind, error = failure.internal, "gave up, undone");
                Counters::count(&self.inner.counters.given_up);
                Next::End
            }
            Saved::Yes { .. } => {
                self.at.undoing = false;
                self.at.failure = None;
                self.saved(saved, 0)
            }
            _ => self.saved(saved, 0),
        }
    }

    async fn decide(&mut self, failure: &Failure) -> Result<AfterUndo> {
        let cx = self.cx();
        if self.repeats() {
            drop(AssertUnwindSafe(self.run.after_undo(&cx, failure)).catch_unwind().await);
            self.run.forget();
        }
        let decided = AssertUnwindSafe(self.run.after_undo(&cx, failure)).catch_unwind().await;
        decided.unwrap_or_else(|_| Err(Error::internal("after_undo panicked")))
    }

    #[cfg(any(test, feature = "testing"))]
    async fn point(&self, part: Part, index: usize, moment: Moment) {
        let plan = self.inner.plan.lock().clone();
        let Some(plan) = plan else { return };
        let step = if part == Part::AfterUndo { "" } else { self.run.step_name(index) };
        if plan.reached(crate::testing::CrashPoint { kind: self.at.kind.clone(), part, step, moment }) {
            self.inner.kill();
            // Dropped here, with every other task.
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(any(test, feature = "testing")))]
    async fn point(&self, _: Part, _: usize, _: Moment) {}

    #[cfg(any(test, feature = "testing"))]
    fn repeats(&self) -> bool {
        self.inner.plan.lock().as_ref().is_some_and(|plan| plan.repeats())
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn repeats(&self) -> bool {
        false
    }
}
