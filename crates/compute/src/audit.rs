//! The integrity laws, as far as compute sees them.
//!
//! Whatever crashed, failed or was attacked: allocations are those of live servers · no port without its server · quota
//! use is what a recount says · every state that is not final has live work behind it · group rules hold.

use crate::Compute;
use crate::model::{Guest, Server, TaskState, VmState};
use crate::store::groups::Group;
use crate::store::{groups, guests, quotas, servers};
use ferrostack_contracts::node::Want;
use ferrostack_contracts::placement::Resources;
use ferrostack_db::Tx;
use ferrostack_types::Result;
use ferrostack_types::ids::{NodeId, PortId, ProviderId, ServerId};
use std::collections::{BTreeMap, BTreeSet};

/// A law that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// Which law, in a word: `allocation`, `port`, `quota`, `stuck`, `affinity`.
    pub law: &'static str,
    /// What is wrong, for the operator.
    pub what: String,
}

/// What is held, and which servers may hold something.
pub(crate) struct Holders {
    pub(crate) allocations: Vec<(ServerId, ProviderId, Resources)>,
    pub(crate) ports: Vec<(PortId, ServerId)>,
    /// Servers with a host, a guest that is not known to be gone, or a workflow at work.
    pub(crate) owners: BTreeSet<ServerId>,
}

/// Reads what is held first, then who may hold it: see the loop `compute.orphans`.
pub(crate) async fn holders(compute: &Compute) -> Result<Holders> {
    let allocations = compute.placement.holders().await?;
    let ports = compute.ports.owners().await?;
    let mut asked: BTreeSet<ServerId> = allocations.iter().map(|a| a.0).collect();
    asked.extend(ports.iter().map(|p| p.1));
    let jobs = compute.jobs.clone();
    let read = move |tx: &mut Tx<'_>| {
        let ids: Vec<ServerId> = asked.iter().copied().collect();
        let servers = servers::servers_by_id_in_tx(tx, &ids)?;
        let guests = guests::guests_by_id_in_tx(tx, &ids)?;
        let mut owners = BTreeSet::new();
        for id in &ids {
            let lives = servers.get(id).is_some_and(|s| s.deleted_at.is_none() && s.node.is_some());
            let there = guests.get(id).is_some_and(|guest| !guest.is_gone());
            if lives || there || !jobs.active_in_tx(tx, &Compute::subject(*id))?.is_empty() {
                owners.insert(*id);
            }
        }
        Ok(owners)
    };
    let owners = compute.db.read("owners", read).await?;
    Ok(Holders { allocations, ports, owners })
}

/// What the database says, in one snapshot.
struct Snapshot {
    servers: Vec<Server>,
    guests: BTreeMap<ServerId, Guest>,
    busy: BTreeSet<ServerId>,
    groups: BTreeMap<String, Group>,
    offences: Vec<Offence>,
}

fn snapshot_in_tx(tx: &mut Tx<'_>, jobs: &ferrostack_jobs::Jobs) -> Result<Snapshot> {
    let mut live = servers::ServerFilter::default();
    live.plain("deleted_at IS NULL");
    let servers = servers::servers_where_in_tx(tx, &live)?;
    let guests = guests::guests_present_in_tx(tx)?.into_iter().map(|g| (g.server, g)).collect();
    let mut busy = BTreeSet::new();
    for server in &servers {
        if !jobs.active_in_tx(tx, &Compute::subject(server.id))?.is_empty() {
            busy.insert(server.id);
        }
    }
    let groups = groups::group_list_in_tx(tx, None, 0, None)?.into_iter().map(|g| (g.id.clone(), g)).collect();
    let mut offences = Vec::new();
    let counted = servers::usage_recount_in_tx(tx)?;
    let said = quotas::usages_in_tx(tx)?;
    let projects: BTreeSet<_> = counted.keys().chain(said.keys()).collect();
    for project in projects {
        let (instances, cores, ram) = counted.get(project).copied().unwrap_or_default();
        let counted = quotas::Usage { instances, cores, ram };
        let said = said.get(project).copied().unwrap_or_default();
        if said != counted {
            offences.push(Offence { law: "quota", what: format!("{project}: {said:?} is said, {counted:?} is used") });
        }
    }
    Ok(Snapshot { servers, guests, busy, groups, offences })
}

impl Compute {
    /// Checks the laws. What is being worked on at this moment is not an offence. Empty means that all is well.
    pub async fn audit(&self) -> Result<Vec<Offence>> {
        let held = holders(self).await?;
        let jobs = self.jobs.clone();
        let snapshot = self.db.read("audit", move |tx| snapshot_in_tx(tx, &jobs)).await?;
        let mut offences = snapshot.offences.clone();
        for (server, provider, _) in &held.allocations {
            if !held.owners.contains(server) {
                let what = format!("server {server} holds room on {provider} and is no more");
                offences.push(Offence { law: "allocation", what });
            }
        }
        for (port, server) in &held.ports {
            if !held.owners.contains(server) {
                offences.push(Offence {
                    law: "port",
                    what: format!("port {port} is of server {server}, which is no more"),
                });
            }
        }
        let by_server: BTreeMap<ServerId, _> = held.allocations.iter().map(|a| (a.0, (a.1, &a.2))).collect();
        for server in snapshot.servers.iter().filter(|server| !snapshot.busy.contains(&server.id)) {
            check_allocation(server, &by_server, &mut offences);
            check_work(server, snapshot.guests.get(&server.id), &mut offences);
        }
        check_groups(&snapshot, &mut offences);
        Ok(offences)
    }
}

fn check_allocation(server: &Server, held: &BTreeMap<ServerId, (ProviderId, &Resources)>, offences: &mut Vec<Offence>) {
    let Some(node) = server.node else { return };
    let right = held
        .get(&server.id)
        .is_some_and(|(provider, resources)| provider.0 == node.0 && **resources == server.flavor.resources());
    if !right {
        let what = format!("server {} on {node} holds {:?}", server.id, held.get(&server.id));
        offences.push(Offence { law: "allocation", what });
    }
}

fn check_work(server: &Server, guest: Option<&Guest>, offences: &mut Vec<Offence>) {
    let pending = guest.is_some_and(|guest| guest.pending);
    let stuck = match (server.vm_state, server.task_state) {
        (VmState::Building, _) | (_, Some(TaskState::Deleting)) => true,
        (_, Some(_)) => !pending,
        (VmState::Active | VmState::Paused, None) => guest.is_none_or(|guest| guest.want == Want::Absent),
        _ => false,
    };
    if stuck {
        let what =
            format!("server {} is {:?} {:?} and nobody works on it", server.id, server.vm_state, server.task_state);
        offences.push(Offence { law: "stuck", what });
    }
}

fn check_groups(snapshot: &Snapshot, offences: &mut Vec<Offence>) {
    let mut hosts: BTreeMap<&str, BTreeMap<NodeId, u64>> = BTreeMap::new();
    for server in &snapshot.servers {
        if let (Some(group), Some(node)) = (&server.group, server.node) {
            *hosts.entry(group).or_default().entry(node).or_default() += 1;
        }
    }
    for (id, hosts) in hosts {
        let Some(group) = snapshot.groups.get(id) else { continue };
        let broken = match group.policy.as_str() {
            "anti-affinity" => hosts.values().any(|count| *count > group.most_per_host()),
            "affinity" => hosts.len() > 1,
            _ => false,
        };
        if broken {
            offences.push(Offence { law: "affinity", what: format!("group {id} ({}): {hosts:?}", group.policy) });
        }
    }
}
