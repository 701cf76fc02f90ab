//! `GET /allocation_candidates`, and the query parameters that it shares with the list of providers.

use crate::Placement;
use crate::api::view::dated;
use crate::candidates::{self, Demand};
use crate::microversions::*;
use crate::model::Provider;
use crate::store::{names, providers};
use ferrostack_contracts::placement::Resources;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::ids::ProviderId;
use ferrostack_types::{Error, Microversion, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

fn bad(why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("Invalid query string parameters: {why}"))
}

/// `VCPU:2,MEMORY_MB:1024`
fn resources(text: &str) -> Result<Resources> {
    let malformed = |got: &str| {
        Error::invalid(format!(
            "Badly formed resources parameter. Expected resources query string parameter in form: \
             ?resources=VCPU:2,MEMORY_MB:1024. Got: {got}."
        ))
    };
    if text.trim().is_empty() {
        return Err(malformed("empty string"));
    }
    let mut all = Resources::new();
    for part in text.split(',') {
        let (class, amount) = part.split_once(':').filter(|(_, a)| !a.contains(':')).ok_or_else(|| malformed(part))?;
        let amount: i64 = amount.trim().parse().map_err(|_| {
            Error::invalid(format!("Requested resource {class} expected positive integer amount. Got: {amount}."))
        })?;
        let amount = u64::try_from(amount).ok().filter(|a| *a >= 1).ok_or_else(|| {
            Error::invalid(format!("Requested resource {class} requires amount >= 1. Got: {amount}."))
        })?;
        all.insert(class.to_owned(), amount);
    }
    Ok(all)
}

/// `A,!B` or `in:A,B`: what is required, what is forbidden.
fn traits(text: &str, version: Microversion) -> Result<(Vec<BTreeSet<String>>, BTreeSet<String>)> {
    let empty = |form: &str| {
        bad(format!("Expected 'required' parameter value of the form: {form}. Got an empty trait in: {text}"))
    };
    if let Some(list) = text.strip_prefix("in:") {
        if version < V39_ANY_TRAITS {
            return Err(bad(format!(
                "The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since microversion 1.39. Got: {text}"
            )));
        }
        let any: BTreeSet<String> = list.split(',').map(|t| t.trim().to_owned()).collect();
        if any.contains("") {
            return Err(empty("in:HW_CPU_X86_VMX,CUSTOM_MAGIC"));
        }
        if any.iter().any(|t| t.starts_with('!')) {
            return Err(bad(format!(
                "The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support forbidden traits. Got: {text}"
            )));
        }
        return Ok((vec![any], BTreeSet::new()));
    }
    let may_forbid = version >= V22_FORBIDDEN_TRAITS;
    let form = if may_forbid { "HW_CPU_X86_VMX,!CUSTOM_MAGIC" } else { "HW_CPU_X86_VMX,CUSTOM_MAGIC" };
    let (mut required, mut forbidden) = (Vec::new(), BTreeSet::new());
    for name in text.split(',').map(str::trim) {
        let plain = name.trim_start_matches('!');
        if plain.is_empty() {
            return Err(empty(form));
        }
        if plain.len() == name.len() {
            required.push(BTreeSet::from([name.to_owned()]));
        } else if may_forbid {
            forbidden.insert(plain.to_owned());
        } else {
            return Err(bad(format!("Expected 'required' parameter value of the form: {form}. Got: {text}")));
        }
    }
    Ok((required, forbidden))
}

/// `uuid`, `in:uuid,uuid`, `!uuid`, `!in:uuid,uuid`: what is required, what is forbidden.
fn aggregates(text: &str) -> Result<(BTreeSet<Uuid>, BTreeSet<Uuid>)> {
    let lists = text.starts_with("in:") || text.starts_with("!in:");
    if text.contains(',') && !lists {
        return Err(Error::invalid(format!(
            "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid \
             microversion. Got: {text}"
        )));
    }
    let forbids = text.starts_with('!');
    let list = text.strip_prefix('!').unwrap_or(text);
    let list = list.strip_prefix("in:").unwrap_or(list);
    let ids = list.split(',').map(|id| {
        Uuid::try_parse(id)
            .map_err(|_| bad(format!("Expected 'member_of' parameter to contain valid UUID(s). Got: {id}")))
    });
    let ids: BTreeSet<Uuid> = ids.collect::<Result<_>>()?;
    Ok(if forbids { (BTreeSet::new(), ids) } else { (ids, BTreeSet::new()) })
}

/// What the parameters with this suffix ask for; `in_tree` apart where the version does not know it.
pub(crate) fn demand(request: &Request, suffix: &str) -> Result<Demand> {
    let version = request.version();
    let key = |name: &str| format!("{name}{suffix}");
    let mut demand = Demand::default();
    if let Some(text) = request.query.get(&key("resources")) {
        demand.resources = resources(text)?;
    }
    let name = key("required");
    let values: Vec<&str> = if version >= V39_ANY_TRAITS {
        request.query.all(&name).collect()
    } else {
        // Only the last one counted before repeating meant anything.
        request.query.get(&name).into_iter().collect()
    };
    for text in values {
        let (required, forbidden) = traits(text, version)?;
        demand.required.extend(required);
        demand.forbidden.extend(forbidden);
    }
    let name = key("member_of");
    if version < V24_MEMBER_OF_REPEATED && request.query.all(&name).count() > 1 {
        return Err(Error::invalid(format!("Multiple {name} parameters are not supported")));
    }
    for text in request.query.all(&name) {
        let (required, forbidden) = aggregates(text)?;
        if !forbidden.is_empty() && version < V32_FORBIDDEN_AGGREGATES {
            return Err(Error::invalid(format!(
                "Forbidden {name} parameters are not supported in the specified microversion"
            )));
        }
        if !required.is_empty() {
            demand.member_of.push(required);
        }
        demand.not_member_of.extend(forbidden);
    }
    if let Some(text) = request.query.get(&key("in_tree")) {
        let id = ProviderId::parse(text.trim());
        demand.in_tree =
            Some(id.ok_or_else(|| bad(format!("Expected 'in_tree' parameter to be a format of uuid. Got: {text}")))?);
    }
    Ok(demand)
}

const GROUPED: [(&str, Microversion); 4] = [
    ("resources", V10_CANDIDATES),
    ("required", V17_REQUIRED),
    ("member_of", V21_CANDIDATES_MEMBER_OF),
    ("in_tree", V31_IN_TREE),
];

/// The suffix of a grouped parameter, if it is one that this version knows.
fn suffix_of(key: &str, version: Microversion) -> Option<&str> {
    GROUPED.iter().filter(|(_, since)| version >= *since).find_map(|(name, _)| {
        let suffix = key.strip_prefix(name)?;
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let known = suffix.is_empty()
            || (version >= V33_NAMED_GROUPS && suffix.len() <= 64 && suffix.bytes().all(word))
            || (version >= V25_GROUPS && !suffix.starts_with('0') && suffix.bytes().all(|b| b.is_ascii_digit()));
        known.then_some(suffix)
    })
}

/// The whole request.
fn parse(request: &Request) -> Result<candidates::Request> {
    let version = request.version();
    let wide = [
        ("limit", V16_LIMIT),
        ("group_policy", V25_GROUPS),
        ("root_required", V35_ROOT_REQUIRED),
        ("same_subtree", V36_SAME_SUBTREE),
    ];
    let mut parsed = candidates::Request { nested: version >= V29_NESTED, ..candidates::Request::default() };
    for (key, _) in request.query.iter() {
        if wide.iter().any(|(name, since)| *name == key && version >= *since) {
            continue;
        }
        let suffix = suffix_of(key, version)
            .ok_or_else(|| bad(format!("Additional properties are not allowed ('{key}' was unexpected)")))?;
        if !parsed.groups.contains_key(suffix) {
            parsed.groups.insert(suffix.to_owned(), demand(request, suffix)?);
        }
    }
    if let Some(text) = request.query.get("limit") {
        let digits = !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        parsed.limit = Some(
            text.parse()
                .ok()
                .filter(|_| digits)
                .ok_or_else(|| bad(format!("'{text}' does not match '^[1-9][0-9]*$'")))?,
        );
    }
    let policy = request.query.get("group_policy");
    if let Some(other) = policy.filter(|p| !matches!(*p, "none" | "isolate")) {
        return Err(bad(format!("'{other}' is not one of ['none', 'isolate']")));
    }
    parsed.isolate = policy == Some("isolate");
    wide_traits(request, &mut parsed)?;
    for text in request.query.all("same_subtree") {
        let suffixes: BTreeSet<String> = text.split(',').map(|s| s.trim().to_owned()).collect();
        if suffixes.contains("") {
            return Err(bad_value(
                "Empty string (unsuffixed group) can not be specified in `same_subtree` ".to_owned(),
            ));
        }
        parsed.same_subtree.push(suffixes);
    }
    check(&parsed, version, policy.is_some())?;
    Ok(parsed)
}

fn bad_value(text: String) -> Error {
    Error::invalid(text).with_code("placement.query.bad_value")
}

fn wide_traits(request: &Request, parsed: &mut candidates::Request) -> Result<()> {
    let values: Vec<&str> = request.query.all("root_required").collect();
    let text = match values.as_slice() {
        [] => return Ok(()),
        [text] => *text,
        _ => {
            return Err(Error::invalid("Query parameter 'root_required' may be specified only once.")
                .with_code("placement.query.duplicate_key"));
        }
    };
    // Without `in:` at any version.
    let (required, forbidden) = traits(text, request.version().min(V38_CONSUMER_TYPE))?;
    parsed.root_required = required.into_iter().flatten().collect();
    parsed.root_forbidden = forbidden;
    let both: Vec<&String> = parsed.root_required.intersection(&parsed.root_forbidden).collect();
    if let Some(name) = both.first() {
        return Err(bad_value(format!("Conflicting required and forbidden traits found in root_required: {name}")));
    }
    Ok(())
}

/// What no single parameter shows to be wrong.
fn check(parsed: &candidates::Request, version: Microversion, has_policy: bool) -> Result<()> {
    let groups = &parsed.groups;
    let list = |suffixes: Vec<&String>| suffixes.iter().map(|s| format!("'{s}'")).collect::<Vec<_>>().join(", ");
    let without: Vec<&String> = groups.iter().filter(|(_, d)| d.resources.is_empty()).map(|(s, _)| s).collect();
    if version >= V36_SAME_SUBTREE {
        if without.len() == groups.len() {
            return Err(Error::invalid("There must be at least one resources or resources[$S] parameter.")
                .with_code("placement.query.missing_value"));
        }
        let tied: BTreeSet<&String> = parsed.same_subtree.iter().flatten().collect();
        let loose: Vec<&String> = without.into_iter().filter(|s| !tied.contains(s)).collect();
        if !loose.is_empty() {
            return Err(bad_value(format!(
                "Resourceless suffixed group request should be specified in `same_subtree` query param: bad \
                 group(s) - [{}].",
                list(loose)
            )));
        }
        let unknown: Vec<&String> = tied.into_iter().filter(|s| !groups.contains_key(*s)).collect();
        if !unknown.is_empty() {
            return Err(bad_value(format!(
                "Real suffixes should be specified in `same_subtree`: [{}] not found in [{}].",
                list(unknown),
                list(groups.keys().collect())
            )));
        }
    } else if version < V25_GROUPS && !groups.contains_key("") {
        return Err(bad("'resources' is a required property"));
    } else if groups.is_empty() {
        return Err(Error::invalid("At least one request group (`resources` or `resources{$S}`) is required."));
    } else if let Some(suffix) = without.first() {
        let orphan = &groups[*suffix];
        return Err(Error::invalid(if !orphan.required.is_empty() {
            format!(
                "All traits parameters must be associated with resources.  Found the following orphaned traits keys: \
                 required{suffix}"
            )
        } else if orphan.needs_roots() {
            format!(
                "All member_of parameters must be associated with resources. Found the following orphaned member_of \
                 keys: member_of{suffix}"
            )
        } else {
            "All request groups must specify resources.".to_owned()
        }));
    }
    for (suffix, demand) in groups {
        if let Some(any) = demand.required.iter().find(|any| any.is_subset(&demand.forbidden)) {
            let names = any.iter().cloned().collect::<Vec<_>>().join(", ");
            return Err(Error::invalid(format!(
                "Conflicting required and forbidden traits found in the following traits keys: required{suffix}: \
                 ({names})"
            )));
        }
    }
    if !has_policy && groups.keys().filter(|s| !s.is_empty()).count() > 1 {
        return Err(Error::invalid(
            "The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter.",
        ));
    }
    Ok(())
}

/// `GET /allocation_candidates`
pub async fn list(service: Arc<Placement>, request: Request) -> Result<Reply> {
    request.authorize(&Target::none())?;
    let parsed = parse(&request)?;
    let classes: BTreeSet<String> = parsed.groups.values().flat_map(|d| d.resources.keys().cloned()).collect();
    let mut named: BTreeSet<String> = parsed.groups.values().flat_map(Demand::trait_names).collect();
    named.extend(parsed.root_required.iter().chain(&parsed.root_forbidden).cloned());
    service
        .db
        .read("placement_candidate_names", {
            let classes = classes.clone();
            move |tx| {
                for class in &classes {
                    if !names::class_exists(tx, class)? {
                        return Err(Error::invalid(format!(
                            "Invalid resource class in resources parameter: No such resource class {class}."
                        )));
                    }
                }
                let missing = providers::unknown_traits(tx, &named)?;
                if missing.is_empty() {
                    Ok(())
                } else {
                    Err(Error::invalid(format!("No such trait(s): {}.", missing.join(", "))))
                }
            }
        })
        .await?;
    let found = candidates::search(&service.snapshot.all(), &parsed);
    let version = request.version();
    let requests: Vec<Value> = found
        .ways
        .iter()
        .map(|way| {
            let mut view = if version >= V12_ALLOCATIONS_DICT { as_dict(&way.takes) } else { as_list(&way.takes) };
            if version >= V34_MAPPINGS {
                let mappings: Map<String, Value> = way
                    .mappings
                    .iter()
                    .map(|(suffix, ids)| (suffix.clone(), json!(ids.iter().map(|i| i.to_string()).collect::<Vec<_>>())))
                    .collect();
                view["mappings"] = Value::Object(mappings);
            }
            view
        })
        .collect();
    let summaries: Map<String, Value> =
        found.providers.iter().map(|p| (p.id.to_string(), summary(p, &classes, version))).collect();
    let view = json!({"allocation_requests": requests, "provider_summaries": summaries});
    Ok(dated(Reply::ok(&view), &request, None))
}

type Takes = BTreeMap<ProviderId, BTreeMap<String, u64>>;

fn as_dict(takes: &Takes) -> Value {
    let all: Map<String, Value> =
        takes.iter().map(|(id, resources)| (id.to_string(), json!({"resources": resources}))).collect();
    json!({"allocations": all})
}

fn as_list(takes: &Takes) -> Value {
    let all: Vec<Value> = takes
        .iter()
        .map(|(id, resources)| json!({"resource_provider": {"uuid": id.to_string()}, "resources": resources}))
        .collect();
    json!({"allocations": all})
}

fn summary(provider: &Provider, asked: &BTreeSet<String>, version: Microversion) -> Value {
    let shown = provider.stock.iter().filter(|s| version >= V27_ALL_CLASSES || asked.contains(&*s.class));
    let resources: Map<String, Value> =
        shown.map(|s| (s.class.to_string(), json!({"capacity": s.capacity(), "used": s.used}))).collect();
    let mut view = json!({"resources": resources});
    if version >= V17_REQUIRED {
        view["traits"] = json!(provider.traits.iter().map(|t| &**t).collect::<Vec<_>>());
    }
    if version >= V29_NESTED {
        view["parent_provider_uuid"] = provider.parent.map_or(Value::Null, |id| json!(id.to_string()));
        view["root_provider_uuid"] = json!(provider.root.to_string());
    }
    view
}
