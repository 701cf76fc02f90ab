//! What must become true in the end.

use crate::snapshot::{Change, Snapshot};
use crate::store::providers::{self, Which};
use async_trait::async_trait;
use ferrostack_db::Db;
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Memory follows the database: finds providers whose revision differs and reads them again. On a single control node
/// it never finds any; with several, it brings in what the others wrote.
pub struct Refresh {
    snapshot: Arc<Snapshot>,
}

impl Refresh {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Refresh {
        Refresh { snapshot }
    }
}

#[async_trait]
impl Loop for Refresh {
    fn name(&self) -> &'static str {
        "placement.refresh"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn everywhere(&self) -> bool {
        true
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let read_again = refresh(&cx.db, &self.snapshot).await?;
        Ok(json!({"read_again": read_again}))
    }
}

/// Brings memory up to date; how many providers differed.
pub(crate) async fn refresh(db: &Db, snapshot: &Arc<Snapshot>) -> Result<usize> {
    // Memory first: a write that commits in between makes a provider look newer in the database, never older.
    let held = snapshot.revisions();
    let changes = db
        .read("placement_refresh", move |tx| {
            let there = providers::revision_list(tx)?;
            let differ: Vec<_> =
                there.iter().filter(|(id, revision)| held.get(id) != Some(revision)).map(|(id, _)| *id).collect();
            let gone = held.keys().filter(|id| !there.contains_key(id)).map(|id| Change::Gone(*id));
            let mut changes: Vec<Change> = gone.collect();
            let all = differ.len() == there.len();
            let which = Which { ids: (!all).then_some(differ), ..Which::default() };
            if !all || !there.is_empty() {
                changes.extend(providers::provider_list(tx, &which)?.into_iter().map(Change::Is));
            }
            Ok(changes)
        })
        .await?;
    let count = changes.len();
    snapshot.apply(changes);
    Ok(count)
}
