//! `/resource_classes`

use crate::Placement;
use crate::api::body;
use crate::api::view::{PREFIX, dated};
use crate::microversions::V7_PUT_CLASS;
use crate::standard;
use crate::store::names;
use ferrostack_db::params;
use ferrostack_rest::{Reply, Request, StatusCode, Target};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;

fn url(name: &str) -> String {
    format!("{PREFIX}/resource_classes/{name}")
}

fn view(name: &str) -> Value {
    json!({"name": name, "links": [{"rel": "self", "href": url(name)}]})
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("No such resource class {name}."))
}

/// `GET /resource_classes`
pub async fn list(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let all = service.db.read("placement_class_list", names::class_list).await?;
    let modified = all.iter().filter_map(|(_, at)| *at).max();
    let views: Vec<Value> = all.iter().map(|(name, _)| view(name)).collect();
    Ok(dated(Reply::ok(&json!({"resource_classes": views})), &request, modified))
}

/// `GET /resource_classes/{name}`
pub async fn show(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let name = request.param("name").to_owned();
    let wanted = name.clone();
    if !service.db.read("placement_class_show", move |tx| names::class_exists(tx, &wanted)).await? {
        return Err(missing(&name));
    }
    Ok(dated(Reply::ok(&view(&name)), &request, None))
}

/// `POST /resource_classes`
pub async fn create(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let body = super::body(&mut request, &body::CLASS).await?;
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let (wanted, now) = (name.clone(), request.cx.env.now());
    let new = service.db.write("placement_class_create", move |tx| names::class_insert(tx, &wanted, now)).await?;
    if !new {
        return Err(Error::conflict(format!("Conflicting resource class already exists: {name}")));
    }
    Ok(Reply::empty(StatusCode::CREATED).header("location", &url(&name)))
}

/// `PUT /resource_classes/{name}`: creates since 1.7, renames before.
pub async fn put(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let name = request.param("name").to_owned();
    if request.version() < V7_PUT_CLASS {
        return rename(service, &mut request, name).await;
    }
    body::CLASS
        .check(&json!({"name": name}), None)
        .map_err(|error| Error::invalid(format!("JSON does not validate: {}", error.public())))?;
    let (wanted, now) = (name.clone(), request.cx.env.now());
    let new = service.db.write("placement_class_create", move |tx| names::class_insert(tx, &wanted, now)).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    Ok(Reply::empty(status).header("location", &url(&name)))
}

async fn rename(service: Arc<Placement>, request: &mut Request, old: String) -> Result<Reply> {
    let body = super::body(request, &body::CLASS).await?;
    let new = body["name"].as_str().unwrap_or_default().to_owned();
    let wanted = new.clone();
    service
        .db
        .write("placement_class_rename", move |tx| {
            if !names::class_exists(tx, &old)? {
                return Err(missing(&old));
            }
            if standard::is_resource_class(&old) {
                return Err(Error::invalid(format!("Cannot update standard resource class {old}")));
            }
            if names::class_exists(tx, &wanted)? {
                return Err(Error::conflict(format!("Resource class already exists: {wanted}")));
            }
            // Rows hold names, so a class in use cannot be renamed under its users without touching all of them.
            if names::class_in_use(tx, &old)? {
                return Err(Error::conflict(format!("Resource class {old} is in use in inventory.")));
            }
            tx.execute("UPDATE placement_resource_classes SET name = ? WHERE name = ?", params![&wanted, &old])?;
            Ok(())
        })
        .await?;
    Ok(Reply::ok(&view(&new)))
}

/// `DELETE /resource_classes/{name}`
pub async fn delete(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let name = request.param("name").to_owned();
    service
        .db
        .write("placement_class_delete", move |tx| {
            if standard::is_resource_class(&name) {
                return Err(Error::invalid(format!(
                    "Error in delete resource class: Cannot delete standard resource class {name}."
                )));
            }
            if !names::class_exists(tx, &name)? {
                return Err(missing(&name));
            }
            if names::class_in_use(tx, &name)? {
                return Err(Error::conflict(format!(
                    "Error in delete resource class: Cannot delete resource class {name}. Class is in use in \
                     inventory."
                )));
            }
            names::class_delete(tx, &name)
        })
        .await?;
    Ok(Reply::no_content())
}
