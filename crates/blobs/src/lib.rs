//! Bytes at rest for images, objects and backups.
//!
//! A blob is written once, whole, and never changed. The contract of [`BlobStore`], which every implementation keeps:
//!
//! * A blob is either there with all of its bytes, or not there at all; whatever crashes, whenever. What [`BlobStore::put`]
//!   has answered survives a power cut.
//! * On failure nothing is left. If the process dies in the middle, the next [`Directory::open`] removes the rest.
//! * Memory does not grow with the blob: between network, digests and disk there are short queues of whole buffers, and
//!   whoever is slower holds the others up.
//!
//! ```text
//!   chunks ──► 1 MiB buffers ──┬─► disk    (a thread each, fed by queues of a few buffers)
//!                              ├─► md5
//!                              └─► sha512
//! ```
//!
//! One implementation exists: a directory. S3 and Ceph fit the same trait: a put is a multipart upload or a striped
//! object that becomes visible at its end.

mod digest;
mod directory;
mod key;
mod pipe;

pub use digest::{Digest, Digests};
pub use directory::Directory;
pub use key::Key;

use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_types::{Result, Timestamp};
use futures::stream::BoxStream;
use std::ops::Range;

/// Bytes on their way.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// What to keep an eye on while writing.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// No more than so many bytes: [`ferrostack_types::Kind::TooLarge`] as soon as there is one more.
    pub limit: Option<u64>,
    /// Which digests to compute on the way.
    pub digests: Vec<Digest>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// How many bytes.
    pub size: u64,
    /// The digests that were asked for.
    pub digests: Digests,
}

/// A blob that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: Key,
    /// How many bytes it has.
    pub size: u64,
    /// When it became visible, roughly: a hint for whoever looks for orphans.
    pub modified: Timestamp,
}

/// Where blobs are.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Writes a new blob. An error in `source` is given back as it is. [`ferrostack_types::Kind::Conflict`] if the key
    /// is taken: blobs do not change.
    async fn put(&self, key: &Key, source: ByteStream, options: PutOptions) -> Result<Written>;

    /// How many bytes the blob has; `None` if it is not there.
    async fn size(&self, key: &Key) -> Result<Option<u64>>;

    /// The bytes of a range, which must lie within the blob; `None` for all. A blob that is deleted meanwhile is read
    /// to its end.
    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<ByteStream>;

    /// Up to `length` bytes from `offset`; less only at the end, nothing beyond it.
    async fn read_at(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes>;

    /// Removes the blob; whether it was there. Repeatable.
    async fn delete(&self, key: &Key) -> Result<bool>;

    /// Every blob whose key begins with this name: for finding orphans.
    async fn list(&self, name: &str) -> Result<Vec<Stored>>;
}
