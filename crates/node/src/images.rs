//! The cache of images.
//!
//! A file is named by image id and SHA-512, is fetched in chunks over the bus, and appears under its name only once
//! every byte of it was hashed, compared and synced. Guests do not refer to the cache: each holds a hard link of its
//! own to the base of its disk. So what is evicted is evicted from the cache only, "in use" is the link count, and a
//! guest's directory has everything that its QEMU needs.

use crate::hypervisor::Failure;
use ferrostack_bus::{Bus, ask};
use ferrostack_contracts::node::{GuestImage, NodeReport, ReportReply};
use ferrostack_types::Error;
use parking_lot::Mutex;
use sha2::{Digest, Sha512};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How much is asked for at once: what the bus carries, with room for the envelope.
const CHUNK: u32 = 512 << 10;

/// The subject that the control plane answers on.
pub(crate) const CONTROL: &str = "control";

/// The cache of images.
pub struct ImageCache {
    dir: Option<PathBuf>,
    bus: Arc<dyn Bus>,
    node: String,
    request_limit: Duration,
    unused_bytes: u64,
    /// One fetch per image at a time; the others wait for it.
    flights: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while linking or evicting.
    files: Mutex<()>,
}

impl ImageCache {
    pub(crate) fn new(
        dir: Option<PathBuf>,
        bus: Arc<dyn Bus>,
        node: String,
        request_limit: Duration,
        unused_bytes: u64,
    ) -> ImageCache {
        if let Some(dir) = &dir {
            remove_partial(dir);
        }
        ImageCache { dir, bus, node, request_limit, unused_bytes, flights: Mutex::default(), files: Mutex::default() }
    }

    /// Makes sure that the image is in the cache.
    pub async fn fetch(&self, image: &GuestImage) -> Result<(), Failure> {
        if !image.sha512.bytes().all(|b| b.is_ascii_hexdigit()) || image.sha512.len() != 128 {
            return Err(Failure::permanent("The image is not usable.", "the image's checksum is not SHA-512 in hex"));
        }
        let name = format!("{}.{}", image.id, image.sha512.to_ascii_lowercase());
        let Some(dir) = &self.dir else { return self.download(image, None).await };
        let path = dir.join(&name);
        let flight = Arc::clone(self.flights.lock().entry(name.clone()).or_default());
        let result = {
            let _alone = flight.lock().await;
            if path.exists() { Ok(()) } else { self.download(image, Some(&path)).await }
        };
        let mut flights = self.flights.lock();
        // Two are this map's and ours: nobody else waits.
        if Arc::strong_count(&flight) == 2 {
            flights.remove(&name);
        }
        result
    }

    /// Gives the image another name, `target`, on the same file system, fetching it first if need be.
    pub async fn link(&self, image: &GuestImage, target: &Path) -> Result<(), Failure> {
        let Some(dir) = &self.dir else {
            return Err(Failure::permanent("The host keeps no disks.", "the agent is not durable"));
        };
        let path = dir.join(format!("{}.{}", image.id, image.sha512.to_ascii_lowercase()));
        for _ in 0..3 {
            self.fetch(image).await?;
            let _files = self.files.lock();
            match fs::hard_link(&path, target) {
                Ok(()) => {
                    // When it was used last, for the eviction. Losing this only makes it look older.
                    let _ = touch(&path);
                    self.evict(dir);
                    return Ok(());
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
                // Evicted since; fetch it again.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Failure::io("link an image", &e)),
            }
        }
        Err(Failure::passing("The host could not prepare the server.", "the image was evicted again and again"))
    }

    async fn download(&self, image: &GuestImage, path: Option<&Path>) -> Result<(), Failure> {
        let temporary = path.map(|path| path.with_extension("partial"));
        let result = self.download_to(image, temporary.as_deref()).await;
        let (Some(path), Some(temporary)) = (path, temporary) else { return result };
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
            return result;
        }
        let sync = || {
            fs::rename(&temporary, path)?;
            File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        sync().map_err(|e| Failure::io("rename an image", &e))
    }

    async fn download_to(&self, image: &GuestImage, path: Option<&Path>) -> Result<(), Failure> {
        let file = path.map(create).transpose().map_err(|e| Failure::io("create an image", &e))?;
        let mut sink = Sink { file, hash: Sha512::new(), written: 0 };
        let mut chunk = self.read(image, 0).await?;
        while !chunk.is_empty() {
            let offset = sink.written + chunk.len() as u64;
            if offset > image.size {
                return Err(Failure::permanent("The image is broken.", format!("image {} is too long", image.id)));
            }
            // The next chunk travels while this one is hashed and written.
            let store = tokio::task::spawn_blocking(move || sink.take(&chunk).map(|()| sink));
            let (stored, next) = futures::join!(store, self.read(image, offset));
            sink = stored
                .map_err(|e| Failure::passing("The host could not prepare the server.", e.to_string()))?
                .map_err(|e| Failure::io("write an image", &e))?;
            chunk = next?;
        }
        let written = sink.written;
        let digest = sink.finish().map_err(|e| Failure::io("sync an image", &e))?;
        if written != image.size || digest != image.sha512.to_ascii_lowercase() {
            let internal = format!("image {}: {written} of {} bytes, SHA-512 {digest}", image.id, image.size);
            return Err(Failure::permanent("The image is broken: its checksum is not what was recorded.", internal));
        }
        Ok(())
    }

    async fn read(&self, image: &GuestImage, offset: u64) -> Result<bytes::Bytes, Failure> {
        if offset >= image.size {
            return Ok(bytes::Bytes::new());
        }
        let report = NodeReport::ReadImage { image: image.id, offset, length: CHUNK };
        match ask(self.bus.as_ref(), &self.node, CONTROL, &report, self.request_limit).await? {
            ReportReply::Bytes(bytes) => Ok(bytes),
            ReportReply::Done => Err(Error::internal("the control plane answered ReadImage without bytes").into()),
        }
    }

    /// Removes images that no guest uses, the longest unused first, until they fit.
    fn evict(&self, dir: &Path) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        let mut unused: Vec<(i64, u64, PathBuf)> = Vec::new();
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let partial = entry.path().extension().is_some_and(|e| e == "partial");
            if meta.nlink() == 1 && !partial {
                unused.push((meta.mtime(), meta.blocks() * 512, entry.path()));
            }
        }
        unused.sort();
        let mut bytes: u64 = unused.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in unused {
            if bytes <= self.unused_bytes {
                break;
            }
            match fs::remove_file(&path) {
                Ok(()) => bytes -= size,
                Err(e) => tracing::warn!(path = %path.display(), error = %e, "an image cannot be evicted"),
            }
        }
    }
}

struct Sink {
    file: Option<File>,
    hash: Sha512,
    written: u64,
}

impl Sink {
    fn take(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        self.hash.update(chunk);
        self.written += chunk.len() as u64;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(chunk))
    }

    fn finish(self) -> std::io::Result<String> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        Ok(hex::encode(self.hash.finalize()))
    }
}

/// Readable by guests' processes, writable by nobody.
fn create(path: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o444).open(path)
}

fn touch(path: &Path) -> std::io::Result<()> {
    rustix::fs::utimensat(
        rustix::fs::CWD,
        path,
        &rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        },
        rustix::fs::AtFlags::empty(),
    )
    .map_err(Into::into)
}

fn remove_partial(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|e| e == "partial") {
            let _ = fs::remove_file(entry.path());
        }
    }
}
