//! The desired logical network, as plain data.
//!
//! The network service reads these out of its tables; nothing here knows SQL or Neutron's bodies. Every object
//! carries the revision of its row, which is written beside it into OVN: an object that OVN has at a later revision
//! is left alone, so a slow control node cannot undo what a quick one did.

use ferrostack_types::ids::{
    FloatingIpId, NetworkId, PortId, RouterId, SecurityGroupId, SecurityGroupRuleId, SubnetId,
};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use uuid::Uuid;

/// Something that OVN should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A network with its subnets.
    Network(Network),
    /// A port.
    Port(Port),
    /// A router with its gateway, interfaces and routes.
    Router(Router),
    /// A floating IP that is associated with a port.
    FloatingIp(FloatingIp),
    /// A security group with its rules.
    SecurityGroup(SecurityGroup),
}

impl Object {
    /// Which object this is.
    pub fn key(&self) -> Key {
        match self {
            Object::Network(o) => Key::Network(o.id),
            Object::Port(o) => Key::Port(o.id),
            Object::Router(o) => Key::Router(o.id),
            Object::FloatingIp(o) => Key::FloatingIp(o.id),
            Object::SecurityGroup(o) => Key::SecurityGroup(o.id),
        }
    }

    /// The revision of the row that it was read from.
    pub fn revision(&self) -> i64 {
        match self {
            Object::Network(o) => o.revision,
            Object::Port(o) => o.revision,
            Object::Router(o) => o.revision,
            Object::FloatingIp(o) => o.revision,
            Object::SecurityGroup(o) => o.revision,
        }
    }
}

/// Which object. The order is the order in which a full reconciliation puts them: what is referred to comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A security group.
    SecurityGroup(SecurityGroupId),
    /// A network.
    Network(NetworkId),
    /// A router.
    Router(RouterId),
    /// A port.
    Port(PortId),
    /// A floating IP.
    FloatingIp(FloatingIpId),
}

impl Key {
    /// The word for the kind, as it stands in `external_ids`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Key::SecurityGroup(_) => "security_group",
            Key::Network(_) => "network",
            Key::Router(_) => "router",
            Key::Port(_) => "port",
            Key::FloatingIp(_) => "floating_ip",
        }
    }

    /// The id without its type. It is also the UUID of the object's main row in OVN.
    pub const fn uuid(&self) -> Uuid {
        match self {
            Key::SecurityGroup(id) => id.0,
            Key::Network(id) => id.0,
            Key::Router(id) => id.0,
            Key::Port(id) => id.0,
            Key::FloatingIp(id) => id.0,
        }
    }

    /// The reverse of [`Key::kind`] and [`Key::uuid`].
    pub fn from_parts(kind: &str, id: &str) -> Option<Key> {
        let id = Uuid::try_parse(id).ok()?;
        Some(match kind {
            "security_group" => Key::SecurityGroup(SecurityGroupId(id)),
            "network" => Key::Network(NetworkId(id)),
            "router" => Key::Router(RouterId(id)),
            "port" => Key::Port(PortId(id)),
            "floating_ip" => Key::FloatingIp(FloatingIpId(id)),
            _ => return None,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.uuid().hyphenated())
    }
}

/// A network: one broadcast domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its row's revision.
    pub revision: i64,
    /// Its name, for people who look into OVN.
    pub name: String,
    /// The MTU that guests are told.
    pub mtu: u32,
    /// The physical network that it is bridged to on every host that has it, and the VLAN there.
    pub physnet: Option<(String, Option<u16>)>,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Its range.
    pub cidr: IpNet,
    /// The router that guests are told.
    pub gateway: Option<IpAddr>,
    /// Whether OVN answers DHCP (DHCPv6 for an IPv6 range).
    pub dhcp: bool,
    /// Name servers that guests are told.
    pub dns: Vec<IpAddr>,
    /// Further routes that guests are told: range and next hop.
    pub host_routes: Vec<(IpNet, IpAddr)>,
    /// The address of the network's metadata port in this subnet; guests are told to reach 169.254.169.254 through it.
    pub metadata_address: Option<IpAddr>,
}

/// A port on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its id: also the name of the logical switch port, hence the `iface-id` of the interface that is plugged for it.
    pub id: PortId,
    /// Its row's revision.
    pub revision: i64,
    /// Its network.
    pub network_id: NetworkId,
    /// Its name, for people who look into OVN.
    pub name: String,
    /// Its MAC address, `fa:16:3e:12:34:56`.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<(SubnetId, IpAddr)>,
    /// Its security groups. Without [`Port::port_security`] they have no effect.
    pub security_groups: Vec<SecurityGroupId>,
    /// Whether only its own addresses may send (anti-spoofing), and whatever no rule allows is dropped.
    pub port_security: bool,
    /// More addresses that may send: range and, if it is not the port's own, MAC address.
    pub allowed_address_pairs: Vec<(IpNet, Option<String>)>,
    /// What is behind it.
    pub kind: PortKind,
    /// Whether it carries traffic (Neutron's `admin_state_up`).
    pub enabled: bool,
}

/// What is behind a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortKind {
    /// A virtual interface of a guest or something like it.
    Vif {
        /// The only host (chassis name or its host name) that may claim it; with `None` whoever plugs it does.
        host: Option<String>,
        /// Neutron's `device_owner`, for people who look into OVN.
        owner: String,
    },
    /// The network's metadata service: present on every host, never tunnelled.
    Metadata,
    /// The end of a router's interface or gateway. The other end comes with the [`Router`].
    RouterInterface {
        /// The router.
        router: RouterId,
    },
}

/// A router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its id.
    pub id: RouterId,
    /// Its row's revision.
    pub revision: i64,
    /// Its name, for people who look into OVN.
    pub name: String,
    /// Whether it routes (Neutron's `admin_state_up`).
    pub enabled: bool,
    /// Its way out.
    pub gateway: Option<Gateway>,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Further routes: range and next hop. The default route comes from the gateway.
    pub routes: Vec<(IpNet, IpAddr)>,
}

/// A router's way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The port on the external network.
    pub port_id: PortId,
    /// The external network.
    pub network_id: NetworkId,
    /// The port's MAC address.
    pub mac: String,
    /// The port's addresses with the prefix length of their subnets, e.g. `172.24.4.10/24`.
    pub addresses: Vec<IpNet>,
    /// Where the default route leads.
    pub next_hop: Option<IpAddr>,
    /// Whether the interfaces' IPv4 ranges are hidden behind the gateway's address.
    pub snat: bool,
    /// The chassis that may carry the gateway, with priorities; the highest that is alive does. Without one there is
    /// neither SNAT nor a floating IP.
    pub chassis: Vec<(String, u16)>,
}

/// A router's interface on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The port.
    pub port_id: PortId,
    /// The network.
    pub network_id: NetworkId,
    /// The port's MAC address.
    pub mac: String,
    /// The port's addresses with the prefix length of their subnets.
    pub addresses: Vec<IpNet>,
    /// What the router advertises to IPv6 guests; `None` for no advertisements.
    pub router_advertisement: Option<RouterAdvertisement>,
}

/// What a router advertises to IPv6 guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Where guests get their addresses from.
    pub mode: AddressMode,
    /// The MTU that guests are told.
    pub mtu: u32,
}

/// Where IPv6 guests get their addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressMode {
    /// They make them up from the advertised prefix.
    Slaac,
    /// From DHCPv6.
    Stateful,
    /// They make them up and ask DHCPv6 for the rest.
    Stateless,
}

/// A floating IP that is associated with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatingIp {
    /// Its id.
    pub id: FloatingIpId,
    /// Its row's revision.
    pub revision: i64,
    /// The router that translates.
    pub router_id: RouterId,
    /// The address outside.
    pub external_ip: IpAddr,
    /// The port's address.
    pub fixed_ip: IpAddr,
    /// The port.
    pub port_id: PortId,
    /// With a MAC address the port's own host answers for it; with `None` the router's gateway chassis does.
    pub external_mac: Option<String>,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Its row's revision.
    pub revision: i64,
    /// Its name, for people who look into OVN.
    pub name: String,
    /// Its rules; whatever none of them allows is dropped.
    pub rules: Vec<Rule>,
    /// Whether answers to what is allowed are allowed too.
    pub stateful: bool,
}

/// A rule of a security group: something that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: SecurityGroupRuleId,
    /// Which way.
    pub direction: Direction,
    /// IPv4 or IPv6.
    pub ethertype: Ethertype,
    /// A protocol's number or Neutron's name for it; `None` for all.
    pub protocol: Option<String>,
    /// The first port; for ICMP the type.
    pub port_min: Option<u16>,
    /// The last port; for ICMP the code.
    pub port_max: Option<u16>,
    /// Who is at the other end.
    pub remote: Remote,
}

/// Seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the guest.
    Ingress,
    /// From the guest.
    Egress,
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ethertype {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// Anybody.
    Any,
    /// A range of addresses.
    Prefix(IpNet),
    /// The members of a security group.
    Group(SecurityGroupId),
}
