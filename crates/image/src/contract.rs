//! What compute and the nodes ask of images.

use crate::Images;
use crate::model::{Eyes, Image, Status};
use crate::store::images::{self, missing};
use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_blobs::Key;
use ferrostack_contracts::identity::Caller;
use ferrostack_contracts::image::{DiskFormat, ImageInfo};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Error, Kind, Result};

#[async_trait]
impl ferrostack_contracts::image::Images for Images {
    async fn image(&self, caller: &Caller, id: ImageId) -> Result<ImageInfo> {
        let eyes = Eyes::of(caller);
        let (image, _) = self.db.read("image_show", move |tx| images::image_visible(tx, id, &eyes)).await?;
        Ok(info(image))
    }

    async fn read(&self, id: ImageId, offset: u64, length: u32) -> Result<Bytes> {
        let image = self.db.read("image_place", move |tx| images::image_fetch(tx, id)).await?;
        let image = image.filter(|i| matches!(i.status, Status::Active | Status::Deactivated));
        let image = image.ok_or_else(|| missing(id))?;
        let (Some(key), Some(size)) = (&image.blob_key, image.size) else {
            return Err(Error::internal(format!("image {id} is active without data")));
        };
        if offset > size {
            return Err(Error::new(Kind::RangeNotSatisfiable, "The range lies beyond the image's end."));
        }
        let wanted = usize::try_from((size - offset).min(u64::from(length))).unwrap_or_default();
        let bytes = self.blobs.read_at(&Key::parse(key)?, offset, wanted).await?;
        if bytes.len() != wanted {
            return Err(Error::internal(format!("the data of image {id} is shorter than it was")));
        }
        Ok(bytes)
    }
}

/// Guests boot only from what inspection has borne out; whatever else is declared has no format to boot from.
fn info(image: Image) -> ImageInfo {
    let format = match image.disk_format.as_deref() {
        Some("raw") => Some(DiskFormat::Raw),
        Some("qcow2") => Some(DiskFormat::Qcow2),
        _ => None,
    };
    ImageInfo {
        id: image.id,
        name: image.name,
        status: image.status.as_str().to_owned(),
        format: format.filter(|_| image.verified),
        disk_format: image.disk_format,
        size: image.size,
        virtual_size: image.virtual_size,
        min_disk: image.min_disk,
        min_ram: image.min_ram,
        sha512: image.sha512,
        properties: image.properties,
    }
}
