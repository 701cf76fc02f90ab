//! `network_quotas`, and the counting that they are about.

use crate::errors;
use ferrostack_db::{Tx, params};
use ferrostack_types::Result;

/// A resource that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// By the API's name, e.g. `security_group_rule`.
    pub(crate) name: &'static str,
    pub(crate) default: i64,
    count: &'static str,
}

macro_rules! counted {
    ($name:literal, $default:literal, $table:literal) => {
        Counted {
            name: $name,
            default: $default,
            count: concat!("SELECT COUNT(*) FROM ", $table, " WHERE project_id = ?"),
        }
    };
}

pub(crate) const NETWORK: Counted = counted!("network", 100, "network_networks");
pub(crate) const SUBNET: Counted = counted!("subnet", 100, "network_subnets");
pub(crate) const PORT: Counted = counted!("port", 500, "network_ports");
pub(crate) const ROUTER: Counted = counted!("router", 10, "network_routers");
pub(crate) const FLOATING_IP: Counted = counted!("floatingip", 50, "network_floating_ips");
pub(crate) const GROUP: Counted = counted!("security_group", 10, "network_security_groups");
pub(crate) const RULE: Counted = counted!("security_group_rule", 100, "network_security_group_rules");

/// Limits of things that are not served here: clients set and show them with the others, and nothing uses them up.
const NONE_SERVED: &str = "SELECT COUNT(*) FROM network_quotas WHERE project_id = ? AND 1 = 0";
const SUBNET_POOL: Counted = Counted { name: "subnetpool", default: -1, count: NONE_SERVED };
const RBAC_POLICY: Counted = Counted { name: "rbac_policy", default: 10, count: NONE_SERVED };

/// All of them, as they are listed.
pub(crate) const ALL: &[Counted] = &[NETWORK, SUBNET, SUBNET_POOL, PORT, ROUTER, FLOATING_IP, RBAC_POLICY, GROUP, RULE];

/// Refuses unless `more` of a resource fit into the project's quota. What belongs to nobody is not counted.
/// The count is of the rows themselves and made in the transaction that adds to them: it cannot drift.
pub(crate) fn quota_check_in_tx(tx: &mut Tx<'_>, project: &str, what: Counted, more: usize) -> Result<()> {
    if project.is_empty() || more == 0 {
        return Ok(());
    }
    let limit = quota_limit(tx, project, what)?;
    if limit < 0 {
        return Ok(());
    }
    let used = quota_used(tx, project, what)?;
    let more = i64::try_from(more).unwrap_or(i64::MAX);
    if used.saturating_add(more) > limit { Err(errors::over_quota(what.name)) } else { Ok(()) }
}

/// The project's limit; negative for none.
pub(crate) fn quota_limit(tx: &mut Tx<'_>, project: &str, what: Counted) -> Result<i64> {
    let found = tx.query_opt(
        "SELECT value FROM network_quotas WHERE project_id = ? AND resource = ?",
        params![project, what.name],
        |row| row.get(0),
    )?;
    Ok(found.unwrap_or(what.default))
}

pub(crate) fn quota_used(tx: &mut Tx<'_>, project: &str, what: Counted) -> Result<i64> {
    tx.scalar(what.count, params![project])
}

/// The projects that have limits of their own, with them.
pub(crate) fn quota_list(tx: &mut Tx<'_>) -> Result<Vec<(String, String, i64)>> {
    tx.query("SELECT project_id, resource, value FROM network_quotas ORDER BY project_id, resource", params![], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
}

pub(crate) fn quota_set_in_tx(tx: &mut Tx<'_>, project: &str, resource: &str, value: i64) -> Result<()> {
    let changed = tx.execute(
        "UPDATE network_quotas SET value = ? WHERE project_id = ? AND resource = ?",
        params![value, project, resource],
    )?;
    if changed == 0 {
        tx.execute(
            "INSERT INTO network_quotas (project_id, resource, value) VALUES (?, ?, ?)",
            params![project, resource, value],
        )?;
    }
    Ok(())
}

pub(crate) fn quota_clear_in_tx(tx: &mut Tx<'_>, project: &str) -> Result<()> {
    tx.execute("DELETE FROM network_quotas WHERE project_id = ?", params![project]).map(drop)
}
