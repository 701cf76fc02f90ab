//! `TestCloud`: the real wiring of the binary with the fake hypervisor, driven through the same HTTP as any client,
//! in process.
//!
//! ```ignore
//! let cloud = TestCloud::new().await;
//! let admin = cloud.admin().await;
//! let made = admin.post("/compute/v2.1/flavors", json!({...})).await.expect(200);
//! cloud.finish().await;      // asserts that nothing is left without an owner
//! ```

use bytes::Bytes;
use ferrostack_rest::Body;
use ferrostack_server::config::{Config, HypervisorKind, NetworkKind};
use ferrostack_server::home::Home;
use ferrostack_server::wiring::Cloud;
use ferrostack_types::Env;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A cloud in this process.
pub struct TestCloud {
    cloud: Arc<Cloud>,
    password: String,
    _dir: TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON (null if it is empty), if the status is this one; otherwise the test fails and shows the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        if self.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&self.body).unwrap_or(Value::String(text.into_owned()))
        }
    }
}

/// Somebody with a token.
#[derive(Clone)]
pub struct Persona {
    cloud: Arc<Cloud>,
    /// The token; empty for nobody.
    pub token: String,
    /// The microversion of the compute API, if one is asked for.
    pub compute_version: Option<&'static str>,
}

impl Persona {
    /// Any request.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "cloud.test");
        if !self.token.is_empty() {
            request = request.header("x-auth-token", &self.token);
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        if let Some(version) = self.compute_version {
            request = request.header("openstack-api-version", format!("compute {version}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.cloud.front().call(request.body(body.into()).expect("a valid request")).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    /// `POST`
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[], body.to_string()).await
    }

    /// `PUT`
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, &[], body.to_string()).await
    }

    /// `DELETE`
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], Body::empty()).await
    }

    /// The same person asking for a microversion of the compute API.
    pub fn at(&self, version: &'static str) -> Persona {
        Persona { compute_version: Some(version), ..self.clone() }
    }
}

/// What a server needs.
pub struct Ground {
    /// A flavor of 1 vCPU, 64 MiB, 1 GiB.
    pub flavor: String,
    /// An active raw image.
    pub image: String,
    /// A network with a DHCP subnet.
    pub network: String,
}

impl TestCloud {
    /// A cloud with one fake host.
    pub async fn new() -> TestCloud {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        config.compute.hypervisor = HypervisorKind::Fake;
        config.compute.host = Some("host-1".to_owned());
        config.network.engine = Some(NetworkKind::None);
        config.identity.bcrypt_cost = 4;
        let env = Env::system();
        let home = Home::open(dir.path()).expect("a data directory");
        let cloud = Cloud::start(&config, &home, &env).await.expect("the cloud starts");
        let password = home.admin_password(&env).expect("a password");
        TestCloud { cloud: Arc::new(cloud), password, _dir: dir }
    }

    /// The running cloud.
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Nobody.
    pub fn nobody(&self) -> Persona {
        Persona { cloud: Arc::clone(&self.cloud), token: String::new(), compute_version: None }
    }

    /// Somebody with this token.
    pub fn holder(&self, token: &str) -> Persona {
        Persona { token: token.to_owned(), ..self.nobody() }
    }

    /// The administrator in the project admin.
    pub async fn admin(&self) -> Persona {
        self.login("admin", &self.password, Some("admin")).await
    }

    /// A login by password, scoped to a project.
    pub async fn login(&self, user: &str, password: &str, project: Option<&str>) -> Persona {
        let domain = json!({"id": "default"});
        let mut auth = json!({"identity": {"methods": ["password"],
            "password": {"user": {"name": user, "domain": domain, "password": password}}}});
        if let Some(project) = project {
            auth["scope"] = json!({"project": {"name": project, "domain": domain}});
        }
        let answer = self.nobody().post("/identity/v3/auth/tokens", json!({"auth": auth})).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        self.holder(answer.headers["x-subject-token"].to_str().expect("a token"))
    }

    /// A new project with a new user in this role.
    pub async fn tenant(&self, name: &str, role: &str) -> Persona {
        let admin = self.admin().await;
        let project = admin.post("/identity/v3/projects", json!({"project": {"name": name}})).await.expect(201);
        let user = json!({"user": {"name": name, "password": "a-password-1"}});
        let user = admin.post("/identity/v3/users", user).await.expect(201);
        let roles = admin.get(&format!("/identity/v3/roles?name={role}")).await.expect(200);
        let (project, user, role) =
            (text(&project["project"], "id"), text(&user["user"], "id"), text(&roles["roles"][0], "id"));
        let grant = format!("/identity/v3/projects/{project}/users/{user}/roles/{role}");
        admin.send(Method::PUT, &grant, &[], Body::empty()).await.expect(204);
        self.login(name, "a-password-1", Some(name)).await
    }

    /// Flavor, public image and a network of the caller's.
    pub async fn ground(&self, owner: &Persona) -> Ground {
        let admin = self.admin().await;
        let flavor = json!({"flavor": {"name": "small", "vcpus": 1, "ram": 64, "disk": 1, "id": "auto"}});
        let flavor = match admin.post("/compute/v2.1/flavors", flavor).await {
            answer if answer.status == StatusCode::CONFLICT => {
                let found = admin.get("/compute/v2.1/flavors").await.expect(200);
                text(&found["flavors"][0], "id")
            }
            answer => text(&answer.expect(200)["flavor"], "id"),
        };
        let image = json!({"name": "tiny", "disk_format": "raw", "container_format": "bare", "visibility": "public"});
        let image = text(&admin.post("/image/v2/images", image).await.expect(201), "id");
        let path = format!("/image/v2/images/{image}/file");
        admin
            .send(Method::PUT, &path, &[("content-type", "application/octet-stream")], vec![7u8; 4096])
            .await
            .expect(204);
        let network = owner.post("/network/v2.0/networks", json!({"network": {"name": "net"}})).await.expect(201);
        let network = text(&network["network"], "id");
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}});
        owner.post("/network/v2.0/subnets", subnet).await.expect(201);
        Ground { flavor, image, network }
    }

    /// Creates a server; its id.
    pub async fn server(&self, owner: &Persona, ground: &Ground, name: &str) -> String {
        let body = json!({"server": {"name": name, "flavorRef": ground.flavor, "imageRef": ground.image,
            "networks": [{"uuid": ground.network}]}});
        text(&owner.post("/compute/v2.1/servers", body).await.expect(202)["server"], "id")
    }

    /// Waits until a server has this status and nothing under way; the server.
    pub async fn wait_status(&self, owner: &Persona, server: &str, status: &str) -> Value {
        let mut last = Value::Null;
        for _ in 0..1200 {
            last = owner.get(&format!("/compute/v2.1/servers/{server}")).await.expect(200)["server"].take();
            if last["status"] == status && last["OS-EXT-STS:task_state"].is_null() {
                return last;
            }
            assert!(last["status"] != "ERROR" || status == "ERROR", "{last:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {status}: {last:#}");
    }

    /// Waits until a server is gone.
    pub async fn wait_gone(&self, owner: &Persona, server: &str) {
        for _ in 0..1200 {
            if owner.get(&format!("/compute/v2.1/servers/{server}")).await.status == StatusCode::NOT_FOUND {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server is still there");
    }

    /// Deletes every server, waits, and asserts that nothing is left without an owner.
    pub async fn finish(self) {
        let admin = self.admin().await;
        let list = admin.get("/compute/v2.1/servers?all_tenants=1&limit=1000").await.expect(200);
        for server in list["servers"].as_array().expect("a list") {
            admin.delete(&format!("/compute/v2.1/servers/{}", text(server, "id"))).await.expect(204);
        }
        for _ in 0..1200 {
            let list = admin.get("/compute/v2.1/servers?all_tenants=1").await.expect(200);
            if list["servers"].as_array().is_some_and(Vec::is_empty) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ports = admin.get("/network/v2.0/ports?device_owner=compute:nova").await.expect(200);
        assert_eq!(ports["ports"], json!([]), "no port of a server is left");
        let providers = admin.get("/placement/resource_providers").await.expect(200);
        for provider in providers["resource_providers"].as_array().expect("a list") {
            let usages = admin
                .get(&format!("/placement/resource_providers/{}/usages", text(provider, "uuid")))
                .await
                .expect(200);
            let used: BTreeSet<u64> =
                usages["usages"].as_object().expect("usages").values().filter_map(Value::as_u64).collect();
            assert!(used.iter().all(|amount| *amount == 0), "no allocation is left: {usages}");
        }
        let backlog = self.cloud.jobs.backlog().await.expect("the backlog");
        assert!(backlog.values().all(|count| *count == 0), "no workflow is left: {backlog:?}");
        let offences = self.cloud.services.compute.audit().await.expect("the audit runs");
        assert!(offences.is_empty(), "{offences:?}");
    }
}

/// A field of an object as text.
#[track_caller]
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}
