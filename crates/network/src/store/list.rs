//! Lists: filters by any field, orders, keyset pages. What a client writes only ever becomes a parameter.

use crate::{address, errors};
use ferrostack_db::{Row, Tx, Value, placeholders};
use ferrostack_rest::Query;
use ferrostack_types::{Result, SortDirection};
use std::net::IpAddr;

/// How a filter's text becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bool,
    Int,
    /// An address in its sortable form.
    Ip,
}

/// A field that a list can be filtered by: `before IN (values) after`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    name: &'static str,
    kind: Kind,
    before: &'static str,
    after: &'static str,
}

/// A filter on a column or an expression.
pub(crate) const fn column(name: &'static str, kind: Kind, column: &'static str) -> Filter {
    Filter { name, kind, before: column, after: "" }
}

/// A filter inside a subquery.
pub(crate) const fn within(name: &'static str, kind: Kind, before: &'static str, after: &'static str) -> Filter {
    Filter { name, kind, before, after }
}

/// What a resource's lists are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListSpec {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static str,
    pub(crate) filters: &'static [Filter],
    /// What may be sorted by: the API's name and the column, with NULLs wrapped.
    pub(crate) sorts: &'static [(&'static str, &'static str)],
}

/// A condition and its values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// A list as it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct ListQuery {
    conditions: Vec<Condition>,
    sort: Vec<(&'static str, SortDirection)>,
    pub(crate) limit: Option<usize>,
    pub(crate) marker: Option<String>,
    pub(crate) reverse: bool,
}

/// Keys of the query string that are not filters.
const NOT_FILTERS: &[&str] = &["fields", "limit", "marker", "sort_key", "sort_dir", "page_reverse", "verbose"];

impl ListQuery {
    /// Reads the query string; refuses filters and orders that the resource does not have.
    pub(crate) fn parse(spec: &ListSpec, query: &Query) -> Result<ListQuery> {
        let mut conditions = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        let mut unknown: Vec<String> = Vec::new();
        for (key, _) in query.iter() {
            if NOT_FILTERS.contains(&key) || seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let values: Vec<&str> = query.all(key).collect();
            match condition(spec, key, &values)? {
                Some(condition) => conditions.push(condition),
                None => unknown.push(format!("'{key}'")),
            }
        }
        if !unknown.is_empty() {
            return Err(errors::bad_request(format!("[{}] is invalid attribute for filtering", unknown.join(", "))));
        }
        let reverse = query.get("page_reverse").is_some_and(|v| v.eq_ignore_ascii_case("true") || v == "1");
        Ok(ListQuery {
            conditions,
            sort: sort(spec, query)?,
            limit: limit(query)?,
            marker: query.get("marker").filter(|m| !m.is_empty()).map(str::to_owned),
            reverse,
        })
    }

    /// Only rows that this holds for.
    pub(crate) fn only(&mut self, sql: &str, values: Vec<Value>) {
        self.conditions.push(Condition { sql: sql.to_owned(), values });
    }

    /// Runs it. `missing` is the answer when the marker's row is not there.
    pub(crate) fn fetch<T>(
        &self,
        tx: &mut Tx<'_>,
        spec: &ListSpec,
        missing: impl FnOnce(&str) -> ferrostack_types::Error,
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut conditions = self.conditions.clone();
        let flip = |direction: SortDirection| match (direction, self.reverse) {
            (SortDirection::Asc, false) | (SortDirection::Desc, true) => "ASC",
            _ => "DESC",
        };
        let order: Vec<(&str, &str)> = self.sort.iter().map(|(column, way)| (*column, flip(*way))).collect();
        if let (Some(marker), Some(_)) = (&self.marker, self.limit) {
            let columns = order.iter().map(|(column, _)| *column).collect::<Vec<_>>().join(", ");
            let sql = format!("SELECT {columns} FROM {} WHERE id = ?", spec.table);
            let at = tx.query_opt(&sql, &[Value::from(marker)], |row| {
                (0..order.len()).map(|i| raw(row, i)).collect::<Result<Vec<Value>>>()
            })?;
            let at = at.ok_or_else(|| missing(marker))?;
            conditions.push(after(&order, &at));
        }
        let mut sql = format!("SELECT {} FROM {}", spec.columns, spec.table);
        let mut values = Vec::new();
        for (index, condition) in conditions.into_iter().enumerate() {
            sql.push_str(if index == 0 { " WHERE (" } else { " AND (" });
            sql.push_str(&condition.sql);
            sql.push(')');
            values.extend(condition.values);
        }
        let order: Vec<String> = order.iter().map(|(column, way)| format!("{column} {way}")).collect();
        sql.push_str(&format!(" ORDER BY {}", order.join(", ")));
        if let Some(limit) = self.limit {
            sql.push_str(" LIMIT ?");
            values.push(Value::from(limit));
        }
        let mut rows = tx.query(&sql, &values, read)?;
        if self.reverse {
            rows.reverse();
        }
        Ok(rows)
    }
}

/// A column of the marker's row, whatever its type is.
fn raw(row: &Row<'_>, index: usize) -> Result<Value> {
    match row.get::<i64>(index) {
        Ok(number) => Ok(Value::Int(number)),
        Err(_) => row.get::<String>(index).map(Value::Text),
    }
}

fn after(order: &[(&str, &str)], at: &[Value]) -> Condition {
    let (mut alternatives, mut values) = (Vec::new(), Vec::new());
    for (index, (column, way)) in order.iter().enumerate() {
        let mut all: Vec<String> = order[..index].iter().map(|(column, _)| format!("{column} = ?")).collect();
        all.push(format!("{column} {} ?", if *way == "ASC" { ">" } else { "<" }));
        alternatives.push(format!("({})", all.join(" AND ")));
        values.extend_from_slice(&at[..=index]);
    }
    Condition { sql: alternatives.join(" OR "), values }
}

fn condition(spec: &ListSpec, key: &str, values: &[&str]) -> Result<Option<Condition>> {
    if let Some(condition) = tags(key, values) {
        return Ok(Some(condition));
    }
    if key == "fixed_ips" && spec.table == crate::store::ports::TABLE {
        return fixed_ips(values).map(Some);
    }
    let Some(filter) = spec.filters.iter().find(|f| f.name == key) else { return Ok(None) };
    let values: Vec<Value> = values.iter().map(|text| convert(filter.kind, text)).collect::<Result<_>>()?;
    let sql = format!("{} IN ({}){}", filter.before, placeholders(values.len()), filter.after);
    Ok(Some(Condition { sql, values }))
}

fn convert(kind: Kind, text: &str) -> Result<Value> {
    Ok(match kind {
        Kind::Text => Value::from(text),
        Kind::Bool => Value::from(match text.to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(errors::invalid_input(format!("'{text}' cannot be converted to boolean"))),
        }),
        Kind::Int => match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => return Err(errors::invalid_input(format!("'{text}' is not an integer"))),
        },
        // What is no address is nobody's address.
        Kind::Ip => Value::from(text.parse::<IpAddr>().map_or_else(|_| "-".to_owned(), address::key)),
    })
}

/// `tags` (all of them), `tags-any`, `not-tags` (not all of them), `not-tags-any`.
fn tags(key: &str, values: &[&str]) -> Option<Condition> {
    let tags: Vec<Value> =
        values.iter().flat_map(|v| v.split(',')).filter(|t| !t.is_empty()).map(Value::from).collect();
    let any = || format!("id IN (SELECT object_id FROM network_tags WHERE tag IN ({}))", placeholders(tags.len()));
    let all = || vec!["id IN (SELECT object_id FROM network_tags WHERE tag = ?)"; tags.len()].join(" AND ");
    let sql = match key {
        "tags" | "tags-any" | "not-tags" | "not-tags-any" if tags.is_empty() => "1 = 1".to_owned(),
        "tags" => all(),
        "tags-any" => any(),
        "not-tags" => format!("NOT ({})", all()),
        "not-tags-any" => format!("NOT ({})", any()),
        _ => return None,
    };
    Some(Condition { sql, values: tags })
}

/// `fixed_ips=ip_address=10.0.0.5`, `fixed_ips=subnet_id=...`: the same key again means "or", another one "and".
fn fixed_ips(values: &[&str]) -> Result<Condition> {
    let (mut ips, mut subnets) = (Vec::new(), Vec::new());
    for text in values {
        match text.split_once('=') {
            Some(("ip_address", ip)) => ips.push(convert(Kind::Ip, ip)?),
            Some(("subnet_id" | "subnet", id)) => subnets.push(Value::from(id)),
            _ => return Err(errors::invalid_input(format!("'{text}' is not of the form <key>=[value]"))),
        }
    }
    let part = |column: &str, values: &[Value]| {
        if values.is_empty() {
            return "1 = 1".to_owned();
        }
        let list = placeholders(values.len());
        format!("id IN (SELECT port_id FROM network_allocations WHERE {column} IN ({list}))")
    };
    let sql = format!("{} AND {}", part("ip", &ips), part("subnet_id", &subnets));
    ips.append(&mut subnets);
    Ok(Condition { sql, values: ips })
}

fn limit(query: &Query) -> Result<Option<usize>> {
    match query.get("limit") {
        None | Some("") => Ok(None),
        Some(text) => match text.parse::<usize>() {
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(errors::bad_request(format!("Limit must be an integer 0 or greater and not '{text}'"))),
        },
    }
}

fn sort(spec: &ListSpec, query: &Query) -> Result<Vec<(&'static str, SortDirection)>> {
    let keys: Vec<&str> = query.all("sort_key").collect();
    let directions: Vec<&str> = query.all("sort_dir").collect();
    if !directions.is_empty() && keys.len() != directions.len() {
        return Err(errors::bad_request("The number of sort_keys and sort_dirs must be same"));
    }
    let mut sort = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let Some((_, column)) = spec.sorts.iter().find(|(name, _)| name == key) else {
            return Err(errors::bad_request(format!("['{key}'] is invalid attribute for sort_keys")));
        };
        let way = match directions.get(index).copied() {
            None | Some("asc") => SortDirection::Asc,
            Some("desc") => SortDirection::Desc,
            Some(other) => {
                return Err(errors::bad_request(format!(
                    "['{other}'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'"
                )));
            }
        };
        sort.push((*column, way));
    }
    if !sort.iter().any(|(column, _)| *column == "id") {
        sort.push(("id", SortDirection::Asc));
    }
    Ok(sort)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ListSpec = ListSpec {
        table: "t",
        columns: "id",
        filters: &[column("name", Kind::Text, "name"), column("shared", Kind::Bool, "shared")],
        sorts: &[("id", "id"), ("name", "name")],
    };

    #[test]
    fn client_text_is_only_ever_a_parameter() {
        let query = Query::parse("name=a'--&name=b&shared=True&tags=x,y&not-tags-any=z");
        let list = ListQuery::parse(&SPEC, &query).unwrap();
        let sql: Vec<&str> = list.conditions.iter().map(|c| c.sql.as_str()).collect();
        assert_eq!(sql[0], "name IN (?, ?)");
        assert_eq!(sql[1], "shared IN (?)");
        assert_eq!(list.conditions[2].values.len(), 2);
        assert!(sql[3].starts_with("NOT (id IN"));
        assert!(sql.iter().all(|s| !s.contains("a'")));
    }

    #[test]
    fn refuses_what_the_resource_does_not_have() {
        for bad in
            ["colour=red", "shared=perhaps", "limit=-1", "limit=x", "sort_key=colour", "sort_key=name&sort_dir=up"]
        {
            let error = ListQuery::parse(&SPEC, &Query::parse(bad)).unwrap_err();
            assert_eq!(error.kind().status(), 400, "{bad}");
        }
    }
}
