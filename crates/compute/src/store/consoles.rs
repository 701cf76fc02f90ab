//! `compute_consoles`: console tokens, stored hashed.

use ferrostack_contracts::node::ConsoleKind;
use ferrostack_db::{Tx, params};
use ferrostack_types::ids::{NodeId, ServerId};
use ferrostack_types::{Result, Timestamp};
use sha2::{Digest, Sha256};

/// What is stored of a token: it is random, so a plain hash cannot be turned round.
pub(crate) fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Stores a token.
pub(crate) fn console_insert_in_tx(
    tx: &mut Tx<'_>,
    hash: &str,
    server: ServerId,
    node: NodeId,
    kind: ConsoleKind,
    expires_at: Timestamp,
) -> Result<()> {
    let kind = match kind {
        ConsoleKind::Vnc => "vnc",
        ConsoleKind::Serial => "serial",
    };
    tx.execute(
        "INSERT INTO compute_consoles (token_hash, server_id, node_id, kind, expires_at) VALUES (?, ?, ?, ?, ?)",
        params![hash, server, node, kind, expires_at],
    )?;
    Ok(())
}

/// Takes a token away; what it was good for, unless its time is over or its server has gone elsewhere.
pub(crate) fn console_redeem_in_tx(
    tx: &mut Tx<'_>,
    hash: &str,
    now: Timestamp,
) -> Result<Option<(NodeId, ServerId, ConsoleKind)>> {
    let found: Option<(NodeId, ServerId, String)> = tx.query_opt(
        "SELECT c.node_id, c.server_id, c.kind FROM compute_consoles c JOIN compute_servers s ON s.id = c.server_id
         WHERE c.token_hash = ? AND c.expires_at > ? AND s.deleted_at IS NULL AND s.node_id = c.node_id",
        params![hash, now],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let taken = tx.execute("DELETE FROM compute_consoles WHERE token_hash = ?", params![hash])?;
    Ok(found
        .filter(|_| taken == 1)
        .map(|(node, server, kind)| (node, server, if kind == "vnc" { ConsoleKind::Vnc } else { ConsoleKind::Serial })))
}

/// Takes away what nobody came for.
pub(crate) fn consoles_purge_in_tx(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize> {
    tx.execute("DELETE FROM compute_consoles WHERE expires_at <= ?", params![now])
}
