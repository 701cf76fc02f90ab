//! What compute asks of networks: ports for its servers.

use crate::identity::Caller;
use async_trait::async_trait;
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, NodeId, PortId, ProjectId, SecurityGroupId, ServerId, SubnetId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;

/// One entry of a server request's `networks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicRequest {
    /// `{"uuid": network}` with an optional `fixed_ip`: a port is made.
    Network {
        /// The network.
        id: NetworkId,
        /// The address that is asked for.
        fixed_ip: Option<IpAddr>,
    },
    /// `{"port": port}`: a port that exists is used, and outlives the server.
    Port(PortId),
}

/// What a server request says about its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicsRequest {
    /// `networks` was left out or is `auto`: the project's only network, if there is just one (none: no port).
    Auto,
    /// `none`
    None,
    /// A list.
    List(Vec<NicRequest>),
}

/// A NIC that a server is going to have; every id is chosen before the first effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedNic {
    /// The port, new or existing.
    pub port_id: PortId,
    /// Its network.
    pub network_id: NetworkId,
    /// An address that was asked for.
    pub fixed_ip: Option<IpAddr>,
    /// The groups of a new port.
    pub security_groups: Vec<SecurityGroupId>,
    /// Whether the port was there before the server (then it is unbound, not deleted, with the server).
    pub preexisting: bool,
}

/// A fixed address of a port, with what a guest must know of its subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIp {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The address.
    pub address: IpAddr,
    /// The subnet's prefix length.
    pub prefix: u8,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Floating addresses that lead here.
    pub floating: Vec<IpAddr>,
}

/// Where a network's metadata service listens: a port that is present on every host that has a guest on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataPort {
    /// The port, of OVN's type `localport`.
    pub id: PortId,
    /// Its MAC address.
    pub mac: String,
    /// Its addresses with prefix length, one for each subnet that has DHCP.
    pub addresses: Vec<ipnet::IpNet>,
}

/// A port as compute sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// The port.
    pub id: PortId,
    /// Its network.
    pub network_id: NetworkId,
    /// The network's name: the key of a server's `addresses`.
    pub network_name: String,
    /// `fa:16:3e:..`
    pub mac: String,
    /// The network's MTU in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// The names of its security groups.
    pub security_groups: Vec<String>,
    /// Where the network's metadata service listens; `None` if no subnet has DHCP.
    pub metadata: Option<MetadataPort>,
    /// Whether the port was there before the server.
    pub preexisting: bool,
}

/// What compute asks of networks.
#[async_trait]
pub trait Ports: Send + Sync {
    /// Turns a request into NICs with chosen ids, checking that the caller may use them and that the port quota has
    /// room. Writes nothing. `security_groups` are names or ids as Nova's API has them; empty means the project's default.
    async fn plan(&self, caller: &Caller, nics: &NicsRequest, security_groups: &[String]) -> Result<Vec<PlannedNic>>;

    /// Makes the port (or takes the existing one) for the server, binds it to the host, and says what it became.
    /// Repeatable: a repeat finds the port by its id. Bound to another host, it is bound anew.
    async fn ensure(
        &self,
        project: &ProjectId,
        server: ServerId,
        host: (&NodeId, &str),
        nic: &PlannedNic,
    ) -> Result<PortInfo>;

    /// Whether the network engine has wired up all of the server's ports on their host.
    async fn wired(&self, server: ServerId) -> Result<bool>;

    /// Deletes the ports that were made for the server, releases the others. Repeatable.
    async fn release(&self, server: ServerId) -> Result<()>;

    /// The ports of many servers in a fixed number of queries.
    async fn of_servers(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, Vec<PortInfo>>>;

    /// Every server that some port names as its owner: for audits and for the loop that finds orphans.
    async fn owners(&self) -> Result<Vec<(PortId, ServerId)>>;
}
