//! A small workflow with every kind of effect: bundled with its record, outside of the database, waiting.

use async_trait::async_trait;
use ferrostack_db::testing::TestDb;
use ferrostack_db::{Migration, Tx, params};
use ferrostack_jobs::{AfterUndo, Failure, Jobs, JobsConfig, MIGRATIONS, Outcome, Retry, Step, StepCx, Workflow};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Env, Error, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Not keyed: an effect that is committed twice shows as two rows.
const TOY: &[Migration] = &[Migration {
    service: "toy",
    version: 1,
    sql: "CREATE TABLE toy_ledger (subject VARCHAR(64) NOT NULL, what VARCHAR(64) NOT NULL);\n
          CREATE TABLE toy_signals (subject VARCHAR(64) NOT NULL PRIMARY KEY, count INTEGER NOT NULL);\n",
}];

pub const ALL: &[&[Migration]] = &[MIGRATIONS, TOY];

/// What outlives the process and is not the database.
#[derive(Default)]
pub struct Outside {
    pub made: Mutex<BTreeSet<String>>,
    pub log: Mutex<Vec<String>>,
    /// Errors to come, by `step/subject`.
    pub errors: Mutex<BTreeMap<String, u32>>,
    /// `make` has begun, and may end.
    pub begun: Notify,
    pub gate: Notify,
}

impl Outside {
    fn fail(&self, what: String) -> Result<()> {
        match self.errors.lock().get_mut(&what) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err(Error::unavailable("not now").context(what))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ToyState {
    /// Fails at the last step, for good.
    pub doomed: bool,
    /// How often it begins again after a failure.
    pub again: u32,
    /// How many signals it waits for.
    pub signals: i64,
    /// Waits in `make` for the gate.
    pub gated: bool,
    /// The undo of `make` looks twice.
    pub slow_undo: bool,
    /// Panics in `make`, with its effect done.
    pub panics: bool,
    pub label: String,
    /// Set by `reserve`, needed by `publish`.
    pub reserved: bool,
}

pub struct Toy {
    pub outside: Arc<Outside>,
}

struct Reserve;
struct Make;
struct Await;
struct Publish;

pub fn note(tx: &mut Tx<'_>, subject: &str, what: &str) -> Result<()> {
    tx.execute("INSERT INTO toy_ledger (subject, what) VALUES (?, ?)", params![subject, what]).map(|_| ())
}

#[async_trait]
impl Workflow for Toy {
    type State = ToyState;
    const KIND: &'static str = "toy";
    const VERSION: u32 = 1;

    fn steps(&self) -> &'static [&'static dyn Step<Self>] {
        &[&Reserve, &Make, &Await, &Publish]
    }

    async fn after_undo(&self, cx: &StepCx, state: &mut ToyState, error: &Failure) -> Result<AfterUndo> {
        self.outside.fail(format!("after_undo/{}", cx.subject))?;
        let subject = cx.subject.to_string();
        if state.again > 0 {
            state.again -= 1;
            state.reserved = false;
            return Ok(AfterUndo::again_with(move |tx| note(tx, &subject, "again")));
        }
        let what = format!("error: {}", error.public);
        Ok(AfterUndo::give_up_with(move |tx| note(tx, &subject, &what)))
    }
}

#[async_trait]
impl Step<Toy> for Reserve {
    fn name(&self) -> &'static str {
        "reserve"
    }

    async fn run(&self, _: &Toy, cx: &StepCx, state: &mut ToyState) -> Result<Outcome> {
        assert!(!state.reserved, "the state of an execution without a record was kept");
        state.reserved = true;
        let subject = cx.subject.to_string();
        Ok(Outcome::done_with(move |tx| note(tx, &subject, "reserve")))
    }

    async fn undo(&self, _: &Toy, cx: &StepCx, _: &mut ToyState) -> Result<Outcome> {
        let subject = cx.subject.to_string();
        Ok(Outcome::done_with(move |tx| {
            tx.execute("DELETE FROM toy_ledger WHERE subject = ? AND what = 'reserve'", params![subject.as_str()])
                .map(|_| ())
        }))
    }
}

#[async_trait]
impl Step<Toy> for Make {
    fn name(&self) -> &'static str {
        "make"
    }

    async fn run(&self, flow: &Toy, cx: &StepCx, state: &mut ToyState) -> Result<Outcome> {
        flow.outside.log.lock().push(format!("begin {}{}", cx.subject, state.label));
        flow.outside.made.lock().insert(cx.subject.to_string());
        assert!(!state.panics, "as was asked for");
        if state.gated {
            flow.outside.begun.notify_one();
            flow.outside.gate.notified().await;
        }
        flow.outside.fail(format!("make/{}", cx.subject))?;
        tokio::task::yield_now().await;
        flow.outside.log.lock().push(format!("end {}{}", cx.subject, state.label));
        Ok(Outcome::Done)
    }

    async fn undo(&self, flow: &Toy, cx: &StepCx, state: &mut ToyState) -> Result<Outcome> {
        flow.outside.fail(format!("unmake/{}", cx.subject))?;
        let removed = flow.outside.made.lock().remove(&*cx.subject);
        // Undo may wait for what it asked for.
        if removed && state.slow_undo {
            return Ok(Outcome::WaitUntil(cx.now() + Duration::from_millis(20)));
        }
        Ok(Outcome::Done)
    }

    fn retry(&self) -> Retry {
        Retry { attempts: 4, first: Duration::from_millis(5), ..Retry::default() }
    }
}

#[async_trait]
impl Step<Toy> for Await {
    fn name(&self) -> &'static str {
        "await"
    }

    async fn run(&self, _: &Toy, cx: &StepCx, state: &mut ToyState) -> Result<Outcome> {
        let subject = cx.subject.to_string();
        let count: Option<i64> = cx
            .db
            .read("toy_signals", move |tx| {
                let sql = "SELECT count FROM toy_signals WHERE subject = ?";
                tx.query_opt(sql, params![subject.as_str()], |row| row.get(0))
            })
            .await?;
        // Far away: only a wake-up can end this in time.
        let never = cx.now() + Duration::from_secs(3600);
        Ok(if count.unwrap_or(0) >= state.signals { Outcome::Done } else { Outcome::WaitUntil(never) })
    }
}

#[async_trait]
impl Step<Toy> for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    async fn run(&self, _: &Toy, cx: &StepCx, state: &mut ToyState) -> Result<Outcome> {
        assert!(state.reserved, "the state of a recorded step was lost");
        let (subject, doomed) = (cx.subject.to_string(), state.doomed);
        Ok(Outcome::done_with(move |tx| {
            note(tx, &subject, "publish")?;
            // After its write: a failed save must leave nothing.
            if doomed { Err(Error::conflict("doomed")) } else { Ok(()) }
        }))
    }
}

pub struct World {
    pub test: TestDb,
    pub outside: Arc<Outside>,
    pub env: Env,
}

impl World {
    pub async fn new() -> World {
        World { test: TestDb::new(ALL).await, outside: Arc::default(), env: Env::system() }
    }

    pub fn config(owner: &str) -> JobsConfig {
        JobsConfig { poll: Duration::from_millis(20), ..JobsConfig::new(owner) }
    }

    pub fn jobs(&self, config: JobsConfig) -> Jobs {
        let jobs = Jobs::new(self.test.db.clone(), self.env.clone(), config);
        jobs.register(Arc::new(Toy { outside: Arc::clone(&self.outside) }));
        jobs
    }

    pub async fn started(&self, config: JobsConfig) -> Jobs {
        let jobs = self.jobs(config);
        jobs.start().await.unwrap();
        jobs
    }

    pub async fn enqueue(&self, jobs: &Jobs, subject: &str, state: ToyState) -> WorkflowId {
        let (jobs, subject, now) = (jobs.clone(), subject.to_owned(), self.env.now());
        let id = WorkflowId::from_uuid(self.env.uuid());
        let enqueue = move |tx: &mut Tx<'_>| jobs.enqueue_in_tx::<Toy>(tx, id, &subject, &state, now);
        self.test.db.write("enqueue", enqueue).await.unwrap();
        id
    }

    pub async fn interrupt(&self, jobs: &Jobs, subject: &str) -> usize {
        let (jobs, subject, now) = (jobs.clone(), subject.to_owned(), self.env.now());
        let interrupt = move |tx: &mut Tx<'_>| jobs.interrupt_in_tx(tx, &subject, Some(Toy::KIND), now);
        self.test.db.write("interrupt", interrupt).await.unwrap()
    }

    /// One more signal, and the wake-up for it.
    pub async fn signal(&self, jobs: &Jobs, subject: &str) {
        let (jobs, subject, now) = (jobs.clone(), subject.to_owned(), self.env.now());
        let signal = move |tx: &mut Tx<'_>| {
            let changed =
                tx.execute("UPDATE toy_signals SET count = count + 1 WHERE subject = ?", params![subject.as_str()])?;
            if changed == 0 {
                let sql = "INSERT INTO toy_signals (subject, count) VALUES (?, 1)";
                tx.execute(sql, params![subject.as_str()])?;
            }
            jobs.wake_in_tx(tx, &subject, now)
        };
        self.test.db.write("signal", signal).await.unwrap();
    }

    /// The subject's rows, in order.
    pub async fn ledger(&self, subject: &str) -> Vec<String> {
        let subject = subject.to_owned();
        let read = move |tx: &mut Tx<'_>| {
            let sql = "SELECT what FROM toy_ledger WHERE subject = ? ORDER BY what";
            tx.query(sql, params![subject.as_str()], |row| row.get::<String>(0))
        };
        self.test.db.read("ledger", read).await.unwrap()
    }

    pub fn made(&self, subject: &str) -> bool {
        self.outside.made.lock().contains(subject)
    }

    pub async fn wait_for_status(&self, jobs: &Jobs, status: &str, count: u64) {
        for _ in 0..2000 {
            if jobs.backlog().await.unwrap().get(status).copied().unwrap_or(0) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {count} {status}: {:?}", jobs.backlog().await.unwrap());
    }
}
