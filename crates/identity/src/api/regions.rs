//! `/v3/regions`

use super::body::{self, merge_extra, take_text};
use super::{collection, link, text, with_extra};
use crate::Identity;
use crate::errors::not_found;
use crate::store::catalog::{Region, region_delete, region_fetch, region_insert, region_list, region_update};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, Target};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static BODY: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({
        "type": "object",
        "required": ["region"],
        "properties": {"region": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "maxLength": 255},
                "description": {"type": ["string", "null"]},
                "parent_region_id": {"type": ["string", "null"], "maxLength": 255},
            },
            "additionalProperties": true,
        }},
    }))
});

fn view(request: &Request, region: &Region) -> Value {
    let item = json!({
        "id": region.id,
        "description": region.description,
        "parent_region_id": region.parent_id,
        "links": {"self": link(request, &format!("regions/{}", region.id))},
    });
    with_extra(item, &region.extra)
}

fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<Region> {
    region_fetch(tx, id)?.ok_or_else(|| not_found("region", id))
}

/// The parent exists, and is neither the region itself nor below it.
fn check_parent(tx: &mut Tx<'_>, region: &Region) -> Result<()> {
    let mut above = region.parent_id.clone();
    while let Some(id) = above {
        if id == region.id {
            return Err(Error::invalid(format!(
                "The specified parent region {} would create a circular region hierarchy.",
                region.parent_id.as_deref().unwrap_or_default()
            )));
        }
        above = fetch(tx, &id)?.parent_id;
    }
    Ok(())
}

/// `GET /v3/regions`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let parent = text(&request.query, "parent_region_id");
    let found = service.db.read("region_list", move |tx| region_list(tx, parent.as_deref())).await?;
    collection(&request, "regions", found.iter().map(|r| view(&request, r)).collect())
}

/// `GET /v3/regions/{region_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = request.param("region_id").to_owned();
    let region = service.db.read("region_show", move |tx| fetch(tx, &id)).await?;
    Ok(Reply::ok(&json!({"region": view(&request, &region)})))
}

/// `POST /v3/regions`, and `PUT /v3/regions/{region_id}` with an id of the caller's own.
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let mut given = body::object(&mut request, "region", &BODY).await?;
    let in_path = Some(request.param("region_id")).filter(|id| !id.is_empty()).map(str::to_owned);
    let in_body = take_text(&mut given, "id").filter(|id| !id.is_empty());
    if let (Some(path), Some(body)) = (&in_path, &in_body)
        && path != body
    {
        return Err(Error::invalid(format!("Conflicting region IDs specified: \"{path}\" != \"{body}\"")));
    }
    let region = Region {
        id: in_path.or(in_body).unwrap_or_else(|| service.env.hex_id()),
        parent_id: take_text(&mut given, "parent_region_id").filter(|p| !p.is_empty()),
        description: take_text(&mut given, "description").unwrap_or_default(),
        extra: body::extra(given),
    };
    let row = region.clone();
    service
        .db
        .write("region_create", move |tx| {
            check_parent(tx, &row)?;
            region_insert(tx, &row)
        })
        .await?;
    Ok(Reply::created(&json!({"region": view(&request, &region)})))
}

/// `PATCH /v3/regions/{region_id}`
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = request.param("region_id").to_owned();
    let mut given = body::object(&mut request, "region", &BODY).await?;
    body::same_id(&mut given, &id)?;
    let region = service
        .db
        .write("region_update", move |tx| {
            let mut region = fetch(tx, &id)?;
            let mut given = given.clone();
            if let Some(parent) = body::take_nullable(&mut given, "parent_region_id") {
                region.parent_id = parent.filter(|p| !p.is_empty());
            }
            if let Some(description) = body::take_nullable(&mut given, "description") {
                region.description = description.unwrap_or_default();
            }
            merge_extra(&mut region.extra, given);
            check_parent(tx, &region)?;
            region_update(tx, &region)?;
            Ok(region)
        })
        .await?;
    Ok(Reply::ok(&json!({"region": view(&request, &region)})))
}

/// `DELETE /v3/regions/{region_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = request.param("region_id").to_owned();
    service
        .db
        .write("region_delete", move |tx| {
            fetch(tx, &id)?;
            let children = region_list(tx, Some(&id))?;
            for child in children {
                region_delete(tx, &child.id)?;
            }
            region_delete(tx, &id)
        })
        .await?;
    Ok(Reply::no_content())
}
