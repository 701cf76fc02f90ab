//! `compute_quotas` and `compute_usages`.

use crate::Quotas;
use ferrostack_db::{Tx, params};
use ferrostack_types::ids::{ProjectId, UserId};
use ferrostack_types::{Error, Kind, Result};
use std::collections::BTreeMap;

/// The limits of a project: its own over the defaults.
pub(crate) fn limits_in_tx(tx: &mut Tx<'_>, project: &ProjectId, defaults: &Quotas) -> Result<Quotas> {
    let mut limits = *defaults;
    let own: Vec<(String, i64)> =
        tx.query("SELECT resource, hard_limit FROM compute_quotas WHERE project_id = ?", params![project], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    for (resource, limit) in own {
        if let Some(slot) = slot(&mut limits, &resource) {
            *slot = limit;
        }
    }
    Ok(limits)
}

/// The field of that name.
pub(crate) fn slot<'a>(limits: &'a mut Quotas, resource: &str) -> Option<&'a mut i64> {
    Some(match resource {
        "instances" => &mut limits.instances,
        "cores" => &mut limits.cores,
        "ram" => &mut limits.ram,
        "metadata_items" => &mut limits.metadata_items,
        "key_pairs" => &mut limits.key_pairs,
        "server_groups" => &mut limits.server_groups,
        "server_group_members" => &mut limits.server_group_members,
        _ => return None,
    })
}

/// Gives a project limits of its own.
pub(crate) fn limits_set_in_tx(tx: &mut Tx<'_>, project: &ProjectId, limits: &BTreeMap<String, i64>) -> Result<()> {
    for (resource, limit) in limits {
        tx.execute(
            "DELETE FROM compute_quotas WHERE project_id = ? AND resource = ?",
            params![project, resource.as_str()],
        )?;
        tx.execute(
            "INSERT INTO compute_quotas (project_id, resource, hard_limit) VALUES (?, ?, ?)",
            params![project, resource.as_str(), *limit],
        )?;
    }
    Ok(())
}

/// Takes a project's own limits away.
pub(crate) fn limits_delete_in_tx(tx: &mut Tx<'_>, project: &ProjectId) -> Result<()> {
    tx.execute("DELETE FROM compute_quotas WHERE project_id = ?", params![project])?;
    Ok(())
}

/// What a project uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) instances: i64,
    pub(crate) cores: i64,
    pub(crate) ram: i64,
}

/// What a project uses.
pub(crate) fn usage_in_tx(tx: &mut Tx<'_>, project: &ProjectId) -> Result<Usage> {
    let found = tx.query_opt(
        "SELECT instances, cores, ram FROM compute_usages WHERE project_id = ?",
        params![project],
        |row| Ok(Usage { instances: row.get(0)?, cores: row.get(1)?, ram: row.get(2)? }),
    )?;
    Ok(found.unwrap_or_default())
}

/// What all projects use.
pub(crate) fn usages_in_tx(tx: &mut Tx<'_>) -> Result<BTreeMap<ProjectId, Usage>> {
    let rows = tx.query("SELECT project_id, instances, cores, ram FROM compute_usages", params![], |row| {
        Ok((row.get(0)?, Usage { instances: row.get(1)?, cores: row.get(2)?, ram: row.get(3)? }))
    })?;
    Ok(rows.into_iter().collect())
}

/// Takes from a project's quota, or 403 with Nova's words. The row is changed first, so that databases which run
/// transactions at the same time let only one at a time pass here for a project.
pub(crate) fn usage_take_in_tx(tx: &mut Tx<'_>, project: &ProjectId, more: Usage, defaults: &Quotas) -> Result<()> {
    usage_add_in_tx(tx, project, more)?;
    let limits = limits_in_tx(tx, project, defaults)?;
    let now = usage_in_tx(tx, project)?;
    let (mut names, mut asked, mut used, mut allowed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, more, all, limit) in [
        ("cores", more.cores, now.cores, limits.cores),
        ("instances", more.instances, now.instances, limits.instances),
        ("ram", more.ram, now.ram, limits.ram),
    ] {
        if limit >= 0 && all > limit {
            names.push(name);
            asked.push(more.to_string());
            used.push((all - more).to_string());
            allowed.push(limit.to_string());
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    let (names, asked, used, allowed) = (names.join(", "), asked.join(", "), used.join(", "), allowed.join(", "));
    let text = format!("Quota exceeded for {names}: Requested {asked}, but already used {used} of {allowed} {names}");
    Err(Error::new(Kind::OverQuota, text))
}

/// Changes what a project uses; negative amounts give back.
pub(crate) fn usage_add_in_tx(tx: &mut Tx<'_>, project: &ProjectId, more: Usage) -> Result<()> {
    let changed = tx.execute(
        "UPDATE compute_usages SET instances = instances + ?, cores = cores + ?, ram = ram + ? WHERE project_id = ?",
        params![more.instances, more.cores, more.ram, project],
    )?;
    if changed == 0 {
        tx.execute(
            "INSERT INTO compute_usages (project_id, instances, cores, ram) VALUES (?, ?, ?, ?)",
            params![project, more.instances, more.cores, more.ram],
        )?;
    }
    Ok(())
}

/// How many server groups a project has.
pub(crate) fn groups_used_in_tx(tx: &mut Tx<'_>, project: &ProjectId) -> Result<i64> {
    tx.scalar("SELECT COUNT(*) FROM compute_groups WHERE project_id = ?", params![project])
}

/// How many key pairs a user has.
pub(crate) fn keypairs_used_in_tx(tx: &mut Tx<'_>, user: &UserId) -> Result<i64> {
    tx.scalar("SELECT COUNT(*) FROM compute_keypairs WHERE user_id = ?", params![user])
}
