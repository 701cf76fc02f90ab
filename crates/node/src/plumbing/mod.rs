//! How a guest's NIC reaches the network.

pub mod fake;
pub mod ovs;
pub mod tap;

use crate::hypervisor::Failure;
use async_trait::async_trait;
use ferrostack_contracts::network::PortInfo;
use ferrostack_types::ids::PortId;
use std::collections::BTreeSet;

/// What QEMU is told to connect a NIC to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicBackend {
    /// A tap device of this name, made before.
    Tap(String),
    /// Nothing: the NIC is there, its cable is not.
    Disconnected,
}

/// How NICs reach the network. Every call is repeatable.
#[async_trait]
pub trait Plumbing: Send + Sync {
    /// Makes the port's interface and plugs it into the switch.
    async fn plug(&self, port: &PortInfo) -> Result<NicBackend, Failure>;

    /// Takes the port's interface out of the switch and removes it. Fine if it is not there.
    async fn unplug(&self, port: PortId) -> Result<(), Failure>;

    /// Removes every interface of ours whose port is not among these.
    async fn sweep(&self, keep: &BTreeSet<PortId>) -> Result<(), Failure>;

    /// Whether packets pass a switch in user space, which wants complete checksums from guests.
    fn userspace(&self) -> bool;
}

/// The name of a port's tap device: as Neutron's agents name theirs, and within the kernel's 15 bytes.
pub fn tap_name(port: PortId) -> String {
    let text = port.to_string();
    format!("tap{}", &text[..11])
}
