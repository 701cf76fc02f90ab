//! QEMU as a process that is nobody's child.
//!
//! ```text
//!  agent: open lock file, flock it --fork--> setsid --fork--> write own pid into the lock file, give up root, exec QEMU
//!           close its copy                     exit                 keeps the lock file open till it ends
//! ```
//!
//! The lock belongs to the open file, which QEMU inherits. So "is there a QEMU for this guest?" has one answer, given
//! by the kernel, that no crash in between can falsify: is the lock held? It is taken before the fork; whoever cannot
//! take it must not start another. The pid in the file was written by the process itself before it became QEMU, and is
//! believed only if that process has this very file open: a pid alone may long belong to somebody else.

use crate::hypervisor::Failure;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Who QEMU runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// The group that may open `/dev/kvm`.
    pub kvm_group: Option<u32>,
}

/// The lock, held by us.
pub(super) struct Lock(File);

/// A process that holds the lock.
pub(super) struct Process {
    pidfd: OwnedFd,
    pub pid: i32,
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes the lock; `None` if a QEMU has it.
pub(super) fn take_lock(path: &Path) -> std::io::Result<Option<Lock>> {
    let file = open_lock(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether a QEMU has the lock.
pub(super) fn is_locked(path: &Path) -> std::io::Result<bool> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(e) => Err(e.into()),
        },
    }
}

/// The process that has the lock. `None` if there is none, or if it cannot be told (for an instant around a start).
pub(super) fn find(path: &Path) -> std::io::Result<Option<Process>> {
    if !is_locked(path)? {
        return Ok(None);
    }
    let mut text = String::new();
    let mut file = File::open(path)?;
    file.read_to_string(&mut text)?;
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    // Looked at after the pidfd was opened: it is the same process then, or none.
    let lock = file.metadata()?;
    let holds = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))?
        .flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .any(|open| (open.dev(), open.ino()) == (lock.dev(), lock.ino()));
    Ok(holds.then(|| Process { pidfd, pid: pid.as_raw_nonzero().get() }))
}

impl Process {
    /// Ends it at once and waits until it is gone.
    pub async fn kill(self, limit: Duration) -> std::io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
        self.ended(limit).await
    }

    /// Waits until it has ended.
    pub async fn ended(self, limit: Duration) -> std::io::Result<()> {
        // SAFETY: an owned descriptor stays the same one until it is dropped, which is after its registration is.
        let pidfd = unsafe { AsyncFd::register_with_interest(self.pidfd, tokio::io::Interest::READABLE) };
        let pidfd = pidfd.map_err(std::io::Error::from)?;
        let ended = tokio::time::timeout(limit, pidfd.readable()).await;
        ended.map_err(|_| std::io::Error::other("the process does not end"))?.map(|_| ())
    }
}

/// Starts QEMU in `dir`, holding `lock` and `fds`. Returns when it is executed; what it says goes to `log`.
pub(super) fn spawn(
    argv: &[String],
    dir: &Path,
    lock: Lock,
    fds: Vec<OwnedFd>,
    log: &Path,
    identity: Option<Identity>,
) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::io("start QEMU", &e);
    lock.0.set_len(0).map_err(failed)?;
    let log = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(log).map_err(failed)?;
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).current_dir(dir).env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
    let lock_fd = lock.0.as_raw_fd();
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: between fork and exec, `become_qemu` only makes system calls.
    unsafe { command.pre_exec(move || become_qemu(lock_fd, &raw, identity)) };
    // The direct child ends at once; QEMU is its child and becomes init's.
    let mut child = command.spawn().map_err(failed)?;
    child.wait().map_err(failed)?;
    Ok(())
}

/// Runs between fork and exec: no allocation, no lock, only system calls.
fn become_qemu(lock: RawFd, fds: &[RawFd], identity: Option<Identity>) -> std::io::Result<()> {
    let check = |result: libc::c_long| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: plain system calls on numbers that are ours. The raw clone is a fork without libc's handlers, which must
    // not run in a child of a process with threads.
    unsafe {
        check(libc::setsid().into())?;
        if check(libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0))? > 0 {
            libc::_exit(0);
        }
        write_pid(lock, check(libc::syscall(libc::SYS_getpid))?)?;
        for fd in fds.iter().chain([&lock]) {
            check(libc::fcntl(*fd, libc::F_SETFD, 0).into())?;
        }
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core).into())?;
        libc::umask(0o077);
        if let Some(identity) = identity {
            let groups = [identity.kvm_group.unwrap_or(identity.gid)];
            check(libc::syscall(libc::SYS_setgroups, 1, groups.as_ptr()))?;
            check(libc::syscall(libc::SYS_setresgid, identity.gid, identity.gid, identity.gid))?;
            check(libc::syscall(libc::SYS_setresuid, identity.uid, identity.uid, identity.uid))?;
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
    }
    Ok(())
}

fn write_pid(fd: RawFd, pid: libc::c_long) -> std::io::Result<()> {
    let mut digits = [b'\n'; 21];
    let (mut at, mut rest) = (20, pid);
    while at > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // SAFETY: the file is open: it is the lock that the caller holds.
    let mut file = std::mem::ManuallyDrop::new(unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) });
    file.write_all(&digits[at..])
}
