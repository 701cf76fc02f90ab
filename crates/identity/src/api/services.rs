//! `/v3/services`

use super::body::{self, merge_extra, take_bool, take_text};
use super::{collection, link, text, with_extra};
use crate::Identity;
use crate::errors::not_found;
use crate::store::catalog::{Service, service_delete, service_fetch, service_insert, service_list, service_update};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static CREATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("service", properties(), &["type"]));
static UPDATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("service", properties(), &[]));

fn properties() -> Value {
    json!({
        "type": {"type": "string", "minLength": 1, "maxLength": 255},
        "name": {"type": "string", "minLength": 1, "maxLength": 255},
        "enabled": {"type": "boolean"},
        "description": {"type": ["string", "null"]},
    })
}

fn view(request: &Request, service: &Service) -> Value {
    let item = json!({
        "id": service.id,
        "name": service.name,
        "type": service.kind,
        "enabled": service.enabled,
        "description": service.description,
        "links": {"self": link(request, &format!("services/{}", service.id))},
    });
    with_extra(item, &service.extra)
}

pub(crate) fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<Service> {
    service_fetch(tx, id)?.ok_or_else(|| not_found("service", id))
}

/// `GET /v3/services`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (kind, name) = (text(&request.query, "type"), text(&request.query, "name"));
    let found = service.db.read("service_list", move |tx| service_list(tx, kind.as_deref(), name.as_deref())).await?;
    collection(&request, "services", found.iter().map(|s| view(&request, s)).collect())
}

/// `GET /v3/services/{service_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = request.param("service_id").to_owned();
    let found = service.db.read("service_show", move |tx| fetch(tx, &id)).await?;
    Ok(Reply::ok(&json!({"service": view(&request, &found)})))
}

/// `POST /v3/services`
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let mut given = body::object(&mut request, "service", &CREATE).await?;
    let new = Service {
        id: service.env.hex_id(),
        kind: take_text(&mut given, "type").unwrap_or_default(),
        name: take_text(&mut given, "name").unwrap_or_default(),
        enabled: take_bool(&mut given, "enabled").unwrap_or(true),
        description: take_text(&mut given, "description"),
        extra: body::extra(given),
    };
    let (row, stamps) = (new.clone(), Arc::clone(&service.tokens.stamps));
    service
        .db
        .write("service_create", move |tx| {
            stamps.touch_catalog(tx);
            service_insert(tx, &row)
        })
        .await?;
    Ok(Reply::created(&json!({"service": view(&request, &new)})))
}

/// `PATCH /v3/services/{service_id}`
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = request.param("service_id").to_owned();
    let mut given = body::object(&mut request, "service", &UPDATE).await?;
    body::same_id(&mut given, &id)?;
    let stamps = Arc::clone(&service.tokens.stamps);
    let changed = service
        .db
        .write("service_update", move |tx| {
            let mut row = fetch(tx, &id)?;
            let mut given = given.clone();
            if let Some(kind) = take_text(&mut given, "type") {
                row.kind = kind;
            }
            if let Some(name) = take_text(&mut given, "name") {
                row.name = name;
            }
            if let Some(enabled) = take_bool(&mut given, "enabled") {
                row.enabled = enabled;
            }
            if let Some(description) = body::take_nullable(&mut given, "description") {
                row.description = description;
            }
            merge_extra(&mut row.extra, given);
            service_update(tx, &row)?;
            stamps.touch_catalog(tx);
            Ok(row)
        })
        .await?;
    Ok(Reply::ok(&json!({"service": view(&request, &changed)})))
}

/// `DELETE /v3/services/{service_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (id, stamps) = (request.param("service_id").to_owned(), Arc::clone(&service.tokens.stamps));
    service
        .db
        .write("service_delete", move |tx| {
            fetch(tx, &id)?;
            stamps.touch_catalog(tx);
            service_delete(tx, &id)
        })
        .await?;
    Ok(Reply::no_content())
}
