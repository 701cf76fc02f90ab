//! `POST /reshaper`: inventories and allocations moved in one step.

use crate::Placement;
use crate::allocations;
use crate::api::inventories::{given_generation, parse_all, set_in_tx};
use crate::api::{allocations as parse, body, concurrent};
use crate::store::providers::{self, Touch};
use ferrostack_contracts::placement::Inventory;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Result, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

struct Reshaped {
    provider: ProviderId,
    generation: Option<i64>,
    inventories: BTreeMap<String, Inventory>,
}

/// `POST /reshaper`
pub async fn reshape(service: Arc<Placement>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let version = request.version();
    let body = super::body(&mut request, body::reshape(version)).await?;
    let wanted = parse::parse_all(&body["allocations"], version)?;
    let mut shapes = Vec::new();
    for (text, value) in body["inventories"].as_object().into_iter().flatten() {
        let provider = ProviderId::parse(text).ok_or_else(|| unknown(text))?;
        shapes.push(Reshaped { provider, generation: given_generation(value), inventories: parse_all(value) });
    }
    let (snapshot, now) = (Arc::clone(&service.snapshot), request.cx.env.now());
    service
        .db
        .write("placement_reshape", move |tx| {
            for shape in &shapes {
                widen(tx, shape, now)?;
            }
            allocations::refuse(allocations::replace_in_tx(tx, &snapshot, &wanted, now))?;
            for shape in &shapes {
                set_in_tx(tx, shape.provider, &shape.inventories, now)?;
                providers::touched(tx, &snapshot, shape.provider, Touch::Generation, now)?;
            }
            Ok(())
        })
        .await?;
    Ok(Reply::no_content())
}

fn unknown(provider: &str) -> Error {
    Error::invalid(format!(
        "Resource provider {provider} in inventories not found: No resource provider with uuid {provider} found"
    ))
    .with_code("placement.resource_provider.not_found")
}

/// First everything that is to be is there beside everything that was; then allocations move; then what was goes.
fn widen(tx: &mut Tx<'_>, shape: &Reshaped, now: Timestamp) -> Result<()> {
    let id = shape.provider;
    let head = providers::head_fetch(tx, id)?.ok_or_else(|| unknown(&id.to_string()))?;
    if let Some(given) = shape.generation.filter(|given| *given != head.generation) {
        return Err(concurrent(format!(
            "resource provider generation conflict for provider {id}: actual: {}, given: {given}",
            head.generation
        )));
    }
    let mut both: BTreeMap<String, Inventory> = shape.inventories.clone();
    for stock in providers::stock_list(tx, id)? {
        both.entry(stock.class.to_string()).or_insert(stock.inventory);
    }
    set_in_tx(tx, id, &both, now)
}
