//! `PATCH /v2/images/{image_id}`: a JSON patch, in the two dialects that Glance speaks.

use super::{body, create, view};
use crate::Images;
use crate::api::{Found, find, json};
use crate::model::Image;
use crate::store::images;
use ferrostack_rest::{Reply, Request};
use ferrostack_types::{Error, Kind, Result};
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a change is made again because another one came between.
const ATTEMPTS: usize = 10;

/// The dialects, by media type.
const DRAFT_4: &str = "application/openstack-images-v2.0-json-patch";
const DRAFT_10: &str = "application/openstack-images-v2.1-json-patch";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Replace,
    Remove,
}

impl Operation {
    const ALL: [(&'static str, Operation); 3] =
        [("add", Operation::Add), ("remove", Operation::Remove), ("replace", Operation::Replace)];

    fn parse(text: &str) -> Option<Operation> {
        Operation::ALL.iter().find(|(name, _)| *name == text).map(|(_, op)| *op)
    }
}

/// One operation on one attribute.
struct Change {
    operation: Operation,
    name: String,
    value: Value,
    /// In the old dialect, adding what is there is a conflict.
    strict_add: bool,
}

/// Changes an image.
pub async fn update(service: Arc<Images>, mut request: Request) -> Result<Reply> {
    let changes = parse(&mut request).await?;
    for _ in 0..ATTEMPTS {
        let Found { image: before, target } = find(&service, &request).await?;
        let mut after = before.clone();
        // Even a patch that changes nothing says something about the image.
        request.authorize(&target)?;
        for change in &changes {
            apply(&request, &mut after, change)?;
        }
        if after == before {
            return Ok(Reply::ok(&view::image(&before)));
        }
        if after.visibility != before.visibility {
            create::authorize_visibility(&request, &after)?;
        }
        body::check_limits(&after, &service.config)?;
        after.updated_at = request.cx.env.now();
        let wanted = after.clone();
        if service.db.write("image_update", move |tx| images::image_update(tx, &wanted)).await? {
            return Ok(Reply::ok(&view::image(&after)));
        }
    }
    Err(Error::conflict("The image is being changed by others; try again."))
}

fn apply(request: &Request, image: &mut Image, change: &Change) -> Result<()> {
    let name = change.name.as_str();
    if name == "owner" && !request.caller().has_role("admin") {
        return Err(Error::forbidden("Owner can't be updated by non admin."));
    }
    let base = body::is_base(name);
    let there = base || image.properties.contains_key(name);
    match change.operation {
        Operation::Add if change.strict_add && there => {
            Err(Error::conflict(format!("Property {name} already present.")))
        }
        Operation::Replace | Operation::Remove if !there => {
            Err(Error::conflict(format!("Property {name} does not exist.")))
        }
        Operation::Remove if base => Err(Error::forbidden(format!("Property {name} may not be removed."))),
        Operation::Remove => {
            image.properties.remove(name);
            Ok(())
        }
        Operation::Add | Operation::Replace => body::set(image, name, &change.value),
    }
}

async fn parse(request: &mut Request) -> Result<Vec<Change>> {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != DRAFT_4 && kind != DRAFT_10 {
        return Err(Error::new(
            Kind::UnsupportedMediaType,
            format!("Image PATCH expects Content-Type one of: {DRAFT_4}, {DRAFT_10}"),
        ));
    }
    let body = json(request).await?;
    let list =
        body.as_array().ok_or_else(|| Error::invalid("Request body must be a JSON array of operation objects."))?;
    list.iter().map(|raw| change(raw, kind == DRAFT_4)).collect()
}

fn change(raw: &Value, draft_4: bool) -> Result<Change> {
    let raw = raw.as_object().ok_or_else(|| Error::invalid("Operations must be JSON objects."))?;
    let (operation, path) = if draft_4 {
        let found: Vec<_> = Operation::ALL.iter().filter(|(name, _)| raw.contains_key(*name)).collect();
        match found.as_slice() {
            [(name, operation)] => (*operation, raw.get(*name)),
            [] => {
                return Err(Error::invalid(
                    "Operation objects must contain only one member named \"add\", \"remove\", or \"replace\".",
                ));
            }
            _ => {
                return Err(Error::invalid(
                    "Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".",
                ));
            }
        }
    } else {
        let known = "It must be one of the following: add, remove, replace.";
        let operation = raw.get("op").and_then(Value::as_str);
        let operation =
            operation.ok_or_else(|| Error::invalid(format!("Unable to find `op` in JSON Schema change. {known}")))?;
        let parsed = Operation::parse(operation)
            .ok_or_else(|| Error::invalid(format!("Invalid operation: `{operation}`. {known}")))?;
        (parsed, raw.get("path"))
    };
    let path =
        path.and_then(Value::as_str).ok_or_else(|| Error::invalid("Unable to find 'path' in JSON Schema change"))?;
    let name = pointer(path)?;
    body::check_name(&name, false)?;
    let value = match (operation, raw.get("value")) {
        (Operation::Remove, _) => Value::Null,
        (_, Some(value)) => value.clone(),
        (_, None) => {
            let name = if operation == Operation::Add { "add" } else { "replace" };
            return Err(Error::invalid(format!("Operation \"{name}\" requires a member named \"value\".")));
        }
    };
    if operation != Operation::Remove {
        body::check(&json!({ name.as_str(): value }))?;
    }
    Ok(Change { operation, name, value, strict_add: draft_4 })
}

/// The attribute that a JSON pointer names. Only whole attributes can be changed.
fn pointer(path: &str) -> Result<String> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Error::invalid(format!("Pointer `{path}` does not start with \"/\".")));
    };
    let mut escapes = rest.split('~').skip(1);
    if escapes.any(|after| !after.starts_with(['0', '1'])) {
        return Err(Error::invalid(format!(
            "Pointer `{path}` contains \"~\" not part of a recognized escape sequence."
        )));
    }
    if rest.contains('/') {
        return Err(Error::invalid(format!("Invalid JSON pointer for this resource: '{path}'")));
    }
    Ok(rest.replace("~1", "/").replace("~0", "~").trim().to_owned())
}
