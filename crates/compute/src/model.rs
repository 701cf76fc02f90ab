//! What a server, a guest, a flavor are, free of tables and of JSON shapes.

use ferrostack_contracts::node::{GuestError, GuestState, Want};
use ferrostack_contracts::placement::Resources;
use ferrostack_types::Timestamp;
use ferrostack_types::ids::{ImageId, NodeId, ProjectId, ServerId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Enums that are stored as the words that Nova's API shows.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            pub(crate) fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// What a server is when nothing is going on.
    VmState {
        Building = "building",
        Active = "active",
        Paused = "paused",
        Stopped = "stopped",
        Error = "error",
        Deleted = "deleted",
    }
}

words! {
    /// What is going on with a server.
    TaskState {
        Scheduling = "scheduling",
        Networking = "networking",
        Spawning = "spawning",
        PoweringOff = "powering-off",
        PoweringOn = "powering-on",
        Rebooting = "rebooting",
        RebootingHard = "rebooting_hard",
        Pausing = "pausing",
        Unpausing = "unpausing",
        Deleting = "deleting",
    }
}

/// Nova's numbers for power.
pub(crate) mod power {
    pub(crate) const NONE: i64 = 0;
    pub(crate) const RUNNING: i64 = 1;
    pub(crate) const PAUSED: i64 = 3;
    pub(crate) const SHUTDOWN: i64 = 4;
    pub(crate) const CRASHED: i64 = 6;
}

/// The power that a guest's state means.
pub(crate) fn power_of(state: GuestState) -> i64 {
    match state {
        GuestState::Running => power::RUNNING,
        GuestState::Paused => power::PAUSED,
        GuestState::Stopped => power::SHUTDOWN,
        GuestState::Crashed => power::CRASHED,
        GuestState::Preparing | GuestState::Absent => power::NONE,
    }
}

/// A flavor as it was when the server was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlavorCopy {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) vcpus: u64,
    pub(crate) memory_mb: u64,
    pub(crate) root_gb: u64,
    pub(crate) ephemeral_gb: u64,
    pub(crate) swap_mb: u64,
    pub(crate) extra_specs: BTreeMap<String, String>,
}

impl FlavorCopy {
    /// What a server of this flavor takes from its host.
    pub(crate) fn resources(&self) -> Resources {
        let disk = self.root_gb + self.ephemeral_gb + self.swap_mb.div_ceil(1024);
        let mut resources = Resources::new();
        for (class, amount) in [("VCPU", self.vcpus), ("MEMORY_MB", self.memory_mb), ("DISK_GB", disk)] {
            if amount > 0 {
                resources.insert(class.to_owned(), amount);
            }
        }
        resources
    }
}

/// A flavor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flavor {
    pub(crate) copy: FlavorCopy,
    pub(crate) rxtx_factor: f64,
    pub(crate) is_public: bool,
    pub(crate) disabled: bool,
    pub(crate) description: Option<String>,
}

/// Why a server is in ERROR (or why its last action failed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: u16,
    pub(crate) message: String,
    /// For administrators.
    pub(crate) details: String,
    pub(crate) created: Timestamp,
}

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) id: ServerId,
    pub(crate) number: u64,
    pub(crate) project: ProjectId,
    pub(crate) user: UserId,
    pub(crate) name: String,
    pub(crate) hostname: String,
    pub(crate) description: Option<String>,
    pub(crate) vm_state: VmState,
    pub(crate) task_state: Option<TaskState>,
    pub(crate) power_state: i64,
    pub(crate) node: Option<NodeId>,
    pub(crate) host: Option<String>,
    pub(crate) zone_wanted: Option<String>,
    pub(crate) host_wanted: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) flavor: FlavorCopy,
    pub(crate) image: Option<ImageId>,
    pub(crate) key_name: Option<String>,
    pub(crate) config_drive: bool,
    pub(crate) disk_config: String,
    /// `owner` or `admin`.
    pub(crate) locked_by: Option<String>,
    pub(crate) locked_reason: Option<String>,
    pub(crate) reservation_id: String,
    pub(crate) launch_index: u32,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) access_ipv4: Option<String>,
    pub(crate) access_ipv6: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) fault: Option<Fault>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) launched_at: Option<Timestamp>,
    pub(crate) terminated_at: Option<Timestamp>,
    pub(crate) deleted_at: Option<Timestamp>,
}

impl Server {
    /// `instance-0000002a`
    pub(crate) fn instance_name(&self) -> String {
        format!("instance-{:08x}", self.number)
    }

    /// Nova's one word for it all.
    pub(crate) fn status(&self) -> &'static str {
        match (self.vm_state, self.task_state) {
            (VmState::Active | VmState::Stopped | VmState::Paused, Some(TaskState::Rebooting)) => "REBOOT",
            (VmState::Active | VmState::Stopped | VmState::Paused, Some(TaskState::RebootingHard)) => "HARD_REBOOT",
            (VmState::Error, Some(TaskState::RebootingHard)) => "HARD_REBOOT",
            (VmState::Active, _) => "ACTIVE",
            (VmState::Building, _) => "BUILD",
            (VmState::Paused, _) => "PAUSED",
            (VmState::Stopped, _) => "SHUTOFF",
            (VmState::Error, _) => "ERROR",
            (VmState::Deleted, _) => "DELETED",
        }
    }
}

/// What is wanted of a node for a server, and what the node has said.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) server: ServerId,
    pub(crate) node: NodeId,
    pub(crate) generation: u64,
    pub(crate) want: Want,
    pub(crate) boot: u64,
    pub(crate) soft_reboot: bool,
    /// A [`ferrostack_contracts::node::GuestSpec`] as JSON; read only where it is needed.
    pub(crate) spec: Option<String>,
    pub(crate) pending: bool,
    pub(crate) seen: Seen,
}

/// What the node has said last. A sequence of -1 means that it has said nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) generation: u64,
    pub(crate) sequence: i64,
    pub(crate) settled: bool,
    pub(crate) state: GuestState,
    pub(crate) boot: u64,
    pub(crate) error: Option<GuestError>,
}

impl Guest {
    /// The node has said that nothing is left, and nothing is wanted.
    pub(crate) fn is_gone(&self) -> bool {
        self.want == Want::Absent && !self.pending
    }

    /// What the node has said answers what is wanted now.
    pub(crate) fn is_answered(&self) -> bool {
        self.seen.sequence >= 0 && self.seen.generation >= self.generation
    }
}

pub(crate) const fn want_word(want: Want) -> &'static str {
    match want {
        Want::Running => "running",
        Want::Stopped => "stopped",
        Want::Paused => "paused",
        Want::Absent => "absent",
    }
}

pub(crate) fn want_of(word: &str) -> Want {
    match word {
        "running" => Want::Running,
        "stopped" => Want::Stopped,
        "paused" => Want::Paused,
        _ => Want::Absent,
    }
}

pub(crate) const fn state_word(state: GuestState) -> &'static str {
    match state {
        GuestState::Preparing => "preparing",
        GuestState::Running => "running",
        GuestState::Paused => "paused",
        GuestState::Stopped => "stopped",
        GuestState::Crashed => "crashed",
        GuestState::Absent => "absent",
    }
}

pub(crate) fn state_of(word: &str) -> GuestState {
    match word {
        "running" => GuestState::Running,
        "paused" => GuestState::Paused,
        "stopped" => GuestState::Stopped,
        "crashed" => GuestState::Crashed,
        "absent" => GuestState::Absent,
        _ => GuestState::Preparing,
    }
}
