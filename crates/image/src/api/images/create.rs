//! `POST /v2/images`

use super::{body, view};
use crate::Images;
use crate::api::target;
use crate::model::{Image, Status, Visibility};
use crate::store::images;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Error, Kind, Result};
use serde_json::Value;
use std::sync::Arc;

/// Makes an image that waits for its data.
pub async fn create(service: Arc<Images>, mut request: Request) -> Result<Reply> {
    let body = crate::api::json(&mut request).await?;
    let image = parse(&request, &body)?;
    body::check_limits(&image, &service.config)?;
    // Whoever names another owner must be allowed to act for them; the caller's project is what the rule compares.
    let project = request.caller().project_id().map(|p| p.as_str().to_owned());
    let target = target(&image, None).set_opt("project_id", project);
    request.authorize(&target)?;
    authorize_visibility(&request, &image)?;
    let (new, most) = (image.clone(), service.config.images_per_project);
    service
        .db
        .write("image_create", move |tx| {
            if let Some(owner) = &new.owner {
                let (count, _) = images::usage(tx, owner)?;
                if count >= most {
                    return Err(Error::new(
                        Kind::OverQuota,
                        format!("Project {owner} is over a limit: image_count_total {most}, {count} are in use."),
                    ));
                }
            }
            images::image_insert(tx, &new)
        })
        .await?;
    let location = format!("{}/v2/images/{}", request.base_url(), image.id);
    Ok(Reply::created(&view::image(&image)).header("location", &location))
}

/// Two visibilities need a right of their own.
pub(crate) fn authorize_visibility(request: &Request, image: &Image) -> Result<()> {
    match image.visibility {
        Visibility::Public => request.authorize_as("publicize_image", &target(image, None)),
        Visibility::Community => request.authorize_as("communitize_image", &target(image, None)),
        Visibility::Shared | Visibility::Private => Ok(()),
    }
}

fn parse(request: &Request, body: &Value) -> Result<Image> {
    let now = request.cx.env.now();
    let mut image = Image {
        id: ImageId(request.cx.env.uuid()),
        revision: 1,
        name: None,
        status: Status::Queued,
        visibility: Visibility::Shared,
        owner: request.caller().project_id().map(|p| p.as_str().to_owned()),
        protected: false,
        os_hidden: false,
        disk_format: None,
        container_format: None,
        min_disk: 0,
        min_ram: 0,
        size: None,
        virtual_size: None,
        checksum: None,
        sha512: None,
        verified: false,
        blob_key: None,
        created_at: now,
        updated_at: now,
        properties: Default::default(),
        tags: Default::default(),
    };
    let fields = body.as_object().ok_or_else(|| Error::invalid("Expected a JSON object in the request's body."))?;
    for name in fields.keys() {
        body::check_name(name, true)?;
    }
    body::check(body)?;
    for (name, value) in fields {
        if name == "id" {
            let id = value.as_str().and_then(ImageId::parse);
            image.id = id.ok_or_else(|| Error::invalid("Invalid image id format"))?;
        } else {
            body::set(&mut image, name, value)?;
        }
    }
    Ok(image)
}
