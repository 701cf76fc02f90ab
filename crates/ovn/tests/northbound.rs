//! The northbound synchronisation against a real ovsdb-server with OVN's schema.

use ferrostack_ovn::northbound::*;
use ferrostack_ovn::ovsdb::{Client, Datum, Monitor, op};
use ferrostack_types::ids::*;
use ferrostack_types::{Env, Kind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

/// ovsdb-server with an OVN_Northbound in a directory of its own.
struct Server {
    dir: TempDir,
    child: Option<Child>,
}

impl Server {
    fn new() -> Server {
        let dir = TempDir::new().unwrap();
        let schema = "/usr/share/ovn/ovn-nb.ovsschema";
        let create = Command::new("ovsdb-tool").arg("create").arg(dir.path().join("nb.db")).arg(schema).status();
        assert!(create.expect("ovsdb-tool is installed").success());
        let mut server = Server { dir, child: None };
        server.start();
        server
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("nb.sock")
    }

    fn start(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let child = Command::new("/usr/sbin/ovsdb-server")
            .arg(format!("--remote=punix:{}", self.socket().display()))
            .arg(format!("--unixctl={}", self.dir.path().join("ctl").display()))
            .args(["-vconsole:off", "-vsyslog:off", "--no-chdir"])
            .arg(self.dir.path().join("nb.db"))
            .spawn();
        self.child = Some(child.expect("ovsdb-server is installed"));
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

const ALL: &[Monitor] = &[
    Monitor { table: "Logical_Switch", columns: &["name", "ports", "external_ids"] },
    Monitor {
        table: "Logical_Switch_Port",
        columns: &["name", "addresses", "port_security", "dhcpv4_options", "type", "up", "external_ids"],
    },
    Monitor { table: "Port_Group", columns: &["name", "ports", "acls", "external_ids"] },
    Monitor { table: "ACL", columns: &["match", "priority", "external_ids"] },
    Monitor { table: "DHCP_Options", columns: &["cidr", "options", "external_ids"] },
    Monitor { table: "Logical_Router", columns: &["name", "ports", "nat", "static_routes", "external_ids"] },
    Monitor { table: "Logical_Router_Port", columns: &["name", "networks", "external_ids"] },
    Monitor { table: "Logical_Router_Static_Route", columns: &["ip_prefix", "nexthop", "external_ids"] },
    Monitor { table: "NAT", columns: &["type", "external_ip", "logical_ip", "external_ids"] },
];

/// Somebody else who looks at the database: counts the changes that it sees.
async fn onlooker(socket: &Path) -> (Client, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let observer = Box::new(move |_: &_, changes: &[_]| {
        counted.fetch_add(changes.len(), Ordering::SeqCst);
    });
    (Client::connect(socket, "OVN_Northbound", ALL, observer, Env::system()).await.unwrap(), count)
}

/// A round trip, after which the client has seen all that was committed before.
async fn catch_up(client: &Client) {
    client.sync().await.unwrap();
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn subnet(n: u128, cidr: &str, dhcp: bool) -> Subnet {
    let cidr: ipnet::IpNet = cidr.parse().unwrap();
    let mut hosts = cidr.hosts();
    let (gateway, metadata) = (hosts.next(), hosts.next());
    Subnet {
        id: SubnetId(id(n)),
        cidr,
        gateway,
        dhcp,
        dns: vec!["9.9.9.9".parse().unwrap()],
        host_routes: Vec::new(),
        metadata_address: metadata,
    }
}

fn network(n: u128, revision: i64, subnets: Vec<Subnet>) -> Object {
    let name = "o'brien \"net\"".to_owned();
    Object::Network(Network { id: NetworkId(id(n)), revision, name, mtu: 1442, physnet: None, subnets })
}

fn port(n: u128, revision: i64, network: u128, groups: &[u128]) -> Port {
    let [.., c, d] = u32::try_from(n).unwrap().to_be_bytes();
    Port {
        id: PortId(id(n)),
        revision,
        network_id: NetworkId(id(network)),
        name: format!("port {n}"),
        mac: format!("fa:16:3e:00:{c:02x}:{d:02x}"),
        addresses: vec![(SubnetId(id(2)), std::net::IpAddr::from([10, 0, c, d]))],
        security_groups: groups.iter().map(|g| SecurityGroupId(id(*g))).collect(),
        port_security: true,
        allowed_address_pairs: Vec::new(),
        kind: PortKind::Vif { host: Some("host-1".to_owned()), owner: "compute:nova".to_owned() },
        enabled: true,
    }
}

fn group(n: u128, revision: i64, ports: &[u16]) -> Object {
    let rules = ports.iter().map(|port| Rule {
        id: SecurityGroupRuleId(id(n * 100_000 + u128::from(*port))),
        direction: Direction::Ingress,
        ethertype: Ethertype::V4,
        protocol: Some("tcp".to_owned()),
        port_min: Some(*port),
        port_max: Some(*port),
        remote: Remote::Any,
    });
    let (id, name) = (SecurityGroupId(id(n)), format!("group {n}"));
    Object::SecurityGroup(SecurityGroup { id, revision, name, rules: rules.collect(), stateful: true })
}

fn router(n: u128, revision: i64) -> Router {
    Router {
        id: RouterId(id(n)),
        revision,
        name: "router".to_owned(),
        enabled: true,
        gateway: Some(Gateway {
            port_id: PortId(id(31)),
            network_id: NetworkId(id(3)),
            mac: "fa:16:3e:ff:00:01".to_owned(),
            addresses: vec!["172.24.4.10/24".parse().unwrap()],
            next_hop: Some("172.24.4.1".parse().unwrap()),
            snat: true,
            chassis: vec![("host-1".to_owned(), 2), ("host-2".to_owned(), 1)],
        }),
        interfaces: vec![Interface {
            port_id: PortId(id(32)),
            network_id: NetworkId(id(1)),
            mac: "fa:16:3e:ff:00:02".to_owned(),
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
            router_advertisement: None,
        }],
        routes: vec![("192.168.0.0/16".parse().unwrap(), "10.0.0.99".parse().unwrap())],
    }
}

fn floating(n: u128, router: u128) -> Object {
    Object::FloatingIp(FloatingIp {
        id: FloatingIpId(id(n)),
        revision: 1,
        router_id: RouterId(id(router)),
        external_ip: "172.24.4.20".parse().unwrap(),
        fixed_ip: "10.0.0.11".parse().unwrap(),
        port_id: PortId(id(11)),
        external_mac: None,
    })
}

/// One of everything, in an order in which nothing that is referred to comes first.
fn everything() -> Vec<Object> {
    let mut far_end = port(32, 1, 1, &[]);
    far_end.kind = PortKind::RouterInterface { router: RouterId(id(4)) };
    let mut metadata = port(12, 1, 1, &[]);
    metadata.kind = PortKind::Metadata;
    let external = Network {
        id: NetworkId(id(3)),
        revision: 1,
        name: "public".to_owned(),
        mtu: 1500,
        physnet: Some(("public".to_owned(), Some(7))),
        subnets: vec![subnet(33, "172.24.4.0/24", false)],
    };
    vec![
        floating(5, 4),
        Object::Port(port(11, 1, 1, &[6])),
        Object::Port(far_end),
        Object::Port(metadata),
        Object::Router(router(4, 1)),
        network(1, 1, vec![subnet(2, "10.0.0.0/24", true), subnet(22, "2001:db8::/64", true)]),
        Object::Network(external),
        group(6, 1, &[22, 80]),
    ]
}

async fn connect(server: &Server) -> Northbound {
    Northbound::connect(&server.socket(), Env::system()).await.unwrap()
}

#[tokio::test]
async fn a_repeat_changes_nothing() {
    let server = Server::new();
    let north = connect(&server).await;
    let (looking, count) = onlooker(&server.socket()).await;
    north.apply(&everything(), &[]).await.unwrap();
    catch_up(&looking).await;
    let first = count.load(Ordering::SeqCst);
    assert!(first > 20, "{first}");
    north.apply(&everything(), &[]).await.unwrap();
    let report = north.reconcile(&everything()).await.unwrap();
    let same = ReconcileReport { objects: 8, ..ReconcileReport::default() };
    assert_eq!(report, same);
    catch_up(&looking).await;
    assert_eq!(count.load(Ordering::SeqCst), first);
    assert_eq!(north.revisions().len(), 8);
    let cache = looking.cache();
    let counts = ["Logical_Switch", "Logical_Switch_Port", "Logical_Router_Port", "NAT", "DHCP_Options"]
        .map(|table| cache.table(table).rows().count());
    // Ports: guest, metadata, two far ends, localnet. NAT: SNAT and floating.
    assert_eq!(counts, [2, 5, 2, 2, 2]);
    let port = cache.row("Logical_Switch_Port", id(11)).unwrap();
    assert_eq!(port.reference("dhcpv4_options"), Some(id(2)));
    let options = cache.row("DHCP_Options", id(2)).unwrap();
    let routes = "{169.254.169.254/32,10.0.0.2, 0.0.0.0/0,10.0.0.1}";
    assert_eq!(options.key("options", "classless_static_route"), Some(routes));
    assert_eq!(options.key("options", "mtu"), Some("1442"));
    let routes = cache.table("Logical_Router_Static_Route").rows().count();
    assert_eq!(routes, 2);
    drop(cache);
}

#[tokio::test]
async fn a_new_connection_sees_what_the_old_one_did() {
    let server = Server::new();
    connect(&server).await.apply(&everything(), &[]).await.unwrap();
    let report = connect(&server).await.reconcile(&everything()).await.unwrap();
    assert_eq!(report.operations, 0, "{report:?}");
}

#[tokio::test]
async fn reconciliation_deletes_strays_and_nothing_of_others() {
    let server = Server::new();
    let north = connect(&server).await;
    north.apply(&everything(), &[]).await.unwrap();
    let (other, _) = onlooker(&server.socket()).await;
    let name = Datum::one("foreign");
    other.commit(vec![op::insert("Logical_Switch", id(77), [("name", &name)])]).await.unwrap();
    let foreign = op::mutate("Logical_Switch", id(1), &[("external_ids", "insert", Datum::map([("their", "key")]))]);
    other.commit(vec![foreign]).await.unwrap();
    // Damage: a rule is gone, a port is in no group any more.
    other
        .commit(vec![op::update("Port_Group", id(6), [("acls", &Datum::none()), ("ports", &Datum::none())])])
        .await
        .unwrap();

    let wanted: Vec<Object> = everything().into_iter().filter(|o| !matches!(o, Object::FloatingIp(_))).collect();
    let report = north.reconcile(&wanted).await.unwrap();
    assert_eq!((report.put, report.deleted), (2, 1), "{report:?}");
    assert_eq!(north.reconcile(&wanted).await.unwrap().operations, 0);
    catch_up(&other).await;
    {
        let cache = other.cache();
        assert!(cache.row("Logical_Switch", id(77)).is_some());
        assert_eq!(cache.row("Logical_Switch", id(1)).unwrap().key("external_ids", "their"), Some("key"));
        let group = cache.row("Port_Group", id(6)).unwrap();
        assert_eq!((group.references("acls").count(), group.references("ports").count()), (2, 1));
    }

    let report = north.reconcile(&[]).await.unwrap();
    assert_eq!(report.deleted, 7, "{report:?}");
    catch_up(&other).await;
    let cache = other.cache();
    let left = |table| cache.table(table).rows().count();
    assert_eq!(
        (left("Logical_Switch"), left("Logical_Switch_Port"), left("Logical_Router"), left("NAT")),
        (1, 0, 0, 0)
    );
    assert_eq!((left("DHCP_Options"), left("Port_Group")), (0, 1));
    drop(cache);
}

#[tokio::test]
async fn deletes_leave_the_rest_alone() {
    let server = Server::new();
    let north = connect(&server).await;
    north.apply(&everything(), &[]).await.unwrap();
    let keys: Vec<Key> = everything().iter().map(Object::key).collect();
    let wanted: Vec<Object> = everything()
        .into_iter()
        .filter(|o| o.key() != Key::Port(PortId(id(11))) && o.key() != Key::SecurityGroup(SecurityGroupId(id(6))))
        .collect();
    let delete =
        [Key::Port(PortId(id(11))), Key::SecurityGroup(SecurityGroupId(id(6))), Key::Network(NetworkId(id(404)))];
    north.apply(&[], &delete).await.unwrap();
    north.apply(&[], &delete).await.unwrap();
    assert_eq!(north.reconcile(&wanted).await.unwrap().operations, 0);
    north.apply(&[], &keys).await.unwrap();
    assert!(north.revisions().is_empty());
    assert_eq!(north.reconcile(&[]).await.unwrap().operations, 0);
}

#[tokio::test]
async fn security_groups_follow_their_rules_and_members() {
    let server = Server::new();
    let north = connect(&server).await;
    let (looking, _) = onlooker(&server.socket()).await;
    let net = network(1, 1, vec![subnet(2, "10.0.0.0/16", true)]);
    // The port comes before one of its groups.
    north.apply(&[net, group(6, 1, &[22]), Object::Port(port(11, 1, 1, &[6, 7]))], &[]).await.unwrap();
    north.apply(&[group(7, 1, &[443])], &[]).await.unwrap();
    let members = async |group: u128| {
        catch_up(&looking).await;
        let cache = looking.cache();
        cache.row("Port_Group", id(group)).map(|row| row.references("ports").collect::<Vec<_>>())
    };
    assert_eq!(members(6).await, Some(vec![id(11)]));
    assert_eq!(members(7).await, Some(vec![id(11)]));
    north.apply(&[Object::Port(port(11, 2, 1, &[7])), group(7, 2, &[80, 8080])], &[]).await.unwrap();
    assert_eq!(members(6).await, Some(vec![]));
    assert_eq!(members(7).await, Some(vec![id(11)]));
    let matches: Vec<String> = {
        let cache = looking.cache();
        let mut all: Vec<_> = cache
            .table("ACL")
            .owned(&format!("security_group/{}", id(7)))
            .map(|(_, row)| row.text("match").to_owned())
            .collect();
        all.sort();
        all
    };
    assert_eq!(matches.len(), 2);
    assert!(matches[0].ends_with("tcp.dst == 80") && matches[1].ends_with("tcp.dst == 8080"), "{matches:?}");
    // Without port security a port is in no group, not even in the one that drops.
    let mut open = port(11, 3, 1, &[7]);
    open.port_security = false;
    north.apply(&[Object::Port(open)], &[]).await.unwrap();
    assert_eq!(members(7).await, Some(vec![]));
    let cache = looking.cache();
    let drop_group = cache.table("Port_Group").named("fs_pg_drop").next().unwrap().1;
    assert_eq!(drop_group.references("ports").count(), 0);
    assert_eq!(cache.row("Logical_Switch_Port", id(11)).unwrap().atoms("port_security").count(), 0);
    drop(cache);
}

#[tokio::test]
async fn dhcp_that_comes_later_reaches_the_ports_that_are_there() {
    let server = Server::new();
    let north = connect(&server).await;
    let (looking, _) = onlooker(&server.socket()).await;
    let with_dhcp = |revision, dhcp| network(1, revision, vec![subnet(2, "10.0.0.0/16", dhcp)]);
    let guest = Object::Port(port(11, 1, 1, &[]));
    let options = async || {
        catch_up(&looking).await;
        looking.cache().row("Logical_Switch_Port", id(11)).unwrap().reference("dhcpv4_options")
    };
    north.apply(&[with_dhcp(1, false), guest.clone()], &[]).await.unwrap();
    assert_eq!(options().await, None);
    north.apply(&[with_dhcp(2, true)], &[]).await.unwrap();
    assert_eq!(options().await, Some(id(2)));
    north.apply(&[with_dhcp(3, false)], &[]).await.unwrap();
    assert_eq!(options().await, None);
    assert_eq!(north.reconcile(&[with_dhcp(3, false), guest]).await.unwrap().operations, 0);
}

#[tokio::test]
async fn what_hangs_on_something_missing_is_refused_and_skipped() {
    let server = Server::new();
    let north = connect(&server).await;
    let orphan = Object::Port(port(11, 1, 1, &[]));
    let error = north.apply(std::slice::from_ref(&orphan), &[]).await.unwrap_err();
    assert!(error.kind() == Kind::Conflict && error.retryable(), "{error:?}");
    let net = network(9, 1, Vec::new());
    let report = north.reconcile(&[orphan, floating(5, 4), net]).await.unwrap();
    assert_eq!(report.skipped, [Key::Port(PortId(id(11))), Key::FloatingIp(FloatingIpId(id(5)))]);
    assert_eq!(north.revisions().keys().copied().collect::<Vec<_>>(), [Key::Network(NetworkId(id(9)))]);
}

#[tokio::test]
async fn what_ovn_refuses_does_not_keep_the_rest_out() {
    let server = Server::new();
    let north = connect(&server).await;
    let (other, _) = onlooker(&server.socket()).await;
    // Somebody else has the name that our port group would have.
    let name = Datum::one(format!("fs_sg_{}", id(6).simple()));
    other.commit(vec![op::insert("Port_Group", id(66), [("name", &name)])]).await.unwrap();
    let error = north.apply(&[group(6, 1, &[22])], &[]).await.unwrap_err();
    assert!(error.internal_text().contains("constraint violation"), "{error:?}");
    let net = network(1, 1, vec![subnet(2, "10.0.0.0/16", true)]);
    let report = north.reconcile(&[group(6, 1, &[22]), net, Object::Port(port(11, 1, 1, &[6]))]).await.unwrap();
    assert_eq!(report.skipped, [Key::SecurityGroup(SecurityGroupId(id(6)))]);
    assert_eq!(north.revisions().len(), 2);
}

#[tokio::test]
async fn an_older_revision_never_overwrites_a_newer_one() {
    let server = Server::new();
    let (one, two) = (connect(&server).await, connect(&server).await);
    one.apply(&[group(6, 5, &[22])], &[]).await.unwrap();
    two.apply(&[group(6, 4, &[22, 23])], &[]).await.unwrap();
    let report = two.reconcile(&[group(6, 5, &[22])]).await.unwrap();
    assert_eq!(report.operations, 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn control_nodes_at_the_same_time_end_with_the_newest() {
    let server = Server::new();
    let net = network(1, 1, vec![subnet(2, "10.0.0.0/16", true)]);
    connect(&server).await.apply(std::slice::from_ref(&net), &[]).await.unwrap();
    let mut nodes = Vec::new();
    for node in 0..4_u16 {
        let north = connect(&server).await;
        let work = async move {
            for step in 0..25_u16 {
                let revision = i64::from(step) + 1;
                let rule = 1000 + step;
                let mut put = vec![group(6, revision, &[rule]), Object::Port(port(11, revision, 1, &[6]))];
                // And one that only this node knows of.
                put.push(Object::Port(port(u128::from(1000 + node * 100 + step), 1, 1, &[6])));
                north.apply(&put, &[]).await.unwrap();
            }
        };
        nodes.push(Env::system().spawn("node", work));
    }
    for node in nodes {
        node.await.unwrap();
    }
    let mut wanted = vec![net, group(6, 25, &[1024]), Object::Port(port(11, 25, 1, &[6]))];
    for node in 0..4_u16 {
        wanted.extend((0..25).map(|step| Object::Port(port(u128::from(1000 + node * 100 + step), 1, 1, &[6]))));
    }
    let report = connect(&server).await.reconcile(&wanted).await.unwrap();
    assert_eq!(report.operations, 0, "{report:?}");
    assert_eq!(report.skipped, []);
}

#[tokio::test]
async fn goes_on_after_the_database_was_killed() {
    let mut server = Server::new();
    let north = connect(&server).await;
    let mut changes = north.changes();
    north.apply(&everything(), &[]).await.unwrap();
    server.kill();
    // A call while nobody is there waits for the server to come back.
    let put = [Object::Port(port(13, 1, 1, &[6]))];
    let waiting = north.apply(&put, &[]);
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.start();
    };
    // The call may have been under way when the server died: then it says that it may be repeated.
    let (result, ()) = tokio::join!(waiting, back);
    if let Err(error) = result {
        assert!(error.retryable(), "{error:?}");
        north.apply(&put, &[]).await.unwrap();
    }
    let mut resynced = false;
    while let Ok(change) = changes.try_recv() {
        resynced |= change == Change::Resync;
    }
    assert!(resynced);
    let mut wanted = everything();
    wanted.extend(put);
    assert_eq!(north.reconcile(&wanted).await.unwrap().operations, 0);
}

#[tokio::test]
async fn what_others_did_while_the_connection_was_lost_is_seen() {
    let mut server = Server::new();
    let north = connect(&server).await;
    north.apply(&everything(), &[]).await.unwrap();
    server.kill();
    server.start();
    let (other, _) = onlooker(&server.socket()).await;
    other.commit(vec![op::delete("Port_Group", id(6))]).await.unwrap();
    let report = north.reconcile(&everything()).await.unwrap();
    assert!(report.put >= 1, "{report:?}");
    assert_eq!(north.reconcile(&everything()).await.unwrap().operations, 0);
    catch_up(&other).await;
    assert_eq!(other.cache().row("Port_Group", id(6)).unwrap().references("ports").count(), 1);
}

#[tokio::test]
async fn ports_that_come_up_are_told() {
    let server = Server::new();
    let north = connect(&server).await;
    let net = network(1, 1, Vec::new());
    north.apply(&[net, Object::Port(port(11, 1, 1, &[]))], &[]).await.unwrap();
    let mut changes = north.changes();
    assert!(!north.port_up(PortId(id(11))));
    let (other, _) = onlooker(&server.socket()).await;
    other.commit(vec![op::update("Logical_Switch_Port", id(11), [("up", &Datum::one(true))])]).await.unwrap();
    let change = tokio::time::timeout(Duration::from_secs(5), changes.recv()).await.unwrap().unwrap();
    assert_eq!(change, Change::PortUp { id: PortId(id(11)), up: true });
    assert!(north.port_up(PortId(id(11))));
}
