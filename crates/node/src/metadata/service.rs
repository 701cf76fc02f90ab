//! The metadata service: one HTTP server for each network that has a guest here.
//!
//! ```text
//!  guest --> br-int --> fsm<network> ==veth== eth0: the port's addresses, 169.254.169.254   <-- namespace without a name
//!                                             HTTP on port 80, answered by the agent
//! ```
//!
//! Networks of different tenants may use the same addresses, so each has a network namespace, and a guest is known by
//! the namespace in which it was heard and the address that it speaks from, which the switch does not let it forge.
//! What a request says about itself (`X-Forwarded-For`, `X-Instance-ID`) is not read.
//!
//! A namespace has no name and is held by the agent's open sockets only: whatever ends the agent also ends it, with its
//! veth pair, and nothing is ever left over but the port's row in the switch, which the next agent finds.

use super::content::{Document, lookup};
use crate::agent::Core;
use crate::tools;
use bytes::Bytes;
use ferrostack_contracts::network::{MetadataPort, PortInfo};
use ferrostack_contracts::node::{Want, WantedGuest};
use ferrostack_ovn::daemons::disable_tx_checksum_offload;
use ferrostack_ovn::plug::{Datapath, PlugKind, Switch};
use ferrostack_types::ids::NetworkId;
use ferrostack_types::{Error, Result, ResultExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where guests ask.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// How many connections of a network are served at once.
const CONNECTIONS: usize = 64;
/// How long a connection may last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// How soon a network that could not be set up is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How the metadata service is offered.
#[derive(Clone)]
pub struct MetadataOptions {
    /// The switch that the networks' metadata ports are plugged into.
    pub switch: Arc<Switch>,
}

/// A network whose guests are answered. Dropping it ends the server and the namespace.
struct Served {
    port: MetadataPort,
    _end: DropGuard,
}

/// Keeps a namespace and a server for every network that has a guest here.
pub(crate) async fn serve_for_ever(core: Arc<Core>, options: MetadataOptions) {
    let mut served: BTreeMap<NetworkId, Served> = BTreeMap::new();
    loop {
        let settled = match converge(&core, &options.switch, &mut served).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = error.internal_text(), "the metadata service is not complete");
                false
            }
        };
        let pause = if settled { Duration::from_secs(600) } else { RETRY };
        // Only a hint: what is served is compared with what is wanted each time.
        let _ = tokio::time::timeout(pause, core.changed.notified()).await;
    }
}

async fn converge(core: &Arc<Core>, switch: &Switch, served: &mut BTreeMap<NetworkId, Served>) -> Result<()> {
    let wanted = wanted_networks(core);
    served.retain(|network, served| wanted.get(network).is_some_and(|(port, _)| *port == served.port));
    for plugged in switch.plugged() {
        let needed = served.values().any(|served| served.port.id == plugged.port);
        if plugged.interface.starts_with("fsm") && !needed {
            switch.unplug(plugged.port).await?;
        }
    }
    let mut result = Ok(());
    for (network, (port, mtu)) in wanted {
        if served.contains_key(&network) {
            continue;
        }
        match serve(core, switch, network, &port, mtu).await {
            Ok(end) => drop(served.insert(network, Served { port, _end: end })),
            // The others are not to suffer from it.
            Err(error) => result = Err(error.context(format!("network {network}"))),
        }
    }
    result
}

fn wanted_networks(core: &Core) -> BTreeMap<NetworkId, (MetadataPort, u32)> {
    let mut networks = BTreeMap::new();
    for wanted in core.table.all_wanted().iter().filter(|wanted| wanted.want != Want::Absent) {
        for port in wanted.spec.iter().flat_map(|spec| &spec.nics) {
            if let Some(metadata) = &port.metadata {
                networks.entry(port.network_id).or_insert_with(|| (metadata.clone(), port.mtu));
            }
        }
    }
    networks
}

async fn serve(
    core: &Arc<Core>,
    switch: &Switch,
    network: NetworkId,
    port: &MetadataPort,
    mtu: u32,
) -> Result<DropGuard> {
    let outside = interface_name(network);
    let userspace = switch.bridge_datapath(switch.integration_bridge()) == Some(Datapath::Userspace);
    let listener = open_namespace(&outside, port, mtu, userspace).await?;
    switch.plug(port.id, &outside, &port.mac, PlugKind::Tap).await?;
    let end = CancellationToken::new();
    core.spawn("metadata server", accept(Arc::clone(core), network, listener, end.clone()));
    tracing::debug!(%network, outside, "metadata is served");
    Ok(end.drop_guard())
}

/// `fsm` and ten hex digits of the network's id.
fn interface_name(network: NetworkId) -> String {
    format!("fsm{}", &network.0.simple().to_string()[..10])
}

/// Makes the namespace, with one end of a veth pair in it, and listens there.
async fn open_namespace(
    outside: &str,
    port: &MetadataPort,
    mtu: u32,
    userspace: bool,
) -> Result<tokio::net::TcpListener> {
    let failed = |failure: crate::Failure| Error::internal(failure.error.internal);
    if crate::plumbing::tap::exists(outside).context("look for a veth pair")? {
        tools::run("ip", &["link", "delete", outside], tools::SMALL).await.map_err(failed)?;
    }
    let (name, port) = (outside.to_owned(), port.clone());
    // A thread of its own, since a namespace belongs to a thread; it is not used for anything afterwards.
    let home = File::open("/proc/thread-self/ns/net").context("open the network namespace")?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(inside(&home, &name, &port, mtu, userspace)));
    let listener = receiver.await.map_err(|_| Error::internal("the namespace's thread has panicked"))??;
    if userspace {
        disable_tx_checksum_offload(outside)?;
    }
    let up = ["link", "set", "dev", outside, "mtu", &mtu.to_string(), "up"].map(str::to_owned);
    tools::run("ip", &up, tools::SMALL).await.map_err(failed)?;
    tokio::net::TcpListener::from_std(listener).context("listen for metadata requests")
}

/// Runs in a thread of its own.
fn inside(home: &File, outside: &str, port: &MetadataPort, mtu: u32, userspace: bool) -> Result<std::net::TcpListener> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|e| Error::from_source("make a network namespace", e))?;
    let home = format!("/proc/{}/fd/{}", std::process::id(), home.as_raw_fd());
    ip(&["link", "set", "dev", "lo", "up"])?;
    ip(&["link", "add", "eth0", "address", &port.mac, "type", "veth", "peer", "name", outside, "netns", &home])?;
    for address in &port.addresses {
        ip(&["address", "add", &address.to_string(), "dev", "eth0"])?;
    }
    ip(&["address", "add", &format!("{ADDRESS}/32"), "dev", "eth0"])?;
    if userspace {
        disable_tx_checksum_offload("eth0")?;
    }
    ip(&["link", "set", "dev", "eth0", "mtu", &mtu.to_string(), "up"])?;
    let listener = std::net::TcpListener::bind((ADDRESS, 80)).context("listen in the namespace")?;
    listener.set_nonblocking(true).context("listen in the namespace")?;
    Ok(listener)
}

/// Runs `ip` in this thread's namespace.
fn ip(args: &[&str]) -> Result<()> {
    let output =
        Command::new("ip").args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().context("run ip")?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::internal(format!("ip {}: {}", args.join(" "), text.trim())))
}

async fn accept(core: Arc<Core>, network: NetworkId, listener: tokio::net::TcpListener, end: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            core.env.sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (served, end) = (Arc::clone(&core), end.clone());
        core.spawn("metadata connection", async move {
            let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
                let response = respond(&served, network, peer.ip(), request.method(), request.uri().path());
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let connection = http.max_buf_size(16 << 10).serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                _ = tokio::time::timeout(CONNECTION_LIMIT, connection) => {}
            }
            drop(permit);
        });
    }
}

fn respond(core: &Core, network: NetworkId, from: IpAddr, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let guests = core.table.all_wanted();
    let document = guests.iter().find_map(|wanted| {
        let port = port_at(wanted, network, from)?;
        Some(lookup(wanted, port, path, &core.env))
    });
    let (status, document) = match (method, document.flatten()) {
        (&Method::GET | &Method::HEAD, Some(document)) => (StatusCode::OK, document),
        (&Method::GET | &Method::HEAD, None) => (StatusCode::NOT_FOUND, plain("404 Not Found\n")),
        _ => (StatusCode::METHOD_NOT_ALLOWED, plain("405 Method Not Allowed\n")),
    };
    let kind = if document.json { "application/json" } else { "text/plain; charset=UTF-8" };
    let mut response = Response::new(Full::new(Bytes::from(document.body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn plain(text: &str) -> Document {
    Document { body: text.into(), json: false }
}

/// The guest's port on the network, if it is the guest who speaks from this address.
fn port_at(wanted: &WantedGuest, network: NetworkId, from: IpAddr) -> Option<&PortInfo> {
    let spec = wanted.spec.as_ref().filter(|_| wanted.want != Want::Absent)?;
    let here = |port: &&PortInfo| port.network_id == network && port.fixed_ips.iter().any(|ip| ip.address == from);
    spec.nics.iter().find(here)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ferrostack_contracts::image::DiskFormat;
    use ferrostack_contracts::network::FixedIp;
    use ferrostack_contracts::node::*;
    use ferrostack_types::ids::*;
    use uuid::Uuid;

    pub fn guest() -> WantedGuest {
        let id = Uuid::from_u128;
        let network_id = NetworkId(id(7));
        let port = PortInfo {
            id: PortId(id(1)),
            network_id,
            network_name: "net".into(),
            mac: "fa:16:3e:00:00:01".into(),
            mtu: 1442,
            fixed_ips: vec![FixedIp {
                subnet_id: SubnetId(id(2)),
                address: "10.0.0.5".parse().unwrap(),
                prefix: 24,
                gateway: Some("10.0.0.1".parse().unwrap()),
                dns: Vec::new(),
                floating: vec!["203.0.113.7".parse().unwrap()],
            }],
            security_groups: vec!["default".into()],
            metadata: Some(MetadataPort {
                id: PortId(id(3)),
                mac: "fa:16:3e:00:00:02".into(),
                addresses: vec!["10.0.0.2/24".parse().unwrap()],
            }),
            preexisting: false,
        };
        WantedGuest {
            server: ServerId(id(4)),
            generation: 1,
            want: Want::Running,
            boot: 1,
            soft_reboot: false,
            spec: Some(GuestSpec {
                name: "instance-0000002a".into(),
                vcpus: 1,
                memory_mb: 64,
                root_gb: 0,
                image: GuestImage { id: ImageId(id(5)), format: DiskFormat::Raw, size: 1, sha512: String::new() },
                nics: vec![port],
                config_drive: false,
                metadata: GuestMetadata {
                    name: "one".into(),
                    hostname: "one.example".into(),
                    project_id: "p".into(),
                    availability_zone: "nova".into(),
                    launch_index: 0,
                    public_keys: BTreeMap::from([("laptop".into(), "ssh-ed25519 AAAA".into())]),
                    meta: BTreeMap::new(),
                    user_data: Some("IyEvYmluL3NoCg==".into()),
                    admin_password: None,
                },
                shutdown_timeout_s: 1,
            }),
        }
    }

    #[test]
    fn a_guest_is_known_by_network_and_address() {
        let wanted = guest();
        let network = wanted.spec.as_ref().unwrap().nics[0].network_id;
        let from = |text: &str| text.parse().unwrap();
        assert!(port_at(&wanted, network, from("10.0.0.5")).is_some());
        assert!(port_at(&wanted, network, from("10.0.0.6")).is_none());
        assert!(port_at(&wanted, NetworkId(Uuid::from_u128(99)), from("10.0.0.5")).is_none());
        let absent = WantedGuest { want: Want::Absent, ..wanted };
        assert!(port_at(&absent, network, from("10.0.0.5")).is_none());
    }

    async fn get(path: &str, headers: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let connect = tokio::net::TcpSocket::new_v4().unwrap();
        connect.bind("10.0.0.5:0".parse().unwrap()).unwrap();
        let mut stream = connect.connect((ADDRESS, 80).into()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The test's thread stands for the guest: the outer end of the pair gets the guest's address.
    #[tokio::test]
    async fn answers_from_a_namespace_over_http() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let wanted = guest();
        let nic = wanted.spec.as_ref().unwrap().nics[0].clone();
        let network = nic.network_id;
        let core = crate::agent::tests::bare_core().await;
        core.table.want(wanted);
        let name = interface_name(network);
        // Twice: what an earlier agent left is replaced.
        for _ in 0..2 {
            let listener = open_namespace(&name, nic.metadata.as_ref().unwrap(), nic.mtu, true).await.unwrap();
            ip(&["address", "add", "10.0.0.5/24", "dev", &name]).unwrap();
            ip(&["route", "add", "169.254.169.254/32", "dev", &name]).unwrap();
            let end = CancellationToken::new();
            core.spawn("metadata server", accept(Arc::clone(&core), network, listener, end.clone()));
            let answer = get("/openstack/latest/meta_data.json", "").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"name\":\"one\""), "{answer}");
            let answer = get("/latest/meta-data/local-ipv4", "X-Forwarded-For: 10.0.0.9\r\n").await;
            assert!(answer.ends_with("10.0.0.5"), "{answer}");
            assert!(get("/nothing", "").await.starts_with("HTTP/1.1 404"));
            end.cancel();
        }
    }
}
