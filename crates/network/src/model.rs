//! The things that the service knows, as they come out of the tables.

use crate::address::{self, Pool};
use ferrostack_db::Row;
use ferrostack_types::ids::{
    FloatingIpId, NetworkId, PortId, RouterId, SecurityGroupId, SecurityGroupRuleId, ServerId, SubnetId,
};
use ferrostack_types::{Error, Result, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// What every resource has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standard {
    /// Empty for what belongs to nobody: gateway ports, metadata ports.
    pub(crate) project_id: String,
    pub(crate) description: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) revision: i64,
}

impl Standard {
    pub(crate) fn new(project_id: &str, description: &str, now: Timestamp) -> Standard {
        let (project_id, description) = (project_id.to_owned(), description.to_owned());
        Standard { project_id, description, created_at: now, updated_at: now, revision: 1 }
    }

    /// From five columns in a row.
    fn read(row: &Row<'_>, from: usize) -> Result<Standard> {
        Ok(Standard {
            project_id: row.get(from)?,
            description: row.get(from + 1)?,
            created_at: row.get(from + 2)?,
            updated_at: row.get(from + 3)?,
            revision: row.get(from + 4)?,
        })
    }
}

macro_rules! standard {
    ($rest:literal) => {
        concat!("id, project_id, description, created_at, updated_at, revision, ", $rest)
    };
}

/// A network.
#[derive(Debug, Clone)]
pub(crate) struct NetworkRow {
    pub(crate) id: NetworkId,
    pub(crate) standard: Standard,
    pub(crate) name: String,
    pub(crate) admin_state_up: bool,
    pub(crate) shared: bool,
    pub(crate) external: bool,
    pub(crate) is_default: bool,
    pub(crate) mtu: u32,
    pub(crate) port_security: bool,
    pub(crate) network_type: String,
    pub(crate) physical_network: Option<String>,
    pub(crate) segmentation_id: Option<i64>,
    pub(crate) az_hints: Vec<String>,
}

impl NetworkRow {
    pub(crate) const COLUMNS: &'static str = standard!(
        "name, admin_state_up, shared, external, is_default, mtu, port_security_enabled, network_type, physical_network, \
         segmentation_id, az_hints"
    );

    pub(crate) fn read(row: &Row<'_>) -> Result<NetworkRow> {
        Ok(NetworkRow {
            id: row.get(0)?,
            standard: Standard::read(row, 1)?,
            name: row.get(6)?,
            admin_state_up: row.get(7)?,
            shared: row.get(8)?,
            external: row.get(9)?,
            is_default: row.get(10)?,
            mtu: row.get(11)?,
            port_security: row.get(12)?,
            network_type: row.get(13)?,
            physical_network: row.get(14)?,
            segmentation_id: row.get(15)?,
            az_hints: row.json(16)?,
        })
    }

    /// What two networks must not share.
    pub(crate) fn segment_key(&self) -> String {
        let physical = self.physical_network.as_deref().unwrap_or("-");
        match self.segmentation_id {
            Some(id) => format!("{}:{physical}:{id}", self.network_type),
            None => format!("{}:{physical}:-", self.network_type),
        }
    }
}

/// A route that guests or routers have beside the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) destination: IpNet,
    pub(crate) nexthop: IpAddr,
}

/// A subnet.
#[derive(Debug, Clone)]
pub(crate) struct SubnetRow {
    pub(crate) id: SubnetId,
    pub(crate) standard: Standard,
    pub(crate) network_id: NetworkId,
    pub(crate) name: String,
    pub(crate) ip_version: u8,
    pub(crate) cidr: IpNet,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) dhcp: bool,
    pub(crate) ra_mode: Option<String>,
    pub(crate) address_mode: Option<String>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) host_routes: Vec<Route>,
    pub(crate) service_types: Vec<String>,
}

impl SubnetRow {
    pub(crate) const COLUMNS: &'static str = standard!(
        "network_id, name, ip_version, cidr, gateway_ip, enable_dhcp, ipv6_ra_mode, ipv6_address_mode, allocation_pools, \
         dns_nameservers, host_routes, service_types"
    );

    pub(crate) fn read(row: &Row<'_>) -> Result<SubnetRow> {
        let cidr: String = row.get(9)?;
        Ok(SubnetRow {
            id: row.get(0)?,
            standard: Standard::read(row, 1)?,
            network_id: row.get(6)?,
            name: row.get(7)?,
            ip_version: row.get(8)?,
            cidr: cidr.parse().map_err(|_| Error::internal("the database holds no range where one was expected"))?,
            gateway: row.get::<Option<String>>(10)?.and_then(|ip| ip.parse().ok()),
            dhcp: row.get(11)?,
            ra_mode: row.get(12)?,
            address_mode: row.get(13)?,
            pools: row.json(14)?,
            dns: row.json(15)?,
            host_routes: row.json(16)?,
            service_types: row.json(17)?,
        })
    }

    /// Whether guests make up their addresses from the advertised prefix.
    pub(crate) fn is_slaac(&self) -> bool {
        self.ip_version == 6 && matches!(self.address_mode.as_deref(), Some("slaac" | "dhcpv6-stateless"))
    }
}

/// An address pair that may send through a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddressPair {
    pub(crate) ip_address: String,
    pub(crate) mac_address: String,
}

/// What a port is for the service itself. Not what `device_owner` says, which a tenant may have a say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortRole {
    /// A port of a tenant's.
    Plain,
    /// The network's metadata service.
    Metadata,
    /// A router's interface.
    RouterInterface,
    /// A router's gateway.
    RouterGateway,
    /// Holds a floating IP's address.
    FloatingIp,
}

impl PortRole {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            PortRole::Plain => "",
            PortRole::Metadata => "metadata",
            PortRole::RouterInterface => "interface",
            PortRole::RouterGateway => "gateway",
            PortRole::FloatingIp => "floating",
        }
    }

    fn parse(text: &str) -> PortRole {
        match text {
            "metadata" => PortRole::Metadata,
            "interface" => PortRole::RouterInterface,
            "gateway" => PortRole::RouterGateway,
            "floating" => PortRole::FloatingIp,
            _ => PortRole::Plain,
        }
    }
}

/// A port without its addresses and groups.
#[derive(Debug, Clone)]
pub(crate) struct PortRow {
    pub(crate) id: PortId,
    pub(crate) standard: Standard,
    pub(crate) network_id: NetworkId,
    pub(crate) name: String,
    pub(crate) admin_state_up: bool,
    pub(crate) mac: String,
    pub(crate) device_id: String,
    pub(crate) device_owner: String,
    pub(crate) status: String,
    pub(crate) port_security: bool,
    /// Empty: not bound.
    pub(crate) host: String,
    pub(crate) vnic_type: String,
    pub(crate) profile: Value,
    pub(crate) address_pairs: Vec<AddressPair>,
    pub(crate) dhcp_opts: Value,
    pub(crate) dns_name: String,
    pub(crate) role: PortRole,
    /// The server that it is plugged into. Not what `device_id` says, which a tenant may have a say in.
    pub(crate) server: Option<ServerId>,
    /// Made for its server, hence deleted with it.
    pub(crate) made_for_server: bool,
}

impl PortRow {
    pub(crate) const COLUMNS: &'static str = standard!(
        "network_id, name, admin_state_up, mac, device_id, device_owner, status, port_security_enabled, host, vnic_type, \
         profile, address_pairs, dhcp_opts, dns_name, role, server_id, made_for_server"
    );

    pub(crate) fn read(row: &Row<'_>) -> Result<PortRow> {
        Ok(PortRow {
            id: row.get(0)?,
            standard: Standard::read(row, 1)?,
            network_id: row.get(6)?,
            name: row.get(7)?,
            admin_state_up: row.get(8)?,
            mac: row.get(9)?,
            device_id: row.get(10)?,
            device_owner: row.get(11)?,
            status: row.get(12)?,
            port_security: row.get(13)?,
            host: row.get(14)?,
            vnic_type: row.get(15)?,
            profile: row.get(16)?,
            address_pairs: row.json(17)?,
            dhcp_opts: row.get(18)?,
            dns_name: row.get(19)?,
            role: PortRole::parse(&row.get::<String>(20)?),
            server: row.get(21)?,
            made_for_server: row.get(22)?,
        })
    }

    pub(crate) fn is_bound(&self) -> bool {
        !self.host.is_empty()
    }
}

/// An address of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) port_id: PortId,
    pub(crate) subnet_id: SubnetId,
    pub(crate) ip: IpAddr,
}

impl Allocation {
    pub(crate) const COLUMNS: &'static str = "port_id, subnet_id, ip";

    pub(crate) fn read(row: &Row<'_>) -> Result<Allocation> {
        Ok(Allocation { port_id: row.get(0)?, subnet_id: row.get(1)?, ip: address::from_key(&row.get::<String>(2)?)? })
    }
}

/// A port with its addresses and groups.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) row: PortRow,
    pub(crate) addresses: Vec<Allocation>,
    pub(crate) groups: Vec<SecurityGroupId>,
}

/// A router.
#[derive(Debug, Clone)]
pub(crate) struct RouterRow {
    pub(crate) id: RouterId,
    pub(crate) standard: Standard,
    pub(crate) name: String,
    pub(crate) admin_state_up: bool,
    pub(crate) status: String,
    pub(crate) gateway_port: Option<PortId>,
    pub(crate) gateway_network: Option<NetworkId>,
    pub(crate) enable_snat: bool,
    pub(crate) distributed: bool,
    pub(crate) ha: bool,
    pub(crate) routes: Vec<Route>,
    pub(crate) az_hints: Vec<String>,
}

impl RouterRow {
    pub(crate) const COLUMNS: &'static str = standard!(
        "name, admin_state_up, status, gateway_port_id, gateway_network_id, enable_snat, distributed, ha, routes, az_hints"
    );

    pub(crate) fn read(row: &Row<'_>) -> Result<RouterRow> {
        Ok(RouterRow {
            id: row.get(0)?,
            standard: Standard::read(row, 1)?,
            name: row.get(6)?,
            admin_state_up: row.get(7)?,
            status: row.get(8)?,
            gateway_port: row.get(9)?,
            gateway_network: row.get(10)?,
            enable_snat: row.get(11)?,
            distributed: row.get(12)?,
            ha: row.get(13)?,
            routes: row.json(14)?,
            az_hints: row.json(15)?,
        })
    }
}

/// A floating IP.
#[derive(Debug, Clone)]
pub(crate) struct FloatingIpRow {
    pub(crate) id: FloatingIpId,
    pub(crate) standard: Standard,
    pub(crate) network_id: NetworkId,
    pub(crate) address: IpAddr,
    pub(crate) floating_port: PortId,
    pub(crate) port_id: Option<PortId>,
    pub(crate) fixed_ip: Option<IpAddr>,
    pub(crate) router_id: Option<RouterId>,
    pub(crate) status: String,
}

impl FloatingIpRow {
    pub(crate) const COLUMNS: &'static str =
        standard!("floating_network_id, floating_ip, floating_port_id, port_id, fixed_ip, router_id, status");

    pub(crate) fn read(row: &Row<'_>) -> Result<FloatingIpRow> {
        let fixed: Option<String> = row.get(10)?;
        Ok(FloatingIpRow {
            id: row.get(0)?,
            standard: Standard::read(row, 1)?,
            network_id: row.get(6)?,
            address: address::from_key(&row.get::<String>(7)?)?,
            floating_port: row.get(8)?,
            port_id: row.get(9)?,
            fixed_ip: fixed.as_deref().map(address::from_key).transpose()?,
            router_id: row.get(11)?,
            status: row.get(12)?,
        })
    }
}

/// A security group without its rules.
#[derive(Debug, Clone)]
pub(crate) struct GroupRow {
    pub(crate) id: SecurityGroupId,
    pub(crate) standard: Standard,
    pub(crate) name: String,
    pub(crate) stateful: bool,
    /// It is its project's default group.
    pub(crate) is_default: bool,
}

impl GroupRow {
    pub(crate) const COLUMNS: &'static str = standard!("name, stateful, default_for");

    pub(crate) fn read(row: &Row<'_>) -> Result<GroupRow> {
        Ok(GroupRow {
            id: row.get(0)?,
            standard: Standard::read(row, 1)?,
            name: row.get(6)?,
            stateful: row.get(7)?,
            is_default: row.get::<Option<String>>(8)?.is_some(),
        })
    }
}

/// A security group rule.
#[derive(Debug, Clone)]
pub(crate) struct RuleRow {
    pub(crate) id: SecurityGroupRuleId,
    pub(crate) standard: Standard,
    pub(crate) group_id: SecurityGroupId,
    pub(crate) direction: String,
    pub(crate) ethertype: String,
    pub(crate) protocol: Option<String>,
    pub(crate) port_min: Option<u16>,
    pub(crate) port_max: Option<u16>,
    pub(crate) remote_group: Option<SecurityGroupId>,
    pub(crate) remote_prefix: Option<String>,
}

impl RuleRow {
    pub(crate) const COLUMNS: &'static str = standard!(
        "security_group_id, direction, ethertype, protocol, port_range_min, port_range_max, remote_group_id, remote_ip_prefix"
    );

    pub(crate) fn read(row: &Row<'_>) -> Result<RuleRow> {
        Ok(RuleRow {
            id: row.get(0)?,
            standard: Standard::read(row, 1)?,
            group_id: row.get(6)?,
            direction: row.get(7)?,
            ethertype: row.get(8)?,
            protocol: row.get(9)?,
            port_min: row.get(10)?,
            port_max: row.get(11)?,
            remote_group: row.get(12)?,
            remote_prefix: row.get(13)?,
        })
    }
}
