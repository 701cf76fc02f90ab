//! Request and reply between the control plane and the nodes.
//!
//! A message is a hint or a question, never the truth: it may be lost, repeated, late or out of order, and nothing in
//! the end may depend on it. The truth is in the database and on the nodes' disks.
//!
//! [`LocalBus`] carries messages inside one process. It still serializes them, so that nothing works on one machine
//! that would not work on many.

mod local;
mod wire;

pub use local::LocalBus;
pub use wire::{decode, encode};

use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_types::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// The largest message in bytes, the same on every bus: NATS's default limit, with room for an envelope.
pub const MAX_MESSAGE: usize = 1 << 20;

/// Answers requests on a subject.
#[async_trait]
pub trait Responder: Send + Sync {
    /// `from` is who the bus has verified to be speaking.
    async fn respond(&self, from: &str, body: Bytes) -> Result<Bytes>;
}

/// Carries requests and replies. Subjects are dotted words, as in NATS.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Asks and waits. [`ferrostack_types::Kind::Unavailable`] if nobody answers there,
    /// [`ferrostack_types::Kind::Timeout`] after `limit`.
    async fn request(&self, from: &str, subject: &str, body: Bytes, limit: Duration) -> Result<Bytes>;

    /// Answers on `subject` until the returned guard is dropped.
    fn respond(&self, subject: &str, responder: Arc<dyn Responder>) -> Subscription;
}

/// Ends a subscription when dropped.
pub struct Subscription(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Subscription {
    /// Runs `end` when dropped.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Subscription {
        Subscription(Some(Box::new(end)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// A typed request: encodes, asks, decodes.
pub async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
    bus: &dyn Bus,
    from: &str,
    subject: &str,
    question: &Q,
    limit: Duration,
) -> Result<A> {
    decode(&bus.request(from, subject, encode(question)?, limit).await?)
}
