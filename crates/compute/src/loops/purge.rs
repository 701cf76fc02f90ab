//! `compute.purge`: deleted servers are forgotten after a while, and so are console tokens that nobody came for.

use crate::Compute;
use crate::store::{consoles, servers};
use async_trait::async_trait;
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::Weak;
use std::time::Duration;

pub(crate) struct Purge(pub(crate) Weak<Compute>);

#[async_trait]
impl Loop for Purge {
    fn name(&self) -> &'static str {
        "compute.purge"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let Some(compute) = self.0.upgrade() else { return Ok(Value::Null) };
        let now = cx.env.now();
        let before = now - compute.config.keep_deleted;
        let consoles = cx.db.write("consoles_purge", move |tx| consoles::consoles_purge_in_tx(tx, now)).await?;
        let mut servers = 0;
        loop {
            let purged = cx.db.write("servers_purge", move |tx| servers::servers_purge_in_tx(tx, before)).await?;
            servers += purged;
            if purged == 0 {
                return Ok(json!({"servers": servers, "consoles": consoles}));
            }
        }
    }
}
