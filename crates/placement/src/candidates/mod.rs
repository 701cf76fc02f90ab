//! Allocation candidates: which providers could together serve a request.
//!
//! A request has groups. The group without a suffix may be served by several providers of one tree (and by sharing
//! providers that are tied to the tree by an aggregate); a group with a suffix must be served by one provider. For each
//! tree, every group's options are found, and combined as far as capacity, `group_policy` and `same_subtree` allow.
//!
//! Everything is decided in memory on plain structs; nothing here does I/O.

mod search;

pub use search::{Request, search};

use crate::model::Provider;
use ferrostack_contracts::placement::Resources;
use ferrostack_types::ids::ProviderId;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What one group asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    /// Amounts by class.
    pub resources: Resources,
    /// Each of these sets has to have a member among the traits.
    pub required: Vec<BTreeSet<String>>,
    /// None of these traits may be there.
    pub forbidden: BTreeSet<String>,
    /// Each of these sets has to have a member among the aggregates.
    pub member_of: Vec<BTreeSet<Uuid>>,
    /// None of these aggregates may be there.
    pub not_member_of: BTreeSet<Uuid>,
    /// Only providers in the tree of this one.
    pub in_tree: Option<ProviderId>,
}

impl Demand {
    /// Every trait that is named.
    pub fn trait_names(&self) -> BTreeSet<String> {
        self.required.iter().flatten().chain(&self.forbidden).cloned().collect()
    }

    /// Whether the aggregates of a tree's root matter.
    pub fn needs_roots(&self) -> bool {
        !self.member_of.is_empty() || !self.not_member_of.is_empty()
    }

    /// Whether one provider can serve all of it alone (`in_tree` apart).
    pub fn is_met_by(&self, provider: &Provider, root: Option<&Provider>) -> bool {
        self.resources.iter().all(|(class, amount)| provider.has_room(class, *amount))
            && self.admits(provider, root)
            && self.traits_met(&[provider])
    }

    /// Whether the provider may take part: forbidden traits and aggregates. What a tree's root is a member of, all of
    /// the tree is.
    pub fn admits(&self, provider: &Provider, root: Option<&Provider>) -> bool {
        let member =
            |id: &Uuid| provider.aggregates.contains(id) || root.is_some_and(|root| root.aggregates.contains(id));
        self.forbidden.iter().all(|name| !provider.traits.contains(name.as_str()))
            && self.member_of.iter().all(|any| any.iter().any(member))
            && !self.not_member_of.iter().any(member)
    }

    /// Whether the required traits are found among these providers together.
    pub fn traits_met(&self, providers: &[&Provider]) -> bool {
        self.required
            .iter()
            .all(|any| any.iter().any(|name| providers.iter().any(|p| p.traits.contains(name.as_str()))))
    }
}
