//! What the handlers share: bodies, policy, pages, views.

use crate::attrs::Attrs;
use crate::store::list::ListQuery;
use crate::{errors, policy, rules};
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::{Error, Kind, Result, Timestamp};
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::LazyLock;

/// How a resource appears in bodies and policies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resource {
    /// `network`
    pub(crate) singular: &'static str,
    /// `networks`
    pub(crate) plural: &'static str,
    /// Attributes that only some may see, each with rule `get_<singular>:<attribute>`.
    pub(crate) guarded: &'static [&'static str],
    /// The 404 of an id.
    pub(crate) missing: fn(&str) -> Error,
}

/// A resource on its way out: its whole view, and what its rules look at.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) body: Map<String, Value>,
    pub(crate) target: Target,
}

impl Item {
    pub(crate) fn new(body: Value, target: Target) -> Item {
        let body = match body {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        Item { body, target }
    }
}

static DEFINED: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| policy::RULES.iter().map(|rule| rule.name).collect());

/// The target of a thing of a project; of nobody's if the project is empty.
pub(crate) fn target(project: &str) -> Target {
    Target::none().set("project_id", project).set("tenant_id", project)
}

/// A flag as rules look at it.
pub(crate) fn flag(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Whether the caller sees everything there is.
pub(crate) fn sees_all(req: &Request) -> bool {
    req.allowed("context_is_admin", &Target::none()) || req.allowed("service_api", &Target::none())
}

/// Whether the caller is an administrator.
pub(crate) fn is_admin(req: &Request) -> bool {
    req.allowed("context_is_admin", &Target::none())
}

/// The caller's project; empty without one.
pub(crate) fn own_project(req: &Request) -> String {
    req.caller().project_id().map(|p| p.as_str().to_owned()).unwrap_or_default()
}

/// A rule, and the rules of its attributes as far as there are any.
pub(crate) fn authorize(req: &Request, rule: &str, attributes: &[&str], target: &Target) -> Result<()> {
    let refuse = |rules: String, error: Error| match error.kind() {
        Kind::Forbidden => Error::forbidden(format!("{rules} is disallowed by policy"))
            .with_code("PolicyNotAuthorized")
            .context(error.internal_text()),
        _ => error,
    };
    req.authorize_as(rule, target).map_err(|error| refuse(format!("rule:{rule}"), error))?;
    for attribute in attributes {
        let name = format!("{rule}:{attribute}");
        if DEFINED.contains(name.as_str()) {
            req.authorize_as(&name, target).map_err(|error| refuse(format!("(rule:{rule} and rule:{name})"), error))?;
        }
    }
    Ok(())
}

/// Lists are for everybody; each item of them is checked by itself.
pub(crate) fn authorize_list(req: &Request) -> Result<()> {
    authorize(req, "regular_user", &[], &Target::none())
}

/// Whether the caller may know of the item. If not, it is not there.
pub(crate) fn visible(req: &Request, resource: &Resource, item: &Item, id: &str) -> Result<()> {
    if req.allowed(&format!("get_{}", resource.singular), &item.target) { Ok(()) } else { Err((resource.missing)(id)) }
}

/// Checks a change of what is there: 404 if the caller may not know of it, else 403.
pub(crate) fn authorize_change(
    req: &Request,
    resource: &Resource,
    verb: &str,
    attributes: &[&str],
    item: &Item,
    id: &str,
) -> Result<()> {
    visible(req, resource, item, id)?;
    authorize(req, &format!("{verb}_{}", resource.singular), attributes, &item.target)
}

/// The view without what the caller may not see, cut to the asked fields.
pub(crate) fn present(req: &Request, resource: &Resource, item: Item) -> Value {
    let mut body = item.body;
    for attribute in resource.guarded {
        if body.contains_key(*attribute)
            && !req.allowed(&format!("get_{}:{attribute}", resource.singular), &item.target)
        {
            body.shift_remove(*attribute);
        }
    }
    let fields: HashSet<&str> = req.query.all("fields").flat_map(|f| f.split(',')).filter(|f| !f.is_empty()).collect();
    if !fields.is_empty() {
        body.retain(|key, _| fields.contains(key.as_str()));
    }
    Value::Object(body)
}

/// 200 with one resource.
pub(crate) fn one(req: &Request, resource: &Resource, item: Item) -> Reply {
    Reply::ok(&json!({resource.singular: present(req, resource, item)}))
}

/// 201 with what was made, in the form in which it was asked for.
pub(crate) fn created(req: &Request, resource: &Resource, items: Vec<Item>, bulk: bool) -> Reply {
    let mut views: Vec<Value> = items.into_iter().map(|item| present(req, resource, item)).collect();
    match views.pop() {
        Some(view) if !bulk => Reply::json(StatusCode::CREATED, &json!({resource.singular: view})),
        last => {
            views.extend(last);
            Reply::json(StatusCode::CREATED, &json!({resource.plural: views}))
        }
    }
}

/// 200 with a list and the links to its neighbours.
pub(crate) fn list(req: &Request, resource: &Resource, query: &ListQuery, items: Vec<Item>) -> Reply {
    let rule = format!("get_{}", resource.singular);
    let ends = |item: Option<&Item>| item.and_then(|i| i.body.get("id")?.as_str().map(str::to_owned));
    let links = query.limit.map(|limit| links(req, query, limit, items.len(), ends(items.first()), ends(items.last())));
    let seen = items.into_iter().filter(|item| req.allowed(&rule, &item.target));
    let views: Vec<Value> = seen.map(|item| present(req, resource, item)).collect();
    let mut body = json!({resource.plural: views});
    if let (Some(links), Some(map)) = (links.filter(|l| !l.is_empty()), body.as_object_mut()) {
        map.insert(format!("{}_links", resource.plural), Value::Array(links));
    }
    Reply::ok(&body)
}

/// As Neutron: a page that is not full is the last one in its direction.
fn links(
    req: &Request,
    query: &ListQuery,
    limit: usize,
    count: usize,
    first: Option<String>,
    last: Option<String>,
) -> Vec<Value> {
    let url = |marker: Option<String>, reverse: bool| {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in req.query.iter().filter(|(key, _)| *key != "marker" && *key != "page_reverse") {
            pairs.append_pair(key, value);
        }
        if let Some(marker) = marker {
            pairs.append_pair("marker", &marker);
        }
        if reverse {
            pairs.append_pair("page_reverse", "True");
        }
        format!("{}{}?{}", req.base_url(), req.path, pairs.finish())
    };
    let mut links = Vec::new();
    let full = count >= limit;
    if full || query.reverse {
        links.push(json!({"rel": "next", "href": url(last, false)}));
    }
    if query.marker.is_some() && (full || !query.reverse) {
        links.push(json!({"rel": "previous", "href": url(first, true)}));
    }
    links
}

/// `{"network": {...}}` or `{"networks": [{...}, ...]}`; whether it was the second.
pub(crate) async fn bodies(req: &mut Request, resource: &Resource) -> Result<(Vec<Map<String, Value>>, bool)> {
    let body = read(req).await?;
    let invalid = || errors::bad_request("Body contains invalid data");
    if let Some(list) = body.get(resource.plural) {
        let list = list.as_array().ok_or_else(invalid)?;
        if list.is_empty() {
            return Err(errors::bad_request("Resources required"));
        }
        let items: Option<Vec<Map<String, Value>>> = list.iter().map(|item| item.as_object().cloned()).collect();
        return Ok((items.ok_or_else(invalid)?, true));
    }
    Ok((vec![inner(&body, resource)?], false))
}

/// `{"network": {...}}`
pub(crate) async fn body(req: &mut Request, resource: &Resource) -> Result<Map<String, Value>> {
    let body = read(req).await?;
    inner(&body, resource)
}

/// A body that is an object.
pub(crate) async fn read(req: &mut Request) -> Result<Map<String, Value>> {
    match req.json().await {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(errors::bad_request("Resource body required")),
        Err(error) if error.kind() == Kind::Invalid => Err(errors::bad_request("Resource body required")),
        Err(error) => Err(error),
    }
}

fn inner(body: &Map<String, Value>, resource: &Resource) -> Result<Map<String, Value>> {
    match body.get(resource.singular) {
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(errors::bad_request(format!("Object '{}' contains invalid data", resource.singular))),
        None => Err(errors::bad_request(format!("Unable to find '{}' in request body", resource.singular))),
    }
}

/// Whose the new thing is: `project_id` (or `tenant_id`) of the body, which only administrators may set to another
/// project, else the caller's project. Taken out of the body.
pub(crate) fn take_project(req: &Request, raw: &mut Map<String, Value>) -> Result<String> {
    let take = |raw: &mut Map<String, Value>, key: &str| -> Result<Option<String>> {
        match raw.shift_remove(key) {
            None => Ok(None),
            Some(Value::String(id)) if id.len() <= 255 => Ok(Some(id)),
            Some(other) => Err(errors::bad_request(format!(
                "Invalid input for {key}. Reason: '{}' is not a valid string.",
                crate::attrs::shown(&other)
            ))),
        }
    };
    let (project, tenant) = (take(raw, "project_id")?, take(raw, "tenant_id")?);
    if let (Some(project), Some(tenant)) = (&project, &tenant)
        && project != tenant
    {
        return Err(errors::bad_request("'project_id' and 'tenant_id' do not match"));
    }
    let own = own_project(req);
    match project.or(tenant) {
        Some(given) if given == own || sees_all(req) => Ok(given),
        Some(_) => Err(errors::bad_request(
            "Specifying 'project_id' other than the authenticated project in request is not allowed for the current user.",
        )),
        None if own.is_empty() => {
            Err(errors::bad_request("Running without keystone AuthN requires that project_id is specified"))
        }
        None => Ok(own),
    }
}

/// What `If-Match: revision_number=5` demands.
pub(crate) fn expected(req: &Request) -> Result<rules::Expected> {
    let Some(text) = req.header("if-match") else { return Ok(rules::Expected(None)) };
    let text = text.trim().trim_matches('"');
    if text.contains(',') {
        return Err(errors::bad_request("Multiple revision_number etags are not supported."));
    }
    let number = text.strip_prefix("revision_number=").and_then(|n| n.trim_matches('"').parse().ok());
    number
        .map(|n| rules::Expected(Some(n)))
        .ok_or_else(|| errors::bad_request("Revision number etag must be in the format of revision_number=<int>"))
}

/// The id in the path.
pub(crate) fn path_id<T: std::str::FromStr>(req: &Request, resource: &Resource, name: &str) -> Result<T> {
    req.param(name).parse().map_err(|_| {
        let id: String = req.param(name).chars().take(64).collect();
        (resource.missing)(&id)
    })
}

/// Adds what every resource has.
pub(crate) fn with_standard(body: &mut Value, standard: &crate::model::Standard, tags: Option<&Vec<String>>) {
    let Some(map) = body.as_object_mut() else { return };
    let time = |t: Timestamp| Value::from(t.to_iso());
    map.insert("tenant_id".to_owned(), standard.project_id.clone().into());
    map.insert("project_id".to_owned(), standard.project_id.clone().into());
    map.insert("description".to_owned(), standard.description.clone().into());
    map.insert("created_at".to_owned(), time(standard.created_at));
    map.insert("updated_at".to_owned(), time(standard.updated_at));
    map.insert("revision_number".to_owned(), standard.revision.into());
    map.insert("tags".to_owned(), json!(tags.cloned().unwrap_or_default()));
}

/// Tags of a creation.
pub(crate) fn new_tags(attrs: &Attrs) -> Vec<String> {
    attrs.texts("tags")
}
