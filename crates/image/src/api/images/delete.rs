//! `DELETE /v2/images/{image_id}`

use crate::Images;
use crate::api::find;
use crate::store::images::{self, missing};
use ferrostack_rest::{Reply, Request};
use ferrostack_types::{Error, Result};
use std::sync::Arc;

/// Deletes an image. An upload that is under way notices at its end.
pub async fn delete(service: Arc<Images>, request: Request) -> Result<Reply> {
    let found = find(&service, &request).await?;
    request.authorize(&found.target)?;
    let (id, now, hint) = (found.image.id, request.cx.env.now(), service.garbage.clone());
    service
        .db
        .write("image_delete", move |tx| {
            let image = images::image_fetch(tx, id)?.ok_or_else(|| missing(id))?;
            if image.protected {
                return Err(Error::forbidden(format!("Image {id} is protected and cannot be deleted.")));
            }
            images::image_delete(tx, &image, now)?;
            hint.hint_in_tx(tx);
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}
