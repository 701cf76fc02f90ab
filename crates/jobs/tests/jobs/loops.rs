//! Loops: hints, leases, reports.

use crate::toy::World;
use async_trait::async_trait;
use ferrostack_jobs::testing::kill;
use ferrostack_jobs::{Jobs, JobsConfig, Loop, LoopCx, LoopStatus};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

struct Counting {
    begun: AtomicU64,
    may_end: Semaphore,
    everywhere: bool,
    failures: AtomicU64,
}

impl Counting {
    fn new(permits: usize, everywhere: bool) -> Arc<Counting> {
        Arc::new(Counting {
            begun: AtomicU64::new(0),
            may_end: Semaphore::new(permits),
            everywhere,
            failures: AtomicU64::new(0),
        })
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    async fn until_begun(&self, count: u64) {
        for _ in 0..4000 {
            if self.begun() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("only {} of {count} runs", self.begun());
    }
}

#[async_trait]
impl Loop for Counting {
    fn name(&self) -> &'static str {
        "test.counting"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(600)
    }

    fn everywhere(&self) -> bool {
        self.everywhere
    }

    async fn run(&self, _: &LoopCx) -> Result<Value> {
        let run = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.may_end.acquire().await.unwrap().forget();
        if self.failures.load(Ordering::SeqCst) >= run {
            panic!("a loop that panics");
        }
        if run == 3 { Err(Error::unavailable("third time unlucky")) } else { Ok(json!({ "run": run })) }
    }
}

const MANY: usize = 1000;

async fn until_ended(jobs: &Jobs, runs: u64) -> LoopStatus {
    for _ in 0..4000 {
        let status = jobs.status().loops.remove(0);
        if status.runs >= runs {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("not {runs} runs: {:?}", jobs.status());
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

async fn with_loop(world: &World, owner: &str, counting: &Arc<Counting>) -> (Jobs, ferrostack_jobs::LoopHint) {
    let jobs = world.jobs(JobsConfig { lease: Duration::from_secs(2), ..World::config(owner) });
    let hint = jobs.add_loop(Arc::clone(counting) as Arc<dyn Loop>);
    jobs.start().await.unwrap();
    (jobs, hint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_during_a_run_make_one_more_run() {
    let world = World::new().await;
    let counting = Counting::new(0, false);
    let (jobs, hint) = with_loop(&world, "a", &counting).await;
    counting.until_begun(1).await;
    for _ in 0..100 {
        hint.hint();
    }
    settle().await;
    assert_eq!(counting.begun(), 1, "one run at a time");
    counting.may_end.add_permits(1);
    counting.until_begun(2).await;
    counting.may_end.add_permits(MANY);
    settle().await;
    assert_eq!(counting.begun(), 2, "a hundred hints, one run");
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_run_is_reported_and_tried_again_before_its_period() {
    let world = World::new().await;
    let counting = Counting::new(MANY, false);
    counting.failures.store(1, Ordering::SeqCst);
    let (jobs, hint) = with_loop(&world, "a", &counting).await;
    let status = until_ended(&jobs, 1).await;
    assert_eq!((status.runs, status.failures, status.failing, status.held), (1, 1, 1, true));
    assert_eq!(status.error.as_deref().map(|e| e.starts_with("it panicked")), Some(true));
    let status = until_ended(&jobs, 2).await;
    assert_eq!((status.failing, status.last.clone()), (0, json!({ "run": 2 })));
    hint.hint();
    counting.until_begun(4).await;
    assert_eq!(jobs.status().loops.remove(0).failures, 2);
    kill(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_runs_it_and_hears_the_hints_of_the_others() {
    let world = World::new().await;
    let (here, there) = (Counting::new(MANY, false), Counting::new(MANY, false));
    let (first, _) = with_loop(&world, "first", &here).await;
    here.until_begun(1).await;
    let (second, hint) = with_loop(&world, "second", &there).await;
    settle().await;
    assert_eq!((here.begun(), there.begun()), (1, 0));
    hint.hint();
    here.until_begun(2).await;
    // Longer than a lease: it is kept. (The third run failed and is tried again; only `there` matters.)
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(there.begun(), 0);
    kill(&first);
    there.until_begun(1).await;
    kill(&second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everywhere_means_everywhere() {
    let world = World::new().await;
    let (here, there) = (Counting::new(MANY, true), Counting::new(MANY, true));
    let (first, _) = with_loop(&world, "first", &here).await;
    let (second, _) = with_loop(&world, "second", &there).await;
    here.until_begun(1).await;
    there.until_begun(1).await;
    kill(&first);
    kill(&second);
}
