//! What compute relies on: a claim holds, nothing is given out twice, everything comes back.

use crate::harness::{Cloud, consumer, host, provider, server, wants};
use ferrostack_contracts::placement::{Claim, Placement as _};
use ferrostack_types::Kind;
use futures::future::join_all;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

#[tokio::test]
async fn a_claim_is_held_found_again_moved_and_given_back() {
    let cloud = Cloud::new().await;
    let placement = &cloud.placement;
    for n in [1, 2] {
        placement.ensure_provider(provider(n), &format!("host{n}"), &host(4, 1000)).await.unwrap();
    }
    let found = placement.candidates(&wants(2, 600)).await.unwrap();
    assert_eq!((found.fitting.len(), found.hosts, found.refused.len()), (2, 2, 0));
    assert_eq!((found.fitting[0].name.as_str(), found.fitting[0].capacity["VCPU"]), ("host1", 16));

    assert_eq!(placement.claim(&consumer(1), provider(1), &wants(2, 600)).await.unwrap(), Claim::Held);
    let after = placement.candidates(&wants(2, 600)).await.unwrap();
    assert_eq!(after.fitting.iter().map(|c| c.provider).collect::<Vec<_>>(), [provider(2)]);
    assert_eq!(after.refused, BTreeMap::from([("not enough MEMORY_MB: 600 asked, at most 400 free".to_owned(), 1)]));
    let generation = |found: &ferrostack_contracts::placement::Candidates| {
        found.fitting.iter().find(|c| c.provider == provider(1)).map(|c| c.generation)
    };
    let before = generation(&placement.candidates(&wants(1, 1)).await.unwrap());
    // A repeat finds its own claim and writes nothing.
    assert_eq!(placement.claim(&consumer(1), provider(1), &wants(2, 600)).await.unwrap(), Claim::Held);
    assert_eq!(generation(&placement.candidates(&wants(1, 1)).await.unwrap()), before);
    assert_eq!(placement.claim(&consumer(2), provider(1), &wants(2, 600)).await.unwrap(), Claim::NoRoom);
    // A larger claim of the same consumer counts what it holds already as free.
    assert_eq!(placement.claim(&consumer(1), provider(1), &wants(2, 1000)).await.unwrap(), Claim::Held);
    assert_eq!(placement.claim(&consumer(1), provider(2), &wants(2, 600)).await.unwrap(), Claim::Held);
    assert_eq!(placement.holders().await.unwrap(), [(server(1), provider(2), wants(2, 600))]);
    let moved = placement.candidates(&wants(2, 1000)).await.unwrap();
    assert_eq!(moved.fitting.iter().map(|c| c.provider).collect::<Vec<_>>(), [provider(1)]);
    // A move that fails leaves the claim where it was.
    assert_eq!(placement.claim(&consumer(3), provider(1), &wants(1, 900)).await.unwrap(), Claim::Held);
    assert_eq!(placement.claim(&consumer(1), provider(1), &wants(2, 600)).await.unwrap(), Claim::NoRoom);
    assert_eq!(placement.holders().await.unwrap().len(), 2);
    // A host that is not there has no room.
    assert_eq!(placement.claim(&consumer(4), provider(9), &wants(1, 1)).await.unwrap(), Claim::NoRoom);
    let error = placement.claim(&consumer(4), provider(1), &BTreeMap::from([("X".to_owned(), 1)])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    cloud.assert_sound().await;
    for _ in 0..2 {
        placement.release(server(1)).await.unwrap();
        placement.release(server(3)).await.unwrap();
    }
    assert!(placement.holders().await.unwrap().is_empty());
    assert_eq!(placement.candidates(&wants(2, 1000)).await.unwrap().fitting.len(), 2);
    cloud.assert_sound().await;
}

#[tokio::test]
async fn reasons_name_the_best_that_was_there() {
    let cloud = Cloud::new().await;
    for (n, memory) in [(1, 100), (2, 300), (3, 5000)] {
        cloud.placement.ensure_provider(provider(n), &format!("host{n}"), &host(2, memory)).await.unwrap();
    }
    let mut no_memory = host(8, 1);
    no_memory.remove("MEMORY_MB");
    cloud.placement.ensure_provider(provider(4), "host4", &no_memory).await.unwrap();
    let found = cloud.placement.candidates(&wants(1, 400)).await.unwrap();
    assert_eq!((found.fitting.len(), found.hosts), (1, 4));
    let wanted = [
        ("MEMORY_MB not allowed in this amount: 400 asked, at most 300 for one server", 2),
        ("no MEMORY_MB: 400 asked, the host has none", 1),
    ];
    assert_eq!(found.refused, wanted.map(|(text, count)| (text.to_owned(), count)).into());
    // Pools that only share with others are no hosts.
    let pool = json!({"name": "pool", "uuid": provider(7).to_string()});
    let generation = cloud.ok("POST", "/resource_providers", pool).await["generation"].clone();
    let traits = json!({"traits": ["MISC_SHARES_VIA_AGGREGATE"], "resource_provider_generation": generation});
    cloud.ok("PUT", &format!("/resource_providers/{}/traits", provider(7)), traits).await;
    assert_eq!(cloud.placement.candidates(&wants(1, 400)).await.unwrap().hosts, 4);
}

#[tokio::test]
async fn a_node_may_say_what_it_has_again_and_again() {
    let cloud = Cloud::new().await;
    let say = |name: &'static str, inventory| {
        let placement = &cloud.placement;
        async move { placement.ensure_provider(provider(1), name, &inventory).await }
    };
    say("host", host(4, 1000)).await.unwrap();
    let path = format!("/resource_providers/{}", provider(1));
    let first = cloud.ok("GET", &path, json!(null)).await;
    say("host", host(4, 1000)).await.unwrap();
    assert_eq!(cloud.ok("GET", &path, json!(null)).await, first);
    cloud.placement.claim(&consumer(1), provider(1), &wants(1, 900)).await.unwrap();
    // It shrinks below what is used: nothing is lost, and nothing more is given out.
    say("renamed", host(4, 500)).await.unwrap();
    assert_eq!(cloud.ok("GET", &path, json!(null)).await["name"], "renamed");
    assert!(cloud.placement.candidates(&wants(1, 1)).await.unwrap().fitting.is_empty());
    // A class in use stays until it is not.
    let mut no_memory = host(4, 1);
    no_memory.remove("MEMORY_MB");
    say("renamed", no_memory.clone()).await.unwrap();
    let path = format!("{path}/inventories");
    let inventories = || cloud.ok("GET", &path, json!(null));
    assert!(inventories().await["inventories"].get("MEMORY_MB").is_some());
    cloud.placement.release(server(1)).await.unwrap();
    say("renamed", no_memory).await.unwrap();
    assert!(inventories().await["inventories"].get("MEMORY_MB").is_none());
    let error = cloud.placement.ensure_provider(provider(2), "renamed", &host(1, 1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    cloud.assert_sound().await;
}

/// A hundred servers want the last ten places at once.
#[tokio::test]
async fn nothing_is_given_out_twice() {
    let cloud = Cloud::new().await;
    cloud.placement.ensure_provider(provider(1), "host", &host(100, 10)).await.unwrap();
    let claims = (0..100).map(|n| {
        let placement = &cloud.placement;
        async move { placement.claim(&consumer(n), provider(1), &wants(1, 1)).await.unwrap() }
    });
    let held = join_all(claims).await.into_iter().filter(|c| *c == Claim::Held).count();
    assert_eq!(held, 10);
    assert_eq!(cloud.placement.holders().await.unwrap().len(), 10);
    cloud.assert_sound().await;
    // The same server from several sides: one claim.
    let twice = (0..20).map(|n| {
        let placement = &cloud.placement;
        async move {
            if n % 2 == 0 {
                placement.release(server(n)).await.unwrap();
            }
            placement.claim(&consumer(200), provider(1), &wants(1, 1)).await.unwrap()
        }
    });
    join_all(twice).await;
    cloud.assert_sound().await;
    assert!(cloud.placement.holders().await.unwrap().iter().filter(|(s, ..)| *s == server(200)).count() <= 1);
}

/// Another control node's writes are seen after a while; until then a claim is decided by the database all the same.
#[tokio::test]
async fn several_control_nodes_agree() {
    let cloud = Cloud::new().await;
    let (second, jobs) = cloud.second().await;
    cloud.placement.ensure_provider(provider(1), "host", &host(4, 1000)).await.unwrap();
    cloud.placement.claim(&consumer(1), provider(1), &wants(1, 600)).await.unwrap();
    assert_eq!(second.candidates(&wants(1, 600)).await.unwrap().hosts, 0, "it does not know yet");
    assert_eq!(second.claim(&consumer(2), provider(1), &wants(1, 600)).await.unwrap(), Claim::NoRoom);
    assert_eq!(second.claim(&consumer(3), provider(1), &wants(1, 300)).await.unwrap(), Claim::Held);
    jobs.start().await.unwrap();
    for _ in 0..2000 {
        if second.candidates(&wants(1, 1)).await.unwrap().hosts == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seen = second.candidates(&wants(1, 1)).await.unwrap();
    assert_eq!(seen.fitting[0].used, wants(2, 900));
    jobs.shutdown(Duration::from_secs(5)).await.unwrap();
    // A new process knows everything from the start.
    let (third, _) = cloud.second().await;
    assert_eq!(third.candidates(&wants(1, 1)).await.unwrap(), seen);
    cloud.assert_sound().await;
}
