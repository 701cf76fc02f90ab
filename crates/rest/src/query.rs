//! Query strings: filters, pages, orders.

use ferrostack_types::{Error, PageRequest, Result, SortDirection, SortKey};
use url::form_urlencoded;

/// A parsed query string: keys may repeat and keep their order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

/// How a resource's lists are paged and ordered.
#[derive(Debug, Clone, Copy)]
pub struct PagingRules {
    /// What may be sorted by, as the API names it.
    pub sortable: &'static [&'static str],
    /// The order when none is asked for.
    pub default_sort: &'static [(&'static str, SortDirection)],
    /// The largest page, and the page when no limit is asked for; `None` for unlimited.
    pub max_limit: Option<usize>,
    /// The page when no limit is asked for, if it is smaller than `max_limit` (Glance: 25).
    pub default_limit: Option<usize>,
    /// Which way a sort key goes that has no direction.
    pub default_direction: SortDirection,
}

impl Query {
    /// Parses; `+` and percent escapes are decoded.
    pub fn parse(text: &str) -> Query {
        Query(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The last value of a key: what Python's services take when a key repeats.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether the key is there, with or without a value.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// All keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// A key that may say true or false, as oslo's `bool_from_string(strict=True)` reads it.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "on" | "y" | "yes" => Ok(Some(true)),
            "0" | "f" | "false" | "off" | "n" | "no" => Ok(Some(false)),
            _ => Err(Error::invalid(format!(
                "Unrecognized value '{text}', acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'"
            ))),
        }
    }

    /// `limit`, `marker`, `sort_key`, `sort_dir`, `sort` and `page_reverse`.
    pub fn page(&self, rules: &PagingRules) -> Result<PageRequest> {
        Ok(PageRequest {
            limit: self.limit(rules)?,
            marker: self.get("marker").filter(|m| !m.is_empty()).map(str::to_owned),
            sort: self.sort(rules)?,
            reverse: self.get("page_reverse").is_some_and(|v| v.eq_ignore_ascii_case("true") || v == "1"),
        })
    }

    fn limit(&self, rules: &PagingRules) -> Result<Option<usize>> {
        let most = rules.max_limit.unwrap_or(usize::MAX);
        let asked = match self.get("limit") {
            None | Some("") => return Ok(rules.default_limit.or(rules.max_limit)),
            Some(text) => text,
        };
        if asked.starts_with('-') && asked[1..].parse::<u64>().is_ok() {
            return Err(Error::invalid("limit param must be positive"));
        }
        let limit: usize = asked.parse().map_err(|_| Error::invalid("limit param must be an integer"))?;
        // Nova and Neutron read 0 as "as many as there may be"; Glance, which differs, handles 0 itself.
        Ok(if limit == 0 { rules.max_limit } else { Some(limit.min(most)) })
    }

    fn sort(&self, rules: &PagingRules) -> Result<Vec<SortKey>> {
        let known = |name: &str| -> Result<&'static str> {
            rules.sortable.iter().copied().find(|s| *s == name).ok_or_else(|| {
                Error::invalid(format!(
                    "Invalid sort key provided: {name}. It must be one of: {}",
                    rules.sortable.join(", ")
                ))
            })
        };
        let direction = |text: &str| match text {
            "asc" => Ok(SortDirection::Asc),
            "desc" => Ok(SortDirection::Desc),
            other => Err(Error::invalid(format!("Unknown sort direction '{other}', must be one of: asc, desc"))),
        };
        let mut keys = Vec::new();
        // The one-parameter form: sort=name:asc,created_at
        for part in self.all("sort").flat_map(|s| s.split(',')).filter(|p| !p.is_empty()) {
            let (name, way) = part.split_once(':').unwrap_or((part, ""));
            let way = if way.is_empty() { rules.default_direction } else { direction(way)? };
            keys.push(SortKey { field: known(name)?, direction: way });
        }
        let directions: Vec<&str> = self.all("sort_dir").collect();
        for (index, name) in self.all("sort_key").enumerate() {
            // A single direction goes for all keys.
            let way = match directions.get(index).or(if directions.len() == 1 { directions.first() } else { None }) {
                Some(text) => direction(text)?,
                None => rules.default_direction,
            };
            keys.push(SortKey { field: known(name)?, direction: way });
        }
        if keys.is_empty() {
            let way = directions.first().map(|d| direction(d)).transpose()?;
            for (field, default) in rules.default_sort {
                keys.push(SortKey { field, direction: way.unwrap_or(*default) });
            }
        }
        Ok(keys)
    }

    /// The same query with another marker, for a `next` link.
    pub fn with_marker(&self, marker: &str) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        for (key, value) in self.iter().filter(|(k, _)| *k != "marker") {
            out.append_pair(key, value);
        }
        out.append_pair("marker", marker);
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: PagingRules = PagingRules {
        sortable: &["name", "created_at"],
        default_sort: &[("created_at", SortDirection::Desc)],
        max_limit: Some(1000),
        default_limit: None,
        default_direction: SortDirection::Desc,
    };

    #[test]
    fn pages_and_orders() {
        let page = Query::parse("limit=5000&marker=m&sort_key=name&sort_dir=asc").page(&RULES).unwrap();
        assert_eq!(page.limit, Some(1000));
        assert_eq!(page.sort, [SortKey { field: "name", direction: SortDirection::Asc }]);
        let page = Query::parse("sort=name:asc,created_at").page(&RULES).unwrap();
        assert_eq!(page.sort[1], SortKey { field: "created_at", direction: SortDirection::Desc });
        for bad in ["limit=-1", "limit=x", "sort_key=password", "sort_key=name&sort_dir=up"] {
            assert_eq!(Query::parse(bad).page(&RULES).unwrap_err().kind().status(), 400, "{bad}");
        }
        assert_eq!(Query::parse("a=1&marker=x").with_marker("y&z"), "a=1&marker=y%26z");
    }
}
