//! Whether KVM really works here: found out by running a tiny guest with a time limit.
//!
//! That `/dev/kvm` opens and makes a machine says little: inside a virtual machine without nested paging in hardware it
//! does both, and then stock kernels crawl or hang. So the tiny guest does what a kernel does early: it enters long
//! mode, builds page tables, takes 128,000 page faults and changes CR3 2,000 times. Hardware does that in some ten
//! milliseconds, and even translated it takes less than a second; where KVM only seems to work, tens of seconds.
//!
//! The answer is kept with what it depends on: kernel, QEMU, and the boot, since a virtual machine may be moved.

use super::QemuConfig;
use super::command::Accelerator;
use crate::store::write_synced;
use crate::tools;
use ferrostack_types::Env;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// A boot sector; its source is `probe.s` beside this file.
const PAYLOAD: &[u8] = include_bytes!("probe.bin");

/// What `-device isa-debug-exit` makes of the number that the payload writes when it is done.
const DONE: i32 = (0x2a << 1) | 1;

/// How long the tiny guest may take, QEMU's own start included.
const LIMIT: Duration = Duration::from_secs(3);

#[derive(Serialize, Deserialize)]
struct Answer {
    key: String,
    works: bool,
}

/// What guests are to be accelerated with.
pub(super) async fn accelerator(config: &QemuConfig, drops_root: bool, env: &Env) -> Accelerator {
    let Ok(device) = std::fs::metadata("/dev/kvm") else { return Accelerator::Tcg };
    // Guests that are not root are in the device's group.
    if drops_root && device.mode() & 0o060 != 0o060 {
        tracing::warn!("KVM is not used: the group of /dev/kvm may not open it (usually: group kvm, mode 0660)");
        return Accelerator::Tcg;
    }
    let key = key(config).await;
    let path = config.state_dir.join("kvm-probe.json");
    let known = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Answer>(&text).ok());
    let works = match known.filter(|answer| answer.key == key) {
        Some(answer) => answer.works,
        None => {
            let begin = env.instant();
            let dir = config.state_dir.join("kvm-probe");
            let works = run_payload(&config.program, &dir, "kvm", "host", LIMIT).await == Some(DONE);
            tracing::info!(works, took = ?begin.elapsed(), "tried KVM with a tiny guest");
            let answer = serde_json::to_vec(&Answer { key, works }).unwrap_or_default();
            if let Err(error) = write_synced(&path, &answer) {
                tracing::warn!(error = error.internal_text(), "the answer about KVM cannot be kept");
            }
            works
        }
    };
    if works { Accelerator::Kvm } else { Accelerator::Tcg }
}

async fn key(config: &QemuConfig) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let (kernel, boot) = (read("/proc/sys/kernel/osrelease"), read("/proc/sys/kernel/random/boot_id"));
    format!("{kernel} {boot} {}", version(&config.program).await)
}

/// Runs the tiny guest and returns QEMU's exit code.
async fn run_payload(program: &str, dir: &Path, accelerator: &str, cpu: &str, limit: Duration) -> Option<i32> {
    let disk = dir.join("disk");
    std::fs::create_dir_all(dir).ok()?;
    let code = async {
        std::fs::write(&disk, PAYLOAD).ok()?;
        let mut command = tokio::process::Command::new(program);
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "pc",
            "-m",
            "32",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args(["-accel", accelerator, "-cpu", cpu]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        command.arg("-drive").arg(format!("if=ide,format=raw,file={}", disk.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().ok()?;
        tokio::time::timeout(limit, child.wait()).await.ok()?.ok()?.code()
    }
    .await;
    let _ = std::fs::remove_dir_all(dir);
    code
}

/// QEMU's version as Nova encodes it, 0 if it cannot be told.
pub(super) async fn version(program: &str) -> u32 {
    let Ok(text) = tools::run(program, &["--version"], tools::SMALL).await else { return 0 };
    parse_version(&text)
}

fn parse_version(text: &str) -> u32 {
    let Some(word) = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())) else {
        return 0;
    };
    let mut parts = word.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    part() * 1_000_000 + part() * 1_000 + part()
}

/// The group that may open `/dev/kvm`.
pub(super) fn kvm_group() -> Option<u32> {
    std::fs::metadata("/dev/kvm").ok().map(|meta| meta.gid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_nova_encodes_them() {
        assert_eq!(parse_version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"), 7_002_022);
        assert_eq!(parse_version("nothing"), 0);
    }

    /// Else an answer of "does not work" would say nothing.
    #[tokio::test]
    async fn the_tiny_guest_comes_to_its_end_when_translated() {
        let program = format!("qemu-system-{}", std::env::consts::ARCH);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(run_payload(&program, &dir.path().join("x"), "tcg", "max", LIMIT * 20).await, Some(DONE));
    }
}
