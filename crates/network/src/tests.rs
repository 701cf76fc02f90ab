//! Tests of the service in process, against a real database.

mod clients;
mod contract;
mod ovn;

use crate::{Deps, MIGRATIONS, Network, NetworkConfig, NoWiring, Wiring, api};
use async_trait::async_trait;
use axum::body::Body;
use ferrostack_contracts::identity::{Caller, Scope, TokenVerifier};
use ferrostack_db::testing::TestDb;
use ferrostack_jobs::{Jobs, JobsConfig};
use ferrostack_rest::{Kit, ServiceApi};
use ferrostack_types::ids::{DomainId, ProjectId, UserId};
use ferrostack_types::{Env, Error, Result, Timestamp};
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;

/// The service with its API. Tokens are `<project>:<role>,<role>...`.
struct Fixture {
    network: Arc<Network>,
    jobs: Jobs,
    api: Arc<dyn ServiceApi>,
    _db: TestDb,
}

struct Tokens;

#[async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>> {
        let (project, roles) = token.split_once(':').ok_or_else(|| Error::unauthenticated("no token"))?;
        Ok(Arc::new(caller(project, &roles.split(',').collect::<Vec<_>>())))
    }
}

fn caller(project: &str, roles: &[&str]) -> Caller {
    Caller {
        user_id: UserId::new("u"),
        user_name: "u".into(),
        user_domain_id: DomainId::new("default"),
        user_domain_name: "Default".into(),
        scope: Scope::Project {
            id: ProjectId::new(project),
            name: project.into(),
            domain_id: DomainId::new("default"),
            domain_name: "Default".into(),
        },
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        audit_ids: vec![],
        expires_at: Timestamp::default(),
        methods: vec![],
        application_credential: None,
    }
}

async fn fixture() -> Fixture {
    fixture_with(Arc::new(NoWiring)).await
}

async fn fixture_with(wiring: Arc<dyn Wiring>) -> Fixture {
    let db = TestDb::new(&[ferrostack_jobs::MIGRATIONS, MIGRATIONS]).await;
    let env = Env::system();
    let jobs = Jobs::new(db.db.clone(), env.clone(), JobsConfig::new("test"));
    let deps =
        Deps { db: db.db.clone(), env: env.clone(), jobs: jobs.clone(), wiring, config: NetworkConfig::default() };
    let network = Network::new(deps).await.unwrap();
    let api = api(Arc::clone(&network), Kit { env, tokens: Arc::new(Tokens) }, None).unwrap();
    Fixture { network, jobs, api, _db: db }
}

impl Fixture {
    /// Status and body.
    async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_if(token, method, path, body, None).await
    }

    /// The same with an `If-Match`.
    async fn call_if(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
        if_match: Option<&str>,
    ) -> (u16, Value) {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("/network/v2.0/{path}"))
            .header("x-auth-token", token)
            .header("host", "cloud:80");
        if let Some(value) = if_match {
            request = request.header("if-match", value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (parts, body) = request.body(body).unwrap().into_parts();
        let response = self.api.call(parts, body).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A call that must work.
    async fn ok(&self, token: &str, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(token, method, path, body).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// A call that must be refused: status and Neutron's name of the error.
    async fn refused(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.call(token, method, path, body).await;
        assert!(status >= 400, "{method} {path}: {status} {answer}");
        (status, answer["NeutronError"]["type"].as_str().unwrap_or_default().to_owned())
    }
}
