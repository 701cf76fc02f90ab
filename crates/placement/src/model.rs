//! What a provider is, and the arithmetic of capacity. No SQL and no HTTP here.

use ferrostack_contracts::placement::Inventory;
use ferrostack_types::Timestamp;
use ferrostack_types::ids::ProviderId;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// The trait of a provider whose resources may be used by whoever shares an aggregate with it (a storage pool).
pub const SHARING: &str = "MISC_SHARES_VIA_AGGREGATE";

/// An inventory of one class with what is taken of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stock {
    /// The resource class.
    pub class: Arc<str>,
    /// What there is.
    pub inventory: Inventory,
    /// The sum of the allocations; kept in the same transaction as them.
    pub used: u64,
    /// The last change of the inventory.
    pub updated_at: Timestamp,
}

/// Why an amount cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// There is not so much left.
    Capacity,
    /// The amount violates `min_unit`, `max_unit` or `step_size`.
    Constraint,
}

impl Stock {
    /// `(total - reserved) * allocation_ratio`, not rounded: allocations are compared with this.
    pub fn exact_capacity(&self) -> f64 {
        self.inventory.total.saturating_sub(self.inventory.reserved) as f64 * self.inventory.allocation_ratio
    }

    /// The capacity as it is shown.
    pub fn capacity(&self) -> u64 {
        self.exact_capacity() as u64
    }

    /// What is left.
    pub fn free(&self) -> u64 {
        self.capacity().saturating_sub(self.used)
    }

    /// Whether one consumer may take `amount` at all.
    pub fn permits(&self, amount: u64) -> bool {
        let i = &self.inventory;
        amount >= i.min_unit && amount <= i.max_unit && amount.is_multiple_of(i.step_size.max(1))
    }

    /// Why `amount` more cannot be taken by one consumer; `None` if it can.
    pub fn shortage(&self, amount: u64) -> Option<Shortage> {
        if !self.permits(amount) {
            return Some(Shortage::Constraint);
        }
        (self.exact_capacity() < (self.used + amount) as f64).then_some(Shortage::Capacity)
    }
}

/// A resource provider with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// Its name.
    pub name: Arc<str>,
    /// What clients compare: grows with inventory, traits, aggregates and allocations.
    pub generation: i64,
    /// Grows with every change whatsoever; memory is compared with the database by it.
    pub revision: i64,
    /// The provider that it is part of.
    pub parent: Option<ProviderId>,
    /// The root of its tree; itself if it has no parent.
    pub root: ProviderId,
    /// The last change of the row.
    pub updated_at: Timestamp,
    /// Inventories, ordered by class.
    pub stock: Vec<Stock>,
    /// Traits.
    pub traits: BTreeSet<Arc<str>>,
    /// Aggregates.
    pub aggregates: BTreeSet<Uuid>,
}

impl Provider {
    /// The inventory of a class.
    pub fn stock_of(&self, class: &str) -> Option<&Stock> {
        self.stock.iter().find(|s| &*s.class == class)
    }

    /// Whether it shares its resources by aggregate.
    pub fn is_sharing(&self) -> bool {
        self.traits.contains(SHARING)
    }

    /// Whether it has room for `amount` of `class` for one consumer.
    pub fn has_room(&self, class: &str, amount: u64) -> bool {
        self.stock_of(class).is_some_and(|stock| stock.shortage(amount).is_none())
    }
}
