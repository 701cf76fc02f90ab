//! QEMU, started directly and driven over its monitor.
//!
//! A guest's directory belongs to root, and `vm/` in it to the guest's own user, as whom QEMU runs. What QEMU writes it
//! writes in `vm/`; what is read from there is not trusted, and no link in it is followed.
//!
//! ```text
//!  guests/<server>/
//!    wanted.json running.json   the agent's
//!    lock                       held by QEMU as long as it lives; see process.rs
//!    base                       hard link into the image cache, read-only
//!    config.iso                 the config drive, read-only
//!    qemu.log                   what QEMU says on stderr
//!    console.log.1              the older part of the serial console's log
//!    vm/                        disk.qcow2 console.log qmp.sock vnc.sock serial.sock
//! ```
//!
//! * *QEMU is not the agent's child*: it outlives it, and is found again by its lock. Under systemd the agent's unit
//!   needs `KillMode=process`, or stopping it ends the guests.
//! * *A guest that switches itself off* leaves its QEMU stopped in the state `shutdown` (`-no-shutdown`), so that the
//!   reason is known even if no agent was there. A QEMU that is gone without having been killed has crashed.
//! * *The console's log* is cut by copying its end to `console.log.1` and truncating the file: QEMU appends, so it goes
//!   on at the new end. What the guest prints between the copy and the truncation is lost; that is bounded by
//!   milliseconds every megabyte, and accepted.

mod command;
mod disk;
mod probe;
mod process;
mod qmp;

pub use command::Accelerator;

use super::{ChangeHook, Failure, GuestRef, Hypervisor, HypervisorInfo, Power};
use crate::Capacity;
use crate::images::ImageCache;
use crate::metadata;
use crate::plumbing::{NicBackend, tap};
use async_trait::async_trait;
use command::CommandLine;
use ferrostack_contracts::node::{ConsoleAddress, ConsoleKind, GuestSpec, Want};
use ferrostack_types::ids::ServerId;
use ferrostack_types::{Env, Error, Result, ResultExt};
use parking_lot::Mutex;
use process::{Identity, Lock};
use qmp::Qmp;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// In a guest's directory, what its QEMU holds as long as it lives.
const LOCK: &str = "lock";
/// How large the console's log may grow; as much again is kept of what was before.
const CONSOLE_LOG: u64 = 1 << 20;
/// How long QEMU may take to answer after its start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

const NOT_STARTED: &str = "The host could not start the server.";

/// How QEMU is used on this host.
#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// The program.
    pub program: String,
    /// The agent's state directory, where the answer of the KVM probe is kept.
    pub state_dir: PathBuf,
    /// What to accelerate with; `None` tries KVM by running a tiny guest and remembers the answer.
    pub accelerator: Option<Accelerator>,
    /// Memory for translated code, for each guest without KVM.
    pub tcg_cache_mb: u32,
    /// Whom guests run as, if the agent is root: each as a user of its own out of this range (first, count).
    pub uids: Option<(u32, u32)>,
    /// Whether a switch in user space carries the guests' packets, which wants complete checksums.
    pub userspace_network: bool,
}

impl QemuConfig {
    /// The defaults.
    pub fn new(state_dir: impl Into<PathBuf>) -> QemuConfig {
        QemuConfig {
            program: format!("qemu-system-{}", std::env::consts::ARCH),
            state_dir: state_dir.into(),
            accelerator: None,
            tcg_cache_mb: 64,
            uids: Some((1_800_000_000, 100_000_000)),
            userspace_network: false,
        }
    }
}

/// QEMU.
pub struct Qemu {
    config: QemuConfig,
    env: Env,
    sessions: Mutex<HashMap<ServerId, Arc<Session>>>,
    hook: Arc<Mutex<Option<ChangeHook>>>,
    accelerator: tokio::sync::OnceCell<Accelerator>,
    version: tokio::sync::OnceCell<u32>,
}

/// Ends every QEMU whose guest is kept in a state directory, at once. For taking a host out of a cloud for good: no
/// agent may work on the directory meanwhile. Ports are the switch's affair.
pub async fn end_all(state_dir: &Path) -> Result<usize> {
    let guests = match std::fs::read_dir(state_dir.join("guests")) {
        Ok(guests) => guests,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e).context("list the guests"),
    };
    let mut ended = 0;
    for guest in guests {
        let lock = guest.context("list the guests")?.path().join(LOCK);
        if let Some(process) = process::find(&lock).context("find a guest's process")? {
            process.kill(PATIENCE).await.context("end a guest")?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// A connection to a running QEMU.
struct Session {
    qmp: Qmp,
    resets: Arc<AtomicU64>,
    dir: PathBuf,
}

impl Qemu {
    /// A driver; starts and touches nothing yet.
    pub fn new(config: QemuConfig, env: Env) -> Qemu {
        Qemu {
            config,
            env,
            sessions: Mutex::default(),
            hook: Arc::default(),
            accelerator: tokio::sync::OnceCell::new(),
            version: tokio::sync::OnceCell::new(),
        }
    }

    /// What guests are accelerated with: configured, remembered, or found by running a tiny guest.
    pub async fn accelerator(&self) -> Accelerator {
        match self.config.accelerator {
            Some(forced) => forced,
            None => {
                *self.accelerator.get_or_init(|| probe::accelerator(&self.config, self.drops_root(), &self.env)).await
            }
        }
    }

    async fn version(&self) -> u32 {
        *self.version.get_or_init(|| probe::version(&self.config.program)).await
    }

    /// Whether guests run as somebody else than the agent.
    fn drops_root(&self) -> bool {
        self.config.uids.is_some_and(|(_, count)| count > 0) && rustix::process::geteuid().is_root()
    }

    fn owner(&self, server: ServerId) -> Option<u32> {
        let (first, count) = self.config.uids.filter(|_| self.drops_root())?;
        let bytes = server.0.as_bytes();
        let number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Some(first + number % count)
    }

    /// The connection to a guest's QEMU, made if need be; `None` if there is no QEMU.
    async fn session(&self, guest: GuestRef<'_>) -> Result<Option<Arc<Session>>, Failure> {
        let dir = dir_of(guest)?;
        let present = self.sessions.lock().get(&guest.server).filter(|session| !session.qmp.ended()).cloned();
        if present.is_some() {
            return Ok(present);
        }
        self.sessions.lock().remove(&guest.server);
        let begin = self.env.instant();
        loop {
            if !process::is_locked(&dir.join(LOCK)).map_err(|e| Failure::io("look at a lock", &e))? {
                return Ok(None);
            }
            // It may have been started just now, or be about to end.
            match self.connect(guest.server, dir).await {
                Ok(session) => return Ok(Some(session)),
                Err(e) if begin.elapsed() > PATIENCE => {
                    return Err(Failure::passing("The server's hypervisor does not answer.", format!("QMP: {e}")));
                }
                Err(_) => self.env.sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn connect(&self, server: ServerId, dir: &Path) -> std::io::Result<Arc<Session>> {
        let resets = Arc::new(AtomicU64::new(0));
        let (counter, hook) = (Arc::clone(&resets), Arc::clone(&self.hook));
        let on_event = Box::new(move |event: Option<&str>| {
            match event {
                Some("RESET") => counter.fetch_add(1, Ordering::SeqCst),
                None | Some("SHUTDOWN" | "STOP" | "RESUME") => 0,
                Some(_) => return,
            };
            let hook = hook.lock().clone();
            if let Some(hook) = hook {
                hook(server);
            }
        });
        let qmp = Qmp::connect(&self.env, &dir.join("vm"), on_event).await?;
        let session = Arc::new(Session { qmp, resets, dir: dir.to_owned() });
        self.sessions.lock().insert(server, Arc::clone(&session));
        Ok(session)
    }

    async fn execute(&self, guest: GuestRef<'_>, command: &str, arguments: Value) -> Result<Value, Failure> {
        match self.session(guest).await? {
            Some(session) => session.qmp.execute(command, arguments).await,
            None => Err(Failure::passing("The server is not running.", format!("QMP {command}: no QEMU"))),
        }
    }

    /// Starts QEMU, whose lock is ours until then, and waits for its monitor.
    async fn launch(
        &self,
        guest: GuestRef<'_>,
        spec: &GuestSpec,
        nics: &[NicBackend],
        lock: Lock,
    ) -> Result<(), Failure> {
        let dir = dir_of(guest)?;
        let accelerator = self.accelerator().await;
        let mut taps: Vec<OwnedFd> = Vec::new();
        for nic in nics {
            if let NicBackend::Tap(name) = nic {
                taps.push(tap::open(name).map_err(|e| Failure::io("open a tap device", &e))?);
            }
        }
        let tap_fds: Vec<i32> = taps.iter().map(AsRawFd::as_raw_fd).collect();
        let line = CommandLine {
            config: &self.config,
            accelerator,
            server: guest.server,
            spec,
            nics,
            tap_fds: &tap_fds,
            userspace_network: self.config.userspace_network,
        };
        for name in ["qmp.sock", "vnc.sock", "serial.sock"] {
            let _ = fs::remove_file(dir.join("vm").join(name));
        }
        let identity = self.owner(guest.server).map(|id| Identity {
            uid: id,
            gid: id,
            kvm_group: (accelerator == Accelerator::Kvm).then(probe::kvm_group).flatten(),
        });
        process::spawn(&line.argv(), &dir.join("vm"), lock, taps, &dir.join("qemu.log"), identity)?;
        match self.session(guest).await {
            Ok(Some(_)) => Ok(()),
            // It has ended already: its log says why.
            Ok(None) => Err(start_failure(dir)),
            Err(failure) => {
                self.end(dir).await?;
                Err(failure)
            }
        }
    }

    /// Ends QEMU, however it feels about that.
    async fn end(&self, dir: &Path) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::io("end QEMU", &e);
        let lock = dir.join(LOCK);
        let begin = self.env.instant();
        while process::is_locked(&lock).map_err(failed)? {
            match process::find(&lock) {
                Ok(Some(process)) => {
                    tracing::debug!(pid = process.pid, "killing QEMU");
                    process.kill(PATIENCE).await.map_err(failed)?;
                }
                // Just ending, or just about to become QEMU.
                _ if begin.elapsed() < PATIENCE => self.env.sleep(Duration::from_millis(5)).await,
                Ok(None) => return Err(failed(std::io::Error::other("its process cannot be found"))),
                Err(e) => return Err(failed(e)),
            }
        }
        Ok(())
    }

    fn write_config_drive(&self, guest: GuestRef<'_>, dir: &Path) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::io("write a config drive", &e);
        let temporary = dir.join("config.iso.new");
        let _ = fs::remove_file(&temporary);
        let image = metadata::config_drive(guest.wanted, &self.env);
        let mut options = OpenOptions::new();
        // Passwords may be inside.
        options
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&temporary)
            .and_then(|mut f| f.write_all(&image))
            .map_err(failed)?;
        disk::give(&temporary, self.owner(guest.server))?;
        fs::rename(&temporary, dir.join("config.iso")).map_err(failed)
    }
}

fn dir_of<'a>(guest: GuestRef<'a>) -> Result<&'a Path, Failure> {
    guest.dir.ok_or_else(|| Failure::permanent(NOT_STARTED, "QEMU needs an agent that keeps its state on disk"))
}

fn spec_of<'a>(guest: GuestRef<'a>) -> Result<&'a GuestSpec, Failure> {
    guest.wanted.spec.as_ref().ok_or_else(|| Failure::permanent(NOT_STARTED, "a guest without a spec"))
}

fn start_failure(dir: &Path) -> Failure {
    let log = fs::read_to_string(dir.join("qemu.log")).unwrap_or_default();
    let end = log.ceil_char_boundary(log.len().saturating_sub(1000));
    let internal = format!("QEMU has ended: {}", log[end..].trim());
    if log.contains("Cannot allocate memory") || log.contains("cannot set up guest memory") {
        return Failure::here("The host has not enough memory.", internal);
    }
    Failure::passing(NOT_STARTED, internal)
}

/// Reads a file that QEMU could have replaced by anything.
fn read_untrusted(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        file.take(2 * CONSOLE_LOG).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Keeps a console's log bounded.
fn cut_console(dir: &Path) -> std::io::Result<()> {
    let path = dir.join("vm/console.log");
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() < CONSOLE_LOG {
        return Ok(());
    }
    file.seek(SeekFrom::Start(meta.len().saturating_sub(CONSOLE_LOG)))?;
    let mut end = Vec::new();
    (&file).take(CONSOLE_LOG).read_to_end(&mut end)?;
    let kept = dir.join("console.log.1");
    let temporary = dir.join("console.log.1.new");
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?.write_all(&end)?;
    fs::rename(temporary, kept)?;
    file.set_len(0)
}

#[async_trait]
impl Hypervisor for Qemu {
    async fn info(&self) -> HypervisorInfo {
        HypervisorInfo {
            kind: "QEMU",
            version: self.version().await,
            accelerator: self.accelerator().await.as_str(),
            capacity: Capacity::default(),
        }
    }

    fn on_change(&self, hook: ChangeHook) {
        *self.hook.lock() = Some(hook);
    }

    fn detach(&self) {
        *self.hook.lock() = None;
        self.sessions.lock().clear();
    }

    async fn tick(&self) {
        let dirs: Vec<PathBuf> = self.sessions.lock().values().map(|session| session.dir.clone()).collect();
        for dir in dirs {
            if let Err(e) = cut_console(&dir)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(dir = %dir.display(), error = %e, "a console's log cannot be cut");
            }
        }
    }

    async fn prepare(&self, guest: GuestRef<'_>, images: &ImageCache) -> Result<(), Failure> {
        let failed = |e: std::io::Error| Failure::io("make a guest's directory", &e);
        let (dir, spec) = (dir_of(guest)?, spec_of(guest)?);
        let owner = self.owner(guest.server);
        // QEMU passes through on its way up from `vm`, and can do nothing else here.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).map_err(failed)?;
        let vm = dir.join("vm");
        match fs::DirBuilder::new().mode(0o700).create(&vm) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => disk::give(&vm, owner)?,
        }
        disk::ensure(guest, dir, spec, images, owner).await?;
        if spec.config_drive {
            self.write_config_drive(guest, dir)?;
        }
        Ok(())
    }

    async fn start(&self, guest: GuestRef<'_>, nics: &[NicBackend]) -> Result<(), Failure> {
        let lock = dir_of(guest)?.join(LOCK);
        match process::take_lock(&lock).map_err(|e| Failure::io("take a lock", &e))? {
            Some(lock) => self.launch(guest, spec_of(guest)?, nics, lock).await,
            // An earlier agent has started it.
            None => self.session(guest).await.map(|_| ()),
        }
    }

    async fn power(&self, guest: GuestRef<'_>) -> Result<Power, Failure> {
        let dir = dir_of(guest)?;
        if guest.wanted.want == Want::Absent {
            // Whether it answers does not matter any more.
            let locked = process::is_locked(&dir.join(LOCK)).map_err(|e| Failure::io("look at a lock", &e))?;
            return Ok(if locked { Power::Running } else { Power::Off });
        }
        let Some(session) = self.session(guest).await? else { return Ok(Power::Off) };
        let status = match session.qmp.execute("query-status", Value::Null).await {
            Ok(status) => status,
            // It has ended in between.
            Err(_) if session.qmp.ended() => return self.power(guest).await,
            Err(failure) => return Err(failure),
        };
        Ok(match status["status"].as_str() {
            // Asleep as a laptop is: it has power, and wakes up by itself.
            Some("running" | "suspended") => Power::Running,
            Some("shutdown") => Power::Down,
            _ => Power::Paused,
        })
    }

    async fn resume(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        let status = self.execute(guest, "query-status", Value::Null).await?;
        self.execute(guest, "cont", Value::Null).await?;
        match status["status"].as_str() {
            // QEMU has stopped it because of an error, and would at once do so again.
            Some(why @ ("io-error" | "internal-error")) => {
                Err(Failure::passing("The server was stopped by an error of its disk or processor.", why))
            }
            _ => Ok(()),
        }
    }

    async fn pause(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.execute(guest, "stop", Value::Null).await.map(|_| ())
    }

    async fn ask_to_stop(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.execute(guest, "system_powerdown", Value::Null).await.map(|_| ())
    }

    async fn ask_to_reboot(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        let keys: Vec<Value> = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key })).into();
        self.execute(guest, "send-key", json!({ "keys": keys })).await.map(|_| ())
    }

    fn resets(&self, server: ServerId) -> u64 {
        self.sessions.lock().get(&server).map_or(0, |session| session.resets.load(Ordering::SeqCst))
    }

    async fn reset(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.execute(guest, "system_reset", Value::Null).await.map(|_| ())
    }

    async fn kill(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        let dir = dir_of(guest)?;
        let session = self.sessions.lock().remove(&guest.server).filter(|session| !session.qmp.ended());
        if let (Some(session), true) = (session, guest.wanted.want != Want::Absent)
            && session.qmp.execute("quit", Value::Null).await.is_ok()
            // So that it writes what it still has of the disk's tables.
            && let Ok(Some(process)) = process::find(&dir.join(LOCK))
            && process.ended(PATIENCE).await.is_ok()
        {
            return Ok(());
        }
        self.end(dir).await
    }

    async fn remove(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.sessions.lock().remove(&guest.server);
        // The rest of the directory goes with it; this, first, makes room for the tombstone if the disk is full.
        match fs::remove_file(dir_of(guest)?.join("vm/disk.qcow2")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::io("remove a disk", &e)),
            _ => Ok(()),
        }
    }

    async fn console_log(&self, guest: GuestRef<'_>) -> Result<Vec<u8>, Error> {
        let dir = dir_of(guest).map_err(|f| Error::internal(f.error.internal))?;
        let mut log = fs::read(dir.join("console.log.1")).unwrap_or_default();
        log.extend(read_untrusted(&dir.join("vm/console.log")).unwrap_or_default());
        Ok(log)
    }

    async fn console(&self, guest: GuestRef<'_>, kind: ConsoleKind) -> Result<ConsoleAddress, Error> {
        let dir = dir_of(guest).map_err(|f| Error::internal(f.error.internal))?;
        let name = match kind {
            ConsoleKind::Vnc => "vm/vnc.sock",
            ConsoleKind::Serial => "vm/serial.sock",
        };
        let path = dir.join(name);
        let is_socket = path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket());
        let runs = process::is_locked(&dir.join(LOCK)).unwrap_or(false);
        match path.to_str() {
            Some(path) if is_socket && runs => Ok(ConsoleAddress::Unix(path.to_owned())),
            _ => Err(Error::conflict("The server is not running.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_log_stays_bounded_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let vm = dir.path().join("vm");
        fs::create_dir(&vm).unwrap();
        let log = vm.join("console.log");
        let mut qemu = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        qemu.write_all(&[b'a'; 100]).unwrap();
        cut_console(dir.path()).unwrap();
        assert_eq!(read_untrusted(&log).unwrap().len(), 100);
        qemu.write_all(&vec![b'b'; usize::try_from(CONSOLE_LOG).unwrap()]).unwrap();
        cut_console(dir.path()).unwrap();
        qemu.write_all(b"new").unwrap();
        assert_eq!(read_untrusted(&log).unwrap(), b"new");
        let kept = fs::read(dir.path().join("console.log.1")).unwrap();
        assert!(kept.len() as u64 == CONSOLE_LOG && kept.iter().all(|b| *b == b'b'));

        fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
        assert!(read_untrusted(&log).is_err());
        assert!(cut_console(dir.path()).is_err());
    }
}
