//! Start, stop, reboot, pause, unpause.
//!
//! No workflow: one transaction changes what is wanted of the guest and sets `task_state`; the node's report clears it
//! (see [`super::observe`]). After a crash at any point either nothing has happened or the row says what is wanted.

use crate::Compute;
use crate::model::{Server, TaskState, VmState};
use crate::store::actions::{self, NewAction};
use crate::store::{guests, servers};
use ferrostack_contracts::node::Want;
use ferrostack_db::Tx;
use ferrostack_types::{Error, Result, Timestamp};

/// What to do with a server's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PowerAction {
    Start,
    Stop,
    RebootSoft,
    RebootHard,
    Pause,
    Unpause,
}

impl PowerAction {
    /// Nova's name of the operation in error texts.
    fn verb(self) -> &'static str {
        match self {
            PowerAction::Start => "start",
            PowerAction::Stop => "stop",
            PowerAction::RebootSoft | PowerAction::RebootHard => "reboot",
            PowerAction::Pause => "pause",
            PowerAction::Unpause => "unpause",
        }
    }

    /// The name of the action and of its event in a server's history.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            PowerAction::Start => ("start", "compute_start_instance"),
            PowerAction::Stop => ("stop", "compute_stop_instance"),
            PowerAction::RebootSoft | PowerAction::RebootHard => ("reboot", "compute_reboot_instance"),
            PowerAction::Pause => ("pause", "compute_pause_instance"),
            PowerAction::Unpause => ("unpause", "compute_unpause_instance"),
        }
    }

    /// In which states it is allowed, what is going on then.
    fn rules(self) -> (&'static [VmState], TaskState) {
        use VmState as V;
        match self {
            PowerAction::Start => (&[V::Stopped], TaskState::PoweringOn),
            PowerAction::Stop => (&[V::Active, V::Error], TaskState::PoweringOff),
            PowerAction::RebootSoft => (&[V::Active], TaskState::Rebooting),
            PowerAction::RebootHard => (&[V::Active, V::Stopped, V::Paused, V::Error], TaskState::RebootingHard),
            PowerAction::Pause => (&[V::Active], TaskState::Pausing),
            PowerAction::Unpause => (&[V::Paused], TaskState::Unpausing),
        }
    }
}

/// 409 as Nova words it.
pub(crate) fn bad_state(verb: &str, server: &Server) -> Error {
    let (attribute, state) = match server.task_state {
        Some(task) => ("task_state", task.as_str()),
        None => ("vm_state", server.vm_state.as_str()),
    };
    let id = server.id;
    Error::conflict(format!("Cannot '{verb}' instance {id} while it is in {attribute} {state}"))
}

impl Compute {
    /// Begins a power action in the caller's transaction.
    pub(crate) fn server_power_in_tx(
        &self,
        tx: &mut Tx<'_>,
        server: &Server,
        action: PowerAction,
        record: &NewAction,
        now: Timestamp,
    ) -> Result<()> {
        let (allowed, task) = action.rules();
        // A hard reboot is the way out of a soft one that hangs.
        let busy = match server.task_state {
            None => false,
            Some(TaskState::Rebooting | TaskState::RebootingHard) => action != PowerAction::RebootHard,
            Some(_) => true,
        };
        if busy {
            return Err(bad_state(action.verb(), server));
        }
        if !allowed.contains(&server.vm_state) {
            let id = server.id;
            let state = server.vm_state.as_str();
            return Err(Error::conflict(format!(
                "Cannot '{}' instance {id} while it is in vm_state {state}",
                action.verb()
            )));
        }
        let guest = guests::guest_fetch_in_tx(tx, server.id)?.filter(|guest| guest.want != Want::Absent);
        // A server in ERROR may never have had a guest.
        let guest = guest.ok_or_else(|| bad_state(action.verb(), server))?;
        actions::action_insert_in_tx(tx, record, server.id, now)?;
        servers::server_set_state_in_tx(tx, server.id, server.vm_state, Some(task), server.power_state, now)?;
        match action {
            // A start raises the boot number, too: a report of before the start must not pass for one of after it.
            PowerAction::Start | PowerAction::RebootHard => guests::guest_reboot_in_tx(tx, server.id, false, now)?,
            PowerAction::RebootSoft => guests::guest_reboot_in_tx(tx, server.id, true, now)?,
            PowerAction::Stop => guests::guest_want_in_tx(tx, server.id, Want::Stopped, now)?,
            PowerAction::Pause => guests::guest_want_in_tx(tx, server.id, Want::Paused, now)?,
            PowerAction::Unpause => guests::guest_want_in_tx(tx, server.id, Want::Running, now)?,
        }
        self.messenger.tell_in_tx(tx, guest.node, server.id);
        Ok(())
    }
}
