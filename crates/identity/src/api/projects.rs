//! `/v3/projects`

use super::body::{self, merge_extra, merge_options, take_bool, take_object, take_text, take_texts};
use super::{collection, flag, link, own_domain, scope_domain, text, with_extra};
use crate::Identity;
use crate::errors::{immutable, not_found};
use crate::grants::user_targets_in_tx;
use crate::store::is_immutable;
use crate::store::projects::{
    Project, ProjectFilter, project_delete, project_fetch, project_insert, project_list, project_parents,
    project_subtree, project_tags_replace, project_update,
};
use crate::tokens::revocation_mark;
use ferrostack_db::Tx;
use ferrostack_rest::{Query, Reply, Request, Schema, Target};
use ferrostack_types::ids::{DomainId, ProjectId};
use ferrostack_types::{Error, Result};
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

/// Keystone's `max_project_tree_depth`, the domain itself included.
const MAX_DEPTH: usize = 5;

static CREATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("project", properties(), &["name"]));
static UPDATE: LazyLock<Schema> = LazyLock::new(|| body::wrapped("project", properties(), &[]));

fn properties() -> Value {
    json!({
        "name": body::name(64),
        "description": {"type": ["string", "null"]},
        "enabled": {"type": "boolean"},
        "is_domain": {"type": "boolean"},
        "domain_id": body::nullable_id(),
        "parent_id": body::nullable_id(),
        "options": body::immutable_options(),
        "tags": body::tags(),
    })
}

/// A project as clients see it.
pub(crate) fn view(request: &Request, project: &Project) -> Value {
    let item = json!({
        "id": project.id,
        "name": project.name,
        "domain_id": project.domain_id,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": project.parent_id,
        "is_domain": false,
        "tags": project.tags,
        "options": project.options,
        "links": {"self": link(request, &format!("projects/{}", project.id))},
    });
    with_extra(item, &project.extra)
}

pub(crate) fn fetch(tx: &mut Tx<'_>, id: &str) -> Result<Project> {
    project_fetch(tx, id)?.ok_or_else(|| not_found("project", id))
}

pub(crate) fn target(project: &Project) -> Target {
    Target::none()
        .set("target.project.id", project.id.as_str())
        .set("target.project.domain_id", project.domain_id.as_str())
}

/// `GET /v3/projects`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let bound = scope_domain(&request);
    request.authorize(&Target::none().set_opt("target.domain_id", bound.clone()))?;
    if flag(&request.query, "is_domain") == Some(true) {
        return collection(&request, "projects", Vec::new());
    }
    let asked = text(&request.query, "domain_id");
    if bound.is_some() && asked.is_some() && bound != asked {
        return collection(&request, "projects", Vec::new());
    }
    let filter = ProjectFilter {
        domain_id: bound.or(asked),
        parent_id: text(&request.query, "parent_id"),
        name: text(&request.query, "name"),
        enabled: flag(&request.query, "enabled"),
        ids: None,
    };
    let found = service.db.read("project_list", move |tx| project_list(tx, &filter)).await?;
    let items = found.iter().filter(|p| tag_filters_hold(&request.query, &p.tags)).map(|p| view(&request, p)).collect();
    collection(&request, "projects", items)
}

fn tag_filters_hold(query: &Query, tags: &[String]) -> bool {
    let list = |key| query.get(key).map(|v: &str| v.split(',').map(str::to_owned).collect::<Vec<_>>());
    let has = |tag: &String| tags.contains(tag);
    list("tags").is_none_or(|l| l.iter().all(has))
        && list("tags-any").is_none_or(|l| l.iter().any(has))
        && list("not-tags").is_none_or(|l| !l.iter().all(has))
        && list("not-tags-any").is_none_or(|l| !l.iter().any(has))
}

/// `GET /v3/users/{user_id}/projects`
pub(crate) async fn list_of_user(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("user_id").to_owned();
    let user = service
        .db
        .read("user_show", move |tx| super::users::fetch(tx, &id))
        .await
        .map_err(|e| super::unseen(&request, e))?;
    request.authorize(&super::users::target(&user))?;
    let (name, domain, enabled) =
        (text(&request.query, "name"), text(&request.query, "domain_id"), flag(&request.query, "enabled"));
    let found = service
        .db
        .read("user_projects", move |tx| {
            let ids = Some(user_targets_in_tx(tx, &user.id)?.projects);
            let (name, domain_id) = (name.clone(), domain.clone());
            project_list(tx, &ProjectFilter { ids, name, domain_id, enabled, parent_id: None })
        })
        .await?;
    collection(&request, "projects", found.iter().map(|p| view(&request, p)).collect())
}

/// `GET /v3/projects/{project_id}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("project_id").to_owned();
    let (project, parents, below) = service
        .db
        .read("project_show", move |tx| {
            let project = fetch(tx, &id)?;
            let parents = project_parents(tx, &project)?;
            let ids = Some(project_subtree(tx, &project.id)?);
            let below = project_list(tx, &ProjectFilter { ids, ..ProjectFilter::default() })?;
            Ok((project, parents, below))
        })
        .await
        .map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&project))?;
    let mut item = view(&request, &project);
    let whole = |p: &Project| json!({"project": view(&request, p)});
    if request.query.has("parents_as_list") {
        item["parents"] = parents.iter().map(whole).collect();
    }
    if request.query.has("subtree_as_list") {
        item["subtree"] = below.iter().map(whole).collect();
    }
    if request.query.has("parents_as_ids") {
        let above = json!({project.domain_id.as_str(): null});
        item["parents"] = parents.iter().rev().fold(above, |inner, p| json!({p.id.as_str(): inner}));
    }
    if request.query.has("subtree_as_ids") {
        item["subtree"] = subtree_ids(project.id.as_str(), &below);
    }
    Ok(Reply::ok(&json!({"project": item})))
}

fn subtree_ids(root: &str, all: &[Project]) -> Value {
    let below: Map<String, Value> = all
        .iter()
        .filter(|p| p.parent_id == root)
        .map(|p| (p.id.as_str().to_owned(), subtree_ids(p.id.as_str(), all)))
        .collect();
    if below.is_empty() { Value::Null } else { Value::Object(below) }
}

/// `POST /v3/projects`
pub(crate) async fn create(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let mut given = body::object(&mut request, "project", &CREATE).await?;
    if take_bool(&mut given, "is_domain") == Some(true) {
        return Err(Error::invalid("A project cannot act as a domain here; create a domain instead."));
    }
    let (domain, parent) = (take_text(&mut given, "domain_id"), take_text(&mut given, "parent_id"));
    let own = own_domain(&request);
    let (domain_id, parent_id) = service
        .db
        .read("project_place", move |tx| place(tx, domain.as_deref(), parent.as_deref(), &own))
        .await
        .map_err(|e| super::unseen(&request, e))?;
    let project = Project {
        id: ProjectId::new(service.env.hex_id()),
        domain_id: DomainId::new(&domain_id),
        parent_id,
        name: take_text(&mut given, "name").unwrap_or_default(),
        enabled: take_bool(&mut given, "enabled").unwrap_or(true),
        description: take_text(&mut given, "description").unwrap_or_default(),
        options: take_object(&mut given, "options").unwrap_or_default(),
        tags: take_texts(&mut given, "tags").unwrap_or_default(),
        extra: body::extra(given),
        revoked_before: 0,
    };
    request.authorize(&target(&project))?;
    let (row, now) = (project.clone(), service.env.now());
    service
        .db
        .write("project_create", move |tx| {
            check_parents(tx, &row)?;
            project_insert(tx, &row, now)
        })
        .await?;
    Ok(Reply::created(&json!({"project": view(&request, &project)})))
}

/// The domain and the parent of a new project.
fn place(tx: &mut Tx<'_>, domain: Option<&str>, parent: Option<&str>, own: &str) -> Result<(String, String)> {
    let Some(parent) = parent else {
        let domain = super::domains::fetch(tx, domain.unwrap_or(own))?;
        return Ok((domain.id.as_str().to_owned(), domain.id.as_str().to_owned()));
    };
    // A parent that is a domain is a project at the top.
    if let Some(above) = crate::store::domains::domain_fetch(tx, parent)? {
        if domain.is_some_and(|d| d != above.id.as_str()) {
            return Err(Error::invalid(format!(
                "Cannot create project, the parent ({parent}) is acting as a domain, but this project's domain id ({}) \
                 does not match the parent's id.",
                domain.unwrap_or_default()
            )));
        }
        return Ok((parent.to_owned(), parent.to_owned()));
    }
    let above = fetch(tx, parent)?;
    if domain.is_some_and(|d| d != above.domain_id.as_str()) {
        return Err(Error::invalid(format!(
            "Cannot create project, since it specifies its domain_id {}, but specifies a parent in a different domain \
             ({}).",
            domain.unwrap_or_default(),
            above.domain_id
        )));
    }
    Ok((above.domain_id.as_str().to_owned(), parent.to_owned()))
}

fn check_parents(tx: &mut Tx<'_>, project: &Project) -> Result<()> {
    super::domains::fetch(tx, project.domain_id.as_str())?;
    let parents = project_parents(tx, project)?;
    if parents.last().map_or(project.parent_id.as_str(), |p| p.parent_id.as_str()) != project.domain_id.as_str() {
        return Err(not_found("project", &project.parent_id));
    }
    if let Some(disabled) = parents.iter().find(|p| !p.enabled) {
        return Err(Error::invalid(format!(
            "cannot create a project in a branch containing a disabled project: {}",
            disabled.id
        )));
    }
    if parents.len() + 2 > MAX_DEPTH {
        return Err(Error::forbidden(format!("Max hierarchy depth reached for {} branch.", project.parent_id)));
    }
    Ok(())
}

/// `PATCH /v3/projects/{project_id}`
pub(crate) async fn update(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let id = request.param("project_id").to_owned();
    let wanted = id.clone();
    let before =
        service.db.read("project_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&before))?;
    let mut given = body::object(&mut request, "project", &UPDATE).await?;
    body::same_id(&mut given, &id)?;
    if take_text(&mut given, "parent_id").is_some_and(|p| p != before.parent_id) {
        return Err(Error::forbidden("Update of `parent_id` is not allowed."));
    }
    if take_text(&mut given, "domain_id").is_some_and(|d| d != before.domain_id.as_str()) {
        return Err(Error::invalid("Cannot change Domain ID"));
    }
    if take_bool(&mut given, "is_domain") == Some(true) {
        return Err(Error::invalid("Update of `is_domain` is not allowed."));
    }
    let (stamps, env) = (Arc::clone(&service.tokens.stamps), service.env.clone());
    let project = service
        .db
        .write("project_update", move |tx| {
            let mut project = fetch(tx, &id)?;
            let mut given = given.clone();
            let options = take_object(&mut given, "options");
            let lifts = options.as_ref().and_then(|o| o.get("immutable")).is_some_and(|v| v != &Value::Bool(true));
            if is_immutable(&project.options) && !(lifts && given.is_empty()) {
                return Err(immutable("update", "project", &project.id));
            }
            merge_options(&mut project.options, options);
            if let Some(name) = take_text(&mut given, "name") {
                project.name = name;
            }
            if let Some(description) = body::take_nullable(&mut given, "description") {
                project.description = description.unwrap_or_default();
            }
            if let Some(enabled) = take_bool(&mut given, "enabled") {
                check_enabling(tx, &project, enabled)?;
                if project.enabled && !enabled {
                    project.revoked_before = revocation_mark(&env);
                }
                project.enabled = enabled;
            }
            if let Some(tags) = take_texts(&mut given, "tags") {
                project_tags_replace(tx, &project.id, &tags)?;
                project.tags = tags;
            }
            merge_extra(&mut project.extra, given);
            project_update(tx, &project)?;
            stamps.touch(tx, project.id.as_str());
            Ok(project)
        })
        .await?;
    Ok(Reply::ok(&json!({"project": view(&request, &project)})))
}

fn check_enabling(tx: &mut Tx<'_>, project: &Project, enabled: bool) -> Result<()> {
    if enabled {
        if project_parents(tx, project)?.iter().any(|p| !p.enabled) {
            return Err(Error::forbidden(format!(
                "Cannot enable project {} since it has disabled parents",
                project.id
            )));
        }
        return Ok(());
    }
    let filter =
        ProjectFilter { ids: Some(project_subtree(tx, &project.id)?), enabled: Some(true), ..ProjectFilter::default() };
    if project_list(tx, &filter)?.is_empty() {
        return Ok(());
    }
    Err(Error::forbidden(format!("Cannot disable project {} since its subtree contains enabled projects.", project.id)))
}

/// `DELETE /v3/projects/{project_id}`
pub(crate) async fn delete(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let id = request.param("project_id").to_owned();
    let wanted = id.clone();
    let before =
        service.db.read("project_show", move |tx| fetch(tx, &wanted)).await.map_err(|e| super::unseen(&request, e))?;
    request.authorize(&target(&before))?;
    let stamps = Arc::clone(&service.tokens.stamps);
    service
        .db
        .write("project_delete", move |tx| {
            let project = fetch(tx, &id)?;
            if is_immutable(&project.options) {
                return Err(immutable("delete", "project", &project.id));
            }
            if !project_subtree(tx, &project.id)?.is_empty() {
                return Err(Error::forbidden(format!(
                    "Cannot delete the project {} since it is not a leaf in the hierarchy. Use the cascade option if \
                     you want to delete a whole subtree.",
                    project.id
                )));
            }
            project_delete(tx, &project.id)?;
            stamps.touch(tx, project.id.as_str());
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}
