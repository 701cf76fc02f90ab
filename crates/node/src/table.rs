//! All guests that the node knows: what is wanted and what was seen last.

use crate::store::Tombstone;
use ferrostack_contracts::node::{GuestError, GuestState, ObservedGuest, WantedGuest};
use ferrostack_types::Timestamp;
use ferrostack_types::ids::ServerId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// All guests that the node knows. Locked only for lookups and changes, never across an await.
#[derive(Default)]
pub(crate) struct Table(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    guests: BTreeMap<ServerId, Entry>,
    tombstones: BTreeMap<ServerId, Tombstone>,
}

struct Entry {
    wanted: Arc<WantedGuest>,
    observed: Option<ObservedGuest>,
    hint: Arc<Notify>,
}

/// What a guest's task has seen.
pub(crate) struct Sight {
    pub generation: u64,
    pub settled: bool,
    pub state: GuestState,
    pub boot: u64,
    pub error: Option<GuestError>,
}

impl Table {
    /// The generation that the node has taken note of.
    pub fn generation(&self, server: ServerId) -> Option<u64> {
        let inner = self.0.lock();
        let guest = inner.guests.get(&server).map(|entry| entry.wanted.generation);
        guest.or_else(|| inner.tombstones.get(&server).map(|tombstone| tombstone.generation))
    }

    /// Takes note of what is wanted and wakes the guest's task. True if the guest is new and needs a task.
    pub fn want(&self, wanted: WantedGuest) -> bool {
        let mut inner = self.0.lock();
        inner.tombstones.remove(&wanted.server);
        if let Some(entry) = inner.guests.get_mut(&wanted.server) {
            entry.wanted = Arc::new(wanted);
            entry.hint.notify_one();
            return false;
        }
        let entry = Entry { wanted: Arc::new(wanted), observed: None, hint: Arc::default() };
        inner.guests.insert(entry.wanted.server, entry);
        true
    }

    /// What is wanted of a guest, and where its task waits.
    pub fn wanted(&self, server: ServerId) -> Option<(Arc<WantedGuest>, Arc<Notify>)> {
        let inner = self.0.lock();
        inner.guests.get(&server).map(|entry| (Arc::clone(&entry.wanted), Arc::clone(&entry.hint)))
    }

    /// What is wanted of all guests.
    pub fn all_wanted(&self) -> Vec<Arc<WantedGuest>> {
        self.0.lock().guests.values().map(|entry| Arc::clone(&entry.wanted)).collect()
    }

    /// Wakes a guest's task.
    pub fn hint(&self, server: ServerId) {
        if let Some(entry) = self.0.lock().guests.get(&server) {
            entry.hint.notify_one();
        }
    }

    /// Notes what was seen; gives it a sequence number if it is news.
    pub fn see(&self, server: ServerId, mut sight: Sight, sequence: impl FnOnce() -> u64) -> Option<ObservedGuest> {
        let mut inner = self.0.lock();
        let entry = inner.guests.get_mut(&server)?;
        if entry.wanted.generation > sight.generation {
            // Something newer is wanted by now, and nothing is known about that yet.
            sight.generation = entry.wanted.generation;
            sight.settled = false;
            sight.error = None;
        }
        let Sight { generation, settled, state, boot, error } = sight;
        let mut news = ObservedGuest { server, generation, settled, state, boot, sequence: 0, error };
        if let Some(old) = &entry.observed {
            news.sequence = old.sequence;
            if news == *old {
                return None;
            }
        }
        news.sequence = sequence();
        entry.observed = Some(news.clone());
        Some(news)
    }

    /// Replaces a guest by its tombstone, unless something newer is wanted by now.
    pub fn bury(&self, server: ServerId, tombstone: Tombstone) -> bool {
        let mut inner = self.0.lock();
        match inner.guests.get(&server) {
            Some(entry) if entry.wanted.generation > tombstone.generation => return false,
            _ => inner.guests.remove(&server),
        };
        inner.tombstones.insert(server, tombstone);
        true
    }

    /// Adds a tombstone that was found at the start.
    pub fn restore_tombstone(&self, server: ServerId, tombstone: Tombstone) {
        self.0.lock().tombstones.insert(server, tombstone);
    }

    /// Takes away tombstones that are old enough.
    pub fn forget_before(&self, time: Timestamp) -> Vec<ServerId> {
        let mut inner = self.0.lock();
        let old: Vec<ServerId> =
            inner.tombstones.iter().filter(|(_, t)| t.at < time).map(|(server, _)| *server).collect();
        for server in &old {
            inner.tombstones.remove(server);
        }
        old
    }

    /// What was seen last of a guest, or that it is gone.
    pub fn observed(&self, server: ServerId, sequence: impl FnOnce() -> u64) -> Option<ObservedGuest> {
        let inner = self.0.lock();
        if let Some(entry) = inner.guests.get(&server) {
            return entry.observed.clone();
        }
        inner.tombstones.get(&server).map(|tombstone| gone(server, tombstone.generation, sequence()))
    }

    /// Whether every guest was looked at.
    pub fn all_seen(&self) -> bool {
        self.0.lock().guests.values().all(|entry| entry.observed.is_some())
    }

    /// What was seen last of all guests.
    pub fn all_observed(&self) -> Vec<ObservedGuest> {
        self.0.lock().guests.values().filter_map(|entry| entry.observed.clone()).collect()
    }

    /// How many guests have power.
    pub fn running(&self) -> usize {
        let inner = self.0.lock();
        let states = inner.guests.values().filter_map(|entry| entry.observed.as_ref().map(|seen| seen.state));
        states.filter(|state| matches!(state, GuestState::Running | GuestState::Paused)).count()
    }
}

/// Says that nothing is left of a guest.
pub(crate) fn gone(server: ServerId, generation: u64, sequence: u64) -> ObservedGuest {
    ObservedGuest { server, generation, settled: true, state: GuestState::Absent, boot: 0, sequence, error: None }
}
