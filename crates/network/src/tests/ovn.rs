//! Rows becoming OVN's, with a real northbound database.

use super::{Fixture, fixture_with};
use crate::loops::{Wanted, objects_of, reconcile_now};
use crate::{OvnWiring, Wiring};
use ferrostack_contracts::network::{NicRequest, NicsRequest, Ports};
use ferrostack_ovn::northbound::{Key, Northbound};
use ferrostack_types::Env;
use ferrostack_types::ids::{NodeId, PortId, ProjectId, ServerId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

const P: &str = "p:member,reader";
const ADMIN: &str = "admin:admin,member,reader";

/// A northbound database that nobody translates; it ends with this value.
struct Ovsdb {
    dir: TempDir,
    _server: Child,
}

impl Ovsdb {
    async fn start() -> Ovsdb {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nb.db");
        let made = Command::new("ovsdb-tool").arg("create").arg(&file).arg("/usr/share/ovn/ovn-nb.ovsschema").status();
        assert!(made.await.expect("ovsdb-tool is installed").success());
        let socket = dir.path().join("nb.sock");
        let server = Command::new("ovsdb-server")
            .arg(format!("--remote=punix:{}", socket.display()))
            .arg(format!("--unixctl={}", dir.path().join("nb.ctl").display()))
            .arg(format!("--log-file={}", dir.path().join("nb.log").display()))
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("ovsdb-server is installed");
        until("ovsdb-server listens", || async { socket.exists() }).await;
        Ovsdb { dir, _server: server }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("nb.sock")
    }

    /// What ovn-northd does once a host has wired a port up.
    async fn set_up(&self, port: PortId, up: bool) {
        let column = format!("up={up}");
        let done = Command::new("ovn-nbctl")
            .arg(format!("--db=unix:{}", self.socket().display()))
            .args(["set", "Logical_Switch_Port", &port.to_string(), &column])
            .status();
        assert!(done.await.expect("ovn-nbctl is installed").success());
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        Env::system().sleep(Duration::from_millis(25)).await;
    }
    panic!("it did not happen in 10 s: {what}");
}

async fn cloud(ovsdb: &Ovsdb) -> (Fixture, OvnWiring) {
    let northbound = Northbound::connect(&ovsdb.socket(), Env::system()).await.unwrap();
    let wiring = OvnWiring::new(Arc::new(northbound));
    let fixture = fixture_with(Arc::new(wiring.clone())).await;
    fixture.jobs.start().await.unwrap();
    (fixture, wiring)
}

impl Fixture {
    async fn made(&self, token: &str, kind: &str, path: &str, body: Value) -> String {
        let answer = self.ok(token, "POST", path, json!({kind: body})).await;
        answer[kind]["id"].as_str().unwrap().to_owned()
    }

    /// Whether OVN has been told all there is.
    async fn clean(&self) -> bool {
        let left: i64 = self
            .network
            .db
            .read("test", |tx| tx.scalar("SELECT COUNT(*) FROM network_ovn_dirty", ferrostack_db::params![]))
            .await
            .unwrap();
        left == 0
    }

    async fn status(&self, port: PortId) -> String {
        let port = self.ok(P, "GET", &format!("ports/{port}"), Value::Null).await;
        port["port"]["status"].as_str().unwrap().to_owned()
    }
}

fn kinds(wiring: &OvnWiring) -> Vec<&'static str> {
    wiring.revisions().keys().map(Key::kind).collect()
}

#[tokio::test]
async fn rows_become_ovns_and_go_again() {
    let ovsdb = Ovsdb::start().await;
    let (f, wiring) = cloud(&ovsdb).await;
    let external = f.made(ADMIN, "network", "networks", json!({"name": "ext", "router:external": true})).await;
    let subnet = json!({"network_id": external, "cidr": "172.24.4.0/24", "ip_version": 4});
    f.made(ADMIN, "subnet", "subnets", subnet).await;
    let network = f.made(P, "network", "networks", json!({"name": "net"})).await;
    let subnet = json!({"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4});
    let subnet = f.made(P, "subnet", "subnets", subnet).await;
    let gateway = json!({"network_id": external});
    let router = f.made(P, "router", "routers", json!({"external_gateway_info": gateway})).await;
    f.ok(P, "PUT", &format!("routers/{router}/add_router_interface"), json!({"subnet_id": subnet})).await;

    // A server's port.
    let me = super::caller("p", &["member", "reader"]);
    let nics = NicsRequest::List(vec![NicRequest::Network { id: network.parse().unwrap(), fixed_ip: None }]);
    let nic = f.network.plan(&me, &nics, &[]).await.unwrap().remove(0);
    let (server, node) = (ServerId(f.network.env.uuid()), NodeId(f.network.env.uuid()));
    let port = f.network.ensure(&ProjectId::new("p"), server, (&node, "host1"), &nic).await.unwrap();
    assert!(!f.network.wired(server).await.unwrap());
    let body = json!({"floating_network_id": external, "port_id": port.id});
    let floating = f.made(P, "floatingip", "floatingips", body).await;
    until("OVN has everything", || f.clean()).await;
    let there = kinds(&wiring);
    for (kind, count) in [("network", 2), ("router", 1), ("floating_ip", 1), ("security_group", 2)] {
        assert_eq!(there.iter().filter(|k| **k == kind).count(), count, "{kind} in {there:?}");
    }
    assert!(wiring.revisions().contains_key(&Key::Port(port.id)));

    // OVN says that it is up; the port follows.
    ovsdb.set_up(port.id, true).await;
    until("the port is active", || async { f.status(port.id).await == "ACTIVE" }).await;
    assert!(f.network.wired(server).await.unwrap());
    ovsdb.set_up(port.id, false).await;
    until("the port is down", || async { f.status(port.id).await == "DOWN" }).await;

    // Everything goes.
    f.network.release(server).await.unwrap();
    f.ok(P, "DELETE", &format!("floatingips/{floating}"), Value::Null).await;
    f.ok(P, "PUT", &format!("routers/{router}/remove_router_interface"), json!({"subnet_id": subnet})).await;
    f.ok(P, "DELETE", &format!("routers/{router}"), Value::Null).await;
    f.ok(P, "DELETE", &format!("networks/{network}"), Value::Null).await;
    f.ok(ADMIN, "DELETE", &format!("networks/{external}"), Value::Null).await;
    until("OVN has forgotten everything", || f.clean()).await;
    assert_eq!(kinds(&wiring), ["security_group", "security_group"]);
    f.jobs.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_reconciliation_repairs_what_was_lost_and_removes_what_is_not_ours_to_keep() {
    let ovsdb = Ovsdb::start().await;
    let (f, wiring) = cloud(&ovsdb).await;
    let network = f.made(P, "network", "networks", json!({"name": "net"})).await;
    f.made(P, "subnet", "subnets", json!({"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4})).await;
    let port = f.made(P, "port", "ports", json!({"network_id": network})).await;
    until("OVN has everything", || f.clean()).await;
    let wanted = wiring.revisions();
    // Somebody deletes one port and leaves another that no row knows.
    let stray = PortId(f.network.env.uuid());
    wiring.apply(&[], &[Key::Port(port.parse().unwrap())]).await.unwrap();
    let (config, key) = (Arc::clone(&f.network.config), Key::Port(port.parse().unwrap()));
    let copy = f.network.db.read("test", move |tx| objects_of(tx, &config, &Wanted::Keys(vec![key])));
    let mut object = copy.await.unwrap().remove(0);
    if let ferrostack_ovn::northbound::Object::Port(port) = &mut object {
        port.id = stray;
    }
    wiring.apply(&[object], &[]).await.unwrap();
    let ids = |all: &std::collections::BTreeMap<Key, i64>| all.keys().copied().collect::<BTreeSet<Key>>();
    assert_ne!(ids(&wiring.revisions()), ids(&wanted));
    reconcile_now(&f.network.db, &wiring, Arc::clone(&f.network.config)).await.unwrap();
    assert_eq!(wiring.revisions(), wanted);
    f.jobs.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_metadata_port_that_comes_back_is_the_new_one() {
    let ovsdb = Ovsdb::start().await;
    let (f, wiring) = cloud(&ovsdb).await;
    let network = f.made(P, "network", "networks", json!({"name": "net"})).await;
    let subnet = json!({"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4});
    let subnet = f.made(P, "subnet", "subnets", subnet).await;
    for name in ["a", "b", "c"] {
        let dns = json!({"subnet": {"name": name, "dns_nameservers": ["10.0.0.9"]}});
        f.ok(P, "PUT", &format!("subnets/{subnet}"), dns).await;
        for dhcp in [false, true] {
            f.ok(P, "PUT", &format!("subnets/{subnet}"), json!({"subnet": {"enable_dhcp": dhcp}})).await;
        }
    }
    let ports = f.ok(P, "GET", &format!("ports?network_id={network}"), Value::Null).await;
    let (id, revision) = (ports["ports"][0]["id"].as_str().unwrap(), ports["ports"][0]["revision_number"].as_i64());
    until("OVN has everything", || f.clean()).await;
    assert_eq!(wiring.revisions().get(&Key::Port(id.parse().unwrap())).copied(), revision);
    f.jobs.shutdown(Duration::from_secs(5)).await.unwrap();
}
