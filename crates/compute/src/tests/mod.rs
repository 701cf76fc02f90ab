//! Tests over HTTP, in process, on a real database, with the other services in memory.

mod aggregates;
mod crash;
mod fakes;
mod resources;
mod servers;

use crate::{Compute, Config, Deps, MIGRATIONS};
use axum::body::Body;
use fakes::{FakeImages, FakeNodes, FakePlacement, FakePorts, Tokens};
use ferrostack_contracts::node::NodeReports;
use ferrostack_db::testing::TestDb;
use ferrostack_jobs::{Jobs, JobsConfig};
use ferrostack_rest::{Kit, ServiceApi};
use ferrostack_types::Env;
use ferrostack_types::ids::{ImageId, ServerId};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// What outlives a process.
struct World {
    env: Env,
    db: TestDb,
    placement: Arc<FakePlacement>,
    ports: Arc<FakePorts>,
    images: Arc<FakeImages>,
    nodes: Arc<FakeNodes>,
}

impl World {
    async fn new() -> World {
        let env = Env::system();
        World {
            db: TestDb::new(&[ferrostack_jobs::MIGRATIONS, MIGRATIONS]).await,
            placement: Arc::default(),
            ports: Arc::new(FakePorts::new(&env)),
            images: Arc::default(),
            nodes: Arc::new(FakeNodes::new(&env)),
            env,
        }
    }

    async fn process(&self, jobs: JobsConfig, config: Config) -> (Jobs, Arc<Compute>) {
        let jobs = Jobs::new(self.db.db.clone(), self.env.clone(), jobs);
        let deps = Deps {
            db: self.db.db.clone(),
            env: self.env.clone(),
            jobs: jobs.clone(),
            placement: self.placement.clone(),
            ports: self.ports.clone(),
            images: self.images.clone(),
            nodes: self.nodes.clone(),
            config,
        };
        (jobs, Compute::new(deps).await.expect("compute starts"))
    }
}

/// Hosts say what they have to say, for as long as this runs.
async fn drive(nodes: &FakeNodes, compute: &dyn NodeReports) {
    loop {
        nodes.pump(compute).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A process at work, with its API.
struct Cloud {
    world: World,
    compute: Arc<Compute>,
    jobs: Jobs,
    api: Arc<dyn ServiceApi>,
    driver: ferrostack_types::Task<()>,
    image: ImageId,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl Cloud {
    /// Two hosts of 8 processors each, an image, the flavors `1` (1 CPU, 512 MiB, 1 GiB) and `big`.
    async fn new() -> Cloud {
        Cloud::with(|_| {}, 2).await
    }

    async fn with(change: impl FnOnce(&mut Config), hosts: usize) -> Cloud {
        let world = World::new().await;
        let mut config = Config { cpu_ratio: 1.0, repeat_after: Duration::from_millis(200), ..Config::default() };
        config.node_down_after = Duration::from_secs(3);
        config.heartbeat_every = Duration::from_millis(500);
        change(&mut config);
        for index in 0..hosts {
            world.nodes.add(&format!("host-{index}"), 8);
        }
        let image = world.images.add(&world.env, |_| {});
        let (jobs, compute) = world.process(JobsConfig::new("test"), config).await;
        let kit = Kit { env: world.env.clone(), tokens: Arc::new(Tokens) };
        let api = crate::api(Arc::clone(&compute), kit, None).expect("the API is sound");
        jobs.start().await.expect("jobs start");
        world.nodes.pump(compute.as_ref()).await;
        let (nodes, reports) = (Arc::clone(&world.nodes), Arc::clone(&compute));
        let driver = world.env.spawn("hosts", async move { drive(&nodes, reports.as_ref()).await });
        let cloud = Cloud { world, compute, jobs, api, driver, image };
        for (id, vcpus, ram, disk) in [("1", 1, 512, 1), ("big", 8, 4096, 10)] {
            let flavor =
                json!({"flavor": {"id": id, "name": format!("m1.{id}"), "vcpus": vcpus, "ram": ram, "disk": disk}});
            cloud.ok("admin", "POST", "/flavors", Some(flavor), 200).await;
        }
        cloud
    }

    async fn call(&self, token: &str, version: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("/compute/v2.1{path}"))
            .header("host", "cloud:1")
            .header("x-auth-token", token)
            .header("openstack-api-version", format!("compute {version}"));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        let (parts, body) = request.body(Body::from(bytes)).unwrap().into_parts();
        let response = self.api.call(parts, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// A call at the newest microversion that must be answered so.
    async fn ok(&self, token: &str, method: &str, path: &str, body: Option<Value>, status: u16) -> Value {
        let answer = self.call(token, "2.96", method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer.body
    }

    async fn get(&self, path: &str) -> Value {
        self.ok("member", "GET", path, None, 200).await
    }

    /// The message of a refusal.
    async fn refused(&self, token: &str, method: &str, path: &str, body: Option<Value>, status: u16) -> String {
        let body = self.ok(token, method, path, body, status).await;
        body.as_object().and_then(|map| map.values().next()?["message"].as_str()).unwrap_or_default().to_owned()
    }

    fn order(&self, name: &str) -> Value {
        json!({"server": {"name": name, "flavorRef": "1", "imageRef": self.image.to_string(), "networks": "auto"}})
    }

    async fn boot(&self, name: &str) -> String {
        let body = self.ok("member", "POST", "/servers", Some(self.order(name)), 202).await;
        body["server"]["id"].as_str().unwrap().to_owned()
    }

    async fn wait(&self, id: &str, status: &str) -> Value {
        for _ in 0..2000 {
            let answer = self.call("admin", "2.96", "GET", &format!("/servers/{id}"), None).await;
            let server = &answer.body["server"];
            let idle = server["OS-EXT-STS:task_state"].is_null();
            if (answer.status == 404 && status == "gone") || (server["status"] == status && idle) {
                return server.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let last = self.call("admin", "2.96", "GET", &format!("/servers/{id}"), None).await;
        panic!("{id} never became {status}: {}", last.body);
    }

    async fn booted(&self, name: &str) -> String {
        let id = self.boot(name).await;
        self.wait(&id, "ACTIVE").await;
        id
    }

    async fn act(&self, id: &str, body: Value) {
        self.ok("member", "POST", &format!("/servers/{id}/action"), Some(body), 202).await;
    }

    async fn delete(&self, id: &str) {
        self.ok("member", "DELETE", &format!("/servers/{id}"), None, 204).await;
    }

    /// No workflow is left, and the laws hold.
    async fn assert_sound(&self) {
        for _ in 0..1000 {
            if self.jobs.backlog().await.unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.compute.audit().await.unwrap(), []);
    }
}

fn server_id(text: &str) -> ServerId {
    ServerId::parse(text).unwrap()
}
