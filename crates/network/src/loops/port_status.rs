//! `network.port_status`: a port is ACTIVE when the engine says that a host has wired it up.
//!
//! The engine's news name ports; what is written is what the engine says *now*, so their order does not matter. After a
//! reconnection, and once a period, every port that could be up is compared. The workflow of the port's server is woken
//! in the same transaction.

use crate::{Network, Wiring};
use async_trait::async_trait;
use ferrostack_db::{Tx, params};
use ferrostack_jobs::{Jobs, Loop, LoopCx, LoopHint};
use ferrostack_ovn::northbound::Change;
use ferrostack_types::ids::{PortId, ServerId};
use ferrostack_types::{Result, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// How many ports change in one transaction.
const BATCH: usize = 200;

/// Which ports there is news of; `None`: of all.
type News = Option<BTreeSet<PortId>>;

struct PortStatus {
    wiring: Arc<dyn Wiring>,
    jobs: Jobs,
    news: Arc<Mutex<News>>,
    /// When every port was compared for the last time.
    compared: Mutex<Option<tokio::time::Instant>>,
}

/// Everything is compared this often, whatever the news are.
const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// Adds the loop and the task that listens for it.
pub(crate) fn add(service: &Arc<Network>) {
    let news = Arc::new(Mutex::new(None));
    let hint = service.jobs.add_loop(Arc::new(PortStatus {
        wiring: Arc::clone(&service.wiring),
        jobs: service.jobs.clone(),
        news: Arc::clone(&news),
        compared: Mutex::new(None),
    }));
    if let Some(changes) = service.wiring.changes() {
        service.env.spawn("network.port_news", listen(changes, news, hint));
    }
}

async fn listen(mut changes: broadcast::Receiver<Change>, news: Arc<Mutex<News>>, hint: LoopHint) {
    loop {
        match changes.recv().await {
            Ok(Change::PortUp { id, .. }) => {
                if let Some(ports) = news.lock().as_mut() {
                    ports.insert(id);
                }
            }
            Ok(Change::Resync) | Err(broadcast::error::RecvError::Lagged(_)) => *news.lock() = None,
            Err(broadcast::error::RecvError::Closed) => return,
        }
        hint.hint();
    }
}

/// A port whose status may be another one now.
#[derive(Debug, Clone)]
struct Candidate {
    id: PortId,
    active: bool,
}

#[async_trait]
impl Loop for PortStatus {
    fn name(&self) -> &'static str {
        "network.port_status"
    }

    fn period(&self) -> Duration {
        COMPARE_EVERY
    }

    /// Every process hears the engine's news itself. Two that write the same change write it once.
    fn everywhere(&self) -> bool {
        true
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let news = self.news.lock().replace(BTreeSet::new());
        let result = self.update(cx, &news).await;
        if result.is_err() {
            // What was heard must not be lost with this run.
            *self.news.lock() = None;
        }
        result
    }
}

impl PortStatus {
    async fn update(&self, cx: &LoopCx, news: &News) -> Result<Value> {
        let now = cx.env.instant();
        let due = self.compared.lock().is_none_or(|at| now.duration_since(at) >= COMPARE_EVERY);
        let only: Option<Vec<PortId>> = news.as_ref().filter(|_| !due).map(|n| n.iter().copied().collect());
        let everything = only.is_none();
        let candidates = cx.db.read("port_status", move |tx| read_candidates(tx, only.as_deref())).await?;
        let looked_at = candidates.len();
        let changed: Vec<(PortId, bool)> = candidates
            .into_iter()
            .map(|c| (c.id, c.active, self.wiring.port_up(c.id)))
            .filter(|(_, active, up)| active != up)
            .map(|(id, _, up)| (id, up))
            .collect();
        for batch in changed.chunks(BATCH) {
            let (batch, jobs, now) = (batch.to_vec(), self.jobs.clone(), cx.env.now());
            cx.db.write("port_status", move |tx| write_status(tx, &jobs, &batch, now)).await?;
        }
        if everything {
            *self.compared.lock() = Some(now);
        }
        Ok(json!({"looked_at": looked_at, "changed": changed.len()}))
    }
}

fn read_candidates(tx: &mut Tx<'_>, only: Option<&[PortId]>) -> Result<Vec<Candidate>> {
    let select = "SELECT id, status FROM network_ports";
    let read =
        |row: &ferrostack_db::Row<'_>| Ok(Candidate { id: row.get(0)?, active: row.get::<String>(1)? == "ACTIVE" });
    match only {
        Some(ids) => crate::store::fetch_in(tx, select, "role = '' AND id", "", ids, read),
        None => tx.query(&format!("{select} WHERE role = '' AND (host <> '' OR status = 'ACTIVE')"), params![], read),
    }
}

fn write_status(tx: &mut Tx<'_>, jobs: &Jobs, batch: &[(PortId, bool)], now: Timestamp) -> Result<()> {
    let mut servers: BTreeSet<ServerId> = BTreeSet::new();
    for (id, up) in batch {
        let status = if *up { "ACTIVE" } else { "DOWN" };
        let changed = tx.execute(
            "UPDATE network_ports SET status = ?, revision = revision + 1, updated_at = ? WHERE id = ? AND status <> ?",
            params![status, now, id, status],
        )?;
        if changed == 0 {
            continue;
        }
        let server: Option<Option<ServerId>> =
            tx.query_opt("SELECT server_id FROM network_ports WHERE id = ?", params![id], |row| row.get(0))?;
        servers.extend(server.flatten());
    }
    for server in servers {
        jobs.wake_in_tx(tx, &format!("server:{server}"), now)?;
    }
    Ok(())
}
