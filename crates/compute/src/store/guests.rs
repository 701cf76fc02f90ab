//! `compute_guests`: what is wanted of the nodes, and what they said.

use super::json;
use crate::model::{Guest, Seen, state_of, state_word, want_of, want_word};
use ferrostack_contracts::node::{GuestSpec, ObservedGuest, Want};
use ferrostack_db::{Row, Select, Tx, params};
use ferrostack_types::ids::{ImageId, NodeId, ServerId};
use ferrostack_types::{Error, Result, SortDirection, Timestamp};
use std::collections::HashMap;

macro_rules! columns {
    ($spec:literal) => {
        concat!(
            "SELECT server_id, node_id, generation, want, boot, soft_reboot, ",
            $spec,
            ", pending, seen_generation, seen_sequence, seen_settled, seen_state, seen_boot, seen_error \
             FROM compute_guests"
        )
    };
}

/// With the spec.
const WHOLE: &str = columns!("spec");
/// Without it, which is the larger part of a row.
const LEAN: &str = columns!("NULL");

fn read(row: &Row<'_>) -> Result<Guest> {
    let want: String = row.get(3)?;
    let state: String = row.get(11)?;
    Ok(Guest {
        server: row.get(0)?,
        node: row.get(1)?,
        generation: row.get(2)?,
        want: want_of(&want),
        boot: row.get(4)?,
        soft_reboot: row.get(5)?,
        spec: row.get(6)?,
        pending: row.get(7)?,
        seen: Seen {
            generation: row.get(8)?,
            sequence: row.get(9)?,
            settled: row.get(10)?,
            state: state_of(&state),
            boot: row.get(12)?,
            error: row.json(13)?,
        },
    })
}

/// The guest of a server, without its spec.
pub(crate) fn guest_fetch_in_tx(tx: &mut Tx<'_>, server: ServerId) -> Result<Option<Guest>> {
    Ok(Select::new(LEAN).filter("server_id = ?", server).fetch(tx, read)?.pop())
}

/// The guests of many servers, without their specs.
pub(crate) fn guests_by_id_in_tx(tx: &mut Tx<'_>, servers: &[ServerId]) -> Result<HashMap<ServerId, Guest>> {
    let mut found = HashMap::new();
    for chunk in servers.chunks(500) {
        let guests = Select::new(LEAN).filter_in("server_id", chunk.iter()).fetch(tx, read)?;
        found.extend(guests.into_iter().map(|guest| (guest.server, guest)));
    }
    Ok(found)
}

/// The guests of some servers on one node, with their specs: what the messenger sends.
pub(crate) fn guests_to_send_in_tx(tx: &mut Tx<'_>, node: NodeId, servers: &[ServerId]) -> Result<Vec<Guest>> {
    Select::new(WHOLE).filter("node_id = ?", node).filter_in("server_id", servers.iter()).fetch(tx, read)
}

/// The servers of a node that it should know: everything but what is known to be gone.
pub(crate) fn guests_of_node_in_tx(tx: &mut Tx<'_>, node: NodeId) -> Result<Vec<ServerId>> {
    Select::new("SELECT server_id FROM compute_guests")
        .filter("node_id = ?", node)
        .filter_with("want <> 'absent' OR pending = 1", [])
        .order("server_id", SortDirection::Asc)
        .fetch_scalars(tx)
}

/// All guests without their specs that are not known to be gone.
pub(crate) fn guests_present_in_tx(tx: &mut Tx<'_>) -> Result<Vec<Guest>> {
    Select::new(LEAN).filter_with("want <> 'absent' OR pending = 1", []).fetch(tx, read)
}

/// Guests that have not answered since `before`.
pub(crate) fn guests_silent_in_tx(tx: &mut Tx<'_>, before: Timestamp) -> Result<Vec<(NodeId, ServerId)>> {
    Select::new("SELECT node_id, server_id FROM compute_guests")
        .filter_with("pending = 1", [])
        .filter("asked_at < ?", before)
        .order("asked_at", SortDirection::Asc)
        .limit(Some(2000))
        .fetch(tx, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// These were asked again.
pub(crate) fn guests_asked_in_tx(tx: &mut Tx<'_>, servers: &[ServerId], now: Timestamp) -> Result<()> {
    for server in servers {
        tx.execute("UPDATE compute_guests SET asked_at = ? WHERE server_id = ?", params![now, server])?;
    }
    Ok(())
}

/// Wants a new guest on a node; a row of an earlier try (known to be gone) is used again, so that generations only grow.
pub(crate) fn guest_assign_in_tx(
    tx: &mut Tx<'_>,
    server: ServerId,
    node: NodeId,
    image: ImageId,
    spec: &GuestSpec,
    now: Timestamp,
) -> Result<()> {
    let spec = json(spec)?;
    let changed = tx.execute(
        "UPDATE compute_guests SET node_id = ?, generation = generation + 1, want = 'running', boot = boot + 1,
             soft_reboot = 0, spec = ?, image_id = ?, pending = 1, asked_at = ?, seen_generation = 0,
             seen_sequence = -1, seen_settled = 0, seen_state = 'preparing', seen_boot = 0, seen_error = NULL
         WHERE server_id = ?",
        params![node, &spec, image, now, server],
    )?;
    if changed == 0 {
        tx.execute(
            "INSERT INTO compute_guests (server_id, node_id, generation, want, boot, soft_reboot, spec, image_id,
                 pending, asked_at, seen_generation, seen_sequence, seen_settled, seen_state, seen_boot, seen_error)
             VALUES (?, ?, 1, 'running', 1, 0, ?, ?, 1, ?, 0, -1, 0, 'preparing', 0, NULL)",
            params![server, node, &spec, image, now],
        )?;
    }
    Ok(())
}

/// Wants something else of a guest.
pub(crate) fn guest_want_in_tx(tx: &mut Tx<'_>, server: ServerId, want: Want, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE compute_guests SET generation = generation + 1, want = ?, pending = 1, asked_at = ?
         WHERE server_id = ?",
        params![want_word(want), now, server],
    )?;
    Ok(())
}

/// Wants a guest to run anew.
pub(crate) fn guest_reboot_in_tx(tx: &mut Tx<'_>, server: ServerId, soft: bool, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE compute_guests SET generation = generation + 1, want = 'running', boot = boot + 1, soft_reboot = ?,
             pending = 1, asked_at = ? WHERE server_id = ?",
        params![soft, now, server],
    )?;
    Ok(())
}

/// Changes what a guest is told about itself. Nothing if it is on its way out.
pub(crate) fn guest_change_spec_in_tx(
    tx: &mut Tx<'_>,
    server: ServerId,
    now: Timestamp,
    change: impl FnOnce(&mut GuestSpec),
) -> Result<Option<NodeId>> {
    let found = Select::new(WHOLE).filter("server_id = ?", server).fetch(tx, read)?.pop();
    let Some((guest, text)) = found.and_then(|g| g.spec.clone().map(|s| (g, s))) else { return Ok(None) };
    if guest.want == Want::Absent {
        return Ok(None);
    }
    let mut spec: GuestSpec = serde_json::from_str(&text).map_err(|e| Error::from_source("read a guest's spec", e))?;
    change(&mut spec);
    tx.execute(
        "UPDATE compute_guests SET generation = generation + 1, spec = ?, pending = 1, asked_at = ?
         WHERE server_id = ?",
        params![json(&spec)?, now, server],
    )?;
    Ok(Some(guest.node))
}

/// Forgets the administrator's password: the node has it by now.
pub(crate) fn guest_forget_password_in_tx(tx: &mut Tx<'_>, server: ServerId) -> Result<()> {
    let text: Option<Option<String>> =
        tx.query_opt("SELECT spec FROM compute_guests WHERE server_id = ?", params![server], |row| row.get(0))?;
    let Some(text) = text.flatten() else { return Ok(()) };
    let mut spec: GuestSpec = serde_json::from_str(&text).map_err(|e| Error::from_source("read a guest's spec", e))?;
    if spec.metadata.admin_password.take().is_some() {
        tx.execute("UPDATE compute_guests SET spec = ? WHERE server_id = ?", params![json(&spec)?, server])?;
    }
    Ok(())
}

/// Takes an observation if it is newer than what we have and comes from the guest's node. True if it was taken.
pub(crate) fn guest_observe_in_tx(tx: &mut Tx<'_>, node: NodeId, seen: &ObservedGuest, pending: bool) -> Result<bool> {
    let error = seen.error.as_ref().map(json).transpose()?;
    let changed = tx.execute(
        "UPDATE compute_guests SET seen_generation = ?, seen_sequence = ?, seen_settled = ?, seen_state = ?,
             seen_boot = ?, seen_error = ?, pending = ?
         WHERE server_id = ? AND node_id = ? AND seen_sequence < ?",
        params![
            seen.generation,
            seen.sequence,
            seen.settled,
            state_word(seen.state),
            seen.boot,
            error,
            pending,
            seen.server,
            node,
            seen.sequence
        ],
    )?;
    Ok(changed == 1)
}

/// Whether a guest of the node boots from the image.
pub(crate) fn image_used_on_node_in_tx(tx: &mut Tx<'_>, node: NodeId, image: ImageId) -> Result<bool> {
    tx.exists(
        "SELECT 1 FROM compute_guests WHERE node_id = ? AND image_id = ? AND want <> 'absent' LIMIT 1",
        params![node, image],
    )
}
