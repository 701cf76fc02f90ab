//! QEMU's monitor protocol: lines of JSON, replies and events interleaved.
//!
//! The socket is read all the time by a task of its own, so that QEMU never blocks on us and an event is seen at once.
//! Events may come before the greeting's reply; nothing depends on their order.

use crate::hypervisor::Failure;
use ferrostack_types::{Env, Task};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

/// How long QEMU may take for an answer. Its main loop can be busy with a disk.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest line that is believed to be QMP.
const LONGEST_LINE: usize = 1 << 20;

/// What is done with an event; `None` when the connection has ended.
pub(super) type EventHook = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// A connection to one QEMU.
pub(super) struct Qmp {
    write: tokio::sync::Mutex<OwnedWriteHalf>,
    shared: Arc<Shared>,
    next: AtomicU64,
    reader: Task<()>,
}

struct Shared {
    pending: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    ended: AtomicBool,
}

impl Qmp {
    /// Connects and negotiates.
    pub async fn connect(env: &Env, dir: &Path, hook: EventHook) -> std::io::Result<Qmp> {
        let (read, write) = connect_in(dir, "qmp.sock").await?.into_split();
        let shared = Arc::new(Shared { pending: Mutex::default(), ended: AtomicBool::new(false) });
        let reader = env.spawn("qmp", read_all(read, Arc::clone(&shared), hook));
        let qmp = Qmp { write: tokio::sync::Mutex::new(write), shared, next: AtomicU64::new(1), reader };
        match qmp.execute("qmp_capabilities", Value::Null).await {
            Ok(_) => Ok(qmp),
            Err(failure) => Err(std::io::Error::other(failure.error.internal)),
        }
    }

    /// Whether QEMU has closed the connection.
    pub fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// Runs a command and returns what it returned.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let failed = |what: String| {
            Failure::passing("The server's hypervisor does not answer.", format!("QMP {command}: {what}"))
        };
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let mut message = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let (sender, receiver) = oneshot::channel();
        self.shared.pending.lock().insert(id, sender);
        if self.ended() {
            return Err(failed("the connection has ended".to_owned()));
        }
        let exchange = async {
            // One write holds the lock to its end: a line that was cut by a timeout would spoil the next one.
            self.write
                .lock()
                .await
                .write_all(format!("{message}\n").as_bytes())
                .await
                .map_err(|e| failed(e.to_string()))?;
            receiver.await.map_err(|_| failed("the connection has ended".to_owned()))
        };
        let reply = tokio::time::timeout(LIMIT, exchange).await;
        self.shared.pending.lock().remove(&id);
        let mut reply = reply.map_err(|_| failed(format!("no answer within {LIMIT:?}")))??;
        match reply.get("error") {
            Some(error) => Err(failed(error["desc"].as_str().unwrap_or("refused").to_owned())),
            None => Ok(reply["return"].take()),
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_all(read: OwnedReadHalf, shared: Arc<Shared>, hook: EventHook) {
    let mut lines = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        match tokio::io::AsyncReadExt::take(&mut lines, LONGEST_LINE as u64).read_until(b'\n', &mut line).await {
            Ok(length) if length > 0 && line.ends_with(b"\n") => {}
            _ => break,
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else { continue };
        if let Some(event) = message["event"].as_str() {
            tracing::debug!(event, data = %message["data"], "QMP event");
            hook(Some(event));
        } else if let Some(waiting) = message["id"].as_u64().and_then(|id| shared.pending.lock().remove(&id)) {
            let _ = waiting.send(message);
        }
    }
    shared.ended.store(true, Ordering::SeqCst);
    shared.pending.lock().clear();
    hook(None);
}

/// Connects to a socket in a directory, however long the directory's name is: a socket's address has 107 bytes only.
pub(super) async fn connect_in(dir: &Path, name: &str) -> std::io::Result<UnixStream> {
    let dir: OwnedFd = std::fs::File::open(dir)?.into();
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())).await
}
