//! `kill -9` of the whole process, again and again, while servers are created and deleted through the public API.
//! Afterwards every acknowledged request has come true and nothing is left without an owner.

use axum::body::Body;
use ferrostack_server::client::Client;
use ferrostack_types::{Entropy, Kind, SeededEntropy};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const SERVERS: usize = 50;
const KILLS: usize = 6;

/// A cloud in a process of its own.
struct Process {
    child: Child,
    home: PathBuf,
    url: String,
    port: u16,
}

impl Process {
    fn start(home: &Path, port: u16) -> Process {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ferrostack"))
            .args(["--home".as_ref(), home.as_os_str(), "up".as_ref(), "--fake".as_ref(), "--listen".as_ref()])
            .arg(format!("127.0.0.1:{port}"))
            // bcrypt at its production cost takes a second in each of many starts.
            .env("FERROSTACK_IDENTITY_BCRYPT_COST", "4")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process { child, home: home.to_owned(), url: format!("http://127.0.0.1:{port}"), port }
    }

    /// SIGKILL: nothing in the process gets to say anything more.
    fn kill(mut self) -> (PathBuf, u16) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.home.clone(), self.port)
    }

    async fn client(&self) -> Client {
        let file = self.home.join("keys/admin-password");
        for _ in 0..600 {
            if let Ok(password) = std::fs::read_to_string(&file)
                && let Ok(client) = Client::login(&self.url, "admin", password.trim(), "admin").await
            {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no cloud: {}", std::fs::read_to_string(self.home.join("log")).unwrap_or_default());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}")).to_owned()
}

/// Flavor, image and network for the servers.
async fn prepare(client: &Client) -> (String, String, String) {
    let quota = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
    let projects = client.get("/identity/v3/auth/projects").await.unwrap();
    let project = id(&projects["projects"][0]);
    client.put(&format!("/compute/v2.1/os-quota-sets/{project}"), &quota).await.unwrap();
    let flavor = json!({"flavor": {"name": "f", "vcpus": 1, "ram": 64, "disk": 1}});
    let flavor = id(&client.post("/compute/v2.1/flavors", &flavor).await.unwrap()["flavor"]);
    let image = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    let image = id(&client.post("/image/v2/images", &image).await.unwrap());
    let headers = [("content-type", "application/octet-stream")];
    let path = format!("/image/v2/images/{image}/file");
    client.send(Method::PUT, &path, &headers, Body::from(vec![7u8; 4096])).await.unwrap().json().unwrap();
    let network = json!({"network": {"name": "n"}});
    let network = id(&client.post("/network/v2.0/networks", &network).await.unwrap()["network"]);
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/20"}});
    client.post("/network/v2.0/subnets", &subnet).await.unwrap();
    (flavor, image, network)
}

async fn servers(client: &Client) -> Vec<Value> {
    let list = client.get("/compute/v2.1/servers/detail?limit=1000").await.unwrap();
    list["servers"].as_array().unwrap().clone()
}

/// Waits until no server is on its way to somewhere.
async fn settle(client: &Client) -> Vec<Value> {
    let mut last = Vec::new();
    for _ in 0..600 {
        last = servers(client).await;
        let moving = |s: &Value| {
            !s["OS-EXT-STS:task_state"].is_null() || !matches!(s["status"].as_str(), Some("ACTIVE" | "ERROR"))
        };
        if !last.iter().any(moving) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let stuck: Vec<_> = last.iter().map(|s| (&s["name"], &s["status"], &s["OS-EXT-STS:task_state"])).collect();
    panic!("servers do not settle: {stuck:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_left_whenever_the_process_is_killed() {
    let dir = TempDir::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let random = SeededEntropy::new(20_261_122);
    let below = move |limit: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    };
    let mut process = Process::start(dir.path(), port);
    let mut client = process.client().await;
    let (flavor, image, network) = prepare(&client).await;
    let (mut acknowledged, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    let kill_every = SERVERS / KILLS;
    for index in 0..SERVERS {
        let body = json!({"server": {"name": format!("s{index}"), "flavorRef": flavor, "imageRef": image,
            "networks": [{"uuid": network}]}});
        let made = client.post("/compute/v2.1/servers", &body).await.unwrap();
        acknowledged.insert(id(&made["server"]));
        if index % 2 == 1 {
            let victim = acknowledged.iter().nth(below(acknowledged.len() as u64) as usize).unwrap().clone();
            client.delete(&format!("/compute/v2.1/servers/{victim}")).await.unwrap();
            acknowledged.remove(&victim);
            deleted.insert(victim);
        }
        if index % kill_every == kill_every - 1 {
            tokio::time::sleep(Duration::from_millis(below(60))).await;
            let (home, port) = process.kill();
            process = Process::start(&home, port);
            client = process.client().await;
        }
    }
    let settled = settle(&client).await;
    check(&client, &settled, &acknowledged, &deleted).await;
    // All of it goes, and then there is nothing at all.
    for server in &acknowledged {
        client.delete(&format!("/compute/v2.1/servers/{server}")).await.unwrap();
    }
    for _ in 0..600 {
        if servers(&client).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    check(&client, &servers(&client).await, &BTreeSet::new(), &deleted).await;
}

async fn check(client: &Client, servers: &[Value], acknowledged: &BTreeSet<String>, deleted: &BTreeSet<String>) {
    let present: BTreeSet<String> = servers.iter().map(id).collect();
    assert_eq!(&present, acknowledged, "what was acknowledged is there, and nothing else");
    assert!(present.is_disjoint(deleted), "what was deleted is gone");
    for server in servers {
        if server["status"] == "ERROR" {
            assert!(server["fault"]["message"].as_str().is_some_and(|m| !m.is_empty()), "an ERROR has its reason");
        }
    }
    let ports = client.get("/network/v2.0/ports?device_owner=compute:nova").await.unwrap();
    let owners: BTreeSet<String> =
        ports["ports"].as_array().unwrap().iter().map(|p| p["device_id"].as_str().unwrap().to_owned()).collect();
    assert!(owners.is_subset(&present), "no port without a server");
    let active: BTreeSet<String> = servers.iter().filter(|s| s["status"] == "ACTIVE").map(id).collect();
    assert!(active.is_subset(&owners), "no active server without its port");
    let limits = client.get("/compute/v2.1/limits").await.unwrap();
    assert_eq!(limits["limits"]["absolute"]["totalInstancesUsed"], json!(present.len()), "quota use is what there is");
    let providers = client.get("/placement/resource_providers").await.unwrap();
    let mut used = 0;
    for provider in providers["resource_providers"].as_array().unwrap() {
        let uuid = provider["uuid"].as_str().unwrap();
        let usages = client.get(&format!("/placement/resource_providers/{uuid}/usages")).await.unwrap();
        used += usages["usages"]["VCPU"].as_u64().unwrap_or(0);
    }
    assert_eq!(used, active.len() as u64, "allocations are what the live servers hold");
    for server in deleted {
        let gone = client.get(&format!("/compute/v2.1/servers/{server}")).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
    }
}
