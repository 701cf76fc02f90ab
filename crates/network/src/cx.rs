//! What a write transaction needs besides the transaction.

use crate::NetworkConfig;
use ferrostack_db::{Tx, params};
use ferrostack_jobs::LoopHint;
use ferrostack_ovn::northbound::Key;
use ferrostack_types::{Env, Result, Timestamp};
use std::sync::{Arc, OnceLock};

/// Time and ids for one operation, and the way to say that OVN has something to learn. Cheap to clone, since a
/// transaction's closure may run more than once.
#[derive(Clone)]
pub(crate) struct WriteCx {
    pub(crate) env: Env,
    pub(crate) now: Timestamp,
    /// Whether anybody wants to be told of changes.
    pub(crate) tracks: bool,
    pub(crate) hint: Arc<OnceLock<LoopHint>>,
    pub(crate) config: Arc<NetworkConfig>,
}

impl WriteCx {
    /// The object has changed in this transaction: OVN must learn of it.
    pub(crate) fn mark(&self, tx: &mut Tx<'_>, key: Key) -> Result<()> {
        self.mark_as(tx, key, false)
    }

    /// The object is deleted in this transaction: the mark is its tombstone.
    pub(crate) fn mark_gone(&self, tx: &mut Tx<'_>, key: Key) -> Result<()> {
        self.mark_as(tx, key, true)
    }

    fn mark_as(&self, tx: &mut Tx<'_>, key: Key, gone: bool) -> Result<()> {
        if !self.tracks {
            return Ok(());
        }
        let changed = tx.execute(
            "UPDATE network_ovn_dirty SET seq = seq + 1, gone = ? WHERE kind = ? AND id = ?",
            params![gone, rank(&key), key.uuid()],
        )?;
        if changed == 0 {
            tx.execute(
                "INSERT INTO network_ovn_dirty (kind, id, seq, gone) VALUES (?, ?, 1, ?)",
                params![rank(&key), key.uuid(), gone],
            )?;
        }
        let hint = Arc::clone(&self.hint);
        tx.on_commit(move || {
            if let Some(hint) = hint.get() {
                hint.hint();
            }
        });
        Ok(())
    }
}

/// The kind as a number, in the order in which OVN must get to know things: what is referred to comes first.
pub(crate) fn rank(key: &Key) -> i64 {
    match key {
        Key::SecurityGroup(_) => 1,
        Key::Network(_) => 2,
        Key::Router(_) => 3,
        Key::Port(_) => 4,
        Key::FloatingIp(_) => 5,
    }
}
