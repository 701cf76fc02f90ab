//! `/v3/role_assignments`: who holds what where, as stored or as it works out (`effective`).

use super::{flag, link, scope_domain};
use crate::Identity;
use crate::errors::expecting;
use crate::store::assignments::{ActorKind, Assignment, AssignmentFilter, TargetKind, assignment_list};
use crate::store::domains::domain_list;
use crate::store::groups::group_list;
use crate::store::projects::{ProjectFilter, project_list, project_subtree};
use crate::store::roles::{implied_map, role_list_by_ids};
use crate::store::users::{user_list, user_list_of_group};
use ferrostack_db::Tx;
use ferrostack_rest::{Query, Reply, Request, Target};
use ferrostack_types::ids::{GroupId, ProjectId, RoleId};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is asked for.
#[derive(Debug, Clone, Default)]
struct Asked {
    user: Option<String>,
    group: Option<String>,
    role: Option<String>,
    project: Option<String>,
    domain: Option<String>,
    system: bool,
    inherited: Option<bool>,
    effective: bool,
    names: bool,
    subtree: bool,
}

impl Asked {
    fn of(query: &Query) -> Result<Asked> {
        let text = |key: &str| super::text(query, key);
        let asked = Asked {
            user: text("user.id"),
            group: text("group.id"),
            role: text("role.id"),
            project: text("scope.project.id"),
            domain: text("scope.domain.id"),
            system: text("scope.system").is_some(),
            inherited: text("scope.OS-INHERIT:inherited_to").map(|to| to == "projects"),
            effective: flag(query, "effective") == Some(true),
            names: flag(query, "include_names") == Some(true),
            subtree: flag(query, "include_subtree") == Some(true),
        };
        let refuse = |text: &str| Err(Error::invalid(text));
        if asked.domain.is_some() && asked.project.is_some() {
            return refuse("Specify a domain or project, not both");
        }
        if asked.domain.is_some() && asked.system {
            return refuse("Specify system or domain, not both");
        }
        if asked.project.is_some() && asked.system {
            return refuse("Specify system or project, not both");
        }
        if asked.user.is_some() && asked.group.is_some() {
            return refuse("Specify a user or group, not both");
        }
        if asked.effective && asked.group.is_some() {
            return refuse("Combining effective and group filter will always result in an empty list.");
        }
        if asked.effective && asked.inherited == Some(true) && asked.domain.is_some() {
            return refuse("Combining effective, domain and inherited filters will always result in an empty list.");
        }
        if asked.subtree && asked.project.is_none() {
            return Err(expecting("scope.project.id", "the query, since include_subtree is given"));
        }
        Ok(asked)
    }
}

/// An assignment and, when it was worked out, what it came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    assignment: Assignment,
    group: Option<String>,
    inherited_from: Option<(TargetKind, String)>,
    prior_role: Option<RoleId>,
}

impl Entry {
    fn stored(assignment: Assignment) -> Entry {
        Entry { assignment, group: None, inherited_from: None, prior_role: None }
    }
}

/// `GET /v3/role_assignments`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let asked = Asked::of(&request.query)?;
    let mut bound = scope_domain(&request);
    if asked.subtree {
        let id = asked.project.clone().unwrap_or_default();
        let project = service.db.read("project_show", move |tx| super::projects::fetch(tx, &id)).await?;
        let target = Target::none().set("target.domain_id", project.domain_id.as_str());
        request.authorize_as("identity:list_role_assignments_for_tree", &target)?;
        bound = bound.map(|_| project.domain_id.as_str().to_owned());
    } else {
        request.authorize(&Target::none().set_opt("target.domain_id", bound.clone()))?;
    }
    let names = asked.names;
    let (entries, named) = service
        .db
        .read("role_assignments", move |tx| {
            let mut entries = entries_in_tx(tx, &asked)?;
            if let Some(domain) = &bound {
                keep_domain(tx, &mut entries, domain)?;
            }
            let named = if names { Some(Names::read(tx, &entries)?) } else { None };
            Ok((entries, named))
        })
        .await?;
    let items: Vec<Value> = entries.iter().map(|e| view(&request, e, named.as_ref())).collect();
    let query: Vec<String> = request.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut own = link(&request, "role_assignments");
    if !query.is_empty() {
        own = format!("{own}?{}", query.join("&"));
    }
    Ok(Reply::ok(&json!({"role_assignments": items, "links": {"next": null, "self": own, "previous": null}})))
}

fn entries_in_tx(tx: &mut Tx<'_>, asked: &Asked) -> Result<Vec<Entry>> {
    let targets = match (&asked.project, &asked.domain, asked.system) {
        (Some(root), _, _) if asked.subtree => {
            let mut all = vec![root.clone()];
            all.extend(project_subtree(tx, &ProjectId::new(root))?.iter().map(|p| p.as_str().to_owned()));
            Some((TargetKind::Project, all))
        }
        (Some(id), _, _) => Some((TargetKind::Project, vec![id.clone()])),
        (_, Some(id), _) => Some((TargetKind::Domain, vec![id.clone()])),
        (_, _, true) => Some((TargetKind::System, vec![crate::store::assignments::SYSTEM.to_owned()])),
        _ => None,
    };
    if asked.effective {
        return effective_in_tx(tx, asked, targets);
    }
    let actor = match (&asked.user, &asked.group) {
        (Some(id), _) => Some((ActorKind::User, id.clone())),
        (_, Some(id)) => Some((ActorKind::Group, id.clone())),
        _ => None,
    };
    let mut filter = AssignmentFilter { actor, target: None, role_id: asked.role.clone(), inherited: asked.inherited };
    if let Some((kind, ids)) = &targets
        && let [only] = ids.as_slice()
    {
        filter.target = Some((*kind, only.clone()));
    }
    let mut found = assignment_list(tx, &filter)?;
    if let Some((kind, ids)) = &targets {
        found.retain(|a| a.target_kind == *kind && ids.contains(&a.target_id));
    }
    Ok(found.into_iter().map(Entry::stored).collect())
}

/// Groups become their members, inheritance becomes the projects that it reaches, roles bring what they imply.
fn effective_in_tx(tx: &mut Tx<'_>, asked: &Asked, targets: Option<(TargetKind, Vec<String>)>) -> Result<Vec<Entry>> {
    let stored = assignment_list(tx, &AssignmentFilter::default())?;
    let mut reached = Vec::new();
    for assignment in stored {
        if asked.inherited.is_some_and(|only| only != assignment.inherited) {
            continue;
        }
        for entry in reach(tx, assignment)? {
            let a = &entry.assignment;
            if targets.as_ref().is_none_or(|(kind, ids)| a.target_kind == *kind && ids.contains(&a.target_id)) {
                reached.push(entry);
            }
        }
    }
    let mut people = Vec::new();
    for entry in reached {
        if entry.assignment.actor_kind == ActorKind::User {
            people.push(entry);
            continue;
        }
        for user in user_list_of_group(tx, &GroupId::new(&entry.assignment.actor_id))? {
            let mut entry = entry.clone();
            entry.group = Some(std::mem::take(&mut entry.assignment.actor_id));
            entry.assignment.actor_kind = ActorKind::User;
            entry.assignment.actor_id = user.id.as_str().to_owned();
            people.push(entry);
        }
    }
    people.retain(|e| asked.user.as_ref().is_none_or(|id| e.assignment.actor_id == *id));
    let implied = implied_map(tx)?;
    let mut all: BTreeSet<Entry> = BTreeSet::new();
    for entry in people {
        imply(entry, &implied, &mut all);
    }
    let ids: BTreeSet<RoleId> = all.iter().map(|e| e.assignment.role_id.clone()).collect();
    let global: BTreeSet<RoleId> =
        role_list_by_ids(tx, &ids)?.into_iter().filter(|r| r.domain_id.is_none()).map(|r| r.id).collect();
    let keeps = |e: &Entry| {
        let role = &e.assignment.role_id;
        global.contains(role) && asked.role.as_ref().is_none_or(|id| role.as_str() == id)
    };
    Ok(all.into_iter().filter(keeps).collect())
}

/// Where an assignment holds.
fn reach(tx: &mut Tx<'_>, assignment: Assignment) -> Result<Vec<Entry>> {
    if !assignment.inherited {
        return Ok(vec![Entry::stored(assignment)]);
    }
    let below = match assignment.target_kind {
        TargetKind::Domain => {
            let filter = ProjectFilter { domain_id: Some(assignment.target_id.clone()), ..ProjectFilter::default() };
            project_list(tx, &filter)?.into_iter().map(|p| p.id).collect()
        }
        TargetKind::Project => project_subtree(tx, &ProjectId::new(&assignment.target_id))?,
        TargetKind::System => Vec::new(),
    };
    let from = (assignment.target_kind, assignment.target_id.clone());
    let on = |project: ProjectId| {
        let mut entry = Entry::stored(assignment.clone());
        entry.inherited_from = Some(from.clone());
        entry.assignment.target_kind = TargetKind::Project;
        entry.assignment.target_id = project.as_str().to_owned();
        entry
    };
    Ok(below.into_iter().map(on).collect())
}

fn imply(entry: Entry, implied: &BTreeMap<RoleId, BTreeSet<RoleId>>, all: &mut BTreeSet<Entry>) {
    let mut fresh = vec![entry];
    let mut seen = BTreeSet::new();
    while let Some(entry) = fresh.pop() {
        if !seen.insert(entry.assignment.role_id.clone()) {
            continue;
        }
        for next in implied.get(&entry.assignment.role_id).into_iter().flatten() {
            let mut further = entry.clone();
            further.prior_role = Some(entry.assignment.role_id.clone());
            further.assignment.role_id = next.clone();
            fresh.push(further);
        }
        all.insert(entry);
    }
}

/// Only what is in the domain: a token of domain scope shows nothing else.
fn keep_domain(tx: &mut Tx<'_>, entries: &mut Vec<Entry>, domain: &str) -> Result<()> {
    let filter = ProjectFilter { domain_id: Some(domain.to_owned()), ..ProjectFilter::default() };
    let projects: BTreeSet<String> = project_list(tx, &filter)?.iter().map(|p| p.id.as_str().to_owned()).collect();
    entries.retain(|e| match e.assignment.target_kind {
        TargetKind::Domain => e.assignment.target_id == domain,
        TargetKind::Project => projects.contains(&e.assignment.target_id),
        TargetKind::System => false,
    });
    Ok(())
}

/// Names for `include_names`, read in a fixed number of queries.
struct Names {
    domains: HashMap<String, String>,
    /// Name and domain.
    owned: HashMap<(&'static str, String), (String, String)>,
    roles: HashMap<RoleId, (String, Option<String>)>,
}

impl Names {
    fn read(tx: &mut Tx<'_>, entries: &[Entry]) -> Result<Names> {
        let domains = domain_list(tx, None, None, None)?;
        let mut owned = HashMap::new();
        for user in user_list(tx, None, None, None)? {
            owned.insert(("user", user.id.as_str().to_owned()), (user.name, user.domain_id.as_str().to_owned()));
        }
        for group in group_list(tx, None, None, None)? {
            owned.insert(("group", group.id.as_str().to_owned()), (group.name, group.domain_id.as_str().to_owned()));
        }
        for project in project_list(tx, &ProjectFilter::default())? {
            let domain = project.domain_id.as_str().to_owned();
            owned.insert(("project", project.id.as_str().to_owned()), (project.name, domain));
        }
        let ids: BTreeSet<RoleId> = entries.iter().map(|e| e.assignment.role_id.clone()).collect();
        let roles = role_list_by_ids(tx, &ids)?;
        Ok(Names {
            domains: domains.into_iter().map(|d| (d.id.as_str().to_owned(), d.name)).collect(),
            owned,
            roles: roles.into_iter().map(|r| (r.id, (r.name, r.domain_id.map(|d| d.as_str().to_owned())))).collect(),
        })
    }

    fn domain(&self, id: &str) -> Value {
        json!({"id": id, "name": self.domains.get(id)})
    }

    fn of(&self, kind: &'static str, id: &str) -> Value {
        match self.owned.get(&(kind, id.to_owned())) {
            Some((name, domain)) => json!({"id": id, "name": name, "domain": self.domain(domain)}),
            None => json!({"id": id}),
        }
    }

    fn role(&self, id: &RoleId) -> Value {
        match self.roles.get(id) {
            Some((name, None)) => json!({"id": id, "name": name}),
            Some((name, Some(domain))) => json!({"id": id, "name": name, "domain": self.domain(domain)}),
            None => json!({"id": id}),
        }
    }
}

fn view(request: &Request, entry: &Entry, names: Option<&Names>) -> Value {
    let a = &entry.assignment;
    let of = |kind: &'static str, id: &str| names.map_or_else(|| json!({"id": id}), |n| n.of(kind, id));
    let mut scope = match a.target_kind {
        TargetKind::Project => json!({"project": of("project", &a.target_id)}),
        TargetKind::Domain => {
            json!({"domain": names.map_or_else(|| json!({"id": a.target_id}), |n| n.domain(&a.target_id))})
        }
        TargetKind::System => json!({"system": {"all": true}}),
    };
    if a.inherited {
        scope["OS-INHERIT:inherited_to"] = "projects".into();
    }
    let mut links = json!({"assignment": link(request, &assignment_path(entry))});
    if let Some(group) = &entry.group {
        links["membership"] = link(request, &format!("groups/{group}/users/{}", a.actor_id)).into();
    }
    if let Some(prior) = &entry.prior_role {
        links["prior_role"] = link(request, &format!("prior_role/{prior}/implies/{}", a.role_id)).into();
    }
    let role = names.map_or_else(|| json!({"id": a.role_id}), |n| n.role(&a.role_id));
    json!({
        "links": links,
        "scope": scope,
        a.actor_kind.as_str(): of(a.actor_kind.as_str(), &a.actor_id),
        "role": role,
    })
}

/// Where the assignment that an entry came from can be checked and taken back.
fn assignment_path(entry: &Entry) -> String {
    let a = &entry.assignment;
    let (kind, id) = entry.inherited_from.as_ref().map_or((a.target_kind, &a.target_id), |(kind, id)| (*kind, id));
    let place = match kind {
        TargetKind::Project => format!("projects/{id}"),
        TargetKind::Domain => format!("domains/{id}"),
        TargetKind::System => "system".to_owned(),
    };
    let actor = match &entry.group {
        Some(group) => format!("groups/{group}"),
        None => format!("{}s/{}", a.actor_kind.as_str(), a.actor_id),
    };
    let role = entry.prior_role.as_ref().unwrap_or(&a.role_id);
    let path = format!("{place}/{actor}/roles/{role}");
    if a.inherited { format!("OS-INHERIT/{path}/inherited_to_projects") } else { path }
}
