//! `ferrostack doctor`: what is there, what is missing, and what that costs.

use ferrostack_types::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a check found.
enum Finding {
    Good(String),
    /// Works, at a cost.
    Costs(String),
    /// Does not work.
    Missing(String),
}

/// Runs it. Exits with 1 if something that a guest needs is missing.
pub async fn run(home: &Path) -> Result<ExitCode> {
    let checks: [(&str, Finding); 9] = [
        ("processor", processors()),
        ("memory", memory()),
        ("disk", disk(home)),
        ("rights", rights()),
        ("QEMU", program("qemu-system-x86_64", "guests cannot run; install qemu-system-x86")),
        ("qemu-img", program("qemu-img", "disks cannot be made; install qemu-utils")),
        ("KVM", kvm(home)),
        ("OVN", ovn()),
        ("packets", datapath()),
    ];
    let mut missing = 0;
    for (name, finding) in checks {
        let (mark, text) = match finding {
            Finding::Good(text) => ("ok     ", text),
            Finding::Costs(text) => ("costs  ", text),
            Finding::Missing(text) => {
                missing += 1;
                ("MISSING", text)
            }
        };
        println!("{mark}  {name:<10} {text}");
    }
    if missing > 0 {
        println!("\n{missing} thing(s) missing; `scripts/up` installs what the distribution has.");
    }
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn processors() -> Finding {
    match std::thread::available_parallelism() {
        Ok(count) if count.get() >= 2 => Finding::Good(format!("{count} logical processors")),
        Ok(_) => Finding::Costs("one logical processor: guests and control plane take turns".to_owned()),
        Err(_) => Finding::Costs("the number of processors is unknown".to_owned()),
    }
}

fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    let mib = kib / 1024;
    if mib < 1024 {
        Finding::Costs(format!("{mib} MiB available: room for the cloud and a few of the smallest guests"))
    } else {
        Finding::Good(format!("{mib} MiB available"))
    }
}

fn disk(home: &Path) -> Finding {
    let place: PathBuf = home.ancestors().find(|p| p.exists()).map(Path::to_owned).unwrap_or_else(|| "/".into());
    match rustix::fs::statvfs(&place) {
        Ok(stat) => {
            let gib = (stat.f_bavail.saturating_mul(stat.f_frsize)) >> 30;
            if gib < 5 {
                Finding::Costs(format!("{gib} GiB free at {}: images and disks will soon fill it", place.display()))
            } else {
                Finding::Good(format!("{gib} GiB free at {}", place.display()))
            }
        }
        Err(error) => Finding::Missing(format!("{} cannot be looked at: {error}", place.display())),
    }
}

fn rights() -> Finding {
    if rustix::process::geteuid().is_root() {
        Finding::Good("root: may make bridges, taps and namespaces".to_owned())
    } else {
        Finding::Missing("not root: bridges, taps and namespaces cannot be made; run it with sudo".to_owned())
    }
}

/// Where a program is, by `PATH` and the places that a user's `PATH` often lacks.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/share/openvswitch/scripts"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn program(name: &str, otherwise: &str) -> Finding {
    let Some(file) = find(name) else { return Finding::Missing(otherwise.to_owned()) };
    let version = Command::new(&file).arg("--version").output().ok();
    let first = version.and_then(|o| String::from_utf8_lossy(&o.stdout).lines().next().map(str::to_owned));
    Finding::Good(first.unwrap_or_else(|| file.display().to_string()))
}

fn kvm(home: &Path) -> Finding {
    if !Path::new("/dev/kvm").exists() {
        return Finding::Costs("no /dev/kvm: guests are emulated, some 10 to 50 times slower".to_owned());
    }
    // The node has really run a probe guest and keeps the answer: that the device is there says little.
    match std::fs::read_to_string(home.join("node/kvm-probe.json")) {
        Ok(text) if text.contains("\"works\":true") => Finding::Good("a probe guest has run with it".to_owned()),
        Ok(_) => Finding::Costs("/dev/kvm is there but a probe guest did not run: guests are emulated".to_owned()),
        Err(_) => Finding::Costs(
            "/dev/kvm is there; whether guests run with it is tried at the first `ferrostack up`".to_owned(),
        ),
    }
}

fn ovn() -> Finding {
    let wanted = ["ovsdb-server", "ovs-vswitchd", "ovn-northd", "ovn-controller", "ovsdb-tool"];
    let missing: Vec<&str> = wanted.into_iter().filter(|name| find(name).is_none()).collect();
    if missing.is_empty() {
        Finding::Good("Open vSwitch and OVN are installed; they run in a directory of the cloud's own".to_owned())
    } else {
        Finding::Missing(format!(
            "{} not found; install openvswitch-switch, ovn-central and ovn-host",
            missing.join(", ")
        ))
    }
}

fn datapath() -> Finding {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let loaded = modules.lines().any(|line| line.starts_with("openvswitch "));
    if loaded || Path::new("/sys/module/openvswitch").exists() {
        Finding::Good("kernel datapath (module openvswitch)".to_owned())
    } else {
        Finding::Costs("no kernel module openvswitch: packets go through user space, about 1 Gbit/s a host".to_owned())
    }
}
