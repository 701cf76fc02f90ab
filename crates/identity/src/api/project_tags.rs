//! `/v3/projects/{project_id}/tags`

use super::projects::{fetch, target};
use super::{body, link};
use crate::Identity;
use crate::errors::not_found;
use crate::store::is_immutable;
use crate::store::projects::{Project, project_tags_replace};
use ferrostack_rest::{Reply, Request, Schema, StatusCode};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

static REPLACE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({
        "type": "object", "required": ["tags"], "additionalProperties": false, "properties": {"tags": body::tags()},
    }))
});
static TAG: LazyLock<Schema> =
    LazyLock::new(|| Schema::new(json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"})));

async fn authorized(service: &Identity, request: &Request) -> Result<Project> {
    let id = request.param("project_id").to_owned();
    let project =
        service.db.read("project_show", move |tx| fetch(tx, &id)).await.map_err(|e| super::unseen(request, e))?;
    request.authorize(&target(&project))?;
    Ok(project)
}

/// Changes the tags under the writer, so that two changes at once both count.
async fn change(
    service: &Identity,
    project: &Project,
    change: impl Fn(&mut Vec<String>) -> Result<()> + Send + 'static,
) -> Result<Vec<String>> {
    let id = project.id.clone();
    service
        .db
        .write("project_tags", move |tx| {
            let mut project = fetch(tx, id.as_str())?;
            if is_immutable(&project.options) {
                return Err(Error::forbidden(format!(
                    "Cannot update project tags for {}, project is immutable. Set \"immutable\" option to false before \
                     creating project tags.",
                    project.id
                )));
            }
            change(&mut project.tags)?;
            project.tags.sort();
            project_tags_replace(tx, &project.id, &project.tags)?;
            Ok(project.tags)
        })
        .await
}

/// `GET /v3/projects/{project_id}/tags`
pub(crate) async fn list(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let project = authorized(&service, &request).await?;
    let links = json!({
        "next": null,
        "previous": null,
        "self": link(&request, &format!("projects/{}/tags", project.id)),
    });
    Ok(Reply::ok(&json!({"tags": project.tags, "links": links})))
}

/// `PUT /v3/projects/{project_id}/tags`
pub(crate) async fn replace(service: Arc<Identity>, mut request: Request) -> Result<Reply> {
    let project = authorized(&service, &request).await?;
    let mut given = request.json().await?;
    REPLACE.check(&given, None)?;
    let tags: Vec<String> = serde_json::from_value(given["tags"].take()).unwrap_or_default();
    let tags = change(&service, &project, move |there| {
        there.clone_from(&tags);
        Ok(())
    })
    .await?;
    let links = json!({
        "next": null,
        "previous": null,
        "self": link(&request, &format!("projects/{}/tags", project.id)),
    });
    Ok(Reply::ok(&json!({"tags": tags, "links": links})))
}

/// `DELETE /v3/projects/{project_id}/tags`
pub(crate) async fn clear(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let project = authorized(&service, &request).await?;
    change(&service, &project, |there| {
        there.clear();
        Ok(())
    })
    .await?;
    Ok(Reply::no_content())
}

/// `GET` and `HEAD /v3/projects/{project_id}/tags/{value}`
pub(crate) async fn show(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let project = authorized(&service, &request).await?;
    let tag = request.param("value");
    if !project.tags.iter().any(|t| t == tag) {
        return Err(not_found("project tag", tag));
    }
    Ok(Reply::no_content())
}

/// `PUT /v3/projects/{project_id}/tags/{value}`
pub(crate) async fn add(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let project = authorized(&service, &request).await?;
    let tag = request.param("value").to_owned();
    TAG.check(&Value::String(tag.clone()), None)?;
    let location = link(&request, &format!("projects/{}/tags/{tag}", project.id));
    change(&service, &project, move |there| {
        if !there.contains(&tag) {
            if there.len() >= 80 {
                return Err(Error::invalid("A project can have at most 80 tags."));
            }
            there.push(tag.clone());
        }
        Ok(())
    })
    .await?;
    Ok(Reply::empty(StatusCode::CREATED).header("location", &location))
}

/// `DELETE /v3/projects/{project_id}/tags/{value}`
pub(crate) async fn remove(service: Arc<Identity>, request: Request) -> Result<Reply> {
    let project = authorized(&service, &request).await?;
    let tag = request.param("value").to_owned();
    change(&service, &project, move |there| {
        let before = there.len();
        there.retain(|t| *t != tag);
        if there.len() == before { Err(not_found("project tag", &tag)) } else { Ok(()) }
    })
    .await?;
    Ok(Reply::no_content())
}
