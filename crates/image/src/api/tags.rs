//! `/v2/images/{image_id}/tags/{tag}`

use crate::Images;
use crate::api::find;
use crate::api::images::body::check_limits;
use crate::model::Image;
use crate::store::images::{image_fetch, image_update, missing};
use ferrostack_rest::{Reply, Request};
use ferrostack_types::{Error, Result};
use std::sync::Arc;

/// `PUT`
pub async fn add(service: Arc<Images>, request: Request) -> Result<Reply> {
    let tag = request.param("tag").to_owned();
    if tag.chars().count() > 255 {
        return Err(Error::invalid("Provided object does not match schema 'image': the tag is too long"));
    }
    let config = service.config.clone();
    change(&service, request, move |image| {
        image.tags.insert(tag.clone());
        check_limits(image, &config)
    })
    .await
}

/// `DELETE`
pub async fn remove(service: Arc<Images>, request: Request) -> Result<Reply> {
    let tag = request.param("tag").to_owned();
    change(&service, request, move |image| {
        if image.tags.remove(&tag) { Ok(()) } else { Err(Error::not_found(format!("Image does not have tag {tag}"))) }
    })
    .await
}

async fn change(
    service: &Images,
    request: Request,
    change: impl Fn(&mut Image) -> Result<()> + Send + 'static,
) -> Result<Reply> {
    let found = find(service, &request).await?;
    request.authorize(&found.target)?;
    let (id, now) = (found.image.id, request.cx.env.now());
    service
        .db
        .write("image_tags", move |tx| {
            let mut image = image_fetch(tx, id)?.ok_or_else(|| missing(id))?;
            change(&mut image)?;
            image.updated_at = now;
            // Read in the same transaction, so it cannot have changed.
            image_update(tx, &image).map(|_| ())
        })
        .await?;
    Ok(Reply::no_content())
}
