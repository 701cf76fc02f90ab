//! The data directory.

use crate::config::Config;
use ferrostack_types::{Env, Error, Kind, Result, ResultExt};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The data directory, locked for this process.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the directory if it is not there and takes its lock. A second process is refused: two of them on one
    /// SQLite file and one set of guests would fight.
    pub fn open(path: &Path) -> Result<Home> {
        for dir in ["", "db", "keys", "images", "node", "logs", "policy", "ovn"] {
            let dir = path.join(dir);
            std::fs::create_dir_all(&dir).context(format!("make {}", dir.display()))?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o711)).context("protect the data directory")?;
        for secret in ["db", "keys", "images", "policy", "logs"] {
            std::fs::set_permissions(path.join(secret), Permissions::from_mode(0o700))
                .context("protect a directory")?;
        }
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .context("open the lock")?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::unavailable(format!("Another ferrostack process works on {}.", path.display())))?;
        lock.set_len(0).context("write the lock")?;
        writeln!(lock, "{}", std::process::id()).context("write the lock")?;
        Ok(Home { path: path.canonicalize().context("resolve the data directory")?, _lock: lock })
    }

    /// Like [`Home::open`], but waits for a process that is on its way out: one that was killed holds the lock until the
    /// kernel has taken it apart, and whoever restarts it at once must not be refused for that.
    pub async fn open_when_free(path: &Path, env: &Env, limit: Duration) -> Result<Home> {
        let deadline = env.instant() + limit;
        loop {
            match Home::open(path) {
                Err(error) if error.kind() == Kind::Unavailable && env.instant() < deadline => {
                    env.sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, part: &str) -> PathBuf {
        self.path.join(part)
    }

    /// The administrator's password, made at the first start.
    pub fn admin_password(&self, env: &Env) -> Result<String> {
        let file = self.join("keys/admin-password");
        if let Ok(text) = std::fs::read_to_string(&file) {
            let text = text.trim();
            if !text.is_empty() {
                return Ok(text.to_owned());
            }
        }
        let password = env.random_text(24);
        write_private(&file, &password)?;
        Ok(password)
    }

    /// Writes `openrc` and `clouds.yaml` for the stock clients.
    pub fn write_credentials(&self, config: &Config, password: &str) -> Result<()> {
        let (url, region) = (format!("{}/identity/v3", config.api.url()), &config.api.region);
        let openrc = format!(
            "export OS_AUTH_URL={url}\nexport OS_USERNAME=admin\nexport OS_PASSWORD={password}\n\
             export OS_PROJECT_NAME=admin\nexport OS_USER_DOMAIN_NAME=Default\nexport OS_PROJECT_DOMAIN_NAME=Default\n\
             export OS_REGION_NAME={region}\nexport OS_IDENTITY_API_VERSION=3\nexport OS_INTERFACE=public\n"
        );
        let clouds = format!(
            "clouds:\n  ferrostack:\n    auth:\n      auth_url: {url}\n      username: admin\n      password: {password}\n      \
             project_name: admin\n      user_domain_name: Default\n      project_domain_name: Default\n    \
             region_name: {region}\n    interface: public\n    identity_api_version: 3\n"
        );
        write_private(&self.join("openrc"), &openrc)?;
        write_private(&self.join("clouds.yaml"), &clouds)
    }
}

/// Writes a file that only the owner may read, so that it is either the old or the new one, whatever happens.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().context(format!("write {}", path.display()))
}
