//! Real QEMU, with guests of a few bytes: they print a line and listen, or switch themselves off.

use crate::behaviour::life;
use crate::crash::everywhere;
use crate::host::{Host, next};
use bytes::Bytes;
use ferrostack_contracts::image::DiskFormat;
use ferrostack_contracts::node::*;
use ferrostack_node::Platform;
use ferrostack_node::hypervisor::qemu::{Accelerator, Qemu, QemuConfig};
use ferrostack_types::Env;
use ferrostack_types::ids::ServerId;
use std::path::Path;
use std::time::Duration;

/// `xor ax,ax; mov ds,ax; mov si,msg`, prints the text at the end to the first serial port, then `sti; hlt` for ever.
pub const TALKS: &[u8] =
    b"\x31\xc0\x8e\xd8\xbe\x16\x7c\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5\xfb\xf4\xeb\xfctiny guest is up\r\n\0";

/// `mov dx,0x604; mov ax,0x2000; out dx,ax`: the power management port of QEMU's PC.
const SWITCHES_OFF: &[u8] = b"\xba\x04\x06\xb8\x00\x20\xef\xf4\xeb\xfd";

/// A raw disk of 1 MiB that boots into this.
pub fn disk(code: &[u8]) -> Bytes {
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(b"\x55\xaa");
    Bytes::from(disk)
}

fn platform(state: &Path) -> Platform {
    let config = QemuConfig { accelerator: Some(Accelerator::Tcg), ..QemuConfig::new(state) };
    Platform::qemu(config, None, Env::system())
}

/// The processes that carry the server's id on their command line, zombies left out.
fn processes(server: ServerId) -> Vec<u32> {
    let needle = server.to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&needle)
    })
    .collect()
}

#[tokio::test]
async fn life_on_qemu() {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    let image = host.publish(disk(TALKS), DiskFormat::Raw);
    life(&mut host, image, || platform(&state)).await;
    assert!(!state.join("guests").read_dir().unwrap().flatten().any(|_| true));
}

#[tokio::test]
async fn dies_everywhere_on_qemu() {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    let image = host.publish(disk(TALKS), DiskFormat::Raw);
    everywhere(
        &mut host,
        &image,
        || platform(&state),
        |_, server, place| {
            assert_eq!(processes(server), Vec::<u32>::new(), "died at {place}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_guest_outlives_its_agent_and_is_adopted() {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    let begin = host.env.instant();
    host.start(platform(&state)).await;
    let wanted = host.guest(host.publish(disk(TALKS), DiskFormat::Raw));
    host.converge(&wanted).await;
    host.settled(&wanted).await;
    println!("running {:?} after the agent's start", begin.elapsed());
    let before = processes(wanted.server);
    assert_eq!(before.len(), 1);

    host.stop().await;
    assert_eq!(processes(wanted.server), before);
    host.control.seen.lock().clear();
    let begin = host.env.instant();
    host.start(platform(&state)).await;
    assert_eq!(host.settled(&wanted).await.state, GuestState::Running);
    println!("adopted {:?} after the agent's start", begin.elapsed());
    assert_eq!(processes(wanted.server), before);

    let log = NodeRequest::ConsoleLog { server: wanted.server, lines: Some(1) };
    let text = loop {
        match host.request(log.clone()).await.unwrap() {
            NodeReply::Text(text) if text.contains("tiny guest is up") => break text,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(text.trim_end(), "tiny guest is up");

    // Runs as nobody we know, confined.
    let status = std::fs::read_to_string(format!("/proc/{}/status", before[0])).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert!(field("Uid:").split_whitespace().all(|uid| uid.parse::<u32>().unwrap() >= 1_800_000_000), "{status}");

    let absent = next(&wanted, Want::Absent);
    host.converge(&absent).await;
    host.settled(&absent).await;
    assert_eq!(processes(wanted.server), Vec::<u32>::new());
    assert_eq!(host.leftovers(wanted.server), Vec::<String>::new());
}

#[tokio::test]
async fn a_guest_that_switches_itself_off_while_no_agent_looks_has_not_crashed() {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    host.start(platform(&state)).await;
    let image = host.publish(disk(SWITCHES_OFF), DiskFormat::Raw);
    let wanted = host.guest(image.clone());
    host.converge(&wanted).await;
    let seen = host.until(wanted.server, "stopped", |seen| seen.state == GuestState::Stopped).await;
    assert!(!seen.settled && seen.error.is_none());
    assert_eq!(processes(wanted.server), Vec::<u32>::new());

    // The agent dies just after it has let the guest run.
    let failpoints = ferrostack_node::Failpoints::recording();
    failpoints.arm("end-noted");
    host.stop().await;
    host.start_with(host.config(failpoints.clone()), platform(&state)).await;
    let other = host.guest(image);
    host.converge(&other).await;
    failpoints.died().await;
    host.stop().await;
    assert_eq!(processes(other.server).len(), 1);
    host.start(platform(&state)).await;
    let seen = host.until(other.server, "stopped", |seen| seen.state == GuestState::Stopped).await;
    assert!(!seen.settled);

    // One that is killed has.
    let third = host.guest(host.publish(disk(TALKS), DiskFormat::Raw));
    host.converge(&third).await;
    host.settled(&third).await;
    let pid = processes(third.server)[0];
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    host.until(third.server, "crashed", |seen| seen.state == GuestState::Crashed).await;
    for wanted in [wanted, other, third] {
        let absent = next(&wanted, Want::Absent);
        host.converge(&absent).await;
        host.settled(&absent).await;
    }
}

#[tokio::test]
async fn images_that_do_not_fit_or_refer_to_others_are_refused() {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    host.start(platform(&state)).await;

    let mut header = vec![0; 1 << 16];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    header[24..32].copy_from_slice(&(2_u64 << 30).to_be_bytes());
    let mut large = host.guest(host.publish(Bytes::from(header.clone()), DiskFormat::Qcow2));
    large.spec.as_mut().unwrap().root_gb = 1;
    header[15] = 0x70;
    let backed = host.guest(host.publish(Bytes::from(header), DiskFormat::Qcow2));
    let mut forged = host.guest(host.publish(disk(TALKS), DiskFormat::Raw));
    forged.spec.as_mut().unwrap().image.sha512 = "0".repeat(128);

    for (wanted, text) in [(large, "larger"), (backed, "qcow2"), (forged, "checksum")] {
        host.converge(&wanted).await;
        let error = host.settled(&wanted).await.error.unwrap();
        assert!(error.public.contains(text) && !error.elsewhere, "{error:?}");
        assert!(!error.public.contains('/'), "{error:?}");
    }
    let cached: Vec<_> = state.join("images").read_dir().unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(cached.len(), 2, "the forged one is not kept: {cached:?}");
}

#[tokio::test]
async fn an_image_is_fetched_once_for_many_guests() {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    host.start(platform(&state)).await;
    let image = host.publish(disk(TALKS), DiskFormat::Raw);
    let guests: Vec<WantedGuest> = (0..4).map(|_| host.guest(image.clone())).collect();
    host.request(NodeRequest::Converge(guests.clone())).await.unwrap();
    for wanted in &guests {
        host.settled(wanted).await;
    }
    assert_eq!(*host.control.reads.lock(), 2);
    let absent: Vec<WantedGuest> = guests.iter().map(|wanted| next(wanted, Want::Absent)).collect();
    host.request(NodeRequest::Converge(absent.clone())).await.unwrap();
    for wanted in &absent {
        host.settled(wanted).await;
        assert_eq!(processes(wanted.server), Vec::<u32>::new());
    }
}

#[tokio::test]
async fn an_image_is_evicted_once_no_guest_uses_it() {
    let mut host = Host::new();
    let state = host.dir.path().join("state");
    let config = ferrostack_node::Config { image_cache_bytes: 0, ..host.config(Default::default()) };
    host.start_with(config, platform(&state)).await;
    let cached = |image: &GuestImage| {
        let names = state.join("images").read_dir().unwrap().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.to_str().unwrap().starts_with(&image.id.to_string()))
    };
    let images = [(); 3].map(|()| host.publish(disk(TALKS), DiskFormat::Raw));
    let guests = images.clone().map(|image| {
        let mut wanted = host.guest(image);
        wanted.want = Want::Stopped;
        wanted
    });
    for wanted in &guests[..2] {
        host.converge(wanted).await;
        host.settled(wanted).await;
    }
    assert!(cached(&images[0]) && cached(&images[1]));
    let absent = next(&guests[0], Want::Absent);
    host.converge(&absent).await;
    host.settled(&absent).await;
    host.converge(&guests[2]).await;
    host.settled(&guests[2]).await;
    assert!(!cached(&images[0]) && cached(&images[1]) && cached(&images[2]));

    // One whose disk was made starts without its image in the cache, too.
    let on = next(&guests[1], Want::Running);
    host.control.images.lock().clear();
    host.converge(&on).await;
    assert_eq!(host.settled(&on).await.state, GuestState::Running);
    let absent = next(&on, Want::Absent);
    host.converge(&absent).await;
    host.settled(&absent).await;
}

/// Guests run as whoever the agent is here, so that who may open the device does not matter.
#[tokio::test]
async fn the_answer_about_kvm_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let ask = || {
        let config = QemuConfig { uids: None, ..QemuConfig::new(dir.path()) };
        async move { Qemu::new(config, Env::system()).accelerator().await }
    };
    let first = ask().await;
    let kept = dir.path().join("kvm-probe.json");
    assert_eq!(kept.exists(), Path::new("/dev/kvm").exists());
    if kept.exists() {
        // What is written is believed: the second driver runs no guest.
        let other = match first {
            Accelerator::Kvm => Accelerator::Tcg,
            Accelerator::Tcg => Accelerator::Kvm,
        };
        let works = |accelerator| format!("\"works\":{}", accelerator == Accelerator::Kvm);
        let text = std::fs::read_to_string(&kept).unwrap().replace(&works(first), &works(other));
        std::fs::write(&kept, text).unwrap();
        assert_eq!(ask().await, other);
    }
}
