//! `/resource_providers/{uuid}/aggregates`

use crate::Placement;
use crate::api::inventories::given_generation;
use crate::api::view::dated;
use crate::api::{body, concurrent, provider_id};
use crate::microversions::V19_AGGREGATE_GENERATION;
use crate::store::providers::{self, Touch};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

fn answer(request: &Request, aggregates: &BTreeSet<Uuid>, generation: i64) -> Reply {
    let all: Vec<String> = aggregates.iter().map(|id| id.hyphenated().to_string()).collect();
    let mut view = json!({"aggregates": all});
    if request.version() >= V19_AGGREGATE_GENERATION {
        view["resource_provider_generation"] = json!(generation);
    }
    dated(Reply::ok(&view), request, None)
}

/// `GET .../aggregates`
pub async fn list(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let id = provider_id(&request)?;
    let (head, aggregates) = service
        .db
        .read("placement_aggregate_list", move |tx| {
            Ok((providers::head_require(tx, id)?, providers::aggregate_list(tx, id)?))
        })
        .await?;
    Ok(answer(&request, &aggregates, head.generation))
}

/// `PUT .../aggregates`
pub async fn set(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let (id, version) = (provider_id(&request)?, request.version());
    service.db.read("placement_provider_show", move |tx| providers::head_require(tx, id)).await?;
    let body = super::body(&mut request, body::aggregates(version)).await?;
    let compares = version >= V19_AGGREGATE_GENERATION;
    let list = if compares { &body["aggregates"] } else { &body };
    let ids = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    let aggregates: BTreeSet<Uuid> = ids.filter_map(|text| Uuid::try_parse(text).ok()).collect();
    let given = given_generation(&body);
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    let wanted = aggregates.clone();
    let generation = service
        .db
        .write("placement_aggregate_set", move |tx| {
            let head = providers::head_require(tx, id)?;
            if compares && given != Some(head.generation) {
                return Err(concurrent(
                    "Resource provider's generation already changed. Please update the generation and try again.",
                ));
            }
            providers::aggregates_put(tx, id, &wanted)?;
            let how = if compares { Touch::Generation } else { Touch::Quietly };
            providers::touched(tx, &snapshot, id, how, now)
        })
        .await?;
    Ok(answer(&request, &aggregates, generation))
}
