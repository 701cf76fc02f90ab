//! Bringing a schema up to date. The one source of schema: there is no second way to create a table.

use crate::{Db, Tx, params};
use ferrostack_types::{Env, Error, Result};
use sha2::{Digest, Sha256};

/// One step of a service's schema. Never changed once released: a later step corrects it.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The service: its tables begin with this name.
    pub service: &'static str,
    /// From 1 on without gaps.
    pub version: u32,
    /// Statements in portable SQL, separated by `;` at a line's end.
    pub sql: &'static str,
}

pub(crate) async fn run(db: &Db, services: &[&'static [Migration]], env: &Env) -> Result<()> {
    let now = env.now();
    db.write("migrate", |tx| {
        tx.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                service VARCHAR(64) NOT NULL, version INTEGER NOT NULL, checksum VARCHAR(64) NOT NULL,
                applied_at BIGINT NOT NULL, PRIMARY KEY (service, version))",
            params![],
        )
        .map(|_| ())
    })
    .await?;
    for migrations in services {
        for (index, migration) in migrations.iter().enumerate() {
            if migration.version as usize != index + 1 {
                return Err(Error::internal(format!(
                    "migrations of {} have a gap at {}",
                    migration.service,
                    index + 1
                )));
            }
            let migration = *migration;
            db.write("migrate", move |tx| apply(tx, &migration, now)).await?;
        }
    }
    Ok(())
}

fn apply(tx: &mut Tx<'_>, migration: &Migration, now: ferrostack_types::Timestamp) -> Result<()> {
    let checksum = hex::encode(Sha256::digest(migration.sql.as_bytes()));
    let applied: Option<String> = tx.query_opt(
        "SELECT checksum FROM schema_migrations WHERE service = ? AND version = ?",
        params![migration.service, migration.version],
        |row| row.get(0),
    )?;
    match applied {
        Some(found) if found == checksum => return Ok(()),
        Some(_) => {
            return Err(Error::internal(format!(
                "migration {} of {} is not the one that this database was made with",
                migration.version, migration.service
            )));
        }
        None => {}
    }
    for statement in migration.sql.split(";\n").map(str::trim).filter(|s| !s.is_empty()) {
        tx.execute(statement.trim_end_matches(';'), params![])
            .map_err(|e| e.context(format!("migration {} of {}", migration.version, migration.service)))?;
    }
    tx.execute(
        "INSERT INTO schema_migrations (service, version, checksum, applied_at) VALUES (?, ?, ?, ?)",
        params![migration.service, migration.version, checksum, now],
    )?;
    Ok(())
}
