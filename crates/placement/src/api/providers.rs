//! `/resource_providers`

use crate::Placement;
use crate::api::view::{self, ProviderHead, dated};
use crate::api::{body, candidates as query, only_known, provider_id};
use crate::candidates::Demand;
use crate::microversions::*;
use crate::store::allocations::provider_in_use;
use crate::store::providers::{self, Head, New, Touch, Which};
use ferrostack_db::{Tx, params};
use ferrostack_rest::{Reply, Request, StatusCode, Target};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Kind, Result};
use serde_json::{Value, json};
use std::sync::Arc;

fn shown(head: &Head) -> ProviderHead<'_> {
    ProviderHead { id: head.id, name: &head.name, generation: head.generation, parent: head.parent, root: head.root }
}

/// `GET /resource_providers`
pub async fn list(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let version = request.version();
    let known = [
        ("name", V0),
        ("uuid", V0),
        ("member_of", V3_MEMBER_OF),
        ("resources", V4_RESOURCES),
        ("in_tree", V14_TREES),
        ("required", V18_LIST_REQUIRED),
    ];
    let known: Vec<&str> = known.iter().filter(|(_, since)| version >= *since).map(|(name, _)| *name).collect();
    only_known(&request, &known)?;
    let uuid =
        |key: &str| -> Result<Option<ProviderId>> { request.query.get(key).map(|text| uuid_of(key, text)).transpose() };
    let which = Which {
        ids: uuid("uuid")?.map(|id| vec![id]),
        name: request.query.get("name").map(str::to_owned),
        in_tree: uuid("in_tree")?,
    };
    let demand = query::demand(&request, "")?;
    let classes: Vec<String> = demand.resources.keys().cloned().collect();
    let traits = demand.trait_names();
    let found = service
        .db
        .read("placement_provider_list", move |tx| {
            for class in &classes {
                if !crate::store::names::class_exists(tx, class)? {
                    return Err(Error::invalid(format!(
                        "Invalid resource class in resources parameter: No such resource class {class}."
                    )));
                }
            }
            let missing = providers::unknown_traits(tx, &traits)?;
            if !missing.is_empty() {
                return Err(Error::invalid(format!(
                    "Invalid trait(s) in \"required\" parameter: No such trait(s): {}.",
                    missing.join(", ")
                )));
            }
            let roots = if demand.needs_roots() { Which::default() } else { which.clone() };
            let all = providers::provider_list(tx, &roots)?;
            let listed = providers::provider_list(tx, &which)?;
            Ok(keep(listed, &all, &demand))
        })
        .await?;
    let modified = found.iter().map(|p| p.updated_at).max();
    let views: Vec<Value> = found
        .iter()
        .map(|p| {
            let head =
                ProviderHead { id: p.id, name: &p.name, generation: p.generation, parent: p.parent, root: p.root };
            view::provider(&head, version)
        })
        .collect();
    Ok(dated(Reply::ok(&json!({"resource_providers": views})), &request, modified))
}

/// Those that could serve the demand by themselves. What is said of a tree's root about aggregates holds for all of it.
fn keep(
    listed: Vec<crate::model::Provider>,
    all: &[crate::model::Provider],
    demand: &Demand,
) -> Vec<crate::model::Provider> {
    let root = |id: ProviderId| all.binary_search_by_key(&id, |p| p.id).ok().map(|at| &all[at]);
    listed.into_iter().filter(|p| demand.is_met_by(p, if demand.needs_roots() { root(p.root) } else { None })).collect()
}

fn uuid_of(key: &str, text: &str) -> Result<ProviderId> {
    ProviderId::parse(text).ok_or_else(|| {
        Error::invalid(format!(
            "Invalid query string parameters: Invalid input for field/attribute {key}. Value: '{text}'. '{text}' is \
             not a 'uuid'"
        ))
    })
}

fn parent_of(body: &Value) -> Option<ProviderId> {
    body.get("parent_provider_uuid").and_then(Value::as_str).and_then(ProviderId::parse)
}

/// `POST /resource_providers`
pub async fn create(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let version = request.version();
    let body = super::body(&mut request, body::create_provider(version)).await?;
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let id = body.get("uuid").and_then(Value::as_str).and_then(ProviderId::parse);
    let id = id.unwrap_or_else(|| ProviderId(request.cx.env.uuid()));
    let parent = parent_of(&body);
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let head = service
        .db
        .write("placement_provider_create", move |tx| {
            let root = root_for(tx, id, &name, parent)?;
            providers::provider_insert(tx, &New { id, name: name.clone(), parent, root }, now)?;
            providers::touched(tx, &snapshot, id, Touch::Quietly, now)?;
            providers::head_require(tx, id)
        })
        .await?;
    let location = format!("{}/resource_providers/{id}", view::PREFIX);
    let reply = if version >= V20_POST_PROVIDER {
        dated(Reply::ok(&view::provider(&shown(&head), version)), &request, Some(head.updated_at))
    } else {
        Reply::empty(StatusCode::CREATED)
    };
    Ok(reply.header("location", &location))
}

fn root_for(tx: &mut Tx<'_>, id: ProviderId, name: &str, parent: Option<ProviderId>) -> Result<ProviderId> {
    let Some(parent) = parent else { return Ok(id) };
    let refuse = |why: &str| {
        Error::invalid(format!(
            "Unable to create resource provider \"{name}\", {id}: Object action create failed because: {why}"
        ))
    };
    if parent == id {
        return Err(refuse(
            "parent provider UUID cannot be same as UUID. Please set parent provider UUID to None if there is no parent.",
        ));
    }
    let head = providers::head_fetch(tx, parent)?.ok_or_else(|| refuse("parent provider UUID does not exist."))?;
    Ok(head.root)
}

/// `GET /resource_providers/{uuid}`
pub async fn show(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let head = service.db.read("placement_provider_show", move |tx| providers::head_require(tx, id)).await?;
    let view = view::provider(&shown(&head), request.version());
    Ok(dated(Reply::ok(&view), &request, Some(head.updated_at)))
}

/// `PUT /resource_providers/{uuid}`
pub async fn update(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (id, version) = (provider_id(&request)?, request.version());
    service.db.read("placement_provider_show", move |tx| providers::head_require(tx, id)).await?;
    let body = super::body(&mut request, body::update_provider(version)).await?;
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let parent = body.get("parent_provider_uuid").is_some().then(|| parent_of(&body));
    let may_move = version >= V37_REPARENT;
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let head = service
        .db
        .write("placement_provider_update", move |tx| {
            let head = providers::head_require(tx, id)?;
            let parent = parent.unwrap_or(head.parent);
            let below = providers::subtree_list(tx, &head)?;
            let root = new_root(tx, &head, parent, &below, may_move)?;
            providers::provider_update(tx, id, &name, parent, root, now)?;
            for member in below {
                if root != head.root {
                    tx.execute("UPDATE placement_providers SET root_id = ? WHERE id = ?", params![root, member])?;
                }
                providers::touched(tx, &snapshot, member, Touch::Quietly, now)?;
            }
            providers::head_require(tx, id)
        })
        .await?;
    let view = view::provider(&shown(&head), version);
    Ok(dated(Reply::ok(&view), &request, Some(head.updated_at)))
}

fn new_root(
    tx: &mut Tx<'_>,
    head: &Head,
    parent: Option<ProviderId>,
    below: &std::collections::BTreeSet<ProviderId>,
    may_move: bool,
) -> Result<ProviderId> {
    let refuse = |why: &str| {
        Error::invalid(format!(
            "Unable to save resource provider {}: Object action update failed because: {why}",
            head.id
        ))
    };
    if parent == head.parent {
        return Ok(head.root);
    }
    let Some(parent) = parent else {
        return if may_move { Ok(head.id) } else { Err(refuse("un-parenting a provider is not currently allowed.")) };
    };
    let above = providers::head_fetch(tx, parent)?.ok_or_else(|| refuse("parent provider UUID does not exist."))?;
    if head.parent.is_some() && !may_move {
        return Err(refuse("re-parenting a provider is not currently allowed."));
    }
    if below.contains(&parent) {
        return Err(refuse("creating loop in the provider tree is not allowed."));
    }
    Ok(above.root)
}

/// `DELETE /resource_providers/{uuid}`
pub async fn delete(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let missing = |text: &str| Error::not_found(format!("No resource provider with uuid {text} found for delete"));
    let id = provider_id(&request).map_err(|_| missing(request.param("uuid")))?;
    let snapshot = Arc::clone(&service.snapshot);
    service
        .db
        .write("placement_provider_delete", move |tx| {
            if providers::head_fetch(tx, id)?.is_none() {
                return Err(missing(&id.to_string()));
            }
            if tx.exists("SELECT 1 FROM placement_providers WHERE parent_id = ?", params![id])? {
                return Err(Error::conflict(format!(
                    "Unable to delete parent resource provider {id}: It has child resource providers."
                ))
                .with_code("placement.resource_provider.cannot_delete_parent"));
            }
            if provider_in_use(tx, id)? {
                return Err(Error::new(
                    Kind::Conflict,
                    format!("Unable to delete resource provider {id}: Resource provider has allocations."),
                )
                .with_code("placement.resource_provider.inuse"));
            }
            providers::provider_delete(tx, id)?;
            let snapshot = Arc::clone(&snapshot);
            tx.on_commit(move || snapshot.apply(vec![crate::snapshot::Change::Gone(id)]));
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}
