use super::*;
use crate::model::{SHARING, Stock};
use ferrostack_contracts::placement::Inventory;
use ferrostack_types::Timestamp;
use uuid::Uuid;

fn id(n: u128) -> ProviderId {
    ProviderId(Uuid::from_u128(n))
}

fn provider(n: u128, parent: Option<u128>, root: u128, stock: &[(&str, u64)]) -> Provider {
    let stock = stock.iter().map(|(class, total)| Stock {
        class: (*class).into(),
        inventory: Inventory {
            total: *total,
            reserved: 0,
            min_unit: 1,
            max_unit: *total,
            step_size: 1,
            allocation_ratio: 1.0,
        },
        used: 0,
        updated_at: Timestamp::default(),
    });
    Provider {
        id: id(n),
        name: format!("p{n}").into(),
        generation: 0,
        revision: 1,
        parent: parent.map(id),
        root: id(root),
        updated_at: Timestamp::default(),
        stock: stock.collect(),
        traits: BTreeSet::new(),
        aggregates: BTreeSet::new(),
    }
}

fn with(mut provider: Provider, traits: &[&str], aggregates: &[u128]) -> Arc<Provider> {
    provider.traits = traits.iter().map(|t| Arc::from(*t)).collect();
    provider.aggregates = aggregates.iter().map(|a| Uuid::from_u128(*a)).collect();
    Arc::new(provider)
}

fn demand(resources: &[(&str, u64)]) -> Demand {
    let resources = resources.iter().map(|(class, amount)| ((*class).to_owned(), *amount)).collect();
    Demand { resources, ..Demand::default() }
}

fn request(groups: &[(&str, Demand)]) -> Request {
    let groups = groups.iter().map(|(suffix, demand)| ((*suffix).to_owned(), demand.clone())).collect();
    Request { groups, nested: true, ..Request::default() }
}

fn takes(way: &Way) -> Vec<(u128, String, u64)> {
    let flat = way.takes.iter().flat_map(|(p, r)| r.iter().map(move |(c, a)| (p.0.as_u128(), c.clone(), *a)));
    flat.collect()
}

/// A host with two NUMA nodes, and a pool that the host may use.
fn numa_host() -> Vec<Arc<Provider>> {
    vec![
        with(provider(1, None, 1, &[("DISK_GB", 10)]), &["HOST"], &[7]),
        with(provider(2, Some(1), 1, &[("VCPU", 4), ("MEMORY_MB", 100)]), &["FAST"], &[]),
        with(provider(3, Some(1), 1, &[("VCPU", 2), ("MEMORY_MB", 100)]), &[], &[]),
        with(provider(9, None, 9, &[("DISK_GB", 1000)]), &[SHARING], &[7]),
    ]
}

#[test]
fn one_group_may_be_served_by_several_providers_of_a_tree() {
    let all = numa_host();
    let found = search(&all, &request(&[("", demand(&[("VCPU", 3), ("DISK_GB", 5)]))]));
    let ways: Vec<_> = found.ways.iter().map(takes).collect();
    assert_eq!(ways.len(), 2, "own disk or the pool: {ways:?}");
    assert!(ways.iter().all(|w| w.contains(&(2, "VCPU".into(), 3))));
    assert!(ways.iter().any(|w| w.contains(&(9, "DISK_GB".into(), 5))));
    // The whole tree is described, with the pool.
    assert_eq!(found.providers.len(), 4);
    // The disk of the host is too small; the pool's is not.
    let found = search(&all, &request(&[("", demand(&[("VCPU", 3), ("DISK_GB", 50)]))]));
    assert_eq!(
        found.ways.iter().map(takes).collect::<Vec<_>>(),
        [vec![(2, "VCPU".into(), 3), (9, "DISK_GB".into(), 50)]]
    );
    // A client that does not know of trees only sees what one provider of a tree can serve.
    let mut flat = request(&[("", demand(&[("VCPU", 3), ("DISK_GB", 50)]))]);
    flat.nested = false;
    assert_eq!(search(&all, &flat).ways.len(), 1);
    flat.groups.get_mut("").unwrap().resources.insert("DISK_GB".into(), 5);
    assert_eq!(search(&all, &flat).ways.len(), 1);
}

#[test]
fn groups_with_a_suffix_stay_together_and_apart() {
    let all = numa_host();
    let one = demand(&[("VCPU", 2), ("MEMORY_MB", 60)]);
    let mut wanted = request(&[("_A", one.clone()), ("_B", one.clone())]);
    // Both on provider 2 would need 120 of 100 MEMORY_MB.
    assert_eq!(search(&all, &wanted).ways.len(), 2);
    let small = demand(&[("VCPU", 1), ("MEMORY_MB", 10)]);
    wanted = request(&[("_A", small.clone()), ("_B", small)]);
    assert_eq!(search(&all, &wanted).ways.len(), 4);
    wanted.isolate = true;
    let found = search(&all, &wanted);
    assert_eq!(found.ways.len(), 2);
    assert!(found.ways.iter().all(|w| w.mappings["_A"].is_disjoint(&w.mappings["_B"])));
    wanted.limit = Some(1);
    assert_eq!(search(&all, &wanted).ways.len(), 1);
    // Siblings have no common ancestor among themselves; with the host's own group they do.
    wanted.limit = None;
    wanted.same_subtree = vec![["_A", "_B"].map(String::from).into()];
    assert!(search(&all, &wanted).ways.is_empty());
    let host = Demand { required: vec![BTreeSet::from(["HOST".to_owned()])], ..Demand::default() };
    wanted.groups.insert("_C".into(), host);
    wanted.same_subtree = vec![["_A", "_B", "_C"].map(String::from).into()];
    assert_eq!(search(&all, &wanted).ways.len(), 2);
}

#[test]
fn traits_and_aggregates_narrow() {
    let all = numa_host();
    let fast = |demand: Demand| Demand { required: vec![BTreeSet::from(["FAST".to_owned()])], ..demand };
    let slow = |demand: Demand| Demand { forbidden: BTreeSet::from(["FAST".to_owned()]), ..demand };
    let vcpu = || demand(&[("VCPU", 1)]);
    let by = |demand: Demand| -> Vec<u128> {
        let found = search(&all, &request(&[("", demand)]));
        found.ways.iter().flat_map(|w| w.takes.keys().map(|p| p.0.as_u128())).collect()
    };
    assert_eq!(by(fast(vcpu())), [2]);
    assert_eq!(by(slow(vcpu())), [3]);
    // The root's aggregate holds for its whole tree.
    let inside = |n: u128| vec![BTreeSet::from([Uuid::from_u128(n)])];
    assert_eq!(by(Demand { member_of: inside(7), ..vcpu() }), [2, 3]);
    assert!(by(Demand { member_of: inside(8), ..vcpu() }).is_empty());
    assert!(by(Demand { not_member_of: inside(7).remove(0), ..vcpu() }).is_empty());
    assert_eq!(by(Demand { in_tree: Some(id(3)), ..vcpu() }), [2, 3]);
    assert!(by(Demand { in_tree: Some(id(9)), ..vcpu() }).is_empty());
    let mut rooted = request(&[("", vcpu())]);
    rooted.root_required = BTreeSet::from(["HOST".to_owned()]);
    assert_eq!(search(&all, &rooted).ways.len(), 2);
    rooted.root_forbidden = BTreeSet::from(["HOST".to_owned()]);
    assert!(search(&all, &rooted).ways.is_empty());
}

#[test]
fn a_way_that_only_uses_shared_things_is_found_once() {
    let mut all = numa_host();
    all.push(with(provider(5, None, 5, &[("VCPU", 8)]), &[], &[7]));
    let found = search(&all, &request(&[("", demand(&[("DISK_GB", 500)]))]));
    assert_eq!(found.ways.iter().map(takes).collect::<Vec<_>>(), [vec![(9, "DISK_GB".into(), 500)]]);
}

#[test]
fn a_hostile_request_ends() {
    let stock: Vec<(String, u64)> = (0..12).map(|n| (format!("CUSTOM_{n}"), 100)).collect();
    let stock: Vec<(&str, u64)> = stock.iter().map(|(c, t)| (c.as_str(), *t)).collect();
    let mut all = vec![with(provider(1, None, 1, &stock), &[], &[])];
    all.extend((2..12).map(|n| with(provider(n, Some(1), 1, &stock), &[], &[])));
    // 11 providers to the power of 12 classes.
    let found = search(&all, &request(&[("", demand(&stock))]));
    assert!(found.ways.len() <= BUDGET);
}
