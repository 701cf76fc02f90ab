//! Projects and their tags.

use super::{Map, json};
use ferrostack_db::{Row, Select, Tx, is_unique_violation, params, placeholders};
use ferrostack_types::ids::{DomainId, ProjectId};
use ferrostack_types::{Error, Result, SortDirection, Timestamp};
use std::collections::BTreeMap;

/// A project.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    pub(crate) domain_id: DomainId,
    /// Another project, or the domain.
    pub(crate) parent_id: String,
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) description: String,
    pub(crate) options: Map,
    pub(crate) extra: Map,
    pub(crate) tags: Vec<String>,
    /// Tokens that were issued in this second or earlier are void.
    pub(crate) revoked_before: i64,
}

/// Which projects.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProjectFilter {
    pub(crate) domain_id: Option<String>,
    pub(crate) parent_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) ids: Option<Vec<ProjectId>>,
}

const COLUMNS: &str = "SELECT id, domain_id, parent_id, name, enabled, description, options, extra, revoked_before \
                       FROM identity_projects";

fn read(row: &Row<'_>) -> Result<Project> {
    Ok(Project {
        id: row.get(0)?,
        domain_id: row.get(1)?,
        parent_id: row.get(2)?,
        name: row.get(3)?,
        enabled: row.get(4)?,
        description: row.get(5)?,
        options: row.json(6)?,
        extra: row.json(7)?,
        tags: Vec::new(),
        revoked_before: row.get(8)?,
    })
}

pub(crate) fn project_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<Project>> {
    let project = tx.query_opt(&format!("{COLUMNS} WHERE id = ?"), params![id], read)?;
    project.map(|project| with_tags(tx, project)).transpose()
}

pub(crate) fn project_fetch_by_name(tx: &mut Tx<'_>, domain: &DomainId, name: &str) -> Result<Option<Project>> {
    let project = tx.query_opt(&format!("{COLUMNS} WHERE domain_id = ? AND name = ?"), params![domain, name], read)?;
    project.map(|project| with_tags(tx, project)).transpose()
}

fn with_tags(tx: &mut Tx<'_>, mut project: Project) -> Result<Project> {
    project.tags = tx.query(
        "SELECT tag FROM identity_project_tags WHERE project_id = ? ORDER BY tag",
        params![&project.id],
        |row| row.get(0),
    )?;
    Ok(project)
}

/// Projects by name, in two queries whatever their number.
pub(crate) fn project_list(tx: &mut Tx<'_>, filter: &ProjectFilter) -> Result<Vec<Project>> {
    let mut select = Select::new(COLUMNS)
        .filter_opt("domain_id = ?", filter.domain_id.as_deref())
        .filter_opt("parent_id = ?", filter.parent_id.as_deref())
        .filter_opt("name = ?", filter.name.as_deref())
        .filter_opt("enabled = ?", filter.enabled);
    if let Some(ids) = &filter.ids {
        select = select.filter_in("id", ids);
    }
    let mut projects = select.order("name", SortDirection::Asc).order("id", SortDirection::Asc).fetch(tx, read)?;
    let mut tags: BTreeMap<ProjectId, Vec<String>> = BTreeMap::new();
    let all = tx.query("SELECT project_id, tag FROM identity_project_tags ORDER BY tag", params![], |row| {
        Ok((row.get::<ProjectId>(0)?, row.get::<String>(1)?))
    })?;
    for (project, tag) in all {
        tags.entry(project).or_default().push(tag);
    }
    for project in &mut projects {
        project.tags = tags.remove(&project.id).unwrap_or_default();
    }
    Ok(projects)
}

/// The ids below a project, level by level.
pub(crate) fn project_subtree(tx: &mut Tx<'_>, root: &ProjectId) -> Result<Vec<ProjectId>> {
    let mut all = Vec::new();
    let mut level = vec![root.clone()];
    while !level.is_empty() {
        let sql = format!("SELECT id FROM identity_projects WHERE parent_id IN ({})", placeholders(level.len()));
        let params: Vec<_> = level.iter().map(ferrostack_db::Value::from).collect();
        level = tx.query(&sql, &params, |row| row.get(0))?;
        all.extend(level.iter().cloned());
    }
    Ok(all)
}

/// The projects above one, nearest first.
pub(crate) fn project_parents(tx: &mut Tx<'_>, project: &Project) -> Result<Vec<Project>> {
    let mut parents: Vec<Project> = Vec::new();
    let mut above = project.parent_id.clone();
    // The bound is only against a damaged database; trees are much shallower.
    while above != project.domain_id.as_str() && parents.len() < 64 {
        let Some(parent) = tx.query_opt(&format!("{COLUMNS} WHERE id = ?"), params![&above], read)? else { break };
        above.clone_from(&parent.parent_id);
        parents.push(parent);
    }
    Ok(parents)
}

pub(crate) fn project_insert(tx: &mut Tx<'_>, project: &Project, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_projects (id, domain_id, parent_id, name, enabled, description, options, extra, \
         revoked_before, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            &project.id,
            &project.domain_id,
            &project.parent_id,
            &project.name,
            project.enabled,
            &project.description,
            json(&project.options),
            json(&project.extra),
            project.revoked_before,
            now
        ],
    )
    .map_err(|e| duplicate(e, project))?;
    project_tags_replace(tx, &project.id, &project.tags)
}

/// Writes everything but the tags.
pub(crate) fn project_update(tx: &mut Tx<'_>, project: &Project) -> Result<()> {
    tx.execute(
        "UPDATE identity_projects SET name = ?, enabled = ?, description = ?, options = ?, extra = ?, \
         revoked_before = ? WHERE id = ?",
        params![
            &project.name,
            project.enabled,
            &project.description,
            json(&project.options),
            json(&project.extra),
            project.revoked_before,
            &project.id
        ],
    )
    .map(drop)
    .map_err(|e| duplicate(e, project))
}

pub(crate) fn project_tags_replace(tx: &mut Tx<'_>, id: &ProjectId, tags: &[String]) -> Result<()> {
    tx.execute("DELETE FROM identity_project_tags WHERE project_id = ?", params![id])?;
    for tag in tags {
        tx.execute("INSERT INTO identity_project_tags (project_id, tag) VALUES (?, ?)", params![id, tag])?;
    }
    Ok(())
}

/// The project with its tags, assignments and application credentials.
pub(crate) fn project_delete(tx: &mut Tx<'_>, id: &ProjectId) -> Result<()> {
    super::app_credentials::app_credentials_delete_of_project(tx, id)?;
    tx.execute("DELETE FROM identity_assignments WHERE target_kind = 'project' AND target_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_project_tags WHERE project_id = ?", params![id])?;
    tx.execute("UPDATE identity_users SET default_project_id = NULL WHERE default_project_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_projects WHERE id = ?", params![id]).map(drop)
}

fn duplicate(error: Error, project: &Project) -> Error {
    if is_unique_violation(&error) {
        return crate::errors::conflict(
            "project",
            format!(
                "it is not permitted to have two projects with either the same name or same id in the same domain: \
                 name is {}, project id {}",
                project.name, project.id
            ),
        );
    }
    error
}
