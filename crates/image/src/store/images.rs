//! Images with their properties and tags.

use crate::model::{Eyes, Image, Status, Visibility};
use ferrostack_db::{Row, Select, Tx, is_unique_violation, params};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Error, Kind, Result, Timestamp};
use std::collections::HashMap;

/// The columns that [`image`] reads, of the table under the name `i`.
pub const COLUMNS: &str = "SELECT i.id, i.revision, i.name, i.status, i.visibility, i.owner, i.protected, i.os_hidden, \
     i.disk_format, i.container_format, i.min_disk, i.min_ram, i.size, i.virtual_size, i.checksum, i.os_hash_value, \
     i.verified, i.blob_key, i.created_at, i.updated_at FROM image_images i";

/// An image without its properties and tags.
pub fn image(row: &Row<'_>) -> Result<Image> {
    let (status, visibility): (String, String) = (row.get(3)?, row.get(4)?);
    Ok(Image {
        id: row.get(0)?,
        revision: row.get(1)?,
        name: row.get(2)?,
        status: Status::parse(&status).ok_or_else(|| Error::internal(format!("image status {status}")))?,
        visibility: Visibility::parse(&visibility)
            .ok_or_else(|| Error::internal(format!("image visibility {visibility}")))?,
        owner: row.get(5)?,
        protected: row.get(6)?,
        os_hidden: row.get(7)?,
        disk_format: row.get(8)?,
        container_format: row.get(9)?,
        min_disk: row.get(10)?,
        min_ram: row.get(11)?,
        size: row.get(12)?,
        virtual_size: row.get(13)?,
        checksum: row.get(14)?,
        sha512: row.get(15)?,
        verified: row.get(16)?,
        blob_key: row.get(17)?,
        created_at: row.get(18)?,
        updated_at: row.get(19)?,
        properties: Default::default(),
        tags: Default::default(),
    })
}

/// The 404 for an image that is not there or not to be seen.
pub fn missing(id: impl std::fmt::Display) -> Error {
    Error::not_found(format!("No image found with ID {id}"))
}

/// Fills in properties and tags: two queries, however many images.
pub fn with_belongings(tx: &mut Tx<'_>, mut images: Vec<Image>) -> Result<Vec<Image>> {
    if images.is_empty() {
        return Ok(images);
    }
    let at: HashMap<ImageId, usize> = images.iter().enumerate().map(|(index, image)| (image.id, index)).collect();
    let ids: Vec<ImageId> = images.iter().map(|image| image.id).collect();
    let select = Select::new("SELECT image_id, name, value FROM image_properties").filter_in("image_id", ids.clone());
    let pair = |row: &Row<'_>| Ok((row.get::<ImageId>(0)?, row.get::<String>(1)?, row.get::<String>(2)?));
    for (id, name, value) in select.fetch(tx, pair)? {
        images[at[&id]].properties.insert(name, value);
    }
    let select = Select::new("SELECT image_id, tag FROM image_tags").filter_in("image_id", ids);
    for (id, tag) in select.fetch(tx, |row| Ok((row.get::<ImageId>(0)?, row.get::<String>(1)?)))? {
        images[at[&id]].tags.insert(tag);
    }
    Ok(images)
}

/// The image, whoever asks.
pub fn image_fetch(tx: &mut Tx<'_>, id: ImageId) -> Result<Option<Image>> {
    let found = Select::new(COLUMNS).filter("i.id = ?", id).fetch(tx, image)?;
    Ok(with_belongings(tx, found)?.pop())
}

/// The image, if these eyes may see it, and whether its project is a member; otherwise 404.
pub fn image_visible(tx: &mut Tx<'_>, id: ImageId, eyes: &Eyes) -> Result<(Image, bool)> {
    let found = image_fetch(tx, id)?.ok_or_else(|| missing(id))?;
    let member = match (&eyes.project, found.visibility) {
        (Some(project), Visibility::Shared) => super::members::is_member(tx, id, project)?,
        _ => false,
    };
    let open = matches!(found.visibility, Visibility::Public | Visibility::Community);
    if eyes.admin || open || eyes.own(&found) || member { Ok((found, member)) } else { Err(missing(id)) }
}

/// How many images a project has and how many bytes are in them.
pub fn usage(tx: &mut Tx<'_>, owner: &str) -> Result<(u64, u64)> {
    let found = tx.query_opt(
        "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM image_images WHERE owner = ?",
        params![owner],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(found.unwrap_or_default())
}

/// Writes a new image. 409 if the id is taken.
pub fn image_insert(tx: &mut Tx<'_>, image: &Image) -> Result<()> {
    let i = image;
    let done = tx.execute(
        "INSERT INTO image_images (id, revision, name, status, visibility, owner, protected, os_hidden, disk_format, \
         container_format, min_disk, min_ram, size, virtual_size, checksum, os_hash_value, verified, blob_key, \
         created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            i.id,
            i.revision,
            i.name.as_deref(),
            i.status.as_str(),
            i.visibility.as_str(),
            i.owner.as_deref(),
            i.protected,
            i.os_hidden,
            i.disk_format.as_deref(),
            i.container_format.as_deref(),
            i.min_disk,
            i.min_ram,
            i.size,
            i.virtual_size,
            i.checksum.as_deref(),
            i.sha512.as_deref(),
            i.verified,
            i.blob_key.as_deref(),
            i.created_at,
            i.updated_at
        ],
    );
    match done {
        Ok(_) => {}
        Err(error) if is_unique_violation(&error) => {
            return Err(Error::new(Kind::Conflict, format!("Image ID {} already exists!", i.id)));
        }
        Err(error) => return Err(error),
    }
    belongings_insert(tx, image)
}

fn belongings_insert(tx: &mut Tx<'_>, image: &Image) -> Result<()> {
    for (name, value) in &image.properties {
        tx.execute(
            "INSERT INTO image_properties (image_id, name, value) VALUES (?, ?, ?)",
            params![image.id, name, value],
        )?;
    }
    for tag in &image.tags {
        tx.execute("INSERT INTO image_tags (image_id, tag) VALUES (?, ?)", params![image.id, tag])?;
    }
    Ok(())
}

/// Writes what a client may change, over the revision that it was made from. False if somebody else was quicker.
/// What the data says (size, digests, status, place) is not touched here: no change of a client reaches it.
pub fn image_update(tx: &mut Tx<'_>, image: &Image) -> Result<bool> {
    let i = image;
    let changed = tx.execute(
        "UPDATE image_images SET revision = revision + 1, name = ?, visibility = ?, owner = ?, protected = ?, \
         os_hidden = ?, disk_format = ?, container_format = ?, min_disk = ?, min_ram = ?, updated_at = ? \
         WHERE id = ? AND revision = ?",
        params![
            i.name.as_deref(),
            i.visibility.as_str(),
            i.owner.as_deref(),
            i.protected,
            i.os_hidden,
            i.disk_format.as_deref(),
            i.container_format.as_deref(),
            i.min_disk,
            i.min_ram,
            i.updated_at,
            i.id,
            i.revision
        ],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    tx.execute("DELETE FROM image_properties WHERE image_id = ?", params![i.id])?;
    tx.execute("DELETE FROM image_tags WHERE image_id = ?", params![i.id])?;
    belongings_insert(tx, image)?;
    Ok(true)
}

/// Moves an image between two states; false if it is not in the first.
pub fn status_update(tx: &mut Tx<'_>, id: ImageId, from: Status, to: Status, now: Timestamp) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE image_images SET status = ?, revision = revision + 1, updated_at = ? WHERE id = ? AND status = ?",
        params![to.as_str(), now, id, from.as_str()],
    )?;
    Ok(changed > 0)
}

/// Removes an image; its bytes are garbage from now on.
pub fn image_delete(tx: &mut Tx<'_>, image: &Image, now: Timestamp) -> Result<()> {
    if let Some(key) = &image.blob_key {
        super::uploads::garbage_insert(tx, key, now)?;
    }
    for sql in [
        "DELETE FROM image_properties WHERE image_id = ?",
        "DELETE FROM image_tags WHERE image_id = ?",
        "DELETE FROM image_members WHERE image_id = ?",
        "DELETE FROM image_images WHERE id = ?",
    ] {
        tx.execute(sql, params![image.id])?;
    }
    Ok(())
}
