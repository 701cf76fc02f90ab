//! From rows that are wanted and rows that are there to the operations of one transaction. Pure.
//!
//! What makes a transaction safe to send while other control nodes send theirs:
//!
//! * sets that several objects share (a switch's ports, a group's members, a router's NAT rows) are mutated, member by
//!   member, never overwritten with what our copy of them happens to be;
//! * an object that is changed or deleted is guarded by a `wait` on its main row's `external_ids`, which hold its
//!   revision: if somebody else changed it since our copy was made, nothing happens and the plan is made anew;
//! * an object that is new has a UUID that only one insert can get.

use super::acl;
use super::model::{Key, Object};
use super::rows::{self, Parent, Rows, Wanted, drop_group, table};
use crate::ovsdb::{Atom, Cache, Datum, Row, op};
use ferrostack_types::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The tables with rows of ours, those that other rows' existence hangs on first.
pub(crate) const TABLES: [&str; 10] = [
    table::SWITCH,
    table::ROUTER,
    table::PORT_GROUP,
    table::DHCP_OPTIONS,
    table::SWITCH_PORT,
    table::ROUTER_PORT,
    table::GATEWAY_CHASSIS,
    table::ROUTE,
    table::NAT,
    table::ACL,
];

/// What to do about an object of which a row has to hang on something that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The plan fails; the caller repeats it later.
    Refuse,
    /// The object is left out and listed.
    Skip,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) put: &'a [Object],
    /// Owners (`kind/id`) of which nothing may be left.
    pub(crate) delete: &'a [String],
    pub(crate) missing: Missing,
}

/// What has to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) operations: Vec<Value>,
    /// The owners of which something changes.
    pub(crate) touched: BTreeSet<String>,
    /// Objects that were left out, see [`Missing::Skip`].
    pub(crate) skipped: Vec<Key>,
}

type RowId = (&'static str, Uuid);

struct Planner<'a> {
    cache: &'a Cache,
    wanted: BTreeMap<RowId, Wanted>,
    /// Rows that go.
    removed: BTreeSet<RowId>,
    /// Ports that are put, with their groups.
    groups: BTreeMap<Uuid, Vec<Uuid>>,
    inserts: Vec<Value>,
    updates: Vec<Value>,
    deletes: Vec<Value>,
    members: BTreeMap<Parent, (BTreeSet<Uuid>, BTreeSet<Uuid>)>,
    touched: BTreeSet<String>,
}

/// Makes the plan.
pub(crate) fn plan(cache: &Cache, request: Request<'_>) -> Result<Plan> {
    let mut planner = Planner {
        cache,
        wanted: BTreeMap::new(),
        removed: BTreeSet::new(),
        groups: BTreeMap::new(),
        inserts: Vec::new(),
        updates: Vec::new(),
        deletes: Vec::new(),
        members: BTreeMap::new(),
        touched: BTreeSet::new(),
    };
    let mut put: Vec<&Object> = request.put.iter().filter(|object| !planner.is_stale(object)).collect();
    put.sort_by_key(|object| object.key());
    let put_owners: BTreeSet<String> = put.iter().map(|object| object.key().to_string()).collect();
    let doomed: BTreeSet<&String> = request.delete.iter().filter(|owner| !put_owners.contains(*owner)).collect();
    let skipped = planner.collect(&put, &doomed, request.missing)?;
    let owners = put_owners.iter().filter(|owner| !skipped.iter().any(|key| key.to_string() == **owner));
    for owner in owners.chain(doomed.iter().copied()) {
        planner.find_removed(owner);
    }
    planner.resolve_dhcp();
    planner.remove();
    planner.put();
    planner.group_members();
    Ok(planner.finish(skipped))
}

impl<'a> Planner<'a> {
    /// Whether OVN has the object at a later revision: somebody else was quicker and knew better.
    fn is_stale(&self, object: &Object) -> bool {
        let key = object.key();
        let row = main_row(self.cache, &key.to_string());
        row.and_then(|(_, _, row)| revision(row)).is_some_and(|there| there > object.revision())
    }

    /// Collects the wanted rows; returns the objects that had to be left out.
    fn collect(&mut self, put: &[&Object], doomed: &BTreeSet<&String>, missing: Missing) -> Result<Vec<Key>> {
        let mut skipped = Vec::new();
        let mut stand_ins = Vec::new();
        // Roots that are about to be deleted can be nobody's parent any more.
        let gone: BTreeSet<Uuid> =
            doomed.iter().filter_map(|owner| main_row(self.cache, owner)).map(|(_, uuid, _)| uuid).collect();
        for object in put {
            let Rows { rows, groups } = rows::of(object);
            if let Some(parent) = self.missing_parent(&rows, &gone) {
                if missing == Missing::Refuse {
                    let text = format!("{} needs {} {}, which is not in OVN", object.key(), parent.table, parent.uuid);
                    return Err(Error::conflict("The network engine is not ready for this yet.")
                        .context(text)
                        .with_retryable(true));
                }
                skipped.push(object.key());
                continue;
            }
            if let Object::Port(port) = object {
                self.groups.insert(port.id.0, groups);
            }
            for row in rows {
                if row.stand_in { stand_ins.push(row) } else { self.want(row) }
            }
        }
        for row in stand_ins {
            let id = (row.table, row.uuid);
            let owner = self.cache.row(row.table, row.uuid).and_then(crate::ovsdb::owner_of);
            let taken = owner.is_some_and(|owner| owner.starts_with("port/") && !doomed.contains(&owner));
            if !taken && !self.wanted.contains_key(&id) {
                self.want(row);
            }
        }
        if self.groups.values().any(|groups| groups.contains(&drop_group())) {
            acl::drop_group_rows().into_iter().for_each(|row| self.want(row));
        }
        Ok(skipped)
    }

    fn want(&mut self, row: Wanted) {
        self.wanted.insert((row.table, row.uuid), row);
    }

    fn missing_parent(&self, rows: &[Wanted], gone: &BTreeSet<Uuid>) -> Option<Parent> {
        let there = |parent: &Parent| {
            self.wanted.contains_key(&(parent.table, parent.uuid))
                || rows.iter().any(|row| (row.table, row.uuid) == (parent.table, parent.uuid))
                || (self.cache.row(parent.table, parent.uuid).is_some() && !gone.contains(&parent.uuid))
        };
        rows.iter().filter_map(|row| row.parent).find(|parent| !there(parent))
    }

    /// An owner's rows that are there and not wanted.
    fn find_removed(&mut self, owner: &str) {
        for table in TABLES {
            for (uuid, _) in self.cache.table(table).owned(owner) {
                if !self.wanted.contains_key(&(table, uuid)) {
                    self.removed.insert((table, uuid));
                    self.touched.insert(owner.to_owned());
                }
            }
        }
    }

    fn exists(&self, table: &'static str, uuid: Uuid) -> bool {
        self.wanted.contains_key(&(table, uuid))
            || (self.cache.row(table, uuid).is_some() && !self.removed.contains(&(table, uuid)))
    }

    /// Ports refer to the DHCP options of their subnet if there are any. The reference is a weak one, so options that
    /// go take it with them; options that come have to be told to the ports that are there already.
    fn resolve_dhcp(&mut self) {
        let resolved: Vec<(RowId, &'static str, Datum)> = self
            .wanted
            .values()
            .filter(|row| row.table == table::SWITCH_PORT)
            .flat_map(|row| ["dhcpv4_options", "dhcpv6_options"].map(|column| (row, column)))
            .map(|(row, column)| {
                let options = row.dhcp.iter().find(|(c, uuid)| *c == column && self.exists(table::DHCP_OPTIONS, *uuid));
                ((row.table, row.uuid), column, Datum::option(options.map(|(_, uuid)| *uuid)))
            })
            .collect();
        for (id, column, datum) in resolved {
            if let Some(row) = self.wanted.get_mut(&id) {
                row.columns.insert(column, datum);
            }
        }
        let new: Vec<(Uuid, Option<Uuid>, bool)> = self
            .wanted
            .values()
            .filter(|row| row.table == table::DHCP_OPTIONS && self.cache.row(row.table, row.uuid).is_none())
            .map(|row| (row.uuid, owner_uuid(&row.owner), is_v6(row)))
            .collect();
        for (options, network, v6) in new {
            if let Some(network) = network {
                self.tell_ports(options, network, v6);
            }
        }
    }

    fn tell_ports(&mut self, options: Uuid, network: Uuid, v6: bool) {
        let Some(switch) = self.cache.row(table::SWITCH, network) else { return };
        let column = if v6 { "dhcpv6_options" } else { "dhcpv4_options" };
        for uuid in switch.references("ports") {
            let Some(port) = self.cache.row(table::SWITCH_PORT, uuid) else { continue };
            let here = (table::SWITCH_PORT, uuid);
            let concerned = port.text("type").is_empty() && lists(port, "ferrostack:subnets", options);
            if concerned && !self.wanted.contains_key(&here) && !self.removed.contains(&here) {
                self.updates.push(op::update(table::SWITCH_PORT, uuid, [(column, &Datum::one(options))]));
            }
        }
    }

    fn remove(&mut self) {
        for (table, uuid) in self.removed.clone() {
            if is_root(table) {
                self.deletes.push(op::delete(table, uuid));
                continue;
            }
            for parent in self.parents_there(table, uuid) {
                if !self.removed.contains(&(parent.table, parent.uuid)) {
                    self.members.entry(parent).or_default().1.insert(uuid);
                }
            }
        }
    }

    /// The rows that refer to this one now: the one that it names, or, should that be wrong, whichever does.
    fn parents_there(&self, table: &'static str, uuid: Uuid) -> Vec<Parent> {
        let Some((parent_table, column)) = parent_of(table) else { return Vec::new() };
        let holds = |row: &Row| row.contains(column, &Atom::Uuid(uuid));
        let to_parent = |uuid| Parent { table: parent_table, uuid, column };
        let row = self.cache.row(table, uuid);
        let named =
            row.and_then(|r| r.key("external_ids", "ferrostack:parent")).and_then(|id| Uuid::try_parse(id).ok());
        let named = named.filter(|parent| self.cache.row(parent_table, *parent).is_some_and(holds));
        match named {
            Some(parent) => vec![to_parent(parent)],
            None if row.is_none() => Vec::new(),
            None => {
                let parents = self.cache.table(parent_table).rows();
                parents.filter(|(_, row)| holds(row)).map(|(uuid, _)| to_parent(uuid)).collect()
            }
        }
    }

    fn put(&mut self) {
        for (id, row) in std::mem::take(&mut self.wanted) {
            match self.cache.row(row.table, row.uuid) {
                None => {
                    self.inserts.push(op::insert(row.table, row.uuid, row.columns.iter().map(|(c, d)| (*c, d))));
                    self.touched.insert(row.owner.clone());
                    if let Some(parent) = row.parent {
                        self.members.entry(parent).or_default().0.insert(row.uuid);
                    }
                }
                Some(there) => self.bring(&row, there),
            }
            self.wanted.insert(id, row);
        }
    }

    /// Changes what is different in a row that is there.
    fn bring(&mut self, row: &Wanted, there: &Row) {
        let columns: Vec<(&str, Datum)> = row
            .columns
            .iter()
            .map(|(column, datum)| (*column, with_foreign_keys(column, datum, there)))
            .filter(|(column, datum)| !there.has(column, datum))
            .collect();
        if !columns.is_empty() {
            self.updates.push(op::update(row.table, row.uuid, columns.iter().map(|(c, d)| (*c, d))));
            self.touched.insert(row.owner.clone());
        }
        let Some(parent) = row.parent else { return };
        let parents = self.parents_there(row.table, row.uuid);
        if !parents.contains(&parent) {
            self.members.entry(parent).or_default().0.insert(row.uuid);
            self.touched.insert(row.owner.clone());
        }
        for old in parents.into_iter().filter(|old| *old != parent) {
            if !self.removed.contains(&(old.table, old.uuid)) {
                self.members.entry(old).or_default().1.insert(row.uuid);
                self.touched.insert(row.owner.clone());
            }
        }
    }

    fn group_members(&mut self) {
        for (port, groups) in self.groups.clone() {
            let there = self.cache.row(table::SWITCH_PORT, port);
            let listed = there.and_then(|row| row.key("external_ids", "ferrostack:groups")).unwrap_or_default();
            let listed = listed.split(',').filter_map(|id| Uuid::try_parse(id).ok());
            let candidates: BTreeSet<Uuid> = listed.chain(groups.iter().copied()).chain([drop_group()]).collect();
            for group in candidates {
                let member = self.cache.row(table::PORT_GROUP, group);
                let member = member.is_some_and(|row| row.contains("ports", &Atom::Uuid(port)));
                // A group that is not there yet takes in its ports when it comes.
                let wanted = groups.contains(&group) && self.exists(table::PORT_GROUP, group);
                self.member(group, port, wanted, member);
            }
        }
        self.new_groups();
    }

    fn member(&mut self, group: Uuid, port: Uuid, wanted: bool, there: bool) {
        if wanted == there || self.removed.contains(&(table::PORT_GROUP, group)) {
            return;
        }
        let parent = Parent { table: table::PORT_GROUP, uuid: group, column: "ports" };
        let (insert, delete) = self.members.entry(parent).or_default();
        if wanted {
            insert.insert(port)
        } else {
            delete.insert(port)
        };
        self.touched.insert(format!("port/{}", port.hyphenated()));
    }

    fn new_groups(&mut self) {
        let is_new = |row: &&Wanted| {
            row.table == table::PORT_GROUP && row.uuid != drop_group() && self.cache.row(row.table, row.uuid).is_none()
        };
        let new: BTreeSet<Uuid> = self.wanted.values().filter(is_new).map(|row| row.uuid).collect();
        if new.is_empty() {
            return;
        }
        for (port, row) in self.cache.table(table::SWITCH_PORT).rows() {
            let listed = row.key("external_ids", "ferrostack:groups").unwrap_or_default();
            let listed = listed.split(',').filter_map(|id| Uuid::try_parse(id).ok());
            let skip = self.groups.contains_key(&port) || self.removed.contains(&(table::SWITCH_PORT, port));
            for group in listed.filter(|id| !skip && new.contains(id)) {
                let parent = Parent { table: table::PORT_GROUP, uuid: group, column: "ports" };
                self.members.entry(parent).or_default().0.insert(port);
            }
        }
    }

    fn finish(self, skipped: Vec<Key>) -> Plan {
        let mut operations = Vec::new();
        for owner in &self.touched {
            if let Some((table, uuid, row)) = main_row(self.cache, owner) {
                let ids = row.get("external_ids").cloned().unwrap_or_else(|| Datum::Map(BTreeMap::new()));
                operations.push(op::expect(table, uuid, [("external_ids", &ids)]));
            }
        }
        operations.extend(self.inserts);
        operations.extend(self.updates);
        for (parent, (insert, delete)) in self.members {
            let mut mutations = Vec::new();
            if !delete.is_empty() {
                mutations.push((parent.column, "delete", Datum::set(delete)));
            }
            if !insert.is_empty() {
                mutations.push((parent.column, "insert", Datum::set(insert)));
            }
            operations.push(op::mutate(parent.table, parent.uuid, &mutations));
        }
        operations.extend(self.deletes);
        Plan { operations, touched: self.touched, skipped }
    }
}

/// Memberships in port groups of ours that no port asks for. Found by looking at every member of every group, hence
/// only during a full reconciliation; `groups_of` says what a port asks for.
pub(crate) fn stray_members(cache: &Cache, all: &[Object]) -> Vec<Value> {
    let groups_of: BTreeMap<Uuid, BTreeSet<Uuid>> = all
        .iter()
        .filter(|object| matches!(object, Object::Port(_)))
        .map(|object| (object.key().uuid(), rows::of(object).groups.into_iter().collect()))
        .collect();
    let ours = cache.table(table::PORT_GROUP).rows().filter(|(_, row)| crate::ovsdb::owner_of(row).is_some());
    ours.filter_map(|(group, row)| {
        // A port that is not listed may have come since the list was made.
        let stray = |port: &Uuid| groups_of.get(port).is_some_and(|groups| !groups.contains(&group));
        let strays: BTreeSet<Uuid> = row.references("ports").filter(stray).collect();
        (!strays.is_empty()).then(|| op::mutate(table::PORT_GROUP, group, &[("ports", "delete", Datum::set(strays))]))
    })
    .collect()
}

/// Every owner of rows in OVN, those that belong to no object left out.
pub(crate) fn owners(cache: &Cache) -> BTreeSet<String> {
    let owners = TABLES.iter().flat_map(|table| cache.table(table).owners());
    owners.filter(|owner| !acl::is_system(owner)).map(str::to_owned).collect()
}

/// The revision that a row carries.
pub(crate) fn revision(row: &Row) -> Option<i64> {
    row.key("external_ids", "ferrostack:revision")?.parse().ok()
}

fn main_row<'a>(cache: &'a Cache, owner: &str) -> Option<(&'static str, Uuid, &'a Row)> {
    let table = main_table(owner.split_once('/')?.0)?;
    let uuid = owner_uuid(owner)?;
    let row = cache.row(table, uuid)?;
    (crate::ovsdb::owner_of(row).as_deref() == Some(owner)).then_some((table, uuid, row))
}

fn main_table(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "security_group" => table::PORT_GROUP,
        "network" => table::SWITCH,
        "router" => table::ROUTER,
        "port" => table::SWITCH_PORT,
        "floating_ip" => table::NAT,
        _ => return None,
    })
}

fn owner_uuid(owner: &str) -> Option<Uuid> {
    Uuid::try_parse(owner.split_once('/')?.1).ok()
}

fn is_root(table: &str) -> bool {
    parent_of(table).is_none()
}

/// Where the strong reference to a row of a table is held.
fn parent_of(table: &str) -> Option<(&'static str, &'static str)> {
    Some(match table {
        table::SWITCH_PORT => (table::SWITCH, "ports"),
        table::ROUTER_PORT => (table::ROUTER, "ports"),
        table::GATEWAY_CHASSIS => (table::ROUTER_PORT, "gateway_chassis"),
        table::ROUTE => (table::ROUTER, "static_routes"),
        table::NAT => (table::ROUTER, "nat"),
        table::ACL => (table::PORT_GROUP, "acls"),
        _ => return None,
    })
}

fn lists(row: &Row, key: &str, id: Uuid) -> bool {
    let id = id.hyphenated().to_string();
    row.key("external_ids", key).unwrap_or_default().split(',').any(|listed| listed == id)
}

fn is_v6(row: &Wanted) -> bool {
    matches!(row.columns.get("cidr"), Some(Datum::Set(cidr)) if matches!(cidr.first(), Some(Atom::Text(t)) if t.contains(':')))
}

/// Keys of `external_ids` that are not ours stay.
fn with_foreign_keys(column: &str, wanted: &Datum, there: &Row) -> Datum {
    let (Datum::Map(wanted), "external_ids") = (wanted, column) else { return wanted.clone() };
    let mut merged = wanted.clone();
    let foreign = there.pairs(column).filter(|(key, _)| !key.starts_with("ferrostack:"));
    merged.extend(foreign.map(|(key, value)| (Atom::from(key), Atom::from(value))));
    Datum::Map(merged)
}
