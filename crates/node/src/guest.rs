//! One task per guest: looks, plans one step, does it, looks again.
//!
//! Nobody else touches the guest. The task rests until what is wanted changes, the guest's process ends, or a deadline
//! passes; it holds no timer otherwise.

use crate::agent::Core;
use crate::hypervisor::{Failure, GuestRef, Power};
use crate::plan::{Ended, RunRecord, Seen, Step, next_step, patience};
use crate::plumbing::NicBackend;
use crate::store::Tombstone;
use crate::table::{Sight, gone};
use ferrostack_contracts::node::{GuestState, Want, WantedGuest};
use ferrostack_types::ids::ServerId;
use ferrostack_types::{Result, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the task does next.
enum Next {
    /// Looks again at once.
    Again,
    /// Waits for a hint, or until then.
    Rest(Option<Timestamp>),
    /// Ends: nothing is left of the guest.
    Gone,
}

/// Failures since something last went well, for one generation.
#[derive(Default)]
struct Attempts {
    generation: u64,
    failed: u32,
}

struct GuestTask {
    core: Arc<Core>,
    server: ServerId,
    dir: Option<PathBuf>,
    record: RunRecord,
    /// What [`crate::Hypervisor::resets`] said when the guest was asked to reboot.
    resets_before: u64,
    attempts: Attempts,
    /// The last step, and how often it was planned without a rest.
    last: (Option<Step>, u32),
}

/// A step that is planned more often in a row than this has no effect.
const REPEATS: u32 = 5;

/// Converges one guest until it is gone.
pub(crate) async fn run(core: Arc<Core>, server: ServerId) {
    let record = match core.store.load_record(server) {
        Ok(record) => record,
        Err(error) => {
            // Not readable: what runs is found again by looking, and the rest is made anew.
            tracing::warn!(%server, error = error.internal_text(), "a guest's record cannot be read");
            RunRecord::default()
        }
    };
    let dir = core.store.guest_dir(server);
    let resets_before = core.platform.hypervisor.resets(server);
    let mut task =
        GuestTask { core, server, dir, record, resets_before, attempts: Attempts::default(), last: (None, 0) };
    loop {
        let Some((wanted, hint)) = task.core.table.wanted(server) else { return };
        let next = match Box::pin(task.look_and_do(&wanted)).await {
            Ok(next) => next,
            Err(failure) => task.failed(&wanted, failure),
        };
        match next {
            Next::Again => {}
            Next::Rest(None) => hint.notified().await,
            Next::Rest(Some(until)) => {
                let pause = until.since(task.core.env.now()).max(Duration::from_millis(1));
                tokio::select! {
                    biased;
                    () = hint.notified() => {}
                    () = task.core.env.sleep(pause) => {}
                }
            }
            Next::Gone => return,
        }
    }
}

impl GuestTask {
    async fn look_and_do(&mut self, wanted: &WantedGuest) -> Result<Next, Failure> {
        let core = Arc::clone(&self.core);
        let dir = self.dir.clone();
        let guest = GuestRef { server: self.server, dir: dir.as_deref(), wanted };
        let power = core.platform.hypervisor.power(guest).await?;
        let rebooted = core.platform.hypervisor.resets(self.server) > self.resets_before;
        let seen = Seen {
            power,
            record: &self.record,
            now: core.env.now(),
            host_boot: &core.host_boot,
            rebooted,
            resume_after_host_boot: core.config.resume_after_host_boot,
        };
        let step = next_step(wanted, &seen);
        tracing::debug!(server = %self.server, generation = wanted.generation, ?power, ?step, "guest");
        self.check_progress(&step)?;
        let next = self.perform(&core, guest, power, step).await?;
        if matches!(next, Next::Rest(_)) {
            self.attempts.failed = 0;
            self.last = (None, 0);
        }
        Ok(next)
    }

    /// A step that succeeds again and again but changes nothing is a failure, and not to be tried in a circle.
    fn check_progress(&mut self, step: &Step) -> Result<(), Failure> {
        if self.last.0.as_ref() == Some(step) {
            self.last.1 += 1;
        } else {
            self.last = (Some(step.clone()), 0);
        }
        if self.last.1 < REPEATS {
            return Ok(());
        }
        self.last = (None, 0);
        Err(Failure::passing("The server does not do what it is asked to.", format!("{step:?} has no effect")))
    }

    async fn perform(&mut self, core: &Core, guest: GuestRef<'_>, power: Power, step: Step) -> Result<Next, Failure> {
        let hypervisor = &core.platform.hypervisor;
        let wanted = guest.wanted;
        match step {
            Step::Prepare => {
                self.see(wanted, false, GuestState::Preparing);
                self.prepare(core, guest).await?;
            }
            Step::Start => {
                self.see(wanted, false, GuestState::Preparing);
                self.prepare(core, guest).await?;
                self.start(core, guest).await?;
            }
            Step::NoteStarted => self.note(|record| record.started = true)?,
            Step::NoteEnd { clean } => {
                let generation = self.record.stop_asked.as_ref().map_or(wanted.generation, |asked| asked.generation);
                self.note(|record| record.ended = Some(Ended { generation, clean }))?;
                core.config.failpoints.at("end-noted").await;
            }
            Step::Resume => hypervisor.resume(guest).await?,
            Step::Pause => hypervisor.pause(guest).await?,
            Step::AskToStop => {
                let asked = patience(wanted, core.env.now());
                self.note(|record| record.stop_asked = Some(asked))?;
                core.config.failpoints.at("stop-noted").await;
                hypervisor.ask_to_stop(guest).await?;
                core.config.failpoints.at("stop-asked").await;
            }
            Step::AskToReboot => {
                self.resets_before = hypervisor.resets(self.server);
                let asked = patience(wanted, core.env.now());
                self.note(|record| record.reboot_asked = Some(asked))?;
                hypervisor.ask_to_reboot(guest).await?;
            }
            Step::Reset => {
                hypervisor.reset(guest).await?;
                self.note_rebooted(wanted)?;
            }
            Step::NoteRebooted => self.note_rebooted(wanted)?,
            Step::Kill => {
                core.config.failpoints.at("kill").await;
                hypervisor.kill(guest).await?;
                core.config.failpoints.at("killed").await;
            }
            Step::Remove => return self.remove(core, guest).await,
            Step::Wait(until) => {
                self.see(wanted, false, state_of(power));
                return Ok(Next::Rest(Some(until)));
            }
            Step::Rest { state, settled } => {
                self.see(wanted, settled, state);
                return Ok(Next::Rest(None));
            }
        }
        Ok(Next::Again)
    }

    async fn prepare(&mut self, core: &Core, guest: GuestRef<'_>) -> Result<(), Failure> {
        core.config.failpoints.at("prepare").await;
        core.platform.hypervisor.prepare(guest, &core.images).await?;
        core.config.failpoints.at("prepared").await;
        if !self.record.prepared {
            self.note(|record| record.prepared = true)?;
        }
        Ok(())
    }

    async fn start(&mut self, core: &Core, guest: GuestRef<'_>) -> Result<(), Failure> {
        let nics = self.plug(core, guest.wanted).await?;
        core.config.failpoints.at("plugged").await;
        let (boot, host_boot, ports) = (guest.wanted.boot, core.host_boot.clone(), self.record.ports.clone());
        self.note(|record| *record = RunRecord { prepared: true, boot, host_boot, ports, ..RunRecord::default() })?;
        core.config.failpoints.at("start-noted").await;
        core.platform.hypervisor.start(guest, &nics).await?;
        core.config.failpoints.at("started").await;
        self.resets_before = core.platform.hypervisor.resets(self.server);
        self.note(|record| record.started = true)
    }

    async fn plug(&mut self, core: &Core, wanted: &WantedGuest) -> Result<Vec<NicBackend>, Failure> {
        let Some(spec) = &wanted.spec else { return Ok(Vec::new()) };
        if spec.nics.iter().any(|port| !self.record.ports.contains(&port.id)) {
            self.note(|record| record.ports.extend(spec.nics.iter().map(|port| port.id)))?;
        }
        // The sweep must not take for an orphan what is just being made.
        let _plugging = core.plugging.read().await;
        let mut nics = Vec::new();
        for port in &spec.nics {
            nics.push(core.platform.plumbing.plug(port).await?);
        }
        Ok(nics)
    }

    async fn remove(&mut self, core: &Core, guest: GuestRef<'_>) -> Result<Next, Failure> {
        for port in &self.record.ports {
            core.platform.plumbing.unplug(*port).await?;
        }
        core.config.failpoints.at("unplugged").await;
        core.platform.hypervisor.remove(guest).await?;
        core.config.failpoints.at("removed").await;
        let tombstone = Tombstone { generation: guest.wanted.generation, at: core.env.now() };
        // A newer wish may arrive meanwhile; it must not be written between the tombstone and the removal.
        let _writing = core.writing.lock().await;
        if core.table.generation(self.server) != Some(tombstone.generation) {
            return Ok(Next::Again);
        }
        core.store.save_tombstone(self.server, tombstone)?;
        core.config.failpoints.at("buried").await;
        core.store.remove_guest(self.server)?;
        core.config.failpoints.at("gone").await;
        core.table.bury(self.server, tombstone);
        core.guests_changed();
        core.outbox.put(gone(self.server, tombstone.generation, core.next_sequence()));
        Ok(Next::Gone)
    }

    /// What to do about a failure: again after a pause, or say so and wait for another wish.
    fn failed(&mut self, wanted: &WantedGuest, failure: Failure) -> Next {
        if self.attempts.generation != wanted.generation {
            self.attempts = Attempts { generation: wanted.generation, failed: 0 };
        }
        self.attempts.failed += 1;
        let (failed, limit) = (self.attempts.failed, self.core.config.retry_limit);
        // Taking away and switching off are never given up: somebody's data or address depends on it.
        let must = matches!(wanted.want, Want::Absent | Want::Stopped);
        let give_up = !failure.passing || failed >= limit;
        let internal = &failure.error.internal;
        tracing::warn!(server = %self.server, generation = wanted.generation, failed, give_up, error = internal, "guest failed");
        if give_up {
            let state = match (self.record.started, &self.record.ended) {
                (true, None) => GuestState::Running,
                (true, Some(ended)) if !ended.clean => GuestState::Crashed,
                _ => GuestState::Stopped,
            };
            let mut error = failure.error;
            error.internal.truncate(error.internal.floor_char_boundary(1500));
            self.core.observe(
                self.server,
                Sight {
                    generation: wanted.generation,
                    settled: true,
                    state,
                    boot: self.record.boot,
                    error: Some(error),
                },
            );
            if !must {
                return Next::Rest(None);
            }
        }
        let config = &self.core.config;
        let pause = config.retry_min.saturating_mul(1 << failed.min(16)).min(config.retry_max);
        Next::Rest(Some(self.core.env.now() + pause))
    }

    fn note_rebooted(&mut self, wanted: &WantedGuest) -> Result<(), Failure> {
        self.note(|record| {
            record.boot = wanted.boot;
            record.reboot_asked = None;
        })
    }

    /// Changes the record, in memory only once it is on the disk.
    fn note(&mut self, change: impl FnOnce(&mut RunRecord)) -> Result<(), Failure> {
        let mut record = self.record.clone();
        change(&mut record);
        self.core.store.save_record(self.server, &record)?;
        self.record = record;
        Ok(())
    }

    fn see(&self, wanted: &WantedGuest, settled: bool, state: GuestState) {
        let (generation, boot) = (wanted.generation, self.record.boot);
        self.core.observe(self.server, Sight { generation, settled, state, boot, error: None });
    }
}

fn state_of(power: Power) -> GuestState {
    match power {
        Power::Off | Power::Down => GuestState::Stopped,
        Power::Running => GuestState::Running,
        Power::Paused => GuestState::Paused,
    }
}
