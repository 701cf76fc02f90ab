//! What compute asks: the contract, on the same rules as the API.

use crate::Placement;
use crate::allocations::{self, Expected, Wanted};
use crate::model::{Provider, Shortage};
use crate::store::providers::{self, New, Touch};
use crate::store::{allocations as rows, names};
use async_trait::async_trait;
use ferrostack_contracts::placement::{Candidate, Candidates, Claim, Consumer, Inventory, Resources};
use ferrostack_db::Tx;
use ferrostack_types::ids::{ProviderId, ServerId};
use ferrostack_types::{Error, Result, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The consumer type of a server.
const INSTANCE: &str = "INSTANCE";

#[async_trait]
impl ferrostack_contracts::placement::Placement for Placement {
    async fn ensure_provider(&self, id: ProviderId, name: &str, inventory: &BTreeMap<String, Inventory>) -> Result<()> {
        // A node says this with every heartbeat; nothing has changed nearly always.
        if self.snapshot.get(id).is_some_and(|provider| is_so(&provider, name, inventory)) {
            return Ok(());
        }
        let (snapshot, now) = (Arc::clone(&self.snapshot), self.env.now());
        let (name, inventory) = (name.to_owned(), inventory.clone());
        self.db
            .write("placement_ensure_provider", move |tx| {
                ensure_in_tx(tx, id, &name, &inventory, now)?;
                providers::touched(tx, &snapshot, id, Touch::Generation, now).map(|_| ())
            })
            .await
    }

    async fn candidates(&self, wanted: &Resources) -> Result<Candidates> {
        Ok(find(&self.snapshot.all(), wanted))
    }

    async fn claim(&self, consumer: &Consumer, provider: ProviderId, wanted: &Resources) -> Result<Claim> {
        let (snapshot, now) = (Arc::clone(&self.snapshot), self.env.now());
        let change = [Wanted {
            consumer: consumer.server.0,
            expected: Expected::Anything,
            project: consumer.project.as_str().to_owned(),
            user: consumer.user.as_str().to_owned(),
            kind: Some(INSTANCE.to_owned()),
            takes: BTreeMap::from([(provider, wanted.clone())]),
        }];
        self.db
            .write("placement_claim", move |tx| {
                if holds_already(tx, &change[0])? {
                    return Ok(Claim::Held);
                }
                match allocations::replace_in_tx(tx, &snapshot, &change, now)? {
                    Ok(()) => Ok(Claim::Held),
                    Err(refusal) if refusal.is_no_room() => Ok(Claim::NoRoom),
                    Err(refusal) => Err(refusal.into_error()),
                }
            })
            .await
    }

    async fn release(&self, server: ServerId) -> Result<()> {
        let (snapshot, now) = (Arc::clone(&self.snapshot), self.env.now());
        self.db
            .write("placement_release", move |tx| allocations::release_in_tx(tx, &snapshot, server.0, now).map(|_| ()))
            .await
    }

    async fn holders(&self) -> Result<Vec<(ServerId, ProviderId, Resources)>> {
        let held = self.db.read("placement_holders", |tx| rows::holders(tx, INSTANCE)).await?;
        Ok(held.into_iter().map(|(consumer, provider, resources)| (ServerId(consumer), provider, resources)).collect())
    }
}

fn is_so(provider: &Provider, name: &str, inventory: &BTreeMap<String, Inventory>) -> bool {
    *provider.name == *name
        && provider.stock.len() == inventory.len()
        && provider.stock.iter().all(|stock| inventory.get(&*stock.class) == Some(&stock.inventory))
}

fn ensure_in_tx(
    tx: &mut Tx<'_>,
    id: ProviderId,
    name: &str,
    inventory: &BTreeMap<String, Inventory>,
    now: Timestamp,
) -> Result<()> {
    match providers::head_fetch(tx, id)? {
        None => providers::provider_insert(tx, &New { id, name: name.to_owned(), parent: None, root: id }, now)?,
        Some(head) if head.name != name => {
            providers::provider_update(tx, id, name, head.parent, head.root, now)?;
        }
        Some(_) => {}
    }
    for (class, wanted) in inventory {
        if !names::class_exists(tx, class)? {
            return Err(Error::invalid(format!("No such resource class {class}.")));
        }
        providers::inventory_put(tx, id, class, wanted, now)?;
    }
    for stock in providers::stock_list(tx, id)? {
        // What is in use stays until its consumers are gone; the next report removes it then.
        if !inventory.contains_key(&*stock.class) && stock.used == 0 {
            providers::inventory_delete(tx, id, &stock.class)?;
        }
    }
    Ok(())
}

fn holds_already(tx: &mut Tx<'_>, wanted: &Wanted) -> Result<bool> {
    let held = rows::held_by_consumer(tx, wanted.consumer)?;
    let mut as_map: BTreeMap<ProviderId, Resources> = BTreeMap::new();
    for one in held {
        as_map.entry(one.provider).or_default().insert(one.class, one.used);
    }
    Ok(as_map == wanted.takes)
}

/// Why hosts were refused, gathered before it is put into words: how many, and the most that any of them had.
#[derive(Default)]
struct Reasons<'a>(BTreeMap<(&'a str, Reason), (usize, u64)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    NoInventory,
    Short(Shortage),
}

impl<'a> Reasons<'a> {
    fn add(&mut self, class: &'a str, reason: Reason, best: u64) {
        let entry = self.0.entry((class, reason)).or_default();
        *entry = (entry.0 + 1, entry.1.max(best));
    }

    fn into_words(self, wanted: &Resources) -> BTreeMap<String, usize> {
        let say = |((class, reason), (count, best)): ((&str, Reason), (usize, u64))| {
            let asked = wanted.get(class).copied().unwrap_or_default();
            let text = match reason {
                Reason::NoInventory => format!("no {class}: {asked} asked, the host has none"),
                Reason::Short(Shortage::Capacity) => {
                    format!("not enough {class}: {asked} asked, at most {best} free")
                }
                Reason::Short(Shortage::Constraint) => {
                    format!("{class} not allowed in this amount: {asked} asked, at most {best} for one server")
                }
            };
            (text, count)
        };
        self.0.into_iter().map(say).collect()
    }
}

/// Hosts are the roots of trees that do not merely share with others.
fn find(providers: &[Arc<Provider>], wanted: &Resources) -> Candidates {
    let mut found = Candidates::default();
    let mut reasons = Reasons::default();
    for provider in providers.iter().filter(|p| p.parent.is_none() && !p.is_sharing()) {
        found.hosts += 1;
        let refusal = wanted.iter().find_map(|(class, amount)| match provider.stock_of(class) {
            None => Some((class.as_str(), Reason::NoInventory, 0)),
            Some(stock) => stock.shortage(*amount).map(|shortage| {
                let best = match shortage {
                    Shortage::Capacity => stock.free(),
                    Shortage::Constraint => stock.inventory.max_unit,
                };
                (class.as_str(), Reason::Short(shortage), best)
            }),
        });
        match refusal {
            Some((class, reason, best)) => reasons.add(class, reason, best),
            None => found.fitting.push(candidate(provider)),
        }
    }
    found.refused = reasons.into_words(wanted);
    found
}

fn candidate(provider: &Provider) -> Candidate {
    let by_class = |value: fn(&crate::model::Stock) -> u64| -> Resources {
        provider.stock.iter().map(|stock| (stock.class.to_string(), value(stock))).collect()
    };
    Candidate {
        provider: provider.id,
        name: provider.name.to_string(),
        generation: provider.generation,
        capacity: by_class(|s| s.capacity()),
        used: by_class(|s| s.used),
    }
}
