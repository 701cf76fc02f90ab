//! `/resource_providers/{uuid}/inventories`

use crate::Placement;
use crate::api::view::{self, dated};
use crate::api::{body, concurrent, provider_id};
use crate::microversions::*;
use crate::model::Stock;
use crate::store::names;
use crate::store::providers::{self, Head, Touch};
use ferrostack_contracts::placement::Inventory;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, StatusCode, Target};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Microversion, Result, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An inventory as a request describes it, with Placement's defaults.
pub(crate) fn parse(value: &Value) -> Inventory {
    let number = |key: &str, default: u64| value.get(key).and_then(Value::as_u64).unwrap_or(default);
    Inventory {
        total: number("total", 0),
        reserved: number("reserved", 0),
        min_unit: number("min_unit", 1),
        max_unit: number("max_unit", 0x7FFF_FFFF),
        step_size: number("step_size", 1),
        allocation_ratio: value.get("allocation_ratio").and_then(Value::as_f64).unwrap_or(1.0),
    }
}

/// Refuses an inventory that has no capacity. Since 1.26 all of it may be reserved.
fn check_capacity(class: &str, provider: ProviderId, inventory: &Inventory, version: Microversion) -> Result<()> {
    // Compared as it was given: our own arithmetic stops at zero.
    let (total, reserved) = (inventory.total, inventory.reserved);
    let none = (total as f64 * inventory.allocation_ratio).floor() < 1.0;
    let (bad, how) = if version >= V26_ALL_RESERVED {
        (reserved > total, "greater than total")
    } else {
        (reserved >= total || none, "greater than or equal to total")
    };
    if !bad {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Invalid inventory for '{class}' on resource provider '{provider}'. The reserved value is {how}."
    )))
}

fn conflict_if_changed(head: &Head, given: Option<i64>) -> Result<()> {
    match given {
        Some(given) if given != head.generation => Err(concurrent("resource provider generation conflict")),
        _ => Ok(()),
    }
}

pub(crate) fn given_generation(body: &Value) -> Option<i64> {
    body.get("resource_provider_generation").and_then(Value::as_i64)
}

/// Makes the provider's inventories exactly these. Fails if one that is in use would go.
pub(crate) fn set_in_tx(
    tx: &mut Tx<'_>,
    id: ProviderId,
    wanted: &BTreeMap<String, Inventory>,
    now: Timestamp,
) -> Result<()> {
    for class in wanted.keys() {
        if !names::class_exists(tx, class)? {
            return Err(Error::invalid(format!(
                "Unknown resource class in inventory for resource provider {id}: No such resource class {class}."
            )));
        }
    }
    let there = providers::stock_list(tx, id)?;
    let going: Vec<&Stock> = there.iter().filter(|s| !wanted.contains_key(&*s.class)).collect();
    let used: Vec<&str> = going.iter().filter(|s| s.used > 0).map(|s| &*s.class).collect();
    if !used.is_empty() {
        return Err(Error::conflict(format!(
            "update conflict: Inventory for '{}' on resource provider '{id}' in use.",
            used.join(", ")
        ))
        .with_code("placement.inventory.inuse"));
    }
    for stock in going {
        providers::inventory_delete(tx, id, &stock.class)?;
    }
    for (class, inventory) in wanted {
        if there.iter().any(|s| *s.class == **class && s.inventory == *inventory) {
            continue;
        }
        providers::inventory_put(tx, id, class, inventory, now)?;
    }
    Ok(())
}

fn answer_all(request: &Request, stock: &[Stock], generation: i64) -> Reply {
    let modified = stock.iter().map(|s| s.updated_at).max();
    dated(Reply::ok(&view::inventories(stock, generation)), request, modified)
}

fn answer_one(request: &Request, status: StatusCode, inventory: &Inventory, generation: i64, at: Timestamp) -> Reply {
    let mut view = view::inventory(inventory);
    view.insert("resource_provider_generation".into(), json!(generation));
    dated(Reply::json(status, &view), request, Some(at))
}

/// `GET .../inventories`
pub async fn list(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let (head, stock) = service
        .db
        .read("placement_inventory_list", move |tx| {
            Ok((providers::head_require(tx, id)?, providers::stock_list(tx, id)?))
        })
        .await?;
    Ok(answer_all(&request, &stock, head.generation))
}

/// `GET .../inventories/{resource_class}`
pub async fn show(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let class = request.param("resource_class").to_owned();
    let (head, stock) = service
        .db
        .read("placement_inventory_show", move |tx| {
            Ok((providers::head_require(tx, id)?, providers::stock_list(tx, id)?))
        })
        .await?;
    let found = stock.iter().find(|s| *s.class == *class);
    let found = found.ok_or_else(|| Error::not_found(format!("No inventory of class {class} for {id}")))?;
    Ok(answer_one(&request, StatusCode::OK, &found.inventory, head.generation, found.updated_at))
}

/// `POST .../inventories`
pub async fn create(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (id, version) = (provider_id(&request)?, request.version());
    service.db.read("placement_provider_show", move |tx| providers::head_require(tx, id)).await?;
    let body = super::body(&mut request, &body::CREATE_INVENTORY).await?;
    let class = body["resource_class"].as_str().unwrap_or_default().to_owned();
    let inventory = parse(&body);
    let refuse =
        move |why: &str| Error::invalid(format!("Unable to create inventory for resource provider {id}: {why}"));
    check_capacity(&class, id, &inventory, version).map_err(|e| refuse(e.public()))?;
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let (wanted, name) = (inventory.clone(), class.clone());
    let given = given_generation(&body);
    let generation = service
        .db
        .write("placement_inventory_create", move |tx| {
            conflict_if_changed(&providers::head_require(tx, id)?, given)?;
            if !names::class_exists(tx, &name)? {
                return Err(refuse(&format!("No such resource class {name}.")));
            }
            if providers::stock_list(tx, id)?.iter().any(|s| *s.class == *name) {
                return Err(concurrent(format!("Update conflict: there is an inventory of class {name} already")));
            }
            providers::inventory_put(tx, id, &name, &wanted, now)?;
            providers::touched(tx, &snapshot, id, Touch::Generation, now)
        })
        .await?;
    let location = format!("{}/resource_providers/{id}/inventories/{class}", view::PREFIX);
    let reply = answer_one(&request, StatusCode::CREATED, &inventory, generation, now);
    Ok(reply.header("location", &location))
}

/// `PUT .../inventories/{resource_class}`
pub async fn update(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (id, version) = (provider_id(&request)?, request.version());
    let class = request.param("resource_class").to_owned();
    service.db.read("placement_provider_show", move |tx| providers::head_require(tx, id)).await?;
    let body = super::body(&mut request, &body::UPDATE_INVENTORY).await?;
    let inventory = parse(&body);
    let refuse =
        move |why: &str| Error::invalid(format!("Unable to update inventory for resource provider {id}: {why}"));
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let (wanted, given) = (inventory.clone(), given_generation(&body));
    let generation = service
        .db
        .write("placement_inventory_update", move |tx| {
            conflict_if_changed(&providers::head_require(tx, id)?, given)?;
            check_capacity(&class, id, &wanted, version).map_err(|e| refuse(e.public()))?;
            if !providers::stock_list(tx, id)?.iter().any(|s| *s.class == *class) {
                return Err(Error::invalid(format!(
                    "No inventory record with resource class for resource provider {id}: No inventory of class \
                     {class} found."
                )));
            }
            providers::inventory_put(tx, id, &class, &wanted, now)?;
            providers::touched(tx, &snapshot, id, Touch::Generation, now)
        })
        .await?;
    Ok(answer_one(&request, StatusCode::OK, &inventory, generation, now))
}

/// `PUT .../inventories`
pub async fn set(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (id, version) = (provider_id(&request)?, request.version());
    service.db.read("placement_provider_show", move |tx| providers::head_require(tx, id)).await?;
    let body = super::body(&mut request, &body::SET_INVENTORIES).await?;
    let wanted = parse_all(&body);
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let given = given_generation(&body);
    let (generation, stock) = service
        .db
        .write("placement_inventory_set", move |tx| {
            conflict_if_changed(&providers::head_require(tx, id)?, given)?;
            for (class, inventory) in &wanted {
                check_capacity(class, id, inventory, version).map_err(|e| {
                    Error::invalid(format!("Unable to update inventory for resource provider {id}: {}", e.public()))
                })?;
            }
            set_in_tx(tx, id, &wanted, now)?;
            let generation = providers::touched(tx, &snapshot, id, Touch::Generation, now)?;
            Ok((generation, providers::stock_list(tx, id)?))
        })
        .await?;
    Ok(answer_all(&request, &stock, generation))
}

/// The `inventories` of a body.
pub(crate) fn parse_all(body: &Value) -> BTreeMap<String, Inventory> {
    let all = body["inventories"].as_object();
    all.into_iter().flatten().map(|(class, value)| (class.clone(), parse(value))).collect()
}

/// `DELETE .../inventories`
pub async fn clear(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    service
        .db
        .write("placement_inventory_clear", move |tx| {
            providers::head_require(tx, id)?;
            set_in_tx(tx, id, &BTreeMap::new(), now)?;
            providers::touched(tx, &snapshot, id, Touch::Generation, now).map(|_| ())
        })
        .await?;
    Ok(Reply::no_content())
}

/// `DELETE .../inventories/{resource_class}`
pub async fn delete(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let class = request.param("resource_class").to_owned();
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    service
        .db
        .write("placement_inventory_delete", move |tx| {
            providers::head_require(tx, id)?;
            let stock = providers::stock_list(tx, id)?;
            let found = stock.iter().find(|s| *s.class == *class);
            if found.is_some_and(|s| s.used > 0) {
                return Err(concurrent(format!(
                    "Unable to delete inventory of class {class}: Inventory for '{class}' on resource provider \
                     '{id}' in use."
                )));
            }
            if !providers::inventory_delete(tx, id, &class)? {
                return Err(Error::not_found(format!(
                    "No inventory of class {class} found for delete: No inventory of class {class} found."
                )));
            }
            providers::touched(tx, &snapshot, id, Touch::Generation, now).map(|_| ())
        })
        .await?;
    Ok(Reply::no_content())
}
