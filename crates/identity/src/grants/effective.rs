//! From stored assignments to the roles of a token.
//!
//! ```text
//!  roles on P = given on P, to the user or a group of theirs
//!             + inherited from P's domain and from the projects above P
//!             + whatever these imply, and so on
//!             - roles that belong to a domain: they only stand for what they imply
//! ```

use crate::store::assignments::{Assignment, SYSTEM, TargetKind, assignment_list_of_user};
use crate::store::projects::{Project, project_fetch, project_parents, project_subtree};
use crate::store::roles::{Role, implied_map, role_list_by_ids};
use ferrostack_db::{Select, Tx};
use ferrostack_types::Result;
use ferrostack_types::ids::{DomainId, ProjectId, RoleId, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// What the roles are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RoleTarget<'a> {
    Project(&'a Project),
    Domain(&'a DomainId),
    System,
}

/// All of a user's roles there, by name.
pub(crate) fn user_roles_in_tx(tx: &mut Tx<'_>, user: &UserId, target: RoleTarget<'_>) -> Result<Vec<Role>> {
    let held = assignment_list_of_user(tx, user.as_str())?;
    let above: Vec<String> = match target {
        RoleTarget::Project(project) => {
            project_parents(tx, project)?.into_iter().map(|p| p.id.as_str().to_owned()).collect()
        }
        _ => Vec::new(),
    };
    let applies = |a: &Assignment| match target {
        RoleTarget::System => a.target_kind == TargetKind::System && a.target_id == SYSTEM && !a.inherited,
        RoleTarget::Domain(id) => a.target_kind == TargetKind::Domain && a.target_id == id.as_str() && !a.inherited,
        RoleTarget::Project(project) => match (a.target_kind, a.inherited) {
            (TargetKind::Project, false) => a.target_id == project.id.as_str(),
            (TargetKind::Project, true) => above.contains(&a.target_id),
            (TargetKind::Domain, true) => a.target_id == project.domain_id.as_str(),
            _ => false,
        },
    };
    let direct: BTreeSet<RoleId> = held.into_iter().filter(applies).map(|a| a.role_id).collect();
    if direct.is_empty() {
        return Ok(Vec::new());
    }
    let all = expand_implied(&direct, &implied_map(tx)?);
    let roles = role_list_by_ids(tx, &all)?;
    Ok(roles.into_iter().filter(|role| role.domain_id.is_none()).collect())
}

/// The roles and all that they imply.
pub(crate) fn expand_implied(
    roles: &BTreeSet<RoleId>,
    implied: &BTreeMap<RoleId, BTreeSet<RoleId>>,
) -> BTreeSet<RoleId> {
    let mut all = roles.clone();
    let mut fresh: Vec<RoleId> = roles.iter().cloned().collect();
    while let Some(role) = fresh.pop() {
        for next in implied.get(&role).into_iter().flatten() {
            if all.insert(next.clone()) {
                fresh.push(next.clone());
            }
        }
    }
    all
}

/// Where a user has any role: projects, domains, and whether on the system.
#[derive(Debug, Default)]
pub(crate) struct UserTargets {
    pub(crate) projects: Vec<ProjectId>,
    pub(crate) domains: Vec<DomainId>,
    pub(crate) system: bool,
}

/// Where a user could get a token for.
pub(crate) fn user_targets_in_tx(tx: &mut Tx<'_>, user: &UserId) -> Result<UserTargets> {
    let mut projects = BTreeSet::new();
    let mut domains = BTreeSet::new();
    let mut system = false;
    for held in assignment_list_of_user(tx, user.as_str())? {
        match (held.target_kind, held.inherited) {
            (TargetKind::System, _) => system = true,
            (TargetKind::Domain, false) => {
                domains.insert(DomainId::new(&held.target_id));
            }
            (TargetKind::Domain, true) => {
                let below: Vec<ProjectId> = Select::new("SELECT id FROM identity_projects")
                    .filter("domain_id = ?", held.target_id)
                    .fetch_scalars(tx)?;
                projects.extend(below);
            }
            (TargetKind::Project, false) => {
                projects.insert(ProjectId::new(&held.target_id));
            }
            (TargetKind::Project, true) => {
                if let Some(project) = project_fetch(tx, &held.target_id)? {
                    projects.extend(project_subtree(tx, &project.id)?);
                }
            }
        }
    }
    Ok(UserTargets { projects: projects.into_iter().collect(), domains: domains.into_iter().collect(), system })
}
