//! Finding and combining.

use super::Demand;
use crate::model::Provider;
use ferrostack_types::ids::ProviderId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// So many combinations are looked at for one request; a request that has more is answered with what was found by
/// then. It keeps a hostile or careless query from taking a processor for minutes.
const BUDGET: usize = 200_000;

/// A request with all of its groups.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// By suffix; the empty one may be served by several providers.
    pub groups: BTreeMap<String, Demand>,
    /// `group_policy=isolate`: groups with a suffix are served by different providers.
    pub isolate: bool,
    /// At most so many.
    pub limit: Option<usize>,
    /// Traits that the tree's root must have.
    pub root_required: BTreeSet<String>,
    /// Traits that the tree's root must not have.
    pub root_forbidden: BTreeSet<String>,
    /// Groups whose providers must lie below one of them.
    pub same_subtree: Vec<BTreeSet<String>>,
    /// Whether several providers of one tree may serve the request (since 1.29).
    pub nested: bool,
}

/// A way to serve the request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// What is taken of which provider.
    pub takes: BTreeMap<ProviderId, BTreeMap<String, u64>>,
    /// Which providers serve which group.
    pub mappings: BTreeMap<String, BTreeSet<ProviderId>>,
}

/// The ways, and the providers to describe with them.
#[derive(Debug, Default)]
pub struct Found {
    /// The ways.
    pub ways: Vec<Way>,
    /// The providers involved, with the rest of their trees where trees are known of.
    pub providers: Vec<Arc<Provider>>,
}

/// The providers, arranged.
struct Forest<'a> {
    by_id: HashMap<ProviderId, &'a Arc<Provider>>,
    trees: BTreeMap<ProviderId, Vec<&'a Arc<Provider>>>,
    /// Sharing providers by the roots of the trees that they serve.
    shared: HashMap<ProviderId, Vec<&'a Arc<Provider>>>,
}

impl<'a> Forest<'a> {
    fn new(providers: &'a [Arc<Provider>]) -> Forest<'a> {
        let by_id = providers.iter().map(|p| (p.id, p)).collect();
        let mut trees: BTreeMap<ProviderId, Vec<&Arc<Provider>>> = BTreeMap::new();
        for provider in providers {
            trees.entry(provider.root).or_default().push(provider);
        }
        let mut shared: HashMap<ProviderId, Vec<&Arc<Provider>>> = HashMap::new();
        for sharing in providers.iter().filter(|p| p.is_sharing()) {
            let tied = providers.iter().filter(|p| !p.aggregates.is_disjoint(&sharing.aggregates));
            let roots: BTreeSet<ProviderId> = tied.map(|p| p.root).filter(|root| *root != sharing.root).collect();
            for root in roots {
                shared.entry(root).or_default().push(sharing);
            }
        }
        Forest { by_id, trees, shared }
    }

    fn root(&self, provider: &Provider) -> Option<&Provider> {
        self.by_id.get(&provider.root).map(|root| &***root)
    }

    fn is_above(&self, above: ProviderId, mut below: ProviderId) -> bool {
        while above != below {
            match self.by_id.get(&below).and_then(|p| p.parent) {
                Some(parent) => below = parent,
                None => return false,
            }
        }
        true
    }
}

/// One way to serve one group.
#[derive(Clone)]
struct Choice<'a> {
    takes: Vec<(&'a Provider, &'a str, u64)>,
    providers: Vec<&'a Provider>,
}

/// All ways to serve the request, tree by tree.
pub fn search(providers: &[Arc<Provider>], request: &Request) -> Found {
    let forest = Forest::new(providers);
    let mut budget = BUDGET;
    let mut ways = Vec::new();
    let mut seen = HashSet::new();
    let limit = request.limit.unwrap_or(usize::MAX);
    for (root, tree) in &forest.trees {
        let Some(root) = forest.by_id.get(root) else { continue };
        let named = |name: &String| root.traits.contains(name.as_str());
        if !request.root_required.iter().all(named) || request.root_forbidden.iter().any(named) {
            continue;
        }
        let mut members: Vec<&Provider> = tree.iter().map(|p| &***p).collect();
        members.extend(forest.shared.get(&root.id).into_iter().flatten().map(|p| &***p));
        for way in of_tree(&forest, &members, request, &mut budget) {
            // Two trees may find the same way if it uses nothing but what they share.
            if forest.shared.is_empty() || seen.insert(way.clone()) {
                ways.push(way);
            }
            if ways.len() >= limit {
                return describe(&forest, ways, request.nested);
            }
        }
        if budget == 0 {
            tracing::warn!(ways = ways.len(), "a request for candidates was cut short: too many combinations");
            break;
        }
    }
    describe(&forest, ways, request.nested)
}

fn describe(forest: &Forest<'_>, ways: Vec<Way>, nested: bool) -> Found {
    let used: BTreeSet<ProviderId> =
        ways.iter().flat_map(|w| w.takes.keys().chain(w.mappings.values().flatten())).copied().collect();
    let shown: BTreeSet<ProviderId> = if nested {
        let roots: BTreeSet<ProviderId> = used.iter().filter_map(|id| forest.by_id.get(id)).map(|p| p.root).collect();
        roots.iter().filter_map(|root| forest.trees.get(root)).flatten().map(|p| p.id).collect()
    } else {
        used
    };
    let providers = shown.iter().filter_map(|id| forest.by_id.get(id)).map(|p| Arc::clone(p)).collect();
    Found { ways, providers }
}

fn of_tree<'a>(forest: &'a Forest<'a>, members: &[&'a Provider], request: &'a Request, budget: &mut usize) -> Vec<Way> {
    let mut choices: Vec<(&str, Vec<Choice<'a>>)> = Vec::new();
    for (suffix, demand) in &request.groups {
        let in_tree = match demand.in_tree {
            None => None,
            Some(id) => match forest.by_id.get(&id) {
                Some(provider) => Some(provider.root),
                None => return Vec::new(),
            },
        };
        let eligible: Vec<&Provider> =
            members.iter().copied().filter(|p| in_tree.is_none_or(|root| p.root == root)).collect();
        let found = if suffix.is_empty() {
            of_several(forest, &eligible, demand, budget)
        } else {
            of_one(forest, &eligible, demand)
        };
        if found.is_empty() {
            return Vec::new();
        }
        choices.push((suffix, found));
    }
    let mut ways = Vec::new();
    combine(forest, request, &choices, &mut Vec::new(), &mut ways, budget);
    ways
}

/// Providers that can serve the group alone.
fn of_one<'a>(forest: &Forest<'_>, eligible: &[&'a Provider], demand: &'a Demand) -> Vec<Choice<'a>> {
    let met = eligible.iter().copied().filter(|p| demand.is_met_by(p, forest.root(p)));
    met.map(|p| Choice {
        takes: demand.resources.iter().map(|(class, amount)| (p, class.as_str(), *amount)).collect(),
        providers: vec![p],
    })
    .collect()
}

/// Combinations of providers, one for each class.
fn of_several<'a>(
    forest: &Forest<'_>,
    eligible: &[&'a Provider],
    demand: &'a Demand,
    budget: &mut usize,
) -> Vec<Choice<'a>> {
    let mut partial: Vec<Vec<(&'a Provider, &'a str, u64)>> = vec![Vec::new()];
    for (class, amount) in &demand.resources {
        let able: Vec<&Provider> = eligible
            .iter()
            .copied()
            .filter(|p| p.has_room(class, *amount) && demand.admits(p, forest.root(p)))
            .collect();
        let mut longer = Vec::new();
        for chosen in &partial {
            for provider in &able {
                if *budget == 0 {
                    break;
                }
                *budget -= 1;
                let mut chosen = chosen.clone();
                chosen.push((*provider, class.as_str(), *amount));
                longer.push(chosen);
            }
        }
        partial = longer;
    }
    let mut choices = Vec::new();
    for takes in partial {
        let mut providers: Vec<&Provider> = takes.iter().map(|(p, ..)| *p).collect();
        providers.sort_by_key(|p| p.id);
        providers.dedup_by_key(|p| p.id);
        if demand.traits_met(&providers) {
            choices.push(Choice { takes, providers });
        }
    }
    choices
}

fn combine<'a>(
    forest: &Forest<'_>,
    request: &Request,
    left: &[(&'a str, Vec<Choice<'a>>)],
    chosen: &mut Vec<(&'a str, Choice<'a>)>,
    ways: &mut Vec<Way>,
    budget: &mut usize,
) {
    let Some(((suffix, choices), rest)) = left.split_first() else {
        if let Some(way) = way(forest, request, chosen) {
            ways.push(way);
        }
        return;
    };
    for choice in choices {
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        let clashes = request.isolate
            && !suffix.is_empty()
            && chosen
                .iter()
                .any(|(other, c)| !other.is_empty() && c.providers.iter().any(|p| p.id == choice.providers[0].id));
        if clashes {
            continue;
        }
        chosen.push((suffix, choice.clone()));
        combine(forest, request, rest, chosen, ways, budget);
        chosen.pop();
    }
}

/// The combination as a way, if it holds together.
fn way(forest: &Forest<'_>, request: &Request, chosen: &[(&str, Choice<'_>)]) -> Option<Way> {
    let mut takes: BTreeMap<ProviderId, BTreeMap<String, u64>> = BTreeMap::new();
    let mut mappings: BTreeMap<String, BTreeSet<ProviderId>> = BTreeMap::new();
    for (suffix, choice) in chosen {
        for (provider, class, amount) in &choice.takes {
            *takes.entry(provider.id).or_default().entry((*class).to_owned()).or_default() += amount;
        }
        mappings.entry((*suffix).to_owned()).or_default().extend(choice.providers.iter().map(|p| p.id));
    }
    // Each group fits by itself; several groups on one provider must fit together.
    let several = chosen.len() > 1;
    let fits = |(id, wanted): (&ProviderId, &BTreeMap<String, u64>)| {
        forest.by_id.get(id).is_some_and(|p| wanted.iter().all(|(class, amount)| p.has_room(class, *amount)))
    };
    if several && !takes.iter().all(fits) {
        return None;
    }
    if !request.nested {
        let roots: BTreeSet<ProviderId> = takes.keys().filter_map(|id| forest.by_id.get(id)).map(|p| p.root).collect();
        if roots.len() != takes.len() {
            return None;
        }
    }
    for suffixes in &request.same_subtree {
        let ids: BTreeSet<ProviderId> = suffixes.iter().filter_map(|s| mappings.get(s)).flatten().copied().collect();
        if !ids.iter().any(|above| ids.iter().all(|below| forest.is_above(*above, *below))) {
            return None;
        }
    }
    Some(Way { takes, mappings })
}

#[cfg(test)]
mod tests;
