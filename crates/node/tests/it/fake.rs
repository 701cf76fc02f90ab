//! What only the fake hypervisor can show.

use crate::host::{Host, next};
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::node::*;
use ferrostack_node::hypervisor::fake::{FakeHypervisor, FakeOptions};
use ferrostack_node::plumbing::fake::FakePlumbing;
use ferrostack_node::{Config, Failure, Platform};
use ferrostack_types::ids::ServerId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub fn machine(options: FakeOptions) -> (Arc<FakeHypervisor>, Platform) {
    let hypervisor = Arc::new(FakeHypervisor::new(options));
    let platform = Platform {
        hypervisor: Arc::clone(&hypervisor) as _,
        plumbing: Arc::new(FakePlumbing::default()),
        metadata: None,
    };
    (hypervisor, platform)
}

#[tokio::test]
async fn a_guest_that_switches_itself_off_stays_off_until_a_newer_wish() {
    let mut host = Host::new();
    let (hypervisor, platform) = machine(FakeOptions::default());
    host.start(platform).await;
    let wanted = host.guest(host.publish("disk".into(), DiskFormat::Raw));
    host.converge(&wanted).await;
    host.settled(&wanted).await;

    hypervisor.guest_powers_off(wanted.server);
    let seen = host.until(wanted.server, "stopped", |seen| seen.state == GuestState::Stopped).await;
    assert!(!seen.settled && seen.error.is_none());
    host.converge(&wanted).await;
    assert_eq!(hypervisor.processes(), 0);

    let again = next(&wanted, Want::Running);
    host.converge(&again).await;
    assert_eq!(host.settled(&again).await.state, GuestState::Running);

    hypervisor.guest_crashes(wanted.server);
    let seen = host.until(wanted.server, "crashed", |seen| seen.state == GuestState::Crashed).await;
    assert!(!seen.settled);
    assert_eq!(hypervisor.starts(wanted.server), 2);
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_permanent_ones_reported() {
    let mut host = Host::new();
    let (hypervisor, platform) = machine(FakeOptions::default());
    host.start(platform).await;
    let image = host.publish("disk".into(), DiskFormat::Raw);

    hypervisor.fail_starts(2, Failure::passing("busy", "busy"));
    let lucky = host.guest(image.clone());
    host.converge(&lucky).await;
    let seen = host.settled(&lucky).await;
    assert_eq!((seen.state, seen.error), (GuestState::Running, None));

    hypervisor.fail_starts(1, Failure::here("No space is left on the host.", "ENOSPC on /var"));
    let unlucky = host.guest(image);
    host.converge(&unlucky).await;
    let seen = host.settled(&unlucky).await;
    let error = seen.error.unwrap();
    assert!(error.elsewhere);
    assert_eq!((seen.state, error.public.as_str()), (GuestState::Stopped, "No space is left on the host."));

    let again = next(&unlucky, Want::Running);
    host.converge(&again).await;
    assert_eq!(host.settled(&again).await.error, None);
}

#[tokio::test]
async fn reports_wait_for_a_control_plane_that_is_away_and_sequences_grow_over_restarts() {
    let mut host = Host::new();
    let (_, platform) = machine(FakeOptions::default());
    host.start(platform.clone()).await;
    host.control.deaf.store(true, Ordering::SeqCst);
    let wanted = host.guest(host.publish("disk".into(), DiskFormat::Raw));
    host.converge(&wanted).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(host.control.seen.lock().is_empty());
    host.control.deaf.store(false, Ordering::SeqCst);
    let first = host.settled(&wanted).await;

    host.stop().await;
    host.control.seen.lock().clear();
    host.start(platform).await;
    let second = host.settled(&wanted).await;
    assert!(second.sequence > first.sequence);
    assert_eq!(second.state, GuestState::Running);
}

#[tokio::test]
async fn a_late_converge_cannot_bring_a_deleted_guest_back() {
    let mut host = Host::new();
    let (hypervisor, platform) = machine(FakeOptions::default());
    host.start(platform.clone()).await;
    let wanted = host.guest(host.publish("disk".into(), DiskFormat::Raw));
    host.converge(&wanted).await;
    let absent = next(&wanted, Want::Absent);
    host.converge(&absent).await;
    host.settled(&absent).await;
    host.converge(&wanted).await;
    host.stop().await;
    host.start(platform).await;
    host.control.seen.lock().clear();
    host.converge(&wanted).await;
    assert_eq!(host.settled(&absent).await.state, GuestState::Absent);
    assert_eq!(hypervisor.processes(), 0);
    assert_eq!(host.leftovers(wanted.server), Vec::<String>::new());

    // One that never was here leaves a tombstone, too.
    let stranger = WantedGuest { server: ServerId(host.env.uuid()), ..absent };
    host.converge(&stranger).await;
    assert_eq!(host.settled(&stranger).await.state, GuestState::Absent);
}

#[tokio::test]
async fn a_thousand_guests_in_memory() {
    let mut host = Host::new();
    let (hypervisor, platform) = machine(FakeOptions::default());
    let config = Config { durable: false, ..host.config(Default::default()) };
    host.start_with(config, platform).await;
    let image = host.publish("disk".into(), DiskFormat::Raw);
    let guests: Vec<WantedGuest> = (0..1000).map(|_| host.guest(image.clone())).collect();
    let begin = host.env.instant();
    for some in guests.chunks(100) {
        host.request(NodeRequest::Converge(some.to_vec())).await.unwrap();
    }
    for wanted in &guests {
        assert_eq!(host.settled(wanted).await.state, GuestState::Running);
    }
    println!("1,000 fake guests running after {:?}", begin.elapsed());
    assert_eq!(hypervisor.processes(), 1000);
    assert!(!host.dir.path().join("state").exists());
    let NodeReply::Guests(listed) = host.request(NodeRequest::ListGuests).await.unwrap() else { panic!() };
    assert_eq!(listed.len(), 1000);
}

#[tokio::test]
async fn many_hosts_in_one_process() {
    let mut host = Host::new();
    let image = host.publish("disk".into(), DiskFormat::Raw);
    let begin = host.env.instant();
    let mut agents = Vec::new();
    let mut guests = Vec::new();
    for number in 0..200 {
        let config = Config { durable: false, name: format!("host-{number}"), ..host.config(Default::default()) };
        host.start_with(config, Platform::fake(FakeOptions::default())).await;
        let some: Vec<WantedGuest> = (0..10).map(|_| host.guest(image.clone())).collect();
        host.request(NodeRequest::Converge(some.clone())).await.unwrap();
        guests.extend(some);
        agents.extend(host.agent.take());
    }
    for wanted in &guests {
        assert_eq!(host.settled(wanted).await.state, GuestState::Running);
    }
    println!("200 hosts with 10 guests each after {:?}", begin.elapsed());
    let ids: std::collections::BTreeSet<_> = host.control.hellos.lock().iter().map(|info| info.id).collect();
    assert_eq!(ids.len(), 200);
    for agent in agents {
        agent.shutdown().await;
    }
}
