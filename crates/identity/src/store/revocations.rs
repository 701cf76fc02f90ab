//! Tokens that were revoked one by one. Everything else that ends a token is read from what it names.

use ferrostack_db::{Tx, params};
use ferrostack_types::{Result, Timestamp};

/// Revokes the token of this audit id until it could not be valid any more, and forgets older ones.
pub(crate) fn revocation_insert(tx: &mut Tx<'_>, audit_id: &str, keep_until: Timestamp, now: Timestamp) -> Result<()> {
    tx.execute("DELETE FROM identity_revoked_tokens WHERE keep_until < ?", params![now])?;
    if !revocation_exists(tx, audit_id)? {
        tx.execute(
            "INSERT INTO identity_revoked_tokens (audit_id, keep_until) VALUES (?, ?)",
            params![audit_id, keep_until],
        )?;
    }
    Ok(())
}

pub(crate) fn revocation_exists(tx: &mut Tx<'_>, audit_id: &str) -> Result<bool> {
    tx.exists("SELECT 1 FROM identity_revoked_tokens WHERE audit_id = ?", params![audit_id])
}
