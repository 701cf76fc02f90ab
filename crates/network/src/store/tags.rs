//! `network_tags`. Ids are unique across resources, so a tag needs no kind.

use super::{fetch_in, group_by};
use ferrostack_db::{Tx, params};
use ferrostack_types::Result;
use std::collections::HashMap;

/// The tags of many objects, in order.
pub(crate) fn tags_of(tx: &mut Tx<'_>, ids: &[String]) -> Result<HashMap<String, Vec<String>>> {
    let select = "SELECT object_id, tag FROM network_tags";
    Ok(group_by(fetch_in(tx, select, "object_id", "ORDER BY tag", ids, |row| Ok((row.get(0)?, row.get(1)?)))?))
}

/// Makes the tags of an object these.
pub(crate) fn tags_set_in_tx(tx: &mut Tx<'_>, id: &str, tags: &[String]) -> Result<()> {
    tags_clear_in_tx(tx, id)?;
    for tag in tags {
        tag_add_in_tx(tx, id, tag)?;
    }
    Ok(())
}

/// Repeatable.
pub(crate) fn tag_add_in_tx(tx: &mut Tx<'_>, id: &str, tag: &str) -> Result<()> {
    if !tx.exists("SELECT 1 FROM network_tags WHERE object_id = ? AND tag = ?", params![id, tag])? {
        tx.execute("INSERT INTO network_tags (object_id, tag) VALUES (?, ?)", params![id, tag])?;
    }
    Ok(())
}

/// Whether it was there.
pub(crate) fn tag_remove_in_tx(tx: &mut Tx<'_>, id: &str, tag: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM network_tags WHERE object_id = ? AND tag = ?", params![id, tag])? > 0)
}

pub(crate) fn tags_clear_in_tx(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.execute("DELETE FROM network_tags WHERE object_id = ?", params![id]).map(drop)
}
