//! From objects to rows: what each object looks like in OVN_Northbound. Pure.
//!
//! | object         | rows (its own id is the UUID of the first)                                                      |
//! |----------------|-------------------------------------------------------------------------------------------------|
//! | network        | Logical_Switch, DHCP_Options per subnet with DHCP, a localnet port if it is on a physical network |
//! | port           | Logical_Switch_Port; memberships in Port_Groups                                                  |
//! | router         | Logical_Router, Logical_Router_Ports, Gateway_Chassis, static routes, SNAT; the far ends' Logical_Switch_Ports unless they are handed over as ports |
//! | floating IP    | NAT                                                                                              |
//! | security group | Port_Group, an ACL per rule                                                                      |
//!
//! **UUIDs are chosen, not given.** An object's main row has the object's id, the others have one that is computed
//! from it. So rows can refer to each other without a look at the database, and two control nodes that insert the same
//! object at the same time cannot make two of it: the second insert is refused.

use super::acl;
use super::model::*;
use crate::ovsdb::Datum;
pub(crate) use crate::ovsdb::derived_uuid as derived;
use ferrostack_types::ids::{PortId, RouterId, SubnetId};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use uuid::Uuid;

/// The tables that rows of ours are in.
pub(crate) mod table {
    pub(crate) const ACL: &str = "ACL";
    pub(crate) const DHCP_OPTIONS: &str = "DHCP_Options";
    pub(crate) const GATEWAY_CHASSIS: &str = "Gateway_Chassis";
    pub(crate) const NAT: &str = "NAT";
    pub(crate) const PORT_GROUP: &str = "Port_Group";
    pub(crate) const ROUTE: &str = "Logical_Router_Static_Route";
    pub(crate) const ROUTER: &str = "Logical_Router";
    pub(crate) const ROUTER_PORT: &str = "Logical_Router_Port";
    pub(crate) const SWITCH: &str = "Logical_Switch";
    pub(crate) const SWITCH_PORT: &str = "Logical_Switch_Port";
}

/// Seconds that a DHCP lease lasts. Addresses never move while a port lives, so it may be long; Neutron's default.
const LEASE_SECONDS: u32 = 86_400;
const METADATA: &str = "169.254.169.254/32";

/// The row that holds a strong reference to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Parent {
    pub(crate) table: &'static str,
    pub(crate) uuid: Uuid,
    pub(crate) column: &'static str,
}

/// A row as it should be. Only the columns that are named are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) table: &'static str,
    pub(crate) uuid: Uuid,
    /// `kind/id` of the object that it belongs to.
    pub(crate) owner: String,
    pub(crate) parent: Option<Parent>,
    pub(crate) columns: BTreeMap<&'static str, Datum>,
    /// Only while no port object has this row as its own.
    pub(crate) stand_in: bool,
    /// The DHCP_Options rows of a port, to be referred to if they exist (column, row).
    pub(crate) dhcp: Vec<(&'static str, Uuid)>,
}

/// An object's rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Wanted>,
    /// For a port: the Port_Groups that it belongs to, the one that drops included.
    pub(crate) groups: Vec<Uuid>,
}

/// The UUID of the Port_Group that drops what no security group allows.
pub(crate) fn drop_group() -> Uuid {
    derived(Uuid::nil(), &["drop group"])
}

/// A locally administered MAC address for the DHCP server of a subnet.
fn server_mac(subnet: SubnetId) -> String {
    let b = derived(subnet.0, &["dhcp server"]).into_bytes();
    format!("fa:16:3e:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2])
}

/// The rows of an object.
pub(crate) fn of(object: &Object) -> Rows {
    match object {
        Object::Network(network) => Rows { rows: network_rows(network), ..Rows::default() },
        Object::Port(port) => port_rows(port),
        Object::Router(router) => Rows { rows: router_rows(router), ..Rows::default() },
        Object::FloatingIp(floating) => Rows { rows: vec![floating_row(floating)], ..Rows::default() },
        Object::SecurityGroup(group) => Rows { rows: acl::group_rows(group), ..Rows::default() },
    }
}

/// Collects columns of a row and its `external_ids`.
pub(crate) struct RowBuilder {
    row: Wanted,
    ids: BTreeMap<String, String>,
}

impl RowBuilder {
    /// A row of an object.
    pub(crate) fn new(table: &'static str, uuid: Uuid, owner: &Key) -> RowBuilder {
        RowBuilder::system(table, uuid, owner.kind(), owner.uuid())
    }

    /// A row of no object in particular.
    pub(crate) fn system(table: &'static str, uuid: Uuid, kind: &str, id: Uuid) -> RowBuilder {
        let (owner, columns) = (format!("{kind}/{}", id.hyphenated()), BTreeMap::new());
        let row = Wanted { table, uuid, owner, parent: None, columns, stand_in: false, dhcp: Vec::new() };
        RowBuilder { row, ids: BTreeMap::new() }.id("id", id.hyphenated().to_string()).id("kind", kind)
    }

    /// Marks the object's main row.
    pub(crate) fn main(self, revision: i64, name: &str) -> RowBuilder {
        self.id("revision", revision.to_string()).id("name", name)
    }

    pub(crate) fn id(mut self, key: &str, value: impl Into<String>) -> RowBuilder {
        self.ids.insert(format!("ferrostack:{key}"), value.into());
        self
    }

    pub(crate) fn set(mut self, column: &'static str, value: Datum) -> RowBuilder {
        self.row.columns.insert(column, value);
        self
    }

    pub(crate) fn text(self, column: &'static str, text: impl Into<String>) -> RowBuilder {
        self.set(column, Datum::one(text.into()))
    }

    pub(crate) fn parent(mut self, table: &'static str, uuid: Uuid, column: &'static str) -> RowBuilder {
        self.row.parent = Some(Parent { table, uuid, column });
        self.id("parent", uuid.hyphenated().to_string())
    }

    pub(crate) fn build(mut self) -> Wanted {
        self.row.columns.insert("external_ids", Datum::map(self.ids));
        self.row
    }
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut texts: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    texts.sort();
    texts.dedup();
    texts.join(",")
}

fn network_rows(network: &Network) -> Vec<Wanted> {
    let key = Key::Network(network.id);
    let config = [("mcast_snoop", "false"), ("mcast_flood_unregistered", "false"), ("vlan-passthru", "false")];
    let switch = RowBuilder::new(table::SWITCH, network.id.0, &key)
        .main(network.revision, &network.name)
        .text("name", format!("fs-net-{}", network.id))
        .set("other_config", Datum::map(config))
        .build();
    let mut rows = vec![switch];
    if let Some((physnet, vlan)) = &network.physnet {
        rows.push(localnet_row(network, physnet, *vlan));
    }
    rows.extend(network.subnets.iter().filter(|s| s.dhcp).map(|subnet| dhcp_row(network, subnet)));
    rows
}

fn localnet_row(network: &Network, physnet: &str, vlan: Option<u16>) -> Wanted {
    RowBuilder::new(table::SWITCH_PORT, derived(network.id.0, &["localnet"]), &Key::Network(network.id))
        .parent(table::SWITCH, network.id.0, "ports")
        .text("name", format!("fs-localnet-{}", network.id))
        .text("type", "localnet")
        .set("addresses", Datum::one("unknown"))
        .set("options", Datum::map([("network_name", physnet)]))
        .set("tag", Datum::option(vlan.filter(|vlan| (1..4095).contains(vlan)).map(i64::from)))
        .build()
}

fn dhcp_row(network: &Network, subnet: &Subnet) -> Wanted {
    let options = match subnet.cidr {
        IpNet::V4(_) => dhcp_options_v4(network, subnet),
        IpNet::V6(_) => dhcp_options_v6(subnet),
    };
    RowBuilder::new(table::DHCP_OPTIONS, subnet.id.0, &Key::Network(network.id))
        .id("network", network.id.to_string())
        .text("cidr", subnet.cidr.trunc().to_string())
        .set("options", Datum::map(options))
        .build()
}

/// OVN's set syntax: `{a, b}`, and `a` alone.
fn braces(items: &[String]) -> String {
    match items {
        [one] => one.clone(),
        _ => format!("{{{}}}", items.join(", ")),
    }
}

fn dhcp_options_v4(network: &Network, subnet: &Subnet) -> BTreeMap<&'static str, String> {
    let v4 = |address: &IpAddr| address.is_ipv4();
    let gateway = subnet.gateway.filter(v4);
    // The server needs an address. It answers for no other protocol, so the gateway's serves; without one the
    // metadata port's, and without that any host of the range.
    let server = gateway.or(subnet.metadata_address.filter(v4)).or_else(|| subnet.cidr.hosts().next());
    let server = server.unwrap_or_else(|| subnet.cidr.addr());
    let mut options = BTreeMap::from([
        ("server_id", server.to_string()),
        ("server_mac", server_mac(subnet.id)),
        ("lease_time", LEASE_SECONDS.to_string()),
        ("mtu", network.mtu.to_string()),
    ]);
    if let Some(gateway) = gateway {
        options.insert("router", gateway.to_string());
    }
    let dns: Vec<String> = subnet.dns.iter().filter(|a| v4(a)).map(IpAddr::to_string).collect();
    if !dns.is_empty() {
        options.insert("dns_server", braces(&dns));
    }
    let mut routes: Vec<String> = Vec::new();
    if let Some(metadata) = subnet.metadata_address.filter(v4) {
        routes.push(format!("{METADATA},{metadata}"));
    }
    for (range, hop) in &subnet.host_routes {
        if matches!(range, IpNet::V4(_)) && hop.is_ipv4() && range.prefix_len() > 0 {
            routes.push(format!("{},{hop}", range.trunc()));
        }
    }
    // A client that understands option 121 ignores the router option (RFC 3442), so the default route goes in as well.
    if !routes.is_empty() {
        routes.extend(gateway.map(|gateway| format!("0.0.0.0/0,{gateway}")));
        options.insert("classless_static_route", format!("{{{}}}", routes.join(", ")));
    }
    options
}

fn dhcp_options_v6(subnet: &Subnet) -> BTreeMap<&'static str, String> {
    let mut options = BTreeMap::from([("server_id", server_mac(subnet.id))]);
    let dns: Vec<String> = subnet.dns.iter().filter(|a| a.is_ipv6()).map(IpAddr::to_string).collect();
    if !dns.is_empty() {
        options.insert("dns_server", braces(&dns));
    }
    options
}

fn port_rows(port: &Port) -> Rows {
    let key = Key::Port(port.id);
    let addresses = port.addresses.iter().map(|(_, address)| address.to_string());
    let own = std::iter::once(port.mac.clone()).chain(addresses).collect::<Vec<_>>().join(" ");
    let vif = matches!(port.kind, PortKind::Vif { .. });
    let secured = vif && port.port_security;
    let mut row = RowBuilder::new(table::SWITCH_PORT, port.id.0, &key)
        .main(port.revision, &port.name)
        .parent(table::SWITCH, port.network_id.0, "ports")
        .id("network", port.network_id.to_string())
        .id("subnets", joined(port.addresses.iter().map(|(subnet, _)| subnet)))
        .text("name", port.id.to_string())
        .set("enabled", Datum::one(port.enabled));
    row = match &port.kind {
        PortKind::Vif { host, owner } => {
            // Without anti-spoofing the port may use addresses that OVN does not know of.
            let unknown = (!port.port_security).then(|| "unknown".to_owned());
            row.text("type", "")
                .id("owner", owner)
                .set("addresses", Datum::set(std::iter::once(own.clone()).chain(unknown)))
                .set("options", Datum::map(host.iter().map(|host| ("requested-chassis", host.as_str()))))
        }
        PortKind::Metadata => {
            row.text("type", "localport").set("addresses", Datum::one(own.clone())).set("options", no_options())
        }
        PortKind::RouterInterface { router } => row.id("router", router.to_string()).text("type", "router"),
    };
    if let PortKind::RouterInterface { .. } = port.kind {
        row = row.set("addresses", Datum::one("router")).set("options", router_options(port.id));
    }
    let mut groups = Vec::new();
    if secured {
        row = row.id("groups", joined(&port.security_groups)).set("port_security", Datum::set(allowed_sources(port)));
        groups.push(drop_group());
        groups.extend(port.security_groups.iter().map(|group| group.0));
    } else {
        row = row.set("port_security", Datum::none());
    }
    let mut row = row.build();
    if vif {
        row.dhcp = dhcp_candidates(port);
    }
    Rows { rows: vec![row], groups }
}

fn no_options() -> Datum {
    Datum::Map(BTreeMap::new())
}

fn router_options(port: PortId) -> Datum {
    Datum::map([("router-port", router_port_name(port)), ("nat-addresses", "router".to_owned())])
}

/// The first subnet of each family, if it turns out to have DHCP.
fn dhcp_candidates(port: &Port) -> Vec<(&'static str, Uuid)> {
    let v4 = port.addresses.iter().find(|(_, a)| a.is_ipv4()).map(|(s, _)| ("dhcpv4_options", s.0));
    let v6 = port.addresses.iter().find(|(_, a)| a.is_ipv6()).map(|(s, _)| ("dhcpv6_options", s.0));
    v4.into_iter().chain(v6).collect()
}

/// `port_security`: by MAC address, what addresses may send. The port's own MAC without an address would mean "any
/// address", so that a port without addresses lists only its link-local one.
fn allowed_sources(port: &Port) -> Vec<String> {
    let mut by_mac: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let own = by_mac.entry(port.mac.clone()).or_default();
    own.extend(port.addresses.iter().map(|(_, address)| address.to_string()));
    for (range, mac) in &port.allowed_address_pairs {
        let whole = range.prefix_len() == range.max_prefix_len();
        let text = if whole { range.addr().to_string() } else { range.trunc().to_string() };
        by_mac.entry(mac.clone().unwrap_or_else(|| port.mac.clone())).or_default().push(text);
    }
    by_mac
        .into_iter()
        .map(|(mac, mut sources)| {
            sources.dedup();
            if sources.is_empty() {
                // 0.0.0.0 is what a DHCP client sends from; nothing else can be said with it.
                sources.push("0.0.0.0".to_owned());
            }
            format!("{mac} {}", sources.join(" "))
        })
        .collect()
}

pub(crate) fn router_port_name(port: PortId) -> String {
    format!("fs-lrp-{port}")
}

fn router_rows(router: &Router) -> Vec<Wanted> {
    let key = Key::Router(router.id);
    let options = [("always_learn_from_arp_request", "false"), ("dynamic_neigh_routers", "true")];
    let main = RowBuilder::new(table::ROUTER, router.id.0, &key)
        .main(router.revision, &router.name)
        .text("name", format!("fs-router-{}", router.id))
        .set("enabled", Datum::one(router.enabled))
        .set("options", Datum::map(options))
        .build();
    let mut rows = vec![main];
    // A router port without an address is none (and OVN refuses it).
    for interface in router.interfaces.iter().filter(|interface| !interface.addresses.is_empty()) {
        let ra = interface.router_advertisement.as_ref();
        rows.push(router_port(router.id, interface.port_id, &interface.mac, &interface.addresses, ra));
        rows.push(far_end(router.id, interface.port_id, interface.network_id.0));
    }
    if let Some(gateway) = router.gateway.as_ref().filter(|gateway| !gateway.addresses.is_empty()) {
        gateway_rows(router, gateway, &mut rows);
    }
    for (range, hop) in &router.routes {
        rows.push(route_row(router.id, &range.trunc().to_string(), hop));
    }
    // The same row twice (a route that is listed twice, two interfaces on one subnet) is one row.
    rows.sort_by_key(|row| (row.table != table::ROUTER, row.table, row.uuid));
    rows.dedup_by_key(|row| (row.table, row.uuid));
    rows
}

fn router_port(
    router: RouterId,
    port: PortId,
    mac: &str,
    addresses: &[IpNet],
    ra: Option<&RouterAdvertisement>,
) -> Wanted {
    let advertisement = ra.map(|ra| {
        let mode = match ra.mode {
            AddressMode::Slaac => "slaac",
            AddressMode::Stateful => "dhcpv6_stateful",
            AddressMode::Stateless => "dhcpv6_stateless",
        };
        [("address_mode", mode.to_owned()), ("send_periodic", "true".to_owned()), ("mtu", ra.mtu.to_string())]
    });
    RowBuilder::new(table::ROUTER_PORT, port.0, &Key::Router(router))
        .parent(table::ROUTER, router.0, "ports")
        .text("name", router_port_name(port))
        .text("mac", mac)
        .set("networks", Datum::set(addresses.iter().map(IpNet::to_string)))
        .set("ipv6_ra_configs", Datum::map(advertisement.into_iter().flatten()))
        .build()
}

/// The switch's side of a router port. A port object of the same id takes it over.
fn far_end(router: RouterId, port: PortId, network: Uuid) -> Wanted {
    let mut row = RowBuilder::new(table::SWITCH_PORT, port.0, &Key::Router(router))
        .parent(table::SWITCH, network, "ports")
        .id("router", router.to_string())
        .text("name", port.to_string())
        .text("type", "router")
        .set("addresses", Datum::one("router"))
        .set("options", router_options(port))
        .build();
    row.stand_in = true;
    row
}

fn gateway_rows(router: &Router, gateway: &Gateway, rows: &mut Vec<Wanted>) {
    let port = gateway.port_id;
    rows.push(router_port(router.id, port, &gateway.mac, &gateway.addresses, None));
    rows.push(far_end(router.id, port, gateway.network_id.0));
    for (chassis, priority) in &gateway.chassis {
        let row =
            RowBuilder::new(table::GATEWAY_CHASSIS, derived(port.0, &["chassis", chassis]), &Key::Router(router.id))
                .parent(table::ROUTER_PORT, port.0, "gateway_chassis")
                .text("name", format!("{}_{chassis}", router_port_name(port)))
                .text("chassis_name", chassis)
                .set("priority", Datum::one(i64::from((*priority).min(32_767))))
                .build();
        rows.push(row);
    }
    if let Some(hop) = gateway.next_hop {
        rows.push(route_row(router.id, if hop.is_ipv4() { "0.0.0.0/0" } else { "::/0" }, &hop));
    }
    let outside = gateway.addresses.iter().find(|address| address.addr().is_ipv4());
    if let (true, Some(outside)) = (gateway.snat, outside) {
        let inside = router.interfaces.iter().flat_map(|interface| &interface.addresses);
        for range in inside.filter(|address| address.addr().is_ipv4()) {
            rows.push(snat_row(router.id, outside.addr(), &range.trunc()));
        }
    }
}

fn route_row(router: RouterId, range: &str, hop: &IpAddr) -> Wanted {
    let uuid = derived(router.0, &["route", range, &hop.to_string()]);
    RowBuilder::new(table::ROUTE, uuid, &Key::Router(router))
        .parent(table::ROUTER, router.0, "static_routes")
        .text("ip_prefix", range)
        .text("nexthop", hop.to_string())
        .build()
}

fn snat_row(router: RouterId, outside: IpAddr, inside: &IpNet) -> Wanted {
    RowBuilder::new(table::NAT, derived(router.0, &["snat", &inside.to_string()]), &Key::Router(router))
        .parent(table::ROUTER, router.0, "nat")
        .text("type", "snat")
        .text("external_ip", outside.to_string())
        .text("logical_ip", inside.to_string())
        .build()
}

fn floating_row(floating: &FloatingIp) -> Wanted {
    RowBuilder::new(table::NAT, floating.id.0, &Key::FloatingIp(floating.id))
        .main(floating.revision, "")
        .parent(table::ROUTER, floating.router_id.0, "nat")
        .text("type", "dnat_and_snat")
        .text("external_ip", floating.external_ip.to_string())
        .text("logical_ip", floating.fixed_ip.to_string())
        .set("logical_port", Datum::one(floating.port_id.to_string()))
        .set("external_mac", Datum::option(floating.external_mac.clone()))
        .build()
}
