//! Consumers and what they hold.

use ferrostack_contracts::placement::Resources;
use ferrostack_db::{Row, Select, Tx, params};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Result, Timestamp};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Who holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRow {
    /// Its id.
    pub id: Uuid,
    /// What clients compare.
    pub generation: i64,
    /// Its project.
    pub project: String,
    /// Its user.
    pub user: String,
    /// `INSTANCE`, `MIGRATION`, ...; none was given before 1.38.
    pub kind: Option<String>,
}

/// An amount that a consumer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose.
    pub consumer: Uuid,
    /// Of which provider.
    pub provider: ProviderId,
    /// Of which class.
    pub class: String,
    /// How much.
    pub used: u64,
    /// Since when.
    pub created_at: Timestamp,
}

fn held(row: &Row<'_>) -> Result<Held> {
    Ok(Held {
        consumer: row.get(0)?,
        provider: row.get(1)?,
        class: row.get(2)?,
        used: row.get(3)?,
        created_at: row.get(4)?,
    })
}

/// The consumer, if it holds anything.
pub fn consumer_fetch(tx: &mut Tx<'_>, id: Uuid) -> Result<Option<ConsumerRow>> {
    tx.query_opt(
        "SELECT id, generation, project_id, user_id, consumer_type FROM placement_consumers WHERE id = ?",
        params![id],
        |row| {
            Ok(ConsumerRow {
                id: row.get(0)?,
                generation: row.get(1)?,
                project: row.get(2)?,
                user: row.get(3)?,
                kind: row.get(4)?,
            })
        },
    )
}

/// Writes a consumer as it is to be.
pub fn consumer_put(tx: &mut Tx<'_>, consumer: &ConsumerRow, is_new: bool, now: Timestamp) -> Result<()> {
    let c = consumer;
    if is_new {
        tx.execute(
            "INSERT INTO placement_consumers (id, generation, project_id, user_id, consumer_type, created_at, updated_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![c.id, c.generation, &c.project, &c.user, c.kind.as_deref(), now, now],
        )?;
    } else {
        tx.execute(
            "UPDATE placement_consumers SET generation = ?, project_id = ?, user_id = ?, consumer_type = ?, \
             updated_at = ? WHERE id = ?",
            params![c.generation, &c.project, &c.user, c.kind.as_deref(), now, c.id],
        )?;
    }
    Ok(())
}

/// Forgets a consumer that holds nothing any more.
pub fn consumer_delete(tx: &mut Tx<'_>, id: Uuid) -> Result<()> {
    tx.execute("DELETE FROM placement_consumers WHERE id = ?", params![id])?;
    Ok(())
}

/// What a consumer holds.
pub fn held_by_consumer(tx: &mut Tx<'_>, id: Uuid) -> Result<Vec<Held>> {
    tx.query(
        "SELECT consumer_id, provider_id, resource_class, used, created_at FROM placement_allocations \
         WHERE consumer_id = ? ORDER BY provider_id, resource_class",
        params![id],
        held,
    )
}

/// What is held of a provider.
pub fn held_of_provider(tx: &mut Tx<'_>, id: ProviderId) -> Result<Vec<(Held, i64)>> {
    tx.query(
        "SELECT a.consumer_id, a.provider_id, a.resource_class, a.used, a.created_at, c.generation \
         FROM placement_allocations a JOIN placement_consumers c ON c.id = a.consumer_id \
         WHERE a.provider_id = ? ORDER BY a.consumer_id, a.resource_class",
        params![id],
        |row| Ok((held(row)?, row.get(5)?)),
    )
}

/// Whether anything is held of a provider.
pub fn provider_in_use(tx: &mut Tx<'_>, id: ProviderId) -> Result<bool> {
    tx.exists("SELECT 1 FROM placement_allocations WHERE provider_id = ?", params![id])
}

/// Adds an amount.
pub fn held_insert(tx: &mut Tx<'_>, one: &Held) -> Result<()> {
    tx.execute(
        "INSERT INTO placement_allocations (consumer_id, provider_id, resource_class, used, created_at) \
         VALUES (?, ?, ?, ?, ?)",
        params![one.consumer, one.provider, &one.class, one.used, one.created_at],
    )?;
    Ok(())
}

/// Removes all that a consumer holds.
pub fn held_delete(tx: &mut Tx<'_>, consumer: Uuid) -> Result<()> {
    tx.execute("DELETE FROM placement_allocations WHERE consumer_id = ?", params![consumer])?;
    Ok(())
}

/// Moves the counter of what is used. The counter is in the inventory's row, and so in the same transaction.
pub fn used_add(tx: &mut Tx<'_>, provider: ProviderId, class: &str, by: i64) -> Result<()> {
    tx.execute(
        "UPDATE placement_inventories SET used = used + ? WHERE provider_id = ? AND resource_class = ?",
        params![by, provider, class],
    )?;
    Ok(())
}

/// Everything that consumers of a type hold, by consumer and provider.
pub fn holders(tx: &mut Tx<'_>, kind: &str) -> Result<Vec<(Uuid, ProviderId, Resources)>> {
    let mut all: BTreeMap<(Uuid, ProviderId), Resources> = BTreeMap::new();
    let rows = tx.query(
        "SELECT a.consumer_id, a.provider_id, a.resource_class, a.used, a.created_at \
         FROM placement_allocations a JOIN placement_consumers c ON c.id = a.consumer_id WHERE c.consumer_type = ?",
        params![kind],
        held,
    )?;
    for one in rows {
        all.entry((one.consumer, one.provider)).or_default().insert(one.class, one.used);
    }
    Ok(all.into_iter().map(|((consumer, provider), resources)| (consumer, provider, resources)).collect())
}

/// A sum of what a project's consumers hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The type of the consumers.
    pub kind: Option<String>,
    /// Of which class.
    pub class: String,
    /// How much.
    pub used: u64,
}

/// How many consumers there are of each type.
pub type ConsumerCounts = BTreeMap<Option<String>, u64>;

/// What a project (and user) holds, by consumer type and class; and how many consumers there are of each type.
pub fn usage_list(tx: &mut Tx<'_>, project: &str, user: Option<&str>) -> Result<(Vec<UsageRow>, ConsumerCounts)> {
    let sums = Select::new(
        "SELECT c.consumer_type, a.resource_class, a.used, a.consumer_id FROM placement_consumers c \
         JOIN placement_allocations a ON a.consumer_id = c.id",
    )
    .filter("c.project_id = ?", project)
    .filter_opt("c.user_id = ?", user)
    .fetch(tx, |row| {
        Ok((row.get::<Option<String>>(0)?, row.get::<String>(1)?, row.get::<u64>(2)?, row.get::<Uuid>(3)?))
    })?;
    let mut by: BTreeMap<(Option<String>, String), u64> = BTreeMap::new();
    let mut consumers: BTreeMap<Option<String>, std::collections::BTreeSet<Uuid>> = BTreeMap::new();
    for (kind, class, used, consumer) in sums {
        *by.entry((kind.clone(), class)).or_default() += used;
        consumers.entry(kind).or_default().insert(consumer);
    }
    let rows = by.into_iter().map(|((kind, class), used)| UsageRow { kind, class, used }).collect();
    Ok((rows, consumers.into_iter().map(|(kind, ids)| (kind, ids.len() as u64)).collect()))
}

/// A counter of used amounts that differs from the allocations: provider, class, counted, held.
pub type Drift = (ProviderId, String, i64, i64);

/// Counters that differ from what is held; there are none unless something is broken.
pub fn drift_list(tx: &mut Tx<'_>) -> Result<Vec<Drift>> {
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let mut drift: Vec<Drift> = tx.query(
        "SELECT i.provider_id, i.resource_class, i.used, COALESCE(h.used, 0) FROM placement_inventories i \
         LEFT JOIN (SELECT provider_id, resource_class, SUM(used) AS used FROM placement_allocations \
         GROUP BY provider_id, resource_class) h \
         ON h.provider_id = i.provider_id AND h.resource_class = i.resource_class \
         WHERE i.used <> COALESCE(h.used, 0)",
        params![],
        row,
    )?;
    drift.extend(tx.query(
        "SELECT a.provider_id, a.resource_class, 0, SUM(a.used) FROM placement_allocations a \
         LEFT JOIN placement_inventories i ON i.provider_id = a.provider_id AND i.resource_class = a.resource_class \
         WHERE i.provider_id IS NULL GROUP BY a.provider_id, a.resource_class",
        params![],
        row,
    )?);
    Ok(drift)
}
