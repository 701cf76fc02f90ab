//! The two enums that cross the bus.
//!
//! The control plane never tells a node what to *do*, only what is *wanted*: [`WantedGuest`] with a generation. The
//! node writes that to its own disk before it answers, converges towards it, and says what it sees: [`ObservedGuest`].
//! A request that is lost, repeated or late is therefore harmless: a lower generation than the one that the node has
//! is ignored, and the compute service's loop compares wanted and observed and asks again.
//!
//! ```text
//!  control plane                         node
//!    guest row, generation g  --Converge-->  wanted.json (fsync), one task per guest
//!    row updated if newer     <--Guests----  observed: generation g, sequence s, state
//! ```

use crate::image::DiskFormat;
use crate::network::PortInfo;
use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_types::ids::{ImageId, NodeId, ServerId};
use ferrostack_types::{Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the control plane asks of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// These guests are wanted so. Legal at any time; a generation that is not newer than the node's is ignored.
    /// Answered ([`NodeReply::Done`]) once it is on the node's disk, before anything is done about it.
    Converge(Vec<WantedGuest>),
    /// What guests are there? Legal at any time. Answered with [`NodeReply::Guests`].
    ListGuests,
    /// The end of a guest's serial console log. Legal while the node knows the guest. Answered with [`NodeReply::Text`].
    ConsoleLog {
        /// Whose.
        server: ServerId,
        /// How many lines from the end; `None` for all that is kept.
        lines: Option<u32>,
    },
    /// Where a console of a running guest can be reached. Answered with [`NodeReply::Console`].
    Console {
        /// Whose.
        server: ServerId,
        /// Which.
        kind: ConsoleKind,
    },
}

/// A node's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NodeReply {
    /// Taken note of, durably.
    Done,
    /// All guests that the node knows.
    Guests(Vec<ObservedGuest>),
    /// A text.
    Text(String),
    /// A stream socket on the node that speaks RFB or carries the serial line.
    Console(ConsoleAddress),
}

/// What a node tells or asks the control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum NodeReport {
    /// I am here and this is what I have; sent at start and then every few seconds as the heartbeat.
    /// Answered with [`ReportReply::Done`].
    Hello(NodeInfo),
    /// What I see of these guests. Answered with [`ReportReply::Done`] once recorded; until then the node repeats it.
    Guests(Vec<ObservedGuest>),
    /// Up to `length` bytes of an image from `offset`. Answered with [`ReportReply::Bytes`], empty at the end.
    /// Only for an image that one of the node's own guests boots from.
    ReadImage {
        /// Which.
        image: ImageId,
        /// From where.
        offset: u64,
        /// At most this many bytes (the bus carries 512 KiB at most).
        length: u32,
    },
}

/// The control plane's answer to a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReportReply {
    /// Recorded.
    Done,
    /// Bytes of an image.
    Bytes(Bytes),
}

/// How a guest is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Powered on.
    Running,
    /// Powered off, its disk kept. ACPI first, the plug after [`GuestSpec::shutdown_timeout_s`].
    Stopped,
    /// Powered on, its CPUs stopped.
    Paused,
    /// Gone with everything that belonged to it.
    Absent,
}

/// A wanted guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WantedGuest {
    /// The server; everything on the node is keyed by it, so that a running guest is adopted and never started twice.
    pub server: ServerId,
    /// Raised by the control plane with every change. A node ignores what is not newer than what it has.
    pub generation: u64,
    /// How it is wanted.
    pub want: Want,
    /// Raised to ask for a reboot: a running guest that was started for a lower number is restarted.
    pub boot: u64,
    /// Whether that reboot asks the guest first (ctrl-alt-del, then a reset) or pulls the plug.
    pub soft_reboot: bool,
    /// What it is made of. `None` only with [`Want::Absent`].
    pub spec: Option<GuestSpec>,
}

/// What a guest is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// `instance-0000002a`, for process lists.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Root disk in GiB; 0 means as large as the image (Nova's rule for flavors with disk 0).
    pub root_gb: u64,
    /// What the root disk starts as.
    pub image: GuestImage,
    /// NICs in order.
    pub nics: Vec<PortInfo>,
    /// Whether to attach a config drive (the metadata service is there anyway).
    pub config_drive: bool,
    /// What the guest is told about itself, on the config drive and at 169.254.169.254.
    pub metadata: GuestMetadata,
    /// Seconds between ACPI shutdown and pulling the plug.
    pub shutdown_timeout_s: u32,
}

/// What a root disk starts as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestImage {
    /// Which image.
    pub id: ImageId,
    /// Its inspected format.
    pub format: DiskFormat,
    /// Stored bytes.
    pub size: u64,
    /// SHA-512 of the stored bytes, in hex, checked before the first boot from the cache.
    pub sha512: String,
}

/// What a guest is told about itself, in the terms of OpenStack's `meta_data.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestMetadata {
    /// The server's name.
    pub name: String,
    /// Its host name.
    pub hostname: String,
    /// Its project.
    pub project_id: String,
    /// Its availability zone.
    pub availability_zone: String,
    /// Its position in a multi-create.
    pub launch_index: u32,
    /// Key pair name to public key.
    pub public_keys: BTreeMap<String, String>,
    /// The server's metadata.
    pub meta: BTreeMap<String, String>,
    /// User data, base64 as given.
    pub user_data: Option<String>,
    /// The generated or given administrator password.
    pub admin_password: Option<ferrostack_types::Secret>,
}

/// What a node sees of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedGuest {
    /// The server.
    pub server: ServerId,
    /// The newest generation that the node has taken note of.
    pub generation: u64,
    /// Whether that generation is reached; with `error` set, that it could not be.
    pub settled: bool,
    /// What is there now.
    pub state: GuestState,
    /// For which [`WantedGuest::boot`] the running guest was started.
    pub boot: u64,
    /// Owned by the node, grows with every observation: a late report never overwrites a newer one.
    pub sequence: u64,
    /// Why the generation could not be reached.
    pub error: Option<GuestError>,
}

/// What is there of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// Being prepared: image, disk, ports.
    Preparing,
    /// Powered on.
    Running,
    /// Powered on, CPUs stopped.
    Paused,
    /// Powered off, disk there.
    Stopped,
    /// QEMU ended without being asked to.
    Crashed,
    /// Nothing of it is left on the node.
    Absent,
}

/// Why a guest is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestError {
    /// For the tenant: no path, no host name, nothing secret.
    pub public: String,
    /// For the operator.
    pub internal: String,
    /// Whether another host may do better (a full disk) or none will (a broken image).
    pub elsewhere: bool,
}

/// Which console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleKind {
    /// RFB, for noVNC.
    Vnc,
    /// The serial line.
    Serial,
}

/// A stream socket on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsoleAddress {
    /// A unix socket, when node and control plane share a machine.
    Unix(String),
    /// Host and port.
    Tcp(String, u16),
}

/// What a node is and has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its id, made at its first start and kept on its disk.
    pub id: NodeId,
    /// Its name; unique in a cloud.
    pub name: String,
    /// The address that other hosts reach it at.
    pub address: String,
    /// `QEMU` or `fake`.
    pub hypervisor_type: String,
    /// The hypervisor's version as Nova encodes it: major * 1,000,000 + minor * 1,000 + micro.
    pub hypervisor_version: u32,
    /// `kvm`, `tcg` or `fake`.
    pub accelerator: String,
    /// `x86_64`, ...
    pub architecture: String,
    /// The processor's model.
    pub cpu_model: String,
    /// Logical processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Disk for guests in GiB, all of it and what is free now.
    pub disk_gb: u64,
    /// Free disk in GiB.
    pub disk_free_gb: u64,
    /// Guests that run now.
    pub running_guests: u32,
    /// When this process started.
    pub started_at: Timestamp,
}

/// How compute reaches the nodes.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// One request, one answer. [`ferrostack_types::Kind::Unavailable`] if the node is not there.
    async fn request(&self, node: NodeId, request: NodeRequest) -> Result<NodeReply>;
}

/// What answers a node's reports. The bus has verified who is speaking: `node` is not what the message claims.
#[async_trait]
pub trait NodeReports: Send + Sync {
    /// One report, one answer.
    async fn report(&self, node: NodeId, report: NodeReport) -> Result<ReportReply>;
}
