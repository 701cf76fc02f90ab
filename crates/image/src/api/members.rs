//! `/v2/images/{image_id}/members`

use crate::Images;
use crate::api::{Found, find, json, target};
use crate::model::{Eyes, Image, Member, Visibility};
use crate::store::members as rows;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::{Error, Kind, Result};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(member: &Member) -> Value {
    json!({
        "member_id": member.member,
        "image_id": member.image.to_string(),
        "status": member.status,
        "created_at": member.created_at.to_iso(),
        "updated_at": member.updated_at.to_iso(),
        "schema": "/v2/schemas/member",
    })
}

fn require_shared(image: &Image) -> Result<()> {
    if image.visibility == Visibility::Shared {
        Ok(())
    } else {
        Err(Error::forbidden("Only shared images have members."))
    }
}

fn missing(image: &Image, member: &str) -> Error {
    Error::not_found(format!("{member} not found in the member list of the image {}.", image.id))
}

/// Only the owner sees all members; a member sees itself.
fn may_see(request: &Request, image: &Image, member: &str) -> bool {
    let eyes = Eyes::of(request.caller());
    eyes.admin || eyes.own(image) || eyes.project.as_deref() == Some(member)
}

/// `GET .../members`
pub async fn list(service: Arc<Images>, request: Request) -> Result<Reply> {
    let Found { image, target } = find(&service, &request).await?;
    let refuse = |error: Error| {
        Error::forbidden(format!("Not allowed to list members for image {}: {}", image.id, error.public()))
    };
    require_shared(&image).map_err(refuse)?;
    request.authorize(&target)?;
    let id = image.id;
    let members = service.db.read("image_member_list", move |tx| rows::member_list(tx, id)).await?;
    let seen: Vec<Value> = members.iter().filter(|m| may_see(&request, &image, &m.member)).map(view).collect();
    Ok(Reply::ok(&json!({"members": seen, "schema": "/v2/schemas/members"})))
}

/// `GET .../members/{member_id}`
pub async fn show(service: Arc<Images>, request: Request) -> Result<Reply> {
    let Found { image, target } = find(&service, &request).await?;
    let project = request.param("member_id").to_owned();
    require_shared(&image).map_err(|e| Error::not_found(e.public()))?;
    request.authorize_or(&target, || missing(&image, &project))?;
    if !may_see(&request, &image, &project) {
        return Err(missing(&image, &project));
    }
    let (id, name) = (image.id, project.clone());
    let member = service.db.read("image_member_show", move |tx| rows::member_fetch(tx, id, &name)).await?;
    Ok(Reply::ok(&view(&member.ok_or_else(|| missing(&image, &project))?)))
}

/// `POST .../members`
pub async fn create(service: Arc<Images>, mut request: Request) -> Result<Reply> {
    let body = json(&mut request).await?;
    let project = match body.get("member") {
        Some(Value::String(text)) if text.is_empty() => return Err(Error::invalid("Member can't be empty")),
        Some(Value::String(text)) if text.chars().count() <= 255 => text.clone(),
        Some(_) => return Err(Error::invalid("Expected a member in the form: {\"member\": \"image_id\"}")),
        None => return Err(Error::invalid("Member to be added not specified")),
    };
    let Found { image, target } = find(&service, &request).await?;
    let refuse = |_| Error::forbidden(format!("Not allowed to create members for image {}.", image.id));
    require_shared(&image).map_err(refuse)?;
    request.authorize(&target)?;
    let now = request.cx.env.now();
    let member =
        Member { image: image.id, member: project, status: "pending".to_owned(), created_at: now, updated_at: now };
    let (new, most) = (member.clone(), service.config.members_per_image);
    service
        .db
        .write("image_member_create", move |tx| {
            let there = rows::member_list(tx, new.image)?;
            if there.iter().any(|m| m.member == new.member) {
                return Err(Error::conflict(format!("Member {} is duplicated for image {}", new.member, new.image)));
            }
            if there.len() >= most {
                let count = there.len() + 1;
                return Err(Error::new(
                    Kind::OverQuota,
                    format!(
                        "Image member limit exceeded for image {}: The limit has been exceeded on the number of \
                         allowed image members for this image. Attempted: {count}, Maximum: {most}",
                        new.image
                    ),
                ));
            }
            rows::member_insert(tx, &new)
        })
        .await?;
    Ok(Reply::ok(&view(&member)))
}

/// `PUT .../members/{member_id}`: the member says what it thinks of it.
pub async fn update(service: Arc<Images>, mut request: Request) -> Result<Reply> {
    let body = json(&mut request).await?;
    let status = match body.get("status") {
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(Error::invalid("Expected a status in the form: {\"status\": \"status\"}")),
        None => return Err(Error::invalid("Status not specified")),
    };
    let Found { image, .. } = find(&service, &request).await?;
    let project = request.param("member_id").to_owned();
    require_shared(&image)
        .map_err(|_| Error::forbidden(format!("Not allowed to update members for image {}.", image.id)))?;
    let (id, name) = (image.id, project.clone());
    let member = service.db.read("image_member_show", move |tx| rows::member_fetch(tx, id, &name)).await?;
    let mut member = member.filter(|_| may_see(&request, &image, &project)).ok_or_else(|| missing(&image, &project))?;
    request.authorize(&target(&image, Some(&project)))?;
    if !["pending", "accepted", "rejected"].contains(&status.as_str()) {
        return Err(Error::invalid("Incorrect request: Status should be one of: 'pending', 'accepted', 'rejected'"));
    }
    let now = request.cx.env.now();
    (member.status, member.updated_at) = (status.clone(), now);
    service.db.write("image_member_update", move |tx| rows::member_update(tx, id, &project, &status, now)).await?;
    Ok(Reply::ok(&view(&member)))
}

/// `DELETE .../members/{member_id}`
pub async fn delete(service: Arc<Images>, request: Request) -> Result<Reply> {
    let Found { image, target } = find(&service, &request).await?;
    let project = request.param("member_id").to_owned();
    let refuse = |_| Error::forbidden(format!("Not allowed to delete members for image {}.", image.id));
    require_shared(&image).map_err(refuse)?;
    request.authorize(&target)?;
    let id = image.id;
    let refuse = missing(&image, &project);
    let deleted = service
        .db
        .write("image_member_delete", move |tx| {
            let there = rows::is_member(tx, id, &project)?;
            if there {
                rows::member_delete(tx, id, &project)?;
            }
            Ok(there)
        })
        .await?;
    if deleted { Ok(Reply::no_content()) } else { Err(refuse) }
}
