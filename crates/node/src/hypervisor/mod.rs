//! Where guests run.

pub mod fake;
pub mod qemu;

use crate::images::ImageCache;
use crate::plumbing::NicBackend;
use async_trait::async_trait;
use ferrostack_contracts::node::{ConsoleAddress, ConsoleKind, GuestError, WantedGuest};
use ferrostack_types::Error;
use ferrostack_types::ids::ServerId;
use std::path::Path;
use std::sync::Arc;

/// A guest, as a driver is told of it.
#[derive(Debug, Clone, Copy)]
pub struct GuestRef<'a> {
    /// The server.
    pub server: ServerId,
    /// Its directory, which exists; `None` if the agent keeps nothing on disk.
    pub dir: Option<&'a Path>,
    /// How it is wanted. Without a spec if it is to be gone.
    pub wanted: &'a WantedGuest,
}

/// Whether a guest has power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// There is no process.
    Off,
    /// The guest has switched itself off, and its process waits for that to be written down.
    Down,
    /// CPUs run.
    Running,
    /// CPUs are stopped, or have not run yet.
    Paused,
}

/// What a hypervisor is.
#[derive(Debug, Clone)]
pub struct HypervisorInfo {
    /// `QEMU` or `fake`.
    pub kind: &'static str,
    /// major * 1,000,000 + minor * 1,000 + micro
    pub version: u32,
    /// `kvm`, `tcg` or `fake`.
    pub accelerator: &'static str,
    /// What it has, if that is not what the host has.
    pub capacity: crate::Capacity,
}

/// Why something could not be done to a guest.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What is told.
    pub error: GuestError,
    /// Whether the same thing may work here a little later.
    pub passing: bool,
}

impl Failure {
    /// Will not work on any host.
    pub fn permanent(public: impl Into<String>, internal: impl Into<String>) -> Failure {
        Failure {
            error: GuestError { public: public.into(), internal: internal.into(), elsewhere: false },
            passing: false,
        }
    }

    /// Will not work on this host.
    pub fn here(public: impl Into<String>, internal: impl Into<String>) -> Failure {
        Failure {
            error: GuestError { public: public.into(), internal: internal.into(), elsewhere: true },
            passing: false,
        }
    }

    /// May work a little later.
    pub fn passing(public: impl Into<String>, internal: impl Into<String>) -> Failure {
        Failure {
            error: GuestError { public: public.into(), internal: internal.into(), elsewhere: true },
            passing: true,
        }
    }

    /// From an operating system error: a full disk stays full, the rest may pass.
    pub fn io(doing: &str, error: &std::io::Error) -> Failure {
        let internal = format!("{doing}: {error}");
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Failure::here("No space is left on the host.", internal)
            }
            _ => Failure::passing("The host could not prepare the server.", internal),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        use ferrostack_types::Kind;
        let (public, internal) = (error.public().to_owned(), error.internal_text());
        match error.kind() {
            _ if error.retryable() => Failure::passing(public, internal),
            Kind::Invalid | Kind::NotFound | Kind::Gone | Kind::Unprocessable => Failure::permanent(public, internal),
            _ => Failure::passing("The host could not prepare the server.", internal),
        }
    }
}

/// Called by a driver when a guest's power changed by itself. May be called too often, never too seldom.
pub type ChangeHook = Arc<dyn Fn(ServerId) + Send + Sync>;

/// A place where guests run. One task at a time works on a guest, so a driver needs no lock per guest.
///
/// Every call is repeatable: it finds what an earlier call, or an earlier agent, has left. On failure nothing runs that
/// did not run before.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// What it is. May wait for a probe the first time.
    async fn info(&self) -> HypervisorInfo;

    /// Whom to tell of changes; replaces an earlier hook.
    fn on_change(&self, hook: ChangeHook);

    /// Lets go of all guests without touching them.
    fn detach(&self);

    /// Called now and again: keeps what grows within bounds.
    async fn tick(&self) {}

    /// Makes what a guest needs before it can start: its disk, its config drive.
    async fn prepare(&self, guest: GuestRef<'_>, images: &ImageCache) -> Result<(), Failure>;

    /// Starts a guest with its CPUs stopped. `nics` are in the order of the spec's.
    async fn start(&self, guest: GuestRef<'_>, nics: &[NicBackend]) -> Result<(), Failure>;

    /// Whether it has power. Adopts a guest that an earlier agent started.
    async fn power(&self, guest: GuestRef<'_>) -> Result<Power, Failure>;

    /// Lets the CPUs run.
    async fn resume(&self, guest: GuestRef<'_>) -> Result<(), Failure>;

    /// Stops the CPUs.
    async fn pause(&self, guest: GuestRef<'_>) -> Result<(), Failure>;

    /// Presses the power button; the guest may take its time, or not listen.
    async fn ask_to_stop(&self, guest: GuestRef<'_>) -> Result<(), Failure>;

    /// Presses ctrl-alt-del; the guest may take its time, or not listen.
    async fn ask_to_reboot(&self, guest: GuestRef<'_>) -> Result<(), Failure>;

    /// How often the guest has been reset since this driver has seen it.
    fn resets(&self, server: ServerId) -> u64;

    /// Presses the reset button.
    async fn reset(&self, guest: GuestRef<'_>) -> Result<(), Failure>;

    /// Pulls the plug. Nothing runs afterwards.
    async fn kill(&self, guest: GuestRef<'_>) -> Result<(), Failure>;

    /// Removes what it keeps outside of the guest's directory. The guest does not run.
    async fn remove(&self, guest: GuestRef<'_>) -> Result<(), Failure>;

    /// The end of the serial console's log.
    async fn console_log(&self, guest: GuestRef<'_>) -> Result<Vec<u8>, Error>;

    /// Where a console of a running guest is reached.
    async fn console(&self, guest: GuestRef<'_>, kind: ConsoleKind) -> Result<ConsoleAddress, Error>;
}
