//! A small OpenStack client for `quickstart` and `bench`. It uses nothing but the public API over HTTP.

use axum::body::Body;
use bytes::Bytes;
use ferrostack_types::{Error, Kind, Result};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; an error status becomes an error with the service's own words.
    pub fn json(&self) -> Result<Value> {
        if !self.status.is_success() {
            return Err(Error::new(kind_of(self.status), format!("{}: {}", self.status, self.message())));
        }
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|e| Error::from_source("an answer is not JSON", e))
    }

    fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        let Ok(Value::Object(body)) = serde_json::from_str(&text) else { return text };
        let inner = body.values().next().and_then(|v| v.get("message")).and_then(Value::as_str);
        inner.map(str::to_owned).unwrap_or(text)
    }
}

fn kind_of(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 => Kind::Unauthenticated,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        503 => Kind::Unavailable,
        400..=499 => Kind::Invalid,
        _ => Kind::Internal,
    }
}

/// A client with a token.
#[derive(Clone)]
pub struct Client {
    http: HyperClient<HttpConnector, Body>,
    base: String,
    token: String,
}

impl Client {
    /// A client without a token. `base` is where the path prefixes begin.
    pub fn anonymous(base: &str) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = HyperClient::builder(TokioExecutor::new()).build(connector);
        Client { http, base: base.trim_end_matches('/').to_owned(), token: String::new() }
    }

    /// Logs in by password, scoped to a project of the default domain.
    pub async fn login(base: &str, user: &str, password: &str, project: &str) -> Result<Client> {
        let mut client = Client::anonymous(base);
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "domain": {"id": "default"}, "password": password}}},
            "scope": {"project": {"name": project, "domain": {"id": "default"}}}}});
        let answer = client.send(Method::POST, "/identity/v3/auth/tokens", &[], body.to_string()).await?;
        answer.json()?;
        let token = answer.headers.get("x-subject-token").and_then(|t| t.to_str().ok());
        client.token = token.ok_or_else(|| Error::internal("the login gave no token"))?.to_owned();
        Ok(client)
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Any request with a JSON or other body.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.header("x-auth-token", &self.token);
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).map_err(|e| Error::from_source("make a request", e))?;
        let unreachable = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::unavailable(format!("The cloud at {} does not answer.", self.base)).with_source(e)
        };
        let response = self.http.request(request).await.map_err(|e| unreachable(e.into()))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| unreachable(e.into()))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, &[], Body::empty()).await?.json()
    }

    /// `POST`
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, path, &[], body.to_string()).await?.json()
    }

    /// `PUT`
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PUT, path, &[], body.to_string()).await?.json()
    }

    /// `DELETE`; something that is gone already is fine.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.send(Method::DELETE, path, &[], Body::empty()).await?.json() {
            Err(error) if error.kind() != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The first of a list whose `name` is this.
    pub async fn find(&self, path: &str, list: &str, name: &str) -> Result<Option<Value>> {
        let found = self.get(path).await?;
        let items = found.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(items.into_iter().find(|item| item.get("name").and_then(Value::as_str) == Some(name)))
    }
}
