//! `network_networks`.

use super::{fetch_in, json};
use crate::errors;
use crate::model::NetworkRow;
use ferrostack_db::{Tx, is_unique_violation, params};
use ferrostack_types::Result;
use ferrostack_types::ids::NetworkId;

pub(crate) const TABLE: &str = "network_networks";

fn select() -> String {
    format!("SELECT {} FROM {TABLE}", NetworkRow::COLUMNS)
}

pub(crate) fn network_fetch(tx: &mut Tx<'_>, id: NetworkId) -> Result<NetworkRow> {
    tx.query_opt(&format!("{} WHERE id = ?", select()), params![id], NetworkRow::read)?
        .ok_or_else(|| errors::network_not_found(id))
}

pub(crate) fn network_fetch_many(tx: &mut Tx<'_>, ids: &[NetworkId]) -> Result<Vec<NetworkRow>> {
    fetch_in(tx, &select(), "id", "", ids, NetworkRow::read)
}

pub(crate) fn network_insert_in_tx(tx: &mut Tx<'_>, n: &NetworkRow) -> Result<()> {
    let sql = "INSERT INTO network_networks (id, project_id, name, description, admin_state_up, shared, external, is_default, mtu,
         port_security_enabled, network_type, physical_network, segmentation_id, segment_key, az_hints, created_at,
         updated_at, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let s = &n.standard;
    let values = params![
        n.id,
        &s.project_id,
        &n.name,
        &s.description,
        n.admin_state_up,
        n.shared,
        n.external,
        n.is_default,
        n.mtu,
        n.port_security,
        &n.network_type,
        n.physical_network.clone(),
        n.segmentation_id,
        n.segment_key(),
        json(&n.az_hints),
        s.created_at,
        s.updated_at,
        s.revision
    ];
    tx.execute(sql, values)
        .map(drop)
        .map_err(|error| if is_unique_violation(&error) { segment_in_use(n) } else { error })
}

fn segment_in_use(n: &NetworkRow) -> ferrostack_types::Error {
    let physical = n.physical_network.as_deref().unwrap_or_default();
    match (n.network_type.as_str(), n.segmentation_id) {
        ("flat", _) => errors::conflict(
            "FlatNetworkInUse",
            format!("Unable to create the flat network. Physical network {physical} is in use."),
        ),
        ("vlan", Some(id)) => errors::conflict(
            "VlanIdInUse",
            format!("Unable to create the network. The VLAN {id} on physical network {physical} is in use."),
        ),
        (_, id) => errors::conflict(
            "TunnelIdInUse",
            format!("Unable to create the network. The tunnel ID {} is in use.", id.unwrap_or_default()),
        ),
    }
}

/// Writes all that may change. The revision is the row's, raised by the caller.
pub(crate) fn network_update_in_tx(tx: &mut Tx<'_>, n: &NetworkRow) -> Result<()> {
    let s = &n.standard;
    tx.execute(
        "UPDATE network_networks SET name = ?, description = ?, admin_state_up = ?, shared = ?, external = ?, is_default = ?,
         mtu = ?, port_security_enabled = ?, updated_at = ?, revision = ? WHERE id = ?",
        params![
            &n.name, &s.description, n.admin_state_up, n.shared, n.external, n.is_default, n.mtu, n.port_security,
            s.updated_at, s.revision, n.id
        ],
    )
    .map(drop)
}

pub(crate) fn network_delete_in_tx(tx: &mut Tx<'_>, id: NetworkId) -> Result<()> {
    tx.execute("DELETE FROM network_networks WHERE id = ?", params![id]).map(drop)
}
