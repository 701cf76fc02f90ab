//! Who an image is shared with.

use crate::model::Member;
use ferrostack_db::{Row, Tx, params};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Result, Timestamp};

fn member(row: &Row<'_>) -> Result<Member> {
    Ok(Member {
        image: row.get(0)?,
        member: row.get(1)?,
        status: row.get(2)?,
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
    })
}

/// Whether the project is a member, in whatever status.
pub fn is_member(tx: &mut Tx<'_>, image: ImageId, project: &str) -> Result<bool> {
    tx.exists("SELECT 1 FROM image_members WHERE image_id = ? AND member_id = ?", params![image, project])
}

/// The members, oldest first.
pub fn member_list(tx: &mut Tx<'_>, image: ImageId) -> Result<Vec<Member>> {
    tx.query(
        "SELECT image_id, member_id, status, created_at, updated_at FROM image_members WHERE image_id = ? \
         ORDER BY created_at, member_id",
        params![image],
        member,
    )
}

/// One member.
pub fn member_fetch(tx: &mut Tx<'_>, image: ImageId, project: &str) -> Result<Option<Member>> {
    tx.query_opt(
        "SELECT image_id, member_id, status, created_at, updated_at FROM image_members \
         WHERE image_id = ? AND member_id = ?",
        params![image, project],
        member,
    )
}

/// Adds a member.
pub fn member_insert(tx: &mut Tx<'_>, new: &Member) -> Result<()> {
    tx.execute(
        "INSERT INTO image_members (image_id, member_id, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        params![new.image, &new.member, &new.status, new.created_at, new.updated_at],
    )?;
    Ok(())
}

/// Changes a member's status.
pub fn member_update(tx: &mut Tx<'_>, image: ImageId, project: &str, status: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE image_members SET status = ?, updated_at = ? WHERE image_id = ? AND member_id = ?",
        params![status, now, image, project],
    )?;
    Ok(())
}

/// Removes a member.
pub fn member_delete(tx: &mut Tx<'_>, image: ImageId, project: &str) -> Result<()> {
    tx.execute("DELETE FROM image_members WHERE image_id = ? AND member_id = ?", params![image, project])?;
    Ok(())
}
