//! `network_floating_ips`.

use super::fetch_in;
use crate::model::FloatingIpRow;
use crate::{address, errors};
use ferrostack_db::{Tx, params};
use ferrostack_types::Result;
use ferrostack_types::ids::{FloatingIpId, PortId, RouterId};

pub(crate) const TABLE: &str = "network_floating_ips";

fn select() -> String {
    format!("SELECT {} FROM {TABLE}", FloatingIpRow::COLUMNS)
}

pub(crate) fn floating_ip_fetch(tx: &mut Tx<'_>, id: FloatingIpId) -> Result<FloatingIpRow> {
    tx.query_opt(&format!("{} WHERE id = ?", select()), params![id], FloatingIpRow::read)?
        .ok_or_else(|| errors::floating_ip_not_found(id))
}

pub(crate) fn floating_ip_fetch_many(tx: &mut Tx<'_>, ids: &[FloatingIpId]) -> Result<Vec<FloatingIpRow>> {
    fetch_in(tx, &select(), "id", "", ids, FloatingIpRow::read)
}

/// The floating IPs that lead to ports.
pub(crate) fn floating_ips_of_ports(tx: &mut Tx<'_>, ports: &[PortId]) -> Result<Vec<FloatingIpRow>> {
    fetch_in(tx, &select(), "port_id", "ORDER BY floating_ip", ports, FloatingIpRow::read)
}

/// The floating IPs that a router translates.
pub(crate) fn floating_ips_of_router(tx: &mut Tx<'_>, router: RouterId) -> Result<Vec<FloatingIpRow>> {
    tx.query(&format!("{} WHERE router_id = ? ORDER BY id", select()), params![router], FloatingIpRow::read)
}

pub(crate) fn floating_ip_insert_in_tx(tx: &mut Tx<'_>, f: &FloatingIpRow) -> Result<()> {
    let s = &f.standard;
    tx.execute(
        "INSERT INTO network_floating_ips (id, project_id, description, floating_network_id, floating_ip, floating_port_id,
         port_id, fixed_ip, router_id, status, created_at, updated_at, revision)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            f.id, &s.project_id, &s.description, f.network_id, address::key(f.address), f.floating_port, f.port_id,
            f.fixed_ip.map(address::key), f.router_id, &f.status, s.created_at, s.updated_at, s.revision
        ],
    )
    .map(drop)
}

/// Writes all that may change. The revision is the row's, raised by the caller.
pub(crate) fn floating_ip_update_in_tx(tx: &mut Tx<'_>, f: &FloatingIpRow) -> Result<()> {
    let s = &f.standard;
    tx.execute(
        "UPDATE network_floating_ips SET description = ?, port_id = ?, fixed_ip = ?, router_id = ?, status = ?,
         updated_at = ?, revision = ? WHERE id = ?",
        params![
            &s.description,
            f.port_id,
            f.fixed_ip.map(address::key),
            f.router_id,
            &f.status,
            s.updated_at,
            s.revision,
            f.id
        ],
    )
    .map(drop)
}

pub(crate) fn floating_ip_delete_in_tx(tx: &mut Tx<'_>, id: FloatingIpId) -> Result<()> {
    tx.execute("DELETE FROM network_floating_ips WHERE id = ?", params![id]).map(drop)
}
