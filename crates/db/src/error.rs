//! What a database's errors mean to us.

use ferrostack_types::{Error, Kind};

const UNIQUE: &str = "db_unique_violation";
const FOREIGN_KEY: &str = "db_foreign_key_violation";

/// Whether a row with the same unique key is there already.
pub fn is_unique_violation(error: &Error) -> bool {
    error.code() == Some(UNIQUE)
}

/// Whether a row is still (or not yet) referred to.
pub fn is_foreign_key_violation(error: &Error) -> bool {
    error.code() == Some(FOREIGN_KEY)
}

/// Translates; `sql` goes into the internal text only.
pub(crate) fn from_sqlite(error: rusqlite::Error, sql: &str) -> Error {
    use rusqlite::ErrorCode;
    use rusqlite::ffi;
    let context = || format!("statement: {}", sql.split_whitespace().collect::<Vec<_>>().join(" "));
    if let rusqlite::Error::SqliteFailure(failure, _) = &error {
        match (failure.code, failure.extended_code) {
            (_, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => {
                return Error::conflict("An object with the same identity exists already.")
                    .with_code(UNIQUE)
                    .context(context())
                    .with_source(error);
            }
            (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => {
                return Error::conflict("The object is in use or refers to something that does not exist.")
                    .with_code(FOREIGN_KEY)
                    .context(context())
                    .with_source(error);
            }
            (ErrorCode::DiskFull, _) => {
                return Error::unavailable("The database's disk is full; free some space and try again.")
                    .context(context())
                    .with_source(error);
            }
            (ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure, _) => {
                return Error::unavailable("The database cannot be written at the moment.")
                    .context(context())
                    .with_source(error);
            }
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => {
                return Error::new(Kind::Unavailable, "The database is busy; try again.")
                    .context(context())
                    .with_source(error);
            }
            _ => {}
        }
    }
    Error::from_source(context(), error)
}
