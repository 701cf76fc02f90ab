//! `/os-aggregates`

use crate::Compute;
use crate::microversions::V2_41;
use crate::store::aggregates::{self, Aggregate};
use crate::store::{nodes, servers};
use ferrostack_db::{Tx, is_unique_violation};
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

fn aggregate_schema(required: &[&str]) -> Schema {
    let zone = json!({"type": ["string", "null"], "minLength": 1, "maxLength": 255, "pattern": "^[^:]*$"});
    let mut aggregate = json!({"type": "object", "additionalProperties": false, "required": required, "properties": {
        "name": super::name_schema(), "availability_zone": zone}});
    if required.is_empty() {
        aggregate["minProperties"] = json!(1);
    }
    Schema::new(json!({"type": "object", "required": ["aggregate"], "additionalProperties": false,
        "properties": {"aggregate": aggregate}}))
}

static CREATE: LazyLock<Schema> = LazyLock::new(|| aggregate_schema(&["name"]));
static UPDATE: LazyLock<Schema> = LazyLock::new(|| aggregate_schema(&[]));

static ACTION: LazyLock<Schema> = LazyLock::new(|| {
    let host = json!({"type": "object", "required": ["host"], "additionalProperties": false, "properties": {
        "host": {"type": "string", "minLength": 1, "maxLength": 255}}});
    let metadata = json!({"type": "object", "required": ["metadata"], "additionalProperties": false, "properties": {
        "metadata": {"type": "object", "additionalProperties": false, "patternProperties": {
            "^[a-zA-Z0-9_:. -]{1,255}$": {"type": ["string", "null"], "maxLength": 255}}}}});
    Schema::new(json!({"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
        "properties": {"add_host": host, "remove_host": host, "set_metadata": metadata}}))
});

fn view(request: &Request, aggregate: &Aggregate) -> Value {
    let mut view = json!({
        "id": aggregate.id,
        "name": aggregate.name,
        "availability_zone": aggregate.zone(),
        "hosts": aggregate.hosts,
        "metadata": aggregate.metadata,
        "created_at": aggregate.created_at.to_iso_naive_micros(),
        "updated_at": aggregate.updated_at.map(|at| at.to_iso_naive_micros()),
        "deleted": false,
        "deleted_at": null,
    });
    if request.version() >= V2_41 {
        view["uuid"] = json!(aggregate.uuid.to_string());
    }
    view
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("Aggregate {id} could not be found."))
}

fn fetch_in_tx(tx: &mut Tx<'_>, id: &str) -> Result<Aggregate> {
    let number = id.parse::<u64>().map_err(|_| missing(id))?;
    aggregates::aggregate_fetch_in_tx(tx, number)?.ok_or_else(|| missing(id))
}

/// `GET /os-aggregates`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let all = compute.db.read("aggregate_list", aggregates::aggregate_list_in_tx).await?;
    let list: Vec<Value> = all.iter().map(|aggregate| view(&request, aggregate)).collect();
    Ok(Reply::ok(&json!({"aggregates": list})))
}

/// `GET /os-aggregates/{aggregate_id}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let id = request.param("aggregate_id").to_owned();
    let aggregate = compute.db.read("aggregate_fetch", move |tx| fetch_in_tx(tx, &id)).await?;
    Ok(Reply::ok(&json!({"aggregate": view(&request, &aggregate)})))
}

/// `POST /os-aggregates`
pub(crate) async fn create(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let body = request.json().await?;
    CREATE.check(&body, Some(request.version()))?;
    let asked = &body["aggregate"];
    let name = asked["name"].as_str().unwrap_or_default().trim().to_owned();
    let zone = asked["availability_zone"].as_str();
    let mut new = Aggregate {
        id: 0,
        uuid: compute.env.uuid(),
        name,
        metadata: zone.map(|zone| ("availability_zone".to_owned(), zone.to_owned())).into_iter().collect(),
        hosts: Vec::new(),
        created_at: compute.env.now(),
        updated_at: None,
    };
    let row = new.clone();
    let made = compute.db.write("aggregate_create", move |tx| aggregates::aggregate_insert_in_tx(tx, &row)).await;
    new.id = made.map_err(|error| name_taken(error, &new.name))?;
    let mut view = view(&request, &new);
    // Nova's answer to a creation has never had these two.
    for key in ["hosts", "metadata"] {
        view.as_object_mut().map(|map| map.shift_remove(key));
    }
    Ok(Reply::ok(&json!({"aggregate": view})))
}

fn name_taken(error: Error, name: &str) -> Error {
    if is_unique_violation(&error) { Error::conflict(format!("Aggregate {name} already exists.")) } else { error }
}

/// `PUT /os-aggregates/{aggregate_id}`
pub(crate) async fn update(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let body = request.json().await?;
    UPDATE.check(&body, Some(request.version()))?;
    let asked = body["aggregate"].clone();
    let name = asked["name"].as_str().map(|name| name.trim().to_owned());
    let mut metadata: BTreeMap<String, Option<String>> = BTreeMap::new();
    if let Some(zone) = asked.get("availability_zone") {
        metadata.insert("availability_zone".to_owned(), zone.as_str().map(str::to_owned));
    }
    let shown = name.clone().unwrap_or_default();
    let changed = change(&compute, request.param("aggregate_id"), name, metadata).await;
    let aggregate = changed.map_err(|error| name_taken(error, &shown))?;
    Ok(Reply::ok(&json!({"aggregate": view(&request, &aggregate)})))
}

/// Changes name and metadata; `None` takes an item away.
async fn change(
    compute: &Compute,
    id: &str,
    name: Option<String>,
    metadata: BTreeMap<String, Option<String>>,
) -> Result<Aggregate> {
    let (id, now) = (id.to_owned(), compute.env.now());
    let work = move |tx: &mut Tx<'_>| {
        let mut aggregate = fetch_in_tx(tx, &id)?;
        let before = aggregate.zone().map(str::to_owned);
        if let Some(name) = &name {
            aggregate.name.clone_from(name);
        }
        for (key, value) in &metadata {
            match value {
                Some(value) => aggregate.metadata.insert(key.clone(), value.clone()),
                None => aggregate.metadata.remove(key),
            };
        }
        if aggregate.zone() != before.as_deref() {
            for host in &aggregate.hosts {
                refuse_second_zone_in_tx(tx, &aggregate, host)?;
                refuse_move_in_tx(tx, host)?;
            }
        }
        aggregates::aggregate_update_in_tx(tx, &aggregate, now)?;
        aggregate.updated_at = Some(now);
        Ok(aggregate)
    };
    compute.db.write("aggregate_update", work).await
}

/// A host is in one zone at most.
fn refuse_second_zone_in_tx(tx: &mut Tx<'_>, aggregate: &Aggregate, host: &str) -> Result<()> {
    let Some(zone) = aggregate.zone() else { return Ok(()) };
    let others = aggregates::aggregate_list_in_tx(tx)?;
    let clash = others
        .iter()
        .any(|o| o.id != aggregate.id && o.hosts.iter().any(|h| h == host) && o.zone().is_some_and(|z| z != zone));
    if clash {
        return Err(Error::conflict(format!(
            "Cannot add host to aggregate {}. Reason: One or more hosts already in availability zone(s).",
            aggregate.id
        )));
    }
    Ok(())
}

/// A host's zone does not change while it has servers, which were promised it.
fn refuse_move_in_tx(tx: &mut Tx<'_>, host: &str) -> Result<()> {
    let mut filter = servers::ServerFilter::default();
    filter.with("host = ?", host);
    filter.plain("deleted_at IS NULL");
    if servers::servers_where_in_tx(tx, &filter)?.is_empty() {
        return Ok(());
    }
    Err(Error::conflict("One or more hosts contain instances in this zone, which must not change under them."))
}

/// `DELETE /os-aggregates/{aggregate_id}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let id = request.param("aggregate_id").to_owned();
    let work = move |tx: &mut Tx<'_>| {
        let aggregate = fetch_in_tx(tx, &id)?;
        if !aggregate.hosts.is_empty() {
            return Err(Error::invalid(format!("Cannot delete aggregate {id}. Reason: Host aggregate is not empty.")));
        }
        aggregates::aggregate_delete_in_tx(tx, aggregate.id)
    };
    compute.db.write("aggregate_delete", work).await?;
    Ok(Reply::empty(ferrostack_rest::StatusCode::OK))
}

/// `POST /os-aggregates/{aggregate_id}/action`
pub(crate) async fn action(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let target = Target::own(request.caller());
    request.authorize(&target)?;
    let body = request.json().await?;
    let name = body.as_object().and_then(|map| map.keys().next().cloned()).unwrap_or_default();
    if !["add_host", "remove_host", "set_metadata"].contains(&name.as_str()) {
        return Err(Error::invalid(format!("There is no such action: {name}")));
    }
    request.authorize_as(&format!("os_compute_api:os-aggregates:{name}"), &target)?;
    ACTION.check(&body, Some(request.version()))?;
    let id = request.param("aggregate_id");
    let asked = &body[name.as_str()];
    let aggregate = if name == "set_metadata" {
        let items = asked["metadata"].as_object().into_iter().flatten();
        let metadata = items.map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned))).collect();
        change(&compute, id, None, metadata).await?
    } else {
        let host = asked["host"].as_str().unwrap_or_default().to_owned();
        move_host(&compute, id, host, name == "add_host").await?
    };
    Ok(Reply::ok(&json!({"aggregate": view(&request, &aggregate)})))
}

async fn move_host(compute: &Compute, id: &str, host: String, add: bool) -> Result<Aggregate> {
    let (id, now) = (id.to_owned(), compute.env.now());
    let work = move |tx: &mut Tx<'_>| {
        let aggregate = fetch_in_tx(tx, &id)?;
        let is_in = aggregate.hosts.contains(&host);
        let no_host = || Error::not_found(format!("Compute host {host} could not be found."));
        if add {
            if !nodes::node_list_in_tx(tx)?.iter().any(|node| node.name == host) {
                return Err(no_host());
            }
            if is_in {
                return Err(Error::conflict(format!("Aggregate {id} already has host {host}.")));
            }
            refuse_second_zone_in_tx(tx, &aggregate, &host)?;
            if aggregate.zone().is_some() {
                refuse_move_in_tx(tx, &host)?;
            }
            aggregates::host_add_in_tx(tx, aggregate.id, &host)?;
        } else {
            if !is_in {
                return Err(Error::not_found(format!("Aggregate {id} has no host {host}.")));
            }
            if aggregate.zone().is_some() {
                refuse_move_in_tx(tx, &host)?;
            }
            aggregates::host_remove_in_tx(tx, aggregate.id, &host)?;
        }
        aggregates::aggregate_update_in_tx(tx, &aggregate, now)?;
        fetch_in_tx(tx, &id)
    };
    compute.db.write("aggregate_host", work).await
}
