//! Deleting servers.

use crate::Compute;
use crate::model::{Server, TaskState};
use crate::store::actions::{self, NewAction};
use crate::store::{guests, quotas, servers};
use crate::workflows::{BuildServer, DeleteServer, DeleteState};
use ferrostack_contracts::node::Want;
use ferrostack_db::Tx;
use ferrostack_jobs::Workflow;
use ferrostack_types::ids::{ServerId, WorkflowId};
use ferrostack_types::{Result, Timestamp};

impl Compute {
    /// Begins to delete a server, in the caller's transaction. Nothing if that is going on already.
    pub(crate) fn server_delete_in_tx(
        &self,
        tx: &mut Tx<'_>,
        server: &Server,
        action: Option<&NewAction>,
        workflow: WorkflowId,
        now: Timestamp,
    ) -> Result<()> {
        let subject = Compute::subject(server.id);
        let active = self.jobs.active_in_tx(tx, &subject)?;
        if active.iter().any(|a| a.kind == DeleteServer::KIND) {
            return Ok(());
        }
        if let Some(action) = action {
            actions::action_insert_in_tx(tx, action, server.id, now)?;
        }
        let (vm, power) = (server.vm_state, server.power_state);
        servers::server_set_state_in_tx(tx, server.id, vm, Some(TaskState::Deleting), power, now)?;
        if active.is_empty() {
            self.guest_dismiss_in_tx(tx, server.id, now)?;
        } else {
            // The build takes back what it has done, then it is our turn.
            self.jobs.interrupt_in_tx(tx, &subject, Some(BuildServer::KIND), now)?;
        }
        let state = DeleteState { server: server.id };
        self.jobs.enqueue_in_tx::<DeleteServer>(tx, workflow, &subject, &state, now)
    }

    /// Wants the server's guest gone, if there is one. True if it has yet to go.
    pub(crate) fn guest_dismiss_in_tx(&self, tx: &mut Tx<'_>, server: ServerId, now: Timestamp) -> Result<bool> {
        let Some(guest) = guests::guest_fetch_in_tx(tx, server)? else { return Ok(false) };
        if guest.want != Want::Absent {
            guests::guest_want_in_tx(tx, server, Want::Absent, now)?;
            self.messenger.tell_in_tx(tx, guest.node, server);
            return Ok(true);
        }
        Ok(!guest.is_gone())
    }
}

/// The server is gone for the API: its quota is given back, once.
pub(crate) fn server_gone_in_tx(tx: &mut Tx<'_>, id: ServerId, now: Timestamp) -> Result<()> {
    let Some(server) = servers::server_fetch_in_tx(tx, id)? else { return Ok(()) };
    if servers::server_mark_deleted_in_tx(tx, id, now)? {
        let back = |n: u64| -i64::try_from(n).unwrap_or(i64::MAX);
        let less =
            quotas::Usage { instances: -1, cores: back(server.flavor.vcpus), ram: back(server.flavor.memory_mb) };
        quotas::usage_add_in_tx(tx, &server.project, less)?;
        actions::actions_finish_in_tx(tx, id, server.host.as_deref(), None, now)?;
    }
    Ok(())
}
