//! `compute.stuck_servers`: every state that is not final has live work behind it.
//!
//! That is so by construction; this loop is for what construction did not think of. A server in BUILD without a
//! workflow goes to ERROR, one that is being deleted without a workflow gets a new one, and one whose guest has answered
//! what is wanted is made what it is.

use crate::Compute;
use crate::model::{Server, TaskState, VmState};
use crate::servers::observe::{change, settle_in_tx};
use crate::store::{guests, servers};
use crate::workflows::fail_in_tx;
use async_trait::async_trait;
use ferrostack_contracts::node::ObservedGuest;
use ferrostack_db::Tx;
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_types::ids::WorkflowId;
use ferrostack_types::{Result, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub(crate) struct StuckServers(pub(crate) Weak<Compute>);

#[async_trait]
impl Loop for StuckServers {
    fn name(&self) -> &'static str {
        "compute.stuck_servers"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let Some(compute) = self.0.upgrade() else { return Ok(Value::Null) };
        let now = cx.env.now();
        let before = now - compute.config.orphan_grace;
        let busy = cx.db.read("servers_busy", move |tx| servers::servers_busy_in_tx(tx, before)).await?;
        let (looked_at, mut repaired) = (busy.len(), 0_usize);
        for server in busy {
            let workflow = WorkflowId::from_uuid(cx.env.uuid());
            let service = Arc::clone(&compute);
            let repair = move |tx: &mut Tx<'_>| repair_in_tx(tx, &service, &server, workflow, now);
            repaired += usize::from(cx.db.write("server_unstick", repair).await?);
        }
        Ok(json!({"busy": looked_at, "repaired": repaired}))
    }
}

fn repair_in_tx(
    tx: &mut Tx<'_>,
    compute: &Compute,
    stale: &Server,
    workflow: WorkflowId,
    now: Timestamp,
) -> Result<bool> {
    let Some(server) = servers::server_fetch_in_tx(tx, stale.id)? else { return Ok(false) };
    let busy = server.task_state.is_some() || server.vm_state == VmState::Building;
    if !busy || !compute.jobs.active_in_tx(tx, &Compute::subject(server.id))?.is_empty() {
        return Ok(false);
    }
    if server.task_state == Some(TaskState::Deleting) {
        compute.server_delete_in_tx(tx, &server, None, workflow, now)?;
        return Ok(true);
    }
    if server.vm_state == VmState::Building {
        compute.guest_dismiss_in_tx(tx, server.id, now)?;
        fail_in_tx(tx, server.id, "The server could not be built.", "no workflow was working on it", now)?;
        return Ok(true);
    }
    let Some(guest) = guests::guest_fetch_in_tx(tx, server.id)? else { return Ok(false) };
    let seen = ObservedGuest {
        server: server.id,
        generation: guest.seen.generation,
        settled: guest.seen.settled,
        state: guest.seen.state,
        boot: guest.seen.boot,
        sequence: u64::try_from(guest.seen.sequence).unwrap_or(0),
        error: guest.seen.error.clone(),
    };
    // Still pending: the loop `converge` is the live work.
    let Some(change) = change(&server, &guest, &seen).filter(|_| guest.is_answered()) else { return Ok(false) };
    settle_in_tx(tx, &server, &change, now)?;
    if let Some(want) = change.want {
        guests::guest_want_in_tx(tx, server.id, want, now)?;
        compute.messenger.tell_in_tx(tx, guest.node, server.id);
    }
    Ok(true)
}
