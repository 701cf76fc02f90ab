//! What an operator may choose.

use std::time::Duration;

/// The operator's choices; [`Config::default`] has Nova's values where Nova has one.
#[derive(Debug, Clone)]
pub struct Config {
    /// Virtual CPUs per processor.
    pub cpu_ratio: f64,
    /// Guests' memory per memory.
    pub ram_ratio: f64,
    /// Guests' disks per disk.
    pub disk_ratio: f64,
    /// MiB that a host keeps for itself.
    pub reserved_memory_mb: u64,
    /// A host that has been silent for so long is down.
    pub node_down_after: Duration,
    /// A host that goes on existing is written down at most this often.
    pub heartbeat_every: Duration,
    /// How many hosts a build tries.
    pub build_attempts: usize,
    /// How long a host may take to start a guest, the image's way included.
    pub build_limit: Duration,
    /// What is wanted of a guest and has not been seen for so long is said again.
    pub repeat_after: Duration,
    /// What seems to have no owner is taken away only when it still has none after this time.
    pub orphan_grace: Duration,
    /// How long deleted servers stay listed for administrators.
    pub keep_deleted: Duration,
    /// How long a console URL is good.
    pub console_ttl: Duration,
    /// Where browsers reach the consoles, e.g. `http://cloud:8774`; the request's own origin if left out.
    pub console_base: Option<String>,
    /// The zone of hosts that are in no aggregate with a zone.
    pub default_zone: String,
    /// Seconds between asking a guest to stop and pulling the plug.
    pub shutdown_timeout_s: u32,
    /// The largest page of a list.
    pub max_limit: usize,
    /// Quotas of projects that have none of their own.
    pub quotas: Quotas,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            cpu_ratio: 4.0,
            ram_ratio: 1.0,
            disk_ratio: 1.0,
            reserved_memory_mb: 512,
            node_down_after: Duration::from_secs(30),
            heartbeat_every: Duration::from_secs(5),
            build_attempts: 3,
            build_limit: Duration::from_secs(900),
            repeat_after: Duration::from_secs(10),
            orphan_grace: Duration::from_secs(60),
            keep_deleted: Duration::from_secs(7 * 86_400),
            console_ttl: Duration::from_secs(600),
            console_base: None,
            default_zone: "nova".to_owned(),
            shutdown_timeout_s: 60,
            max_limit: 1000,
            quotas: Quotas::default(),
        }
    }
}

/// Limits by Nova's names; -1 is no limit.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// Servers of a project.
    pub instances: i64,
    /// Their virtual CPUs.
    pub cores: i64,
    /// Their memory in MiB.
    pub ram: i64,
    /// Metadata items of a server.
    pub metadata_items: i64,
    /// Key pairs of a user.
    pub key_pairs: i64,
    /// Server groups of a project.
    pub server_groups: i64,
    /// Members of a server group.
    pub server_group_members: i64,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            instances: 10,
            cores: 20,
            ram: 51_200,
            metadata_items: 128,
            key_pairs: 100,
            server_groups: 10,
            server_group_members: 10,
        }
    }
}
