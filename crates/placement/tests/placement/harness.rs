//! A placement service on a real database, called in process.

use ferrostack_contracts::identity::{Caller, Scope, TokenVerifier};
use ferrostack_contracts::placement::{Consumer, Inventory, Resources};
use ferrostack_db::testing::TestDb;
use ferrostack_jobs::{Jobs, JobsConfig};
use ferrostack_placement::{Deps, MIGRATIONS, Placement};
use ferrostack_rest::{Body, Kit, ServiceApi};
use ferrostack_types::ids::{DomainId, ProjectId, ProviderId, ServerId, UserId};
use ferrostack_types::{Env, Error, Result, Timestamp};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A token is `<project>/<roles>`.
struct Tokens;

#[async_trait::async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>> {
        let (project, roles) = token.split_once('/').ok_or_else(|| Error::unauthenticated("no"))?;
        let domain = DomainId::new("default");
        Ok(Arc::new(Caller {
            user_id: UserId::new("u"),
            user_name: "u".to_owned(),
            user_domain_id: domain.clone(),
            user_domain_name: "Default".to_owned(),
            scope: Scope::Project {
                id: ProjectId::new(project),
                name: project.to_owned(),
                domain_id: domain,
                domain_name: "Default".to_owned(),
            },
            roles: roles.split('+').map(str::to_owned).collect(),
            audit_ids: vec![],
            expires_at: Timestamp::default(),
            methods: vec![],
            application_credential: None,
        }))
    }
}

pub const ADMIN: &str = "p/admin+member+reader";
pub const READER: &str = "p/reader";

const ALL: &[&[ferrostack_db::Migration]] = &[ferrostack_jobs::MIGRATIONS, MIGRATIONS];

pub struct Cloud {
    pub placement: Arc<Placement>,
    pub api: Arc<dyn ServiceApi>,
    db: TestDb,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Answer {
    /// The error's code and text.
    pub fn error(&self) -> (&str, &str) {
        let error = &self.json["errors"][0];
        (error["code"].as_str().unwrap_or_default(), error["detail"].as_str().unwrap_or_default())
    }
}

async fn service(db: ferrostack_db::Db) -> (Arc<Placement>, Jobs) {
    let env = Env::system();
    let jobs = Jobs::new(db.clone(), env.clone(), JobsConfig::new("test"));
    (Placement::new(Deps { db, env, jobs: jobs.clone() }).await.unwrap(), jobs)
}

impl Cloud {
    pub async fn new() -> Cloud {
        let db = TestDb::new(ALL).await;
        let (placement, _) = service(db.db.clone()).await;
        let kit = Kit { env: Env::system(), tokens: Arc::new(Tokens) };
        let api = ferrostack_placement::api(Arc::clone(&placement), kit, None).unwrap();
        Cloud { placement, api, db }
    }

    /// A second control node on the same database.
    pub async fn second(&self) -> (Arc<Placement>, Jobs) {
        service(self.db.reopen(ALL).await).await
    }

    pub async fn call_as(&self, token: &str, version: &str, method: &str, path: &str, body: Value) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("/placement{path}"));
        request = request.header("host", "cloud").header("x-auth-token", token);
        if !version.is_empty() {
            request = request.header("openstack-api-version", format!("placement {version}"));
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        let (parts, body) = request.body(body).unwrap().into_parts();
        let (parts, body) = self.api.call(parts, body).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, json }
    }

    pub async fn call(&self, version: &str, method: &str, path: &str, body: Value) -> Answer {
        self.call_as(ADMIN, version, method, path, body).await
    }

    pub async fn get(&self, version: &str, path: &str) -> Answer {
        self.call(version, "GET", path, Value::Null).await
    }

    /// The same, at the newest version, expecting success.
    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call("1.39", method, path, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.json);
        answer.json
    }

    pub async fn assert_sound(&self) {
        assert_eq!(self.placement.audit().await.unwrap(), Vec::<String>::new());
    }
}

pub fn provider(n: u128) -> ProviderId {
    ProviderId(uuid::Uuid::from_u128(n))
}

pub fn server(n: u128) -> ServerId {
    ServerId(uuid::Uuid::from_u128(0xabc << 64 | n))
}

pub fn consumer(n: u128) -> Consumer {
    Consumer { server: server(n), project: ProjectId::new("p"), user: UserId::new("u") }
}

pub fn wants(vcpus: u64, memory: u64) -> Resources {
    BTreeMap::from([("VCPU".to_owned(), vcpus), ("MEMORY_MB".to_owned(), memory)])
}

pub fn host(vcpus: u64, memory: u64) -> BTreeMap<String, Inventory> {
    let of = |total, ratio| Inventory {
        total,
        reserved: 0,
        min_unit: 1,
        max_unit: total,
        step_size: 1,
        allocation_ratio: ratio,
    };
    BTreeMap::from([("VCPU".to_owned(), of(vcpus, 4.0)), ("MEMORY_MB".to_owned(), of(memory, 1.0))])
}
