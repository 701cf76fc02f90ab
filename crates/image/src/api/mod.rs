//! Requests and answers. No SQL and no rules here.

pub mod actions;
pub mod data;
pub mod images;
pub mod info;
pub mod members;
pub mod schemas;
pub mod tags;
pub mod versions;

use crate::Images;
use crate::model::{Eyes, Image};
use crate::store::images::{image_visible, missing};
use ferrostack_rest::{Request, Target};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Error, Result};
use serde_json::Value;

/// An image that the caller may see, and what policy decides on.
pub(crate) struct Found {
    /// The image.
    pub image: Image,
    /// The target of policy rules.
    pub target: Target,
}

/// What policy decides on: the owner, the visibility, and the caller's project if the image is shared with it.
pub(crate) fn target(image: &Image, member: Option<&str>) -> Target {
    Target::none()
        .set_opt("project_id", image.owner.as_deref())
        .set_opt("owner", image.owner.as_deref())
        .set_opt("member_id", member)
        .set("visibility", image.visibility.as_str())
}

/// The image of the path. 404 if it is not there or not to be seen.
pub(crate) async fn find(service: &Images, request: &Request) -> Result<Found> {
    let id = image_id(request)?;
    let eyes = Eyes::of(request.caller());
    let project = eyes.project.clone();
    let (image, member) = service.db.read("image_show", move |tx| image_visible(tx, id, &eyes)).await?;
    let target = target(&image, project.as_deref().filter(|_| member));
    Ok(Found { image, target })
}

pub(crate) fn image_id(request: &Request) -> Result<ImageId> {
    let text = request.param("image_id");
    ImageId::parse(text).ok_or_else(|| missing(text))
}

/// The body as JSON.
pub(crate) async fn json(request: &mut Request) -> Result<Value> {
    let bytes = request.bytes().await?;
    if bytes.is_empty() {
        return Err(Error::invalid("Body expected in request."));
    }
    serde_json::from_slice(&bytes).map_err(|_| Error::invalid("Malformed JSON in request body."))
}
