//! The key repository, laid out as `keystone-manage fernet_setup` makes it, so that either can use the other's.
//!
//! A directory (0700) of files named by number (0600). The highest is the primary: it seals. All of them open. `0` is
//! staged: it will be the next primary, so that every control node can open a new primary's tokens before it is used.
//!
//! A repository is made whole under another name and renamed into place, so that two processes that start at once, or
//! one that is killed half-way, never leave a torn one.

use super::fernet::Key;
use ferrostack_types::{Env, Error, Result, ResultExt};
use parking_lot::{Mutex, RwLock};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the directory is looked at for a rotation by another process.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The keys of a repository.
pub(crate) struct KeyRing {
    dir: PathBuf,
    env: Env,
    /// Primary first.
    keys: RwLock<Arc<[Key]>>,
    seen: Mutex<(tokio::time::Instant, Option<SystemTime>)>,
}

impl KeyRing {
    /// Opens the repository, making it first if it is not there.
    pub(crate) fn open(dir: &Path, env: &Env) -> Result<KeyRing> {
        if !dir.exists() {
            create(dir, env)?;
        }
        let keys = load(dir)?;
        let seen = Mutex::new((env.instant() + LOOK_EVERY, modified(dir)));
        Ok(KeyRing { dir: dir.to_owned(), env: env.clone(), keys: RwLock::new(keys), seen })
    }

    /// All keys, primary first.
    pub(crate) fn keys(&self) -> Arc<[Key]> {
        self.reload_if_changed();
        Arc::clone(&self.keys.read())
    }

    /// A repository that cannot be read at the moment keeps the keys that were in force.
    fn reload_if_changed(&self) {
        let now = self.env.instant();
        let mut seen = self.seen.lock();
        if now < seen.0 {
            return;
        }
        seen.0 = now + LOOK_EVERY;
        let modified = modified(&self.dir);
        if modified == seen.1 {
            return;
        }
        match load(&self.dir) {
            Ok(keys) => {
                *self.keys.write() = keys;
                seen.1 = modified;
                tracing::info!("token keys read again");
            }
            Err(error) => tracing::error!(?error, "token keys cannot be read; the old ones stay in use"),
        }
    }

    /// Makes the staged key the primary, stages a new one, and removes the oldest beyond `max_active`.
    pub(crate) fn rotate(&self, max_active: usize) -> Result<()> {
        let mut numbers = numbers(&self.dir)?;
        let next = numbers.last().copied().unwrap_or(0) + 1;
        fs::rename(self.dir.join("0"), self.dir.join(next.to_string())).context("promote the staged token key")?;
        let staged = self.dir.join(".new");
        drop(fs::remove_file(&staged));
        write_key(&staged, &self.env)?;
        fs::rename(&staged, self.dir.join("0")).context("stage a token key")?;
        numbers.push(next);
        numbers.retain(|n| *n != 0);
        let surplus = (numbers.len() + 1).saturating_sub(max_active.max(2));
        for number in &numbers[..surplus] {
            fs::remove_file(self.dir.join(number.to_string())).context("remove an old token key")?;
        }
        sync_dir(&self.dir)?;
        *self.keys.write() = load(&self.dir)?;
        Ok(())
    }
}

fn create(dir: &Path, env: &Env) -> Result<()> {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).context("make the directory above the token keys")?;
    let fresh = parent.join(format!(".token-keys-{}", env.hex_id()));
    fs::DirBuilder::new().mode(0o700).create(&fresh).context("make the token key directory")?;
    write_key(&fresh.join("0"), env)?;
    write_key(&fresh.join("1"), env)?;
    sync_dir(&fresh)?;
    if let Err(error) = fs::rename(&fresh, dir) {
        drop(fs::remove_dir_all(&fresh));
        // Somebody else made it in the meantime: theirs is as good.
        if !dir.exists() {
            return Err(Error::from_source("put the token keys in place", error));
        }
    }
    sync_dir(parent)
}

fn write_key(path: &Path, env: &Env) -> Result<()> {
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).context("make a token key file")?;
    file.write_all(Key::generate(env).as_bytes()).context("write a token key")?;
    file.sync_all().context("write a token key")
}

fn sync_dir(dir: &Path) -> Result<()> {
    fs::File::open(dir).and_then(|d| d.sync_all()).context("sync the token key directory")
}

fn modified(dir: &Path) -> Option<SystemTime> {
    fs::metadata(dir).and_then(|m| m.modified()).ok()
}

/// The numbers of the key files, ascending. Other names are nobody's business, as in Keystone.
fn numbers(dir: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = fs::read_dir(dir)
        .context("read the token key directory")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn load(dir: &Path) -> Result<Arc<[Key]>> {
    let mode = fs::metadata(dir).context("look at the token key directory")?.permissions().mode();
    if mode & 0o007 != 0 {
        tracing::warn!(mode = format!("{mode:o}"), "the token key directory is open to every user of this machine");
    }
    let mut keys = Vec::new();
    for number in numbers(dir)?.into_iter().rev() {
        let text = fs::read_to_string(dir.join(number.to_string())).context("read a token key")?;
        match Key::parse(&text) {
            Some(key) => keys.push(key),
            // A half-written key of a careless tool must not stop the cloud; it could not have sealed anything.
            None => tracing::error!(number, "a token key file does not hold a key"),
        }
    }
    if keys.is_empty() {
        return Err(Error::internal("the token key directory holds no key"));
    }
    Ok(keys.into())
}

#[cfg(test)]
mod tests {
    use super::super::fernet;
    use super::*;
    use ferrostack_types::Timestamp;

    #[tokio::test]
    async fn makes_a_private_repository_once_and_rotates() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("keys");
        let env = Env::system();
        let ring = KeyRing::open(&dir, &env).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        for name in ["0", "1"] {
            assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let token = ring.keys()[0].seal(&env, Timestamp::from_secs(1), b"x");
        let again = KeyRing::open(&dir, &env).unwrap();
        assert!(fernet::open(&again.keys(), &token).is_some(), "a second start finds the same keys");
        again.rotate(3).unwrap();
        assert_eq!(numbers(&dir).unwrap(), [0, 1, 2]);
        assert!(fernet::open(&again.keys(), &token).is_some(), "the old primary still opens");
        again.rotate(3).unwrap();
        assert_eq!(numbers(&dir).unwrap(), [0, 2, 3]);
        assert!(fernet::open(&again.keys(), &token).is_none(), "a removed key opens nothing");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside the repository");
    }
}
