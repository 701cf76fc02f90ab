//! A real database in a temporary directory, for tests.

use crate::{Db, Durability, Migration, SqliteConfig};
use ferrostack_types::Env;
use tempfile::TempDir;

/// A database that is removed with this value.
pub struct TestDb {
    /// The handle.
    pub db: Db,
    dir: TempDir,
}

impl TestDb {
    /// A fresh database with these schemas.
    pub async fn new(migrations: &[&'static [Migration]]) -> TestDb {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let db = open(&dir, migrations).await;
        TestDb { db, dir }
    }

    /// Opens the same file a second time, as a restarted process would.
    pub async fn reopen(&self, migrations: &[&'static [Migration]]) -> Db {
        open(&self.dir, migrations).await
    }
}

async fn open(dir: &TempDir, migrations: &[&'static [Migration]]) -> Db {
    let mut config = SqliteConfig::new(dir.path().join("test.sqlite"));
    config.durability = Durability::ProcessOnly;
    Db::sqlite(config, migrations, &Env::system()).await.expect("the test database opens")
}
