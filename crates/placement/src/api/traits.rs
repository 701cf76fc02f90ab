//! `/traits` and `/resource_providers/{uuid}/traits`

use crate::Placement;
use crate::api::inventories::given_generation;
use crate::api::view::{PREFIX, dated};
use crate::api::{body, concurrent, only_known, provider_id};
use crate::standard;
use crate::store::names;
use crate::store::providers::{self, Touch};
use ferrostack_rest::{Reply, Request, StatusCode, Target};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn missing(name: &str) -> Error {
    Error::not_found(format!("No such trait(s): {name}."))
}

/// How `?name=` narrows the list.
enum Names {
    All,
    In(BTreeSet<String>),
    StartingWith(String),
}

fn names_of(request: &Request) -> Result<Names> {
    let Some(text) = request.query.get("name") else { return Ok(Names::All) };
    match text.split_once(':') {
        Some(("in", list)) => Ok(Names::In(list.split(',').map(str::to_owned).collect())),
        Some(("startswith", prefix)) => Ok(Names::StartingWith(prefix.to_owned())),
        Some(_) => Ok(Names::All),
        None => Err(Error::invalid(format!(
            "Badly formatted name parameter. Expected name query string parameter in form: \
             ?name=[in|startswith]:[name1,name2|prefix]. Got: \"{text}\""
        ))),
    }
}

/// `GET /traits`
pub async fn list(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    only_known(&request, &["name", "associated"])?;
    let wanted = names_of(&request)?;
    let associated = match request.query.get("associated").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => {
            return Err(Error::invalid("The query parameter \"associated\" only accepts \"true\" or \"false\""));
        }
    };
    let (all, used) = service
        .db
        .read("placement_trait_list", |tx| Ok((names::trait_list(tx)?, names::trait_list_associated(tx)?)))
        .await?;
    let used: BTreeSet<String> = used.into_iter().collect();
    let kept = all.into_iter().filter(|(name, _)| {
        let named = match &wanted {
            Names::All => true,
            Names::In(names) => names.contains(name),
            Names::StartingWith(prefix) => name.starts_with(prefix.as_str()),
        };
        named && associated.is_none_or(|a| a == used.contains(name))
    });
    let kept: Vec<names::Named> = kept.collect();
    let modified = kept.iter().filter_map(|(_, at)| *at).max();
    let names: Vec<&String> = kept.iter().map(|(name, _)| name).collect();
    Ok(dated(Reply::ok(&json!({"traits": names})), &request, modified))
}

/// `GET /traits/{name}`
pub async fn show(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let name = request.param("name").to_owned();
    let wanted = name.clone();
    let found = service.db.read("placement_trait_show", move |tx| names::trait_fetch(tx, &wanted)).await?;
    let at = found.ok_or_else(|| missing(&name))?;
    Ok(dated(Reply::no_content(), &request, at))
}

/// `PUT /traits/{name}`
pub async fn create(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let name = request.param("name").to_owned();
    if !standard::is_custom(&name) {
        return Err(Error::invalid(
            "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix \
             \"CUSTOM_\" and use following characters: \"A\"-\"Z\", \"0\"-\"9\" and \"_\"",
        ));
    }
    let (wanted, now) = (name.clone(), request.cx.env.now());
    let (new, at) = service
        .db
        .write("placement_trait_create", move |tx| {
            if let Some(at) = names::trait_fetch(tx, &wanted)? {
                return Ok((false, at));
            }
            names::trait_insert(tx, &wanted, now)?;
            Ok((true, Some(now)))
        })
        .await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    let reply = Reply::empty(status).header("location", &format!("{PREFIX}/traits/{name}"));
    Ok(dated(reply, &request, at))
}

/// `DELETE /traits/{name}`
pub async fn delete(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let name = request.param("name").to_owned();
    service
        .db
        .write("placement_trait_delete", move |tx| {
            match names::trait_fetch(tx, &name)? {
                None => return Err(missing(&name)),
                Some(None) => return Err(Error::invalid(format!("Cannot delete standard trait {name}."))),
                Some(Some(_)) => {}
            }
            if names::trait_in_use(tx, &name)? {
                return Err(Error::conflict(format!("The trait {name} is in use by a resource provider.")));
            }
            names::trait_delete(tx, &name)
        })
        .await?;
    Ok(Reply::no_content())
}

fn answer(request: &Request, traits: &BTreeSet<String>, generation: i64) -> Reply {
    dated(Reply::ok(&json!({"traits": traits, "resource_provider_generation": generation})), request, None)
}

/// `GET /resource_providers/{uuid}/traits`
pub async fn of_provider(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let (head, traits) = service
        .db
        .read("placement_provider_trait_list", move |tx| {
            Ok((providers::head_require(tx, id)?, providers::trait_list(tx, id)?))
        })
        .await?;
    Ok(answer(&request, &traits.iter().map(|t| t.to_string()).collect(), head.generation))
}

/// `PUT /resource_providers/{uuid}/traits`
pub async fn set_of_provider(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let body = super::body(&mut request, &body::TRAITS).await?;
    let names = body["traits"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let traits: BTreeSet<String> = names.map(str::to_owned).collect();
    let given = given_generation(&body);
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let wanted = traits.clone();
    let generation = service
        .db
        .write("placement_provider_trait_set", move |tx| {
            let head = providers::head_require(tx, id)?;
            if given != Some(head.generation) {
                return Err(concurrent(
                    "Resource provider's generation already changed. Please update the generation and try again.",
                ));
            }
            let unknown = providers::unknown_traits(tx, &wanted)?;
            if !unknown.is_empty() {
                return Err(Error::invalid(format!("No such trait {}", unknown.join(", "))));
            }
            providers::traits_put(tx, id, &wanted)?;
            providers::touched(tx, &snapshot, id, Touch::Generation, now)
        })
        .await?;
    Ok(answer(&request, &traits, generation))
}

/// `DELETE /resource_providers/{uuid}/traits`
pub async fn clear_of_provider(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    service
        .db
        .write("placement_provider_trait_clear", move |tx| {
            providers::head_require(tx, id)?;
            providers::traits_put(tx, id, &BTreeSet::new())?;
            providers::touched(tx, &snapshot, id, Touch::Generation, now).map(|_| ())
        })
        .await?;
    Ok(Reply::no_content())
}
