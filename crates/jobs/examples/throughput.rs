//! How many steps a second the executor records, on a durable database in the current directory's file system.
//! `cargo run --release -p ferrostack-jobs --example throughput -- 2000`

use async_trait::async_trait;
use ferrostack_db::{Db, SqliteConfig, params};
use ferrostack_jobs::{AfterUndo, Failure, Jobs, JobsConfig, MIGRATIONS, Outcome, Step, StepCx, Workflow};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Env, Result};
use std::sync::Arc;

struct Five;
struct One;

#[async_trait]
impl Workflow for Five {
    type State = Vec<String>;
    const KIND: &'static str = "five";
    const VERSION: u32 = 1;

    fn steps(&self) -> &'static [&'static dyn Step<Self>] {
        &[&One, &One, &One, &One, &One]
    }

    async fn after_undo(&self, _: &StepCx, _: &mut Vec<String>, _: &Failure) -> Result<AfterUndo> {
        Ok(AfterUndo::give_up())
    }
}

#[async_trait]
impl Step<Five> for One {
    fn name(&self) -> &'static str {
        "one"
    }

    async fn run(&self, _: &Five, _: &StepCx, _: &mut Vec<String>) -> Result<Outcome> {
        Ok(Outcome::Done)
    }
}

#[tokio::main]
async fn main() {
    let count: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(2000);
    let env = Env::system();
    let dir = format!("throughput-{}", env.hex_id());
    std::fs::create_dir(&dir).expect("a directory can be made here");
    let config = SqliteConfig::new(format!("{dir}/db"));
    let db = Db::sqlite(config, &[MIGRATIONS], &env).await.expect("the database opens");
    let jobs = Jobs::new(db.clone(), env.clone(), JobsConfig::new("throughput"));
    jobs.register(Arc::new(Five));
    jobs.start().await.expect("it starts");
    let state: Vec<String> = (0..10).map(|_| env.hex_id()).collect();
    let begun = env.instant();
    for chunk in 0..count.div_ceil(50) {
        let (jobs, env, state) = (jobs.clone(), env.clone(), state.clone());
        db.write("enqueue", move |tx| {
            for n in 0..50 {
                let id = WorkflowId::from_uuid(env.uuid());
                jobs.enqueue_in_tx::<Five>(tx, id, &format!("s/{chunk}/{n}"), &state, env.now())?;
            }
            Ok(())
        })
        .await
        .expect("it is enqueued");
    }
    while db.read("left", |tx| tx.exists("SELECT 1 FROM jobs_workflows", params![])).await.expect("it is read") {
        env.sleep(std::time::Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    let steps = jobs.status().steps;
    println!(
        "{steps} steps in {took:?}: {:.0} a second; {:.1} transactions a commit",
        steps as f64 / took.as_secs_f64(),
        db.stats().mean_group()
    );
    drop(std::fs::remove_dir_all(&dir));
}
