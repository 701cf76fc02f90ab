//! Running a tool: the one place. Arguments are never joined into a line for a shell; time, memory and CPU are bounded,
//! because what the tool reads may have been made by somebody who wishes us ill.

use crate::hypervisor::Failure;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsStr;
use std::time::Duration;
use tokio::process::Command;

/// What a tool may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub time: Duration,
    pub memory: u64,
    pub cpu_seconds: u64,
}

/// Enough for work that does not grow with a disk's size.
pub(crate) const SMALL: Limits = Limits { time: Duration::from_secs(30), memory: 1 << 30, cpu_seconds: 20 };

/// Runs a tool to its end and returns what it printed.
pub(crate) async fn run<S: AsRef<OsStr>>(program: &str, args: &[S], limits: Limits) -> Result<String, Failure> {
    const PUBLIC: &str = "The host could not prepare the server.";
    let mut command = Command::new(program);
    command.args(args).env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let bounded = move || {
        let limit = |value| Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(Resource::As, limit(limits.memory))?;
        setrlimit(Resource::Cpu, limit(limits.cpu_seconds))?;
        setrlimit(Resource::Core, limit(0))?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(bounded) };
    let output = match tokio::time::timeout(limits.time, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(e)) => return Err(Failure::io(&format!("run {program}"), &e)),
        Err(_) => return Err(Failure::passing(PUBLIC, format!("{program} took longer than {:?}", limits.time))),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let internal = format!("{program} ended with {}: {}", output.status, stderr.trim());
    if stderr.contains("No space left") {
        return Err(Failure::here("No space is left on the host.", internal));
    }
    Err(Failure::passing(PUBLIC, internal))
}
