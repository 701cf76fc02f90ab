//! `compute.orphans`: allocations and ports whose server is no more.
//!
//! Read in this order: first what is held, then who may hold it. A claim is made by a workflow that exists before it, so
//! whatever is seen as held has its server's row or its workflow in the second reading, unless it is really nobody's. It
//! is taken away only when it has been seen so for a while.

use crate::Compute;
use crate::audit::{Holders, holders};
use async_trait::async_trait;
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_types::ids::ServerId;
use ferrostack_types::{Result, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

/// Whose, and whether a port or an allocation.
type Suspect = (ServerId, &'static str);

pub(crate) struct Orphans {
    compute: Weak<Compute>,
    /// Since when each suspect has been seen at every run.
    since: Mutex<BTreeMap<Suspect, Timestamp>>,
}

impl Orphans {
    pub(crate) fn new(compute: Weak<Compute>) -> Orphans {
        Orphans { compute, since: Mutex::default() }
    }

    /// Those that have been suspects for long enough.
    fn ripe(&self, suspects: &BTreeSet<Suspect>, now: Timestamp, grace: Duration) -> Vec<Suspect> {
        let mut since = self.since.lock();
        since.retain(|suspect, _| suspects.contains(suspect));
        for suspect in suspects {
            since.entry(*suspect).or_insert(now);
        }
        since.iter().filter(|(_, first)| now.since(**first) >= grace).map(|(suspect, _)| *suspect).collect()
    }
}

#[async_trait]
impl Loop for Orphans {
    fn name(&self) -> &'static str {
        "compute.orphans"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let Some(compute) = self.compute.upgrade() else { return Ok(Value::Null) };
        let Holders { allocations, ports, owners } = holders(&compute).await?;
        let mut suspects: BTreeSet<Suspect> = BTreeSet::new();
        for (server, ..) in &allocations {
            if !owners.contains(server) {
                suspects.insert((*server, "allocation"));
            }
        }
        for (_, server) in &ports {
            if !owners.contains(server) {
                suspects.insert((*server, "ports"));
            }
        }
        let ripe = self.ripe(&suspects, cx.env.now(), compute.config.orphan_grace);
        for (server, what) in &ripe {
            tracing::warn!(%server, what, "nobody's, given back");
            match *what {
                "ports" => compute.ports.release(*server).await?,
                _ => compute.placement.release(*server).await?,
            }
        }
        Ok(json!({"suspects": suspects.len(), "released": ripe.len()}))
    }
}
