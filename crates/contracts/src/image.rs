//! What compute and the nodes ask of images.

use crate::identity::Caller;
use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_types::Result;
use ferrostack_types::ids::ImageId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The formats in which a guest's disk may be stored. Always stated, never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The plain bytes of a disk.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl DiskFormat {
    /// The name that QEMU and Glance use.
    pub const fn as_str(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        }
    }
}

/// An image, as far as booting from it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageInfo {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: Option<String>,
    /// `active`, `queued`, ...
    pub status: String,
    /// Its declared and inspected format; `None` if guests cannot boot from it (iso, aki, ...).
    pub format: Option<DiskFormat>,
    /// The declared format's name.
    pub disk_format: Option<String>,
    /// Bytes stored.
    pub size: Option<u64>,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: Option<u64>,
    /// GiB that a flavor's disk must have at least.
    pub min_disk: u64,
    /// MiB that a flavor's memory must have at least.
    pub min_ram: u64,
    /// SHA-512 of the stored bytes, in hex; the node checks it before it boots from them.
    pub sha512: Option<String>,
    /// Extra properties (`hw_disk_bus` and the like).
    pub properties: BTreeMap<String, String>,
}

/// What compute and the nodes ask of images.
#[async_trait]
pub trait Images: Send + Sync {
    /// The image, if the caller may see it; otherwise [`ferrostack_types::Kind::NotFound`].
    async fn image(&self, caller: &Caller, id: ImageId) -> Result<ImageInfo>;

    /// Up to `length` stored bytes from `offset`, for a node that fills its cache. Empty at the end.
    async fn read(&self, id: ImageId, offset: u64, length: u32) -> Result<Bytes>;
}
