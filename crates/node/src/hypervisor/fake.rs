//! A hypervisor without processes, for clouds of thousands of hosts in one process.
//!
//! It is a product, not a mock: the whole control plane and the whole agent run on it unchanged. If the agent keeps
//! its state on disk, so does this (`fake.json` in the guest's directory), and fake guests outlive the agent as real
//! ones do. Otherwise everything is in memory. It owns no timer unless a delay is asked for.

use super::{ChangeHook, Failure, GuestRef, Hypervisor, HypervisorInfo, Power};
use crate::Capacity;
use crate::images::ImageCache;
use crate::plumbing::NicBackend;
use async_trait::async_trait;
use ferrostack_contracts::node::{ConsoleAddress, ConsoleKind};
use ferrostack_types::ids::ServerId;
use ferrostack_types::{Error, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// How fake guests behave.
#[derive(Debug, Clone, Default)]
pub struct FakeOptions {
    /// How long a start takes.
    pub start_delay: Duration,
    /// How long a stop takes.
    pub stop_delay: Duration,
    /// Whether guests ignore the power button and ctrl-alt-del.
    pub deaf: bool,
    /// Whether the image is fetched into the cache as the real driver does.
    pub fetch_images: bool,
    /// What the host claims to have. Left out: 64 processors, 256 GiB of memory, 4 TiB of disk.
    pub capacity: Capacity,
}

/// A hypervisor without processes.
pub struct FakeHypervisor {
    options: FakeOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    guests: HashMap<ServerId, Fake>,
    hook: Option<ChangeHook>,
    failures: Vec<(u32, Failure)>,
    all_starts: u64,
}

#[derive(Clone, Copy)]
struct Fake {
    power: Power,
    resets: u64,
    starts: u64,
}

impl FakeHypervisor {
    /// An empty one.
    pub fn new(options: FakeOptions) -> FakeHypervisor {
        FakeHypervisor { options, state: Mutex::default() }
    }

    /// The next `times` starts fail so.
    pub fn fail_starts(&self, times: u32, failure: Failure) {
        self.state.lock().failures.push((times, failure));
    }

    /// The guest switches itself off.
    pub fn guest_powers_off(&self, server: ServerId) {
        self.change(server, Power::Down);
    }

    /// The guest's process dies.
    pub fn guest_crashes(&self, server: ServerId) {
        self.change(server, Power::Off);
    }

    /// How often a guest was started since this hypervisor was made.
    pub fn starts(&self, server: ServerId) -> u64 {
        self.state.lock().guests.get(&server).map_or(0, |fake| fake.starts)
    }

    /// How many starts there were in all, of guests that are gone, too.
    pub fn all_starts(&self) -> u64 {
        self.state.lock().all_starts
    }

    /// How many guests have a process.
    pub fn processes(&self) -> usize {
        self.state.lock().guests.values().filter(|fake| fake.power != Power::Off).count()
    }

    fn change(&self, server: ServerId, power: Power) {
        let hook = {
            let mut state = self.state.lock();
            if let Some(fake) = state.guests.get_mut(&server) {
                fake.power = power;
            }
            state.hook.clone()
        };
        if let Some(hook) = hook {
            hook(server);
        }
    }

    fn set(&self, guest: GuestRef<'_>, power: Power) -> Result<(), Failure> {
        if let Some(dir) = guest.dir {
            write_power(dir, power)?;
        }
        let mut state = self.state.lock();
        let fake = state.guests.entry(guest.server).or_insert(Fake { power, resets: 0, starts: 0 });
        fake.power = power;
        Ok(())
    }

    fn injected(&self) -> Option<Failure> {
        let mut state = self.state.lock();
        let (times, failure) = state.failures.first_mut()?;
        let failure = failure.clone();
        *times -= 1;
        if *times == 0 {
            state.failures.remove(0);
        }
        Some(failure)
    }

    fn running(&self, server: ServerId) -> Option<Fake> {
        self.state.lock().guests.get(&server).copied().filter(|fake| fake.power != Power::Off)
    }
}

fn write_power(dir: &Path, power: Power) -> Result<(), Failure> {
    let text = match power {
        Power::Off => "\"off\"",
        Power::Down => "\"down\"",
        Power::Running => "\"running\"",
        Power::Paused => "\"paused\"",
    };
    std::fs::write(dir.join("fake.json"), text).map_err(|e| Failure::io("write a fake guest's state", &e))
}

fn read_power(dir: &Path) -> Power {
    match std::fs::read_to_string(dir.join("fake.json")).as_deref() {
        Ok("\"down\"") => Power::Down,
        Ok("\"running\"") => Power::Running,
        Ok("\"paused\"") => Power::Paused,
        _ => Power::Off,
    }
}

#[async_trait]
impl Hypervisor for FakeHypervisor {
    async fn info(&self) -> HypervisorInfo {
        let asked = &self.options.capacity;
        let capacity = Capacity {
            vcpus: asked.vcpus.or(Some(64)),
            memory_mb: asked.memory_mb.or(Some(256 << 10)),
            disk_gb: asked.disk_gb.or(Some(4 << 10)),
        };
        HypervisorInfo { kind: "fake", version: 1_000_000, accelerator: "fake", capacity }
    }

    fn on_change(&self, hook: ChangeHook) {
        self.state.lock().hook = Some(hook);
    }

    fn detach(&self) {
        self.state.lock().hook = None;
    }

    async fn prepare(&self, guest: GuestRef<'_>, images: &ImageCache) -> Result<(), Failure> {
        if self.options.fetch_images
            && let Some(spec) = &guest.wanted.spec
        {
            images.fetch(&spec.image).await?;
        }
        Ok(())
    }

    async fn start(&self, guest: GuestRef<'_>, _nics: &[NicBackend]) -> Result<(), Failure> {
        if !self.options.start_delay.is_zero() {
            tokio::time::sleep(self.options.start_delay).await;
        }
        if let Some(failure) = self.injected() {
            return Err(failure);
        }
        self.set(guest, Power::Paused)?;
        let mut state = self.state.lock();
        state.all_starts += 1;
        if let Some(fake) = state.guests.get_mut(&guest.server) {
            fake.starts += 1;
        }
        Ok(())
    }

    async fn power(&self, guest: GuestRef<'_>) -> Result<Power, Failure> {
        if let Some(fake) = self.state.lock().guests.get(&guest.server) {
            return Ok(fake.power);
        }
        let power = guest.dir.map_or(Power::Off, read_power);
        if power != Power::Off {
            self.state.lock().guests.insert(guest.server, Fake { power, resets: 0, starts: 0 });
        }
        Ok(power)
    }

    async fn resume(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.set(guest, Power::Running)
    }

    async fn pause(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.set(guest, Power::Paused)
    }

    async fn ask_to_stop(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        if self.options.deaf {
            return Ok(());
        }
        if !self.options.stop_delay.is_zero() {
            tokio::time::sleep(self.options.stop_delay).await;
        }
        self.set(guest, Power::Down)?;
        self.change(guest.server, Power::Down);
        Ok(())
    }

    async fn ask_to_reboot(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        if !self.options.deaf {
            self.reset(guest).await?;
        }
        Ok(())
    }

    fn resets(&self, server: ServerId) -> u64 {
        self.state.lock().guests.get(&server).map_or(0, |fake| fake.resets)
    }

    async fn reset(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        let hook = {
            let mut state = self.state.lock();
            if let Some(fake) = state.guests.get_mut(&guest.server) {
                fake.resets += 1;
            }
            state.hook.clone()
        };
        if let Some(hook) = hook {
            hook(guest.server);
        }
        Ok(())
    }

    async fn kill(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.set(guest, Power::Off)
    }

    async fn remove(&self, guest: GuestRef<'_>) -> Result<(), Failure> {
        self.state.lock().guests.remove(&guest.server);
        Ok(())
    }

    async fn console_log(&self, guest: GuestRef<'_>) -> Result<Vec<u8>, Error> {
        Ok(match &guest.wanted.spec {
            Some(spec) => format!("fake console of {}\n{} login: \n", spec.name, spec.metadata.hostname).into_bytes(),
            None => Vec::new(),
        })
    }

    async fn console(&self, guest: GuestRef<'_>, _kind: ConsoleKind) -> Result<ConsoleAddress, Error> {
        match self.running(guest.server) {
            Some(_) => Ok(ConsoleAddress::Unix(format!("/nonexistent/{}", guest.server))),
            None => Err(Error::conflict("The server is not running.")),
        }
    }
}
