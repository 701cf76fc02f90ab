//! Open vSwitch on this host: bridges, the host's own settings, and a port for every guest's interface.
//!
//! Everything is a row in the database that ovs-vswitchd and ovn-controller watch. A plugged port's interface carries
//! `iface-id`, by which ovn-controller finds the logical port of the same name and binds it to this host.
//!
//! An interface that belongs to us carries `ferrostack:port`; so [`Switch::plugged`] can say what is left over after
//! a crash, and nobody else's port is ever touched.
//!
//! The Interface row of a port has the port's id as UUID: plugging twice cannot make two. (The Port row has another one:
//! ovsdb-server does not count a reference between two rows of the same UUID, even in different tables.)

use crate::ovsdb::{Atom, Cache, Client, Datum, Monitor, Outcome, Row, derived_uuid, op};
use ferrostack_types::ids::PortId;
use ferrostack_types::{Env, Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

const ROOT: &str = "Open_vSwitch";
const BRIDGE: &str = "Bridge";
const PORT: &str = "Port";
const INTERFACE: &str = "Interface";
/// The mark of a port of ours, with the port's id; of a bridge of ours, with `yes`.
const MARK_PORT: &str = "ferrostack:port";
const MARK_BRIDGE: &str = "ferrostack:bridge";
const MARK_KIND: &str = "ferrostack:kind";
/// The kernel's number of the device that was plugged.
const MARK_DEVICE: &str = "ferrostack:device";
/// How long ovs-vswitchd may take to do what the database says.
const PATIENCE: Duration = Duration::from_secs(10);

const MONITORS: &[Monitor] = &[
    Monitor {
        table: ROOT,
        columns: &["bridges", "cur_cfg", "next_cfg", "external_ids", "other_config", "ovs_version"],
    },
    Monitor {
        table: BRIDGE,
        columns: &["name", "ports", "datapath_type", "fail_mode", "other_config", "external_ids"],
    },
    Monitor { table: PORT, columns: &["name", "interfaces", "external_ids"] },
    Monitor { table: INTERFACE, columns: &["name", "type", "ofport", "error", "external_ids"] },
];

/// Who makes the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlugKind {
    /// The caller has made it: a tap device, one end of a veth pair.
    Tap,
    /// Open vSwitch makes it, and it goes when it is unplugged. It may be moved to another network namespace.
    Internal,
}

impl PlugKind {
    const fn word(self) -> &'static str {
        match self {
            PlugKind::Tap => "tap",
            PlugKind::Internal => "internal",
        }
    }
}

/// What forwards packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datapath {
    /// The kernel's module: fast.
    Kernel,
    /// ovs-vswitchd itself: works everywhere. Interfaces must not leave checksums to hardware that is not there.
    Userspace,
}

impl Datapath {
    /// Open vSwitch's word.
    pub const fn word(self) -> &'static str {
        match self {
            Datapath::Kernel => "system",
            Datapath::Userspace => "netdev",
        }
    }
}

/// A port that is plugged on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugged {
    /// The port.
    pub port: PortId,
    /// Its interface.
    pub interface: String,
    /// Who made the interface.
    pub kind: PlugKind,
    /// The interface's MAC address as it was plugged.
    pub mac: String,
}

/// What ovn-controller has to know of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The chassis name: OVN's id for this host, which never changes.
    pub chassis: String,
    /// The host's name.
    pub hostname: String,
    /// Where the southbound database is, e.g. `unix:/run/x/sb.sock` or `tcp:10.0.0.1:6642`; several, comma-separated.
    pub southbound: String,
    /// The address at which other hosts reach this one's tunnels.
    pub encap_ip: IpAddr,
    /// What forwards packets.
    pub datapath: Datapath,
    /// The integration bridge.
    pub integration_bridge: String,
    /// Physical network to bridge.
    pub mappings: Vec<(String, String)>,
    /// Whether to follow the whole southbound database rather than what concerns this host: quicker for a few hosts.
    pub monitor_all: bool,
}

/// Open vSwitch on this host.
#[derive(Debug)]
pub struct Switch {
    client: Client,
    bridge: String,
}

impl Switch {
    /// Connects to Open vSwitch's database. Ports are plugged into `integration_bridge`.
    pub async fn connect(socket: &Path, integration_bridge: &str, env: Env) -> Result<Switch> {
        let client = Client::connect(socket, "Open_vSwitch", MONITORS, Box::new(|_, _| {}), env).await?;
        Ok(Switch { client, bridge: integration_bridge.to_owned() })
    }

    /// The bridge that ports are plugged into.
    pub fn integration_bridge(&self) -> &str {
        &self.bridge
    }

    /// Plugs `interface` in for a port and waits until Open vSwitch has taken it. Repeatable; a port that was plugged
    /// with another interface is plugged anew. On failure nothing is left.
    pub async fn plug(&self, port: PortId, interface: &str, mac: &str, kind: PlugKind) -> Result<()> {
        if self.has_other_interface(port, interface, kind) {
            self.unplug(port).await?;
        }
        let operations = plug_operations(&self.client.cache(), &self.bridge, port, interface, mac, kind)?;
        if !operations.is_empty()
            && let Outcome::Refused(refusal) = self.client.transact(operations).await?
        {
            // Somebody plugged the same port at the same time: then it is there.
            if self.client.cache().row(INTERFACE, port.0).is_none() {
                return Err(refusal.into_error().context(format!("plug {interface}")));
            }
        }
        let taken = self.client.wait_until(PATIENCE, |cache| taken(cache.row(INTERFACE, port.0)?)).await;
        match taken {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.unplug(port).await?;
                Err(Error::internal(format!("Open vSwitch cannot use {interface}: {error}")))
            }
            Err(error) => {
                self.unplug(port).await?;
                Err(error.context(format!("plug {interface}")))
            }
        }
    }

    /// Whether the port is plugged with something else, or with a device of the same name that is gone: the userspace
    /// datapath goes on listening to that one.
    fn has_other_interface(&self, port: PortId, interface: &str, kind: PlugKind) -> bool {
        let cache = self.client.cache();
        let Some(row) = cache.row(INTERFACE, port.0) else { return false };
        row.text("name") != interface
            || row.key("external_ids", MARK_KIND) != Some(kind.word())
            || row.key("external_ids", MARK_DEVICE) != device(interface, kind).as_deref()
    }

    /// Takes a port out and waits until Open vSwitch has let go of the device. Repeatable. A tap remains, it is the
    /// caller's.
    pub async fn unplug(&self, port: PortId) -> Result<()> {
        let operations = unplug_operations(&self.client.cache(), port);
        if operations.is_empty() {
            return Ok(());
        }
        self.client.commit(operations).await?;
        // Taken out and put in between two looks of ovs-vswitchd, a port would seem unchanged to it, and it would go on
        // listening to a device that may be gone. One that does not answer is dead, and looks anew when it starts.
        if let Err(error) = self.settle().await {
            tracing::warn!(error = ?error, "ovs-vswitchd does not confirm that a port was unplugged");
        }
        Ok(())
    }

    /// All ports of ours that are plugged: what no guest here needs is left over.
    pub fn plugged(&self) -> Vec<Plugged> {
        let cache = self.client.cache();
        let mut plugged: Vec<Plugged> = cache.table(INTERFACE).rows().filter_map(|(_, row)| plugged_row(row)).collect();
        plugged.sort_by_key(|plugged| plugged.port);
        plugged
    }

    /// The datapath that a bridge has.
    pub fn bridge_datapath(&self, bridge: &str) -> Option<Datapath> {
        let cache = self.client.cache();
        let (_, row) = cache.table(BRIDGE).named(bridge).next()?;
        Some(if row.text("datapath_type") == "netdev" { Datapath::Userspace } else { Datapath::Kernel })
    }

    /// Says what this host is and makes its bridges (the integration bridge and those of the mappings). Repeatable.
    /// Does not wait for ovs-vswitchd, which may not be running yet: see [`Switch::settle`].
    pub async fn ensure_host(&self, host: &Host) -> Result<()> {
        for _ in 0..3 {
            let operations = host_operations(&self.client.cache(), host);
            if operations.is_empty() {
                return Ok(());
            }
            match self.client.transact(operations).await? {
                Outcome::Committed(_) => return Ok(()),
                Outcome::Refused(refusal) => tracing::debug!(?refusal, "Open vSwitch's database changed meanwhile"),
            }
        }
        Err(Error::unavailable("The network engine is busy.").context("Open vSwitch's database refuses the host"))
    }

    /// Waits until ovs-vswitchd has done all that the database says now.
    pub async fn settle(&self) -> Result<()> {
        let root = root(&self.client.cache()).ok_or_else(|| Error::internal("Open vSwitch's database is empty"))?;
        self.client.commit(vec![op::mutate(ROOT, root, &[("next_cfg", "+=", Datum::one(1))])]).await?;
        let wanted = self.client.cache().row(ROOT, root).and_then(|row| row.integer("next_cfg")).unwrap_or_default();
        let done = |cache: &Cache| (cache.row(ROOT, root)?.integer("cur_cfg").unwrap_or(0) >= wanted).then_some(());
        self.client.wait_until(PATIENCE, done).await
    }

    /// The names of the bridges that [`Switch::ensure_host`] made.
    pub fn own_bridges(&self) -> Vec<String> {
        let cache = self.client.cache();
        let ours = |row: &Row| row.key("external_ids", MARK_BRIDGE).is_some();
        cache.table(BRIDGE).rows().filter(|(_, row)| ours(row)).map(|(_, row)| row.text("name").to_owned()).collect()
    }

    /// Removes all bridges that [`Switch::ensure_host`] made, with their ports.
    pub async fn remove_bridges(&self) -> Result<()> {
        let (root, bridges) = {
            let cache = self.client.cache();
            let ours = |row: &Row| row.key("external_ids", MARK_BRIDGE).is_some();
            let bridges = cache.table(BRIDGE).rows().filter(|(_, row)| ours(row)).map(|(uuid, _)| uuid);
            (root(&cache), bridges.collect::<BTreeSet<Uuid>>())
        };
        let Some(root) = root else { return Ok(()) };
        if bridges.is_empty() {
            return Ok(());
        }
        self.client.commit(vec![op::mutate(ROOT, root, &[("bridges", "delete", Datum::set(bridges))])]).await.map(drop)
    }
}

/// Whether Open vSwitch has taken an interface; `None` while it has not decided.
fn taken(row: &Row) -> Option<Result<(), String>> {
    match row.integer("ofport")? {
        port if port > 0 => Some(Ok(())),
        _ => match row.text("error") {
            "" => None,
            error => Some(Err(error.to_owned())),
        },
    }
}

fn plugged_row(row: &Row) -> Option<Plugged> {
    let port = PortId::parse(row.key("external_ids", MARK_PORT)?)?;
    let internal = row.key("external_ids", MARK_KIND) == Some(PlugKind::Internal.word());
    Some(Plugged {
        port,
        interface: row.text("name").to_owned(),
        kind: if internal { PlugKind::Internal } else { PlugKind::Tap },
        mac: row.key("external_ids", "attached-mac").unwrap_or_default().to_owned(),
    })
}

/// The kernel's number of a tap. Open vSwitch's own device has none yet when it is plugged.
fn device(interface: &str, kind: PlugKind) -> Option<String> {
    let index = (kind == PlugKind::Tap).then(|| crate::daemons::interface_index(interface))?;
    index.map(|index| index.to_string())
}

/// Makes the rows of a port. A port of ours that has the same interface for another port is left over and goes.
fn plug_operations(
    cache: &Cache,
    bridge: &str,
    port: PortId,
    interface: &str,
    mac: &str,
    kind: PlugKind,
) -> Result<Vec<Value>> {
    let Some((bridge_row, _)) = cache.table(BRIDGE).named(bridge).next() else {
        return Err(Error::unavailable("The network engine is not ready.").context(format!("no bridge {bridge}")));
    };
    let id = port.to_string();
    let ids = [
        ("iface-id", id.as_str()),
        ("attached-mac", mac),
        ("iface-status", "active"),
        (MARK_PORT, &id),
        (MARK_KIND, kind.word()),
    ];
    let device = device(interface, kind);
    let ids = Datum::map(ids.into_iter().chain(device.iter().map(|device| (MARK_DEVICE, device.as_str()))));
    if let Some(row) = cache.row(INTERFACE, port.0) {
        // ovn-controller adds keys of its own.
        let Datum::Map(wanted) = &ids else { return Ok(Vec::new()) };
        let mut merged: BTreeMap<Atom, Atom> = row.pairs("external_ids").map(|(k, v)| (k.into(), v.into())).collect();
        merged.extend(wanted.iter().map(|(k, v)| (k.clone(), v.clone())));
        let merged = Datum::Map(merged);
        let same = row.has("external_ids", &merged);
        let update = || op::update(INTERFACE, port.0, [("external_ids", &merged)]);
        return Ok(if same { Vec::new() } else { vec![update()] });
    }
    let mut operations = Vec::new();
    if let Some(left_over) = cache.table(INTERFACE).named(interface).find_map(|(_, row)| plugged_row(row)) {
        operations.extend(unplug_operations(cache, left_over.port));
    }
    let mut columns = vec![("name", Datum::one(interface)), ("external_ids", ids), ("type", Datum::one(""))];
    if kind == PlugKind::Internal {
        columns[2].1 = Datum::one("internal");
        columns.push(("mac", Datum::one(mac)));
    }
    let owner = Datum::map([(MARK_PORT, id.as_str())]);
    let port_columns = [("name", Datum::one(interface)), ("interfaces", Datum::one(port.0)), ("external_ids", owner)];
    operations.push(op::insert(INTERFACE, port.0, columns.iter().map(|(c, d)| (*c, d))));
    operations.push(op::insert(PORT, port_row(port.0), port_columns.iter().map(|(c, d)| (*c, d))));
    operations.push(op::mutate(BRIDGE, bridge_row, &[("ports", "insert", Datum::one(port_row(port.0)))]));
    Ok(operations)
}

fn port_row(interface: Uuid) -> Uuid {
    derived_uuid(interface, &["port"])
}

fn unplug_operations(cache: &Cache, port: PortId) -> Vec<Value> {
    let row = port_row(port.0);
    let bridges = cache.table(BRIDGE).rows().filter(|(_, bridge)| bridge.contains("ports", &Atom::Uuid(row)));
    bridges.map(|(uuid, _)| op::mutate(BRIDGE, uuid, &[("ports", "delete", Datum::one(row))])).collect()
}

fn root(cache: &Cache) -> Option<Uuid> {
    cache.table(ROOT).rows().next().map(|(uuid, _)| uuid)
}

fn host_operations(cache: &Cache, host: &Host) -> Vec<Value> {
    let mut operations = Vec::new();
    let root = root(cache).unwrap_or_else(|| {
        let uuid = derived_uuid(Uuid::nil(), &[ROOT]);
        operations.push(op::insert(ROOT, uuid, []));
        uuid
    });
    let row = cache.row(ROOT, root);
    for (column, wanted) in [("external_ids", host_ids(host)), ("other_config", switch_config())] {
        let differs = |(key, value): &(&str, String)| row.and_then(|r| r.key(column, key)) != Some(value.as_str());
        let changed: Vec<_> = wanted.into_iter().filter(differs).collect();
        if !changed.is_empty() {
            operations.push(op::remove_keys(ROOT, root, column, changed.iter().map(|(key, _)| *key)));
            operations.push(op::mutate(ROOT, root, &[(column, "insert", Datum::map(changed))]));
        }
    }
    let mut bridges: BTreeSet<&str> = host.mappings.iter().map(|(_, bridge)| bridge.as_str()).collect();
    bridges.remove(host.integration_bridge.as_str());
    bridge_operations(cache, root, &host.integration_bridge, host.datapath, Some("secure"), &mut operations);
    for bridge in bridges {
        bridge_operations(cache, root, bridge, host.datapath, None, &mut operations);
    }
    operations
}

fn host_ids(host: &Host) -> Vec<(&'static str, String)> {
    let mappings: Vec<String> = host.mappings.iter().map(|(physnet, bridge)| format!("{physnet}:{bridge}")).collect();
    vec![
        ("system-id", host.chassis.clone()),
        ("hostname", host.hostname.clone()),
        ("ovn-remote", host.southbound.clone()),
        ("ovn-encap-type", "geneve".to_owned()),
        ("ovn-encap-ip", host.encap_ip.to_string()),
        ("ovn-bridge", host.integration_bridge.clone()),
        ("ovn-bridge-datapath-type", host.datapath.word().to_owned()),
        ("ovn-bridge-mappings", mappings.join(",")),
        ("ovn-monitor-all", host.monitor_all.to_string()),
        // The sockets are local: a peer that is gone is noticed without asking.
        ("ovn-openflow-probe-interval", "0".to_owned()),
    ]
}

/// Threads are for machines with many cores and NICs; one of each does here and saves memory.
fn switch_config() -> Vec<(&'static str, String)> {
    vec![("n-handler-threads", "1".to_owned()), ("n-revalidator-threads", "1".to_owned())]
}

fn bridge_operations(
    cache: &Cache,
    root: Uuid,
    name: &str,
    datapath: Datapath,
    fail_mode: Option<&str>,
    operations: &mut Vec<Value>,
) {
    let columns = [
        ("datapath_type", Datum::one(datapath.word())),
        ("fail_mode", Datum::option(fail_mode)),
        ("other_config", Datum::map([("disable-in-band", "true")])),
        ("external_ids", Datum::map([(MARK_BRIDGE, "yes")])),
    ];
    if let Some((uuid, row)) = cache.table(BRIDGE).named(name).next() {
        // ovn-controller and others may add keys to the maps; only the datapath has to be right.
        if !row.has(columns[0].0, &columns[0].1) {
            operations.push(op::update(BRIDGE, uuid, [(columns[0].0, &columns[0].1)]));
        }
        return;
    }
    let [uuid, interface] = ["bridge", "interface"].map(|what| derived_uuid(root, &[what, name]));
    let port = port_row(interface);
    let (text, internal) = (Datum::one(name), Datum::one("internal"));
    let (interfaces, ports) = (Datum::one(interface), Datum::one(port));
    operations.push(op::insert(INTERFACE, interface, [("name", &text), ("type", &internal)]));
    operations.push(op::insert(PORT, port, [("name", &text), ("interfaces", &interfaces)]));
    let bridge = [("name", &text), ("ports", &ports)];
    operations.push(op::insert(BRIDGE, uuid, bridge.into_iter().chain(columns.iter().map(|(c, d)| (*c, d)))));
    operations.push(op::mutate(ROOT, root, &[("bridges", "insert", Datum::one(uuid))]));
}
