//! A request as handlers see it.

use crate::policy::{Enforcer, Target};
use crate::{Access, Query, Schema};
use axum::body::Body;
use bytes::Bytes;
use ferrostack_contracts::identity::Caller;
use ferrostack_types::{Env, Error, Kind, Microversion, Result};
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What travels with a piece of work: who, which request, and where time and ids come from.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Time, randomness, tasks.
    pub env: Env,
    /// `req-<uuid>`, the same in every log line about it.
    pub request_id: String,
    /// Who is calling; `None` only on public routes.
    pub caller: Option<Arc<Caller>>,
}

/// A request after routing, version and token.
pub struct Request {
    /// Who, which request, time and ids.
    pub cx: Ctx,
    /// The method.
    pub method: Method,
    /// The path below the service's prefix, escapes not decoded.
    pub path: String,
    /// The parsed query string.
    pub query: Query,
    /// The headers. Nothing in them is to be believed about identity.
    pub headers: HeaderMap,
    pub(crate) base: String,
    pub(crate) version: Option<Microversion>,
    pub(crate) params: Vec<(&'static str, String)>,
    /// Behind a lock that is never taken twice: a body is not `Sync`, and handlers lend the request over awaits.
    pub(crate) body: Mutex<Option<Body>>,
    pub(crate) body_limit: usize,
    pub(crate) access: Access,
    pub(crate) enforcer: Arc<Enforcer>,
    pub(crate) authorized: Arc<AtomicBool>,
}

impl Request {
    /// Who is calling. Panics on a public route, where nobody is known.
    pub fn caller(&self) -> &Arc<Caller> {
        self.cx.caller.as_ref().expect("routes with a rule have a caller")
    }

    /// The negotiated microversion. Panics for a service that has none.
    pub fn version(&self) -> Microversion {
        self.version.expect("the service declares microversions")
    }

    /// A parameter of the path, decoded.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `http://host:port/compute`: where this service is, as the client reached it.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// The URL of the page after this one.
    pub fn next_url(&self, marker: &str) -> String {
        format!("{}{}?{}", self.base, self.path, self.query.with_marker(marker))
    }

    /// Checks the route's rule against what was resolved. 403 if it does not hold.
    pub fn authorize(&self, target: &Target) -> Result<()> {
        match self.access {
            Access::Rule(rule) => self.authorize_as(rule, target),
            Access::Public(_) => Ok(()),
        }
    }

    /// Checks another rule than the route's (actions, details that need more rights).
    pub fn authorize_as(&self, rule: &str, target: &Target) -> Result<()> {
        self.authorized.store(true, Ordering::Relaxed);
        self.enforcer.enforce(rule, self.caller(), target)
    }

    /// Like [`Request::authorize`], but a caller who may not even know of the thing gets the 404 of `hidden`.
    pub fn authorize_or(&self, target: &Target, hidden: impl FnOnce() -> Error) -> Result<()> {
        self.authorize(target).map_err(|error| if error.kind() == Kind::Forbidden { hidden() } else { error })
    }

    /// Whether a rule holds, without refusing: for optional parts of a view.
    pub fn allowed(&self, rule: &str, target: &Target) -> bool {
        self.cx.caller.as_ref().is_some_and(|caller| self.enforcer.enforce(rule, caller, target).is_ok())
    }

    /// The whole body within the route's limit.
    pub async fn bytes(&mut self) -> Result<Bytes> {
        let body = self.body.get_mut().take().unwrap_or_default();
        crate::body::read(body, self.body_limit).await
    }

    /// The body as a stream of any length.
    pub fn take_stream(&mut self) -> Body {
        self.body.get_mut().take().unwrap_or_default()
    }

    /// The body as JSON. 400 if it is none, 415 if it says that it is something else.
    pub async fn json(&mut self) -> Result<Value> {
        if let Some(kind) = self.header("content-type") {
            let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let json = essence == "application/json" || essence.ends_with("+json") || essence.is_empty();
            if !json && essence != "application/octet-stream" && essence != "application/x-www-form-urlencoded" {
                return Err(Error::new(Kind::UnsupportedMediaType, format!("Unsupported Content-Type: {essence}")));
            }
        }
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| Error::invalid("Malformed request body: the body is not valid JSON."))
    }

    /// The body as JSON that fits the schema at the negotiated version, turned into a type.
    pub async fn parse<T: DeserializeOwned>(&mut self, schema: &Schema) -> Result<T> {
        let value = self.json().await?;
        schema.check(&value, self.version)?;
        serde_json::from_value(value).map_err(|e| Error::invalid(format!("Malformed request body: {e}")))
    }
}
