//! `GET /servers`, `GET /servers/detail`

use super::view::{Extras, brief, detail};
use crate::Compute;
use crate::microversions::*;
use crate::model::{Server, TaskState, VmState};
use crate::store::servers::{ServerFilter, server_list_in_tx, tags_in_tx};
use ferrostack_db::Value as Sql;
use ferrostack_rest::{PagingRules, Query, Reply, Request, Target};
use ferrostack_types::ids::{ImageId, ServerId};
use ferrostack_types::{Error, Microversion, PageRequest, Result, SortDirection, Timestamp};
use regex::Regex;
use serde_json::{Value, json};
use std::sync::Arc;

const SORTABLE: &[&str] = &[
    "access_ip_v4",
    "access_ip_v6",
    "auto_disk_config",
    "availability_zone",
    "config_drive",
    "created_at",
    "display_description",
    "display_name",
    "host",
    "hostname",
    "image_ref",
    "instance_type_id",
    "kernel_id",
    "key_name",
    "launch_index",
    "launched_at",
    "locked",
    "locked_by",
    "node",
    "power_state",
    "progress",
    "project_id",
    "ramdisk_id",
    "root_device_name",
    "task_state",
    "terminated_at",
    "updated_at",
    "user_id",
    "uuid",
    "vm_state",
];

/// What anybody may filter by, and since when.
const FILTERS: &[(&str, Microversion)] = &[
    ("name", V2_1),
    ("status", V2_1),
    ("image", V2_1),
    ("flavor", V2_1),
    ("ip", V2_1),
    ("changes-since", V2_1),
    ("reservation_id", V2_1),
    ("ip6", V2_5),
    ("tags", V2_26),
    ("tags-any", V2_26),
    ("not-tags", V2_26),
    ("not-tags-any", V2_26),
    ("changes-before", V2_66),
    ("locked", V2_73),
    ("availability_zone", V2_83),
    ("config_drive", V2_83),
    ("key_name", V2_83),
    ("created_at", V2_83),
    ("launched_at", V2_83),
    ("terminated_at", V2_83),
    ("power_state", V2_83),
    ("task_state", V2_83),
    ("vm_state", V2_83),
    ("progress", V2_83),
    ("user_id", V2_83),
];

/// What only administrators may filter by.
const ADMIN_FILTERS: &[&str] = &[
    "all_tenants",
    "project_id",
    "tenant_id",
    "user_id",
    "host",
    "hostname",
    "node",
    "deleted",
    "uuid",
    "ip6",
    "access_ip_v4",
    "access_ip_v6",
    "access_ip_v4",
    "description",
    "display_description",
    "display_name",
    "kernel_id",
    "launch_index",
    "locked_by",
    "ramdisk_id",
    "root_device_name",
    "auto_disk_config",
    "instance_type_id",
    "image_ref",
    "availability_zone",
    "config_drive",
    "key_name",
    "created_at",
    "launched_at",
    "terminated_at",
    "power_state",
    "task_state",
    "vm_state",
    "progress",
    "soft_deleted",
];

const PAGING: &[&str] = &["limit", "marker", "sort_key", "sort_dir"];

/// `GET /servers`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    answer(compute, request, false).await
}

/// `GET /servers/detail`
pub(crate) async fn list_detail(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    answer(compute, request, true).await
}

async fn answer(compute: Arc<Compute>, request: Request, whole: bool) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let Some(wanted) = understand(&request, &compute, whole)? else {
        return Ok(Reply::ok(&json!({"servers": []})));
    };
    let (servers, more) = fetch(&compute, wanted).await?;
    let views: Vec<Value> = if whole {
        let extras = Extras::read(&compute, &request, &servers).await?;
        servers.iter().map(|server| detail(&request, server, &extras)).collect()
    } else {
        servers.iter().map(|server| brief(request.base_url(), server)).collect()
    };
    let mut body = json!({"servers": views});
    if more && let Some(last) = servers.last() {
        body["servers_links"] = json!([{"rel": "next", "href": request.next_url(&last.id.to_string())}]);
    }
    Ok(Reply::ok(&body))
}

/// A list that is asked for: what SQL narrows, what only Rust can, and the page.
struct Wanted {
    filter: ServerFilter,
    name: Option<Regex>,
    ip: Option<(Regex, bool)>,
    /// At least one of these.
    any_tag: Option<Vec<String>>,
    /// Not all of these.
    not_all_tags: Option<Vec<String>>,
    page: PageRequest,
}

/// `None` if nothing can be found.
fn understand(request: &Request, compute: &Compute, whole: bool) -> Result<Option<Wanted>> {
    let (query, version) = (&request.query, request.version());
    let project = Target::own(request.caller());
    let admin = request.allowed("os_compute_api:servers:allow_all_filters", &project);
    refuse_unknown(query, version)?;
    let rules = PagingRules {
        sortable: SORTABLE,
        default_sort: &[("created_at", SortDirection::Desc), ("uuid", SortDirection::Desc)],
        max_limit: Some(compute.config.max_limit),
        default_limit: None,
        default_direction: SortDirection::Desc,
    };
    let page = query.page(&rules)?;
    if version < V2_73 && page.sort.iter().any(|key| key.field == "locked") {
        return Err(Error::invalid("Invalid input for query parameters sort_key. Value: locked."));
    }
    let all = all_tenants(query)?;
    if all {
        let rule = if whole { "detail" } else { "index" };
        request.authorize_as(&format!("os_compute_api:servers:{rule}:get_all_tenants"), &project)?;
    }
    let known = |key: &str| {
        query.has(key)
            && (FILTERS.iter().any(|(name, since)| *name == key && version >= *since)
                || admin && ADMIN_FILTERS.contains(&key))
    };
    let get = |key: &str| query.get(key).filter(|_| known(key));
    let mut filter = ServerFilter::default();
    match (all, get("project_id").or_else(|| get("tenant_id"))) {
        (true, Some(project)) => filter.with("project_id = ?", project),
        (true, None) => {}
        (false, _) => match request.caller().project_id() {
            Some(own) => filter.with("project_id = ?", own),
            None => return Ok(None),
        },
    }
    if !by_state(&mut filter, query, version, admin, &get)? {
        return Ok(None);
    }
    by_columns(&mut filter, &get)?;
    by_tags(&mut filter, &get);
    let pattern = |key: &str| -> Result<Option<Regex>> {
        let Some(text) = get(key) else { return Ok(None) };
        // A pattern that is none is looked for as it stands.
        Ok(Regex::new(text).or_else(|_| Regex::new(&regex::escape(text))).ok())
    };
    let ip = match pattern("ip")? {
        Some(ip) => Some((ip, true)),
        None => pattern("ip6")?.map(|ip| (ip, false)),
    };
    let name = match pattern("name")? {
        None => pattern("display_name")?,
        some => some,
    };
    let (any_tag, not_all_tags) = (get("tags-any").map(words), get("not-tags").map(words));
    Ok(Some(Wanted { filter, name, ip, any_tag, not_all_tags, page }))
}

/// From 2.75 on, what is not known is refused; before, it was passed over.
fn refuse_unknown(query: &Query, version: Microversion) -> Result<()> {
    if version < V2_75 {
        return Ok(());
    }
    let known = |key: &str| {
        PAGING.contains(&key)
            || ADMIN_FILTERS.contains(&key)
            || FILTERS.iter().any(|(name, since)| *name == key && version >= *since)
    };
    match query.iter().find(|(key, _)| !known(key)) {
        None => Ok(()),
        Some((key, _)) => Err(Error::invalid(format!(
            "Invalid input for query parameters. Additional properties are not allowed ('{key}' was unexpected)"
        ))),
    }
}

fn all_tenants(query: &Query) -> Result<bool> {
    match query.get("all_tenants") {
        None => Ok(false),
        // `?all_tenants` alone means yes.
        Some("") => Ok(true),
        Some(_) => query.bool("all_tenants").map(|all| all.unwrap_or(false)),
    }
}

/// Status, deletion and times. False if nothing can be found.
fn by_state<'a>(
    filter: &mut ServerFilter,
    query: &'a Query,
    version: Microversion,
    admin: bool,
    get: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<bool> {
    let mut states: Vec<(&'static str, Vec<Sql>)> = Vec::new();
    let mut deleted = admin && query.get("deleted").is_some() && query.bool("deleted")?.unwrap_or(false);
    let statuses: Vec<&str> = query.all("status").collect();
    for status in &statuses {
        let upper = status.to_ascii_uppercase();
        if upper == "DELETED" {
            if !admin {
                return Err(Error::forbidden("Only administrators may list deleted instances"));
            }
            deleted = true;
            continue;
        }
        match status_of(&upper) {
            Some(condition) => states.push(condition),
            None if version >= V2_38 => return Err(Error::invalid("Invalid status value")),
            None => {}
        }
    }
    if !statuses.is_empty() && states.is_empty() && !deleted {
        return Ok(false);
    }
    let since = time(get, "changes-since")?;
    let before = time(get, "changes-before")?;
    if let (Some(since), Some(before)) = (since, before)
        && since > before
    {
        return Err(Error::invalid("The value of changes-since must be less than or equal to changes-before."));
    }
    match (deleted, since) {
        (true, _) => filter.plain("deleted_at IS NOT NULL"),
        // Whoever follows changes wants to hear of deletions, too.
        (false, Some(_)) if !query.has("deleted") => {}
        (false, _) => filter.plain("deleted_at IS NULL"),
    }
    if let Some(since) = since {
        filter.with("updated_at >= ?", since);
    }
    if let Some(before) = before {
        filter.with("updated_at <= ?", before);
    }
    if let [(condition, values)] = states.as_slice() {
        filter.conditions.push((condition, values.clone()));
    } else if !states.is_empty() {
        // Several statuses: the union of their states.
        let words: Vec<Sql> = states.into_iter().flat_map(|(_, values)| values.into_iter().take(1)).collect();
        filter.is_in("vm_state", words);
    }
    Ok(true)
}

/// The states that a status stands for.
fn status_of(status: &str) -> Option<(&'static str, Vec<Sql>)> {
    const REBOOTING: &str = "vm_state = ? AND task_state = ?";
    let plain = |vm: VmState| {
        Some((
            "vm_state = ? AND COALESCE(task_state, '') NOT IN (?, ?)",
            vec![
                Sql::from(vm.as_str()),
                Sql::from(TaskState::Rebooting.as_str()),
                Sql::from(TaskState::RebootingHard.as_str()),
            ],
        ))
    };
    let busy = |task: TaskState| Some((REBOOTING, vec![Sql::from(VmState::Active.as_str()), Sql::from(task.as_str())]));
    match status {
        "ACTIVE" => plain(VmState::Active),
        "BUILD" => plain(VmState::Building),
        "PAUSED" => plain(VmState::Paused),
        "SHUTOFF" => plain(VmState::Stopped),
        "ERROR" => plain(VmState::Error),
        "REBOOT" => busy(TaskState::Rebooting),
        "HARD_REBOOT" => busy(TaskState::RebootingHard),
        // States of Nova's that no server of ours is ever in.
        "MIGRATING" | "PASSWORD" | "REBUILD" | "RESCUE" | "RESIZE" | "REVERT_RESIZE" | "SHELVED"
        | "SHELVED_OFFLOADED" | "SOFT_DELETED" | "SUSPENDED" | "UNKNOWN" | "VERIFY_RESIZE" => {
            Some(("1 = 0", Vec::new()))
        }
        _ => None,
    }
}

fn time<'a>(get: &dyn Fn(&str) -> Option<&'a str>, key: &str) -> Result<Option<Timestamp>> {
    let Some(text) = get(key) else { return Ok(None) };
    let bad = || {
        Error::invalid(format!(
            "Invalid input for query parameters {key}. Value: {text}. '{text}' is not a 'date-time'"
        ))
    };
    Timestamp::parse(text).map(Some).ok_or_else(bad)
}

fn by_columns<'a>(filter: &mut ServerFilter, get: &dyn Fn(&str) -> Option<&'a str>) -> Result<()> {
    const TEXTS: &[(&str, &str)] = &[
        ("reservation_id", "reservation_id = ?"),
        ("user_id", "user_id = ?"),
        ("host", "host = ?"),
        ("node", "host = ?"),
        ("hostname", "hostname = ?"),
        ("availability_zone", "zone = ?"),
        ("key_name", "key_name = ?"),
        ("vm_state", "vm_state = ?"),
        ("task_state", "task_state = ?"),
        ("locked_by", "locked_by = ?"),
        ("description", "description = ?"),
        ("display_description", "description = ?"),
        ("access_ip_v4", "access_ipv4 = ?"),
        ("access_ip_v6", "access_ipv6 = ?"),
    ];
    for (key, condition) in TEXTS {
        if let Some(text) = get(key) {
            filter.with(condition, text);
        }
    }
    if let Some(flavor) = get("flavor").or_else(|| get("instance_type_id")) {
        filter.with("flavor_id = ?", flavor.rsplit('/').next().unwrap_or_default());
    }
    if let Some(image) = get("image").or_else(|| get("image_ref")) {
        match ImageId::parse(image.rsplit('/').next().unwrap_or_default()) {
            Some(id) => filter.with("image_id = ?", id),
            None => filter.plain("1 = 0"),
        }
    }
    if let Some(id) = get("uuid") {
        match ServerId::parse(id) {
            Some(id) => filter.with("id = ?", id),
            None => filter.plain("1 = 0"),
        }
    }
    if let Some(state) = get("power_state") {
        filter.with("power_state = ?", state.parse::<i64>().unwrap_or(-1));
    }
    if let Some(index) = get("launch_index") {
        filter.with("launch_index = ?", index.parse::<i64>().unwrap_or(-1));
    }
    let truth = |key: &str| get(key).and_then(|text| super::super::truth(&json!(text)));
    match truth("locked") {
        Some(true) => filter.plain("locked_by IS NOT NULL"),
        Some(false) => filter.plain("locked_by IS NULL"),
        None => {}
    }
    if let Some(drive) = truth("config_drive") {
        filter.with("config_drive = ?", drive);
    }
    for (key, condition) in
        [("created_at", "created_at = ?"), ("launched_at", "launched_at = ?"), ("terminated_at", "terminated_at = ?")]
    {
        if let Some(at) = time(get, key)? {
            filter.with(condition, at);
        }
    }
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn by_tags<'a>(filter: &mut ServerFilter, get: &dyn Fn(&str) -> Option<&'a str>) {
    const HAS: &str =
        "EXISTS (SELECT 1 FROM compute_server_tags t WHERE t.server_id = compute_servers.id AND t.tag = ?)";
    const HAS_NOT: &str =
        "NOT EXISTS (SELECT 1 FROM compute_server_tags t WHERE t.server_id = compute_servers.id AND t.tag = ?)";
    for tag in get("tags").map(words).unwrap_or_default() {
        filter.with(HAS, tag);
    }
    // Not any of them: none of them.
    for tag in get("not-tags-any").map(words).unwrap_or_default() {
        filter.with(HAS_NOT, tag);
    }
}

/// The page, and whether there is more. What SQL cannot say (patterns, addresses) is sifted here, a thousand at a time.
async fn fetch(compute: &Arc<Compute>, wanted: Wanted) -> Result<(Vec<Server>, bool)> {
    let limit = wanted.page.limit.unwrap_or(compute.config.max_limit);
    let tags = wanted.any_tag.is_some() || wanted.not_all_tags.is_some();
    let sifted = wanted.name.is_some() || wanted.ip.is_some() || tags;
    let batch = if sifted { limit.max(1000) + 1 } else { limit + 1 };
    let mut page = wanted.page.clone();
    let mut found = Vec::new();
    loop {
        let (filter, asked) = (wanted.filter.clone(), page.clone());
        let rows =
            compute.db.read("server_list", move |tx| server_list_in_tx(tx, &filter, &asked, Some(batch))).await?;
        let last = rows.len() < batch;
        page.marker = rows.last().map(|server| server.id.to_string());
        found.extend(sift(compute, &wanted, rows).await?);
        if last || found.len() > limit {
            let more = found.len() > limit;
            found.truncate(limit);
            return Ok((found, more));
        }
    }
}

async fn sift(compute: &Arc<Compute>, wanted: &Wanted, mut rows: Vec<Server>) -> Result<Vec<Server>> {
    if let Some(name) = &wanted.name {
        rows.retain(|server| name.is_match(&server.name));
    }
    let ids: Vec<ServerId> = rows.iter().map(|server| server.id).collect();
    if wanted.any_tag.is_some() || wanted.not_all_tags.is_some() {
        let asked = ids.clone();
        let tags = compute.db.read("tags", move |tx| tags_in_tx(tx, &asked)).await?;
        rows.retain(|server| {
            let has = tags.get(&server.id).map(Vec::as_slice).unwrap_or_default();
            wanted.any_tag.as_ref().is_none_or(|any| any.iter().any(|tag| has.contains(tag)))
                && wanted.not_all_tags.as_ref().is_none_or(|all| !all.iter().all(|tag| has.contains(tag)))
        });
    }
    let Some((pattern, v4)) = &wanted.ip else { return Ok(rows) };
    let ports = compute.ports.of_servers(&ids).await?;
    rows.retain(|server| {
        let ports = ports.get(&server.id).map(Vec::as_slice).unwrap_or_default();
        let addresses = ports.iter().flat_map(|port| &port.fixed_ips).map(|fixed| fixed.address);
        let mut of_family = addresses.filter(|address| address.is_ipv4() == *v4);
        of_family.any(|address| pattern.is_match(&address.to_string()))
    });
    Ok(rows)
}
