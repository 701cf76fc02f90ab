//! Blobs as files of a directory.
//!
//! ```text
//!   <root>/.incoming/<random>   being written; removed at the next start if its writer died
//!   <root>/<realm>/<name>       whole
//! ```
//!
//! A blob is written under a random name, synced, and renamed to its own name without replacing anything; then the
//! directory is synced. So a name that can be seen has all of its bytes behind it, also after a power cut.
//!
//! Only one process works on a directory: whatever lies in `.incoming` at its start belongs to nobody.

use crate::key::is_name;
use crate::pipe::{BUFFER, Worker, pump};
use crate::{BlobStore, ByteStream, Key, PutOptions, Stored, Written};
use async_trait::async_trait;
use bytes::Bytes;
use ferrostack_types::{Env, Error, Result, ResultExt, Timestamp};
use futures::StreamExt;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Where blobs are written before they are whole.
const INCOMING: &str = ".incoming";

/// So many buffers are read ahead of whoever consumes a stream.
const READ_AHEAD: usize = 2;

/// A directory of blobs.
#[derive(Clone)]
pub struct Directory {
    root: Arc<Path>,
    env: Env,
}

impl Directory {
    /// Opens (and makes) the directory and removes what a dead process left in the middle of writing.
    pub async fn open(root: impl Into<PathBuf>, env: Env) -> Result<Directory> {
        let root: PathBuf = root.into();
        let directory = Directory { root: root.into(), env };
        let incoming = directory.root.join(INCOMING);
        blocking(move || {
            std::fs::create_dir_all(&incoming)?;
            let mut removed = 0;
            for entry in std::fs::read_dir(&incoming)? {
                std::fs::remove_file(entry?.path())?;
                removed += 1;
            }
            if removed > 0 {
                tracing::info!(removed, "unfinished blobs of an earlier run were removed");
            }
            Ok(())
        })
        .await
        .context("open the blob directory")?;
        Ok(directory)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.realm()).join(key.name())
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = spawn_blocking(work).await.map_err(|e| Error::from_source("file work ended", e))?;
    done.map_err(from_io)
}

/// What a file error means to whoever asked.
fn from_io(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::unavailable("There is not enough space left to store the data.").with_source(error)
        }
        ErrorKind::FileTooLarge => {
            Error::unavailable("The storage cannot hold a file of this size.").with_source(error)
        }
        ErrorKind::NotFound => Error::not_found("The stored data could not be found.").with_source(error),
        ErrorKind::AlreadyExists => Error::conflict("The data is stored already.").with_source(error),
        ErrorKind::ReadOnlyFilesystem => {
            Error::unavailable("The storage cannot be written at the moment.").with_source(error)
        }
        _ => Error::from_source("file work", error),
    }
}

/// Removes the file unless it was kept: whatever way its writer ends.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, "an unfinished blob could not be removed");
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the whole file visible under its name.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    let parent = to.parent().ok_or_else(|| io::Error::other("a blob's path has a parent"))?;
    if !parent.exists() {
        std::fs::create_dir_all(parent)?;
        if let Some(root) = parent.parent() {
            sync_directory(root)?;
        }
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // A file system that cannot say "unless it is there": keys are used once, so asking first is enough.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => std::fs::rename(from, to)?,
        Err(errno) => return Err(errno.into()),
    }
    sync_directory(parent)
}

#[async_trait]
impl BlobStore for Directory {
    async fn put(&self, key: &Key, source: ByteStream, options: PutOptions) -> Result<Written> {
        let (target, name) = (self.path(key), hex::encode(self.env.random::<16>()));
        let incoming = self.root.join(INCOMING).join(name);
        let path = incoming.clone();
        // The thread that makes the file also owns its removal: if we are given up at any `await`, it still happens.
        let sink = Worker::start(move |next| {
            let mut write = || -> io::Result<(File, Temporary)> {
                let mut file = File::options().write(true).create_new(true).open(&path)?;
                let temporary = Temporary(Some(path.clone()));
                while let Some(bytes) = next() {
                    file.write_all(&bytes)?;
                }
                Ok((file, temporary))
            };
            write().map_err(from_io)
        });
        let (pumped, sunk) = pump(source, options.limit, &options.digests, sink).await;
        // The disk's error comes first: if it failed, the stream was cut off because of it.
        let (file, temporary) = sunk.context(format!("write blob {key}"))?;
        let (size, digests) = pumped?;
        blocking(move || {
            file.sync_all()?;
            publish(&incoming, &target)?;
            temporary.keep();
            Ok(())
        })
        .await
        .context(format!("publish blob {key}"))?;
        Ok(Written { size, digests })
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>> {
        let path = self.path(key);
        blocking(move || match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<ByteStream> {
        let path = self.path(key);
        let (file, size) = blocking(move || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        })
        .await
        .context(format!("read blob {key}"))?;
        let range = range.unwrap_or(0..size);
        if range.start > range.end || range.end > size {
            return Err(Error::internal(format!("range {range:?} of blob {key}, which has {size} bytes")));
        }
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        // Ends when the range does, or when nobody listens any more.
        drop(spawn_blocking(move || {
            let mut at = range.start;
            while at < range.end {
                let length = usize::try_from(range.end - at).unwrap_or(BUFFER).min(BUFFER);
                let mut buffer = vec![0; length];
                let read = file.read_exact_at(&mut buffer, at).map_err(from_io);
                let failed = read.is_err();
                if sender.blocking_send(read.map(|()| Bytes::from(buffer))).is_err() || failed {
                    return;
                }
                at += length as u64;
            }
        }));
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            let item = receiver.recv().await?;
            Some((item, receiver))
        });
        Ok(stream.boxed())
    }

    async fn read_at(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes> {
        let path = self.path(key);
        blocking(move || {
            let file = File::open(path)?;
            let left = file.metadata()?.len().saturating_sub(offset);
            let mut buffer = vec![0; usize::try_from(left).unwrap_or(length).min(length)];
            file.read_exact_at(&mut buffer, offset)?;
            Ok(Bytes::from(buffer))
        })
        .await
        .context(format!("read blob {key}"))
    }

    async fn delete(&self, key: &Key) -> Result<bool> {
        let path = self.path(key);
        blocking(move || match std::fs::remove_file(&path) {
            Ok(()) => {
                path.parent().map_or(Ok(()), sync_directory)?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
        .await
        .context(format!("delete blob {key}"))
    }

    async fn list(&self, name: &str) -> Result<Vec<Stored>> {
        if !is_name(name) {
            return Err(Error::internal(format!("not a realm of blobs: {name:?}")));
        }
        let (path, realm) = (self.root.join(name), name.to_owned());
        let found = blocking(move || {
            let entries = match std::fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry?;
                // One that is deleted while we look is not there.
                let Ok(metadata) = entry.metadata() else { continue };
                let Some(key) = entry.file_name().to_str().and_then(|name| Key::new(&realm, name).ok()) else {
                    continue;
                };
                let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let modified = Timestamp::from_micros(i64::try_from(modified.as_micros()).unwrap_or(i64::MAX));
                found.push(Stored { key, size: metadata.len(), modified });
            }
            Ok(found)
        });
        let mut found = found.await.context("list blobs")?;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
