//! `compute_keypairs`.

use super::counter_take_in_tx;
use ferrostack_db::{Row, Select, Tx, params};
use ferrostack_types::ids::UserId;
use ferrostack_types::{Error, Result, SortDirection, Timestamp};

/// A key pair; only its public half is ever stored.
#[derive(Debug, Clone)]
pub(crate) struct Keypair {
    pub(crate) number: u64,
    pub(crate) user: UserId,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) fingerprint: String,
    pub(crate) public_key: String,
    pub(crate) created_at: Timestamp,
}

const SELECT: &str = "SELECT number, user_id, name, type, fingerprint, public_key, created_at FROM compute_keypairs";

fn read(row: &Row<'_>) -> Result<Keypair> {
    Ok(Keypair {
        number: row.get(0)?,
        user: row.get(1)?,
        name: row.get(2)?,
        kind: row.get(3)?,
        fingerprint: row.get(4)?,
        public_key: row.get(5)?,
        created_at: row.get(6)?,
    })
}

/// One key pair of a user.
pub(crate) fn keypair_fetch_in_tx(tx: &mut Tx<'_>, user: &UserId, name: &str) -> Result<Option<Keypair>> {
    Ok(Select::new(SELECT).filter("user_id = ?", user).filter("name = ?", name).fetch(tx, read)?.pop())
}

/// A page of a user's key pairs by name.
pub(crate) fn keypair_list_in_tx(
    tx: &mut Tx<'_>,
    user: &UserId,
    marker: Option<&str>,
    limit: Option<usize>,
) -> Result<Vec<Keypair>> {
    let mut select = Select::new(SELECT).filter("user_id = ?", user).order("name", SortDirection::Asc);
    if let Some(marker) = marker {
        if keypair_fetch_in_tx(tx, user, marker)?.is_none() {
            return Err(Error::invalid(format!("marker [{marker}] not found")));
        }
        select = select.after(params![marker]);
    }
    select.limit(limit).fetch(tx, read)
}

/// Writes a new key pair; 409 if the name is taken.
pub(crate) fn keypair_insert_in_tx(tx: &mut Tx<'_>, pair: &Keypair) -> Result<()> {
    if keypair_fetch_in_tx(tx, &pair.user, &pair.name)?.is_some() {
        return Err(Error::conflict(format!("Key pair '{}' already exists.", pair.name)));
    }
    let number = counter_take_in_tx(tx, "keypairs", 1)?;
    tx.execute(
        "INSERT INTO compute_keypairs (user_id, name, number, type, fingerprint, public_key, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
        params![&pair.user, &pair.name, number, &pair.kind, &pair.fingerprint, &pair.public_key, pair.created_at],
    )?;
    Ok(())
}

/// Takes a key pair away.
pub(crate) fn keypair_delete_in_tx(tx: &mut Tx<'_>, user: &UserId, name: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM compute_keypairs WHERE user_id = ? AND name = ?", params![user, name])? == 1)
}
