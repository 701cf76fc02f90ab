//! What must become true in the end.

use crate::REALM;
use crate::store::uploads;
use async_trait::async_trait;
use ferrostack_blobs::{BlobStore, Key};
use ferrostack_db::Db;
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_types::{Env, Result, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Uploads without a sign of life are given back: the image waits for its data again.
pub(crate) struct Uploads {
    pub(crate) every: Duration,
}

#[async_trait]
impl Loop for Uploads {
    fn name(&self) -> &'static str {
        "image.uploads"
    }

    fn period(&self) -> Duration {
        self.every
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        Ok(json!({"given_back": give_back(&cx.db, &cx.env, false).await?}))
    }
}

/// Gives back uploads that are overdue, or all of them; how many.
pub(crate) async fn give_back(db: &Db, env: &Env, all: bool) -> Result<usize> {
    let now = env.now();
    let overdue = if all { Timestamp::from_micros(i64::MAX) } else { now };
    db.write("image_uploads_give_back", move |tx| {
        let found = uploads::upload_list_overdue(tx, overdue)?;
        for (image, upload) in &found {
            uploads::upload_abort(tx, *upload, *image, now)?;
        }
        Ok(found.len())
    })
    .await
}

/// Bytes of deleted images and failed uploads are removed.
pub(crate) struct Garbage {
    pub(crate) blobs: Arc<dyn BlobStore>,
}

#[async_trait]
impl Loop for Garbage {
    fn name(&self) -> &'static str {
        "image.garbage"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let mut removed = 0;
        loop {
            let keys = cx.db.read("image_garbage_list", uploads::garbage_list).await?;
            if keys.is_empty() {
                return Ok(json!({"removed": removed}));
            }
            for key in keys {
                self.blobs.delete(&Key::parse(&key)?).await?;
                cx.db.write("image_garbage_delete", move |tx| uploads::garbage_delete(tx, &key)).await?;
                removed += 1;
            }
        }
    }
}

/// Bytes that no row knows of: an upload that was given back while it went on may have published its blob afterwards.
///
/// The blobs are listed first and the rows asked then. A row names its blob before that becomes visible, so a blob that
/// was listed and that no row names is nobody's.
pub(crate) struct Orphans {
    pub(crate) blobs: Arc<dyn BlobStore>,
}

#[async_trait]
impl Loop for Orphans {
    fn name(&self) -> &'static str {
        "image.orphans"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let stored = self.blobs.list(REALM).await?;
        let (looked_at, mut removed) = (stored.len(), 0);
        for blob in stored {
            let key = blob.key.to_string();
            if !cx.db.read("image_orphan_check", move |tx| uploads::key_in_use(tx, &key)).await? {
                removed += usize::from(self.blobs.delete(&blob.key).await?);
            }
        }
        Ok(json!({"looked_at": looked_at, "removed": removed}))
    }
}
