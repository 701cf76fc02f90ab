//! Statements inside a transaction.

use crate::error::from_sqlite;
use crate::value::{FromValue, Value, ValueRef};
use ferrostack_types::{Error, Result};
use rusqlite::types::{ToSqlOutput, ValueRef as SqliteValueRef};
use rusqlite::{Connection, ToSql};
use serde::de::DeserializeOwned;

/// Runs once the commit is durable.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

/// A transaction, as its closure sees it.
pub struct Tx<'a> {
    connection: &'a Connection,
    hooks: Vec<Hook>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Tx<'a> {
        Tx { connection, hooks: Vec::new() }
    }

    pub(crate) fn into_hooks(self) -> Vec<Hook> {
        self.hooks
    }

    /// Runs a statement; the number of rows that it changed.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<usize> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| from_sqlite(e, sql))?;
        statement.execute(rusqlite::params_from_iter(params)).map_err(|e| from_sqlite(e, sql))
    }

    /// Runs a query and turns each row into something.
    pub fn query<T>(
        &mut self,
        sql: &str,
        params: &[Value],
        mut map: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| from_sqlite(e, sql))?;
        let mut rows = statement.query(rusqlite::params_from_iter(params)).map_err(|e| from_sqlite(e, sql))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|e| from_sqlite(e, sql))? {
            found.push(map(&Row(row))?);
        }
        Ok(found)
    }

    /// The first row, if there is one.
    pub fn query_opt<T>(
        &mut self,
        sql: &str,
        params: &[Value],
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| from_sqlite(e, sql))?;
        let mut rows = statement.query(rusqlite::params_from_iter(params)).map_err(|e| from_sqlite(e, sql))?;
        match rows.next().map_err(|e| from_sqlite(e, sql))? {
            Some(row) => map(&Row(row)).map(Some),
            None => Ok(None),
        }
    }

    /// The one value of the one row of a query such as `SELECT COUNT(*) ...`.
    pub fn scalar<T: FromValue>(&mut self, sql: &str, params: &[Value]) -> Result<T> {
        self.query_opt(sql, params, |row| row.get(0))?.ok_or_else(|| Error::internal(format!("no row from: {sql}")))
    }

    /// Whether the query finds any row.
    pub fn exists(&mut self, sql: &str, params: &[Value]) -> Result<bool> {
        Ok(self.query_opt(sql, params, |_| Ok(()))?.is_some())
    }

    /// Runs `hook` once this transaction is durable, before its answer is given; never if it fails.
    /// For wake-ups and cache invalidation: short, must not fail, must not block.
    pub fn on_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }
}

/// A row of a result.
pub struct Row<'a>(&'a rusqlite::Row<'a>);

impl Row<'_> {
    /// A column's value, by position (from 0) or name. By position is faster; by name is for short results.
    pub fn get<T: FromValue>(&self, column: impl RowIndex) -> Result<T> {
        let value = column.of(self.0)?;
        T::from_value(value).map_err(|e| e.context(format!("column {}", column.label())))
    }

    /// A column of JSON text; NULL reads as JSON's `null`.
    pub fn json<T: DeserializeOwned>(&self, column: impl RowIndex) -> Result<T> {
        let text = match column.of(self.0)? {
            ValueRef::Text(text) => text,
            ValueRef::Null => "null",
            _ => return Err(Error::internal(format!("column {} does not hold JSON", column.label()))),
        };
        serde_json::from_str(text).map_err(|e| Error::from_source(format!("column {}", column.label()), e))
    }
}

/// A column, by position or name.
pub trait RowIndex {
    #[doc(hidden)]
    fn of<'a>(&self, row: &'a rusqlite::Row<'_>) -> Result<ValueRef<'a>>;
    #[doc(hidden)]
    fn label(&self) -> String;
}

impl RowIndex for usize {
    fn of<'a>(&self, row: &'a rusqlite::Row<'_>) -> Result<ValueRef<'a>> {
        convert(row.get_ref(*self))
    }
    fn label(&self) -> String {
        self.to_string()
    }
}

impl RowIndex for &str {
    fn of<'a>(&self, row: &'a rusqlite::Row<'_>) -> Result<ValueRef<'a>> {
        convert(row.get_ref(*self))
    }
    fn label(&self) -> String {
        (*self).to_owned()
    }
}

fn convert(value: rusqlite::Result<SqliteValueRef<'_>>) -> Result<ValueRef<'_>> {
    match value.map_err(|e| Error::from_source("read a column", e))? {
        SqliteValueRef::Null => Ok(ValueRef::Null),
        SqliteValueRef::Integer(i) => Ok(ValueRef::Int(i)),
        SqliteValueRef::Real(f) => Ok(ValueRef::Real(f)),
        SqliteValueRef::Text(text) => {
            std::str::from_utf8(text).map(ValueRef::Text).map_err(|e| Error::from_source("read a column", e))
        }
        SqliteValueRef::Blob(bytes) => Ok(ValueRef::Blob(bytes)),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => SqliteValueRef::Null,
            Value::Int(i) => SqliteValueRef::Integer(*i),
            Value::Real(f) => SqliteValueRef::Real(*f),
            Value::Text(text) => SqliteValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => SqliteValueRef::Blob(bytes),
        }))
    }
}
