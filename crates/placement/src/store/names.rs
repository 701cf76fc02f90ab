//! Resource classes and traits that operators have defined.

use crate::standard;
use ferrostack_db::{Tx, params};
use ferrostack_types::{Result, Timestamp};

/// A name with the time of its definition; standard names have none.
pub type Named = (String, Option<Timestamp>);

/// Whether the resource class exists.
pub fn class_exists(tx: &mut Tx<'_>, name: &str) -> Result<bool> {
    Ok(standard::is_resource_class(name)
        || tx.exists("SELECT 1 FROM placement_resource_classes WHERE name = ?", params![name])?)
}

/// All resource classes, the standard ones first.
pub fn class_list(tx: &mut Tx<'_>) -> Result<Vec<Named>> {
    let mut all: Vec<Named> = standard::RESOURCE_CLASSES.iter().map(|name| ((*name).to_owned(), None)).collect();
    all.extend(tx.query(
        "SELECT name, created_at FROM placement_resource_classes ORDER BY created_at, name",
        params![],
        |row| Ok((row.get(0)?, Some(row.get(1)?))),
    )?);
    Ok(all)
}

/// Defines a class; false if it is there already.
pub fn class_insert(tx: &mut Tx<'_>, name: &str, now: Timestamp) -> Result<bool> {
    if class_exists(tx, name)? {
        return Ok(false);
    }
    tx.execute("INSERT INTO placement_resource_classes (name, created_at) VALUES (?, ?)", params![name, now])?;
    Ok(true)
}

/// Whether some provider has an inventory of the class.
pub fn class_in_use(tx: &mut Tx<'_>, name: &str) -> Result<bool> {
    tx.exists("SELECT 1 FROM placement_inventories WHERE resource_class = ?", params![name])
}

/// Removes a custom class.
pub fn class_delete(tx: &mut Tx<'_>, name: &str) -> Result<()> {
    tx.execute("DELETE FROM placement_resource_classes WHERE name = ?", params![name])?;
    Ok(())
}

/// When the trait was defined; the outer `None` if it was not.
pub fn trait_fetch(tx: &mut Tx<'_>, name: &str) -> Result<Option<Option<Timestamp>>> {
    if standard::TRAITS.contains(name) {
        return Ok(Some(None));
    }
    tx.query_opt("SELECT created_at FROM placement_traits WHERE name = ?", params![name], |row| Ok(Some(row.get(0)?)))
}

/// All traits, ordered by name.
pub fn trait_list(tx: &mut Tx<'_>) -> Result<Vec<Named>> {
    let mut all: Vec<Named> = standard::TRAITS.iter().map(|name| ((*name).to_owned(), None)).collect();
    all.extend(tx.query("SELECT name, created_at FROM placement_traits ORDER BY name", params![], |row| {
        Ok((row.get(0)?, Some(row.get(1)?)))
    })?);
    all.sort();
    Ok(all)
}

/// The names of traits that some provider has.
pub fn trait_list_associated(tx: &mut Tx<'_>) -> Result<Vec<String>> {
    tx.query("SELECT DISTINCT trait_name FROM placement_provider_traits", params![], |row| row.get(0))
}

/// Defines a trait.
pub fn trait_insert(tx: &mut Tx<'_>, name: &str, now: Timestamp) -> Result<()> {
    tx.execute("INSERT INTO placement_traits (name, created_at) VALUES (?, ?)", params![name, now])?;
    Ok(())
}

/// Whether some provider has the trait.
pub fn trait_in_use(tx: &mut Tx<'_>, name: &str) -> Result<bool> {
    tx.exists("SELECT 1 FROM placement_provider_traits WHERE trait_name = ?", params![name])
}

/// Removes a custom trait.
pub fn trait_delete(tx: &mut Tx<'_>, name: &str) -> Result<()> {
    tx.execute("DELETE FROM placement_traits WHERE name = ?", params![name])?;
    Ok(())
}
