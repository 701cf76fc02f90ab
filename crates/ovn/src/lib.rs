//! OVN and Open vSwitch, driven through their databases. Knows no SQL.
//!
//! | module         | who uses it            | what for                                                                  |
//! |----------------|------------------------|---------------------------------------------------------------------------|
//! | [`northbound`] | the network service    | hands over networks, ports, routers, floating IPs and security groups; OVN is brought to them |
//! | [`plug`]       | the node agent         | puts a guest's interface into Open vSwitch and takes it out               |
//! | [`daemons`]    | the server's wiring    | runs ovsdb-server, ovs-vswitchd, ovn-northd and ovn-controller in a directory of ours |
//! | [`ovsdb`]      | the three above        | the client of RFC 7047; no command-line tool is on the way of normal work |
//!
//! The way of a port:
//!
//! ```text
//!   network service   Northbound::apply([Port])     Logical_Switch_Port named by the port's id
//!   node agent        makes a tap, Switch::plug     Interface with external_ids:iface-id = the port's id
//!   ovn-controller    sees both, claims the port    flows in br-int; northd sets Logical_Switch_Port.up
//!   network service   Change::PortUp                compute may go on
//! ```
//!
//! The order of the first two does not matter.
//!
//! Nothing here decides anything: objects come with all their addresses, MACs and hosts chosen. Everything is
//! idempotent, so whoever calls may be killed at any point and call again.

pub mod daemons;
pub mod northbound;
pub mod ovsdb;
pub mod plug;
