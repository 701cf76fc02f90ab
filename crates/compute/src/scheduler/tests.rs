//! Filters and weights.

use super::*;
use ferrostack_contracts::node::NodeInfo;
use ferrostack_contracts::placement::Resources;
use ferrostack_types::Env;
use ferrostack_types::ids::ProviderId;

fn node(name: &str, now: Timestamp) -> Node {
    let id = NodeId::from_uuid(Env::system().uuid());
    let info = NodeInfo {
        id,
        name: name.to_owned(),
        address: String::new(),
        hypervisor_type: String::new(),
        hypervisor_version: 0,
        accelerator: String::new(),
        architecture: String::new(),
        cpu_model: String::new(),
        vcpus: 1,
        memory_mb: 1,
        disk_gb: 1,
        disk_free_gb: 1,
        running_guests: 0,
        started_at: now,
    };
    Node {
        id,
        number: 1,
        service_id: id.0,
        name: name.to_owned(),
        info,
        disabled: false,
        disabled_reason: None,
        forced_down: false,
        heartbeat_at: now,
    }
}

fn candidate(node: &Node, used: u64) -> Candidate {
    let capacity: Resources = [("MEMORY_MB".to_owned(), 100)].into();
    let used: Resources = [("MEMORY_MB".to_owned(), used)].into();
    Candidate { provider: ProviderId::from_uuid(node.id.0), name: node.name.clone(), generation: 1, capacity, used }
}

fn run(wish: &Wish, nodes: &[Node], used: &[u64], now: Timestamp) -> Verdict {
    let zones = [("c".to_owned(), "west".to_owned())].into();
    let down_after = Duration::from_secs(30);
    let cloud = Cloud { nodes, zones: &zones, default_zone: "nova", now, down_after };
    let fitting: Vec<Candidate> = nodes.iter().zip(used).map(|(node, used)| candidate(node, *used)).collect();
    let candidates = Candidates { hosts: fitting.len(), fitting, ..Candidates::default() };
    choose(wish, &cloud, candidates, [7; 8])
}

fn names(verdict: &Verdict) -> Vec<&str> {
    verdict.ranked.iter().map(|choice| choice.name.as_str()).collect()
}

#[test]
fn the_emptiest_host_comes_first() {
    let now = Timestamp::from_secs(1000);
    let nodes = [node("a", now), node("b", now), node("c", now)];
    let verdict = run(&Wish::default(), &nodes, &[50, 10, 90], now);
    assert_eq!(names(&verdict), ["b", "a", "c"]);
}

#[test]
fn every_filter_says_why() {
    let now = Timestamp::from_secs(1000);
    let mut nodes = [node("a", now), node("b", now), node("c", now), node("d", now)];
    nodes[0].disabled = true;
    nodes[1].heartbeat_at = Timestamp::from_secs(900);
    let wish = Wish { zone: Some("nova".to_owned()), excluded: vec![nodes[3].id], ..Wish::default() };
    let verdict = run(&wish, &nodes, &[0, 0, 0, 0], now);
    assert!(verdict.ranked.is_empty());
    assert_eq!(
        verdict.public(),
        "No valid host was found. Of 4 hosts, these were removed: 1: the host is disabled; 1: the host is down; \
         1: not in the requested availability zone; 1: the server could not be started there."
    );
    assert!(!verdict.public().contains('d') || verdict.internal().contains("d"));
    nodes[0].disabled = false;
    nodes[0].forced_down = true;
    assert!(run(&Wish::default(), &nodes[..1], &[0], now).ranked.is_empty(), "forced down is down");
}

#[test]
fn groups_are_obeyed() {
    let now = Timestamp::from_secs(1000);
    let nodes = [node("a", now), node("b", now)];
    let wish = |policy: &str| Wish {
        group: Some(GroupWish { policy: policy.to_owned(), most_per_host: 1, members: [(nodes[0].id, 1)].into() }),
        ..Wish::default()
    };
    let ranked = |policy: &str| names(&run(&wish(policy), &nodes, &[0, 0], now)).join(" ");
    assert_eq!(ranked("anti-affinity"), "b");
    assert_eq!(ranked("affinity"), "a");
    assert_eq!(ranked("soft-anti-affinity"), "b a");
    assert_eq!(ranked("soft-affinity"), "a b");
}
