//! The real thing: engines, logical network, plugged interfaces, packets.
//!
//! The test's thread enters a network namespace of its own, so that everything that it starts runs there; guests are
//! further namespaces behind veth pairs. None of them has a name: they end with the processes and files that hold them.

#![expect(clippy::disallowed_methods, reason = "packets take wall-clock time")]

use ferrostack_ovn::daemons::{Config, Engine, Provider, disable_tx_checksum_offload, interface_index};
use ferrostack_ovn::northbound::*;
use ferrostack_ovn::plug::PlugKind;
use ferrostack_types::Env;
use ferrostack_types::ids::*;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SocketType, ipproto};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

const QUIET: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(20);
const HOST: Ipv4Addr = Ipv4Addr::new(172, 24, 4, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 24, 4, 10);
const FLOATING: Ipv4Addr = Ipv4Addr::new(172, 24, 4, 20);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The current thread's network namespace, held by a file.
fn current_namespace() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

/// Something that behaves like a guest: a namespace with one interface.
struct Guest {
    namespace: File,
    address: Ipv4Addr,
}

impl Guest {
    /// A guest whose NIC's other end is called `interface`.
    fn new(interface: &str, mac: &str, address: Ipv4Addr) -> Guest {
        let guest = Guest { namespace: new_namespace(), address };
        ip(&format!("link add {interface} type veth peer name {interface}g address {mac}"));
        disable_tx_checksum_offload(interface).unwrap();
        ip(&format!("link set {interface} up"));
        guest.take(&format!("{interface}g"));
        guest.run(move || {
            disable_tx_checksum_offload("eth0").unwrap();
            ip("link set eth0 mtu 1442 up");
            ip(&format!("addr add {address}/24 dev eth0"));
            ip("route add default via 10.0.0.1");
            ip("route add 169.254.169.254/32 via 10.0.0.2");
        });
        guest
    }

    /// Moves an interface in as `eth0`.
    fn take(&self, interface: &str) {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd());
        ip(&format!("link set {interface} netns {path} name eth0"));
    }

    /// Runs something inside.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = self.namespace.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Answers every TCP connection with the peer's address, then echoes.
    fn serve(&self, port: u16) {
        let listener = self.run(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        serve(listener);
    }

    fn ping(&self, to: Ipv4Addr) -> bool {
        let from = self.address;
        self.run(move || ping(from, to))
    }

    fn tcp(&self, to: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
        self.run(move || tcp(to, port))
    }
}

fn new_namespace() -> File {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
        ip("link set lo up");
        current_namespace()
    });
    thread.join().unwrap()
}

fn serve(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            std::thread::spawn(move || {
                let SocketAddr::V4(peer) = peer else { return };
                let mut buffer = [0; 65_536];
                let mut sent = stream.write_all(&peer.ip().octets());
                while let (Ok(()), Ok(length @ 1..)) = (sent, stream.read(&mut buffer)) {
                    sent = stream.write_all(&buffer[..length]);
                }
            });
        }
    });
}

/// Connects, has 200 kB echoed (so that full segments and checksums matter), and says who the server thinks we are.
fn tcp(to: Ipv4Addr, port: u16) -> Option<Ipv4Addr> {
    let address = SocketAddr::V4(SocketAddrV4::new(to, port));
    let mut stream = TcpStream::connect_timeout(&address, QUIET * 2).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut peer = [0; 4];
    stream.read_exact(&mut peer).ok()?;
    let sent: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut writer = stream.try_clone().unwrap();
    let data = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&data));
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).ok()?;
    assert_eq!(received, sent);
    writing.join().unwrap().unwrap();
    Some(Ipv4Addr::from(peer))
}

/// One ICMP echo request from a given source address; whether the answer came.
fn ping(from: Ipv4Addr, to: Ipv4Addr) -> bool {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(QUIET)).unwrap();
    let id = Env::system().random::<2>();
    let mut request = [8, 0, 0, 0, id[0], id[1], 0, 1, b'f', b's'];
    let sum: u32 = request.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    if socket.send_to(&request, (to, 0)).is_err() {
        return false;
    }
    let mut answer = [0; 1500];
    while let Ok((length, _)) = socket.recv_from(&mut answer) {
        let icmp = &answer[20..length];
        if icmp[0] == 0 && icmp[4..6] == id {
            return true;
        }
    }
    false
}

/// Waits until something holds.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The configuration, and the promise that nothing of it is left.
struct Cloud {
    config: Config,
    _dir: TempDir,
}

impl Cloud {
    fn new() -> Cloud {
        let dir = TempDir::new().unwrap();
        let mut config = Config::single(
            dir.path().join("a-rather-long-name/of-a-directory/so-that-sockets/do-not-fit/in-there/ovn"),
            "host-1",
        );
        config.bridge_prefix = "t-".to_owned();
        let (physnet, bridge) = ("public".to_owned(), "br-ex".to_owned());
        config.provider = Some(Provider { physnet, bridge, address: Some("172.24.4.1/24".parse().unwrap()) });
        Cloud { config, _dir: dir }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        if let Err(error) = runtime.block_on(Engine::purge(&self.config, &Env::system())) {
            eprintln!("purge failed: {error:?}");
        }
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn subnet(n: u128, cidr: &str, dhcp: bool) -> Subnet {
    let cidr: ipnet::IpNet = cidr.parse().unwrap();
    let mut hosts = cidr.hosts();
    let (gateway, metadata_address) = (hosts.next(), hosts.next().filter(|_| dhcp));
    let dns = vec!["9.9.9.9".parse().unwrap()];
    Subnet { id: SubnetId(id(n)), cidr, gateway, dhcp, dns, host_routes: Vec::new(), metadata_address }
}

fn mac(n: u128) -> String {
    format!("fa:16:3e:00:00:{n:02x}")
}

fn port(n: u128, address: &str, kind: PortKind) -> Port {
    Port {
        id: PortId(id(n)),
        revision: 1,
        network_id: NetworkId(id(1)),
        name: String::new(),
        mac: mac(n),
        addresses: vec![(SubnetId(id(2)), address.parse().unwrap())],
        security_groups: vec![SecurityGroupId(id(6))],
        port_security: true,
        allowed_address_pairs: Vec::new(),
        kind,
        enabled: true,
    }
}

fn vif(n: u128, address: &str) -> Port {
    port(n, address, PortKind::Vif { host: Some("host-1".to_owned()), owner: "compute:nova".to_owned() })
}

fn group(revision: i64, ingress: &[(&str, Option<u16>)]) -> Object {
    let rule = |n: usize, direction, protocol: Option<&str>, port| Rule {
        id: SecurityGroupRuleId(id(600 + n as u128)),
        direction,
        ethertype: Ethertype::V4,
        protocol: protocol.map(str::to_owned),
        port_min: port,
        port_max: port,
        remote: Remote::Any,
    };
    let mut rules = vec![rule(0, Direction::Egress, None, None)];
    rules.extend(ingress.iter().enumerate().map(|(n, (p, port))| rule(n + 1, Direction::Ingress, Some(p), *port)));
    let name = "web".to_owned();
    Object::SecurityGroup(SecurityGroup { id: SecurityGroupId(id(6)), revision, name, rules, stateful: true })
}

const OPEN: &[(&str, Option<u16>)] = &[("icmp", None), ("tcp", Some(22))];

fn topology() -> Vec<Object> {
    let network = |n, name: &str, mtu, physnet, subnets| {
        let name = name.to_owned();
        Object::Network(Network { id: NetworkId(id(n)), revision: 1, name, mtu, physnet, subnets })
    };
    let router = Router {
        id: RouterId(id(4)),
        revision: 1,
        name: "router".to_owned(),
        enabled: true,
        gateway: Some(Gateway {
            port_id: PortId(id(31)),
            network_id: NetworkId(id(3)),
            mac: mac(31),
            addresses: vec![format!("{GATEWAY}/24").parse().unwrap()],
            next_hop: Some(HOST.into()),
            snat: true,
            chassis: vec![("host-1".to_owned(), 1)],
        }),
        interfaces: vec![Interface {
            port_id: PortId(id(32)),
            network_id: NetworkId(id(1)),
            mac: mac(32),
            addresses: vec!["10.0.0.1/24".parse().unwrap()],
            router_advertisement: None,
        }],
        routes: Vec::new(),
    };
    let floating = FloatingIp {
        id: FloatingIpId(id(5)),
        revision: 1,
        router_id: RouterId(id(4)),
        external_ip: FLOATING.into(),
        fixed_ip: "10.0.0.11".parse().unwrap(),
        port_id: PortId(id(11)),
        external_mac: None,
    };
    vec![
        network(1, "private", 1442, None, vec![subnet(2, "10.0.0.0/24", true)]),
        network(3, "public", 1500, Some(("public".to_owned(), None)), vec![subnet(33, "172.24.4.0/24", false)]),
        Object::Router(router),
        Object::FloatingIp(floating),
        group(1, OPEN),
        Object::Port(vif(11, "10.0.0.11")),
        Object::Port(vif(12, "10.0.0.12")),
        Object::Port(port(13, "10.0.0.2", PortKind::Metadata)),
    ]
}

type DhcpOptions = Vec<(u8, Vec<u8>)>;

/// What OVN offers a guest: the address and the options by number.
fn dhcp_offer(mac: &str) -> Option<(Ipv4Addr, DhcpOptions)> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(QUIET)).unwrap();
    let mut discover = vec![0; 236];
    discover[..4].copy_from_slice(&[1, 1, 6, 0]);
    discover[4..8].copy_from_slice(b"fsid");
    discover[10] = 0x80;
    for (byte, text) in discover[28..34].iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16).unwrap();
    }
    discover.extend([99, 130, 83, 99, 53, 1, 1, 55, 5, 1, 3, 6, 26, 121, 255]);
    socket.send_to(&discover, (Ipv4Addr::BROADCAST, 67)).unwrap();
    let mut answer = [0; 1500];
    let (length, _) = socket.recv_from(&mut answer).ok()?;
    let (mut rest, mut options) = (&answer[240..length], Vec::new());
    while let [code @ 1..=254, size, tail @ ..] = rest {
        let (value, tail) = tail.split_at(usize::from(*size));
        options.push((*code, value.to_vec()));
        rest = tail;
    }
    Some((Ipv4Addr::from(<[u8; 4]>::try_from(&answer[16..20]).unwrap()), options))
}

#[test]
fn packets_go_where_they_should_and_nowhere_else() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
    ip("link set lo up");
    let cloud = Cloud::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(scenario(&cloud.config));
}

#[test]
fn a_second_engine_is_refused_and_a_stopped_one_goes_on() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
    ip("link set lo up");
    let (one, two) = (Cloud::new(), Cloud::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::system();
        let engine = Engine::start(one.config.clone(), env.clone()).await.unwrap();
        let north = Northbound::connect(&engine.northbound_socket(), env.clone()).await.unwrap();
        north.apply(&topology(), &[]).await.unwrap();
        drop(north);

        let error = Engine::start(two.config.clone(), env.clone()).await.unwrap_err();
        assert!(error.internal_text().contains("another Open vSwitch"), "{error:?}");
        Engine::purge(&two.config, &env).await.unwrap();
        assert!(engine.status().iter().all(|daemon| daemon.pid.is_some()), "{:?}", engine.status());
        assert!(interface_index("t-br-int").is_some());

        let status = engine.status();
        engine.stop().await.unwrap();
        for daemon in &status {
            let command = std::fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid.unwrap())).unwrap_or_default();
            assert!(command.is_empty(), "{} still runs", daemon.name);
        }
        // Both at once, as when a service manager is impatient: one waits for the other and adopts.
        let starts = [(); 2].map(|()| Engine::start(one.config.clone(), env.clone()));
        let engines = futures::future::try_join_all(starts).await.unwrap();
        assert_eq!(engines[0].status(), engines[1].status());
        let north = Northbound::connect(&engines[0].northbound_socket(), env.clone()).await.unwrap();
        assert_eq!(north.reconcile(&topology()).await.unwrap().operations, 0);
        // Killed and purged: devices outlive ovs-vswitchd, but not this.
        let pid = engines[0].status().iter().find(|daemon| daemon.name == "vswitchd").unwrap().pid.unwrap();
        drop(engines);
        let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        Engine::purge(&one.config, &env).await.unwrap();
        for name in ["t-br-int", "t-br-ex", "ovs-netdev"] {
            assert_eq!(interface_index(name), None, "{name} is left");
        }
    });
}

async fn scenario(config: &Config) {
    let env = Env::system();
    let began = Instant::now();
    let engine = Engine::start(config.clone(), env.clone()).await.unwrap();
    println!("engines up after {:?}, {:?}", began.elapsed(), engine.datapath());
    let north = Northbound::connect(&engine.northbound_socket(), env.clone()).await.unwrap();

    let a = Guest::new("tap-a", &mac(11), Ipv4Addr::new(10, 0, 0, 11));
    let b = Guest::new("tap-b", &mac(12), Ipv4Addr::new(10, 0, 0, 12));
    north.apply(&topology(), &[]).await.unwrap();
    let switch = engine.switch();
    let began = Instant::now();
    switch.plug(PortId(id(11)), "tap-a", &mac(11), PlugKind::Tap).await.unwrap();
    switch.plug(PortId(id(12)), "tap-b", &mac(12), PlugKind::Tap).await.unwrap();
    switch.plug(PortId(id(13)), "md-1", &mac(13), PlugKind::Internal).await.unwrap();
    println!("three ports plugged after {:?}", began.elapsed());
    switch.plug(PortId(id(11)), "tap-a", &mac(11), PlugKind::Tap).await.unwrap();
    assert_eq!(switch.plugged().len(), 3);
    eventually("ports up", || north.port_up(PortId(id(11))) && north.port_up(PortId(id(12)))).await;
    println!("ports up after {:?}", began.elapsed());
    assert_eq!(north.reconcile(&topology()).await.unwrap().operations, 0);
    for daemon in engine.status() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid.unwrap())).unwrap();
        let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        println!("{}: {memory}", daemon.name);
    }

    security_groups(&north, &a, &b).await;
    floating_addresses(&a, &b).await;
    metadata(&a).await;
    spoofing(&north, &a, &b).await;
    dhcp(&a).await;
    let engine = survival(engine, config, &env, &a, &b).await;
    engine.switch().unplug(PortId(id(12))).await.unwrap();
    eventually("port down", || !north.port_up(PortId(id(12)))).await;
    let began = Instant::now();
    engine.switch().plug(PortId(id(12)), "tap-b", &mac(12), PlugKind::Tap).await.unwrap();
    eventually("port up again", || north.port_up(PortId(id(12)))).await;
    println!("up again after {:?}", began.elapsed());
    // The guest's device is replaced by another one of the same name, as when its process is started anew.
    ip("link delete tap-b");
    let b = Guest::new("tap-b", &mac(12), Ipv4Addr::new(10, 0, 0, 12));
    engine.switch().plug(PortId(id(12)), "tap-b", &mac(12), PlugKind::Tap).await.unwrap();
    eventually("ping through the new device", || b.ping(a.address)).await;
    let error = engine.switch().plug(PortId(id(14)), "no-such-tap", &mac(14), PlugKind::Tap).await.unwrap_err();
    println!("as it should: {error:?}");
    engine.switch().unplug(PortId(id(12))).await.unwrap();
    assert_eq!(engine.switch().plugged().len(), 2);
    eventually("port down", || !north.port_up(PortId(id(12)))).await;

    let pids: Vec<u32> = engine.status().into_iter().filter_map(|daemon| daemon.pid).collect();
    assert_eq!(pids.len(), 6);
    let socket = engine.switch_socket();
    drop((north, engine));
    Engine::purge(config, &env).await.unwrap();
    assert!(!config.state_dir.exists() && !socket.parent().unwrap().exists());
    for name in ["t-br-int", "t-br-ex", "tap-a", "ovs-netdev"] {
        assert_eq!(interface_index(name), None, "{name} is left");
    }
    assert!(interface_index("tap-b").is_some(), "what is not plugged is not ours");
    for pid in pids {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!command.contains("ovs"), "process {pid} is left: {command}");
    }
}

async fn security_groups(north: &Northbound, a: &Guest, b: &Guest) {
    a.serve(22);
    b.serve(22);
    b.serve(80);
    eventually("ping by rule", || a.ping(b.address)).await;
    eventually("tcp by rule", || a.tcp(b.address, 22) == Some(a.address)).await;
    assert_eq!(a.tcp(b.address, 80), None, "no rule allows port 80");
    // Nothing is allowed any more: not even what was a moment ago.
    north.apply(&[group(2, &[])], &[]).await.unwrap();
    eventually("default deny", || !a.ping(b.address)).await;
    assert_eq!(a.tcp(b.address, 22), None);
    // A protocol without ports, with ports, and nonsense, beside a good rule.
    let odd = [("112", Some(80)), ("dccp", Some(5)), ("nonsense", Some(1)), ("icmp", None), ("tcp", Some(22))];
    north.apply(&[group(3, &odd)], &[]).await.unwrap();
    eventually("rule beside odd ones", || a.ping(b.address)).await;
    north.apply(&[group(4, OPEN)], &[]).await.unwrap();
}

async fn floating_addresses(a: &Guest, b: &Guest) {
    eventually("floating IP by tcp", || tcp(FLOATING, 22) == Some(HOST)).await;
    assert!(ping(HOST, FLOATING));
    assert_eq!(tcp(FLOATING, 80), None, "no rule allows port 80");
    serve(TcpListener::bind((HOST, 8080)).unwrap());
    eventually("out with the floating IP", || a.tcp(HOST, 8080) == Some(FLOATING)).await;
    eventually("out with the gateway's address", || b.tcp(HOST, 8080) == Some(GATEWAY)).await;
    eventually("guest to floating IP", || b.tcp(FLOATING, 22).is_some()).await;
}

/// The metadata service's side: an internal port in a namespace of its own.
async fn metadata(a: &Guest) {
    let server = Guest { namespace: new_namespace(), address: METADATA };
    server.take("md-1");
    server.run(|| {
        ip("link set eth0 mtu 1442 up");
        ip("addr add 10.0.0.2/24 dev eth0");
        ip("addr add 169.254.169.254/32 dev eth0");
    });
    server.serve(80);
    eventually("metadata", || a.tcp(METADATA, 80) == Some(a.address)).await;
    // The interface goes back with its namespace, or Open vSwitch would lose it.
    let outside = current_namespace();
    let path = format!("/proc/{}/fd/{}", std::process::id(), outside.as_raw_fd());
    server.run(move || ip(&format!("link set eth0 netns {path} name md-1")));
}

async fn spoofing(north: &Northbound, a: &Guest, b: &Guest) {
    let other = Ipv4Addr::new(10, 0, 0, 99);
    a.run(|| ip("addr add 10.0.0.99/24 dev eth0"));
    let to = b.address;
    assert!(a.ping(to));
    assert!(!a.run(move || ping(other, to)), "a spoofed source got through");
    let mut allowed = vif(11, "10.0.0.11");
    allowed.revision = 2;
    allowed.allowed_address_pairs = vec![("10.0.0.96/28".parse().unwrap(), None)];
    north.apply(&[Object::Port(allowed)], &[]).await.unwrap();
    eventually("an allowed pair", || a.run(move || ping(other, to))).await;
}

async fn dhcp(a: &Guest) {
    let mac = mac(11);
    let mut offer = None;
    eventually("a DHCP offer", || {
        let mac = mac.clone();
        offer = a.run(move || dhcp_offer(&mac));
        offer.is_some()
    })
    .await;
    let (address, options) = offer.unwrap();
    let option = |code| options.iter().find(|(c, _)| *c == code).map(|(_, value)| value.clone());
    assert_eq!(address, a.address);
    assert_eq!(option(3), Some(vec![10, 0, 0, 1]));
    assert_eq!(option(6), Some(vec![9, 9, 9, 9]));
    assert_eq!(option(26), Some(1442_u16.to_be_bytes().to_vec()));
    let routes = vec![32, 169, 254, 169, 254, 10, 0, 0, 2, 0, 10, 0, 0, 1];
    assert_eq!(option(121), Some(routes));
}

/// Daemons that die come back; a new engine adopts those that live.
async fn survival(engine: Engine, config: &Config, env: &Env, a: &Guest, b: &Guest) -> Engine {
    let pid = |engine: &Engine, name: &str| engine.status().iter().find(|d| d.name == name).and_then(|d| d.pid);
    for name in ["ovsdb-conf", "ovsdb-sb", "vswitchd", "controller", "northd"] {
        let old = pid(&engine, name).unwrap();
        let process = rustix::process::Pid::from_raw(i32::try_from(old).unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        eventually(name, || pid(&engine, name).is_some_and(|now| now != old)).await;
        eventually("ping after a death", || a.ping(b.address)).await;
        eventually("floating IP after a death", || tcp(FLOATING, 22) == Some(HOST)).await;
    }
    let before = engine.status();
    drop(engine);
    assert!(a.ping(b.address), "the network outlives the control plane");
    let began = Instant::now();
    let engine = Engine::start(config.clone(), env.clone()).await.unwrap();
    println!("engines adopted after {:?}", began.elapsed());
    assert_eq!(engine.status(), before);
    assert!(a.ping(b.address));
    engine
}
