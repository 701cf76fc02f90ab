//! Every point of every path, killed and repeated.

use crate::toy::{Toy, ToyState, World};
use async_trait::async_trait;
use ferrostack_db::{Db, Tx, params};
use ferrostack_jobs::testing::{Scenario, crash_everywhere, repeat_everywhere};
use ferrostack_jobs::{Jobs, JobsConfig, Workflow};
use ferrostack_types::ids::WorkflowId;
use std::time::Duration;

/// One subject that gets through after waiting, one with passing errors, one that fails and tries again, and one that
/// is interrupted and has a successor.
struct AllPaths;

#[async_trait]
impl Scenario for AllPaths {
    type World = World;

    async fn world(&self) -> World {
        let world = World::new().await;
        world.outside.errors.lock().insert("make/flaky".into(), 2);
        world.outside.errors.lock().insert("unmake/doomed".into(), 1);
        world
    }

    fn db<'a>(&self, world: &'a World) -> &'a Db {
        &world.test.db
    }

    async fn process(&self, world: &World, config: JobsConfig) -> Jobs {
        world.jobs(config)
    }

    async fn begin(&self, world: &World, jobs: &Jobs) {
        world.enqueue(jobs, "waiting", ToyState { signals: 1, ..ToyState::default() }).await;
        world.enqueue(jobs, "flaky", ToyState::default()).await;
        let doomed = ToyState { doomed: true, again: 1, slow_undo: true, ..ToyState::default() };
        world.enqueue(jobs, "doomed", doomed).await;
        // A million signals never come.
        world.enqueue(jobs, "unwanted", ToyState { signals: 1_000_000, ..ToyState::default() }).await;
    }

    async fn drive(&self, world: &World, jobs: &Jobs) {
        loop {
            world.signal(jobs, "waiting").await;
            if world.outside.log.lock().iter().any(|line| line == "end unwanted") {
                world.replace(jobs, "unwanted").await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn check(&self, world: &World, how: &str) {
        for subject in ["waiting", "flaky"] {
            assert_eq!(world.ledger(subject).await, ["publish", "reserve"], "{subject}, {how}");
            assert!(world.made(subject), "{subject}, {how}");
        }
        assert_eq!(world.ledger("doomed").await, ["again", "error: doomed"], "{how}");
        assert!(!world.made("doomed"), "{how}");
        let unwanted = world.ledger("unwanted").await;
        let error = "error: The operation was interrupted by a later request.";
        assert_eq!(unwanted, [error, "publish", "reserve"], "{how}");
        assert!(world.made("unwanted"), "by the successor, {how}");
    }
}

impl World {
    /// What a request to delete does while something is being built: the one turns back, the other comes after it.
    async fn replace(&self, jobs: &Jobs, subject: &'static str) {
        let (jobs, now, id) = (jobs.clone(), self.env.now(), WorkflowId::from_uuid(self.env.uuid()));
        let successor = ToyState { label: " successor".into(), ..ToyState::default() };
        let work = move |tx: &mut Tx<'_>| {
            // A row says that it was done: the successor itself must not be asked to end.
            let done = tx.exists("SELECT 1 FROM toy_signals WHERE subject = ?", params![subject])?;
            if !done {
                let asked = jobs.interrupt_in_tx(tx, subject, Some(Toy::KIND), now)?;
                assert_eq!(asked, 1);
                assert!(jobs.active_in_tx(tx, subject)?[0].undoing);
                tx.execute("INSERT INTO toy_signals (subject, count) VALUES (?, 0)", params![subject])?;
                jobs.enqueue_in_tx::<Toy>(tx, id, subject, &successor, now)?;
            }
            Ok(())
        };
        self.test.db.write("replace", work).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_the_next_process_finishes_the_work() {
    let points = crash_everywhere(&AllPaths).await;
    // 5 workflows of 4 steps with 3 points each, and the ways back.
    assert!(points > 70, "{points}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_may_be_executed_twice() {
    repeat_everywhere(&AllPaths).await;
}
