//! Killing the process at every point of every workflow.
//!
//! The executor itself asks at each point whether to die, so a new workflow or step is covered without being told of.
//! [`crash_everywhere`] runs a [`Scenario`] once to learn the points that it passes, then once more for each of them
//! in a fresh world: there the process is killed (every task is dropped where it stands, leases stay), a second one is
//! started on the same database, and the scenario checks its laws when no workflow is left. [`repeat_everywhere`]
//! executes every step, undo and `after_undo` twice and records only the second.

use crate::{Jobs, JobsConfig, Moment, Part};
use async_trait::async_trait;
use ferrostack_db::{Db, params};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A point at which a process can be killed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrashPoint {
    /// [`Workflow::KIND`](crate::Workflow::KIND)
    pub kind: String,
    /// What is executed.
    pub part: Part,
    /// The step; empty for `after_undo`.
    pub step: &'static str,
    /// When.
    pub moment: Moment,
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {} {:?}", self.kind, self.part, self.step, self.moment)
    }
}

/// What a process does at its crash points.
#[derive(Debug, Default)]
pub struct CrashPlan {
    /// Die when this point is passed for the n-th time (from 0).
    target: Option<(CrashPoint, usize)>,
    repeat: bool,
    passed: Mutex<Vec<CrashPoint>>,
    crashed: AtomicBool,
}

impl CrashPlan {
    /// Only notes the points.
    pub fn record() -> Arc<CrashPlan> {
        Arc::default()
    }

    /// Dies at the point's n-th passing (from 0).
    pub fn crash(point: CrashPoint, nth: usize) -> Arc<CrashPlan> {
        Arc::new(CrashPlan { target: Some((point, nth)), ..CrashPlan::default() })
    }

    /// Executes everything twice.
    pub fn repeat() -> Arc<CrashPlan> {
        Arc::new(CrashPlan { repeat: true, ..CrashPlan::default() })
    }

    /// Makes a process follow the plan.
    pub fn install(self: &Arc<Self>, jobs: &Jobs) {
        *jobs.inner.plan.lock() = Some(Arc::clone(self));
    }

    /// Whether the process has died of it.
    pub fn crashed(&self) -> bool {
        self.crashed.load(Ordering::SeqCst)
    }

    /// The points that were passed, in order, each with how often it had been passed before.
    pub fn passed(&self) -> Vec<(CrashPoint, usize)> {
        let mut counts = HashMap::new();
        let passed = self.passed.lock();
        let count = |point: &CrashPoint| {
            let count = counts.entry(point.clone()).or_insert(0);
            *count += 1;
            (point.clone(), *count - 1)
        };
        passed.iter().map(count).collect()
    }

    pub(crate) fn repeats(&self) -> bool {
        self.repeat
    }

    /// Whether to die here.
    pub(crate) fn reached(&self, point: CrashPoint) -> bool {
        let mut passed = self.passed.lock();
        let before = passed.iter().filter(|p| **p == point).count();
        let die = self.target.as_ref().is_some_and(|(target, nth)| *target == point && *nth == before);
        passed.push(point);
        if die {
            self.crashed.store(true, Ordering::SeqCst);
        }
        die
    }
}

/// Kills a process as a signal 9 would: every task of its workflows and loops is dropped where it stands, its leases stay.
pub fn kill(jobs: &Jobs) {
    jobs.inner.kill();
}

/// Something that workflows do, and the laws that must hold when they are done with it.
#[async_trait]
pub trait Scenario: Send + Sync {
    /// The database and whatever else the steps act on. Survives the process.
    type World: Send + Sync;

    /// A fresh one.
    async fn world(&self) -> Self::World;

    /// Its database.
    fn db<'a>(&self, world: &'a Self::World) -> &'a Db;

    /// A process in this world: a handle with this configuration, everything registered, not started.
    async fn process(&self, world: &Self::World, config: JobsConfig) -> Jobs;

    /// Enqueues the workflows. Called once for each world, on the first process.
    async fn begin(&self, world: &Self::World, jobs: &Jobs);

    /// What the rest of the world does while the workflows run (reports of nodes, say). Runs beside each process and is
    /// dropped with it.
    async fn drive(&self, _world: &Self::World, _jobs: &Jobs) {
        std::future::pending().await
    }

    /// Panics if a law is broken. No workflow is left. `how` says what was done to the process.
    async fn check(&self, world: &Self::World, how: &str);
}

fn config(owner: &str) -> JobsConfig {
    JobsConfig { poll: Duration::from_millis(20), sole: true, ..JobsConfig::new(owner) }
}

/// Kills the scenario's process at each of its points and lets a second one finish. How many points there were.
pub async fn crash_everywhere<S: Scenario>(scenario: &S) -> usize {
    let recorded = CrashPlan::record();
    run(scenario, &recorded, "undisturbed").await;
    let points = recorded.passed();
    assert!(!points.is_empty(), "the scenario ran no workflow");
    // Worlds share nothing and mostly wait for pauses: a few at a time.
    let crash = |(point, nth): &(CrashPoint, usize)| {
        let (point, nth) = (point.clone(), *nth);
        async move {
            let how = format!("killed at {point}, passing {nth}");
            let plan = CrashPlan::crash(point, nth);
            run(scenario, &plan, &how).await;
            // How often a waiting step looks depends on time; that it runs at all does not.
            assert!(plan.crashed() || nth > 0, "not {how}: the point was not reached");
        }
    };
    stream::iter(points.iter().map(crash)).for_each_concurrent(4, |run| run).await;
    points.len()
}

/// Runs the scenario with every execution made twice.
pub async fn repeat_everywhere<S: Scenario>(scenario: &S) {
    run(scenario, &CrashPlan::repeat(), "everything executed twice").await;
}

async fn run<S: Scenario>(scenario: &S, plan: &Arc<CrashPlan>, how: &str) {
    let world = scenario.world().await;
    let db = scenario.db(&world);
    let first = scenario.process(&world, config("first")).await;
    plan.install(&first);
    first.start().await.expect("the first process starts");
    let work = async {
        scenario.begin(&world, &first).await;
        until_idle_or(db, || plan.crashed(), how).await;
    };
    beside(work, scenario.drive(&world, &first)).await;
    kill(&first);
    if plan.crashed() {
        let second = scenario.process(&world, config("second")).await;
        second.start().await.expect("the second process starts");
        beside(until_idle_or(db, || false, how), scenario.drive(&world, &second)).await;
        kill(&second);
    }
    scenario.check(&world, how).await;
}

/// Runs `work` to its end, `other` for so long.
async fn beside(work: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let other = async {
        other.await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = work => {}
        () = other => {}
    }
}

/// Waits until no workflow is left. Panics after a minute, saying what is.
pub async fn until_idle(db: &Db) {
    until_idle_or(db, || false, "waiting").await;
}

async fn until_idle_or(db: &Db, enough: impl Fn() -> bool, how: &str) {
    let mut left = Vec::new();
    for _ in 0..12_000 {
        if enough() {
            return;
        }
        let rows = db.read("jobs_left", |tx| {
            tx.query("SELECT kind, subject, status, step, undoing, failure FROM jobs_workflows", params![], |row| {
                let (kind, subject, status): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let (step, undoing, failure): (i64, bool, Option<String>) = (row.get(3)?, row.get(4)?, row.get(5)?);
                Ok(format!("{kind} of {subject}: {status} at step {step}, undoing: {undoing}, {failure:?}"))
            })
        });
        left = rows.await.expect("the table can be read");
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{how}: workflows are left after a minute: {left:#?}");
}
