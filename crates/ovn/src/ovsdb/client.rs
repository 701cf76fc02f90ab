//! The session with ovsdb-server.

use super::wire::Framer;
use super::{Cache, Change};
use ferrostack_types::{Env, Error, Kind, Result, ResultExt, Task};
use parking_lot::{RwLock, RwLockReadGuard};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

/// How long a call may take, reconnecting included.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MOST: Duration = Duration::from_secs(2);
/// How many bytes of requests are put together for one write.
const WRITE_CHUNK: usize = 256 * 1024;

/// A table to keep a copy of.
#[derive(Debug, Clone, Copy)]
pub struct Monitor {
    /// The table.
    pub table: &'static str,
    /// Its columns of interest.
    pub columns: &'static [&'static str],
}

/// Told of changes, after the cache has them; must be quick. An empty list means that the connection is new.
pub type Observer = Box<dyn Fn(&Cache, &[Change]) + Send + Sync>;

/// What became of a transaction.
#[derive(Debug)]
pub enum Outcome {
    /// It is in the database; one result for each operation.
    Committed(Vec<Value>),
    /// None of it took effect.
    Refused(Refusal),
}

/// Why a transaction did not take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The operation at fault; equal to the number of operations if the commit itself failed.
    pub operation: usize,
    /// RFC 7047's word, e.g. `constraint violation`, `timed out`.
    pub error: String,
    /// More about it.
    pub details: String,
}

impl Refusal {
    /// As an error, for a caller that has no better idea.
    pub fn into_error(self) -> Error {
        Error::internal(format!("OVSDB refused operation {}: {}: {}", self.operation, self.error, self.details))
    }
}

struct Call {
    method: &'static str,
    params: Value,
    answer: oneshot::Sender<Result<Value>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    connected: bool,
    /// Raised with every change of the cache.
    version: u64,
}

struct Shared {
    socket: PathBuf,
    database: &'static str,
    monitors: &'static [Monitor],
    observer: Observer,
    cache: RwLock<Cache>,
    progress: watch::Sender<Progress>,
    env: Env,
}

/// A session with one database. Dropping it ends the session.
pub struct Client {
    shared: Arc<Shared>,
    calls: mpsc::UnboundedSender<Call>,
    task: Task<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({} at {})", self.shared.database, self.shared.socket.display())
    }
}

impl Client {
    /// Connects and waits until the cache is filled. `Kind::Unavailable` if nobody answers within ten seconds.
    pub async fn connect(
        socket: &Path,
        database: &'static str,
        monitors: &'static [Monitor],
        observer: Observer,
        env: Env,
    ) -> Result<Client> {
        let shared = Arc::new(Shared {
            socket: socket.to_owned(),
            database,
            monitors,
            observer,
            cache: RwLock::default(),
            progress: watch::Sender::new(Progress::default()),
            env: env.clone(),
        });
        let (calls, queue) = mpsc::unbounded_channel();
        let task = env.spawn("ovsdb", run(shared.clone(), queue));
        let client = Client { shared, calls, task };
        let mut progress = client.shared.progress.subscribe();
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, progress.wait_for(|p| p.connected)).await.is_ok();
        if connected { Ok(client) } else { Err(client.unavailable("no connection")) }
    }

    fn unavailable(&self, why: &str) -> Error {
        Error::unavailable("The network engine is not available.").context(format!("{why}: {self:?}"))
    }

    /// The copy of the monitored tables. Hold the guard for a short time and never across an await.
    pub fn cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.shared.cache.read()
    }

    /// Whether the session is established now.
    pub fn is_connected(&self) -> bool {
        self.shared.progress.borrow().connected
    }

    /// Sends a transaction.
    pub async fn transact(&self, operations: Vec<Value>) -> Result<Outcome> {
        let count = operations.len();
        let mut params = Vec::with_capacity(count + 1);
        params.push(json!(self.shared.database));
        params.extend(operations);
        let answer = self.call("transact", Value::Array(params)).await?;
        let Value::Array(results) = answer else {
            return Err(Error::internal("OVSDB answered a transaction with something else than a list"));
        };
        let refused = results.iter().enumerate().find_map(|(operation, result)| {
            let error = result.get("error")?.as_str()?.to_owned();
            let details = result.get("details").and_then(Value::as_str).unwrap_or_default().to_owned();
            Some(Refusal { operation, error, details })
        });
        Ok(match refused {
            Some(refusal) => Outcome::Refused(refusal),
            None => Outcome::Committed(results),
        })
    }

    /// Sends a transaction that has no reason to be refused.
    pub async fn commit(&self, operations: Vec<Value>) -> Result<Vec<Value>> {
        match self.transact(operations).await? {
            Outcome::Committed(results) => Ok(results),
            Outcome::Refused(refusal) => Err(refusal.into_error()),
        }
    }

    /// A round trip, waiting for a connection if there is none. After it the cache has all that was committed before.
    pub async fn sync(&self) -> Result<()> {
        self.commit(vec![json!({"op": "comment", "comment": "sync"})]).await.map(drop)
    }

    /// Raised with every change of the cache.
    pub fn version(&self) -> u64 {
        self.shared.progress.borrow().version
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value> {
        let (answer, answered) = oneshot::channel();
        if self.calls.send(Call { method, params, answer }).is_err() {
            return Err(self.unavailable("the session's task has ended"));
        }
        match tokio::time::timeout(CALL_TIMEOUT, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.unavailable("the connection was lost before the answer")),
            Err(_) => Err(self.unavailable("no answer in time")),
        }
    }

    /// Waits until the cache satisfies `condition`, for at most `limit`.
    pub async fn wait_until<T>(&self, limit: Duration, mut condition: impl FnMut(&Cache) -> Option<T>) -> Result<T> {
        let mut progress = self.shared.progress.subscribe();
        let wait = async {
            loop {
                if let Some(value) = condition(&self.shared.cache.read()) {
                    return value;
                }
                if progress.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| {
            Error::new(Kind::Timeout, "The network engine did not answer in time.").context(format!("{self:?}"))
        })
    }
}

/// Connects again and again. Ends when the client is dropped.
async fn run(shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<Call>) {
    let mut last_transaction: Option<String> = None;
    let mut backoff = BACKOFF_FIRST;
    loop {
        match Session::open(&shared, &mut last_transaction).await {
            Ok(session) => {
                backoff = BACKOFF_FIRST;
                shared.progress.send_modify(|p| p.connected = true);
                let end = session.serve(&shared, &mut queue, &mut last_transaction).await;
                shared.progress.send_modify(|p| p.connected = false);
                match end {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(error = ?error, database = shared.database, "OVSDB session lost"),
                }
            }
            Err(error) => tracing::debug!(error = ?error, database = shared.database, "OVSDB connection failed"),
        }
        shared.env.sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MOST);
    }
}

struct Session {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    framer: Framer,
    pending: HashMap<u64, oneshot::Sender<Result<Value>>>,
    next_id: u64,
}

impl Session {
    /// Connects, learns the schema and fills the cache.
    async fn open(shared: &Shared, last_transaction: &mut Option<String>) -> Result<Session> {
        let stream = UnixStream::connect(&shared.socket).await.context("connect to ovsdb-server")?;
        let (reader, writer) = stream.into_split();
        let mut session = Session { reader, writer, framer: Framer::default(), pending: HashMap::new(), next_id: 0 };
        let schema = session.ask("get_schema", json!([shared.database])).await?;
        let tables: Vec<&str> = shared.monitors.iter().map(|m| m.table).collect();
        shared.cache.write().learn(&schema, &tables);
        let since = last_transaction.clone().unwrap_or_else(|| uuid::Uuid::nil().to_string());
        let requests: serde_json::Map<String, Value> =
            shared.monitors.iter().map(|m| (m.table.to_owned(), json!([{"columns": m.columns}]))).collect();
        let answer = session.ask("monitor_cond_since", json!([shared.database, "ferrostack", requests, since])).await?;
        let [Value::Bool(found), Value::String(id), updates] = answer.as_array().map_or(&[][..], Vec::as_slice) else {
            return Err(Error::internal("OVSDB's answer to monitor_cond_since is of no known form"));
        };
        *last_transaction = Some(id.clone());
        update_cache(shared, updates, !found)?;
        (shared.observer)(&shared.cache.read(), &[]);
        Ok(session)
    }

    /// One call during the handshake, when nothing else is under way.
    async fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        self.write(&json!({"id": id, "method": method, "params": params})).await?;
        loop {
            let message = self.read().await?;
            if message["method"] == "echo" {
                self.write(&echo_reply(&message)).await?;
            } else if message["id"] == json!(id) {
                return result_of(message);
            }
        }
    }

    async fn write(&mut self, message: &Value) -> Result<()> {
        self.writer.write_all(message.to_string().as_bytes()).await.context("write to ovsdb-server")
    }

    async fn read(&mut self) -> Result<Value> {
        loop {
            if let Some(frame) = self.framer.next() {
                return serde_json::from_slice(&frame).context("parse a message of ovsdb-server");
            }
            if self.reader.read_buf(self.framer.buffer()).await.context("read from ovsdb-server")? == 0 {
                return Err(Error::unavailable("The network engine is not available.").context("ovsdb-server hung up"));
            }
        }
    }

    /// Carries calls, answers and updates until the connection breaks (`Err`) or the client is gone (`Ok`).
    async fn serve(
        mut self,
        shared: &Shared,
        queue: &mut mpsc::UnboundedReceiver<Call>,
        last_transaction: &mut Option<String>,
    ) -> Result<()> {
        let mut outgoing: Vec<u8> = Vec::new();
        loop {
            // Reading goes on while a large request waits for room in the socket: a server that wants to be read
            // before it reads would otherwise wait for us for ever.
            tokio::select! {
                biased;
                written = self.writer.write(&outgoing), if !outgoing.is_empty() => {
                    let written = written.context("write to ovsdb-server")?;
                    outgoing.drain(..written);
                }
                read = self.reader.read_buf(self.framer.buffer()) => {
                    if read.context("read from ovsdb-server")? == 0 {
                        return Err(Error::unavailable("The network engine is not available.").context("hung up"));
                    }
                    while let Some(frame) = self.framer.next() {
                        let message = serde_json::from_slice(&frame).context("parse a message of ovsdb-server")?;
                        self.handle(shared, message, &mut outgoing, last_transaction)?;
                    }
                }
                call = queue.recv(), if outgoing.len() < WRITE_CHUNK => match call {
                    Some(call) => self.send(call, &mut outgoing),
                    None => return Ok(()),
                },
            }
        }
    }

    fn send(&mut self, call: Call, outgoing: &mut Vec<u8>) {
        if call.answer.is_closed() {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let message = json!({"id": id, "method": call.method, "params": call.params});
        outgoing.extend_from_slice(message.to_string().as_bytes());
        self.pending.insert(id, call.answer);
    }

    fn handle(
        &mut self,
        shared: &Shared,
        mut message: Value,
        outgoing: &mut Vec<u8>,
        last_transaction: &mut Option<String>,
    ) -> Result<()> {
        match message["method"].as_str() {
            Some("echo") => outgoing.extend_from_slice(echo_reply(&message).to_string().as_bytes()),
            Some("update3") => {
                let params = message["params"].take();
                update_cache(shared, &params[2], false)?;
                *last_transaction = params[1].as_str().map(str::to_owned);
            }
            Some(_) => {}
            None => {
                let answer = message["id"].as_u64().and_then(|id| self.pending.remove(&id));
                if let Some(answer) = answer {
                    // The caller may have given up.
                    let _ = answer.send(result_of(message));
                }
            }
        }
        Ok(())
    }
}

fn update_cache(shared: &Shared, updates: &Value, everything: bool) -> Result<()> {
    let changes = shared.cache.write().apply(updates, everything)?;
    if !changes.is_empty() {
        (shared.observer)(&shared.cache.read(), &changes);
        shared.progress.send_modify(|p| p.version += 1);
    }
    Ok(())
}

fn echo_reply(message: &Value) -> Value {
    json!({"id": message["id"], "result": message["params"], "error": null})
}

fn result_of(mut message: Value) -> Result<Value> {
    match message["error"].take() {
        Value::Null => Ok(message["result"].take()),
        error => Err(Error::internal(format!("OVSDB call failed: {error}"))),
    }
}
