//! `/allocations` and `/resource_providers/{uuid}/allocations`

use crate::Placement;
use crate::allocations::{self, Expected, Wanted};
use crate::api::view::dated;
use crate::api::{body, provider_id};
use crate::microversions::*;
use crate::store::allocations as rows;
use crate::store::providers;
use ferrostack_contracts::placement::Resources;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Microversion, Result, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// The owner of allocations that were written before owners had to be named.
const INCOMPLETE: &str = "00000000-0000-0000-0000-000000000000";

/// `GET /resource_providers/{uuid}/allocations`
pub async fn of_provider(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let (head, held) = service
        .db
        .read("placement_provider_allocations", move |tx| {
            Ok((providers::head_require(tx, id)?, rows::held_of_provider(tx, id)?))
        })
        .await?;
    let mut consumers: Map<String, Value> = Map::new();
    for (one, generation) in &held {
        let view = consumers.entry(one.consumer.to_string()).or_insert_with(|| json!({"resources": {}}));
        view["resources"][&one.class] = json!(one.used);
        if request.version() >= V28_CONSUMER_GENERATION {
            view["consumer_generation"] = json!(generation);
        }
    }
    let modified = held.iter().map(|(one, _)| one.created_at).max();
    let view = json!({"allocations": consumers, "resource_provider_generation": head.generation});
    Ok(dated(Reply::ok(&view), &request, modified))
}

/// `GET /allocations/{consumer_uuid}`: a consumer that holds nothing is not missing, it just holds nothing.
pub async fn of_consumer(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let version = request.version();
    let Ok(id) = Uuid::try_parse(request.param("consumer_uuid")) else {
        return Ok(dated(Reply::ok(&json!({"allocations": {}})), &request, None));
    };
    let (consumer, held, generations) = service
        .db
        .read("placement_consumer_allocations", move |tx| {
            let held = rows::held_by_consumer(tx, id)?;
            let mut generations = BTreeMap::new();
            for one in &held {
                if let Some(head) = providers::head_fetch(tx, one.provider)? {
                    generations.insert(one.provider, head.generation);
                }
            }
            Ok((rows::consumer_fetch(tx, id)?, held, generations))
        })
        .await?;
    let mut by_provider: Map<String, Value> = Map::new();
    for one in &held {
        let generation = generations.get(&one.provider);
        let view = by_provider
            .entry(one.provider.to_string())
            .or_insert_with(|| json!({"resources": {}, "generation": generation}));
        view["resources"][&one.class] = json!(one.used);
    }
    let mut view = json!({"allocations": by_provider});
    if let Some(consumer) = consumer.filter(|_| !held.is_empty()) {
        if version >= V12_ALLOCATIONS_DICT {
            view["project_id"] = json!(consumer.project);
            view["user_id"] = json!(consumer.user);
        }
        if version >= V28_CONSUMER_GENERATION {
            view["consumer_generation"] = json!(consumer.generation);
        }
        if version >= V38_CONSUMER_TYPE {
            view["consumer_type"] = json!(consumer.kind.as_deref().unwrap_or("unknown"));
        }
    }
    Ok(dated(Reply::ok(&view), &request, held.iter().map(|one| one.created_at).max()))
}

fn amounts(value: &Value) -> Resources {
    let all = value.as_object().into_iter().flatten();
    all.filter_map(|(class, amount)| Some((class.clone(), amount.as_u64()?))).collect()
}

fn provider_of(text: &str) -> Result<ProviderId> {
    ProviderId::parse(text)
        .ok_or_else(|| Error::invalid(format!("Allocation for resource provider '{text}' that does not exist.")))
}

/// What a checked body wants for a consumer.
pub(crate) fn parse(consumer: Uuid, body: &Value, version: Microversion) -> Result<Wanted> {
    let mut takes = BTreeMap::new();
    match &body["allocations"] {
        Value::Array(list) => {
            for one in list {
                let id = provider_of(one["resource_provider"]["uuid"].as_str().unwrap_or_default())?;
                takes.insert(id, amounts(&one["resources"]));
            }
        }
        dict => {
            for (id, one) in dict.as_object().into_iter().flatten() {
                takes.insert(provider_of(id)?, amounts(&one["resources"]));
            }
        }
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let expected = if version >= V28_CONSUMER_GENERATION {
        Expected::Exactly(body["consumer_generation"].as_i64())
    } else {
        Expected::Anything
    };
    Ok(Wanted {
        consumer,
        expected,
        project: text("project_id").unwrap_or_else(|| INCOMPLETE.to_owned()),
        user: text("user_id").unwrap_or_else(|| INCOMPLETE.to_owned()),
        kind: text("consumer_type"),
        takes,
    })
}

/// The consumers of a body that is keyed by them.
pub(crate) fn parse_all(body: &Value, version: Microversion) -> Result<Vec<Wanted>> {
    let mut all: BTreeMap<Uuid, Wanted> = BTreeMap::new();
    for (consumer, one) in body.as_object().into_iter().flatten() {
        let id =
            Uuid::try_parse(consumer).map_err(|_| Error::invalid(format!("Malformed consumer_uuid: {consumer}")))?;
        if all.insert(id, parse(id, one, version)?).is_some() {
            return Err(Error::invalid(format!("Consumer {id} is named twice.")));
        }
    }
    Ok(all.into_values().collect())
}

async fn replace(service: &Placement, now: Timestamp, wanted: Vec<Wanted>) -> Result<Reply> {
    let snapshot = Arc::clone(&service.snapshot);
    service
        .db
        .write("placement_allocations_set", move |tx| {
            allocations::refuse(allocations::replace_in_tx(tx, &snapshot, &wanted, now))
        })
        .await?;
    Ok(Reply::no_content())
}

/// `PUT /allocations/{consumer_uuid}`
pub async fn set(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let version = request.version();
    let text = request.param("consumer_uuid");
    let id = Uuid::try_parse(text).map_err(|_| Error::invalid(format!("Malformed consumer_uuid: {text}")))?;
    let body = super::body(&mut request, body::set_allocations(version)).await?;
    let wanted = parse(id, &body, version)?;
    replace(&service, request.cx.env.now(), vec![wanted]).await
}

/// `POST /allocations`
pub async fn set_many(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let version = request.version();
    let body = super::body(&mut request, body::set_many_allocations(version)).await?;
    let wanted = parse_all(&body, version)?;
    replace(&service, request.cx.env.now(), wanted).await
}

/// `DELETE /allocations/{consumer_uuid}`
pub async fn delete(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let text = request.param("consumer_uuid").to_owned();
    let missing = || Error::not_found(format!("No allocations for consumer '{text}'"));
    let id = Uuid::try_parse(&text).map_err(|_| missing())?;
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let held = service
        .db
        .write("placement_allocations_delete", move |tx| allocations::release_in_tx(tx, &snapshot, id, now))
        .await?;
    if held { Ok(Reply::no_content()) } else { Err(missing()) }
}
