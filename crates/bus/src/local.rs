//! The bus inside one process.

use crate::wire::{Envelope, decode, encode};
use crate::{Bus, Responder, Subscription};
use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_types::{Error, Kind, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The bus inside one process.
#[derive(Default, Clone)]
pub struct LocalBus {
    responders: Arc<Mutex<BTreeMap<String, Arc<dyn Responder>>>>,
}

impl LocalBus {
    /// A bus with nobody on it.
    pub fn new() -> LocalBus {
        LocalBus::default()
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn request(&self, from: &str, subject: &str, body: Bytes, limit: Duration) -> Result<Bytes> {
        let responder = self.responders.lock().get(subject).cloned();
        let Some(responder) = responder else {
            return Err(Error::unavailable(format!("nobody answers on {subject}")));
        };
        let answer = tokio::time::timeout(limit, responder.respond(from, body))
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, format!("no answer on {subject} within {limit:?}"))));
        // An error, too, crosses as bytes: what is lost on a real bus must be lost here.
        decode::<Envelope>(&encode(&Envelope::seal(answer))?)?.open()
    }

    fn respond(&self, subject: &str, responder: Arc<dyn Responder>) -> Subscription {
        self.responders.lock().insert(subject.to_owned(), Arc::clone(&responder));
        let (responders, subject) = (Arc::clone(&self.responders), subject.to_owned());
        Subscription::new(move || {
            let mut responders = responders.lock();
            // A newer subscription on the same subject is not ours to end.
            if responders.get(&subject).is_some_and(|present| Arc::ptr_eq(present, &responder)) {
                responders.remove(&subject);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    #[async_trait]
    impl Responder for Echo {
        async fn respond(&self, from: &str, body: Bytes) -> Result<Bytes> {
            if body.is_empty() {
                return Err(Error::conflict("empty").context(format!("from {from}")));
            }
            Ok(body)
        }
    }

    #[tokio::test]
    async fn answers_refuses_and_ends() {
        let bus = LocalBus::new();
        let limit = Duration::from_secs(1);
        let subscription = bus.respond("node.a", Arc::new(Echo));
        assert_eq!(bus.request("me", "node.a", Bytes::from_static(b"x"), limit).await.unwrap(), "x");
        let error = bus.request("me", "node.a", Bytes::new(), limit).await.unwrap_err();
        assert_eq!((error.kind(), error.public()), (Kind::Conflict, "empty"));
        assert!(error.internal_text().contains("from me"));
        drop(subscription);
        assert_eq!(bus.request("me", "node.a", Bytes::new(), limit).await.unwrap_err().kind(), Kind::Unavailable);
    }
}
