//! `network_routers`, `network_router_interfaces`.

use super::{fetch_in, group_by, json};
use crate::errors;
use crate::model::{Port, RouterRow};
use ferrostack_db::{Tx, params};
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, PortId, RouterId, SubnetId};
use std::collections::HashMap;

pub(crate) const TABLE: &str = "network_routers";

fn select() -> String {
    format!("SELECT {} FROM {TABLE}", RouterRow::COLUMNS)
}

pub(crate) fn router_fetch(tx: &mut Tx<'_>, id: RouterId) -> Result<RouterRow> {
    tx.query_opt(&format!("{} WHERE id = ?", select()), params![id], RouterRow::read)?
        .ok_or_else(|| errors::router_not_found(id))
}

pub(crate) fn router_fetch_many(tx: &mut Tx<'_>, ids: &[RouterId]) -> Result<Vec<RouterRow>> {
    fetch_in(tx, &select(), "id", "", ids, RouterRow::read)
}

pub(crate) fn router_insert_in_tx(tx: &mut Tx<'_>, r: &RouterRow) -> Result<()> {
    let s = &r.standard;
    tx.execute(
        "INSERT INTO network_routers (id, project_id, name, description, admin_state_up, status, gateway_port_id,
         gateway_network_id, enable_snat, distributed, ha, routes, az_hints, created_at, updated_at, revision)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            r.id,
            &s.project_id,
            &r.name,
            &s.description,
            r.admin_state_up,
            &r.status,
            r.gateway_port,
            r.gateway_network,
            r.enable_snat,
            r.distributed,
            r.ha,
            json(&r.routes),
            json(&r.az_hints),
            s.created_at,
            s.updated_at,
            s.revision
        ],
    )
    .map(drop)
}

/// Writes all that may change. The revision is the row's, raised by the caller.
pub(crate) fn router_update_in_tx(tx: &mut Tx<'_>, r: &RouterRow) -> Result<()> {
    let s = &r.standard;
    tx.execute(
        "UPDATE network_routers SET name = ?, description = ?, admin_state_up = ?, gateway_port_id = ?,
         gateway_network_id = ?, enable_snat = ?, distributed = ?, ha = ?, routes = ?, updated_at = ?, revision = ?
         WHERE id = ?",
        params![
            &r.name,
            &s.description,
            r.admin_state_up,
            r.gateway_port,
            r.gateway_network,
            r.enable_snat,
            r.distributed,
            r.ha,
            json(&r.routes),
            s.updated_at,
            s.revision,
            r.id
        ],
    )
    .map(drop)
}

pub(crate) fn router_delete_in_tx(tx: &mut Tx<'_>, id: RouterId) -> Result<()> {
    tx.execute("DELETE FROM network_routers WHERE id = ?", params![id]).map(drop)
}

pub(crate) fn interface_insert_in_tx(tx: &mut Tx<'_>, router: RouterId, port: PortId) -> Result<()> {
    let values = params![port, router];
    tx.execute("INSERT INTO network_router_interfaces (port_id, router_id) VALUES (?, ?)", values).map(drop)
}

pub(crate) fn interface_delete_in_tx(tx: &mut Tx<'_>, port: PortId) -> Result<()> {
    tx.execute("DELETE FROM network_router_interfaces WHERE port_id = ?", params![port]).map(drop)
}

/// The interfaces of routers.
pub(crate) fn interfaces_of(tx: &mut Tx<'_>, routers: &[RouterId]) -> Result<HashMap<RouterId, Vec<Port>>> {
    let select = "SELECT router_id, port_id FROM network_router_interfaces";
    let pairs: Vec<(RouterId, PortId)> =
        fetch_in(tx, select, "router_id", "ORDER BY port_id", routers, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let ids: Vec<PortId> = pairs.iter().map(|(_, port)| *port).collect();
    let mut ports: HashMap<PortId, Port> =
        super::ports::port_fetch_many(tx, &ids)?.into_iter().map(|port| (port.row.id, port)).collect();
    Ok(group_by(pairs.into_iter().filter_map(|(router, port)| Some((router, ports.remove(&port)?)))))
}

/// Routers that have an interface on the subnet and a gateway on the network; the one that has the subnet's
/// gateway address first.
pub(crate) fn routers_between(
    tx: &mut Tx<'_>,
    subnet: SubnetId,
    gateway_key: Option<String>,
    external: NetworkId,
) -> Result<Vec<RouterId>> {
    tx.query(
        "SELECT r.id FROM network_allocations a JOIN network_router_interfaces i ON i.port_id = a.port_id
         JOIN network_routers r ON r.id = i.router_id WHERE a.subnet_id = ? AND r.gateway_network_id = ?
         ORDER BY CASE WHEN a.ip = ? THEN 0 ELSE 1 END, r.id",
        params![subnet, external, gateway_key.unwrap_or_default()],
        |row| row.get(0),
    )
}

/// Routers with an interface on the subnet.
pub(crate) fn routers_on_subnet(tx: &mut Tx<'_>, subnet: SubnetId) -> Result<Vec<RouterId>> {
    tx.query(
        "SELECT DISTINCT i.router_id FROM network_allocations a JOIN network_router_interfaces i ON i.port_id = a.port_id
         WHERE a.subnet_id = ? ORDER BY i.router_id",
        params![subnet],
        |row| row.get(0),
    )
}

/// Routers that have an interface or the gateway on the network.
pub(crate) fn routers_on_network(tx: &mut Tx<'_>, network: NetworkId) -> Result<Vec<RouterId>> {
    tx.query(
        "SELECT i.router_id FROM network_router_interfaces i JOIN network_ports p ON p.id = i.port_id WHERE p.network_id = ?
         UNION SELECT id FROM network_routers WHERE gateway_network_id = ?",
        params![network, network],
        |row| row.get(0),
    )
}
