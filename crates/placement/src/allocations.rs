//! The rules of taking and giving back.
//!
//! A change names consumers and all that each of them is to hold. In one transaction: generations are compared, what
//! the consumers held is set aside, the rest is checked against capacity and constraints, and only then anything is
//! written. The counter of each inventory moves with its allocations, so nobody sums over a provider's allocations and
//! two claims can never both take the last place.

use crate::model::{Shortage, Stock};
use crate::snapshot::Snapshot;
use crate::store::allocations::{self as rows, ConsumerRow, Held};
use crate::store::names;
use crate::store::providers::{self, Touch};
use ferrostack_contracts::placement::Resources;
use ferrostack_db::Tx;
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Result, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// What is said about a consumer's generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing (before 1.28, and in process).
    Anything,
    /// It must be this one; `None`: the consumer must hold nothing yet.
    Exactly(Option<i64>),
}

/// All that a consumer is to hold from now on.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Who.
    pub consumer: Uuid,
    /// What its generation must be.
    pub expected: Expected,
    /// Its project.
    pub project: String,
    /// Its user.
    pub user: String,
    /// Its type; `None` keeps what is known.
    pub kind: Option<String>,
    /// Of which providers it takes what. Empty: nothing any more.
    pub takes: BTreeMap<ProviderId, Resources>,
}

/// Why a change was refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A consumer's generation is another than expected: what it is, and what was given.
    Generation(Option<i64>, Option<i64>),
    /// There is no such provider.
    NoProvider(ProviderId),
    /// There is no such resource class.
    NoClass(String),
    /// The provider has no inventory of the class.
    NoInventory(ProviderId, String),
    /// The amount violates `min_unit`, `max_unit` or `step_size`.
    Constraint(ProviderId, String),
    /// There is not so much left.
    Capacity(ProviderId, String),
}

impl Refusal {
    /// As Placement's API answers it.
    pub fn into_error(self) -> Error {
        let inventory = |text: String| Error::conflict(format!("Unable to allocate inventory: {text}"));
        let show = |g: Option<i64>| g.map_or_else(|| "None".to_owned(), |g| g.to_string());
        match self {
            Refusal::Generation(None, given) => {
                Error::conflict(format!("consumer generation conflict - expected null but got {}", show(given)))
                    .with_code("placement.concurrent_update")
            }
            Refusal::Generation(actual, given) => Error::conflict(format!(
                "consumer generation conflict - expected {} but got {}",
                show(actual),
                show(given)
            ))
            .with_code("placement.concurrent_update"),
            Refusal::NoProvider(id) => {
                Error::invalid(format!("Allocation for resource provider '{id}' that does not exist."))
            }
            Refusal::NoClass(name) => {
                Error::invalid(format!("Unable to allocate inventory: No such resource class {name}."))
            }
            Refusal::NoInventory(id, class) => {
                inventory(format!("Inventory for '{class}' on resource provider '{id}' invalid."))
            }
            Refusal::Constraint(id, class) => inventory(format!(
                "Unable to create allocation for '{class}' on resource provider '{id}'. The requested amount would \
                 violate inventory constraints."
            )),
            Refusal::Capacity(id, class) => inventory(format!(
                "Unable to create allocation for '{class}' on resource provider '{id}'. The requested amount would \
                 exceed the capacity."
            )),
        }
    }

    /// Whether it means that there is no room, rather than that the request is wrong.
    pub fn is_no_room(&self) -> bool {
        matches!(
            self,
            Refusal::NoProvider(_) | Refusal::NoInventory(..) | Refusal::Constraint(..) | Refusal::Capacity(..)
        )
    }
}

/// Before and after, by provider and class.
#[derive(Default)]
struct Balance(BTreeMap<(ProviderId, String), (u64, u64)>);

/// Makes the consumers hold what is wanted, all of them or none.
pub fn replace_in_tx(
    tx: &mut Tx<'_>,
    snapshot: &Arc<Snapshot>,
    wanted: &[Wanted],
    now: Timestamp,
) -> Result<Result<(), Refusal>> {
    let mut known = BTreeMap::new();
    let mut before: BTreeMap<Uuid, Vec<Held>> = BTreeMap::new();
    let mut balance = Balance::default();
    for one in wanted {
        let row = rows::consumer_fetch(tx, one.consumer)?;
        if let Expected::Exactly(given) = one.expected {
            let actual = row.as_ref().map(|r| r.generation);
            if actual != given {
                return Ok(Err(Refusal::Generation(actual, given)));
            }
        }
        let held = if row.is_some() { rows::held_by_consumer(tx, one.consumer)? } else { Vec::new() };
        for h in &held {
            balance.0.entry((h.provider, h.class.clone())).or_default().0 += h.used;
        }
        for (provider, resources) in &one.takes {
            for (class, amount) in resources {
                balance.0.entry((*provider, class.clone())).or_default().1 += amount;
            }
        }
        known.insert(one.consumer, row);
        before.insert(one.consumer, held);
    }
    if let Err(refusal) = check(tx, wanted, &balance)? {
        return Ok(Err(refusal));
    }
    for one in wanted {
        write(tx, one, known.remove(&one.consumer).flatten(), !before[&one.consumer].is_empty(), now)?;
    }
    for ((provider, class), (was, is)) in &balance.0 {
        let by = i64::try_from(*is).unwrap_or(i64::MAX) - i64::try_from(*was).unwrap_or(i64::MAX);
        if by != 0 {
            rows::used_add(tx, *provider, class, by)?;
        }
    }
    // A provider that is only given back to keeps its generation, unless that is all that the change is about.
    let mut named: BTreeSet<ProviderId> = wanted.iter().flat_map(|w| w.takes.keys().copied()).collect();
    for one in wanted.iter().filter(|w| w.takes.is_empty()) {
        named.extend(before[&one.consumer].iter().map(|h| h.provider));
    }
    let touched: BTreeSet<ProviderId> = balance.0.keys().map(|(provider, _)| *provider).collect();
    for provider in touched {
        let how = if named.contains(&provider) { Touch::Generation } else { Touch::Quietly };
        providers::restocked(tx, snapshot, provider, how, now)?;
    }
    Ok(Ok(()))
}

fn check(tx: &mut Tx<'_>, wanted: &[Wanted], balance: &Balance) -> Result<Result<(), Refusal>> {
    let mut stocks: BTreeMap<ProviderId, Vec<Stock>> = BTreeMap::new();
    for one in wanted {
        for (provider, resources) in &one.takes {
            if !stocks.contains_key(provider) {
                if providers::head_fetch(tx, *provider)?.is_none() {
                    return Ok(Err(Refusal::NoProvider(*provider)));
                }
                stocks.insert(*provider, providers::stock_list(tx, *provider)?);
            }
            for (class, amount) in resources {
                let Some(stock) = stocks[provider].iter().find(|s| *s.class == **class) else {
                    let known = names::class_exists(tx, class)?;
                    let no_class = || Refusal::NoClass(class.clone());
                    return Ok(Err(if known { Refusal::NoInventory(*provider, class.clone()) } else { no_class() }));
                };
                let (was, is) = balance.0[&(*provider, class.clone())];
                if let Some(shortage) = shortage(stock, *amount, was, is) {
                    return Ok(Err(match shortage {
                        Shortage::Constraint => Refusal::Constraint(*provider, class.clone()),
                        Shortage::Capacity => Refusal::Capacity(*provider, class.clone()),
                    }));
                }
            }
        }
    }
    Ok(Ok(()))
}

/// An inventory that was reduced below its use may still be given back to, or exchanged like for like.
fn shortage(stock: &Stock, amount: u64, was: u64, is: u64) -> Option<Shortage> {
    if !stock.permits(amount) {
        return Some(Shortage::Constraint);
    }
    let others = stock.used.saturating_sub(was);
    let too_much = stock.exact_capacity() < (others + is) as f64;
    (too_much && is > was).then_some(Shortage::Capacity)
}

fn write(tx: &mut Tx<'_>, one: &Wanted, known: Option<ConsumerRow>, held: bool, now: Timestamp) -> Result<()> {
    if held {
        rows::held_delete(tx, one.consumer)?;
    }
    if one.takes.is_empty() {
        return if known.is_some() { rows::consumer_delete(tx, one.consumer) } else { Ok(()) };
    }
    for (provider, resources) in &one.takes {
        for (class, amount) in resources {
            let held = Held {
                consumer: one.consumer,
                provider: *provider,
                class: class.clone(),
                used: *amount,
                created_at: now,
            };
            rows::held_insert(tx, &held)?;
        }
    }
    let consumer = ConsumerRow {
        id: one.consumer,
        generation: known.as_ref().map_or(0, |k| k.generation) + 1,
        project: one.project.clone(),
        user: one.user.clone(),
        kind: one.kind.clone().or_else(|| known.as_ref().and_then(|k| k.kind.clone())),
    };
    rows::consumer_put(tx, &consumer, known.is_none(), now)
}

/// Gives back all that a consumer holds; whether it held anything.
pub fn release_in_tx(tx: &mut Tx<'_>, snapshot: &Arc<Snapshot>, consumer: Uuid, now: Timestamp) -> Result<bool> {
    let held = rows::held_by_consumer(tx, consumer)?;
    if held.is_empty() {
        return Ok(false);
    }
    rows::held_delete(tx, consumer)?;
    rows::consumer_delete(tx, consumer)?;
    for one in &held {
        rows::used_add(tx, one.provider, &one.class, -i64::try_from(one.used).unwrap_or(i64::MAX))?;
    }
    for provider in held.iter().map(|h| h.provider).collect::<BTreeSet<_>>() {
        providers::restocked(tx, snapshot, provider, Touch::Quietly, now)?;
    }
    Ok(true)
}

/// Turns a refusal into the error that the API answers.
pub fn refuse(result: Result<Result<(), Refusal>>) -> Result<()> {
    result?.map_err(Refusal::into_error)
}
