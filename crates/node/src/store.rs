//! The state directory.
//!
//! ```text
//!  agent.lock                  held by the one agent that uses the directory
//!  node-id                     made at the first start
//!  sequence                    observations up to this number may have been sent
//!  guests/<server>/wanted.json written and synced before a Converge is answered
//!  guests/<server>/running.json what is known about the guest's runs
//!  removing/<server>           a guest's directory on its way out: renamed first, so that it is never half there
//!  tombstones/<server>         the generation of a guest that is gone
//!  images/                     the cache
//! ```
//!
//! Everything is written to a temporary file and renamed. `wanted.json` and tombstones are synced, because an answer
//! depends on them; `running.json` is not, because after a loss of power nothing runs anyway.

use crate::plan::RunRecord;
use ferrostack_contracts::node::WantedGuest;
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Env, Error, Result, ResultExt, Timestamp};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A guest that is gone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    pub generation: u64,
    pub at: Timestamp,
}

/// What was found at the start.
#[derive(Default)]
pub(crate) struct Loaded {
    pub guests: Vec<WantedGuest>,
    pub tombstones: Vec<(ServerId, Tombstone)>,
}

/// The state directory, or nothing at all.
#[derive(Clone)]
pub(crate) struct Store {
    root: Option<PathBuf>,
    /// Locked while an agent uses the directory.
    lock: Option<Arc<File>>,
}

impl Store {
    /// Makes the directories. Without a root nothing is ever kept.
    pub fn open(root: Option<PathBuf>) -> Result<Store> {
        if let Some(root) = &root {
            for name in ["guests", "removing", "tombstones", "images"] {
                // Guests' own processes, which run as another user, must be able to pass.
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o711)
                    .create(root.join(name))
                    .context("make the state directory")?;
            }
        }
        let lock = match &root {
            Some(root) => Some(Arc::new(File::create(root.join("agent.lock")).context("open the agent's lock")?)),
            None => None,
        };
        Ok(Store { root, lock })
    }

    /// Takes the directory for this agent. False if another one has it.
    pub fn lock(&self) -> Result<bool> {
        let Some(lock) = &self.lock else { return Ok(true) };
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(e) => Err(Error::from_source("lock the state directory", e)),
        }
    }

    /// The node's id, made at the first start.
    pub fn node_id(&self, env: &Env) -> Result<NodeId> {
        let Some(root) = &self.root else { return Ok(NodeId(env.uuid())) };
        let path = root.join("node-id");
        match fs::read_to_string(&path) {
            Ok(text) => NodeId::parse(text.trim()).ok_or_else(|| Error::internal("the file node-id holds no id")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let id = NodeId(env.uuid());
                write_synced(&path, format!("{id}\n").as_bytes())?;
                Ok(id)
            }
            Err(e) => Err(Error::from_source("read node-id", e)),
        }
    }

    /// The first of `count` sequence numbers that were never used, not even by an agent that died.
    pub fn reserve_sequence(&self, now: Timestamp, count: u64) -> Result<u64> {
        let now = u64::try_from(now.as_micros()).unwrap_or(0);
        let Some(root) = &self.root else { return Ok(now) };
        let path = root.join("sequence");
        let used: u64 = read_json(&path)?.unwrap_or(0);
        let first = used.max(now);
        write_synced(&path, (first + count).to_string().as_bytes())?;
        Ok(first)
    }

    /// Where a guest's things are.
    pub fn guest_dir(&self, server: ServerId) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join("guests").join(server.to_string()))
    }

    /// Where images are kept.
    pub fn images_dir(&self) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join("images"))
    }

    /// Reads everything, and finishes what a predecessor was removing.
    pub fn load(&self, forget_before: Timestamp) -> Result<Loaded> {
        let mut loaded = Loaded::default();
        let Some(root) = &self.root else { return Ok(loaded) };
        for (_, path) in entries(&root.join("removing"))? {
            fs::remove_dir_all(&path).context("finish a removal")?;
        }
        for (server, path) in entries(&root.join("guests"))? {
            match read_json::<WantedGuest>(&path.join("wanted.json")) {
                Ok(Some(wanted)) => loaded.guests.push(wanted),
                // The very first write of it was cut short: nobody was told that it is here, and nothing was started.
                Ok(None) => self.remove_guest(server)?,
                // Left alone, so that the other guests have their agent; the next wish for it is written over this one.
                Err(error) => tracing::error!(%server, error = error.internal_text(), "a guest cannot be read"),
            }
        }
        for (server, path) in entries(&root.join("tombstones"))? {
            match read_json::<Tombstone>(&path)? {
                Some(tombstone) if tombstone.at >= forget_before => loaded.tombstones.push((server, tombstone)),
                _ => fs::remove_file(&path).context("forget a tombstone")?,
            }
        }
        Ok(loaded)
    }

    /// Keeps what is wanted. When it returns, it is on the disk.
    pub fn save_wanted(&self, guests: &[WantedGuest]) -> Result<()> {
        for wanted in guests {
            let Some(dir) = self.guest_dir(wanted.server) else { continue };
            match fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => sync_dir(&dir)?,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::from_source("make a guest's directory", e)),
            }
            let text = serde_json::to_vec_pretty(wanted).context("write a wanted guest")?;
            write_synced(&dir.join("wanted.json"), &text)?;
        }
        Ok(())
    }

    /// What is known about a guest's runs.
    pub fn load_record(&self, server: ServerId) -> Result<RunRecord> {
        let Some(dir) = self.guest_dir(server) else { return Ok(RunRecord::default()) };
        Ok(read_json(&dir.join("running.json"))?.unwrap_or_default())
    }

    /// Keeps what is known about a guest's runs.
    pub fn save_record(&self, server: ServerId, record: &RunRecord) -> Result<()> {
        let Some(dir) = self.guest_dir(server) else { return Ok(()) };
        let text = serde_json::to_vec(record).context("write a guest's record")?;
        write(&dir.join("running.json"), &text, false)
    }

    /// Remembers that a guest is gone.
    pub fn save_tombstone(&self, server: ServerId, tombstone: Tombstone) -> Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let text = serde_json::to_vec(&tombstone).context("write a tombstone")?;
        write_synced(&root.join("tombstones").join(server.to_string()), &text)
    }

    /// Forgets that a guest is gone.
    pub fn remove_tombstone(&self, server: ServerId) -> Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        match fs::remove_file(root.join("tombstones").join(server.to_string())) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::from_source("forget a tombstone", e)),
            _ => Ok(()),
        }
    }

    /// Removes a guest's directory.
    pub fn remove_guest(&self, server: ServerId) -> Result<()> {
        let (Some(root), Some(dir)) = (&self.root, self.guest_dir(server)) else { return Ok(()) };
        let away = root.join("removing").join(server.to_string());
        match fs::rename(&dir, &away) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => other.context("move a guest's directory away")?,
        }
        match fs::remove_dir_all(&away) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from_source("remove a guest's directory", e))
            }
            _ => Ok(()),
        }
    }
}

fn entries(dir: &Path) -> Result<Vec<(ServerId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).context("list the state directory")? {
        let entry = entry.context("list the state directory")?;
        if let Some(server) = entry.file_name().to_str().and_then(ServerId::parse) {
            found.push((server, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).context(format!("read {}", path.display()))?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from_source(format!("read {}", path.display()), e)),
    }
}

/// Writes a file whole or not at all, and durably.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, true)
}

fn write(path: &Path, bytes: &[u8], synced: bool) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let doing = || format!("write {}", path.display());
    // Passwords may be inside.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).context(doing())?;
    file.write_all(bytes).context(doing())?;
    if synced {
        file.sync_data().context(doing())?;
    }
    fs::rename(&temporary, path).context(doing())?;
    if synced {
        sync_dir(path)?;
    }
    Ok(())
}

/// Makes the name of a new or renamed file durable.
fn sync_dir(of: &Path) -> Result<()> {
    let parent = of.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).context(format!("sync {}", parent.display()))
}
