//! SQLite: one writer that groups commits, several readers, all on threads of their own.

use crate::Stats;
use crate::error::from_sqlite;
use crate::queue::Queue;
use crate::tx::{Hook, Tx};
use ferrostack_types::{Error, Result};
use parking_lot::Mutex;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// At most so many transactions share a commit: the first of them waits for the last.
const MAX_GROUP: usize = 256;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: every commit is synced. The only choice for real data.
    Full,
    /// The process's end, not a power cut: for tests that do not test durability.
    ProcessOnly,
}

/// How to open an SQLite database.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The file; its directory must exist.
    pub path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// How many reader threads; each has a connection of its own.
    pub readers: usize,
}

impl SqliteConfig {
    /// Durable, four readers.
    pub fn new(path: impl Into<PathBuf>) -> SqliteConfig {
        SqliteConfig { path: path.into(), durability: Durability::Full, readers: 4 }
    }
}

pub(crate) struct Sqlite {
    writes: Arc<Queue<Box<dyn Job>>>,
    reads: Arc<Queue<Box<dyn Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stats: Arc<Stats>,
}

impl Sqlite {
    pub(crate) fn open(config: SqliteConfig) -> Result<Sqlite> {
        let sqlite = Sqlite {
            writes: Arc::new(Queue::new()),
            reads: Arc::new(Queue::new()),
            threads: Mutex::new(Vec::new()),
            stats: Arc::new(Stats::default()),
        };
        let writer = connect(&config, false)?;
        let (queue, stats) = (Arc::clone(&sqlite.writes), Arc::clone(&sqlite.stats));
        sqlite.start("db-writer", move || write_groups(&writer, &queue, &stats))?;
        for _ in 0..config.readers.max(1) {
            let reader = connect(&config, true)?;
            let (queue, stats) = (Arc::clone(&sqlite.reads), Arc::clone(&sqlite.stats));
            sqlite.start("db-reader", move || read_each(&reader, &queue, &stats))?;
        }
        Ok(sqlite)
    }

    fn start(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        self.threads.lock().push(thread.map_err(|e| Error::from_source("start a database thread", e))?);
        Ok(())
    }

    pub(crate) async fn write<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        enqueue(&self.writes, what, work).await
    }

    pub(crate) async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        enqueue(&self.reads, what, work).await
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) async fn close(&self) {
        self.writes.close();
        self.reads.close();
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
        drop(joined.await);
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
    }
}

fn connect(config: &SqliteConfig, reader: bool) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(&config.path)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = if config.durability == Durability::Full { "FULL" } else { "OFF" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", if reader { -2_000 } else { -8_000 })?;
        connection.pragma_update(None, "mmap_size", 268_435_456_i64)?;
        connection.pragma_update(None, "journal_size_limit", 67_108_864_i64)?;
        connection.pragma_update(None, "query_only", reader)?;
        connection.set_prepared_statement_cache_capacity(256);
        Ok(connection)
    };
    open().map_err(|e| Error::from_source(format!("open the database {}", config.path.display()), e))
}

/// A transaction in a queue, free of its type.
trait Job: Send {
    fn what(&self) -> &'static str;
    /// Runs it; whether it succeeded.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// The work is done but its commit failed: this is the answer instead.
    fn fail(&mut self, error: Error);
    /// Gives the answer.
    fn answer(self: Box<Self>);
}

struct Pending<T, F> {
    what: &'static str,
    work: F,
    result: Option<Result<T>>,
    asker: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Result<T> + Send> Job for Pending<T, F> {
    fn what(&self) -> &'static str {
        self.what
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        // A panic in one transaction must not take the writer, and with it the cloud, away from the others.
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(tx)))
            .unwrap_or_else(|_| Err(Error::internal(format!("transaction {} panicked", self.what))));
        let done = result.is_ok();
        self.result = Some(result);
        done
    }

    fn fail(&mut self, error: Error) {
        self.result = Some(Err(error));
    }

    fn answer(self: Box<Self>) {
        let result = self.result.unwrap_or_else(|| Err(Error::internal("a transaction was never run")));
        // Nobody waits any more if the request was given up; the commit stands all the same.
        drop(self.asker.send(result.map_err(|e| e.context(format!("transaction {}", self.what)))));
    }
}

async fn enqueue<T, F>(queue: &Queue<Box<dyn Job>>, what: &'static str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
{
    let (asker, answer) = oneshot::channel();
    let closed = || Error::unavailable("The service is shutting down.").context(format!("transaction {what}"));
    queue.push(Box::new(Pending { what, work, result: None, asker })).map_err(|_| closed())?;
    answer.await.map_err(|_| closed())?
}

fn write_groups(connection: &Connection, queue: &Queue<Box<dyn Job>>, stats: &Stats) {
    loop {
        let mut jobs = queue.pop_many(MAX_GROUP);
        if jobs.is_empty() {
            return;
        }
        let hooks = match commit_group(connection, &mut jobs, stats) {
            Ok(hooks) => hooks,
            Err(error) => {
                tracing::error!(error = ?error, transactions = jobs.len(), "a group of transactions could not be committed");
                drop(connection.execute_batch("ROLLBACK"));
                for job in &mut jobs {
                    job.fail(
                        Error::new(error.kind(), error.public())
                            .with_retryable(error.retryable())
                            .context(error.internal_text()),
                    );
                }
                Vec::new()
            }
        };
        hooks.into_iter().for_each(|hook| hook());
        for job in jobs {
            job.answer();
        }
    }
}

/// Runs every job in a savepoint of its own and commits them together. The commit is on disk when this returns.
fn commit_group(connection: &Connection, jobs: &mut [Box<dyn Job>], stats: &Stats) -> Result<Vec<Hook>> {
    let run =
        |sql: &str| connection.prepare_cached(sql).and_then(|mut s| s.execute([])).map_err(|e| from_sqlite(e, sql));
    let mut hooks = Vec::new();
    let mut succeeded = 0;
    run("BEGIN IMMEDIATE")?;
    for job in jobs.iter_mut() {
        run("SAVEPOINT job")?;
        let mut tx = Tx::new(connection);
        if job.run(&mut tx) {
            hooks.append(&mut tx.into_hooks());
            succeeded += 1;
        } else {
            tracing::trace!(transaction = job.what(), "rolled back");
            run("ROLLBACK TO job")?;
        }
        run("RELEASE job")?;
    }
    run("COMMIT")?;
    stats.commits.fetch_add(1, Ordering::Relaxed);
    stats.writes.fetch_add(succeeded, Ordering::Relaxed);
    stats.failed_writes.fetch_add(jobs.len() as u64 - succeeded, Ordering::Relaxed);
    Ok(hooks)
}

fn read_each(connection: &Connection, queue: &Queue<Box<dyn Job>>, stats: &Stats) {
    while let Some(mut job) = queue.pop() {
        let run =
            |sql: &str| connection.prepare_cached(sql).and_then(|mut s| s.execute([])).map_err(|e| from_sqlite(e, sql));
        if let Err(error) = run("BEGIN") {
            job.fail(error);
        } else {
            job.run(&mut Tx::new(connection));
            drop(run("ROLLBACK"));
            stats.reads.fetch_add(1, Ordering::Relaxed);
        }
        job.answer();
    }
}
