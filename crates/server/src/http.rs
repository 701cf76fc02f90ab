//! The one listener: every service below its prefix, as DevStack has it.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ferrostack_rest::ServiceApi;
use ferrostack_types::{Env, Result, ResultExt};
use http::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

/// At most so many open connections; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 8192;
/// A client that has not sent its headers by then is cut off.
const HEADER_LIMIT: Duration = Duration::from_secs(15);
/// How long requests that are under way may take to finish at a shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// All services' APIs, by prefix.
#[derive(Clone)]
pub struct Front {
    services: Arc<Vec<Arc<dyn ServiceApi>>>,
}

impl Front {
    /// These services.
    pub fn new(services: Vec<Arc<dyn ServiceApi>>) -> Front {
        Front { services: Arc::new(services) }
    }

    /// The services.
    pub fn services(&self) -> &[Arc<dyn ServiceApi>] {
        &self.services
    }

    /// Answers one request.
    pub async fn call(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let service = self.services.iter().find(|service| {
            path.strip_prefix(service.spec().prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        match service {
            Some(service) => service.call(parts, body).await,
            None => not_found(),
        }
    }

    /// The router, with `extra` beside the services.
    pub fn router(&self, extra: Router) -> Router {
        let front = self.clone();
        let index = Router::new().route("/", get(index)).with_state(self.clone());
        index.merge(extra).fallback(move |request: Request<Body>| {
            let front = front.clone();
            async move { front.call(request).await }
        })
    }
}

fn not_found() -> Response {
    let body = json!({"error": {"code": 404, "title": "Not Found", "message": "The resource could not be found."}});
    (StatusCode::NOT_FOUND, axum_json(&body)).into_response()
}

/// What is mounted where.
async fn index(State(front): State<Front>) -> Response {
    let services: Vec<_> =
        front.services.iter().map(|s| json!({"name": s.spec().name, "path": s.spec().prefix})).collect();
    axum_json(&json!({"name": "ferrostack", "version": env!("CARGO_PKG_VERSION"), "services": services}))
}

fn axum_json(value: &serde_json::Value) -> Response {
    ([(http::header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Listens until `stop` becomes true, then lets what is under way finish.
pub async fn serve(listen: SocketAddr, router: Router, env: Env, mut stop: watch::Receiver<bool>) -> Result<()> {
    let listener = bind(listen).await?;
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        let connection = connections.track_future(async move {
            one_connection(stream, router, stop).await;
            drop(slot);
        });
        env.spawn("http-connection", connection);
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_LIMIT, connections.wait()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
    Ok(())
}

/// Serves a connection to its end; at a stop, to the end of the request that is under way.
async fn one_connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        _ = stop.wait_for(|stop| *stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A connection's error is its client's affair: it went away or spoke nonsense.
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Binds; an address that is not ours or taken is said plainly.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(listen).await.context(format!("listen on {listen}"))
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Small answers must not wait for the client's delayed acknowledgement.
            drop(stream.set_nodelay(true));
            Some((stream, slot))
        }
        Err(error) => {
            // Out of file descriptors, most likely: a moment's rest lets some connections end.
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
