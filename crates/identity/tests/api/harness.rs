//! A small cloud's identity, and clients of it.

use axum::body::Body;
use ferrostack_contracts::identity::TokenVerifier;
use ferrostack_db::testing::TestDb;
use ferrostack_identity::{BootstrapConfig, Config, Deps, Identity, MIGRATIONS, api};
use ferrostack_rest::{Kit, ServiceApi};
use ferrostack_types::{Clock, Env, Secret, Timestamp};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub const PASSWORD: &str = "correct horse";

/// The real clock, shifted by as much as a test wants.
#[derive(Default)]
pub struct ShiftedClock(AtomicI64);

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        Env::system().now() + Duration::from_secs(self.0.load(Ordering::SeqCst) as u64)
    }
}

struct Urandom;

impl ferrostack_types::Entropy for Urandom {
    fn fill(&self, bytes: &mut [u8]) {
        Env::system().fill_random(bytes);
    }
}

pub struct Cloud {
    pub api: Arc<dyn ServiceApi>,
    pub identity: Arc<Identity>,
    pub db: TestDb,
    pub dir: tempfile::TempDir,
    pub clock: Arc<ShiftedClock>,
    pub env: Env,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    pub fn token(&self) -> String {
        self.headers["x-subject-token"].to_str().unwrap().to_owned()
    }

    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// The id of the one thing in the body.
    pub fn id(&self) -> String {
        let thing = self.body.as_object().unwrap().values().next().unwrap();
        thing["id"].as_str().unwrap().to_owned()
    }

    pub fn names(&self, key: &str) -> Vec<String> {
        self.body[key].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Cloud {
    pub async fn new() -> Cloud {
        let db = TestDb::new(&[MIGRATIONS]).await;
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ShiftedClock::default());
        let env = Env::new(Arc::clone(&clock) as _, Arc::new(Urandom));
        let mut config = Config::new(dir.path().join("keys"));
        config.bcrypt_cost = 4;
        let identity = Identity::new(Deps { db: db.db.clone(), env: env.clone(), config }).await.unwrap();
        let kit = Kit { env: env.clone(), tokens: Arc::clone(&identity) as Arc<dyn TokenVerifier> };
        let api = api(Arc::clone(&identity), kit, None).unwrap();
        let cloud = Cloud { api, identity, db, dir, clock, env };
        cloud.bootstrap("http://127.0.0.1:1").await;
        cloud
    }

    pub async fn bootstrap(&self, url: &str) {
        let kinds = [("identity", "keystone"), ("compute", "nova")];
        let endpoints = kinds.map(|(k, n)| (k.to_owned(), n.to_owned(), format!("{url}/{k}"))).to_vec();
        let config =
            BootstrapConfig { admin_password: Secret::new(PASSWORD), region: "RegionOne".to_owned(), endpoints };
        self.identity.bootstrap(config).await.unwrap();
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("/identity{path}"))
            .header("host", "cloud.example:5000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |b| Body::from(b.to_string()));
        let (parts, body) = request.body(body).unwrap().into_parts();
        let response = self.api.call(parts, body).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }

    pub async fn login(&self, auth: Value) -> Answer {
        self.send("POST", "/v3/auth/tokens", &[], Some(&json!({"auth": auth}))).await
    }

    /// By name in the default domain, scoped as said.
    pub async fn login_as(&self, name: &str, password: &str, scope: Option<Value>) -> Answer {
        let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": {
            "name": name, "domain": {"id": "default"}, "password": password}}}});
        if let Some(scope) = scope {
            auth["scope"] = scope;
        }
        self.login(auth).await
    }

    pub async fn admin(&self) -> Client<'_> {
        let scope = json!({"project": {"name": "admin", "domain": {"name": "Default"}}});
        let answer = self.login_as("admin", PASSWORD, Some(scope)).await.expect(201);
        Client { cloud: self, token: answer.token() }
    }

    pub fn client(&self, token: &str) -> Client<'_> {
        Client { cloud: self, token: token.to_owned() }
    }

    /// A user with a role on a project, both made for it, and a client scoped to it.
    pub async fn member(&self, name: &str, role: &str) -> Member<'_> {
        let admin = self.admin().await;
        let project = admin.create("project", json!({"name": format!("{name}-project")})).await;
        let user = admin.create("user", json!({"name": name, "password": PASSWORD})).await;
        let role = admin.role(role).await;
        admin.send("PUT", &format!("/v3/projects/{project}/users/{user}/roles/{role}"), None).await.expect(204);
        let answer = self.login_as(name, PASSWORD, Some(json!({"project": {"id": project}}))).await.expect(201);
        Member { client: self.client(&answer.token()), user, project }
    }
}

pub struct Member<'a> {
    pub client: Client<'a>,
    pub user: String,
    pub project: String,
}

#[derive(Clone)]
pub struct Client<'a> {
    pub cloud: &'a Cloud,
    pub token: String,
}

impl Client<'_> {
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.cloud.send(method, path, &[("x-auth-token", &self.token)], body.as_ref()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// Makes a thing and gives its id.
    pub async fn create(&self, kind: &str, thing: Value) -> String {
        self.send("POST", &format!("/v3/{kind}s"), Some(json!({kind: thing}))).await.expect(201).id()
    }

    pub async fn patch(&self, path: &str, kind: &str, change: Value) -> Answer {
        self.send("PATCH", path, Some(json!({kind: change}))).await
    }

    pub async fn role(&self, name: &str) -> String {
        let answer = self.get(&format!("/v3/roles?name={name}")).await.expect(200);
        answer.body["roles"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Whether the token is still good for anything.
    pub async fn works(&self) -> bool {
        let answer = self.get("/v3/auth/projects").await;
        assert!([200, 401].contains(&answer.status.as_u16()), "{}", answer.text);
        answer.status.is_success()
    }

    pub async fn about(&self, method: &str, subject: &str) -> Answer {
        let headers = [("x-auth-token", self.token.as_str()), ("x-subject-token", subject)];
        self.cloud.send(method, "/v3/auth/tokens", &headers, None).await
    }
}
