//! `compute.delete_server`: nothing is left of a server.
//!
//! The guest goes first, and its node has to say so, for as long as it takes; only then are its addresses and its room
//! given to others. If the node is down, the API shows the server as deleted at once, while the workflow waits.

use super::build_server::{guest_is_gone, node_is_up};
use super::{FOR_EVER, going_down};
use crate::Compute;
use crate::model::{Fault, TaskState, VmState};
use crate::servers::remove::server_gone_in_tx;
use crate::store::{actions, guests, servers};
use async_trait::async_trait;
use ferrostack_jobs::{AfterUndo, Failure, Outcome, Retry, Step, StepCx, Workflow};
use ferrostack_types::Result;
use ferrostack_types::ids::ServerId;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long a wait lasts when no report ends it.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Deletes a server.
pub(crate) struct DeleteServer {
    pub(crate) compute: Weak<Compute>,
}

/// What a deletion knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeleteState {
    pub(crate) server: ServerId,
}

impl DeleteServer {
    fn compute(&self) -> Result<Arc<Compute>> {
        self.compute.upgrade().ok_or_else(going_down)
    }
}

#[async_trait]
impl Workflow for DeleteServer {
    type State = DeleteState;
    const KIND: &'static str = "compute.delete_server";
    const VERSION: u32 = 1;

    fn steps(&self) -> &'static [&'static dyn Step<DeleteServer>] {
        &[&GuestGone, &Release]
    }

    /// Only a defect leads here (every error is retried). The server shows it, and can be deleted again.
    async fn after_undo(&self, cx: &StepCx, state: &mut DeleteState, error: &Failure) -> Result<AfterUndo> {
        let (id, now) = (state.server, cx.now());
        let (message, details) = (error.public.clone(), error.internal.clone());
        Ok(AfterUndo::give_up_with(move |tx| {
            let Some(server) = servers::server_fetch_in_tx(tx, id)? else { return Ok(()) };
            servers::server_set_state_in_tx(tx, id, VmState::Error, None::<TaskState>, server.power_state, now)?;
            let fault = Fault { code: 500, message: message.clone(), details: details.clone(), created: now };
            servers::server_set_fault_in_tx(tx, id, Some(&fault))?;
            actions::actions_finish_in_tx(tx, id, server.host.as_deref(), Some((&message, &details)), now)
        }))
    }
}

/// Waits until the node has nothing of the guest any more.
struct GuestGone;

#[async_trait]
impl Step<DeleteServer> for GuestGone {
    fn name(&self) -> &'static str {
        "guest_gone"
    }

    fn retry(&self) -> Retry {
        FOR_EVER
    }

    async fn run(&self, flow: &DeleteServer, cx: &StepCx, state: &mut DeleteState) -> Result<Outcome> {
        let compute = flow.compute()?;
        let id = state.server;
        if guest_is_gone(&compute, id).await.map_err(|e| e.with_retryable(true))? {
            return Ok(Outcome::Done);
        }
        hide_if_down(&compute, id).await.map_err(|e| e.with_retryable(true))?;
        Ok(Outcome::WaitUntil(cx.now() + LOOK_AGAIN))
    }
}

async fn hide_if_down(compute: &Compute, id: ServerId) -> Result<()> {
    let guest = compute.db.read("guest_fetch", move |tx| guests::guest_fetch_in_tx(tx, id)).await?;
    let Some(guest) = guest else { return Ok(()) };
    if node_is_up(compute, guest.node).await? {
        return Ok(());
    }
    let now = compute.env.now();
    compute.db.write("server_gone", move |tx| server_gone_in_tx(tx, id, now)).await
}

/// Gives ports and room back; the server is gone.
struct Release;

#[async_trait]
impl Step<DeleteServer> for Release {
    fn name(&self) -> &'static str {
        "release"
    }

    fn retry(&self) -> Retry {
        FOR_EVER
    }

    async fn run(&self, flow: &DeleteServer, cx: &StepCx, state: &mut DeleteState) -> Result<Outcome> {
        let compute = flow.compute()?;
        let (id, now) = (state.server, cx.now());
        compute.ports.release(id).await.map_err(|e| e.with_retryable(true))?;
        compute.placement.release(id).await.map_err(|e| e.with_retryable(true))?;
        Ok(Outcome::done_with(move |tx| server_gone_in_tx(tx, id, now)))
    }
}
