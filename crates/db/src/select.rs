//! A query whose filters, order and page are optional.

use crate::{FromValue, Row, Tx, Value};
use ferrostack_types::{Result, SortDirection};

/// `?, ?, ?` for `count` values.
pub fn placeholders(count: usize) -> String {
    let mut text = "?, ".repeat(count);
    text.truncate(text.len().saturating_sub(2));
    text
}

/// A column of an ordering and, for the page after a marker, the marker row's value of it.
#[derive(Debug, Clone)]
pub struct Keyset {
    /// A column or expression; wrap nullable ones in `COALESCE`, since NULL compares to nothing.
    pub column: &'static str,
    /// Which way.
    pub direction: SortDirection,
}

/// Builds `SELECT ... WHERE ... ORDER BY ... LIMIT ...`.
///
/// Column names and conditions are `&'static str`: text from a client can only ever become a parameter.
#[derive(Debug, Clone)]
pub struct Select {
    head: &'static str,
    conditions: Vec<String>,
    params: Vec<Value>,
    order: Vec<Keyset>,
    limit: Option<usize>,
}

impl Select {
    /// `head` is `SELECT columns FROM tables` without a `WHERE`.
    pub fn new(head: &'static str) -> Select {
        Select { head, conditions: Vec::new(), params: Vec::new(), order: Vec::new(), limit: None }
    }

    /// Adds `AND (condition)`, whose one `?` is `value`.
    pub fn filter(mut self, condition: &'static str, value: impl Into<Value>) -> Select {
        self.conditions.push(condition.to_owned());
        self.params.push(value.into());
        self
    }

    /// Adds the filter if there is a value.
    pub fn filter_opt(self, condition: &'static str, value: Option<impl Into<Value>>) -> Select {
        match value {
            Some(value) => self.filter(condition, value),
            None => self,
        }
    }

    /// Adds `AND (condition)` with any number of placeholders.
    pub fn filter_with(mut self, condition: &'static str, values: impl IntoIterator<Item = Value>) -> Select {
        self.conditions.push(condition.to_owned());
        self.params.extend(values);
        self
    }

    /// Adds `AND column IN (values)`; no value at all finds nothing.
    pub fn filter_in<V: Into<Value>>(mut self, column: &'static str, values: impl IntoIterator<Item = V>) -> Select {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            self.conditions.push("1 = 0".to_owned());
        } else {
            self.conditions.push(format!("{column} IN ({})", placeholders(values.len())));
            self.params.extend(values);
        }
        self
    }

    /// Adds a key to the ordering. The last one must be unique, so that the order is total.
    pub fn order(mut self, column: &'static str, direction: SortDirection) -> Select {
        self.order.push(Keyset { column, direction });
        self
    }

    /// Only rows after the marker, whose values of the ordering's columns these are. Call after [`Select::order`].
    pub fn after(mut self, marker: &[Value]) -> Select {
        assert_eq!(marker.len(), self.order.len(), "a marker has one value for each key of the ordering");
        let mut alternatives = Vec::new();
        for (index, key) in self.order.iter().enumerate() {
            let mut all: Vec<String> = self.order[..index].iter().map(|k| format!("{} = ?", k.column)).collect();
            let comparison = if key.direction == SortDirection::Asc { ">" } else { "<" };
            all.push(format!("{} {comparison} ?", key.column));
            alternatives.push(format!("({})", all.join(" AND ")));
            self.params.extend_from_slice(&marker[..=index]);
        }
        if !alternatives.is_empty() {
            self.conditions.push(alternatives.join(" OR "));
        }
        self
    }

    /// At most so many rows.
    pub fn limit(mut self, limit: Option<usize>) -> Select {
        self.limit = limit;
        self
    }

    /// The columns of the ordering, for reading the marker row.
    pub fn order_columns(&self) -> String {
        self.order.iter().map(|k| k.column).collect::<Vec<_>>().join(", ")
    }

    /// Runs it.
    pub fn fetch<T>(&self, tx: &mut Tx<'_>, map: impl FnMut(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
        let (sql, params) = self.build();
        tx.query(&sql, &params, map)
    }

    /// Runs it and reads the first column of each row.
    pub fn fetch_scalars<T: FromValue>(&self, tx: &mut Tx<'_>) -> Result<Vec<T>> {
        self.fetch(tx, |row| row.get(0))
    }

    /// The statement and its parameters.
    pub fn build(&self) -> (String, Vec<Value>) {
        let mut sql = self.head.to_owned();
        for (index, condition) in self.conditions.iter().enumerate() {
            sql.push_str(if index == 0 { " WHERE (" } else { " AND (" });
            sql.push_str(condition);
            sql.push(')');
        }
        for (index, key) in self.order.iter().enumerate() {
            sql.push_str(if index == 0 { " ORDER BY " } else { ", " });
            sql.push_str(key.column);
            sql.push_str(if key.direction == SortDirection::Asc { " ASC" } else { " DESC" });
        }
        let mut params = self.params.clone();
        if let Some(limit) = self.limit {
            sql.push_str(" LIMIT ?");
            params.push(Value::from(limit));
        }
        (sql, params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_becomes_a_keyset_condition() {
        let (sql, params) = Select::new("SELECT id FROM t")
            .filter("project_id = ?", "p")
            .order("created_at", SortDirection::Desc)
            .order("id", SortDirection::Asc)
            .after(&[Value::Int(7), Value::Text("x".into())])
            .limit(Some(3))
            .build();
        assert_eq!(
            sql,
            "SELECT id FROM t WHERE (project_id = ?) AND ((created_at < ?) OR (created_at = ? AND id > ?)) \
             ORDER BY created_at DESC, id ASC LIMIT ?"
        );
        assert_eq!(params.len(), 5);
    }

    #[test]
    fn in_nothing_finds_nothing() {
        let (sql, _) = Select::new("SELECT id FROM t").filter_in("id", Vec::<String>::new()).build();
        assert_eq!(sql, "SELECT id FROM t WHERE (1 = 0)");
    }
}
