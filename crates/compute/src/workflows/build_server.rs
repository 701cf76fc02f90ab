//! `compute.build_server`: from a row in BUILD to a running guest.
//!
//! ```text
//!  claim_host ── allocation, host ──► assign ── ports, wanted guest ──► await_guest ── ACTIVE
//!      ▲                                │ undo: guest absent and confirmed, then ports
//!      └── next host ◄── undo: allocation, host
//! ```
//!
//! Undoing waits until the node has confirmed that nothing is left of the guest: an address or a host's room must not
//! be given to somebody else while the guest may still use it. If the node is down meanwhile, the server goes to ERROR
//! at once, and the rest happens when the node is back.

use super::{FOR_EVER, going_down};
use crate::Compute;
use crate::model::{Fault, Guest, Server, TaskState, VmState, power, power_of};
use crate::scheduler::{self, Choice, Cloud, GroupWish, Verdict, Wish};
use crate::servers::observe::ended_by_itself;
use crate::store::{actions, aggregates, groups, guests, keypairs, nodes, servers};
use async_trait::async_trait;
use ferrostack_contracts::network::{PlannedNic, PortInfo};
use ferrostack_contracts::node::{GuestImage, GuestMetadata, GuestSpec, GuestState, Want};
use ferrostack_contracts::placement::{Claim, Consumer};
use ferrostack_db::Tx;
use ferrostack_jobs::{AfterUndo, Failure, Outcome, Retry, Step, StepCx, Workflow};
use ferrostack_types::ids::{NodeId, ProviderId, ServerId};
use ferrostack_types::{Error, Kind, Result, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The failure may not happen on another host.
const ELSEWHERE: &str = "elsewhere";
/// How long a wait lasts when no report ends it.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// How often a claim looks for hosts anew when others are quicker.
const CLAIM_ROUNDS: usize = 5;

/// Builds a server.
pub(crate) struct BuildServer {
    pub(crate) compute: Weak<Compute>,
}

/// What a build knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BuildState {
    pub(crate) server: ServerId,
    pub(crate) nics: Vec<PlannedNic>,
    pub(crate) image: GuestImage,
    pub(crate) public_key: Option<(String, String)>,
    pub(crate) admin_password: Option<Secret>,
    pub(crate) chosen: Option<Chosen>,
    /// Hosts that failed.
    pub(crate) excluded: Vec<NodeId>,
    /// Why the last host failed: public and internal text.
    pub(crate) last: Option<(String, String)>,
    /// The server has been set to ERROR already, because its node went away.
    pub(crate) gave_up: bool,
}

/// The host of the present try.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Chosen {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) zone: String,
}

impl BuildServer {
    fn compute(&self) -> Result<Arc<Compute>> {
        self.compute.upgrade().ok_or_else(going_down)
    }
}

#[async_trait]
impl Workflow for BuildServer {
    type State = BuildState;
    const KIND: &'static str = "compute.build_server";
    const VERSION: u32 = 1;

    fn steps(&self) -> &'static [&'static dyn Step<BuildServer>] {
        &[&ClaimHost, &Assign, &AwaitGuest]
    }

    async fn after_undo(&self, _: &StepCx, state: &mut BuildState, error: &Failure) -> Result<AfterUndo> {
        if error.interrupted {
            // The server is being deleted; that is the next workflow's affair.
            return Ok(AfterUndo::give_up());
        }
        let compute = self.compute()?;
        if let Some(chosen) = state.chosen.take() {
            state.excluded.push(chosen.node);
        }
        let elsewhere = error.code.as_deref() == Some(ELSEWHERE);
        if elsewhere && !state.gave_up && state.excluded.len() < compute.config.build_attempts {
            state.last = Some((error.public.clone(), error.internal.clone()));
            return Ok(AfterUndo::again());
        }
        let (message, details) = verdict_text(state, error, elsewhere);
        let (id, now) = (state.server, compute.env.now());
        Ok(AfterUndo::give_up_with(move |tx| fail_in_tx(tx, id, &message, &details, now)))
    }
}

/// The fault's message and details once nothing more is tried.
fn verdict_text(state: &BuildState, error: &Failure, elsewhere: bool) -> (String, String) {
    let mut internal = error.internal.clone();
    if let Some((_, last)) = &state.last {
        internal = format!("{internal}; before that: {last}");
    }
    let public = match &state.last {
        Some((last, _)) if !elsewhere => format!("{} The last host that was tried said: {last}", error.public),
        _ if elsewhere && state.excluded.len() > 1 => {
            format!(
                "Exceeded maximum number of retries: {} hosts failed. The last one said: {}",
                state.excluded.len(),
                error.public
            )
        }
        _ => error.public.clone(),
    };
    (public, internal)
}

/// The server could not be built.
pub(crate) fn fail_in_tx(tx: &mut Tx<'_>, id: ServerId, message: &str, details: &str, now: Timestamp) -> Result<()> {
    let Some(server) = servers::server_fetch_in_tx(tx, id)? else { return Ok(()) };
    let task = server.task_state.filter(|task| *task == TaskState::Deleting);
    servers::server_set_state_in_tx(tx, id, VmState::Error, task, power::NONE, now)?;
    let fault = Fault { code: 500, message: message.to_owned(), details: details.to_owned(), created: now };
    servers::server_set_fault_in_tx(tx, id, Some(&fault))?;
    actions::actions_finish_in_tx(tx, id, server.host.as_deref(), Some((message, details)), now)
}

/// Finds a host and takes its room.
struct ClaimHost;

#[async_trait]
impl Step<BuildServer> for ClaimHost {
    fn name(&self) -> &'static str {
        "claim_host"
    }

    async fn run(&self, flow: &BuildServer, cx: &StepCx, state: &mut BuildState) -> Result<Outcome> {
        let compute = flow.compute()?;
        let mut verdict = Verdict::default();
        for _ in 0..CLAIM_ROUNDS {
            let (server, found) = look(&compute, state).await?;
            let consumer = Consumer { server: server.id, project: server.project.clone(), user: server.user.clone() };
            let wanted = server.flavor.resources();
            for choice in &found.ranked {
                let provider = ProviderId::from_uuid(choice.node.0);
                if compute.placement.claim(&consumer, provider, &wanted).await? == Claim::Held {
                    return Ok(claimed(&server, choice, state, cx.now()));
                }
            }
            let none = found.ranked.is_empty();
            verdict = found;
            if none {
                break;
            }
        }
        Err(Error::new(Kind::Internal, verdict.public()).context(verdict.internal()))
    }

    async fn undo(&self, flow: &BuildServer, cx: &StepCx, state: &mut BuildState) -> Result<Outcome> {
        let compute = flow.compute()?;
        compute.placement.release(state.server).await?;
        let (id, now) = (state.server, cx.now());
        Ok(Outcome::done_with(move |tx| {
            let task = servers::server_fetch_in_tx(tx, id)?.and_then(|server| server.task_state);
            let task = if task == Some(TaskState::Deleting) { task } else { Some(TaskState::Scheduling) };
            servers::server_set_host_in_tx(tx, id, None, task, now)
        }))
    }
}

/// What the host filters make of the cloud as it is now.
async fn look(compute: &Compute, state: &BuildState) -> Result<(Server, Verdict)> {
    let id = state.server;
    let facts = compute.db.read("schedule", move |tx| {
        let server = servers::server_fetch_in_tx(tx, id)?;
        let server = server.ok_or_else(|| Error::not_found(format!("Instance {id} could not be found.")))?;
        let group = match &server.group {
            None => None,
            Some(group) => groups::group_fetch_in_tx(tx, group)?,
        };
        let group = match group {
            None => None,
            Some(group) => Some(GroupWish {
                most_per_host: group.most_per_host(),
                members: groups::members_on_in_tx(tx, &group.id, id)?,
                policy: group.policy,
            }),
        };
        Ok((server, group, nodes::node_list_in_tx(tx)?, aggregates::zones_in_tx(tx)?))
    });
    let (server, group, nodes, zones) = facts.await?;
    let candidates = compute.placement.candidates(&server.flavor.resources()).await?;
    let wish = Wish {
        zone: server.zone_wanted.clone(),
        host: server.host_wanted.clone(),
        excluded: state.excluded.clone(),
        group,
    };
    let cloud = Cloud {
        nodes: &nodes,
        zones: &zones,
        default_zone: &compute.config.default_zone,
        now: compute.env.now(),
        down_after: compute.config.node_down_after,
    };
    let verdict = scheduler::choose(&wish, &cloud, candidates, compute.env.random());
    Ok((server, verdict))
}

fn claimed(server: &Server, choice: &Choice, state: &mut BuildState, now: Timestamp) -> Outcome {
    let Choice { node, name, zone } = choice.clone();
    state.chosen = Some(Chosen { node, name: name.clone(), zone: zone.clone() });
    let (id, group) = (server.id, server.group.clone());
    Outcome::done_with(move |tx| {
        if let Some(group) = &group {
            groups::group_claim_in_tx(tx, group, id, node)?;
        }
        servers::server_set_host_in_tx(tx, id, Some((node, &name, &zone)), Some(TaskState::Networking), now)
    })
}

/// Makes the ports and writes down what is wanted of the node.
struct Assign;

#[async_trait]
impl Step<BuildServer> for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    async fn run(&self, flow: &BuildServer, cx: &StepCx, state: &mut BuildState) -> Result<Outcome> {
        let compute = flow.compute()?;
        let chosen = state.chosen.clone().ok_or_else(|| Error::internal("no host was chosen"))?;
        let id = state.server;
        let read = move |tx: &mut Tx<'_>| {
            let server = servers::server_fetch_in_tx(tx, id)?;
            let server = server.ok_or_else(|| Error::not_found(format!("Instance {id} could not be found.")))?;
            let data = servers::user_data_in_tx(tx, &[id])?.remove(&id);
            Ok((server, data))
        };
        let (server, user_data) = compute.db.read("server_to_assign", read).await?;
        let mut ports = Vec::with_capacity(state.nics.len());
        for nic in &state.nics {
            let host = (&chosen.node, chosen.name.as_str());
            ports.push(compute.ports.ensure(&server.project, id, host, nic).await?);
        }
        let spec = guest_spec(&compute, &server, state, &chosen, ports, user_data);
        let (node, image, now) = (chosen.node, state.image.id, cx.now());
        Ok(Outcome::done_with(move |tx| {
            guests::guest_assign_in_tx(tx, id, node, image, &spec, now)?;
            let (vm, task) = (VmState::Building, Some(TaskState::Spawning));
            servers::server_set_state_in_tx(tx, id, vm, task, power::NONE, now)?;
            compute.messenger.tell_in_tx(tx, node, id);
            Ok(())
        }))
    }

    async fn undo(&self, flow: &BuildServer, cx: &StepCx, state: &mut BuildState) -> Result<Outcome> {
        let compute = flow.compute()?;
        if !guest_is_gone(&compute, state.server).await? {
            if !state.gave_up {
                state.gave_up = fail_if_down(&compute, state).await?;
            }
            return Ok(Outcome::WaitUntil(cx.now() + LOOK_AGAIN));
        }
        compute.ports.release(state.server).await?;
        Ok(Outcome::Done)
    }
}

/// Wants the server's guest gone; whether it is. What was on a host that an administrator has removed is gone with it.
pub(crate) async fn guest_is_gone(compute: &Arc<Compute>, id: ServerId) -> Result<bool> {
    let read = move |tx: &mut Tx<'_>| {
        let Some(guest) = guests::guest_fetch_in_tx(tx, id)? else { return Ok(None) };
        Ok(nodes::node_fetch_in_tx(tx, guest.node)?.map(|_| guest))
    };
    match compute.db.read("guest_fetch", read).await? {
        None => Ok(true),
        Some(guest) if guest.want == Want::Absent => Ok(guest.is_gone()),
        Some(_) => {
            let (service, now) = (Arc::clone(compute), compute.env.now());
            compute
                .db
                .write("guest_dismiss", move |tx| service.guest_dismiss_in_tx(tx, id, now).map(|left| !left))
                .await
        }
    }
}

/// A server whose node is down shows as ERROR before everything is taken back.
async fn fail_if_down(compute: &Compute, state: &BuildState) -> Result<bool> {
    let Some(chosen) = &state.chosen else { return Ok(false) };
    if node_is_up(compute, chosen.node).await? {
        return Ok(false);
    }
    let (id, now) = (state.server, compute.env.now());
    let details = format!("host {} is down", chosen.name);
    let message = "The host of the server cannot be reached.";
    compute.db.write("server_fail", move |tx| fail_in_tx(tx, id, message, &details, now)).await?;
    Ok(true)
}

/// Whether a host has been heard of lately.
pub(crate) async fn node_is_up(compute: &Compute, node: NodeId) -> Result<bool> {
    let found = compute.db.read("node_fetch", move |tx| nodes::node_fetch_in_tx(tx, node)).await?;
    Ok(found.is_some_and(|node| node.is_up(compute.env.now(), compute.config.node_down_after)))
}

fn guest_spec(
    compute: &Compute,
    server: &Server,
    state: &BuildState,
    chosen: &Chosen,
    nics: Vec<PortInfo>,
    user_data: Option<String>,
) -> GuestSpec {
    let flavor = &server.flavor;
    GuestSpec {
        name: server.instance_name(),
        vcpus: u32::try_from(flavor.vcpus).unwrap_or(u32::MAX),
        memory_mb: flavor.memory_mb,
        root_gb: flavor.root_gb,
        image: state.image.clone(),
        nics,
        config_drive: server.config_drive,
        metadata: GuestMetadata {
            name: server.name.clone(),
            hostname: server.hostname.clone(),
            project_id: server.project.as_str().to_owned(),
            availability_zone: chosen.zone.clone(),
            launch_index: server.launch_index,
            public_keys: state.public_key.iter().cloned().collect::<BTreeMap<_, _>>(),
            meta: server.metadata.clone(),
            user_data,
            admin_password: state.admin_password.clone(),
        },
        shutdown_timeout_s: compute.config.shutdown_timeout_s,
    }
}

/// Waits until the guest runs.
struct AwaitGuest;

#[async_trait]
impl Step<BuildServer> for AwaitGuest {
    fn name(&self) -> &'static str {
        "await_guest"
    }

    fn retry(&self) -> Retry {
        FOR_EVER
    }

    async fn run(&self, flow: &BuildServer, cx: &StepCx, state: &mut BuildState) -> Result<Outcome> {
        let compute = flow.compute()?;
        let id = state.server;
        let read = move |tx: &mut Tx<'_>| {
            let guest = guests::guest_fetch_in_tx(tx, id)?;
            let guest = guest.ok_or_else(|| Error::internal("the guest's row has vanished"))?;
            let node = nodes::node_fetch_in_tx(tx, guest.node)?;
            Ok((guest, node))
        };
        let (guest, node) = compute.db.read("guest_fetch", read).await?;
        let seen = &guest.seen;
        let ended = ended_by_itself(&guest, seen.state, seen.settled, seen.boot);
        if guest.is_answered() && (seen.settled || ended) {
            return answered(&compute, &guest, state, cx.now());
        }
        let elsewhere = |text: &str| Error::new(Kind::Internal, text).with_code(ELSEWHERE);
        if cx.now().since(cx.since) > compute.config.build_limit {
            return Err(elsewhere("The host did not start the server in time."));
        }
        if node.is_none_or(|node| !node.is_up(cx.now(), compute.config.node_down_after)) {
            return Err(elsewhere("The host of the server cannot be reached."));
        }
        Ok(Outcome::WaitUntil(cx.now() + LOOK_AGAIN))
    }
}

fn answered(compute: &Arc<Compute>, guest: &Guest, state: &BuildState, now: Timestamp) -> Result<Outcome> {
    if let Some(error) = &guest.seen.error {
        let failure = Error::new(Kind::Internal, error.public.clone()).context(error.internal.clone());
        return Err(if error.elsewhere { failure.with_code(ELSEWHERE) } else { failure });
    }
    let (id, node, seen) = (guest.server, guest.node, guest.seen.state);
    let host = state.chosen.as_ref().map(|chosen| chosen.name.clone());
    let (compute, secret) = (Arc::clone(compute), state.admin_password.is_some());
    Ok(Outcome::done_with(move |tx| {
        servers::server_launched_in_tx(tx, id, power_of(seen), now)?;
        if secret {
            guests::guest_forget_password_in_tx(tx, id)?;
        }
        if matches!(seen, GuestState::Stopped | GuestState::Crashed) {
            // It ran and has ended already: that is its owner's affair.
            servers::server_set_state_in_tx(tx, id, VmState::Stopped, None, power_of(seen), now)?;
            guests::guest_want_in_tx(tx, id, Want::Stopped, now)?;
            compute.messenger.tell_in_tx(tx, node, id);
        }
        actions::actions_finish_in_tx(tx, id, host.as_deref(), None, now)
    }))
}

/// The key that a server is made with.
pub(crate) fn public_key(pair: &keypairs::Keypair) -> (String, String) {
    (pair.name.clone(), pair.public_key.trim().to_owned())
}
