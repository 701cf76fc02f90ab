//! The database behind one handle.
//!
//! A transaction is a closure over [`Tx`]; it runs to its end on a thread of the database's, never holds anything
//! over an `await`, and may be run more than once. That one decision buys three things:
//!
//! * **Grouped durable commits** on SQLite: one writer takes whatever is waiting, runs each closure in a savepoint of
//!   its own and makes one durable commit for all of them. No answer is given before its commit is on disk, yet
//!   throughput does not depend on how long an fsync takes.
//! * **Retry** on databases that abort transactions (deadlock, serialization failure): the closure is simply run again.
//! * **Replay**: nothing hides in a library's own threads.
//!
//! ```text
//!   write(f) ──► queue ──► writer thread: BEGIN · SAVEPOINT f₁ RELEASE · SAVEPOINT f₂ ROLLBACK · ... · COMMIT (fsync)
//!                                                                     └─► on_commit hooks, then the answers
//!   read(f)  ──► queue ──► one of the readers, each a snapshot of its own; never waits for the writer
//! ```
//!
//! What a closure must not do: anything that is not the database. Its effects would happen again on a retry, or
//! stay when the commit fails. Hooks that belong to a commit (wake-ups, cache invalidation) go to [`Tx::on_commit`].
//!
//! SQL is written by hand, portable, with `?` placeholders; [`Select`] helps where filters are optional.

mod error;
mod migrate;
mod queue;
mod select;
mod sqlite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tx;
mod value;

pub use error::{is_foreign_key_violation, is_unique_violation};
pub use migrate::Migration;
pub use select::{Keyset, Select, placeholders};
pub use sqlite::{Durability, SqliteConfig};
pub use tx::{Row, RowIndex, Tx};
pub use value::{FromValue, Value, ValueRef};

use ferrostack_types::{Env, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The parameters of a statement: `params![id, name, now]`.
#[macro_export]
macro_rules! params {
    () => { &[] as &[$crate::Value] };
    ($($value:expr),+ $(,)?) => { &[$($crate::Value::from($value)),+] as &[$crate::Value] };
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    arm: Arc<sqlite::Sqlite>,
}

/// Counters of a database since it was opened.
#[derive(Debug, Default)]
pub struct Stats {
    /// Durable commits made.
    pub commits: AtomicU64,
    /// Write transactions carried by them; divided by `commits`, the size of a commit group.
    pub writes: AtomicU64,
    /// Write transactions that ended with an error and left nothing.
    pub failed_writes: AtomicU64,
    /// Read transactions.
    pub reads: AtomicU64,
}

impl Stats {
    /// How many write transactions a commit carried on average.
    pub fn mean_group(&self) -> f64 {
        let commits = self.commits.load(Ordering::Relaxed).max(1);
        self.writes.load(Ordering::Relaxed) as f64 / commits as f64
    }
}

impl Db {
    /// Opens (and creates) an SQLite database and brings its schema up to date.
    pub async fn sqlite(config: SqliteConfig, migrations: &[&'static [Migration]], env: &Env) -> Result<Db> {
        let db = Db { arm: Arc::new(sqlite::Sqlite::open(config)?) };
        migrate::run(&db, migrations, env).await?;
        Ok(db)
    }

    /// Runs a transaction that may write. It is answered once its commit is durable; on an error nothing of it is left.
    /// `what` names it in logs and metrics.
    pub async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.arm.write(what, work).await
    }

    /// Runs a transaction that only reads, on a consistent snapshot that contains every write answered before.
    pub async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.arm.read(what, work).await
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        self.arm.stats()
    }

    /// Finishes what is queued and closes. Later calls are refused as unavailable.
    pub async fn close(&self) {
        self.arm.close().await;
    }
}
