//! What an agent is told at its start.

use crate::failpoint::Failpoints;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::fake::{FakeHypervisor, FakeOptions};
use crate::hypervisor::qemu::{Qemu, QemuConfig};
use crate::metadata::MetadataOptions;
use crate::plumbing::Plumbing;
use crate::plumbing::fake::FakePlumbing;
use crate::plumbing::ovs::Ovs;
use ferrostack_ovn::plug::Switch;
use ferrostack_types::Env;
use ferrostack_types::ids::NodeId;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What an agent is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host's name, unique in a cloud.
    pub name: String,
    /// The address that other hosts reach it at.
    pub address: String,
    /// Where everything is kept: `node-id`, `guests/`, `images/`.
    pub state_dir: PathBuf,
    /// Whether anything is written there. `false` only makes sense with the fake hypervisor: thousands of hosts in one
    /// process then cost no files, and a new start begins empty.
    pub durable: bool,
    /// The node's id, instead of the one on its disk. For agents that are not durable.
    pub node_id: Option<NodeId>,
    /// How often to say hello.
    pub heartbeat: Duration,
    /// How long to wait for one answer of the control plane.
    pub request_limit: Duration,
    /// The first pause after a failure; doubled each time up to [`Config::retry_max`].
    pub retry_min: Duration,
    /// The longest pause after a failure.
    pub retry_max: Duration,
    /// How often something that may pass is tried before it is reported as failed.
    pub retry_limit: u32,
    /// How long a deleted guest's generation is remembered.
    pub tombstones: Duration,
    /// How many bytes images that no guest uses may take.
    pub image_cache_bytes: u64,
    /// What the host claims to have, instead of what it has.
    pub capacity: Capacity,
    /// Whether guests that ran when the host went down are started again when it is back. Nova's default is no.
    pub resume_after_host_boot: bool,
    /// Where to die, in tests.
    pub failpoints: Failpoints,
}

impl Config {
    /// The defaults of a real host.
    pub fn new(name: impl Into<String>, state_dir: impl Into<PathBuf>) -> Config {
        Config {
            name: name.into(),
            address: "127.0.0.1".to_owned(),
            state_dir: state_dir.into(),
            durable: true,
            node_id: None,
            heartbeat: Duration::from_secs(5),
            request_limit: Duration::from_secs(10),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(30),
            retry_limit: 5,
            tombstones: Duration::from_secs(24 * 3600),
            image_cache_bytes: 20 << 30,
            capacity: Capacity::default(),
            resume_after_host_boot: false,
            failpoints: Failpoints::default(),
        }
    }
}

/// What a host claims to have; `None` means what was found.
#[derive(Debug, Clone, Default)]
pub struct Capacity {
    /// Logical processors.
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// Disk in GiB.
    pub disk_gb: Option<u64>,
}

/// What an agent works on.
#[derive(Clone)]
pub struct Platform {
    /// Where guests run.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// How their NICs reach the network.
    pub plumbing: Arc<dyn Plumbing>,
    /// Whether and how the metadata service is offered.
    pub metadata: Option<MetadataOptions>,
}

impl Platform {
    /// No processes, no packets: for scale tests.
    pub fn fake(options: FakeOptions) -> Platform {
        Platform {
            hypervisor: Arc::new(FakeHypervisor::new(options)),
            plumbing: Arc::new(FakePlumbing::default()),
            metadata: None,
        }
    }

    /// Guests on QEMU, their NICs and the metadata service on this switch. Without one NICs are not connected.
    pub fn qemu(mut config: QemuConfig, switch: Option<Arc<Switch>>, env: Env) -> Platform {
        let plumbing: Arc<dyn Plumbing> = match &switch {
            Some(switch) => Arc::new(Ovs::new(Arc::clone(switch))),
            None => Arc::new(FakePlumbing::default()),
        };
        config.userspace_network |= plumbing.userspace();
        let metadata = switch.map(|switch| MetadataOptions { switch });
        Platform { hypervisor: Arc::new(Qemu::new(config, env)), plumbing, metadata }
    }
}
