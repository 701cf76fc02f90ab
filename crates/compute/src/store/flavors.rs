//! `compute_flavors`, their extra specs and who may use the private ones.

use crate::model::{Flavor, FlavorCopy};
use ferrostack_db::{Row, Select, Tx, Value, params};
use ferrostack_types::ids::ProjectId;
use ferrostack_types::{Error, PageRequest, Result, SortDirection, Timestamp};
use std::collections::{BTreeMap, HashMap};

const SELECT: &str = "SELECT id, name, vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, rxtx_factor, is_public,
    disabled, description FROM compute_flavors";

fn read(row: &Row<'_>) -> Result<Flavor> {
    Ok(Flavor {
        copy: FlavorCopy {
            id: row.get(0)?,
            name: row.get(1)?,
            vcpus: row.get(2)?,
            memory_mb: row.get(3)?,
            root_gb: row.get(4)?,
            ephemeral_gb: row.get(5)?,
            swap_mb: row.get(6)?,
            extra_specs: BTreeMap::new(),
        },
        rxtx_factor: row.get(7)?,
        is_public: row.get(8)?,
        disabled: row.get(9)?,
        description: row.get(10)?,
    })
}

/// Which flavors to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlavorFilter {
    /// Public or private ones only.
    pub(crate) is_public: Option<bool>,
    /// Private ones of this project besides the public ones.
    pub(crate) visible_to: Option<ProjectId>,
    pub(crate) min_ram: Option<i64>,
    pub(crate) min_disk: Option<i64>,
}

const VISIBLE: &str = "is_public = 1 OR EXISTS (SELECT 1 FROM compute_flavor_access a
    WHERE a.flavor_id = compute_flavors.id AND a.project_id = ?)";

/// A page of flavors with their extra specs.
pub(crate) fn flavor_list_in_tx(tx: &mut Tx<'_>, filter: &FlavorFilter, page: &PageRequest) -> Result<Vec<Flavor>> {
    let mut select = Select::new(SELECT)
        .filter_opt("is_public = ?", filter.is_public)
        .filter_opt("memory_mb >= ?", filter.min_ram)
        .filter_opt("root_gb >= ?", filter.min_disk);
    if let Some(project) = &filter.visible_to {
        select = select.filter(VISIBLE, project);
    }
    let mut by_id = false;
    for key in &page.sort {
        let column = match key.field {
            "name" => "name",
            "memory_mb" => "memory_mb",
            "vcpus" => "vcpus",
            "root_gb" => "root_gb",
            "ephemeral_gb" => "ephemeral_gb",
            "swap" => "swap_mb",
            "rxtx_factor" => "rxtx_factor",
            "is_public" => "is_public",
            "disabled" => "disabled",
            "created_at" => "created_at",
            _ => "id",
        };
        by_id |= column == "id";
        select = select.order(column, key.direction);
    }
    if !by_id {
        select = select.order("id", SortDirection::Asc);
    }
    if let Some(marker) = &page.marker {
        let sql = format!("SELECT {} FROM compute_flavors WHERE id = ?", select.order_columns());
        let count = page.sort.len() + usize::from(!by_id);
        let values = tx.query_opt(&sql, params![marker], |row| {
            (0..count)
                .map(|i| match row.get::<String>(i) {
                    Ok(text) => Ok(Value::Text(text)),
                    Err(_) => row.get::<f64>(i).map(Value::Real),
                })
                .collect::<Result<Vec<Value>>>()
        })?;
        select = select.after(&values.ok_or_else(|| Error::invalid(format!("marker [{marker}] not found")))?);
    }
    let mut flavors = select.limit(page.limit).fetch(tx, read)?;
    add_specs(tx, &mut flavors)?;
    Ok(flavors)
}

fn add_specs(tx: &mut Tx<'_>, flavors: &mut [Flavor]) -> Result<()> {
    let mut specs: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    let ids: Vec<String> = flavors.iter().map(|f| f.copy.id.clone()).collect();
    for chunk in ids.chunks(500) {
        let rows: Vec<(String, String, String)> =
            Select::new("SELECT flavor_id, name, value FROM compute_flavor_specs")
                .filter_in("flavor_id", chunk.iter())
                .fetch(tx, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        for (flavor, name, value) in rows {
            specs.entry(flavor).or_default().insert(name, value);
        }
    }
    for flavor in flavors {
        flavor.copy.extra_specs = specs.remove(&flavor.copy.id).unwrap_or_default();
    }
    Ok(())
}

/// A flavor; `visible_to` hides private ones of other projects.
pub(crate) fn flavor_fetch_in_tx(tx: &mut Tx<'_>, id: &str, visible_to: Option<&ProjectId>) -> Result<Option<Flavor>> {
    let mut select = Select::new(SELECT).filter("id = ?", id);
    if let Some(project) = visible_to {
        select = select.filter(VISIBLE, project);
    }
    let mut flavors = select.fetch(tx, read)?;
    add_specs(tx, &mut flavors)?;
    Ok(flavors.pop())
}

/// Writes a new flavor; 409 if its name or id is taken.
pub(crate) fn flavor_insert_in_tx(tx: &mut Tx<'_>, flavor: &Flavor, now: Timestamp) -> Result<()> {
    let f = &flavor.copy;
    if tx.exists("SELECT 1 FROM compute_flavors WHERE id = ?", params![&f.id])? {
        return Err(Error::conflict(format!("Flavor with ID {} already exists.", f.id)));
    }
    if tx.exists("SELECT 1 FROM compute_flavors WHERE name = ?", params![&f.name])? {
        return Err(Error::conflict(format!("Flavor with name {} already exists.", f.name)));
    }
    tx.execute(
        "INSERT INTO compute_flavors (id, name, vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, rxtx_factor,
             is_public, disabled, description, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            &f.id,
            &f.name,
            f.vcpus,
            f.memory_mb,
            f.root_gb,
            f.ephemeral_gb,
            f.swap_mb,
            flavor.rxtx_factor,
            flavor.is_public,
            flavor.disabled,
            flavor.description.as_deref(),
            now
        ],
    )?;
    Ok(())
}

/// Changes a flavor's description.
pub(crate) fn flavor_describe_in_tx(tx: &mut Tx<'_>, id: &str, text: Option<&str>, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE compute_flavors SET description = ?, updated_at = ? WHERE id = ?", params![text, now, id])?;
    Ok(())
}

/// Takes a flavor away; servers keep their copy.
pub(crate) fn flavor_delete_in_tx(tx: &mut Tx<'_>, id: &str) -> Result<bool> {
    tx.execute("DELETE FROM compute_flavor_specs WHERE flavor_id = ?", params![id])?;
    tx.execute("DELETE FROM compute_flavor_access WHERE flavor_id = ?", params![id])?;
    Ok(tx.execute("DELETE FROM compute_flavors WHERE id = ?", params![id])? == 1)
}

/// Sets extra specs.
pub(crate) fn specs_set_in_tx(tx: &mut Tx<'_>, id: &str, specs: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in specs {
        spec_delete_in_tx(tx, id, name)?;
        tx.execute(
            "INSERT INTO compute_flavor_specs (flavor_id, name, value) VALUES (?, ?, ?)",
            params![id, name, value],
        )?;
    }
    Ok(())
}

/// Takes an extra spec away.
pub(crate) fn spec_delete_in_tx(tx: &mut Tx<'_>, id: &str, name: &str) -> Result<bool> {
    let gone = tx.execute("DELETE FROM compute_flavor_specs WHERE flavor_id = ? AND name = ?", params![id, name])?;
    Ok(gone == 1)
}

/// The projects that may use a private flavor.
pub(crate) fn access_list_in_tx(tx: &mut Tx<'_>, id: &str) -> Result<Vec<ProjectId>> {
    tx.query(
        "SELECT project_id FROM compute_flavor_access WHERE flavor_id = ? ORDER BY project_id",
        params![id],
        |row| row.get(0),
    )
}

/// Lets a project use a private flavor. False if it may already.
pub(crate) fn access_add_in_tx(tx: &mut Tx<'_>, id: &str, project: &ProjectId) -> Result<bool> {
    if access_list_in_tx(tx, id)?.contains(project) {
        return Ok(false);
    }
    tx.execute("INSERT INTO compute_flavor_access (flavor_id, project_id) VALUES (?, ?)", params![id, project])?;
    Ok(true)
}

/// Forbids a project a private flavor. False if it might not use it.
pub(crate) fn access_remove_in_tx(tx: &mut Tx<'_>, id: &str, project: &ProjectId) -> Result<bool> {
    let gone =
        tx.execute("DELETE FROM compute_flavor_access WHERE flavor_id = ? AND project_id = ?", params![id, project])?;
    Ok(gone == 1)
}
