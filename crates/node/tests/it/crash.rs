//! The agent dies at every place at which it can, and the next one finishes the work.

use crate::fake::machine;
use crate::host::{Host, next};
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::node::*;
use ferrostack_node::hypervisor::fake::FakeOptions;
use ferrostack_node::{Failpoints, Platform};
use ferrostack_types::ids::ServerId;

/// Walks a guest through start, stop, start and removal; dies at `place` if there is one, and starts another agent.
/// `starts` counts how often the guest was really started.
async fn walk(host: &mut Host, image: &GuestImage, platform: Platform, place: Option<&str>) -> (Failpoints, ServerId) {
    let failpoints = Failpoints::recording();
    if let Some(place) = place {
        failpoints.arm(place);
    }
    let config = host.config(failpoints.clone());
    host.start_with(config, platform.clone()).await;
    let mut wanted = host.guest(image.clone());
    for want in [Want::Running, Want::Stopped, Want::Running, Want::Absent] {
        if wanted.generation > 1 || want != Want::Running {
            wanted = next(&wanted, want);
            if want != Want::Absent && wanted.spec.is_none() {
                unreachable!("a guest that is gone is not wanted again here");
            }
        }
        host.converge(&wanted).await;
        let died = tokio::select! {
            biased;
            () = failpoints.died() => true,
            _ = host.settled(&wanted) => false,
        };
        if died {
            host.stop().await;
            host.start(platform.clone()).await;
            host.settled(&wanted).await;
        }
    }
    (failpoints, wanted.server)
}

/// Every place, on any hypervisor.
pub async fn everywhere(
    host: &mut Host,
    image: &GuestImage,
    platform: impl Fn() -> Platform,
    check: impl Fn(&Host, ServerId, &str),
) {
    let (failpoints, server) = walk(host, image, platform(), None).await;
    check(host, server, "nowhere");
    host.stop().await;
    let places = failpoints.seen();
    assert!(places.len() >= 10, "{places:?}");
    for place in places {
        let (_, server) = walk(host, image, platform(), Some(place)).await;
        assert_eq!(host.leftovers(server), Vec::<String>::new(), "died at {place}");
        check(host, server, place);
        host.stop().await;
    }
}

#[tokio::test]
async fn dies_everywhere_on_the_fake_hypervisor() {
    let mut host = Host::new();
    let image = host.publish("disk".into(), DiskFormat::Raw);
    let (hypervisor, platform) = machine(FakeOptions::default());
    let starts = parking_lot::Mutex::new(0);
    everywhere(
        &mut host,
        &image,
        || platform.clone(),
        |_, _, place| {
            assert_eq!(hypervisor.processes(), 0, "died at {place}");
            *starts.lock() += 1;
        },
    )
    .await;
    // Two starts in each walk, never a third: all starts ever, over all walks.
    assert_eq!(hypervisor.all_starts(), 2 * *starts.lock());
}
