//! `/servers/{server_id}/metadata`

use super::body::strings;
use super::resolve;
use crate::Compute;
use crate::api::metadata_schema;
use crate::model::{Server, VmState};
use crate::servers::create::no_such_server;
use crate::servers::power::bad_state;
use crate::store::{guests, quotas, servers};
use ferrostack_db::Tx;
use ferrostack_rest::{Reply, Request, Schema};
use ferrostack_types::{Error, Kind, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

static ALL: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({"type": "object", "required": ["metadata"], "additionalProperties": false,
        "properties": {"metadata": metadata_schema()}}))
});

static ONE: LazyLock<Schema> = LazyLock::new(|| {
    let mut meta = metadata_schema();
    meta["minProperties"] = json!(1);
    meta["maxProperties"] = json!(1);
    Schema::new(json!({"type": "object", "required": ["meta"], "additionalProperties": false,
        "properties": {"meta": meta}}))
});

/// `GET .../metadata`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    Ok(Reply::ok(&json!({"metadata": server.metadata})))
}

/// `GET .../metadata/{key}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let key = request.param("key");
    let value = server.metadata.get(key).ok_or_else(missing)?;
    Ok(Reply::ok(&json!({"meta": {key: value}})))
}

/// `POST .../metadata`: adds and replaces items.
pub(crate) async fn create(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    write_all(compute, request, false).await
}

/// `PUT .../metadata`: replaces all.
pub(crate) async fn replace(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    write_all(compute, request, true).await
}

async fn write_all(compute: Arc<Compute>, mut request: Request, replace: bool) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let body = request.json().await?;
    ALL.check(&body, Some(request.version()))?;
    let new = strings(&body["metadata"]);
    let metadata = change(&compute, &server, move |old| {
        if replace {
            old.clear();
        }
        old.extend(new.clone());
        Ok(())
    })
    .await?;
    Ok(Reply::ok(&json!({"metadata": metadata})))
}

/// `PUT .../metadata/{key}`
pub(crate) async fn update(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let body = request.json().await?;
    ONE.check(&body, Some(request.version()))?;
    let new = strings(&body["meta"]);
    if !new.contains_key(request.param("key")) {
        return Err(Error::invalid("Request body and URI mismatch"));
    }
    let shown = new.clone();
    change(&compute, &server, move |old| {
        old.extend(new.clone());
        Ok(())
    })
    .await?;
    Ok(Reply::ok(&json!({"meta": shown})))
}

/// `DELETE .../metadata/{key}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    let server = resolve(&compute, &request).await?;
    let key = request.param("key").to_owned();
    change(&compute, &server, move |old| old.remove(&key).map(|_| ()).ok_or_else(missing)).await?;
    Ok(Reply::no_content())
}

fn missing() -> Error {
    Error::not_found("Metadata item was not found")
}

/// Changes the metadata and tells the guest's node, within the quota.
async fn change(
    compute: &Arc<Compute>,
    server: &Server,
    mut change: impl FnMut(&mut BTreeMap<String, String>) -> Result<()> + Send + 'static,
) -> Result<BTreeMap<String, String>> {
    let (service, id, now) = (Arc::clone(compute), server.id, compute.env.now());
    let work = move |tx: &mut Tx<'_>| {
        let server = servers::server_fetch_in_tx(tx, id)?.ok_or_else(|| no_such_server(&id.to_string()))?;
        let ready = matches!(server.vm_state, VmState::Active | VmState::Paused | VmState::Stopped);
        if !ready || server.task_state.is_some() {
            return Err(bad_state("update metadata", &server));
        }
        let mut metadata = server.metadata;
        change(&mut metadata)?;
        let allowed = quotas::limits_in_tx(tx, &server.project, &service.config.quotas)?.metadata_items;
        if allowed >= 0 && i64::try_from(metadata.len()).unwrap_or(i64::MAX) > allowed {
            return Err(Error::new(Kind::OverQuota, format!("Maximum number of metadata items exceeds {allowed}")));
        }
        servers::metadata_replace_in_tx(tx, id, &metadata, now)?;
        let told = metadata.clone();
        if let Some(node) = guests::guest_change_spec_in_tx(tx, id, now, move |spec| spec.metadata.meta = told)? {
            service.messenger.tell_in_tx(tx, node, id);
        }
        Ok(metadata)
    };
    compute.db.write("server_metadata", work).await
}
