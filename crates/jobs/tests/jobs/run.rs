//! Order, interrupts, leases, wake-ups, ends.

use crate::toy::{ToyState, World, note};
use async_trait::async_trait;
use ferrostack_db::{Tx, params};
use ferrostack_jobs::testing::{kill, until_idle};
use ferrostack_jobs::{AfterUndo, Failure, Jobs, JobsConfig, Outcome, Step, StepCx, Workflow};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Error, Result};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_costs_one_commit_and_an_enqueued_workflow_no_claim() {
    let world = World::new().await;
    let jobs = world.started(JobsConfig { poll: Duration::from_secs(600), ..World::config("a") }).await;
    let before = world.test.db.stats().writes.load(Ordering::Relaxed);
    world.enqueue(&jobs, "s", ToyState::default()).await;
    until_idle(&world.test.db).await;
    let after = world.test.db.stats().writes.load(Ordering::Relaxed);
    assert_eq!(after - before, 1 + 4, "one to enqueue, one for each step");
    assert_eq!(world.ledger("s").await, ["publish", "reserve"]);
    assert_eq!(jobs.status().finished, 1);
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_has_one_runner_in_order_of_creation() {
    let world = World::new().await;
    let jobs = world.started(World::config("a")).await;
    for label in 0..20 {
        for subject in ["s", "t"] {
            world.enqueue(&jobs, subject, ToyState { label: format!(" {label}"), ..ToyState::default() }).await;
        }
    }
    until_idle(&world.test.db).await;
    let log = world.outside.log.lock().clone();
    for subject in ["s", "t"] {
        let expected: Vec<String> =
            (0..20).flat_map(|i| [format!("begin {subject} {i}"), format!("end {subject} {i}")]).collect();
        let seen: Vec<String> = log.iter().filter(|l| l.split(' ').nth(1) == Some(subject)).cloned().collect();
        assert_eq!(seen, expected);
    }
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_work_than_workers_is_all_done() {
    let world = World::new().await;
    let jobs = world.started(JobsConfig { workers: 3, ..World::config("a") }).await;
    for n in 0..200 {
        world.enqueue(&jobs, &format!("s{n}"), ToyState::default()).await;
        assert!(jobs.status().running <= 3);
    }
    until_idle(&world.test.db).await;
    for n in 0..200 {
        assert_eq!(world.ledger(&format!("s{n}")).await, ["publish", "reserve"]);
    }
    assert_eq!(jobs.status().finished, 200);
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_workflow_holds_no_worker() {
    let world = World::new().await;
    let jobs = world.started(JobsConfig { workers: 1, ..World::config("a") }).await;
    for n in 0..5 {
        world.enqueue(&jobs, &format!("w{n}"), ToyState { signals: 1, ..ToyState::default() }).await;
    }
    world.wait_for_status(&jobs, "parked", 5).await;
    world.enqueue(&jobs, "s", ToyState::default()).await;
    world.wait_for_status(&jobs, "running", 0).await;
    assert_eq!(world.ledger("s").await, ["publish", "reserve"]);
    for n in 0..5 {
        world.signal(&jobs, &format!("w{n}")).await;
    }
    until_idle(&world.test.db).await;
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    let world = World::new().await;
    let jobs = world.started(JobsConfig { poll: Duration::from_secs(600), ..World::config("a") }).await;
    // Each waits many times, and its signals come at whatever moment of its parking: nothing but a wake-up ends it.
    let (subjects, rounds) = (40, 25);
    for n in 0..subjects {
        world.enqueue(&jobs, &format!("s{n}"), ToyState { signals: rounds, ..ToyState::default() }).await;
    }
    let world = &world;
    let jobs = &jobs;
    let senders = (0..subjects).map(|n| async move {
        for round in 0..rounds {
            for _ in 0..world.env.random::<1>()[0] % 40 {
                tokio::task::yield_now().await;
            }
            if (n + round) % 7 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            world.signal(jobs, &format!("s{n}")).await;
        }
    });
    futures::future::join_all(senders).await;
    until_idle(&world.test.db).await;
    assert_eq!(jobs.status().finished, subjects as u64);
    kill(jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_turns_back_what_runs_waits_or_is_queued() {
    let world = World::new().await;
    let jobs = world.started(World::config("a")).await;
    let error = "error: The operation was interrupted by a later request.";

    world.enqueue(&jobs, "runs", ToyState { gated: true, ..ToyState::default() }).await;
    world.outside.begun.notified().await;
    world.enqueue(&jobs, "runs", ToyState::default()).await;
    assert_eq!(world.interrupt(&jobs, "runs").await, 2);
    assert_eq!(world.interrupt(&jobs, "runs").await, 0, "they know already");
    world.outside.gate.notify_one();
    until_idle(&world.test.db).await;
    assert_eq!(world.ledger("runs").await, [error, error]);
    assert!(!world.made("runs"));

    world.enqueue(&jobs, "waits", ToyState { signals: 1, again: 3, ..ToyState::default() }).await;
    world.wait_for_status(&jobs, "parked", 1).await;
    assert_eq!(world.interrupt(&jobs, "waits").await, 1);
    until_idle(&world.test.db).await;
    // What would begin again is not allowed to: its effects are committed, it ends.
    assert_eq!(world.ledger("waits").await, ["again"]);
    assert!(!world.made("waits"));
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_during_undo_forbids_another_try() {
    let world = World::new().await;
    let jobs = world.started(World::config("a")).await;
    // Fails once too often, then cannot be undone for a while.
    world.outside.errors.lock().insert("make/s".into(), 4);
    world.outside.errors.lock().insert("unmake/s".into(), 2);
    world.enqueue(&jobs, "s", ToyState { again: 1, ..ToyState::default() }).await;
    for _ in 0..2000 {
        if jobs.status().undo_failures > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.interrupt(&jobs, "s").await, 1);
    until_idle(&world.test.db).await;
    assert_eq!(world.ledger("s").await, ["error: The operation was interrupted by a later request."]);
    assert_eq!(jobs.status().undo_failures, 2);
    assert!(!world.made("s"));
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_lease_saves_nothing() {
    let world = World::new().await;
    let paused = world.started(World::config("paused")).await;
    world.enqueue(&paused, "s", ToyState { gated: true, ..ToyState::default() }).await;
    world.outside.begun.notified().await;
    // As if its lease had run out while the process stood still.
    let sole = JobsConfig { sole: true, ..World::config("other") };
    let other = world.started(sole).await;
    world.outside.begun.notified().await;
    assert!(world.made("s"));
    // Both are in the same step now; the one that waited longer goes on first.
    world.outside.gate.notify_one();
    for _ in 0..2000 {
        if paused.status().lost_leases == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(paused.status().lost_leases, 1);
    assert_eq!(world.ledger("s").await, ["reserve"]);
    let step: i64 =
        world.test.db.read("row", |tx| tx.scalar("SELECT step FROM jobs_workflows", params![])).await.unwrap();
    assert_eq!(step, 1, "the step of the lost lease was not recorded");
    world.outside.gate.notify_one();
    until_idle(&world.test.db).await;
    assert_eq!(world.ledger("s").await, ["publish", "reserve"]);
    assert_eq!((paused.status().finished, other.status().finished), (0, 1));
    kill(&paused);
    kill(&other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_owners_lease_runs_out_a_living_ones_does_not() {
    let world = World::new().await;
    let short = |owner| JobsConfig { lease: Duration::from_millis(1500), ..World::config(owner) };
    let living = world.started(short("living")).await;
    world.enqueue(&living, "s", ToyState { gated: true, ..ToyState::default() }).await;
    world.outside.begun.notified().await;
    let other = world.started(short("other")).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.outside.log.lock().len(), 1, "the lease is renewed while the step takes long");
    kill(&living);
    world.outside.begun.notified().await;
    world.outside.gate.notify_one();
    until_idle(&world.test.db).await;
    assert_eq!(other.status().finished, 1);
    kill(&other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_finishes_the_step_and_gives_the_lease_back() {
    let world = World::new().await;
    let first = world.started(World::config("first")).await;
    world.enqueue(&first, "s", ToyState { gated: true, ..ToyState::default() }).await;
    world.outside.begun.notified().await;
    let ending = first.clone();
    let ending = world.env.spawn("shutdown", async move { ending.shutdown(Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!ending.is_finished(), "it waits for the step");
    world.outside.gate.notify_one();
    ending.await.unwrap().unwrap();
    let (step, owner): (i64, Option<String>) = world
        .test
        .db
        .read("row", |tx| {
            let row = tx.query_opt("SELECT step, owner FROM jobs_workflows", params![], |r| Ok((r.get(0)?, r.get(1)?)));
            Ok(row?.expect("the workflow is there"))
        })
        .await
        .unwrap();
    assert_eq!((step, owner), (2, None), "the step is recorded and the lease given back");
    // Enqueued by a process that works no more: for whoever comes next.
    world.enqueue(&first, "t", ToyState::default()).await;
    let second = world.started(World::config("second")).await;
    until_idle(&world.test.db).await;
    assert_eq!(second.status().finished, 2);
    assert_eq!(world.outside.log.lock().iter().filter(|l| *l == "begin s").count(), 1);
    kill(&second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_step_is_a_failure_like_another() {
    let world = World::new().await;
    let jobs = world.started(World::config("a")).await;
    world.enqueue(&jobs, "s", ToyState { panics: true, ..ToyState::default() }).await;
    until_idle(&world.test.db).await;
    let ledger = world.ledger("s").await;
    assert_eq!(ledger, ["error: An unexpected error prevented the server from fulfilling your request."]);
    assert!(!world.made("s"));
    assert_eq!(jobs.status().given_up, 1);
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_version_saved_is_read_and_an_unknown_kind_is_left_alone() {
    let world = World::new().await;
    let old = Jobs::new(world.test.db.clone(), world.env.clone(), World::config("old"));
    let (handle, env) = (old.clone(), world.env.clone());
    let enqueue =
        move |tx: &mut Tx<'_>| handle.enqueue_in_tx::<Old>(tx, WorkflowId::from_uuid(env.uuid()), "s", &7, env.now());
    world.test.db.write("enqueue", enqueue).await.unwrap();

    let ignorant = world.started(World::config("ignorant")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ignorant.backlog().await.unwrap().get("ready"), Some(&1));
    kill(&ignorant);

    let new = Jobs::new(world.test.db.clone(), world.env.clone(), World::config("new"));
    new.register(Arc::new(New));
    new.start().await.unwrap();
    until_idle(&world.test.db).await;
    assert_eq!(world.ledger("s").await, ["seven"]);
    kill(&new);
}

struct Old;
struct New;
struct Tell;

#[async_trait]
impl Workflow for Old {
    type State = i64;
    const KIND: &'static str = "grown";
    const VERSION: u32 = 1;

    fn steps(&self) -> &'static [&'static dyn Step<Self>] {
        &[]
    }

    async fn after_undo(&self, _: &StepCx, _: &mut i64, _: &Failure) -> Result<AfterUndo> {
        Ok(AfterUndo::give_up())
    }
}

#[async_trait]
impl Workflow for New {
    type State = String;
    const KIND: &'static str = "grown";
    const VERSION: u32 = 2;

    fn steps(&self) -> &'static [&'static dyn Step<Self>] {
        &[&Tell]
    }

    async fn after_undo(&self, _: &StepCx, _: &mut String, _: &Failure) -> Result<AfterUndo> {
        Ok(AfterUndo::give_up())
    }

    fn migrate(&self, version: u32, json: Value) -> Result<String> {
        match (version, json.as_i64()) {
            (1, Some(7)) => Ok("seven".to_owned()),
            other => Err(Error::internal(format!("{other:?}"))),
        }
    }
}

#[async_trait]
impl Step<New> for Tell {
    fn name(&self) -> &'static str {
        "tell"
    }

    async fn run(&self, _: &New, cx: &StepCx, state: &mut String) -> Result<Outcome> {
        let (subject, what) = (cx.subject.to_string(), state.clone());
        Ok(Outcome::done_with(move |tx| note(tx, &subject, &what)))
    }
}
