//! The route table.

use crate::{Reply, Request};
use ferrostack_types::{Microversion, Result};
use futures::future::BoxFuture;
use http::Method;
use std::future::Future;
use std::sync::Arc;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A valid token, and this policy rule on the target that the handler resolves.
    Rule(&'static str),
    /// Anybody, without a token; the text says why.
    Public(&'static str),
}

impl From<&'static str> for Access {
    fn from(rule: &'static str) -> Access {
        Access::Rule(rule)
    }
}

/// What runs for a route: an `async fn(Arc<S>, Request) -> Result<Reply>`.
pub type Handler<S> = Arc<dyn Fn(Arc<S>, Request) -> BoxFuture<'static, Result<Reply>> + Send + Sync>;

/// One line of a service's table.
pub struct Route<S> {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) since: Option<Microversion>,
    pub(crate) until: Option<Microversion>,
    pub(crate) body_limit: Option<usize>,
    pub(crate) streams: bool,
    pub(crate) handler: Handler<S>,
}

impl<S: Send + Sync + 'static> Route<S> {
    /// A route. Paths have their parameters in braces: `/servers/{server_id}`.
    pub fn new<F, Fut>(method: Method, path: &'static str, access: impl Into<Access>, handler: F) -> Route<S>
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Route {
            method,
            path,
            access: access.into(),
            since: None,
            until: None,
            body_limit: None,
            streams: false,
            handler: Arc::new(move |service, request| Box::pin(handler(service, request))),
        }
    }

    /// `GET` (and `HEAD`).
    pub fn get<F, Fut>(path: &'static str, access: impl Into<Access>, handler: F) -> Route<S>
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Route::new(Method::GET, path, access, handler)
    }

    /// `POST`.
    pub fn post<F, Fut>(path: &'static str, access: impl Into<Access>, handler: F) -> Route<S>
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Route::new(Method::POST, path, access, handler)
    }

    /// `PUT`.
    pub fn put<F, Fut>(path: &'static str, access: impl Into<Access>, handler: F) -> Route<S>
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Route::new(Method::PUT, path, access, handler)
    }

    /// `PATCH`.
    pub fn patch<F, Fut>(path: &'static str, access: impl Into<Access>, handler: F) -> Route<S>
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Route::new(Method::PATCH, path, access, handler)
    }

    /// `DELETE`.
    pub fn delete<F, Fut>(path: &'static str, access: impl Into<Access>, handler: F) -> Route<S>
    where
        F: Fn(Arc<S>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Route::new(Method::DELETE, path, access, handler)
    }

    /// Served from this microversion on; 404 before.
    pub fn since(mut self, version: Microversion) -> Route<S> {
        self.since = Some(version);
        self
    }

    /// Served up to and with this microversion; 404 after.
    pub fn until(mut self, version: Microversion) -> Route<S> {
        self.until = Some(version);
        self
    }

    /// A body limit in bytes of its own.
    pub fn body_limit(mut self, bytes: usize) -> Route<S> {
        self.body_limit = Some(bytes);
        self
    }

    /// The body (or the answer) is a stream of any length; neither the body limit nor the time limit applies.
    pub fn streams(mut self) -> Route<S> {
        self.streams = true;
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path with its parameters in braces.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Who may call it.
    pub fn access(&self) -> Access {
        self.access
    }

    pub(crate) fn serves(&self, version: Option<Microversion>) -> bool {
        match version {
            None => true,
            Some(version) => {
                self.since.is_none_or(|since| version >= since) && self.until.is_none_or(|until| version <= until)
            }
        }
    }
}
