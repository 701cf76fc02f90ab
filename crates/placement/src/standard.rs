//! The names that every deployment knows: OpenStack's standard resource classes and traits.
//!
//! They are part of the program, not rows: nobody can delete them, and there is nothing to synchronise.

use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The standard resource classes, in the order in which OpenStack added them.
pub const RESOURCE_CLASSES: &[&str] = &[
    "VCPU",
    "MEMORY_MB",
    "DISK_GB",
    "PCI_DEVICE",
    "SRIOV_NET_VF",
    "NUMA_SOCKET",
    "NUMA_CORE",
    "NUMA_THREAD",
    "NUMA_MEMORY_MB",
    "IPV4_ADDRESS",
    "VGPU",
    "VGPU_DISPLAY_HEAD",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC",
    "PCPU",
    "MEM_ENCRYPTION_CONTEXT",
    "FPGA",
    "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
];

/// The standard traits.
pub static TRAITS: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| include_str!("standard_traits.txt").lines().filter(|line| !line.is_empty()).collect());

/// Whether this is a standard resource class.
pub fn is_resource_class(name: &str) -> bool {
    RESOURCE_CLASSES.contains(&name)
}

/// Whether a name may be given to a class or trait by an operator: `CUSTOM_` and then `A-Z`, `0-9`, `_`.
pub fn is_custom(name: &str) -> bool {
    name.len() <= 255
        && name.strip_prefix("CUSTOM_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        })
}
