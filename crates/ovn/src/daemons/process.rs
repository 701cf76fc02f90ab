//! One daemon of Open vSwitch or OVN: started, found again, stopped.
//!
//! All of them know `--detach` (the starter returns when the daemon serves), `--pidfile` (locked while it lives) and
//! `--log-file`; control sockets are named by process id in the run directory (`OVS_RUNDIR`; ovn-controller has no
//! `--unixctl` before 23.06). A pidfile alone proves nothing: after a reboot its number is somebody else's. So a daemon
//! counts as alive only if the process of that number runs the executable that it should, with the pidfile
//! that only ours has, in our network namespace.

use super::link::network_namespace;
use ferrostack_types::{Env, Error, Result, ResultExt};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(15);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// A daemon.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    /// For logs; also the stem of its files.
    pub(super) name: &'static str,
    /// The executable's file name.
    pub(super) program: &'static str,
    pub(super) arguments: Vec<OsString>,
    pub(super) run_dir: PathBuf,
    pub(super) log_dir: PathBuf,
}

impl Daemon {
    fn file(&self, extension: &str) -> PathBuf {
        self.run_dir.join(format!("{}.{extension}", self.name))
    }

    fn pidfile_argument(&self) -> String {
        format!("--pidfile={}", self.file("pid").display())
    }

    /// Its process, if it is alive and ours.
    pub(super) fn alive(&self) -> Option<Pid> {
        let pid: i32 = std::fs::read_to_string(self.file("pid")).ok()?.trim().parse().ok()?;
        self.is_ours(pid).then(|| Pid::from_raw(pid))?
    }

    fn is_ours(&self, pid: i32) -> bool {
        let executable = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        // After an upgrade of the package the running file is "(deleted)": still the one that was started.
        let executable = executable.to_string_lossy();
        let executable = executable.trim_end_matches(" (deleted)");
        Path::new(executable).file_name().is_some_and(|name| name == self.program)
            && has_argument(pid, self.pidfile_argument().as_ref())
    }

    /// Whether a process of ours was started as it would be now.
    fn is_current(&self, pid: Pid) -> bool {
        let pid = pid.as_raw_nonzero().get();
        self.arguments.iter().all(|argument| has_argument(pid, argument))
    }

    fn in_our_namespace(&self, pid: Pid) -> bool {
        network_namespace(&pid.as_raw_nonzero().to_string()) == network_namespace("self")
    }

    /// Starts it unless it is alive. Returns whether it had to be started, after it serves.
    pub(super) async fn ensure(&self, env: &Env) -> Result<bool> {
        if let Some(pid) = self.alive() {
            if self.in_our_namespace(pid) && self.is_current(pid) {
                return Ok(false);
            }
            tracing::warn!(daemon = self.name, "daemon runs with other settings; starting it anew");
            self.stop(env).await?;
        }
        self.start().await.map(|()| true)
    }

    async fn start(&self) -> Result<()> {
        let program = find_program(self.program)?;
        self.forget_control_sockets();
        let mut command = tokio::process::Command::new(program);
        command
            .arg("--detach")
            .arg("--no-chdir")
            .arg(self.pidfile_argument())
            .arg("--overwrite-pidfile")
            .arg(format!("--log-file={}", self.log_dir.join(format!("{}.log", self.name)).display()))
            .args(["-vconsole:off", "-vsyslog:off", "-vfile:warn"])
            .args(&self.arguments)
            .envs(["OVS_RUNDIR", "OVN_RUNDIR", "OVS_DBDIR", "OVN_DBDIR"].map(|name| (name, &self.run_dir)))
            .envs(["OVS_LOGDIR", "OVN_LOGDIR"].map(|name| (name, &self.log_dir)))
            // Arenas per thread cost megabytes each.
            .env("MALLOC_ARENA_MAX", "1")
            // Not killed if the caller goes away: half a start would be a daemon without a pidfile.
            .stdin(std::process::Stdio::null());
        let output = tokio::time::timeout(START_TIMEOUT, command.output()).await;
        let output = output.map_err(|_| Error::internal(format!("{} does not come up", self.name)))?;
        let output = output.context(format!("start {}", self.name))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::internal(format!("{} does not start: {}", self.name, text.trim())));
        }
        Ok(())
    }

    /// One that was killed leaves its control socket behind.
    fn forget_control_sockets(&self) {
        let prefix = format!("{}.", self.program);
        for entry in std::fs::read_dir(&self.run_dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".ctl"));
            if pid.and_then(|pid| pid.parse::<u32>().ok()).is_some_and(|pid| !is_alive(pid)) {
                // Only tidiness: nothing depends on it.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Ends it. Repeatable.
    pub(super) async fn stop(&self, env: &Env) -> Result<()> {
        let Some(pid) = self.alive() else { return Ok(()) };
        for (signal, patience) in [(Signal::TERM, STOP_TIMEOUT), (Signal::KILL, STOP_TIMEOUT)] {
            // It may be gone since.
            let _ = kill_process(pid, signal);
            let end = env.instant() + patience;
            while !has_ended(pid) {
                if env.instant() > end {
                    break;
                }
                env.sleep(POLL).await;
            }
            if has_ended(pid) {
                return Ok(());
            }
        }
        Err(Error::internal(format!("{} does not end", self.name)))
    }
}

fn has_argument(pid: i32, argument: &OsStr) -> bool {
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command_line.split(|byte| *byte == 0).any(|there| there == argument.as_bytes())
}

/// Whether a process is gone or a zombie. One that is ending loses its executable first and its files (with them
/// its network devices) later, so this is not the reverse of [`Daemon::is_ours`].
fn has_ended(pid: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) else { return true };
    let zombie = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
    // The first thread may have ended before others that still hold the files.
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().count();
    zombie && threads <= 1
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Looks for a program where system tools are, which need not be in an ordinary user's `PATH`.
pub(super) fn find_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(usual);
    let found = places.find_map(|place| Some(place.join(name)).filter(|program| program.is_file()));
    found.ok_or_else(|| {
        Error::unavailable("The network engine is not installed.").with_retryable(false).context(format!("no {name}"))
    })
}

/// Runs a tool that answers at once and returns what it says.
pub(super) async fn run_tool(name: &str, arguments: &[OsString]) -> Result<String> {
    let output = tokio::process::Command::new(find_program(name)?)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .context(format!("run {name}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::internal(format!("{name}: {}", text.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
