//! `compute.converge`: whoever has not answered is asked again.
//!
//! A node that is away stays pending for as long as it is away; it is asked at every run, which costs one failed
//! request per node.

use crate::Compute;
use crate::store::guests;
use async_trait::async_trait;
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_types::Result;
use ferrostack_types::ids::{NodeId, ServerId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

pub(crate) struct Converge(pub(crate) Weak<Compute>, pub(crate) Duration);

#[async_trait]
impl Loop for Converge {
    fn name(&self) -> &'static str {
        "compute.converge"
    }

    fn period(&self) -> Duration {
        self.1 / 2
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let Some(compute) = self.0.upgrade() else { return Ok(Value::Null) };
        let now = cx.env.now();
        let before = now - self.1;
        let silent = cx.db.read("guests_silent", move |tx| guests::guests_silent_in_tx(tx, before)).await?;
        if silent.is_empty() {
            return Ok(json!({"asked": 0}));
        }
        let ids: Vec<ServerId> = silent.iter().map(|(_, server)| *server).collect();
        let asked = ids.len();
        cx.db.write("guests_asked", move |tx| guests::guests_asked_in_tx(tx, &ids, now)).await?;
        let mut by_node: BTreeMap<NodeId, Vec<ServerId>> = BTreeMap::new();
        for (node, server) in silent {
            by_node.entry(node).or_default().push(server);
        }
        let nodes = by_node.len();
        for (node, servers) in by_node {
            compute.messenger.tell(node, servers);
        }
        Ok(json!({"asked": asked, "nodes": nodes}))
    }
}
