//! All providers in memory, so that candidates are found without a query.
//!
//! The database is the truth; this is what it looked like after the last commit. A write reads what it has made of a
//! provider and hands that over in its commit hook, so a client sees its own writes. Hooks run in commit order on
//! SQLite; where they may overtake each other, or where another control node writes, the provider's `revision` tells:
//! an older record never replaces a newer one, and a record that skips a revision and is only a part is not believed;
//! the loop [`crate::loops::Refresh`] reads such providers again. A candidate that is out of date does no harm: the
//! claim decides, in one transaction.

use crate::model::{Provider, Stock};
use ferrostack_types::Timestamp;
use ferrostack_types::ids::ProviderId;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happened to a provider, in full.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is like this now.
    Is(Provider),
    /// Its allocations changed, or its inventory; traits and aggregates did not.
    Stocked {
        /// Which.
        id: ProviderId,
        /// Its generation now.
        generation: i64,
        /// Its revision now.
        revision: i64,
        /// When.
        updated_at: Timestamp,
        /// Its inventories and their use now.
        stock: Vec<Stock>,
    },
    /// It is gone.
    Gone(ProviderId),
}

/// All providers in memory.
#[derive(Debug, Default)]
pub struct Snapshot {
    providers: RwLock<BTreeMap<ProviderId, Arc<Provider>>>,
}

impl Snapshot {
    /// Every provider, ordered by id. Cheap: one reference each.
    pub fn all(&self) -> Vec<Arc<Provider>> {
        self.providers.read().values().cloned().collect()
    }

    /// One provider.
    pub fn get(&self, id: ProviderId) -> Option<Arc<Provider>> {
        self.providers.read().get(&id).cloned()
    }

    /// Which revision of each provider is held.
    pub fn revisions(&self) -> BTreeMap<ProviderId, i64> {
        self.providers.read().iter().map(|(id, p)| (*id, p.revision)).collect()
    }

    /// Takes note of changes.
    pub fn apply(&self, changes: Vec<Change>) {
        let mut providers = self.providers.write();
        for change in changes {
            match change {
                Change::Gone(id) => {
                    providers.remove(&id);
                }
                Change::Is(provider) => {
                    if providers.get(&provider.id).is_none_or(|held| held.revision <= provider.revision) {
                        providers.insert(provider.id, Arc::new(provider));
                    }
                }
                Change::Stocked { id, generation, revision, updated_at, stock } => {
                    let Some(held) = providers.get_mut(&id).filter(|held| held.revision + 1 == revision) else {
                        continue;
                    };
                    let provider = Arc::make_mut(held);
                    (provider.generation, provider.revision) = (generation, revision);
                    (provider.updated_at, provider.stock) = (updated_at, stock);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn provider(revision: i64) -> Provider {
        let id = ProviderId(Uuid::from_u128(1));
        Provider {
            id,
            name: "p".into(),
            generation: revision,
            revision,
            parent: None,
            root: id,
            updated_at: Timestamp::default(),
            stock: vec![],
            traits: BTreeSet::new(),
            aggregates: BTreeSet::new(),
        }
    }

    #[test]
    fn a_late_change_never_replaces_a_newer_one() {
        let snapshot = Snapshot::default();
        let id = provider(0).id;
        snapshot.apply(vec![Change::Is(provider(5)), Change::Is(provider(4))]);
        assert_eq!(snapshot.get(id).unwrap().revision, 5);
        let part =
            |revision| Change::Stocked { id, generation: 9, revision, updated_at: Timestamp::default(), stock: vec![] };
        // A part that skips a revision could hide what lies between.
        snapshot.apply(vec![part(7), part(5)]);
        assert_eq!(snapshot.get(id).unwrap().revision, 5);
        snapshot.apply(vec![part(6)]);
        assert_eq!((snapshot.get(id).unwrap().revision, snapshot.get(id).unwrap().generation), (6, 9));
    }
}
