//! What an image is. No SQL and no HTTP here.

use ferrostack_contracts::identity::Caller;
use ferrostack_types::Timestamp;
use ferrostack_types::ids::ImageId;
use std::collections::{BTreeMap, BTreeSet};

/// Where an image is in its life.
///
/// ```text
///   queued ──upload──► saving ──► active ◄──► deactivated
///     ▲                  │
///     └── upload failed ─┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Known, without data.
    Queued,
    /// Data is coming in.
    Saving,
    /// There, and never changing again.
    Active,
    /// There, but only administrators may read it.
    Deactivated,
}

impl Status {
    /// The name in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Saving => "saving",
            Status::Active => "active",
            Status::Deactivated => "deactivated",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Queued, Status::Saving, Status::Active, Status::Deactivated].into_iter().find(|s| s.as_str() == text)
    }
}

/// Who may see an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Everybody who knows of it: it is not in lists.
    Community,
    /// The owner and the members.
    Shared,
    /// The owner.
    Private,
}

impl Visibility {
    /// The name in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Visibility::Public => "public",
            Visibility::Community => "community",
            Visibility::Shared => "shared",
            Visibility::Private => "private",
        }
    }

    /// Reads the name.
    pub fn parse(text: &str) -> Option<Visibility> {
        let all = [Visibility::Public, Visibility::Community, Visibility::Shared, Visibility::Private];
        all.into_iter().find(|v| v.as_str() == text)
    }
}

/// The formats that an image may be declared as.
pub const DISK_FORMATS: [&str; 11] =
    ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"];

/// What may be around a disk.
pub const CONTAINER_FORMATS: [&str; 8] = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"];

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Grows with every change: a change is only written over the revision that it was made from.
    pub revision: i64,
    /// Its name.
    pub name: Option<String>,
    /// Where it is in its life.
    pub status: Status,
    /// Who may see it.
    pub visibility: Visibility,
    /// The project that owns it.
    pub owner: Option<String>,
    /// Whether it refuses to be deleted.
    pub protected: bool,
    /// Whether lists leave it out.
    pub os_hidden: bool,
    /// Its declared format.
    pub disk_format: Option<String>,
    /// What is around it.
    pub container_format: Option<String>,
    /// GiB that a guest's disk must have.
    pub min_disk: u64,
    /// MiB that a guest's memory must have.
    pub min_ram: u64,
    /// Bytes stored.
    pub size: Option<u64>,
    /// Bytes that a guest sees.
    pub virtual_size: Option<u64>,
    /// MD5 of the stored bytes.
    pub checksum: Option<String>,
    /// SHA-512 of the stored bytes.
    pub sha512: Option<String>,
    /// Whether inspection has borne out the declared format.
    pub verified: bool,
    /// Where the bytes are.
    pub blob_key: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// Extra properties.
    pub properties: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeSet<String>,
}

/// A project that an image is shared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The image.
    pub image: ImageId,
    /// The project.
    pub member: String,
    /// `pending`, `accepted` or `rejected`: only accepted images are in the project's lists.
    pub status: String,
    /// Since when.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

/// Whose eyes an image is looked at with.
#[derive(Debug, Clone)]
pub struct Eyes {
    /// The project; without one, only what is for everybody can be seen.
    pub project: Option<String>,
    /// Sees everything.
    pub admin: bool,
}

impl Eyes {
    /// The caller's.
    pub fn of(caller: &Caller) -> Eyes {
        Eyes { project: caller.project_id().map(|p| p.as_str().to_owned()), admin: caller.has_role("admin") }
    }

    /// Whether these are the owner's.
    pub fn own(&self, image: &Image) -> bool {
        self.project.is_some() && self.project == image.owner
    }
}
