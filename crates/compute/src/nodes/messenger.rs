//! Says to nodes what is wanted of their guests.
//!
//! What is wanted is a row, committed before anything is said about it; the messenger only carries it. Hints gather
//! per node while a message is on its way, so a hundred guests that are made at the same time are a few messages. A
//! message that fails is dropped: the loop `compute.converge` finds every row without an answer and hints again.
//! Nodes do not wait for each other.

use crate::model::Guest;
use crate::store::guests;
use ferrostack_contracts::node::{GuestSpec, NodeReply, NodeRequest, Nodes, Want, WantedGuest};
use ferrostack_db::{Db, Tx};
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Env, Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many guests travel in one message.
const BATCH: usize = 100;
/// How many bytes of specs travel in one message: below the megabyte that every bus carries.
const BYTES: usize = 600 << 10;

/// Says to a node what is wanted of some servers.
pub(crate) type Tell = Arc<dyn Fn(NodeId, Vec<ServerId>) + Send + Sync>;

/// Says to nodes what is wanted. Ends with the service.
pub(crate) struct Messenger {
    hints: mpsc::UnboundedSender<(NodeId, Vec<ServerId>)>,
}

impl Messenger {
    pub(crate) fn start(env: &Env, db: Db, nodes: Arc<dyn Nodes>) -> Messenger {
        let (hints, mut incoming) = mpsc::unbounded_channel::<(NodeId, Vec<ServerId>)>();
        let lines = Arc::new(Lines { db, nodes, waiting: Mutex::default() });
        let tasks = env.clone();
        env.spawn("messenger", async move {
            while let Some((node, servers)) = incoming.recv().await {
                if lines.add(node, servers) {
                    let lines = Arc::clone(&lines);
                    tasks.spawn("messages", async move { lines.drain(node).await });
                }
            }
        });
        Messenger { hints }
    }

    /// Says to the node what is wanted of the server once this transaction is durable.
    pub(crate) fn tell_in_tx(&self, tx: &mut Tx<'_>, node: NodeId, server: ServerId) {
        let hints = self.hints.clone();
        tx.on_commit(move || {
            let _ = hints.send((node, vec![server]));
        });
    }

    /// The same as a function, for tasks that outlive a borrow of the service.
    pub(crate) fn clone_sender(&self) -> Tell {
        let hints = self.hints.clone();
        Arc::new(move |node, servers: Vec<ServerId>| {
            if !servers.is_empty() {
                let _ = hints.send((node, servers));
            }
        })
    }

    /// Says it now: it has been committed long ago.
    pub(crate) fn tell(&self, node: NodeId, servers: Vec<ServerId>) {
        if !servers.is_empty() {
            let _ = self.hints.send((node, servers));
        }
    }
}

/// One line to each node, with what waits for it. A node is in the map while somebody drains its line.
struct Lines {
    db: Db,
    nodes: Arc<dyn Nodes>,
    waiting: Mutex<BTreeMap<NodeId, BTreeSet<ServerId>>>,
}

impl Lines {
    /// True if nobody drains this node's line yet.
    fn add(&self, node: NodeId, servers: Vec<ServerId>) -> bool {
        let mut waiting = self.waiting.lock();
        let fresh = !waiting.contains_key(&node);
        waiting.entry(node).or_default().extend(servers);
        fresh
    }

    /// Up to a batch of what waits; `None` when nothing does, and then the line is free.
    fn take(&self, node: NodeId) -> Option<Vec<ServerId>> {
        let mut waiting = self.waiting.lock();
        let set = waiting.get_mut(&node)?;
        if set.is_empty() {
            waiting.remove(&node);
            return None;
        }
        let batch: Vec<ServerId> = set.iter().take(BATCH).copied().collect();
        for server in &batch {
            set.remove(server);
        }
        Some(batch)
    }

    async fn drain(&self, node: NodeId) {
        while let Some(servers) = self.take(node) {
            if let Err(error) = self.send(node, servers).await {
                // Nothing is lost: the rows stay pending, and the loop asks again.
                tracing::debug!(%node, ?error, "a node has not heard what is wanted");
                self.waiting.lock().remove(&node);
                return;
            }
        }
    }

    async fn send(&self, node: NodeId, servers: Vec<ServerId>) -> Result<()> {
        let read = move |tx: &mut Tx<'_>| guests::guests_to_send_in_tx(tx, node, &servers);
        let rows = self.db.read("guests_to_send", read).await?;
        let (mut message, mut bytes) = (Vec::new(), 0);
        for guest in rows {
            let size = guest.spec.as_ref().map_or(0, String::len);
            if bytes + size > BYTES && !message.is_empty() {
                request(self.nodes.as_ref(), node, std::mem::take(&mut message)).await?;
                bytes = 0;
            }
            bytes += size;
            match wanted(&guest) {
                Ok(guest) => message.push(guest),
                Err(error) => tracing::error!(server = %guest.server, ?error, "what is wanted cannot be read"),
            }
        }
        if message.is_empty() { Ok(()) } else { request(self.nodes.as_ref(), node, message).await }
    }
}

async fn request(nodes: &dyn Nodes, node: NodeId, guests: Vec<WantedGuest>) -> Result<()> {
    match nodes.request(node, NodeRequest::Converge(guests)).await? {
        NodeReply::Done => Ok(()),
        other => Err(Error::internal(format!("a node answered Converge with {other:?}"))),
    }
}

fn wanted(guest: &Guest) -> Result<WantedGuest> {
    let spec = match (&guest.spec, guest.want) {
        (_, Want::Absent) | (None, _) => None,
        (Some(text), _) => {
            Some(serde_json::from_str::<GuestSpec>(text).map_err(|e| Error::from_source("read a guest's spec", e))?)
        }
    };
    Ok(WantedGuest {
        server: guest.server,
        generation: guest.generation,
        want: guest.want,
        boot: guest.boot,
        soft_reboot: guest.soft_reboot,
        spec,
    })
}
