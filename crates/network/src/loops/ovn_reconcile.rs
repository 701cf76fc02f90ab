//! `network.ovn_reconcile`: brings all of the engine to what SQL says, whatever happened to it.

use super::objects::{Wanted, objects};
use crate::{NetworkConfig, Wiring};
use async_trait::async_trait;
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct OvnReconcile {
    pub(crate) wiring: Arc<dyn Wiring>,
    pub(crate) config: Arc<NetworkConfig>,
}

#[async_trait]
impl Loop for OvnReconcile {
    fn name(&self) -> &'static str {
        "network.ovn_reconcile"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        // Before the rows: what comes into the engine after this is not in the rows and must not be deleted.
        let seen = self.wiring.revisions();
        let config = Arc::clone(&self.config);
        let all = cx.db.read("ovn_reconcile", move |tx| objects(tx, &config, &Wanted::All)).await?;
        let report = self.wiring.reconcile(&all, &seen).await?;
        let skipped: Vec<String> = report.skipped.iter().map(ToString::to_string).collect();
        Ok(json!({
            "objects": report.objects, "put": report.put, "deleted": report.deleted,
            "operations": report.operations, "skipped": skipped,
        }))
    }
}
