//! From a table of routes to answers.

use crate::policy::Enforcer;
use crate::query::Query;
use crate::request::{Ctx, Request};
use crate::{Access, ErrorStyle, MicroversionRange, Reply, Route};
use async_trait::async_trait;
use axum::body::Body;
use axum::response::Response;
use ferrostack_contracts::identity::TokenVerifier;
use ferrostack_types::{Env, Error, Kind, Microversion, Result};
use futures::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::Instrument;

/// What a service's API is like as a whole.
#[derive(Debug, Clone, Copy)]
pub struct ServiceSpec {
    /// Its name in logs, policy files and metrics: `compute`.
    pub name: &'static str,
    /// Where it is mounted: `/compute`. No slash at the end.
    pub prefix: &'static str,
    /// Whose error bodies.
    pub style: ErrorStyle,
    /// Its microversions, if it has any.
    pub microversions: Option<MicroversionRange>,
    /// The largest body in bytes where a route sets no limit of its own; oslo's default is 114688.
    pub body_limit: usize,
    /// How long a handler may take; streams excepted.
    pub time_limit: Duration,
}

/// What all services share.
#[derive(Clone)]
pub struct Kit {
    /// Time, randomness, tasks.
    pub env: Env,
    /// Who verifies tokens.
    pub tokens: Arc<dyn TokenVerifier>,
}

/// A service's API, ready to be mounted.
#[async_trait]
pub trait ServiceApi: Send + Sync {
    /// What it is like.
    fn spec(&self) -> &ServiceSpec;

    /// Answers a request whose path begins with the prefix.
    async fn call(&self, parts: Parts, body: Body) -> Response;

    /// Every route: method, path, access. For coverage tests, which walk it.
    fn routes(&self) -> Vec<(Method, &'static str, Access)>;
}

/// Builds a service's API. Fails if a route names a rule that the policy does not define, or if two routes clash.
pub fn build<S: Send + Sync + 'static>(
    spec: ServiceSpec,
    routes: Vec<Route<S>>,
    state: Arc<S>,
    enforcer: Arc<Enforcer>,
    kit: Kit,
) -> Result<Arc<dyn ServiceApi>> {
    let mut paths: Vec<Vec<usize>> = Vec::new();
    let mut by_path: HashMap<&'static str, usize> = HashMap::new();
    let mut router = matchit::Router::new();
    for (index, route) in routes.iter().enumerate() {
        if let Access::Rule(rule) = route.access
            && !enforcer.defines(rule)
        {
            return Err(Error::internal(format!("{} {} names the undefined rule {rule}", route.method, route.path)));
        }
        let slot = match by_path.get(route.path) {
            Some(slot) => *slot,
            None => {
                let slot = paths.len();
                paths.push(Vec::new());
                by_path.insert(route.path, slot);
                router.insert(route.path, slot).map_err(|e| Error::internal(format!("route {}: {e}", route.path)))?;
                slot
            }
        };
        paths[slot].push(index);
    }
    Ok(Arc::new(Api { spec, routes, paths, router, state, enforcer, kit }))
}

/// The decoded parameters of a path.
type Params = Vec<(&'static str, String)>;

struct Api<S> {
    spec: ServiceSpec,
    routes: Vec<Route<S>>,
    /// Per distinct path, the routes on it.
    paths: Vec<Vec<usize>>,
    router: matchit::Router<usize>,
    state: Arc<S>,
    enforcer: Arc<Enforcer>,
    kit: Kit,
}

#[async_trait]
impl<S: Send + Sync + 'static> ServiceApi for Api<S> {
    fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    fn routes(&self) -> Vec<(Method, &'static str, Access)> {
        self.routes.iter().map(|r| (r.method.clone(), r.path, r.access)).collect()
    }

    async fn call(&self, parts: Parts, body: Body) -> Response {
        let started = self.kit.env.instant();
        let request_id = request_id(&self.kit.env, &parts);
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let span = tracing::info_span!("request", id = %request_id, service = self.spec.name);
        let version = self.spec.microversions.map(|range| range.negotiate(&parts.headers));
        let spoken = version.as_ref().and_then(|v| v.as_ref().ok().copied());
        let result = async {
            let version = version.transpose()?;
            self.dispatch(parts, body, version, &request_id).await
        };
        let (reply, error) = match AssertUnwindSafe(result).catch_unwind().instrument(span.clone()).await {
            Ok(Ok(reply)) => (reply, None),
            Ok(Err(error)) => (self.spec.style.reply(&error, &request_id), Some(error)),
            Err(_) => {
                let error = Error::internal("a handler panicked");
                (self.spec.style.reply(&error, &request_id), Some(error))
            }
        };
        let mut response = reply.into_response();
        self.finish(&mut response, spoken, &request_id);
        let _in = span.enter();
        let status = response.status().as_u16();
        let millis = started.elapsed().as_secs_f64() * 1000.0;
        match error {
            Some(error) if status >= 500 => tracing::error!(%method, path, status, millis, ?error, "answered"),
            Some(error) => tracing::info!(%method, path, status, millis, ?error, "answered"),
            None => tracing::info!(%method, path, status, millis, "answered"),
        }
        response
    }
}

impl<S: Send + Sync + 'static> Api<S> {
    async fn dispatch(
        &self,
        parts: Parts,
        body: Body,
        version: Option<Microversion>,
        request_id: &str,
    ) -> Result<Reply> {
        let full = parts.uri.path();
        let below = full.strip_prefix(self.spec.prefix).unwrap_or(full);
        // A slash at the end means nothing, and neither does a doubled one in front.
        let path = match below.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let (route, params) = self.route(&path, &parts.method, version)?;
        let caller = match route.access {
            Access::Public(_) => None,
            Access::Rule(_) => Some(self.kit.tokens.verify(token(&parts)?).await?),
        };
        let authorized = Arc::new(AtomicBool::new(false));
        let request = Request {
            cx: Ctx { env: self.kit.env.clone(), request_id: request_id.to_owned(), caller },
            method: parts.method.clone(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            base: format!("{}{}", origin(&parts), self.spec.prefix),
            headers: parts.headers,
            path,
            version,
            params,
            body: parking_lot::Mutex::new(Some(body)),
            body_limit: route.body_limit.unwrap_or(self.spec.body_limit),
            access: route.access,
            enforcer: Arc::clone(&self.enforcer),
            authorized: Arc::clone(&authorized),
        };
        let work = (route.handler)(Arc::clone(&self.state), request);
        let reply = if route.streams {
            work.await?
        } else {
            tokio::time::timeout(self.spec.time_limit, work)
                .await
                .map_err(|_| Error::new(Kind::Timeout, "The request took too long."))??
        };
        if matches!(route.access, Access::Rule(_)) && !authorized.load(Ordering::Relaxed) && reply.status.is_success() {
            return Err(Error::internal(format!("{} {} answered without an authorization", route.method, route.path)));
        }
        Ok(reply)
    }

    /// The route and the decoded parameters of its path.
    fn route(&self, path: &str, method: &Method, version: Option<Microversion>) -> Result<(&Route<S>, Params)> {
        let missing = || Error::not_found("The resource could not be found.");
        let found = self.router.at(path).map_err(|_| missing())?;
        let here: Vec<&Route<S>> =
            self.paths[*found.value].iter().map(|i| &self.routes[*i]).filter(|r| r.serves(version)).collect();
        if here.is_empty() {
            return Err(missing());
        }
        let wanted = |m: &Method| here.iter().find(|r| r.method == *m).copied();
        let route = wanted(method)
            .or_else(|| if *method == Method::HEAD { wanted(&Method::GET) } else { None })
            .ok_or_else(|| Error::new(Kind::MethodNotAllowed, "The method is not allowed for this resource."))?;
        let names = route.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'));
        let mut params = Vec::new();
        for name in names {
            let name = name.trim_start_matches('*');
            let raw = found.params.get(name).unwrap_or_default();
            let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| missing())?;
            params.push((name, decoded.into_owned()));
        }
        Ok((route, params))
    }

    fn finish(&self, response: &mut Response, spoken: Option<Microversion>, request_id: &str) {
        let status = response.status();
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-openstack-request-id", id.clone());
            if self.spec.name == "compute" {
                headers.insert("x-compute-request-id", id);
            }
        }
        if let (Some(range), Some(version)) = (self.spec.microversions, spoken) {
            range.announce(headers, version);
        }
        if status == http::StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Keystone uri=\"/identity\""));
        }
    }
}

/// The caller's own request id is kept if it has the usual form, so that one id goes through several services.
fn request_id(env: &Env, parts: &Parts) -> String {
    let given = parts.headers.get("x-openstack-request-id").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let plain = given.len() == 40
        && given.strip_prefix("req-").is_some_and(|id| id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
    if plain { given.to_owned() } else { format!("req-{}", env.uuid().hyphenated()) }
}

fn token(parts: &Parts) -> Result<&str> {
    parts
        .headers
        .get("x-auth-token")
        .and_then(|v| v.to_str().ok())
        .filter(|t| !t.is_empty())
        .ok_or_else(|| Error::unauthenticated("The request you have made requires authentication."))
}

/// `http://host:port` as the client reached us.
fn origin(parts: &Parts) -> String {
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .filter(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b)))
        .unwrap_or("localhost");
    format!("http://{host}")
}
