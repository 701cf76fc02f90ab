//! The few things about network interfaces that Open vSwitch does not do.

use ferrostack_types::{Error, Result, ResultExt};
use rustix::fd::AsRawFd;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use std::path::PathBuf;

/// The kernel's number of an interface in this network namespace.
pub fn interface_index(name: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(&socket, name).ok()
}

/// Makes the kernel compute checksums before packets leave through a veth or tap device of this network namespace.
/// The userspace datapath hands packets on as they are: with half-made checksums ping works and TCP silently does not.
pub fn disable_tx_checksum_offload(name: &str) -> Result<()> {
    /// `struct ethtool_value`
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    let socket = socket.map_err(|e| Error::from_source("socket for ethtool", e))?;
    let mut value = Value { command: ETHTOOL_STXCSUM, data: 0 };
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Error::internal(format!("interface name too long: {name}")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads an ifreq whose ifr_data points to a struct ethtool_value; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context(format!("turn off checksum offload of {name}"));
    }
    Ok(())
}

/// Runs `ip` (iproute2) in this network namespace.
pub(super) async fn ip(arguments: &[&str]) -> Result<()> {
    let program = super::process::find_program("ip")?;
    let output = tokio::process::Command::new(program).args(arguments).output().await.context("run ip")?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::internal(format!("ip {}: {text}", arguments.join(" "))))
}

/// The network namespace of a process (`self` for this one), as the kernel names it.
pub(super) fn network_namespace(process: &str) -> Option<PathBuf> {
    // The namespace belongs to the thread; the main thread's may differ where a thread has entered another one.
    let process = if process == "self" { "thread-self" } else { process };
    std::fs::read_link(format!("/proc/{process}/ns/net")).ok()
}
