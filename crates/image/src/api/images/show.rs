//! `GET /v2/images/{image_id}`

use super::view;
use crate::Images;
use crate::api::find;
use crate::store::images::missing;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::Result;
use std::sync::Arc;

/// Shows an image.
pub async fn show(service: Arc<Images>, request: Request) -> Result<Reply> {
    let found = find(&service, &request).await?;
    request.authorize_or(&found.target, || missing(found.image.id))?;
    Ok(Reply::ok(&view::image(&found.image)))
}
