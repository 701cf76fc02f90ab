//! Providers and what belongs to them.

use crate::model::{Provider, Stock};
use crate::snapshot::{Change, Snapshot};
use ferrostack_contracts::placement::Inventory;
use ferrostack_db::{Row, Select, Tx, is_unique_violation, params, placeholders};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Result, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// More ids than this in one statement are asked for in parts: MariaDB and PostgreSQL bind at most 65,535 values.
const IDS_AT_ONCE: usize = 500;

/// A provider's own row.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its id.
    pub id: ProviderId,
    /// Its name.
    pub name: String,
    /// See [`Provider::generation`].
    pub generation: i64,
    /// See [`Provider::revision`].
    pub revision: i64,
    /// Its parent.
    pub parent: Option<ProviderId>,
    /// Its root.
    pub root: ProviderId,
    /// Its last change.
    pub updated_at: Timestamp,
}

const HEAD: &str = "SELECT id, name, generation, revision, parent_id, root_id, updated_at FROM placement_providers";

fn head(row: &Row<'_>) -> Result<Head> {
    Ok(Head {
        id: row.get(0)?,
        name: row.get(1)?,
        generation: row.get(2)?,
        revision: row.get(3)?,
        parent: row.get(4)?,
        root: row.get(5)?,
        updated_at: row.get(6)?,
    })
}

/// The provider's row.
pub fn head_fetch(tx: &mut Tx<'_>, id: ProviderId) -> Result<Option<Head>> {
    tx.query_opt(
        "SELECT id, name, generation, revision, parent_id, root_id, updated_at FROM placement_providers WHERE id = ?",
        params![id],
        head,
    )
}

/// The provider's row; 404 without one.
pub fn head_require(tx: &mut Tx<'_>, id: ProviderId) -> Result<Head> {
    head_fetch(tx, id)?.ok_or_else(|| Error::not_found(format!("No resource provider with uuid {id} found")))
}

const STOCK: &str = "SELECT provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, \
                     allocation_ratio, used, updated_at FROM placement_inventories";

fn stock(row: &Row<'_>) -> Result<(ProviderId, Stock)> {
    let class: String = row.get(1)?;
    let inventory = Inventory {
        total: row.get(2)?,
        reserved: row.get(3)?,
        min_unit: row.get(4)?,
        max_unit: row.get(5)?,
        step_size: row.get(6)?,
        allocation_ratio: row.get(7)?,
    };
    Ok((row.get(0)?, Stock { class: intern(&class), inventory, used: row.get(8)?, updated_at: row.get(9)? }))
}

/// The same text is shared by all providers: ten thousand hosts have three classes between them.
fn intern(name: &str) -> Arc<str> {
    use std::collections::HashSet;
    static NAMES: parking_lot::Mutex<Option<HashSet<Arc<str>>>> = parking_lot::Mutex::new(None);
    let mut names = NAMES.lock();
    let names = names.get_or_insert_with(HashSet::new);
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = Arc::from(name);
    names.insert(Arc::clone(&new));
    new
}

/// A provider's inventories, ordered by class.
pub fn stock_list(tx: &mut Tx<'_>, id: ProviderId) -> Result<Vec<Stock>> {
    tx.query(
        "SELECT provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used, \
         updated_at FROM placement_inventories WHERE provider_id = ? ORDER BY resource_class",
        params![id],
        |row| Ok(stock(row)?.1),
    )
}

/// A provider's traits.
pub fn trait_list(tx: &mut Tx<'_>, id: ProviderId) -> Result<BTreeSet<Arc<str>>> {
    let names =
        tx.query("SELECT trait_name FROM placement_provider_traits WHERE provider_id = ?", params![id], |row| {
            row.get::<String>(0)
        })?;
    Ok(names.iter().map(|name| intern(name)).collect())
}

/// A provider's aggregates.
pub fn aggregate_list(tx: &mut Tx<'_>, id: ProviderId) -> Result<BTreeSet<Uuid>> {
    let ids =
        tx.query("SELECT aggregate_id FROM placement_provider_aggregates WHERE provider_id = ?", params![id], |row| {
            row.get(0)
        })?;
    Ok(ids.into_iter().collect())
}

/// Everything of one provider.
pub fn provider_fetch(tx: &mut Tx<'_>, id: ProviderId) -> Result<Option<Provider>> {
    let Some(head) = head_fetch(tx, id)? else { return Ok(None) };
    let (stock, traits, aggregates) = (stock_list(tx, id)?, trait_list(tx, id)?, aggregate_list(tx, id)?);
    Ok(Some(assemble(head, stock, traits, aggregates)))
}

fn assemble(head: Head, stock: Vec<Stock>, traits: BTreeSet<Arc<str>>, aggregates: BTreeSet<Uuid>) -> Provider {
    Provider {
        id: head.id,
        name: head.name.into(),
        generation: head.generation,
        revision: head.revision,
        parent: head.parent,
        root: head.root,
        updated_at: head.updated_at,
        stock,
        traits,
        aggregates,
    }
}

/// Which providers to read.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Only these.
    pub ids: Option<Vec<ProviderId>>,
    /// Of this name.
    pub name: Option<String>,
    /// In the tree that this provider is part of.
    pub in_tree: Option<ProviderId>,
}

/// Everything of many providers in four queries (for each [`IDS_AT_ONCE`] of asked ids), ordered by id.
pub fn provider_list(tx: &mut Tx<'_>, which: &Which) -> Result<Vec<Provider>> {
    let parts: Vec<Option<Vec<ProviderId>>> = match &which.ids {
        None => vec![None],
        Some(ids) => ids.chunks(IDS_AT_ONCE).map(|part| Some(part.to_vec())).collect(),
    };
    let mut found = Vec::new();
    for part in parts {
        let mut heads = Select::new(HEAD)
            .filter_opt("name = ?", which.name.as_deref())
            .filter_opt("root_id = (SELECT root_id FROM placement_providers WHERE id = ?)", which.in_tree);
        if let Some(ids) = part {
            heads = heads.filter_in("id", ids);
        }
        let heads = heads.order("id", ferrostack_types::SortDirection::Asc).fetch(tx, head)?;
        let everything = which.ids.is_none() && which.name.is_none() && which.in_tree.is_none();
        found.extend(with_belongings(tx, heads, everything)?);
    }
    Ok(found)
}

fn with_belongings(tx: &mut Tx<'_>, heads: Vec<Head>, everything: bool) -> Result<Vec<Provider>> {
    let mut stocks: BTreeMap<ProviderId, Vec<Stock>> = BTreeMap::new();
    let mut traits: BTreeMap<ProviderId, BTreeSet<Arc<str>>> = BTreeMap::new();
    let mut aggregates: BTreeMap<ProviderId, BTreeSet<Uuid>> = BTreeMap::new();
    let ids: Vec<ProviderId> = heads.iter().map(|h| h.id).collect();
    let parts: Vec<&[ProviderId]> = if everything { vec![&[]] } else { ids.chunks(IDS_AT_ONCE).collect() };
    for part in parts {
        let of = |head: &'static str| {
            let select = Select::new(head);
            if everything { select } else { select.filter_in("provider_id", part.iter().copied()) }
        };
        let select = of(STOCK).order("resource_class", ferrostack_types::SortDirection::Asc);
        for (id, one) in select.fetch(tx, stock)? {
            stocks.entry(id).or_default().push(one);
        }
        let select = of("SELECT provider_id, trait_name FROM placement_provider_traits");
        for (id, name) in select.fetch(tx, |row| Ok((row.get::<ProviderId>(0)?, row.get::<String>(1)?)))? {
            traits.entry(id).or_default().insert(intern(&name));
        }
        let select = of("SELECT provider_id, aggregate_id FROM placement_provider_aggregates");
        for (id, aggregate) in select.fetch(tx, |row| Ok((row.get::<ProviderId>(0)?, row.get::<Uuid>(1)?)))? {
            aggregates.entry(id).or_default().insert(aggregate);
        }
    }
    let take = |head: Head| {
        let id = head.id;
        assemble(
            head,
            stocks.remove(&id).unwrap_or_default(),
            traits.remove(&id).unwrap_or_default(),
            aggregates.remove(&id).unwrap_or_default(),
        )
    };
    Ok(heads.into_iter().map(take).collect())
}

/// The revision of every provider.
pub fn revision_list(tx: &mut Tx<'_>) -> Result<BTreeMap<ProviderId, i64>> {
    let rows = tx.query("SELECT id, revision FROM placement_providers", params![], |row| {
        Ok((row.get::<ProviderId>(0)?, row.get::<i64>(1)?))
    })?;
    Ok(rows.into_iter().collect())
}

/// A provider that is to be.
#[derive(Debug, Clone)]
pub struct New {
    /// Its id.
    pub id: ProviderId,
    /// Its name.
    pub name: String,
    /// Its parent.
    pub parent: Option<ProviderId>,
    /// Its root.
    pub root: ProviderId,
}

/// Writes a new provider. 409 with Placement's code if id or name are taken.
pub fn provider_insert(tx: &mut Tx<'_>, new: &New, now: Timestamp) -> Result<()> {
    let taken = |what: String| {
        Err(Error::conflict(format!("Conflicting resource provider {what} already exists."))
            .with_code("placement.duplicate_name"))
    };
    if head_fetch(tx, new.id)?.is_some() {
        return taken(format!("uuid: {}", new.id));
    }
    let done = tx.execute(
        "INSERT INTO placement_providers (id, name, generation, revision, parent_id, root_id, created_at, updated_at) \
         VALUES (?, ?, 0, 1, ?, ?, ?, ?)",
        params![new.id, &new.name, new.parent, new.root, now, now],
    );
    match done {
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => taken(format!("name: {}", new.name)),
        Err(error) => Err(error),
    }
}

/// Changes a provider's name and place in its tree.
pub fn provider_update(
    tx: &mut Tx<'_>,
    id: ProviderId,
    name: &str,
    parent: Option<ProviderId>,
    root: ProviderId,
    now: Timestamp,
) -> Result<()> {
    let done = tx.execute(
        "UPDATE placement_providers SET name = ?, parent_id = ?, root_id = ?, updated_at = ? WHERE id = ?",
        params![name, parent, root, now, id],
    );
    match done {
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => {
            Err(Error::conflict(format!("Conflicting resource provider {name} already exists."))
                .with_code("placement.duplicate_name"))
        }
        Err(error) => Err(error),
    }
}

/// The providers below one, at any depth, itself included.
pub fn subtree_list(tx: &mut Tx<'_>, head: &Head) -> Result<BTreeSet<ProviderId>> {
    let tree =
        tx.query("SELECT id, parent_id FROM placement_providers WHERE root_id = ?", params![head.root], |row| {
            Ok((row.get::<ProviderId>(0)?, row.get::<Option<ProviderId>>(1)?))
        })?;
    let mut below = BTreeSet::from([head.id]);
    // A tree is at most as deep as it has members; usually two rounds do.
    loop {
        let before = below.len();
        below.extend(
            tree.iter()
                .filter(|(_, parent)| parent.is_some_and(|p| below.contains(&p)))
                .map(|(id, _)| *id)
                .collect::<Vec<_>>(),
        );
        if below.len() == before {
            return Ok(below);
        }
    }
}

/// Removes a provider with its inventories, traits and aggregates. The caller has made sure that nothing uses it.
pub fn provider_delete(tx: &mut Tx<'_>, id: ProviderId) -> Result<()> {
    tx.execute("DELETE FROM placement_inventories WHERE provider_id = ?", params![id])?;
    tx.execute("DELETE FROM placement_provider_traits WHERE provider_id = ?", params![id])?;
    tx.execute("DELETE FROM placement_provider_aggregates WHERE provider_id = ?", params![id])?;
    tx.execute("DELETE FROM placement_providers WHERE id = ?", params![id])?;
    Ok(())
}

/// Makes one inventory so; what is used of it stays.
pub fn inventory_put(
    tx: &mut Tx<'_>,
    id: ProviderId,
    class: &str,
    inventory: &Inventory,
    now: Timestamp,
) -> Result<()> {
    let i = inventory;
    let changed = tx.execute(
        "UPDATE placement_inventories SET total = ?, reserved = ?, min_unit = ?, max_unit = ?, step_size = ?, \
         allocation_ratio = ?, updated_at = ? WHERE provider_id = ? AND resource_class = ?",
        params![i.total, i.reserved, i.min_unit, i.max_unit, i.step_size, i.allocation_ratio, now, id, class],
    )?;
    if changed == 0 {
        tx.execute(
            "INSERT INTO placement_inventories (provider_id, resource_class, total, reserved, min_unit, max_unit, \
             step_size, allocation_ratio, used, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            params![id, class, i.total, i.reserved, i.min_unit, i.max_unit, i.step_size, i.allocation_ratio, now],
        )?;
    }
    Ok(())
}

/// Removes one inventory; whether there was one.
pub fn inventory_delete(tx: &mut Tx<'_>, id: ProviderId, class: &str) -> Result<bool> {
    let gone = tx.execute(
        "DELETE FROM placement_inventories WHERE provider_id = ? AND resource_class = ?",
        params![id, class],
    )?;
    Ok(gone > 0)
}

/// Makes a provider's traits these.
pub fn traits_put(tx: &mut Tx<'_>, id: ProviderId, traits: &BTreeSet<String>) -> Result<()> {
    tx.execute("DELETE FROM placement_provider_traits WHERE provider_id = ?", params![id])?;
    for name in traits {
        tx.execute("INSERT INTO placement_provider_traits (provider_id, trait_name) VALUES (?, ?)", params![id, name])?;
    }
    Ok(())
}

/// Makes a provider's aggregates these.
pub fn aggregates_put(tx: &mut Tx<'_>, id: ProviderId, aggregates: &BTreeSet<Uuid>) -> Result<()> {
    tx.execute("DELETE FROM placement_provider_aggregates WHERE provider_id = ?", params![id])?;
    for aggregate in aggregates {
        tx.execute(
            "INSERT INTO placement_provider_aggregates (provider_id, aggregate_id) VALUES (?, ?)",
            params![id, *aggregate],
        )?;
    }
    Ok(())
}

/// How a write touched a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// In a way that clients compare generations for.
    Generation,
    /// In a way that only we count.
    Quietly,
}

/// Ends every write to a provider: counts it, and tells memory once it is durable. Returns the new generation.
pub fn touched(tx: &mut Tx<'_>, snapshot: &Arc<Snapshot>, id: ProviderId, how: Touch, now: Timestamp) -> Result<i64> {
    count(tx, id, how, now)?;
    let provider = provider_fetch(tx, id)?.ok_or_else(|| Error::internal("a touched provider is gone"))?;
    let generation = provider.generation;
    let snapshot = Arc::clone(snapshot);
    tx.on_commit(move || snapshot.apply(vec![Change::Is(provider)]));
    Ok(generation)
}

/// The same for writes that changed nothing but inventories and their use: two queries less.
pub fn restocked(tx: &mut Tx<'_>, snapshot: &Arc<Snapshot>, id: ProviderId, how: Touch, now: Timestamp) -> Result<()> {
    count(tx, id, how, now)?;
    let (generation, revision): (i64, i64) = tx
        .query_opt("SELECT generation, revision FROM placement_providers WHERE id = ?", params![id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .ok_or_else(|| Error::internal("a restocked provider is gone"))?;
    let change = Change::Stocked { id, generation, revision, updated_at: now, stock: stock_list(tx, id)? };
    let snapshot = Arc::clone(snapshot);
    tx.on_commit(move || snapshot.apply(vec![change]));
    Ok(())
}

fn count(tx: &mut Tx<'_>, id: ProviderId, how: Touch, now: Timestamp) -> Result<()> {
    let by = i64::from(how == Touch::Generation);
    tx.execute(
        "UPDATE placement_providers SET generation = generation + ?, revision = revision + 1, updated_at = ? WHERE id = ?",
        params![by, now, id],
    )?;
    Ok(())
}

/// Which of these traits nobody has defined.
pub fn unknown_traits(tx: &mut Tx<'_>, names: &BTreeSet<String>) -> Result<Vec<String>> {
    let custom: Vec<&String> = names.iter().filter(|n| !crate::standard::TRAITS.contains(n.as_str())).collect();
    if custom.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = BTreeSet::new();
    for part in custom.chunks(IDS_AT_ONCE) {
        let sql = format!("SELECT name FROM placement_traits WHERE name IN ({})", placeholders(part.len()));
        let values: Vec<_> = part.iter().map(|n| ferrostack_db::Value::from(n.as_str())).collect();
        known.extend(tx.query(&sql, &values, |row| row.get::<String>(0))?);
    }
    Ok(custom.into_iter().filter(|n| !known.contains(*n)).cloned().collect())
}
