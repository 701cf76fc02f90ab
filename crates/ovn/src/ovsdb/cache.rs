//! The copy of the monitored tables.

use super::{Atom, Datum};
use ferrostack_types::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// A row. A column that is absent has its type's default (0, "", false, empty): ovsdb-server leaves those out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(BTreeMap<String, Datum>);

impl Row {
    /// A column as it came.
    pub fn get(&self, column: &str) -> Option<&Datum> {
        self.0.get(column)
    }

    /// Whether the column has this value, defaults counted.
    pub fn has(&self, column: &str, value: &Datum) -> bool {
        match self.0.get(column) {
            Some(datum) => datum == value || (datum.is_default() && value.is_default()),
            None => value.is_default(),
        }
    }

    fn first(&self, column: &str) -> Option<&Atom> {
        match self.0.get(column)? {
            Datum::Set(atoms) => atoms.first(),
            Datum::Map(_) => None,
        }
    }

    /// A text column; empty if it is not set.
    pub fn text(&self, column: &str) -> &str {
        match self.first(column) {
            Some(Atom::Text(text)) => text,
            _ => "",
        }
    }

    /// An integer column; `None` if it is an optional one that is not set, or was left out as 0.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.first(column) {
            Some(Atom::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// A boolean column; false if it is not set.
    pub fn boolean(&self, column: &str) -> bool {
        matches!(self.first(column), Some(Atom::Boolean(true)))
    }

    /// The row that a column refers to (the first, of many).
    pub fn reference(&self, column: &str) -> Option<Uuid> {
        self.references(column).next()
    }

    /// The rows that a column refers to.
    pub fn references(&self, column: &str) -> impl Iterator<Item = Uuid> + '_ {
        self.atoms(column).filter_map(|atom| match atom {
            Atom::Uuid(uuid) => Some(*uuid),
            _ => None,
        })
    }

    /// Whether a set column has this member.
    pub fn contains(&self, column: &str, atom: &Atom) -> bool {
        matches!(self.0.get(column), Some(Datum::Set(atoms)) if atoms.contains(atom))
    }

    /// The members of a set column.
    pub fn atoms(&self, column: &str) -> impl Iterator<Item = &Atom> + '_ {
        let atoms = match self.0.get(column) {
            Some(Datum::Set(atoms)) => Some(atoms.iter()),
            _ => None,
        };
        atoms.into_iter().flatten()
    }

    /// The value of a key of a map column.
    pub fn key(&self, column: &str, key: &str) -> Option<&str> {
        match self.0.get(column)? {
            // The key has to be an Atom to be looked for; the maps in question have a handful of keys.
            Datum::Map(pairs) => pairs.iter().find_map(|pair| match pair {
                (Atom::Text(k), Atom::Text(v)) if k == key => Some(v.as_str()),
                _ => None,
            }),
            Datum::Set(_) => None,
        }
    }

    /// All pairs of texts of a map column.
    pub fn pairs(&self, column: &str) -> impl Iterator<Item = (&str, &str)> + '_ {
        let pairs = match self.0.get(column) {
            Some(Datum::Map(pairs)) => Some(pairs.iter()),
            _ => None,
        };
        pairs.into_iter().flatten().filter_map(|pair| match pair {
            (Atom::Text(k), Atom::Text(v)) => Some((k.as_str(), v.as_str())),
            _ => None,
        })
    }
}

/// A table's rows.
#[derive(Debug, Default)]
pub struct Table {
    rows: HashMap<Uuid, Row>,
    /// `name` column to rows, and `external_ids:ferrostack:{kind,id}` to rows.
    named: HashMap<String, BTreeSet<Uuid>>,
    owned: HashMap<String, BTreeSet<Uuid>>,
    /// The columns that can have more than one value: `modify` sends those as differences.
    many: HashSet<String>,
}

impl Table {
    /// A row.
    pub fn row(&self, uuid: Uuid) -> Option<&Row> {
        self.rows.get(&uuid)
    }

    /// All rows, in no order.
    pub fn rows(&self) -> impl Iterator<Item = (Uuid, &Row)> + '_ {
        self.rows.iter().map(|(uuid, row)| (*uuid, row))
    }

    /// The rows whose column `name` is this.
    pub fn named(&self, name: &str) -> impl Iterator<Item = (Uuid, &Row)> + '_ {
        self.indexed(self.named.get(name))
    }

    /// The rows that an object of ours owns, by the owner's `kind/id`.
    pub fn owned(&self, owner: &str) -> impl Iterator<Item = (Uuid, &Row)> + '_ {
        self.indexed(self.owned.get(owner))
    }

    /// Every owner, in no order.
    pub fn owners(&self) -> impl Iterator<Item = &str> + '_ {
        self.owned.keys().map(String::as_str)
    }

    fn indexed<'a>(&'a self, uuids: Option<&'a BTreeSet<Uuid>>) -> impl Iterator<Item = (Uuid, &'a Row)> + 'a {
        uuids.into_iter().flatten().filter_map(|uuid| Some((*uuid, self.rows.get(uuid)?)))
    }

    fn index_add(&mut self, uuid: Uuid) {
        let Some(row) = self.rows.get(&uuid) else { return };
        if let name @ [_, ..] = row.text("name").as_bytes() {
            self.named.entry(String::from_utf8_lossy(name).into_owned()).or_default().insert(uuid);
        }
        if let Some(owner) = owner_of(row) {
            self.owned.entry(owner).or_default().insert(uuid);
        }
    }

    fn index_remove(&mut self, uuid: Uuid) {
        let Some(row) = self.rows.get(&uuid) else { return };
        forget(&mut self.named, row.text("name"), uuid);
        if let Some(owner) = owner_of(row) {
            forget(&mut self.owned, &owner, uuid);
        }
    }

    fn put(&mut self, uuid: Uuid, row: Row) {
        self.index_remove(uuid);
        self.rows.insert(uuid, row);
        self.index_add(uuid);
    }

    fn remove(&mut self, uuid: Uuid) -> bool {
        self.index_remove(uuid);
        self.rows.remove(&uuid).is_some()
    }

    fn modify(&mut self, uuid: Uuid, changed: Row) {
        let reindex = ["name", "external_ids"].iter().any(|column| changed.0.contains_key(*column));
        if reindex {
            self.index_remove(uuid);
        }
        let Table { rows, many, .. } = self;
        let row = rows.entry(uuid).or_default();
        for (column, datum) in changed.0 {
            match row.0.get_mut(&column) {
                Some(old) if many.contains(&column) => old.apply_difference(datum),
                _ => {
                    row.0.insert(column, datum);
                }
            }
        }
        if reindex {
            self.index_add(uuid);
        }
    }
}

/// The owner of a row of ours as `kind/id`; `None` for a row that is not ours.
pub(crate) fn owner_of(row: &Row) -> Option<String> {
    let id = row.key("external_ids", "ferrostack:id")?;
    let kind = row.key("external_ids", "ferrostack:kind")?;
    Some(format!("{kind}/{id}"))
}

fn forget(index: &mut HashMap<String, BTreeSet<Uuid>>, key: &str, uuid: Uuid) {
    if let Some(uuids) = index.get_mut(key) {
        uuids.remove(&uuid);
        if uuids.is_empty() {
            index.remove(key);
        }
    }
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It came.
    Inserted,
    /// Columns changed.
    Modified,
    /// It went.
    Deleted,
}

/// What happened to a row, for observers; the row itself is in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: String,
    /// The row.
    pub uuid: Uuid,
    /// What.
    pub kind: ChangeKind,
    /// Which columns were sent, for [`ChangeKind::Modified`].
    pub columns: Vec<String>,
}

/// The copy of the monitored tables.
#[derive(Debug, Default)]
pub struct Cache {
    tables: HashMap<String, Table>,
    empty: Table,
}

impl Cache {
    /// A table; empty if it is not monitored.
    pub fn table(&self, name: &str) -> &Table {
        self.tables.get(name).unwrap_or(&self.empty)
    }

    /// A row.
    pub fn row(&self, table: &str, uuid: Uuid) -> Option<&Row> {
        self.table(table).row(uuid)
    }

    /// All tables.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &Table)> + '_ {
        self.tables.iter().map(|(name, table)| (name.as_str(), table))
    }

    /// Learns from the schema which columns have many values.
    pub(crate) fn learn(&mut self, schema: &Value, tables: &[&str]) {
        for name in tables {
            let columns = schema["tables"][name]["columns"].as_object();
            let many = columns.into_iter().flatten().filter(|(_, column)| has_many(&column["type"]));
            self.tables.entry((*name).to_owned()).or_default().many = many.map(|(name, _)| name.clone()).collect();
        }
    }

    /// Applies `table-updates2`. With `everything`, rows that are not in it are gone.
    pub(crate) fn apply(&mut self, updates: &Value, everything: bool) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        if everything {
            self.forget_missing(updates, &mut changes);
        }
        for (name, rows) in updates.as_object().into_iter().flatten() {
            let table = self.tables.entry(name.clone()).or_default();
            for (uuid, update) in rows.as_object().into_iter().flatten() {
                let uuid = Uuid::try_parse(uuid).map_err(|e| Error::from_source("row id in an OVSDB update", e))?;
                let (kind, columns) = apply_row(table, uuid, update)?;
                changes.push(Change { table: name.clone(), uuid, kind, columns });
            }
        }
        Ok(changes)
    }

    fn forget_missing(&mut self, updates: &Value, changes: &mut Vec<Change>) {
        for (name, table) in &mut self.tables {
            let sent = &updates[name];
            let gone: Vec<Uuid> =
                table.rows.keys().filter(|uuid| sent.get(uuid.hyphenated().to_string()).is_none()).copied().collect();
            for uuid in gone {
                table.remove(uuid);
                changes.push(Change { table: name.clone(), uuid, kind: ChangeKind::Deleted, columns: Vec::new() });
            }
        }
    }
}

fn apply_row(table: &mut Table, uuid: Uuid, update: &Value) -> Result<(ChangeKind, Vec<String>)> {
    if let Some(row) = update.get("initial").or_else(|| update.get("insert")) {
        let row = parse_row(row)?;
        let columns = row.0.keys().cloned().collect();
        let kind = if table.rows.contains_key(&uuid) { ChangeKind::Modified } else { ChangeKind::Inserted };
        table.put(uuid, row);
        Ok((kind, columns))
    } else if let Some(row) = update.get("modify") {
        let row = parse_row(row)?;
        let columns = row.0.keys().cloned().collect();
        table.modify(uuid, row);
        Ok((ChangeKind::Modified, columns))
    } else {
        table.remove(uuid);
        Ok((ChangeKind::Deleted, Vec::new()))
    }
}

fn parse_row(row: &Value) -> Result<Row> {
    let columns = row.as_object().into_iter().flatten();
    let columns = columns.map(|(name, value)| Datum::from_json(value).map(|datum| (name.clone(), datum)));
    let columns = columns.collect::<Option<BTreeMap<_, _>>>();
    columns.map(Row).ok_or_else(|| Error::internal("a value in an OVSDB update is of no known form"))
}

fn has_many(column_type: &Value) -> bool {
    match &column_type["max"] {
        Value::Number(max) => max.as_i64() > Some(1),
        Value::String(max) => max == "unlimited",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cache() -> Cache {
        let mut cache = Cache::default();
        let schema = json!({"tables": {"T": {"columns": {
            "name": {"type": "string"},
            "up": {"type": {"key": "boolean", "min": 0, "max": 1}},
            "ports": {"type": {"key": "uuid", "min": 0, "max": "unlimited"}},
            "external_ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
        }}}});
        cache.learn(&schema, &["T"]);
        cache
    }

    #[test]
    fn modify_replaces_single_values_and_applies_differences_to_sets() {
        let mut cache = cache();
        let (row, a, b) = (Uuid::from_u128(1), Uuid::from_u128(10), Uuid::from_u128(11));
        let ids = json!(["map", [["ferrostack:kind", "port"], ["ferrostack:id", "x"]]]);
        let insert = json!({"name": "n", "up": false, "ports": Datum::set([a, b]).to_json(), "external_ids": ids});
        cache.apply(&json!({"T": {(row.to_string()): {"insert": insert}}}), false).unwrap();
        let modify = json!({"up": true, "ports": ["uuid", a.to_string()], "name": "m"});
        let changes = cache.apply(&json!({"T": {(row.to_string()): {"modify": modify}}}), false).unwrap();
        assert_eq!(changes[0].kind, ChangeKind::Modified);
        let table = cache.table("T");
        assert!(table.row(row).unwrap().boolean("up"));
        assert_eq!(table.row(row).unwrap().references("ports").collect::<Vec<_>>(), [b]);
        assert_eq!((table.named("n").count(), table.named("m").count(), table.owned("port/x").count()), (0, 1, 1));
        cache.apply(&json!({"T": {(row.to_string()): {"delete": null}}}), false).unwrap();
        assert_eq!((cache.table("T").rows().count(), cache.table("T").owned("port/x").count()), (0, 0));
    }

    #[test]
    fn everything_anew_tells_of_rows_that_are_gone() {
        let mut cache = cache();
        let (one, two) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
        let both = json!({"T": {(one.clone()): {"initial": {"name": "one"}}, (two.clone()): {"initial": {}}}});
        cache.apply(&both, true).unwrap();
        let changes = cache.apply(&json!({"T": {(one): {"initial": {"name": "uno"}}}}), true).unwrap();
        let gone: Vec<_> =
            changes.iter().filter(|c| c.kind == ChangeKind::Deleted).map(|c| c.uuid.to_string()).collect();
        assert_eq!(gone, [two]);
        assert_eq!(cache.table("T").named("uno").count(), 1);
    }
}
