//! `/v2/images/{image_id}/actions`

use crate::Images;
use crate::api::find;
use crate::model::Status;
use crate::store::images::{image_fetch, missing, status_update};
use ferrostack_rest::{Reply, Request};
use ferrostack_types::{Error, Result};
use std::sync::Arc;

/// `POST .../deactivate`
pub async fn deactivate(service: Arc<Images>, request: Request) -> Result<Reply> {
    switch(&service, request, Status::Active, Status::Deactivated, "deactivate").await
}

/// `POST .../reactivate`
pub async fn reactivate(service: Arc<Images>, request: Request) -> Result<Reply> {
    switch(&service, request, Status::Deactivated, Status::Active, "reactivate").await
}

async fn switch(service: &Images, request: Request, from: Status, to: Status, verb: &'static str) -> Result<Reply> {
    let found = find(service, &request).await?;
    request.authorize(&found.target)?;
    let (id, now) = (found.image.id, request.cx.env.now());
    service
        .db
        .write("image_status", move |tx| {
            if status_update(tx, id, from, to, now)? {
                return Ok(());
            }
            let status = image_fetch(tx, id)?.ok_or_else(|| missing(id))?.status;
            if status == to {
                return Ok(());
            }
            Err(Error::forbidden(format!("Not allowed to {verb} image in status '{}'", status.as_str())))
        })
        .await?;
    Ok(Reply::no_content())
}
