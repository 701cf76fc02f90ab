//! `GET /v2/images`

use super::view;
use crate::Images;
use crate::model::Eyes;
use crate::store::list::{self, Comparison, Filter, NUMBER_COLUMNS, SORTABLE, TEXT_COLUMNS, Wanted};
use ferrostack_rest::{Query, Reply, Request, Target};
use ferrostack_types::ids::ImageId;
use ferrostack_types::{Error, Result, SortDirection, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// How long a page is if nobody says, and at most.
const DEFAULT_LIMIT: usize = 25;
const MAX_LIMIT: usize = 1000;

/// Lists images.
pub async fn list(service: Arc<Images>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let wanted = parse(&request)?;
    let page = service.db.read("image_list", move |tx| list::image_list(tx, &wanted)).await?;
    let last = page.items.last().map(|image| image.id);
    let images: Vec<Value> = page.items.iter().map(view::image).collect();
    let mut body = json!({"images": images, "first": link(&request.query, None), "schema": "/v2/schemas/images"});
    if let Some(last) = last.filter(|_| page.more) {
        body["next"] = json!(link(&request.query, Some(&last.to_string())));
    }
    Ok(Reply::ok(&body))
}

/// Relative to the service, as clients of Glance expect it.
fn link(query: &Query, marker: Option<&str>) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(query.iter().filter(|(key, _)| *key != "marker"));
    if let Some(marker) = marker {
        text.append_pair("marker", marker);
    }
    let text = text.finish();
    if text.is_empty() { "/v2/images".to_owned() } else { format!("/v2/images?{text}") }
}

fn parse(request: &Request) -> Result<Wanted> {
    let query = &request.query;
    let member_status = query.get("member_status").unwrap_or("accepted").to_owned();
    if !["pending", "accepted", "rejected", "all"].contains(&member_status.as_str()) {
        return Err(Error::invalid(format!("Invalid status: {member_status}")));
    }
    let visibility = query.get("visibility").filter(|v| !v.is_empty()).map(str::to_owned);
    if let Some(other) = visibility.as_deref()
        && !["community", "public", "private", "shared", "all"].contains(&other)
    {
        return Err(Error::invalid(format!("Invalid visibility value: {other}")));
    }
    Ok(Wanted {
        eyes: Eyes::of(request.caller()),
        visibility,
        member_status,
        filters: filters(query)?,
        sort: sort(query)?,
        marker: marker(query)?,
        limit: limit(query)?,
    })
}

fn limit(query: &Query) -> Result<usize> {
    let Some(text) = query.get("limit") else { return Ok(DEFAULT_LIMIT) };
    let limit: i64 = text.trim().parse().map_err(|_| Error::invalid("limit param must be an integer"))?;
    let limit = usize::try_from(limit).map_err(|_| Error::invalid("limit param must be positive"))?;
    Ok(limit.min(MAX_LIMIT))
}

fn marker(query: &Query) -> Result<Option<ImageId>> {
    let unknown = |text: &str| Error::invalid(format!("Invalid marker. Image {text} could not be found."));
    query.get("marker").map(|text| ImageId::parse(text).ok_or_else(|| unknown(text))).transpose()
}

/// The ordering: what was asked for, and then the usual one, so that it is total.
fn sort(query: &Query) -> Result<Vec<(&'static str, SortDirection)>> {
    let key = |name: &str| {
        let known = SORTABLE.iter().map(|(known, _)| *known);
        known.clone().find(|known| *known == name).ok_or_else(|| {
            Error::invalid(format!(
                "Invalid sort key: {name}. It must be one of the following: {}.",
                known.collect::<Vec<_>>().join(", ")
            ))
        })
    };
    let direction = |text: &str| match text {
        "asc" => Ok(SortDirection::Asc),
        "desc" => Ok(SortDirection::Desc),
        other => Err(Error::invalid(format!("Invalid sort direction: {other}"))),
    };
    let mut sort = Vec::new();
    let mut rest = SortDirection::Desc;
    if let Some(text) = query.get("sort") {
        if query.has("sort_key") || query.has("sort_dir") {
            return Err(Error::invalid("Old and new sorting syntax cannot be combined"));
        }
        for part in text.trim().split(',') {
            let (name, way) = part.split_once(':').unwrap_or((part, "desc"));
            sort.push((key(name.trim())?, direction(way.trim())?));
        }
    } else {
        let ways: Vec<SortDirection> = query.all("sort_dir").map(|d| direction(d.trim())).collect::<Result<_>>()?;
        let keys: Vec<&'static str> = query.all("sort_key").map(|k| key(k.trim())).collect::<Result<_>>()?;
        let keys = if keys.is_empty() { vec!["created_at"] } else { keys };
        if ways.len() > 1 && ways.len() != keys.len() {
            return Err(Error::invalid("Number of sort dirs does not match the number of sort keys"));
        }
        for (index, name) in keys.into_iter().enumerate() {
            let way = ways.get(index).or(ways.first()).copied().unwrap_or(SortDirection::Desc);
            sort.push((name, way));
            rest = way;
        }
    }
    for name in ["created_at", "id"] {
        if !sort.iter().any(|(known, _)| *known == name) {
            sort.push((name, rest));
        }
    }
    Ok(sort)
}

/// Parameters that are no filters.
const OTHERS: [&str; 8] =
    ["limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "changes-since"];

/// Columns whose filter may be a list: `in:a,"b,c"`.
const LISTABLE: [&str; 5] = ["container_format", "disk_format", "id", "name", "status"];

fn filters(query: &Query) -> Result<Vec<Filter>> {
    if query.get("changes-since").is_some_and(|v| !v.is_empty()) {
        return Err(Error::invalid("The \"changes-since\" filter is no longer available on v2."));
    }
    let mut filters = Vec::new();
    if !query.has("os_hidden") {
        filters.push(Filter::Number("i.os_hidden = ?", 0));
    }
    for (key, value) in query.iter().filter(|(key, _)| !OTHERS.contains(key)) {
        filters.push(filter(key, value)?);
    }
    Ok(filters)
}

fn filter(key: &str, value: &str) -> Result<Filter> {
    let number = || -> Result<i64> {
        let parsed = value.trim().parse().ok().filter(|n: &i64| *n >= 0);
        parsed.ok_or_else(|| Error::invalid(format!("Invalid value '{value}' for '{key}' filter.")))
    };
    if let Some((_, column)) = TEXT_COLUMNS.iter().find(|(name, _)| *name == key) {
        let values = match value.strip_prefix("in:") {
            Some(values) if LISTABLE.contains(&key) => split(values)?,
            _ => vec![value.to_owned()],
        };
        return Ok(Filter::Text(column, values));
    }
    if let Some((_, condition)) = NUMBER_COLUMNS.iter().find(|(name, _)| *name == key) {
        let value = match (key, value.to_ascii_lowercase().as_str()) {
            ("protected" | "os_hidden", "true") => 1,
            ("protected" | "os_hidden", "false") => 0,
            ("protected" | "os_hidden", _) => {
                return Err(Error::invalid(format!(
                    "Invalid value '{value}' for '{key}' filter. Valid values are 'true' or 'false'."
                )));
            }
            _ => number()?,
        };
        return Ok(Filter::Number(condition, value));
    }
    Ok(match key {
        "tag" => Filter::Tag(value.trim().to_owned()),
        "size_min" => Filter::SizeMin(number()?),
        "size_max" => Filter::SizeMax(number()?),
        "created_at" => {
            let (comparison, time) = time(value)?;
            Filter::Created(comparison, time)
        }
        "updated_at" => {
            let (comparison, time) = time(value)?;
            Filter::Updated(comparison, time)
        }
        property => Filter::Property(property.to_owned(), value.to_owned()),
    })
}

/// `gt:2026-01-01T00:00:00Z`; without an operator, the same time.
fn time(text: &str) -> Result<(Comparison, Timestamp)> {
    use Comparison::{Eq, Gt, Gte, Lt, Lte, Neq};
    let operators = [("gte", Gte), ("gt", Gt), ("lte", Lte), ("lt", Lt), ("eq", Eq), ("neq", Neq)];
    let given = operators
        .iter()
        .find_map(|(name, comparison)| Some((*comparison, text.strip_prefix(name)?.strip_prefix(':')?)));
    let (comparison, time) = match given {
        Some(given) => given,
        None if text.split(':').next().is_some_and(|word| word.bytes().all(|b| b.is_ascii_alphabetic())) => {
            let word = text.split(':').next().unwrap_or_default();
            return Err(Error::invalid(format!("Unable to filter using the specified operator. {word}")));
        }
        None => (Eq, text),
    };
    let parsed = Timestamp::parse(time)
        .ok_or_else(|| Error::invalid(format!("Unable to filter on a range with a time that is none: {time}")))?;
    Ok((comparison, parsed))
}

/// `a,"b,c",d`: commas between quotes belong to the value.
fn split(text: &str) -> Result<Vec<String>> {
    let malformed = || Error::invalid(format!("Invalid filter value {text}. The quote is not closed."));
    let (mut values, mut value, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' if quoted => value.push(characters.next().ok_or_else(malformed)?),
            '"' => quoted = !quoted,
            ',' if !quoted => values.push(std::mem::take(&mut value)),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(malformed());
    }
    values.push(value);
    Ok(values)
}
