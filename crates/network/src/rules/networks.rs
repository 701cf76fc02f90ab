//! Networks.

use super::ports::port_remove_in_tx;
use super::{groups, subnets};
use crate::cx::WriteCx;
use crate::errors;
use crate::model::NetworkRow;
use crate::store::networks::{network_delete_in_tx, network_fetch, network_insert_in_tx};
use crate::store::ports::metadata_ports;
use crate::store::quotas::{self, quota_check_in_tx};
use crate::store::subnets::{subnet_delete_in_tx, subnets_of_networks};
use crate::store::tags;
use ferrostack_db::{Tx, params};
use ferrostack_ovn::northbound::Key;
use ferrostack_types::Result;
use ferrostack_types::ids::NetworkId;

/// Bytes that a Geneve tunnel takes of every packet.
pub(crate) const GENEVE_OVERHEAD: u32 = 58;
/// Geneve's ids have 24 bits.
const GENEVE_IDS: u32 = 1 << 24;

/// Makes a network. A tunnelled one without an id gets a free one.
pub(crate) fn network_create_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    mut network: NetworkRow,
    tags: &[String],
) -> Result<NetworkRow> {
    let project = network.standard.project_id.clone();
    if !project.is_empty() {
        groups::default_group_in_tx(tx, cx, &project)?;
    }
    quota_check_in_tx(tx, &project, quotas::NETWORK, 1)?;
    if network.network_type == "geneve" && network.segmentation_id.is_none() {
        network.segmentation_id = Some(free_tunnel_id(tx, cx)?);
    }
    check_default(tx, &network)?;
    network_insert_in_tx(tx, &network)?;
    tags::tags_set_in_tx(tx, &network.id.to_string(), tags)?;
    cx.mark(tx, Key::Network(network.id))?;
    Ok(network)
}

fn free_tunnel_id(tx: &mut Tx<'_>, cx: &WriteCx) -> Result<i64> {
    for _ in 0..64 {
        let id = i64::from(u32::from_le_bytes(cx.env.random()) % (GENEVE_IDS - 1) + 1);
        let key = format!("geneve:-:{id}");
        if !tx.exists("SELECT 1 FROM network_networks WHERE segment_key = ?", params![key])? {
            return Ok(id);
        }
    }
    Err(ferrostack_types::Error::unavailable(
        "Unable to create the network. No project network is available for allocation.",
    )
    .with_code("NoNetworkAvailable"))
}

/// Only one network may be the default external one.
pub(crate) fn check_default(tx: &mut Tx<'_>, network: &NetworkRow) -> Result<()> {
    if !network.is_default {
        return Ok(());
    }
    let taken = "SELECT 1 FROM network_networks WHERE is_default = 1 AND external = 1 AND id <> ?";
    if network.external && tx.exists(taken, params![network.id])? {
        return Err(errors::conflict("DefaultExternalNetworkExists", "A default external network already exists."));
    }
    Ok(())
}

/// Refuses to take away what others rely on: `shared` while other projects have ports, `external` while routers have
/// gateways.
pub(crate) fn check_narrowing(tx: &mut Tx<'_>, before: &NetworkRow, after: &NetworkRow) -> Result<()> {
    if before.shared && !after.shared {
        let others = "SELECT 1 FROM network_ports WHERE network_id = ? AND project_id <> ? AND project_id <> ''";
        if tx.exists(others, params![before.id, &before.standard.project_id])? {
            return Err(errors::conflict(
                "InvalidSharedSetting",
                format!(
                    "Unable to reconfigure sharing settings for network {}. Multiple projects are using it.",
                    before.name
                ),
            ));
        }
    }
    if before.external && !after.external {
        let gateways = "SELECT 1 FROM network_ports WHERE network_id = ? AND role IN ('gateway', 'floating')";
        if tx.exists(gateways, params![before.id])? {
            return Err(errors::conflict(
                "ExternalNetworkInUse",
                format!(
                    "External network {} cannot be updated to be made non-external, since it has existing gateway ports.",
                    before.id
                ),
            ));
        }
    }
    Ok(())
}

/// Deletes a network with its subnets and its metadata port, unless somebody has a port on it.
pub(crate) fn network_delete_checked_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, id: NetworkId) -> Result<()> {
    network_fetch(tx, id)?;
    let used: Vec<String> = tx.query(
        "SELECT id FROM network_ports WHERE network_id = ? AND role <> 'metadata' ORDER BY id LIMIT 20",
        params![id],
        |row| row.get(0),
    )?;
    if !used.is_empty() {
        let reason = format!(
            "There are one or more ports still in use on the network, id for these ports is: {}",
            used.join(",")
        );
        return Err(errors::network_in_use(id, reason));
    }
    for port in metadata_ports(tx, &[id])? {
        port_remove_in_tx(tx, cx, &port.row)?;
    }
    for subnet in subnets_of_networks(tx, &[id])? {
        tags::tags_clear_in_tx(tx, &subnet.id.to_string())?;
        subnet_delete_in_tx(tx, subnet.id)?;
    }
    tags::tags_clear_in_tx(tx, &id.to_string())?;
    network_delete_in_tx(tx, id)?;
    cx.mark_gone(tx, Key::Network(id))
}

/// Something of the network that OVN sees has changed, so its routers may have, too.
pub(crate) fn mark_with_routers(tx: &mut Tx<'_>, cx: &WriteCx, id: NetworkId) -> Result<()> {
    cx.mark(tx, Key::Network(id))?;
    subnets::mark_routers(tx, cx, id)
}
