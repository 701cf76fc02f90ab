//! From a stream to threads that work on its bytes side by side.
//!
//! Small chunks are gathered into buffers first: a network hands over 16 KiB at a time, and a system call, a wake-up
//! and a queue slot for each of them would cost more than the bytes do.

use crate::digest::Running;
use crate::{ByteStream, Digest, Digests};
use bytes::{Bytes, BytesMut};
use ferrostack_types::{Error, Kind, Result};
use futures::StreamExt;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

/// How much is handed over at once.
pub(crate) const BUFFER: usize = 1024 * 1024;

/// So many buffers may wait for each thread.
const QUEUE: usize = 4;

/// A thread that eats buffers and comes to a result.
pub(crate) struct Worker<T> {
    feed: Option<mpsc::Sender<Bytes>>,
    task: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// `body` gets a function that blocks for the next buffer; `None` is the end.
    pub(crate) fn start(
        body: impl FnOnce(&mut dyn FnMut() -> Option<Bytes>) -> Result<T> + Send + 'static,
    ) -> Worker<T> {
        let (feed, mut food) = mpsc::channel::<Bytes>(QUEUE);
        let task = spawn_blocking(move || body(&mut || food.blocking_recv()));
        Worker { feed: Some(feed), task }
    }

    /// Whether the worker still takes buffers; if not, its result says why.
    async fn feed(&self, bytes: Bytes) -> bool {
        match &self.feed {
            Some(feed) => feed.send(bytes).await.is_ok(),
            None => false,
        }
    }

    /// The end of the bytes; the result.
    pub(crate) async fn finish(mut self) -> Result<T> {
        self.feed = None;
        self.task.await.map_err(|e| Error::from_source("a worker on a blob ended", e))?
    }
}

fn digester(algorithm: Digest) -> Worker<(Digest, String)> {
    Worker::start(move |next| {
        let mut running = Running::new(algorithm);
        while let Some(bytes) = next() {
            running.update(&bytes);
        }
        Ok((algorithm, running.finish()))
    })
}

/// Feeds the sink and the digests from the stream, up to `limit` bytes. `Err` if the stream fails or is too long; then
/// the sink has had only a part, and has to be told by its owner.
pub(crate) async fn pump<T: Send + 'static>(
    mut source: ByteStream,
    limit: Option<u64>,
    algorithms: &[Digest],
    sink: Worker<T>,
) -> (Result<(u64, Digests)>, Result<T>) {
    let digesters: Vec<Worker<(Digest, String)>> = algorithms.iter().map(|a| digester(*a)).collect();
    let mut size = 0_u64;
    let mut gathered = BytesMut::new();
    let mut outcome = Ok(());
    loop {
        let chunk = match source.next().await {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => {
                outcome = Err(error);
                break;
            }
            None => break,
        };
        size += chunk.len() as u64;
        if limit.is_some_and(|limit| size > limit) {
            outcome = Err(Error::new(Kind::TooLarge, "The data is larger than allowed."));
            break;
        }
        if gathered.is_empty() && chunk.len() >= BUFFER {
            if !hand_over(chunk, &sink, &digesters).await {
                break;
            }
            continue;
        }
        gathered.extend_from_slice(&chunk);
        if gathered.len() >= BUFFER && !hand_over(gathered.split().freeze(), &sink, &digesters).await {
            break;
        }
        if gathered.capacity() < BUFFER {
            gathered.reserve(BUFFER + BUFFER / 4);
        }
    }
    drop(source);
    if outcome.is_ok() && !gathered.is_empty() {
        hand_over(gathered.freeze(), &sink, &digesters).await;
    }
    let mut digests = BTreeMap::new();
    for digester in digesters {
        match digester.finish().await {
            Ok((algorithm, value)) => drop(digests.insert(algorithm, value)),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    let sunk = sink.finish().await;
    (outcome.map(|()| (size, Digests(digests))), sunk)
}

async fn hand_over<T: Send + 'static>(bytes: Bytes, sink: &Worker<T>, digesters: &[Worker<(Digest, String)>]) -> bool {
    for digester in digesters {
        digester.feed(bytes.clone()).await;
    }
    sink.feed(bytes).await
}
