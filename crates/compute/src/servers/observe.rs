//! What a node's observation means for a server.
//!
//! Level-triggered: [`change`] compares what is wanted with what is there and says what the server is now, whatever
//! happened in between. While a workflow is at work (BUILD, deleting) it is only woken: it decides.
//!
//! A guest that ends without being asked (its owner shut it down from inside, or its process died) is left off: the
//! wanted state follows it to `stopped`, as in Nova. It is told from a guest that has not been started yet by its boot
//! number: each wish to start raises it, and a stopped guest that reports it has been running for it.

use crate::Compute;
use crate::model::{Fault, Guest, Server, TaskState, VmState, power_of};
use crate::nodes::Tell;
use crate::store::{actions, guests, servers};
use ferrostack_contracts::node::{GuestState, ObservedGuest, Want};
use ferrostack_db::Tx;
use ferrostack_jobs::Jobs;
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Result, Timestamp};
use std::collections::BTreeSet;

/// What becomes of a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) vm: VmState,
    pub(crate) power: i64,
    /// Why the wish could not be had: public and internal text.
    pub(crate) error: Option<(String, String)>,
    /// The wanted state follows the guest.
    pub(crate) want: Option<Want>,
}

/// Whether an observation leaves nothing more to come for what is wanted now.
fn is_final(guest: &Guest, seen: &ObservedGuest) -> bool {
    seen.generation >= guest.generation
        && seen.settled
        && (guest.want != Want::Absent || seen.state == GuestState::Absent)
}

/// The guest ran for what is wanted now and has ended by itself.
pub(crate) fn ended_by_itself(guest: &Guest, state: GuestState, settled: bool, boot: u64) -> bool {
    matches!(state, GuestState::Stopped | GuestState::Crashed)
        && matches!(guest.want, Want::Running | Want::Paused)
        && !settled
        && boot >= guest.boot
}

/// What the newest observation of a guest makes of its server, which no workflow is working on. `None`: nothing yet.
pub(crate) fn change(server: &Server, guest: &Guest, seen: &ObservedGuest) -> Option<Change> {
    if guest.want == Want::Absent || seen.generation < guest.generation {
        return None;
    }
    if ended_by_itself(guest, seen.state, seen.settled, seen.boot) {
        let power = power_of(seen.state);
        return Some(Change { vm: VmState::Stopped, power, error: None, want: Some(Want::Stopped) });
    }
    if !seen.settled {
        return None;
    }
    let is = match seen.state {
        GuestState::Running => VmState::Active,
        GuestState::Paused => VmState::Paused,
        _ => VmState::Stopped,
    };
    let Some(error) = &seen.error else {
        return Some(Change { vm: is, power: power_of(seen.state), error: None, want: None });
    };
    // A server that was to run and does not is in ERROR; one that was off and did not start is still off.
    let was_off = server.task_state == Some(TaskState::PoweringOn);
    let (vm, want) = match (guest.want, is) {
        (Want::Running | Want::Paused, VmState::Stopped) if was_off => (VmState::Stopped, Some(Want::Stopped)),
        (Want::Running | Want::Paused, VmState::Stopped) => (VmState::Error, Some(Want::Stopped)),
        _ => (is, None),
    };
    let texts = (error.public.clone(), error.internal.clone());
    Some(Change { vm, power: power_of(seen.state), error: Some(texts), want })
}

/// Takes a node's observations, in one transaction. The servers that have no business on this node.
pub(crate) fn take_in_tx(
    tx: &mut Tx<'_>,
    jobs: &Jobs,
    tell: &Tell,
    node: NodeId,
    seen: &[ObservedGuest],
    now: Timestamp,
) -> Result<BTreeSet<ServerId>> {
    let ids: Vec<ServerId> = seen.iter().map(|s| s.server).collect();
    let known = guests::guests_by_id_in_tx(tx, &ids)?;
    let answers: Vec<ServerId> = seen
        .iter()
        .filter(|s| known.get(&s.server).is_some_and(|guest| s.generation >= guest.generation))
        .map(|s| s.server)
        .collect();
    let servers = servers::servers_by_id_in_tx(tx, &answers)?;
    let mut orphans = BTreeSet::new();
    for seen in seen {
        let Some(guest) = known.get(&seen.server).filter(|guest| guest.node == node) else {
            if seen.state != GuestState::Absent {
                orphans.insert(seen.server);
            }
            continue;
        };
        if guest.is_gone() && seen.state != GuestState::Absent {
            // It was gone, or taken for gone with its host, and is there nevertheless: unless this is an old report.
            if i64::try_from(seen.sequence).is_ok_and(|sequence| sequence > guest.seen.sequence) {
                orphans.insert(seen.server);
            }
            continue;
        }
        if !guests::guest_observe_in_tx(tx, node, seen, !is_final(guest, seen))? {
            continue;
        }
        if let Some(server) = servers.get(&seen.server) {
            apply_in_tx(tx, jobs, tell, server, guest, seen, now)?;
        }
    }
    Ok(orphans)
}

fn apply_in_tx(
    tx: &mut Tx<'_>,
    jobs: &Jobs,
    tell: &Tell,
    server: &Server,
    guest: &Guest,
    seen: &ObservedGuest,
    now: Timestamp,
) -> Result<()> {
    let at_work = server.vm_state == VmState::Building || server.task_state == Some(TaskState::Deleting);
    if at_work || guest.want == Want::Absent || server.deleted_at.is_some() {
        let news = seen.settled || ended_by_itself(guest, seen.state, seen.settled, seen.boot);
        return if news { jobs.wake_in_tx(tx, &Compute::subject(server.id), now) } else { Ok(()) };
    }
    let Some(change) = change(server, guest, seen) else { return Ok(()) };
    settle_in_tx(tx, server, &change, now)?;
    if let Some(want) = change.want {
        guests::guest_want_in_tx(tx, server.id, want, now)?;
        let (tell, node, id) = (tell.clone(), guest.node, server.id);
        tx.on_commit(move || tell(node, vec![id]));
    }
    Ok(())
}

/// Writes down what a server has become, if it is news.
pub(crate) fn settle_in_tx(tx: &mut Tx<'_>, server: &Server, change: &Change, now: Timestamp) -> Result<()> {
    let news = server.vm_state != change.vm || server.task_state.is_some() || server.power_state != change.power;
    if !news && change.error.is_none() {
        return Ok(());
    }
    servers::server_set_state_in_tx(tx, server.id, change.vm, None, change.power, now)?;
    let fault = change.error.as_ref().map(|(public, internal)| Fault {
        code: 500,
        message: public.clone(),
        details: internal.clone(),
        created: now,
    });
    if fault.is_some() || (server.fault.is_some() && change.vm != VmState::Error) {
        servers::server_set_fault_in_tx(tx, server.id, fault.as_ref())?;
    }
    let error = change.error.as_ref().map(|(public, internal)| (public.as_str(), internal.as_str()));
    actions::actions_finish_in_tx(tx, server.id, server.host.as_deref(), error, now)
}
