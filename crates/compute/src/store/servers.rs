//! `compute_servers`, tags and user data.

use super::json;
use crate::model::{Fault, FlavorCopy, Server, TaskState, VmState};
use ferrostack_db::{Row, Select, Tx, Value, params, placeholders};
use ferrostack_types::ids::{NodeId, ProjectId, ServerId};
use ferrostack_types::{Error, Kind, PageRequest, Result, SortDirection, Timestamp};
use std::collections::{BTreeMap, HashMap};

macro_rules! columns {
    () => {
        "id, number, project_id, user_id, name, hostname, description, vm_state, task_state, power_state, node_id, host, \
         zone_wanted, host_wanted, zone, flavor, image_id, key_name, config_drive, disk_config, locked_by, \
         locked_reason, reservation_id, launch_index, metadata, access_ipv4, access_ipv6, group_id, fault, created_at, \
         updated_at, launched_at, terminated_at, deleted_at"
    };
}

const SELECT: &str = concat!("SELECT ", columns!(), " FROM compute_servers");
const FETCH: &str = concat!("SELECT ", columns!(), " FROM compute_servers WHERE id = ?");

fn read(row: &Row<'_>) -> Result<Server> {
    let vm: String = row.get(7)?;
    let task: Option<String> = row.get(8)?;
    let fault: Option<String> = row.get(28)?;
    let unreadable = |e| Error::from_source("read a server's row", e);
    Ok(Server {
        id: row.get(0)?,
        number: row.get(1)?,
        project: row.get(2)?,
        user: row.get(3)?,
        name: row.get(4)?,
        hostname: row.get(5)?,
        description: row.get(6)?,
        vm_state: VmState::parse(&vm).unwrap_or(VmState::Error),
        task_state: task.as_deref().and_then(TaskState::parse),
        power_state: row.get(9)?,
        node: row.get(10)?,
        host: row.get(11)?,
        zone_wanted: row.get(12)?,
        host_wanted: row.get(13)?,
        zone: row.get(14)?,
        flavor: row.json::<FlavorCopy>(15)?,
        image: row.get(16)?,
        key_name: row.get(17)?,
        config_drive: row.get(18)?,
        disk_config: row.get(19)?,
        locked_by: row.get(20)?,
        locked_reason: row.get(21)?,
        reservation_id: row.get(22)?,
        launch_index: row.get(23)?,
        metadata: row.json(24)?,
        access_ipv4: row.get(25)?,
        access_ipv6: row.get(26)?,
        group: row.get(27)?,
        fault: fault.map(|text| serde_json::from_str::<Fault>(&text)).transpose().map_err(unreadable)?,
        created_at: row.get(29)?,
        updated_at: row.get(30)?,
        launched_at: row.get(31)?,
        terminated_at: row.get(32)?,
        deleted_at: row.get(33)?,
    })
}

/// Writes a new server.
pub(crate) fn server_insert_in_tx(tx: &mut Tx<'_>, server: &Server, tags: &[String], data: Option<&str>) -> Result<()> {
    let s = server;
    tx.execute(
        "INSERT INTO compute_servers (id, number, project_id, user_id, name, hostname, description, vm_state,
             task_state, power_state, node_id, host, zone_wanted, host_wanted, zone, flavor_id, flavor, image_id,
             key_name, config_drive, disk_config, locked_by, locked_reason, reservation_id, launch_index, metadata,
             access_ipv4, access_ipv6, group_id, vcpus, memory_mb, disk_gb, fault, created_at, updated_at, launched_at,
             terminated_at, deleted_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?, ?, ?, ?, ?, ?,
             ?, NULL, ?, ?, NULL, NULL, NULL)",
        params![
            s.id,
            s.number,
            &s.project,
            &s.user,
            &s.name,
            &s.hostname,
            s.description.as_deref(),
            s.vm_state.as_str(),
            s.task_state.map(TaskState::as_str),
            s.power_state,
            s.zone_wanted.as_deref(),
            s.host_wanted.as_deref(),
            s.zone.as_deref(),
            &s.flavor.id,
            json(&s.flavor)?,
            s.image,
            s.key_name.as_deref(),
            s.config_drive,
            &s.disk_config,
            &s.reservation_id,
            s.launch_index,
            json(&s.metadata)?,
            s.access_ipv4.as_deref(),
            s.access_ipv6.as_deref(),
            s.group.as_deref(),
            s.flavor.vcpus,
            s.flavor.memory_mb,
            s.flavor.root_gb + s.flavor.ephemeral_gb,
            s.created_at,
            s.updated_at
        ],
    )?;
    for tag in tags {
        tx.execute("INSERT INTO compute_server_tags (server_id, tag) VALUES (?, ?)", params![s.id, tag])?;
    }
    if let Some(data) = data {
        tx.execute("INSERT INTO compute_user_data (server_id, data) VALUES (?, ?)", params![s.id, data])?;
    }
    Ok(())
}

/// A server, deleted or not.
pub(crate) fn server_fetch_any_in_tx(tx: &mut Tx<'_>, id: ServerId) -> Result<Option<Server>> {
    tx.query_opt(FETCH, params![id], read)
}

/// A server that is not deleted.
pub(crate) fn server_fetch_in_tx(tx: &mut Tx<'_>, id: ServerId) -> Result<Option<Server>> {
    Ok(server_fetch_any_in_tx(tx, id)?.filter(|server| server.deleted_at.is_none()))
}

/// Servers by id, deleted ones included, in no order.
pub(crate) fn servers_by_id_in_tx(tx: &mut Tx<'_>, ids: &[ServerId]) -> Result<HashMap<ServerId, Server>> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(500) {
        let rows = Select::new(SELECT).filter_in("id", chunk.iter()).fetch(tx, read)?;
        found.extend(rows.into_iter().map(|server| (server.id, server)));
    }
    Ok(found)
}

/// What a list is narrowed by. Only what SQL can say; the rest is a predicate of the caller's.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerFilter {
    /// Pairs of a condition of ours with placeholders, and their values.
    pub(crate) conditions: Vec<(&'static str, Vec<Value>)>,
    /// `column IN (...)`
    pub(crate) within: Vec<(&'static str, Vec<Value>)>,
}

impl ServerFilter {
    pub(crate) fn with(&mut self, condition: &'static str, value: impl Into<Value>) {
        self.conditions.push((condition, vec![value.into()]));
    }

    pub(crate) fn plain(&mut self, condition: &'static str) {
        self.conditions.push((condition, Vec::new()));
    }

    pub(crate) fn is_in<V: Into<Value>>(&mut self, column: &'static str, values: impl IntoIterator<Item = V>) {
        self.within.push((column, values.into_iter().map(Into::into).collect()));
    }
}

/// The column (never NULL) that a sort key of the API means.
fn sort_column(key: &str) -> &'static str {
    match key {
        "display_name" => "name",
        "uuid" => "id",
        "host" => "COALESCE(host, '')",
        "node" => "COALESCE(host, '')",
        "hostname" => "hostname",
        "display_description" => "COALESCE(description, '')",
        "availability_zone" => "COALESCE(zone, '')",
        "image_ref" => "COALESCE(image_id, '')",
        "instance_type_id" => "flavor_id",
        "key_name" => "COALESCE(key_name, '')",
        "launch_index" => "launch_index",
        "launched_at" => "COALESCE(launched_at, 0)",
        "locked" => "CASE WHEN locked_by IS NULL THEN 0 ELSE 1 END",
        "locked_by" => "COALESCE(locked_by, '')",
        "power_state" => "power_state",
        "project_id" => "project_id",
        "task_state" => "COALESCE(task_state, '')",
        "terminated_at" => "COALESCE(terminated_at, 0)",
        "updated_at" => "updated_at",
        "user_id" => "user_id",
        "vm_state" => "vm_state",
        "access_ip_v4" => "COALESCE(access_ipv4, '')",
        "access_ip_v6" => "COALESCE(access_ipv6, '')",
        "config_drive" => "config_drive",
        // One value for all that we do not have: the order is then that of the next key.
        "auto_disk_config" | "kernel_id" | "ramdisk_id" | "root_device_name" | "progress" => "0",
        _ => "created_at",
    }
}

/// A page of servers. The marker may be a server of any filter, as in Nova; an unknown one is 400.
pub(crate) fn server_list_in_tx(
    tx: &mut Tx<'_>,
    filter: &ServerFilter,
    page: &PageRequest,
    limit: Option<usize>,
) -> Result<Vec<Server>> {
    let mut select = Select::new(SELECT);
    for (condition, values) in &filter.conditions {
        select = select.filter_with(condition, values.iter().cloned());
    }
    for (column, values) in &filter.within {
        select = select.filter_in(column, values.iter().cloned());
    }
    let mut seen = Vec::new();
    for key in &page.sort {
        let column = sort_column(key.field);
        if column != "0" && !seen.contains(&column) {
            seen.push(column);
            select = select.order(column, key.direction);
        }
    }
    if !seen.contains(&"id") {
        select = select.order("id", page.sort.first().map_or(SortDirection::Desc, |key| key.direction));
        seen.push("id");
    }
    if let Some(marker) = &page.marker {
        let unknown = || Error::new(Kind::Invalid, format!("marker [{marker}] not found"));
        let id = ServerId::parse(marker).ok_or_else(unknown)?;
        let sql = format!("SELECT {} FROM compute_servers WHERE id = ?", select.order_columns());
        let count = seen.len();
        let values = tx.query_opt(&sql, params![id], |row| {
            (0..count).map(|i| row.get::<AnyValue>(i).map(|v| v.0)).collect::<Result<Vec<Value>>>()
        })?;
        select = select.after(&values.ok_or_else(unknown)?);
    }
    select.limit(limit).fetch(tx, read)
}

/// A column's value, whatever it is.
struct AnyValue(Value);

impl ferrostack_db::FromValue for AnyValue {
    fn from_value(value: ferrostack_db::ValueRef<'_>) -> Result<AnyValue> {
        use ferrostack_db::ValueRef as V;
        Ok(AnyValue(match value {
            V::Null => Value::Null,
            V::Int(i) => Value::Int(i),
            V::Real(f) => Value::Real(f),
            V::Text(text) => Value::Text(text.to_owned()),
            V::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }))
    }
}

/// Servers of hosts, groups or projects, without pages.
pub(crate) fn servers_where_in_tx(tx: &mut Tx<'_>, filter: &ServerFilter) -> Result<Vec<Server>> {
    server_list_in_tx(tx, filter, &PageRequest::default(), None)
}

/// Changes what is going on with a server. True if it is still there.
pub(crate) fn server_set_state_in_tx(
    tx: &mut Tx<'_>,
    id: ServerId,
    vm: VmState,
    task: Option<TaskState>,
    power_state: i64,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE compute_servers SET vm_state = ?, task_state = ?, power_state = ?, updated_at = ?
         WHERE id = ? AND deleted_at IS NULL",
        params![vm.as_str(), task.map(TaskState::as_str), power_state, now, id],
    )?;
    Ok(changed == 1)
}

/// The server goes (or comes from nowhere) to a host.
pub(crate) fn server_set_host_in_tx(
    tx: &mut Tx<'_>,
    id: ServerId,
    host: Option<(NodeId, &str, &str)>,
    task: Option<TaskState>,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "UPDATE compute_servers SET node_id = ?, host = ?, zone = ?, task_state = ?, updated_at = ?
         WHERE id = ? AND deleted_at IS NULL",
        params![host.map(|h| h.0), host.map(|h| h.1), host.map(|h| h.2), task.map(TaskState::as_str), now, id],
    )?;
    Ok(())
}

/// The server runs for the first time.
pub(crate) fn server_launched_in_tx(tx: &mut Tx<'_>, id: ServerId, power_state: i64, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE compute_servers SET vm_state = 'active', task_state = NULL, power_state = ?, launched_at = ?,
             updated_at = ?, fault = NULL WHERE id = ? AND deleted_at IS NULL",
        params![power_state, now, now, id],
    )?;
    Ok(())
}

/// Notes why something went wrong.
pub(crate) fn server_set_fault_in_tx(tx: &mut Tx<'_>, id: ServerId, fault: Option<&Fault>) -> Result<()> {
    let fault = fault.map(json).transpose()?;
    tx.execute("UPDATE compute_servers SET fault = ? WHERE id = ?", params![fault, id])?;
    Ok(())
}

/// Ends a server for the API. True the first time; then its quota is to be given back.
pub(crate) fn server_mark_deleted_in_tx(tx: &mut Tx<'_>, id: ServerId, now: Timestamp) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE compute_servers SET vm_state = 'deleted', task_state = NULL, power_state = 0, terminated_at = ?,
             deleted_at = ?, updated_at = ? WHERE id = ? AND deleted_at IS NULL",
        params![now, now, now, id],
    )?;
    Ok(changed == 1)
}

/// The tags of many servers, sorted.
pub(crate) fn tags_in_tx(tx: &mut Tx<'_>, ids: &[ServerId]) -> Result<HashMap<ServerId, Vec<String>>> {
    let mut tags: HashMap<ServerId, Vec<String>> = HashMap::new();
    for chunk in ids.chunks(500) {
        let rows: Vec<(ServerId, String)> = Select::new("SELECT server_id, tag FROM compute_server_tags")
            .filter_in("server_id", chunk.iter())
            .order("tag", SortDirection::Asc)
            .fetch(tx, |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (server, tag) in rows {
            tags.entry(server).or_default().push(tag);
        }
    }
    Ok(tags)
}

/// Replaces a server's tags.
pub(crate) fn tags_replace_in_tx(tx: &mut Tx<'_>, id: ServerId, tags: &[String], now: Timestamp) -> Result<()> {
    tx.execute("DELETE FROM compute_server_tags WHERE server_id = ?", params![id])?;
    for tag in tags {
        tx.execute("INSERT INTO compute_server_tags (server_id, tag) VALUES (?, ?)", params![id, tag])?;
    }
    touch_in_tx(tx, id, now)
}

/// The user data of many servers.
pub(crate) fn user_data_in_tx(tx: &mut Tx<'_>, ids: &[ServerId]) -> Result<HashMap<ServerId, String>> {
    let mut data = HashMap::new();
    for chunk in ids.chunks(500) {
        let rows: Vec<(ServerId, String)> = Select::new("SELECT server_id, data FROM compute_user_data")
            .filter_in("server_id", chunk.iter())
            .fetch(tx, |row| Ok((row.get(0)?, row.get(1)?)))?;
        data.extend(rows);
    }
    Ok(data)
}

/// The server has changed.
pub(crate) fn touch_in_tx(tx: &mut Tx<'_>, id: ServerId, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE compute_servers SET updated_at = ? WHERE id = ?", params![now, id])?;
    Ok(())
}

/// Replaces a server's metadata.
pub(crate) fn metadata_replace_in_tx(
    tx: &mut Tx<'_>,
    id: ServerId,
    metadata: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "UPDATE compute_servers SET metadata = ?, updated_at = ? WHERE id = ?",
        params![json(metadata)?, now, id],
    )?;
    Ok(())
}

/// Writes what `PUT /servers/{id}` may change.
pub(crate) fn server_update_in_tx(tx: &mut Tx<'_>, server: &Server) -> Result<()> {
    tx.execute(
        "UPDATE compute_servers SET name = ?, hostname = ?, description = ?, access_ipv4 = ?, access_ipv6 = ?,
             disk_config = ?, updated_at = ? WHERE id = ? AND deleted_at IS NULL",
        params![
            &server.name,
            &server.hostname,
            server.description.as_deref(),
            server.access_ipv4.as_deref(),
            server.access_ipv6.as_deref(),
            &server.disk_config,
            server.updated_at,
            server.id
        ],
    )?;
    Ok(())
}

/// Locks or unlocks.
pub(crate) fn server_lock_in_tx(
    tx: &mut Tx<'_>,
    id: ServerId,
    by: Option<&str>,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "UPDATE compute_servers SET locked_by = ?, locked_reason = ?, updated_at = ? WHERE id = ?",
        params![by, reason, now, id],
    )?;
    Ok(())
}

/// Servers by what is going on with them: for the loop that looks for what is stuck.
pub(crate) fn servers_busy_in_tx(tx: &mut Tx<'_>, before: Timestamp) -> Result<Vec<Server>> {
    let mut filter = ServerFilter::default();
    filter.plain("deleted_at IS NULL");
    filter.plain("task_state IS NOT NULL OR vm_state = 'building'");
    filter.with("updated_at < ?", before);
    servers_where_in_tx(tx, &filter)
}

/// Forgets servers that were deleted before `before` and of which no host has anything any more.
pub(crate) fn servers_purge_in_tx(tx: &mut Tx<'_>, before: Timestamp) -> Result<usize> {
    let ids: Vec<ServerId> = tx.query(
        "SELECT s.id FROM compute_servers s LEFT JOIN compute_guests g ON g.server_id = s.id
         WHERE s.deleted_at IS NOT NULL AND s.deleted_at < ?
           AND (g.server_id IS NULL OR (g.want = 'absent' AND g.pending = 0)) LIMIT 200",
        params![before],
        |row| row.get(0),
    )?;
    if ids.is_empty() {
        return Ok(0);
    }
    let values: Vec<Value> = ids.iter().map(Value::from).collect();
    for table in ["compute_server_tags", "compute_user_data", "compute_guests", "compute_actions"] {
        let sql = format!("DELETE FROM {table} WHERE server_id IN ({})", placeholders(values.len()));
        tx.execute(&sql, &values)?;
    }
    tx.execute(&format!("DELETE FROM compute_servers WHERE id IN ({})", placeholders(values.len())), &values)
}

/// Live servers counted by project: what `compute_usages` must say.
pub(crate) fn usage_recount_in_tx(tx: &mut Tx<'_>) -> Result<BTreeMap<ProjectId, (i64, i64, i64)>> {
    let rows = tx.query(
        "SELECT project_id, COUNT(*), SUM(vcpus), SUM(memory_mb) FROM compute_servers WHERE deleted_at IS NULL
         GROUP BY project_id",
        params![],
        |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))),
    )?;
    Ok(rows.into_iter().collect())
}
