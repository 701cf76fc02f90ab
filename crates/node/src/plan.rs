//! What to do next about a guest: a pure function of what is wanted and what is there.
//!
//! The guest's task asks again after every step, with the newest wanted state, so a plan is never longer than one step
//! and nothing of it has to be remembered or taken back.

use crate::hypervisor::Power;
use ferrostack_contracts::node::{GuestState, Want, WantedGuest};
use ferrostack_types::Timestamp;
use ferrostack_types::ids::PortId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the agent has written down about a guest's runs (`running.json`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunRecord {
    /// Disk and config drive were made.
    pub prepared: bool,
    /// The guest is about to be started or was, for this boot number.
    pub boot: u64,
    /// It was really started.
    pub started: bool,
    /// The host's boot id then: a guest does not outlive its host.
    pub host_boot: String,
    /// The power button was pressed.
    pub stop_asked: Option<Asked>,
    /// Ctrl-alt-del was pressed.
    pub reboot_asked: Option<Asked>,
    /// The run is over.
    pub ended: Option<Ended>,
    /// Every port that was ever plugged for it: noted before, so that it is unplugged whatever the spec says by then.
    pub ports: BTreeSet<PortId>,
}

/// The guest was asked for something, which it may take until `deadline` to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub generation: u64,
    pub deadline: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// What was wanted when it ended, or, if we asked it to end, what was wanted when we asked. A newer generation that
    /// wants it running starts it again; this one does not: whether a guest that switched itself off is to come back
    /// is for the control plane to say.
    pub generation: u64,
    /// It was the guest's or our wish; otherwise it crashed.
    pub clean: bool,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make disk and config drive.
    Prepare,
    /// Make disk and config drive, plug the NICs, start with stopped CPUs.
    Start,
    /// It runs though nothing is written down: an agent died in between.
    NoteStarted,
    /// Write down how the run ended.
    NoteEnd { clean: bool },
    /// Let the CPUs run.
    Resume,
    /// Stop the CPUs.
    Pause,
    /// Press the power button.
    AskToStop,
    /// Press ctrl-alt-del.
    AskToReboot,
    /// The guest rebooted by itself.
    NoteRebooted,
    /// Press the reset button.
    Reset,
    /// Pull the plug.
    Kill,
    /// Remove everything.
    Remove,
    /// Nothing before this time, unless something changes.
    Wait(Timestamp),
    /// Nothing, unless something changes.
    Rest { state: GuestState, settled: bool },
}

/// What there is to go by.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub power: Power,
    pub record: &'a RunRecord,
    pub now: Timestamp,
    /// The host's boot id.
    pub host_boot: &'a str,
    /// The guest was reset since it was asked to reboot.
    pub rebooted: bool,
    /// See [`crate::Config::resume_after_host_boot`].
    pub resume_after_host_boot: bool,
}

/// What to do next.
pub(crate) fn next_step(wanted: &WantedGuest, seen: &Seen<'_>) -> Step {
    match (seen.power, seen.record.ended.is_some()) {
        // The guest's own wish is written down before its process, the only witness, goes.
        (Power::Down, false) => return Step::NoteEnd { clean: true },
        (Power::Down, true) => return Step::Kill,
        // Written down as ended, but the process is still there: we were about to pull the plug.
        (Power::Running | Power::Paused, true) => return Step::Kill,
        (Power::Running | Power::Paused, false) if !seen.record.started => return Step::NoteStarted,
        (Power::Off, false) if seen.record.started && wanted.want != Want::Absent => {
            let host_went_down = seen.record.host_boot != seen.host_boot;
            if !(host_went_down && seen.resume_after_host_boot) {
                return Step::NoteEnd { clean: false };
            }
        }
        _ => {}
    }
    match wanted.want {
        Want::Absent if seen.power == Power::Off => Step::Remove,
        Want::Absent => Step::Kill,
        Want::Stopped => towards_stopped(wanted, seen),
        Want::Running | Want::Paused => towards_power(wanted, seen),
    }
}

fn towards_stopped(wanted: &WantedGuest, seen: &Seen<'_>) -> Step {
    let patience = wanted.spec.as_ref().map_or(0, |spec| spec.shutdown_timeout_s);
    match seen.power {
        Power::Off if !seen.record.prepared => Step::Prepare,
        Power::Off => Step::Rest { state: GuestState::Stopped, settled: true },
        // Stopped CPUs hear no button.
        Power::Running if patience > 0 => match &seen.record.stop_asked {
            // A button that was pressed for an earlier wish does not count: the guest may have ignored it long ago.
            Some(asked) if asked.generation == wanted.generation && seen.now < asked.deadline => {
                Step::Wait(asked.deadline)
            }
            Some(asked) if asked.generation == wanted.generation => Step::NoteEnd { clean: true },
            _ => Step::AskToStop,
        },
        _ => Step::NoteEnd { clean: true },
    }
}

fn towards_power(wanted: &WantedGuest, seen: &Seen<'_>) -> Step {
    let record = seen.record;
    match seen.power {
        Power::Off => match &record.ended {
            Some(ended) if wanted.generation <= ended.generation && wanted.boot <= record.boot => {
                let state = if ended.clean { GuestState::Stopped } else { GuestState::Crashed };
                Step::Rest { state, settled: false }
            }
            _ => Step::Start,
        },
        _ if record.boot < wanted.boot => towards_reboot(wanted, seen),
        Power::Running if wanted.want == Want::Paused => Step::Pause,
        Power::Paused if wanted.want == Want::Running => Step::Resume,
        Power::Running => Step::Rest { state: GuestState::Running, settled: true },
        Power::Paused | Power::Down => Step::Rest { state: GuestState::Paused, settled: true },
    }
}

fn towards_reboot(wanted: &WantedGuest, seen: &Seen<'_>) -> Step {
    // A power cycle: the next plan finds the guest off and a higher boot number.
    if !wanted.soft_reboot {
        return Step::NoteEnd { clean: true };
    }
    match &seen.record.reboot_asked {
        _ if seen.power == Power::Paused => Step::Reset,
        None => Step::AskToReboot,
        Some(_) if seen.rebooted => Step::NoteRebooted,
        Some(asked) if seen.now < asked.deadline => Step::Wait(asked.deadline),
        Some(_) => Step::Reset,
    }
}

/// Until when a guest may take its time.
pub(crate) fn patience(wanted: &WantedGuest, now: Timestamp) -> Asked {
    let seconds = wanted.spec.as_ref().map_or(0, |spec| spec.shutdown_timeout_s);
    Asked { generation: wanted.generation, deadline: now + Duration::from_secs(u64::from(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::tests::guest;

    fn wanted(want: Want, generation: u64) -> WantedGuest {
        WantedGuest { want, generation, ..guest() }
    }

    fn plan(wanted: &WantedGuest, power: Power, record: &RunRecord, now: i64) -> Step {
        let now = Timestamp::from_secs(now);
        next_step(wanted, &Seen { power, record, now, host_boot: "a", rebooted: false, resume_after_host_boot: false })
    }

    fn started() -> RunRecord {
        RunRecord { prepared: true, boot: 1, started: true, host_boot: "a".into(), ..RunRecord::default() }
    }

    fn ended(generation: u64) -> RunRecord {
        RunRecord { ended: Some(Ended { generation, clean: true }), ..started() }
    }

    #[test]
    fn a_guest_that_ended_is_started_by_a_newer_wish_only() {
        let rest = Step::Rest { state: GuestState::Stopped, settled: false };
        assert_eq!(plan(&wanted(Want::Running, 3), Power::Off, &ended(3), 0), rest);
        assert_eq!(plan(&wanted(Want::Running, 4), Power::Off, &ended(3), 0), Step::Start);
        let rebooted = WantedGuest { boot: 2, ..wanted(Want::Running, 3) };
        assert_eq!(plan(&rebooted, Power::Off, &ended(3), 0), Step::Start);
    }

    #[test]
    fn what_was_started_and_not_written_down_is_adopted_and_what_was_not_is_started() {
        let about_to = RunRecord { started: false, ..started() };
        assert_eq!(plan(&wanted(Want::Running, 1), Power::Paused, &about_to, 0), Step::NoteStarted);
        assert_eq!(plan(&wanted(Want::Running, 1), Power::Off, &about_to, 0), Step::Start);
        assert_eq!(plan(&wanted(Want::Running, 1), Power::Off, &started(), 0), Step::NoteEnd { clean: false });
    }

    #[test]
    fn the_plug_is_pulled_when_the_patience_for_this_wish_is_over() {
        let stop = wanted(Want::Stopped, 5);
        assert_eq!(plan(&stop, Power::Running, &started(), 0), Step::AskToStop);
        let asked = |generation| RunRecord {
            stop_asked: Some(Asked { generation, ..patience(&stop, Timestamp::from_secs(0)) }),
            ..started()
        };
        assert_eq!(plan(&stop, Power::Running, &asked(5), 0), Step::Wait(Timestamp::from_secs(1)));
        assert_eq!(plan(&stop, Power::Running, &asked(5), 1), Step::NoteEnd { clean: true });
        assert_eq!(plan(&stop, Power::Running, &asked(4), 1), Step::AskToStop);
        assert_eq!(plan(&stop, Power::Paused, &started(), 0), Step::NoteEnd { clean: true });
        assert_eq!(plan(&stop, Power::Running, &ended(5), 0), Step::Kill);
    }

    #[test]
    fn guests_of_a_host_that_went_down_come_back_only_if_that_is_configured() {
        let before = RunRecord { host_boot: "b".into(), ..started() };
        let want = wanted(Want::Running, 1);
        assert_eq!(plan(&want, Power::Off, &before, 0), Step::NoteEnd { clean: false });
        let now = Timestamp::default();
        let seen = Seen {
            power: Power::Off,
            record: &before,
            now,
            host_boot: "a",
            rebooted: false,
            resume_after_host_boot: true,
        };
        assert_eq!(next_step(&want, &seen), Step::Start);
    }

    #[test]
    fn a_wish_to_be_gone_needs_nothing_but_power_off() {
        let absent = WantedGuest { spec: None, ..wanted(Want::Absent, 9) };
        assert_eq!(plan(&absent, Power::Running, &started(), 0), Step::Kill);
        assert_eq!(plan(&absent, Power::Off, &started(), 0), Step::Remove);
        assert_eq!(plan(&absent, Power::Off, &RunRecord::default(), 0), Step::Remove);
    }
}
