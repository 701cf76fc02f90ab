//! How an image gets its data.
//!
//! ```text
//!   queued ─begin─► saving (upload id, lease) ─stream─► blob ─finish─► active
//!                      │                         │
//!                      └────────── abort ◄───────┘      the image is queued again, the blob garbage
//! ```
//!
//! The races. *Two uploads*: beginning is a conditional update from `queued`, so the second is told 409. *The image is
//! deleted meanwhile*: finishing finds no row and answers 410; the blob is removed. *The client goes away, or the
//! handler is dropped*: the guard aborts. *The process dies*: the lease ends, and the loop aborts; on a sole control node
//! that happens at the next start already. *The lease ends although the upload lives* (a stalled database): renewing
//! finds that out, and finishing would as well, since both ask for the upload's own id.

use crate::inspect::{Inspected, Inspector};
use crate::model::Image;
use crate::store::images::{self, missing};
use crate::store::uploads::{self, Outcome};
use crate::{Images, REALM};
use ferrostack_blobs::{ByteStream, Digest, Key, PutOptions, Written};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Error, Kind, Result};
use futures::StreamExt;
use parking_lot::Mutex;
use std::sync::Arc;
use uuid::Uuid;

/// Aborts the upload unless it was finished, whatever way its future ends.
struct Guard {
    service: Arc<Images>,
    image: ImageId,
    upload: Uuid,
    done: bool,
}

impl Guard {
    async fn abort(mut self) {
        self.done = true;
        abort(&self.service, self.image, self.upload).await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            let (service, image, upload) = (Arc::clone(&self.service), self.image, self.upload);
            let env = service.env.clone();
            drop(env.spawn("image upload abort", async move { abort(&service, image, upload).await }));
        }
    }
}

async fn abort(service: &Images, image: ImageId, upload: Uuid) {
    let (now, hint) = (service.env.now(), service.garbage.clone());
    let done = service
        .db
        .write("image_upload_abort", move |tx| {
            uploads::upload_abort(tx, upload, image, now)?;
            hint.hint_in_tx(tx);
            Ok(())
        })
        .await;
    if let Err(error) = done {
        tracing::warn!(%image, ?error, "an upload could not be taken back; the loop will do it");
    }
}

impl Images {
    /// Stores an image's data. `expected` is how much the client says that there will be.
    pub async fn upload(self: &Arc<Self>, image: &Image, source: ByteStream, expected: Option<u64>) -> Result<()> {
        let Some(declared) = image.disk_format.clone().filter(|_| image.container_format.is_some()) else {
            let absent = match (&image.disk_format, &image.container_format) {
                (None, None) => "disk_format, container_format",
                (None, _) => "disk_format",
                _ => "container_format",
            };
            return Err(Error::invalid(format!("Properties {absent} must be set prior to saving data.")));
        };
        let limit = self.room(image, expected).await?;
        let upload = self.env.uuid();
        let key = Key::new(REALM, &upload.hyphenated().to_string())?;
        self.begin(image, upload, &key).await?;
        let guard = Guard { service: Arc::clone(self), image: image.id, upload, done: false };
        // Only a bare image is the disk itself; what is in an archive is never given to a guest as a disk.
        let inspector = (image.container_format.as_deref() == Some("bare")).then(|| Inspector::new(&declared));
        match self.store(image.id, upload, &key, source, limit, inspector).await {
            Ok(outcome) => self.finish(guard, &key, outcome).await,
            Err(error) => {
                guard.abort().await;
                Err(error)
            }
        }
    }

    /// How many bytes the image may have; 413 if the announced ones are too many already.
    async fn room(&self, image: &Image, expected: Option<u64>) -> Result<u64> {
        let mut limit = self.config.size_cap;
        if let (Some(quota), Some(owner)) = (self.config.bytes_per_project, image.owner.clone()) {
            let (_, used) = self.db.read("image_usage", move |tx| images::usage(tx, &owner)).await?;
            limit = limit.min(quota.saturating_sub(used));
        }
        if expected.is_some_and(|expected| expected > limit) { Err(too_large()) } else { Ok(limit) }
    }

    async fn begin(&self, image: &Image, upload: Uuid, key: &Key) -> Result<()> {
        let (id, key, now) = (image.id, key.to_string(), self.env.now());
        let until = now + self.config.upload_lease;
        self.db
            .write("image_upload_begin", move |tx| {
                if uploads::upload_begin(tx, id, upload, &key, until, now)? {
                    return Ok(());
                }
                let status = images::image_fetch(tx, id)?.ok_or_else(|| missing(id))?.status.as_str();
                Err(Error::conflict(format!("Image status transition from {status} to saving is not allowed")))
            })
            .await
    }

    /// Streams into the blob, giving signs of life meanwhile.
    async fn store(
        &self,
        image: ImageId,
        upload: Uuid,
        key: &Key,
        source: ByteStream,
        limit: u64,
        inspector: Option<Inspector>,
    ) -> Result<Outcome> {
        let inspector = Arc::new(Mutex::new(inspector));
        let source = watched(source, Arc::clone(&inspector), self.config.format_enforcement);
        let options = PutOptions { limit: Some(limit), digests: vec![Digest::Md5, Digest::Sha512] };
        let mut put = std::pin::pin!(self.blobs.put(key, source, options));
        let written = loop {
            tokio::select! {
                biased;
                written = &mut put => break written,
                () = self.env.sleep(self.config.upload_lease / 3) => self.renew(image, upload).await?,
            }
        };
        let written = written.map_err(|e| if e.kind() == Kind::TooLarge { too_large() } else { e })?;
        let inspected = self.judge(image, &inspector.lock())?;
        outcome(written, inspected)
    }

    async fn renew(&self, image: ImageId, upload: Uuid) -> Result<()> {
        let until = self.env.now() + self.config.upload_lease;
        let renewed =
            self.db.write("image_upload_renew", move |tx| uploads::upload_renew(tx, upload, image, until)).await;
        match renewed {
            Ok(true) => Ok(()),
            Ok(false) => Err(gone(image)),
            Err(error) => {
                // There is another try before the lease ends.
                tracing::warn!(%image, ?error, "an upload's sign of life could not be written");
                Ok(())
            }
        }
    }

    fn judge(&self, image: ImageId, inspector: &Option<Inspector>) -> Result<Option<Inspected>> {
        let Some(inspector) = inspector else { return Ok(None) };
        match inspector.finish() {
            Ok(inspected) => Ok(Some(inspected)),
            Err(refusal) if self.config.format_enforcement => {
                Err(Error::new(Kind::UnsupportedMediaType, refusal.to_string()))
            }
            Err(refusal) => {
                tracing::warn!(%image, %refusal, "an image is kept although its data is not as declared");
                Ok(None)
            }
        }
    }

    async fn finish(&self, mut guard: Guard, key: &Key, outcome: Outcome) -> Result<()> {
        let (image, upload, now) = (guard.image, guard.upload, self.env.now());
        let finished = self
            .db
            .write("image_upload_finish", move |tx| uploads::upload_finish(tx, upload, image, &outcome, now))
            .await?;
        guard.done = true;
        if finished {
            return Ok(());
        }
        self.blobs.delete(key).await?;
        Err(gone(image))
    }
}

fn gone(image: ImageId) -> Error {
    Error::new(
        Kind::Gone,
        format!(
            "Image {image} could not be found after upload. The image may have been deleted during the upload, \
             cleaning up the chunks uploaded."
        ),
    )
}

fn too_large() -> Error {
    Error::new(Kind::TooLarge, "The incoming image is too large: it exceeds the maximum size or the storage quota.")
}

fn outcome(written: Written, inspected: Option<Inspected>) -> Result<Outcome> {
    let digest = |algorithm| {
        let value = written.digests.get(algorithm);
        value.map(str::to_owned).ok_or_else(|| Error::internal("a digest was not computed"))
    };
    Ok(Outcome {
        size: written.size,
        virtual_size: inspected.and_then(|i| i.virtual_size),
        checksum: digest(Digest::Md5)?,
        sha512: digest(Digest::Sha512)?,
        verified: inspected.is_some_and(|i| i.verified),
    })
}

/// The same bytes, seen by the inspector on their way. Where formats are enforced, the stream ends with the refusal as
/// soon as there is one.
fn watched(source: ByteStream, inspector: Arc<Mutex<Option<Inspector>>>, enforce: bool) -> ByteStream {
    source
        .map(move |chunk| {
            let chunk = chunk?;
            if let Some(inspector) = inspector.lock().as_mut() {
                let fed = inspector.feed(&chunk);
                if let (Err(refusal), true) = (fed, enforce) {
                    return Err(Error::new(Kind::UnsupportedMediaType, refusal.to_string()));
                }
            }
            Ok(chunk)
        })
        .boxed()
}
