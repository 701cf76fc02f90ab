//! Which host takes a server.
//!
//! Placement says who has room; here the rest is decided, by a pure function: filters, each of which says how many
//! hosts it removed and why, then weights. Nothing is reserved: the claim is Placement's compare-and-swap, and whoever
//! loses it looks at the next host of the ranking.

use crate::store::nodes::Node;
use ferrostack_contracts::placement::{Candidate, Candidates};
use ferrostack_types::Timestamp;
use ferrostack_types::ids::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a server wants of its host besides room.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) zone: Option<String>,
    pub(crate) host: Option<String>,
    /// Hosts that were tried and failed.
    pub(crate) excluded: Vec<NodeId>,
    pub(crate) group: Option<GroupWish>,
}

/// What a server's group wants.
#[derive(Debug, Clone)]
pub(crate) struct GroupWish {
    pub(crate) policy: String,
    pub(crate) most_per_host: u64,
    /// How many other members each host has.
    pub(crate) members: BTreeMap<NodeId, u64>,
}

/// What is known of the cloud.
pub(crate) struct Cloud<'a> {
    pub(crate) nodes: &'a [Node],
    /// The zone of hosts that are in one by their aggregates.
    pub(crate) zones: &'a BTreeMap<String, String>,
    pub(crate) default_zone: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) down_after: Duration,
}

/// A host that may be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) zone: String,
}

/// The outcome: hosts, best first, and why the others are not among them.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) ranked: Vec<Choice>,
    pub(crate) hosts: usize,
    /// By reason, in the order of the filters: how many hosts, and which.
    pub(crate) refused: Vec<(String, usize, Vec<String>)>,
}

impl Verdict {
    fn refuse(&mut self, reason: String, host: &str) {
        match self.refused.iter_mut().find(|r| r.0 == reason) {
            Some(entry) => {
                entry.1 += 1;
                entry.2.push(host.to_owned());
            }
            None => self.refused.push((reason, 1, vec![host.to_owned()])),
        }
    }

    /// For the tenant: counts and reasons, no names.
    pub(crate) fn public(&self) -> String {
        let reasons: Vec<String> = self.refused.iter().map(|(reason, count, _)| format!("{count}: {reason}")).collect();
        match (self.hosts, reasons.is_empty()) {
            (0, _) => "No valid host was found. There are no hosts.".to_owned(),
            (hosts, true) => format!("No valid host was found. {hosts} hosts were filled by others meanwhile."),
            (hosts, false) => {
                format!("No valid host was found. Of {hosts} hosts, these were removed: {}.", reasons.join("; "))
            }
        }
    }

    /// For the operator: with names.
    pub(crate) fn internal(&self) -> String {
        let reasons: Vec<String> =
            self.refused.iter().map(|(reason, _, names)| format!("{reason}: {}", names.join(", "))).collect();
        reasons.join("; ")
    }
}

/// Filters and ranks. `dice` breaks ties, so that many servers at the same time do not all want the same host.
pub(crate) fn choose(wish: &Wish, cloud: &Cloud<'_>, candidates: Candidates, dice: [u8; 8]) -> Verdict {
    let mut verdict = Verdict { hosts: candidates.hosts, ..Verdict::default() };
    for (reason, count) in candidates.refused {
        verdict.refused.push((reason, count, Vec::new()));
    }
    let mut ranked: Vec<(f64, u64, Choice)> = Vec::new();
    let mut seed = u64::from_le_bytes(dice);
    for candidate in &candidates.fitting {
        let node = cloud.nodes.iter().find(|node| node.id.0 == candidate.provider.0);
        let zone = cloud.zones.get(&candidate.name).map_or(cloud.default_zone, String::as_str);
        if let Err(reason) = passes(wish, cloud, node, candidate, zone) {
            verdict.refuse(reason, &candidate.name);
            continue;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let node = NodeId::from_uuid(candidate.provider.0);
        let choice = Choice { node, name: candidate.name.clone(), zone: zone.to_owned() };
        ranked.push((weight(wish, candidate, node), seed >> 32, choice));
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    verdict.ranked = ranked.into_iter().map(|r| r.2).collect();
    verdict
}

/// The filters in order; the reason of the first that does not let a host pass.
fn passes(
    wish: &Wish,
    cloud: &Cloud<'_>,
    node: Option<&Node>,
    candidate: &Candidate,
    zone: &str,
) -> Result<(), String> {
    let Some(node) = node else { return Err("not a compute host".to_owned()) };
    if wish.excluded.contains(&node.id) {
        return Err("the server could not be started there".to_owned());
    }
    if !node.is_up(cloud.now, cloud.down_after) {
        return Err("the host is down".to_owned());
    }
    if node.disabled {
        return Err("the host is disabled".to_owned());
    }
    if wish.zone.as_ref().is_some_and(|wanted| wanted != zone) {
        return Err("not in the requested availability zone".to_owned());
    }
    if wish.host.as_ref().is_some_and(|wanted| *wanted != candidate.name) {
        return Err("not the requested host".to_owned());
    }
    let Some(group) = &wish.group else { return Ok(()) };
    let here = group.members.get(&node.id).copied().unwrap_or(0);
    match group.policy.as_str() {
        "anti-affinity" if here >= group.most_per_host => {
            Err("the server group wants its members on different hosts".to_owned())
        }
        "affinity" if here == 0 && !group.members.is_empty() => {
            Err("the server group wants its members on one host".to_owned())
        }
        _ => Ok(()),
    }
}

/// Free shares of memory, processors and disk, each between 0 and 1; soft wishes of the group count for more.
fn weight(wish: &Wish, candidate: &Candidate, node: NodeId) -> f64 {
    let free = |class: &str| {
        let capacity = candidate.capacity.get(class).copied().unwrap_or(0);
        let used = candidate.used.get(class).copied().unwrap_or(0);
        if capacity == 0 { 0.0 } else { capacity.saturating_sub(used) as f64 / capacity as f64 }
    };
    let spread = free("MEMORY_MB") + free("VCPU") + free("DISK_GB");
    let soft = wish.group.as_ref().map_or(0.0, |group| {
        let here = group.members.get(&node).copied().unwrap_or(0) as f64;
        match group.policy.as_str() {
            "soft-affinity" => here * 10.0,
            "soft-anti-affinity" => here * -10.0,
            _ => 0.0,
        }
    });
    spread + soft
}

#[cfg(test)]
mod tests;
