//! What makes a remembered token stale.
//!
//! A remembered token carries the counters that it was read under. Every write that could change what a token is good
//! for raises a counter in its commit, before its own answer is given, so that the very next request sees it:
//!
//! ```text
//!   remember:  read counters ─► read database ─► keep both        use:  counters unchanged? ─► answer from memory
//!   write:     commit ─► raise counter ─► answer
//! ```
//!
//! Counters are read *before* the database, so a write in between makes the entry stale at once, never wrong. They are
//! striped by id: a write about one user does not make the tokens of all others be read again. Sharing a stripe by
//! chance costs a read, nothing else.
//!
//! They live in this process. A second control node learns of a write through the bus; until it is connected that way,
//! it must not remember tokens.

use ferrostack_db::Tx;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const STRIPES: usize = 4096;

/// The counters.
pub(crate) struct Stamps {
    stripes: Box<[AtomicU64]>,
    everything: AtomicU64,
    catalog: AtomicU64,
}

/// The counters that something was read under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    everything: u64,
    user: (usize, u64),
    scope: (usize, u64),
}

impl Stamps {
    pub(crate) fn new() -> Arc<Stamps> {
        let stripes = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Stamps { stripes, everything: AtomicU64::new(0), catalog: AtomicU64::new(0) })
    }

    /// The counters now, for a token of this user and this project or domain (any fixed text for other scopes).
    pub(crate) fn read(&self, user: &str, scope: &str) -> Stamp {
        let stripe = |id: &str| {
            let index = index(id);
            (index, self.stripes[index].load(Ordering::Acquire))
        };
        Stamp { everything: self.everything.load(Ordering::Acquire), user: stripe(user), scope: stripe(scope) }
    }

    pub(crate) fn is_current(&self, stamp: &Stamp) -> bool {
        let current = |(index, seen): (usize, u64)| self.stripes[index].load(Ordering::Acquire) == seen;
        self.everything.load(Ordering::Acquire) == stamp.everything && current(stamp.user) && current(stamp.scope)
    }

    /// The catalog's counter.
    pub(crate) fn catalog(&self) -> u64 {
        self.catalog.load(Ordering::Acquire)
    }

    /// Tokens of this user or project are stale once the transaction is durable.
    pub(crate) fn touch(self: &Arc<Self>, tx: &mut Tx<'_>, id: &str) {
        let (stamps, index) = (Arc::clone(self), index(id));
        tx.on_commit(move || {
            stamps.stripes[index].fetch_add(1, Ordering::AcqRel);
        });
    }

    /// All tokens are stale once the transaction is durable: roles, domains, groups.
    pub(crate) fn touch_everything(self: &Arc<Self>, tx: &mut Tx<'_>) {
        let stamps = Arc::clone(self);
        tx.on_commit(move || {
            stamps.everything.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// The catalog is stale once the transaction is durable.
    pub(crate) fn touch_catalog(self: &Arc<Self>, tx: &mut Tx<'_>) {
        let stamps = Arc::clone(self);
        tx.on_commit(move || {
            stamps.catalog.fetch_add(1, Ordering::AcqRel);
        });
    }
}

fn index(id: &str) -> usize {
    // Fixed keys: the same id has the same stripe in every run.
    let mut hasher = std::hash::DefaultHasher::new();
    id.hash(&mut hasher);
    (hasher.finish() % STRIPES as u64) as usize
}
