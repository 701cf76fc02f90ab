//! One suite for every hypervisor.

use crate::fake::machine;
use crate::host::{Host, next};
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::node::*;
use ferrostack_node::Platform;
use ferrostack_node::hypervisor::fake::FakeOptions;

/// The life of a guest, with agents that come and go. `platform` gives each agent its driver, on the same machine.
pub async fn life(host: &mut Host, image: GuestImage, platform: impl Fn() -> Platform) {
    host.start(platform()).await;
    let mut wanted = host.guest(image);
    host.converge(&wanted).await;
    let seen = host.settled(&wanted).await;
    assert_eq!((seen.state, seen.boot, seen.error.clone()), (GuestState::Running, 1, None));

    // A wish that is not newer changes nothing, and the answer is repeated.
    let stale = WantedGuest { want: Want::Stopped, ..wanted.clone() };
    host.converge(&stale).await;

    // Paused, with another agent in between.
    host.stop().await;
    host.start(platform()).await;
    wanted = next(&wanted, Want::Paused);
    host.converge(&wanted).await;
    assert_eq!(host.settled(&wanted).await.state, GuestState::Paused);
    wanted = next(&wanted, Want::Running);
    host.converge(&wanted).await;
    assert_eq!(host.settled(&wanted).await.state, GuestState::Running);

    // Both reboots.
    for soft_reboot in [false, true] {
        wanted = next(&wanted, Want::Running);
        wanted.boot += 1;
        wanted.soft_reboot = soft_reboot;
        host.converge(&wanted).await;
        let seen = host.settled(&wanted).await;
        assert_eq!((seen.state, seen.boot), (GuestState::Running, wanted.boot));
    }

    // Off and on; a guest that does not listen loses its power.
    wanted = next(&wanted, Want::Stopped);
    host.converge(&wanted).await;
    assert_eq!(host.settled(&wanted).await.state, GuestState::Stopped);
    wanted = next(&wanted, Want::Running);
    host.converge(&wanted).await;
    assert_eq!(host.settled(&wanted).await.state, GuestState::Running);

    let console = NodeRequest::Console { server: wanted.server, kind: ConsoleKind::Vnc };
    assert!(matches!(host.request(console).await.unwrap(), NodeReply::Console(ConsoleAddress::Unix(_))));
    let log = NodeRequest::ConsoleLog { server: wanted.server, lines: None };
    let NodeReply::Text(text) = host.request(log.clone()).await.unwrap() else { panic!("no text") };
    assert!(!text.is_empty());

    wanted = next(&wanted, Want::Absent);
    host.converge(&wanted).await;
    assert_eq!(host.settled(&wanted).await.state, GuestState::Absent);
    assert_eq!(host.leftovers(wanted.server), Vec::<String>::new());
    assert!(host.request(log).await.is_err());
    host.stop().await;
}

#[tokio::test]
async fn life_on_the_fake_hypervisor() {
    for deaf in [false, true] {
        let mut host = Host::new();
        let image = host.publish("disk".into(), DiskFormat::Raw);
        // A new hypervisor each time: what runs is found on the disk, as in another process.
        life(&mut host, image, || machine(FakeOptions { deaf, ..FakeOptions::default() }).1).await;
    }
}
