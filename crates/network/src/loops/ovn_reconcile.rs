//! `network.ovn_reconcile`: brings all of the engine to what SQL says, whatever happened to it.

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
        let report = super::reconcile_now(&cx.db, self.wiring.as_ref(), Arc::clone(&self.config)).await?;
        let skipped: Vec<String> = report.skipped.iter().map(ToString::to_string).collect();
        Ok(json!({
            "objects": report.objects, "put": report.put, "deleted": report.deleted,
            "operations": report.operations, "skipped": skipped,
        }))
    }
}
