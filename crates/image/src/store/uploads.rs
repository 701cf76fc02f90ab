//! Uploads under way, and bytes that nobody needs any more.

use crate::model::Status;
use ferrostack_db::{Tx, params};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Result, Timestamp};
use uuid::Uuid;

/// What an upload has found out.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Bytes stored.
    pub size: u64,
    /// Bytes that a guest sees.
    pub virtual_size: Option<u64>,
    /// MD5.
    pub checksum: String,
    /// SHA-512.
    pub sha512: String,
    /// Whether the declared format is borne out.
    pub verified: bool,
}

/// Begins: the image is `saving`, under the upload's id and until a time. False if it was not `queued`.
pub fn upload_begin(
    tx: &mut Tx<'_>,
    id: ImageId,
    upload: Uuid,
    key: &str,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE image_images SET status = ?, upload_id = ?, upload_until = ?, blob_key = ?, revision = revision + 1, \
         updated_at = ? WHERE id = ? AND status = ?",
        params![Status::Saving.as_str(), upload, until, key, now, id, Status::Queued.as_str()],
    )?;
    Ok(changed > 0)
}

/// A sign of life. False if the image was taken away meanwhile.
pub fn upload_renew(tx: &mut Tx<'_>, upload: Uuid, id: ImageId, until: Timestamp) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE image_images SET upload_until = ? WHERE id = ? AND upload_id = ?",
        params![until, id, upload],
    )?;
    Ok(changed > 0)
}

/// Ends well: in one step everything that the data says is there and the image is active. False if the image was
/// deleted or taken away meanwhile.
pub fn upload_finish(tx: &mut Tx<'_>, upload: Uuid, id: ImageId, outcome: &Outcome, now: Timestamp) -> Result<bool> {
    let o = outcome;
    let changed = tx.execute(
        "UPDATE image_images SET status = ?, size = ?, virtual_size = ?, checksum = ?, os_hash_value = ?, \
         verified = ?, upload_id = NULL, upload_until = NULL, revision = revision + 1, updated_at = ? \
         WHERE id = ? AND upload_id = ? AND status = ?",
        params![
            Status::Active.as_str(),
            o.size,
            o.virtual_size,
            &o.checksum,
            &o.sha512,
            o.verified,
            now,
            id,
            upload,
            Status::Saving.as_str()
        ],
    )?;
    Ok(changed > 0)
}

/// Ends badly: the image waits for its data again, and whatever was stored is garbage.
pub fn upload_abort(tx: &mut Tx<'_>, upload: Uuid, id: ImageId, now: Timestamp) -> Result<()> {
    let key: Option<Option<String>> =
        tx.query_opt("SELECT blob_key FROM image_images WHERE id = ? AND upload_id = ?", params![id, upload], |row| {
            row.get(0)
        })?;
    let Some(key) = key else { return Ok(()) };
    if let Some(key) = key {
        garbage_insert(tx, &key, now)?;
    }
    tx.execute(
        "UPDATE image_images SET status = ?, upload_id = NULL, upload_until = NULL, blob_key = NULL, \
         revision = revision + 1, updated_at = ? WHERE id = ? AND upload_id = ?",
        params![Status::Queued.as_str(), now, id, upload],
    )?;
    Ok(())
}

/// Uploads that should have given a sign of life before `now`.
pub fn upload_list_overdue(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<(ImageId, Uuid)>> {
    tx.query(
        "SELECT id, upload_id FROM image_images WHERE upload_id IS NOT NULL AND upload_until < ?",
        params![now],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Says that nobody needs these bytes.
pub fn garbage_insert(tx: &mut Tx<'_>, key: &str, now: Timestamp) -> Result<()> {
    if !tx.exists("SELECT 1 FROM image_garbage WHERE blob_key = ?", params![key])? {
        tx.execute("INSERT INTO image_garbage (blob_key, since) VALUES (?, ?)", params![key, now])?;
    }
    Ok(())
}

/// Bytes to remove.
pub fn garbage_list(tx: &mut Tx<'_>) -> Result<Vec<String>> {
    tx.query("SELECT blob_key FROM image_garbage ORDER BY since LIMIT 1000", params![], |row| row.get(0))
}

/// They are removed.
pub fn garbage_delete(tx: &mut Tx<'_>, key: &str) -> Result<()> {
    tx.execute("DELETE FROM image_garbage WHERE blob_key = ?", params![key])?;
    Ok(())
}

/// Whether an image (also one that is being uploaded) has its bytes under this key.
pub fn key_in_use(tx: &mut Tx<'_>, key: &str) -> Result<bool> {
    tx.exists("SELECT 1 FROM image_images WHERE blob_key = ?", params![key])
}
