//! `/flavors`, their extra specs and who may use the private ones.

use super::{boolean_schema, integer_schema, links, number, query_number, truth};
use crate::Compute;
use crate::microversions::*;
use crate::model::{Flavor, FlavorCopy};
use crate::store::flavors::{self, FlavorFilter};
use ferrostack_db::Tx;
use ferrostack_rest::{FieldVersions, PagingRules, Reply, Request, Schema, StatusCode, Target};
use ferrostack_types::ids::ProjectId;
use ferrostack_types::{Error, Result, SortDirection};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const SORTABLE: &[&str] = &[
    "flavorid",
    "name",
    "memory_mb",
    "vcpus",
    "root_gb",
    "ephemeral_gb",
    "swap",
    "rxtx_factor",
    "is_public",
    "disabled",
    "created_at",
    "id",
    "vcpu_weight",
    "updated_at",
];

const VERSIONS: &[FieldVersions] = &[FieldVersions::since("/flavor/description", V2_55)];

static CREATE: LazyLock<Schema> = LazyLock::new(|| {
    let flavor = json!({"type": "object", "additionalProperties": false, "required": ["name", "ram", "vcpus", "disk"],
    "properties": {
        "name": super::name_schema(),
        "id": {"type": ["string", "number", "null"], "minLength": 1, "maxLength": 255, "minimum": 0,
            "pattern": "^(?! )[a-zA-Z0-9. _-]+(?<! )$"},
        "ram": integer_schema(1),
        "vcpus": integer_schema(1),
        "disk": integer_schema(0),
        "OS-FLV-EXT-DATA:ephemeral": integer_schema(0),
        "swap": integer_schema(0),
        "rxtx_factor": {"type": ["number", "string"]},
        "os-flavor-access:is_public": boolean_schema(),
        "description": {"type": ["string", "null"], "maxLength": 65535},
    }});
    Schema::versioned(
        json!({"type": "object", "required": ["flavor"], "additionalProperties": false, "properties": {"flavor": flavor}}),
        VERSIONS,
    )
});

static UPDATE: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(
        json!({"type": "object", "required": ["flavor"], "additionalProperties": false, "properties": {"flavor": {
        "type": "object", "additionalProperties": false, "required": ["description"],
        "properties": {"description": {"type": ["string", "null"], "maxLength": 65535}}}}}),
    )
});

static SPECS: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new(json!({"type": "object", "required": ["extra_specs"], "additionalProperties": false, "properties": {
        "extra_specs": specs_schema()}}))
});

static SPEC: LazyLock<Schema> = LazyLock::new(|| {
    let mut schema = specs_schema();
    schema["minProperties"] = json!(1);
    schema["maxProperties"] = json!(1);
    Schema::new(schema)
});

static ACCESS: LazyLock<Schema> = LazyLock::new(|| {
    let project = json!({"type": "object", "required": ["tenant"], "additionalProperties": false, "properties": {
        "tenant": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-]*$"}}});
    Schema::new(json!({"type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        "properties": {"addTenantAccess": project, "removeTenantAccess": project}}))
});

fn specs_schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "patternProperties": {
        "^[a-zA-Z0-9_:. -]{1,255}$": {"type": ["string", "number"], "maxLength": 255, "pattern": "^.*$"}}})
}

/// A flavor.
fn view(request: &Request, flavor: &Flavor) -> Value {
    let (copy, version) = (&flavor.copy, request.version());
    let mut view = json!({
        "id": copy.id,
        "name": copy.name,
        "ram": copy.memory_mb,
        "disk": copy.root_gb,
        "swap": if copy.swap_mb == 0 && version < V2_75 { json!("") } else { json!(copy.swap_mb) },
        "OS-FLV-EXT-DATA:ephemeral": copy.ephemeral_gb,
        "OS-FLV-DISABLED:disabled": flavor.disabled,
        "vcpus": copy.vcpus,
        "os-flavor-access:is_public": flavor.is_public,
        "rxtx_factor": flavor.rxtx_factor,
        "links": links(request.base_url(), "flavors", &copy.id),
    });
    if version >= V2_55 {
        view["description"] = json!(flavor.description);
    }
    if version >= V2_61 {
        view["extra_specs"] = json!(copy.extra_specs);
    }
    view
}

fn brief(request: &Request, flavor: &Flavor) -> Value {
    let copy = &flavor.copy;
    let mut view = json!({"id": copy.id, "name": copy.name, "links": links(request.base_url(), "flavors", &copy.id)});
    if request.version() >= V2_55 {
        view["description"] = json!(flavor.description);
    }
    view
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("Flavor {id} could not be found."))
}

/// A flavor that the caller may know of.
async fn resolve(compute: &Compute, request: &Request) -> Result<Flavor> {
    let id = request.param("flavor_id").to_owned();
    let visible_to = visible_to(request);
    let (wanted, shown) = (id.clone(), id);
    let read = move |tx: &mut Tx<'_>| flavors::flavor_fetch_in_tx(tx, &wanted, visible_to.as_ref());
    compute.db.read("flavor_fetch", read).await?.ok_or_else(|| missing(&shown))
}

/// The project whose private flavors are shown; `None` for all.
fn visible_to(request: &Request) -> Option<ProjectId> {
    let caller = request.caller();
    if caller.has_role("admin") {
        None
    } else {
        Some(caller.project_id().cloned().unwrap_or_else(|| ProjectId::new("")))
    }
}

/// `GET /flavors`
pub(crate) async fn list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    answer(compute, request, false).await
}

/// `GET /flavors/detail`
pub(crate) async fn list_detail(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    answer(compute, request, true).await
}

async fn answer(compute: Arc<Compute>, request: Request, whole: bool) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let query = &request.query;
    let rules = PagingRules {
        sortable: SORTABLE,
        default_sort: &[("flavorid", SortDirection::Asc)],
        max_limit: Some(compute.config.max_limit),
        default_limit: None,
        default_direction: SortDirection::Asc,
    };
    let mut page = query.page(&rules)?;
    let limit = page.limit.unwrap_or(compute.config.max_limit);
    page.limit = Some(limit + 1);
    let mut filter = FlavorFilter {
        min_ram: query_number(query, "minRam")?,
        min_disk: query_number(query, "minDisk")?,
        ..FlavorFilter::default()
    };
    match (request.caller().has_role("admin"), query.get("is_public")) {
        // Whoever is no administrator sees what they may use, whatever they say.
        (false, _) => filter.visible_to = visible_to(&request),
        (true, None) => filter.is_public = Some(true),
        (true, Some(text)) if text.eq_ignore_ascii_case("none") => {}
        (true, Some(text)) => {
            let parsed = truth(&json!(text));
            filter.is_public =
                Some(parsed.ok_or_else(|| Error::invalid(format!("Invalid is_public filter [{text}]")))?);
        }
    }
    let mut flavors = compute.db.read("flavor_list", move |tx| flavors::flavor_list_in_tx(tx, &filter, &page)).await?;
    let more = flavors.len() > limit;
    flavors.truncate(limit);
    let one = |flavor: &Flavor| if whole { view(&request, flavor) } else { brief(&request, flavor) };
    let mut body = json!({"flavors": flavors.iter().map(one).collect::<Vec<_>>()});
    if more && let Some(last) = flavors.last() {
        body["flavors_links"] = json!([{"rel": "next", "href": request.next_url(&last.copy.id)}]);
    }
    Ok(Reply::ok(&body))
}

/// `GET /flavors/{flavor_id}`
pub(crate) async fn show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let flavor = resolve(&compute, &request).await?;
    Ok(Reply::ok(&json!({"flavor": view(&request, &flavor)})))
}

/// `POST /flavors`
pub(crate) async fn create(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let body = request.json().await?;
    CREATE.check(&body, Some(request.version()))?;
    let asked = &body["flavor"];
    let amount = |key: &str| asked.get(key).and_then(number).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let id = match &asked["id"] {
        Value::Null => compute.env.uuid().to_string(),
        Value::String(id) if id == "auto" => compute.env.uuid().to_string(),
        Value::String(id) => id.clone(),
        other => other.to_string(),
    };
    let factor = match &asked["rxtx_factor"] {
        Value::Null => 1.0,
        Value::String(text) => text.parse::<f64>().unwrap_or(0.0),
        other => other.as_f64().unwrap_or(0.0),
    };
    if !(factor > 0.0 && factor.is_finite()) {
        return Err(Error::invalid("Invalid input for field/attribute rxtx_factor. It must be a positive number."));
    }
    let flavor = Flavor {
        copy: FlavorCopy {
            id,
            name: asked["name"].as_str().unwrap_or_default().to_owned(),
            vcpus: amount("vcpus"),
            memory_mb: amount("ram"),
            root_gb: amount("disk"),
            ephemeral_gb: amount("OS-FLV-EXT-DATA:ephemeral"),
            swap_mb: amount("swap"),
            extra_specs: BTreeMap::new(),
        },
        rxtx_factor: factor,
        is_public: asked.get("os-flavor-access:is_public").and_then(truth).unwrap_or(true),
        disabled: false,
        description: asked["description"].as_str().map(str::to_owned),
    };
    let now = compute.env.now();
    // Who makes a private flavor may use it.
    let owner = request.caller().project_id().cloned().filter(|_| !flavor.is_public);
    let new = flavor.clone();
    let work = move |tx: &mut Tx<'_>| {
        flavors::flavor_insert_in_tx(tx, &new, now)?;
        if let Some(owner) = &owner {
            flavors::access_add_in_tx(tx, &new.copy.id, owner)?;
        }
        Ok(())
    };
    compute.db.write("flavor_create", work).await?;
    Ok(Reply::ok(&json!({"flavor": view(&request, &flavor)})))
}

/// `PUT /flavors/{flavor_id}`
pub(crate) async fn update(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let body = request.json().await?;
    UPDATE.check(&body, Some(request.version()))?;
    let mut flavor = resolve(&compute, &request).await?;
    flavor.description = body["flavor"]["description"].as_str().map(str::to_owned);
    let (changed, now) = (flavor.clone(), compute.env.now());
    let work = move |tx: &mut Tx<'_>| {
        flavors::flavor_describe_in_tx(tx, &changed.copy.id, changed.description.as_deref(), now)
    };
    compute.db.write("flavor_update", work).await?;
    Ok(Reply::ok(&json!({"flavor": view(&request, &flavor)})))
}

/// `DELETE /flavors/{flavor_id}`
pub(crate) async fn delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let id = request.param("flavor_id").to_owned();
    let gone = id.clone();
    let found = compute.db.write("flavor_delete", move |tx| flavors::flavor_delete_in_tx(tx, &gone)).await?;
    if found { Ok(Reply::empty(StatusCode::ACCEPTED)) } else { Err(missing(&id)) }
}

/// `GET /flavors/{flavor_id}/os-extra_specs`
pub(crate) async fn specs_list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let flavor = resolve(&compute, &request).await?;
    Ok(Reply::ok(&json!({"extra_specs": flavor.copy.extra_specs})))
}

/// `POST /flavors/{flavor_id}/os-extra_specs`
pub(crate) async fn specs_create(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let body = request.json().await?;
    SPECS.check(&body, Some(request.version()))?;
    let flavor = resolve(&compute, &request).await?;
    let specs = texts(&body["extra_specs"]);
    let set = specs.clone();
    compute.db.write("flavor_specs", move |tx| flavors::specs_set_in_tx(tx, &flavor.copy.id, &set)).await?;
    Ok(Reply::ok(&json!({"extra_specs": specs})))
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let Some(map) = value.as_object() else { return BTreeMap::new() };
    map.iter()
        .map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

fn no_spec(flavor: &str, key: &str) -> Error {
    Error::not_found(format!("Flavor {flavor} has no extra specs with key {key}."))
}

/// `GET /flavors/{flavor_id}/os-extra_specs/{key}`
pub(crate) async fn spec_show(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let flavor = resolve(&compute, &request).await?;
    let key = request.param("key");
    let value = flavor.copy.extra_specs.get(key).ok_or_else(|| no_spec(&flavor.copy.id, key))?;
    Ok(Reply::ok(&json!({ key: value })))
}

/// `PUT /flavors/{flavor_id}/os-extra_specs/{key}`
pub(crate) async fn spec_update(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let body = request.json().await?;
    SPEC.check(&body, Some(request.version()))?;
    let specs = texts(&body);
    if !specs.contains_key(request.param("key")) {
        return Err(Error::invalid("Request body and URI mismatch"));
    }
    let flavor = resolve(&compute, &request).await?;
    let set = specs.clone();
    compute.db.write("flavor_specs", move |tx| flavors::specs_set_in_tx(tx, &flavor.copy.id, &set)).await?;
    Ok(Reply::ok(&specs))
}

/// `DELETE /flavors/{flavor_id}/os-extra_specs/{key}`
pub(crate) async fn spec_delete(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let flavor = resolve(&compute, &request).await?;
    let (id, key) = (flavor.copy.id.clone(), request.param("key").to_owned());
    let gone = compute.db.write("flavor_specs", move |tx| flavors::spec_delete_in_tx(tx, &id, &key)).await?;
    if gone { Ok(Reply::empty(StatusCode::OK)) } else { Err(no_spec(&flavor.copy.id, request.param("key"))) }
}

fn access_view(flavor: &str, projects: &[ProjectId]) -> Value {
    let list: Vec<Value> =
        projects.iter().map(|project| json!({"flavor_id": flavor, "tenant_id": project.as_str()})).collect();
    json!({"flavor_access": list})
}

/// `GET /flavors/{flavor_id}/os-flavor-access`
pub(crate) async fn access_list(compute: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let flavor = resolve(&compute, &request).await?;
    if flavor.is_public {
        return Err(Error::not_found("Access list not available for public flavors."));
    }
    let id = flavor.copy.id.clone();
    let projects = compute.db.read("flavor_access", move |tx| flavors::access_list_in_tx(tx, &id)).await?;
    Ok(Reply::ok(&access_view(&flavor.copy.id, &projects)))
}

/// `POST /flavors/{flavor_id}/action`
pub(crate) async fn action(compute: Arc<Compute>, mut request: Request) -> Result<Reply> {
    let target = Target::own(request.caller());
    let body = request.json().await?;
    let add = body.get("addTenantAccess").is_some();
    let rule = if add { "add_tenant_access" } else { "remove_tenant_access" };
    request.authorize_as(&format!("os_compute_api:os-flavor-access:{rule}"), &target)?;
    ACCESS.check(&body, Some(request.version()))?;
    let flavor = resolve(&compute, &request).await?;
    if add && flavor.is_public && request.version() >= V2_7 {
        return Err(Error::conflict("Can not add access to a public flavor."));
    }
    let tenant = &body[if add { "addTenantAccess" } else { "removeTenantAccess" }]["tenant"];
    let project = ProjectId::new(tenant.as_str().unwrap_or_default());
    let (id, wanted) = (flavor.copy.id.clone(), project.clone());
    let work = move |tx: &mut Tx<'_>| {
        let changed = if add {
            flavors::access_add_in_tx(tx, &id, &wanted)?
        } else {
            flavors::access_remove_in_tx(tx, &id, &wanted)?
        };
        Ok((changed, flavors::access_list_in_tx(tx, &id)?))
    };
    let (changed, projects) = compute.db.write("flavor_access", work).await?;
    let id = &flavor.copy.id;
    match (changed, add) {
        (true, _) => Ok(Reply::ok(&access_view(id, &projects))),
        (false, true) => Err(Error::conflict(format!(
            "Flavor access already exists for flavor {id} and project {project} combination."
        ))),
        (false, false) => Err(Error::not_found(format!("Flavor access not found for {id} / {project} combination."))),
    }
}
