//! Guests on a real Open vSwitch: QEMU has the taps, the switch has the ports, and both are gone with the guest.

use crate::host::{Host, next};
use crate::qemu::{TALKS, disk};
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::network::{FixedIp, MetadataPort, PortInfo};
use ferrostack_contracts::node::*;
use ferrostack_node::Platform;
use ferrostack_node::hypervisor::qemu::{Accelerator, QemuConfig};
use ferrostack_node::plumbing::{tap, tap_name};
use ferrostack_ovn::daemons::{Config, Engine};
use ferrostack_ovn::plug::Switch;
use ferrostack_types::Env;
use ferrostack_types::ids::{NetworkId, PortId, SubnetId};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn port(env: &Env, network_id: NetworkId, metadata: &MetadataPort, number: u8) -> PortInfo {
    PortInfo {
        id: PortId(env.uuid()),
        network_id,
        network_name: "net".into(),
        mac: format!("fa:16:3e:00:00:{number:02x}"),
        mtu: 1442,
        fixed_ips: vec![FixedIp {
            subnet_id: SubnetId(env.uuid()),
            address: format!("10.0.0.{number}").parse().unwrap(),
            prefix: 24,
            gateway: None,
            dns: Vec::new(),
            floating: Vec::new(),
        }],
        security_groups: Vec::new(),
        metadata: Some(metadata.clone()),
        preexisting: false,
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not in time: {what}");
}

/// All in a network namespace of this test's thread, in which the engines run, too.
#[tokio::test]
async fn a_guest_is_plugged_in_and_nothing_is_left_of_it() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let engines = tempfile::tempdir().unwrap();
    let config = Config::single(engines.path().join("ovn"), "host");
    let engine = Engine::start(config.clone(), Env::system()).await.unwrap();
    let walked = AssertUnwindSafe(walk(&engine)).catch_unwind().await;
    engine.stop().await.unwrap();
    Engine::purge(&config, &Env::system()).await.unwrap();
    if let Err(panic) = walked {
        std::panic::resume_unwind(panic);
    }
}

async fn platform(engine: &Engine, state: &Path) -> (Arc<Switch>, Platform) {
    let bridge = engine.switch().integration_bridge();
    let switch = Arc::new(Switch::connect(&engine.switch_socket(), bridge, Env::system()).await.unwrap());
    let config = QemuConfig { accelerator: Some(Accelerator::Tcg), ..QemuConfig::new(state) };
    (Arc::clone(&switch), Platform::qemu(config, Some(switch), Env::system()))
}

async fn walk(engine: &Engine) {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    let (switch, first) = platform(engine, &state).await;
    host.start(first).await;
    let network = NetworkId(host.env.uuid());
    let metadata = MetadataPort {
        id: PortId(host.env.uuid()),
        mac: "fa:16:3e:00:00:fe".into(),
        addresses: vec!["10.0.0.2/24".parse().unwrap()],
    };
    let mut wanted = host.guest(host.publish(disk(TALKS), DiskFormat::Raw));
    let ports = [1, 2].map(|number| port(&host.env, network, &metadata, 10 + number));
    wanted.spec.as_mut().unwrap().nics = ports.to_vec();
    host.converge(&wanted).await;
    let seen = host.settled(&wanted).await;
    assert_eq!((seen.state, seen.error), (GuestState::Running, None));

    let plugged = |id: PortId| switch.plugged().iter().any(|plugged| plugged.port == id);
    for port in &ports {
        assert!(plugged(port.id));
        // Somebody has it open: it cannot be opened again.
        assert!(tap::open(&tap_name(port.id)).is_err());
    }
    eventually("the metadata port is plugged", || plugged(metadata.id)).await;

    // Another agent serves metadata again, and finds a port that no guest has.
    host.stop().await;
    let orphan = port(&host.env, network, &metadata, 99);
    let (switch, second) = platform(engine, &state).await;
    second.plumbing.plug(&orphan).await.unwrap();
    host.start(second).await;
    let plugged = |id: PortId| switch.plugged().iter().any(|plugged| plugged.port == id);
    // First out of the switch, then the device.
    eventually("the orphan is gone", || !plugged(orphan.id) && !tap::exists(&tap_name(orphan.id)).unwrap()).await;
    eventually("the metadata port is plugged again", || plugged(metadata.id)).await;

    let absent = next(&wanted, Want::Absent);
    host.converge(&absent).await;
    host.settled(&absent).await;
    for port in &ports {
        assert!(!plugged(port.id));
        assert!(!tap::exists(&tap_name(port.id)).unwrap());
    }
    eventually("the metadata port is gone", || !plugged(metadata.id)).await;
    assert_eq!(switch.plugged(), Vec::new());
    host.stop().await;
}
