//! `/v3/endpoints`

use super::body::{self, merge_extra, take_bool, take_text};
use super::{collection, link, text, with_extra};
use crate::Identity;
use crate::errors::not_found;
use crate::store::Map;
use crate::store::catalog::{
    Endpoint, Region, endpoint_delete, endpoint_fetch, endpoint_insert, endpoint_list, endpoint_update, region_fetch,
    region_insert,
};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static CREATE: LazyLock<Schema> =
    LazyLock::new(|| body::wrapped("endpoint", properties(), &["interface", "service_id", "url"]));
static UPDATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("endpoint", properties(), &[]));

fn properties() -> Value {
    json!({
        "interface": {"type": "string", "enum": ["admin", "internal", "public"]},
        "service_id": {"type": "string"},
        "region_id": {"type": ["string", "null"], "maxLength": 255},
        "region": {"type": ["string", "null"], "maxLength": 255},
        "url": {"type": "string", "maxLength": 225, "pattern": "^[a-zA-Z0-9+.-]+:.+"},
        "enabled": {"type": "boolean"},
        "name": {"type": "string"},
        "description": {"type": ["string", "null"]},
    })
}

fn view(request: &Request, endpoint: &Endpoint) -> Value {
    let item = json!({
        "id": endpoint.id,
        "interface": endpoint.interface,
        "region_id": endpoint.region_id,
        "service_id": endpoint.service_id,
        "url": endpoint.url,
        "enabled": endpoint.enabled,
        "region": endpoint.region_id,
        "links": {"self": link(request, &format!("endpoints/{}", endpoint.id))},
    });
    with_extra(item, &endpoint.extra)
}

fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<Endpoint> {
    endpoint_fetch(tx, id)?.ok_or_else(|| not_found("endpoint", id))
}

/// The old name `region` makes a region that is missing; the new one, `region_id`, does not.
fn take_region(map: &mut Map) -> Option<(Option<String>, bool)> {
    let old = body::take_nullable(map, "region");
    let new = body::take_nullable(map, "region_id");
    match (new, old) {
        (Some(id), _) => Some((id, false)),
        (None, Some(id)) => Some((id, true)),
        (None, None) => None,
    }
}

fn check_in_tx(tx: &mut Tx<'_>, endpoint: &Endpoint, make_region: bool) -> Result<()> {
    super::services::fetch(tx, &endpoint.service_id).map_err(|e| Error::invalid(e.public()))?;
    if let Some(region) = &endpoint.region_id
        && region_fetch(tx, region)?.is_none()
    {
        if !make_region {
            return Err(Error::invalid(format!("Could not find region: {region}.")));
        }
        let region = Region { id: region.clone(), parent_id: None, description: String::new(), extra: Map::new() };
        region_insert(tx, &region)?;
    }
    for name in endpoint.url.split("$(").skip(1).chain(endpoint.url.split("%(").skip(1)) {
        if !["project_id)s", "tenant_id)s", "user_id)s"].iter().any(|known| name.starts_with(known)) {
            return Err(Error::invalid(format!("Cannot create an endpoint with an invalid URL: {}.", endpoint.url)));
        }
    }
    Ok(())
}

/// `GET /v3/endpoints`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let query = &request.query;
    let (interface, of, region) = (text(query, "interface"), text(query, "service_id"), text(query, "region_id"));
    let found = service
        .db
        .read("endpoint_list", move |tx| endpoint_list(tx, interface.as_deref(), of.as_deref(), region.as_deref()))
        .await?;
    collection(&request, "endpoints", found.iter().map(|e| view(&request, e)).collect())
}

/// `GET /v3/endpoints/{endpoint_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = request.param("endpoint_id").to_owned();
    let endpoint = service.db.read("endpoint_show", move |tx| fetch(tx, &id)).await?;
    Ok(Reply::ok(&json!({"endpoint": view(&request, &endpoint)})))
}

/// `POST /v3/endpoints`
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let mut given = body::object(&mut request, "endpoint", &CREATE).await?;
    let (region_id, make_region) = take_region(&mut given).unwrap_or_default();
    let endpoint = Endpoint {
        id: service.env.hex_id(),
        service_id: take_text(&mut given, "service_id").unwrap_or_default(),
        region_id,
        interface: take_text(&mut given, "interface").unwrap_or_default(),
        url: take_text(&mut given, "url").unwrap_or_default(),
        enabled: take_bool(&mut given, "enabled").unwrap_or(true),
        extra: body::extra(given),
        bootstrapped: false,
    };
    let (row, stamps) = (endpoint.clone(), Arc::clone(&service.tokens.stamps));
    service
        .db
        .write("endpoint_create", move |tx| {
            check_in_tx(tx, &row, make_region)?;
            stamps.touch_catalog(tx);
            endpoint_insert(tx, &row)
        })
        .await?;
    Ok(Reply::created(&json!({"endpoint": view(&request, &endpoint)})))
}

/// `PATCH /v3/endpoints/{endpoint_id}`. From then on the endpoint is the operator's.
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = request.param("endpoint_id").to_owned();
    let mut given = body::object(&mut request, "endpoint", &UPDATE).await?;
    body::same_id(&mut given, &id)?;
    let stamps = Arc::clone(&service.tokens.stamps);
    let endpoint = service
        .db
        .write("endpoint_update", move |tx| {
            let mut row = fetch(tx, &id)?;
            let mut given = given.clone();
            let mut make_region = false;
            if let Some((region, make)) = take_region(&mut given) {
                row.region_id = region;
                make_region = make;
            }
            if let Some(of) = take_text(&mut given, "service_id") {
                row.service_id = of;
            }
            if let Some(interface) = take_text(&mut given, "interface") {
                row.interface = interface;
            }
            if let Some(url) = take_text(&mut given, "url") {
                row.url = url;
                row.bootstrapped = false;
            }
            if let Some(enabled) = take_bool(&mut given, "enabled") {
                row.enabled = enabled;
            }
            merge_extra(&mut row.extra, given);
            check_in_tx(tx, &row, make_region)?;
            endpoint_update(tx, &row)?;
            stamps.touch_catalog(tx);
            Ok(row)
        })
        .await?;
    Ok(Reply::ok(&json!({"endpoint": view(&request, &endpoint)})))
}

/// `DELETE /v3/endpoints/{endpoint_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (id, stamps) = (request.param("endpoint_id").to_owned(), Arc::clone(&service.tokens.stamps));
    service
        .db
        .write("endpoint_delete", move |tx| {
            fetch(tx, &id)?;
            stamps.touch_catalog(tx);
            endpoint_delete(tx, &id)
        })
        .await?;
    Ok(Reply::no_content())
}
