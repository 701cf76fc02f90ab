//! `network_security_groups`, `network_security_group_rules`.

use super::fetch_in;
use crate::errors;
use crate::model::{GroupRow, RuleRow};
use ferrostack_db::{Tx, params};
use ferrostack_types::Result;
use ferrostack_types::ids::{SecurityGroupId, SecurityGroupRuleId};

pub(crate) const TABLE: &str = "network_security_groups";
pub(crate) const RULES: &str = "network_security_group_rules";

fn select() -> String {
    format!("SELECT {} FROM {TABLE}", GroupRow::COLUMNS)
}

fn select_rules() -> String {
    format!("SELECT {} FROM {RULES}", RuleRow::COLUMNS)
}

pub(crate) fn group_fetch(tx: &mut Tx<'_>, id: SecurityGroupId) -> Result<GroupRow> {
    tx.query_opt(&format!("{} WHERE id = ?", select()), params![id], GroupRow::read)?
        .ok_or_else(|| errors::group_not_found(id))
}

pub(crate) fn group_fetch_many(tx: &mut Tx<'_>, ids: &[SecurityGroupId]) -> Result<Vec<GroupRow>> {
    fetch_in(tx, &select(), "id", "", ids, GroupRow::read)
}

/// The groups of a project, by name.
pub(crate) fn groups_of_project(tx: &mut Tx<'_>, project: &str) -> Result<Vec<GroupRow>> {
    tx.query(&format!("{} WHERE project_id = ? ORDER BY name, id", select()), params![project], GroupRow::read)
}

pub(crate) fn default_group_id(tx: &mut Tx<'_>, project: &str) -> Result<Option<SecurityGroupId>> {
    tx.query_opt("SELECT id FROM network_security_groups WHERE default_for = ?", params![project], |row| row.get(0))
}

pub(crate) fn group_insert_in_tx(tx: &mut Tx<'_>, group: &GroupRow) -> Result<()> {
    let s = &group.standard;
    tx.execute(
        "INSERT INTO network_security_groups (id, project_id, name, description, stateful, default_for, created_at,
         updated_at, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            group.id,
            &s.project_id,
            &group.name,
            &s.description,
            group.stateful,
            group.is_default.then(|| s.project_id.clone()),
            s.created_at,
            s.updated_at,
            s.revision
        ],
    )
    .map(drop)
}

pub(crate) fn group_update_in_tx(tx: &mut Tx<'_>, group: &GroupRow) -> Result<()> {
    let s = &group.standard;
    tx.execute(
        "UPDATE network_security_groups SET name = ?, description = ?, stateful = ?, updated_at = ?, revision = ? WHERE id = ?",
        params![&group.name, &s.description, group.stateful, s.updated_at, s.revision, group.id],
    )
    .map(drop)
}

pub(crate) fn group_delete_in_tx(tx: &mut Tx<'_>, id: SecurityGroupId) -> Result<()> {
    tx.execute("DELETE FROM network_security_group_rules WHERE security_group_id = ?", params![id])?;
    tx.execute("DELETE FROM network_security_groups WHERE id = ?", params![id]).map(drop)
}

pub(crate) fn rule_fetch(tx: &mut Tx<'_>, id: SecurityGroupRuleId) -> Result<RuleRow> {
    tx.query_opt(&format!("{} WHERE id = ?", select_rules()), params![id], RuleRow::read)?
        .ok_or_else(|| errors::rule_not_found(id))
}

pub(crate) fn rules_of_groups(tx: &mut Tx<'_>, groups: &[SecurityGroupId]) -> Result<Vec<RuleRow>> {
    fetch_in(tx, &select_rules(), "security_group_id", "ORDER BY created_at, id", groups, RuleRow::read)
}

/// `key` is what makes two rules the same.
pub(crate) fn rule_insert_in_tx(tx: &mut Tx<'_>, rule: &RuleRow, key: &str) -> Result<()> {
    let s = &rule.standard;
    tx.execute(
        "INSERT INTO network_security_group_rules (id, project_id, security_group_id, description, direction, ethertype,
         protocol, port_range_min, port_range_max, remote_group_id, remote_ip_prefix, rule_key, created_at, updated_at,
         revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            rule.id, &s.project_id, rule.group_id, &s.description, &rule.direction, &rule.ethertype,
            rule.protocol.clone(), rule.port_min, rule.port_max, rule.remote_group, rule.remote_prefix.clone(), key,
            s.created_at, s.updated_at, s.revision
        ],
    )
    .map(drop)
}

pub(crate) fn rule_with_key(tx: &mut Tx<'_>, group: SecurityGroupId, key: &str) -> Result<Option<SecurityGroupRuleId>> {
    tx.query_opt(
        "SELECT id FROM network_security_group_rules WHERE security_group_id = ? AND rule_key = ?",
        params![group, key],
        |row| row.get(0),
    )
}

pub(crate) fn rule_delete_in_tx(tx: &mut Tx<'_>, id: SecurityGroupRuleId) -> Result<()> {
    tx.execute("DELETE FROM network_security_group_rules WHERE id = ?", params![id]).map(drop)
}
