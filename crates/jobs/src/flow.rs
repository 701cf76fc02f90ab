//! What a workflow is made of.

use crate::Failure;
use async_trait::async_trait;
use ferrostack_db::{Db, Tx};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Env, Error, Result, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bounded work that can fail and must then be taken back: a list of steps over one saved state.
///
/// The value itself holds what the steps work with (the database, other services); it is shared by all runs of its
/// kind and has no memory of its own: all that a run knows is its `State`.
#[async_trait]
pub trait Workflow: Sized + Send + Sync + 'static {
    /// What a run knows, saved with every step. Every id that the steps are going to create is in it from the start,
    /// so that a repeated step finds its own effect.
    type State: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// The name in the database, e.g. `compute.build_server`. Never reused for something else.
    const KIND: &'static str;
    /// The version of `State` and of the list of steps. Raised when either changes in a way that matters to saved runs.
    const VERSION: u32;

    /// The steps, in order. `&[&ClaimHost, &EnsurePorts]` of unit structs is enough.
    fn steps(&self) -> &'static [&'static dyn Step<Self>];

    /// Everything is undone because of `error`: begin again (with another host, say), or give up.
    /// Retried until it succeeds. Must be repeatable; what it changes in the database belongs into
    /// [`AfterUndo::give_up_with`] or [`AfterUndo::again_with`], which commit together with the decision.
    async fn after_undo(&self, cx: &StepCx, state: &mut Self::State, error: &Failure) -> Result<AfterUndo>;

    /// Reads the state that another version saved. By default there is no other version.
    fn migrate(&self, version: u32, _json: Value) -> Result<Self::State> {
        Err(Error::internal(format!("{} cannot read version {version}, it is {}", Self::KIND, Self::VERSION)))
    }
}

/// One step of a workflow.
///
/// `run` and `undo` are repeated after a crash, so each must find what it did before; `undo` also runs for a step that
/// failed half way or never began. Changes to `state` are kept only with the record of the step: after an error or
/// a crash the step sees the state as it was.
#[async_trait]
pub trait Step<W: Workflow>: Send + Sync + 'static {
    /// The name in logs and metrics, e.g. `claim_host`.
    fn name(&self) -> &'static str;

    /// Does it.
    async fn run(&self, flow: &W, cx: &StepCx, state: &mut W::State) -> Result<Outcome>;

    /// Takes it back. May wait, too. Errors are retried for ever, with an error in the log.
    async fn undo(&self, _flow: &W, _cx: &StepCx, _state: &mut W::State) -> Result<Outcome> {
        Ok(Outcome::Done)
    }

    /// How retryable errors of `run` are retried before they count as failure.
    fn retry(&self) -> Retry {
        Retry::default()
    }

    /// How long one execution may take; after that it is dropped and counts as a retryable timeout.
    /// Steps that wait for something should return [`Outcome::WaitUntil`] rather than take long.
    fn limit(&self) -> Duration {
        Duration::from_secs(600)
    }
}

/// How retryable errors are retried. The first limit that is reached ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// At most so many executions in a row that fail.
    pub attempts: u32,
    /// At most so long since the first failure.
    pub time: Duration,
    /// The first pause; each later one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 10,
            time: Duration::from_secs(600),
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// For what has no choice but to succeed some day: undo.
    pub(crate) const FOR_EVER: Retry = Retry {
        attempts: u32::MAX,
        time: Duration::MAX,
        first: Duration::from_millis(200),
        longest: Duration::from_secs(60),
    };

    /// One execution, no repetition.
    pub const NEVER: Retry = Retry { attempts: 1, ..Retry::FOR_EVER };

    /// The pause after the `attempts`-th failure in a row, without jitter.
    pub(crate) fn pause(&self, attempts: u32) -> Duration {
        self.first.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(self.longest)
    }
}

/// Changes to the database that commit together with the record of a step. May run more than once, like any
/// transaction; leaves nothing if the lease is lost.
pub struct Effects(pub(crate) EffectsFn);

type EffectsFn = Box<dyn FnMut(&mut Tx<'_>) -> Result<()> + Send>;

impl Effects {
    /// Wraps a closure.
    pub fn new(effects: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static) -> Effects {
        Effects(Box::new(effects))
    }
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Effects")
    }
}

/// What became of a step (or of its undo).
#[derive(Debug)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is done once these changes and its record are committed, in one transaction.
    DoneWith(Effects),
    /// It is waiting. The worker is released; the same step runs again when the subject is woken
    /// ([`Jobs::wake_in_tx`](crate::Jobs::wake_in_tx)) or at this time. The state is saved.
    WaitUntil(Timestamp),
}

impl Outcome {
    /// `Outcome::done_with(move |tx| ...)`
    pub fn done_with(effects: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static) -> Outcome {
        Outcome::DoneWith(Effects::new(effects))
    }
}

/// What to do once everything is undone.
#[derive(Debug)]
pub enum AfterUndo {
    /// Begin again at the first step with the state as it is now. Not granted to an interrupted workflow: it ends.
    Again(Option<Effects>),
    /// End. The effects say so to the world (state ERROR and the fault), in the transaction that ends the workflow.
    GiveUp(Option<Effects>),
}

impl AfterUndo {
    /// Begins again.
    pub fn again() -> AfterUndo {
        AfterUndo::Again(None)
    }

    /// Begins again, with changes in the same transaction.
    pub fn again_with(effects: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static) -> AfterUndo {
        AfterUndo::Again(Some(Effects::new(effects)))
    }

    /// Ends.
    pub fn give_up() -> AfterUndo {
        AfterUndo::GiveUp(None)
    }

    /// Ends, with changes in the same transaction.
    pub fn give_up_with(effects: impl FnMut(&mut Tx<'_>) -> Result<()> + Send + 'static) -> AfterUndo {
        AfterUndo::GiveUp(Some(Effects::new(effects)))
    }
}

/// What a step knows besides its state.
#[derive(Clone)]
pub struct StepCx {
    /// The run.
    pub id: WorkflowId,
    /// What it works on.
    pub subject: Arc<str>,
    /// Time, randomness, tasks.
    pub env: Env,
    /// The database.
    pub db: Db,
    /// How many executions of this step failed in a row before this one.
    pub failures: u32,
    /// When this step was first begun: the start of every "wait at most so long".
    pub since: Timestamp,
    pub(crate) interrupted: Arc<AtomicBool>,
}

impl StepCx {
    /// Now.
    pub fn now(&self) -> Timestamp {
        self.env.now()
    }

    /// Whether somebody asked for the end of this workflow. It ends at the next save anyway; a step that takes long
    /// may look here and return early (any error will do).
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

/// A kind of workflow, free of its type.
pub(crate) trait AnyFlow: Send + Sync {
    /// Reads a saved state.
    fn open(self: Arc<Self>, version: u32, json: &str) -> Result<Box<dyn AnyRun>>;
}

/// A run of a workflow, free of its type.
#[async_trait]
pub(crate) trait AnyRun: Send + Sync {
    fn version(&self) -> u32;
    fn steps(&self) -> usize;
    fn step_name(&self, index: usize) -> &'static str;
    fn retry(&self, index: usize) -> Retry;
    fn limit(&self, index: usize) -> Duration;
    async fn run(&mut self, index: usize, cx: &StepCx) -> Result<Outcome>;
    async fn undo(&mut self, index: usize, cx: &StepCx) -> Result<Outcome>;
    async fn after_undo(&mut self, cx: &StepCx, error: &Failure) -> Result<AfterUndo>;
    /// The state as the last execution left it.
    fn json(&self) -> Result<String>;
    /// The last execution is recorded: its state is the state.
    fn keep(&mut self);
    /// The last execution is not recorded: the state is what it was.
    fn forget(&mut self);
}

pub(crate) struct Registered<W: Workflow>(pub(crate) Arc<W>);

impl<W: Workflow> AnyFlow for Registered<W> {
    fn open(self: Arc<Self>, version: u32, json: &str) -> Result<Box<dyn AnyRun>> {
        let bad = |e| Error::from_source(format!("read the state of a {}", W::KIND), e);
        let state: W::State = if version == W::VERSION {
            serde_json::from_str(json).map_err(bad)?
        } else {
            self.0.migrate(version, serde_json::from_str(json).map_err(bad)?)?
        };
        Ok(Box::new(Run { flow: Arc::clone(&self.0), next: state.clone(), state }))
    }
}

struct Run<W: Workflow> {
    flow: Arc<W>,
    /// As saved.
    state: W::State,
    /// As the last execution left it.
    next: W::State,
}

#[async_trait]
impl<W: Workflow> AnyRun for Run<W> {
    fn version(&self) -> u32 {
        W::VERSION
    }

    fn steps(&self) -> usize {
        self.flow.steps().len()
    }

    fn step_name(&self, index: usize) -> &'static str {
        self.flow.steps().get(index).map_or("(none)", |s| s.name())
    }

    fn retry(&self, index: usize) -> Retry {
        self.flow.steps()[index].retry()
    }

    fn limit(&self, index: usize) -> Duration {
        self.flow.steps()[index].limit()
    }

    async fn run(&mut self, index: usize, cx: &StepCx) -> Result<Outcome> {
        self.flow.steps()[index].run(&self.flow, cx, &mut self.next).await
    }

    async fn undo(&mut self, index: usize, cx: &StepCx) -> Result<Outcome> {
        match self.flow.steps().get(index) {
            Some(step) => step.undo(&self.flow, cx, &mut self.next).await,
            // Another version of the workflow had more steps than this one.
            None => Err(Error::internal(format!("{} has no step {index}", W::KIND))),
        }
    }

    async fn after_undo(&mut self, cx: &StepCx, error: &Failure) -> Result<AfterUndo> {
        self.flow.after_undo(cx, &mut self.next, error).await
    }

    fn json(&self) -> Result<String> {
        serde_json::to_string(&self.next).map_err(|e| Error::from_source("write a workflow's state", e))
    }

    fn keep(&mut self) {
        self.state = self.next.clone();
    }

    fn forget(&mut self) {
        self.next = self.state.clone();
    }
}
