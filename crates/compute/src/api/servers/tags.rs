//! `/servers/{server_id}/tags`

use super::body::{tag_schema, tags};
use super::resolve;
use crate::Compute;
use crate::model::Server;
use crate::store::servers;
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema, StatusCode};
use ferrostack_types::{Error, Result};
use serde_json::json;
use std::sync::{Arc, LazyLock};

/// How many tags a server may have.
const MOST: usize = 50;

static ALL: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({"type": "object", "required": ["tags"], "additionalProperties": false, "properties": {
        "tags": {"type": "array", "maxItems": MOST, "items": tag_schema()}}}))
});

static ONE: LazyLock<Schema> = LazyLock::new(|| Schema::new(tag_schema()));

/// `GET .../tags`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    Ok(Reply::ok(&json!({"tags": of(&compute, &server).await?})))
}

async fn of(compute: &Compute, server: &Server) -> Result<Vec<String>> {
    let id = server.id;
    let mut tags = compute.db.read("tags", move |tx| servers::tags_in_tx(tx, &[id])).await?;
    Ok(tags.remove(&id).unwrap_or_default())
}

fn missing(server: &Server, tag: &str) -> Error {
    Error::not_found(format!("Server {} has no tag '{tag}'", server.id))
}

/// `GET .../tags/{tag}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let tag = request.param("tag");
    if of(&compute, &server).await?.iter().any(|t| t == tag) {
        return Ok(Reply::no_content());
    }
    Err(missing(&server, tag))
}

/// `PUT .../tags`
pub(crate) async fn replace(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let body = request.json().await?;
    ALL.check(&body, Some(request.version()))?;
    let new = tags(&body["tags"]);
    let shown = new.clone();
    change(&compute, &server, move |old| {
        *old = new.clone();
        Ok(())
    })
    .await?;
    Ok(Reply::ok(&json!({"tags": shown})))
}

/// `PUT .../tags/{tag}`
pub(crate) async fn add(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let tag = request.param("tag").to_owned();
    ONE.check(&json!(tag), Some(request.version()))?;
    let new = tag.clone();
    let before = of(&compute, &server).await?;
    change(&compute, &server, move |old| {
        if !old.contains(&new) {
            old.push(new.clone());
        }
        if old.len() > MOST {
            return Err(Error::invalid(format!("The number of tags exceeded the per-server limit {MOST}")));
        }
        Ok(())
    })
    .await?;
    if before.contains(&tag) {
        return Ok(Reply::no_content());
    }
    let location = format!("{}/v2.1/servers/{}/tags/{tag}", request.base_url(), server.id);
    Ok(Reply::empty(StatusCode::CREATED).header("location", &location))
}

/// `DELETE .../tags/{tag}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let tag = request.param("tag").to_owned();
    let (gone, shown) = (tag, server.clone());
    change(&compute, &server, move |old| {
        let before = old.len();
        old.retain(|tag| *tag != gone);
        if old.len() == before { Err(missing(&shown, &gone)) } else { Ok(()) }
    })
    .await?;
    Ok(Reply::no_content())
}

/// `DELETE .../tags`
pub(crate) async fn delete_all(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    change(&compute, &server, |old| {
        old.clear();
        Ok(())
    })
    .await?;
    Ok(Reply::no_content())
}

async fn change(
    compute: &Compute,
    server: &Server,
    mut change: impl FnMut(&mut Vec<String>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (id, now) = (server.id, compute.env.now());
    let work = move |tx: &mut Tx<'_>| {
        let mut tags = servers::tags_in_tx(tx, &[id])?.remove(&id).unwrap_or_default();
        change(&mut tags)?;
        servers::tags_replace_in_tx(tx, id, &tags, now)
    };
    compute.db.write("server_tags", work).await
}
