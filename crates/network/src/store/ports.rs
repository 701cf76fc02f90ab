//! `network_ports`, `network_allocations`, `network_port_groups`.

use super::{fetch_in, group_by, json};
use crate::address;
use crate::errors;
use crate::model::{Allocation, Port, PortRow};
use ferrostack_db::{Tx, is_unique_violation, params};
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, PortId, SecurityGroupId, ServerId, SubnetId};
use std::collections::HashMap;
use std::net::IpAddr;

pub(crate) const TABLE: &str = "network_ports";

fn select() -> String {
    format!("SELECT {} FROM {TABLE}", PortRow::COLUMNS)
}

pub(crate) fn port_row(tx: &mut Tx<'_>, id: PortId) -> Result<Option<PortRow>> {
    tx.query_opt(&format!("{} WHERE id = ?", select()), params![id], PortRow::read)
}

pub(crate) fn port_fetch(tx: &mut Tx<'_>, id: PortId) -> Result<Port> {
    let row = port_row(tx, id)?.ok_or_else(|| errors::port_not_found(id))?;
    let mut ports = with_details(tx, vec![row])?;
    ports.pop().ok_or_else(|| errors::port_not_found(id))
}

pub(crate) fn port_fetch_many(tx: &mut Tx<'_>, ids: &[PortId]) -> Result<Vec<Port>> {
    let rows = fetch_in(tx, &select(), "id", "", ids, PortRow::read)?;
    with_details(tx, rows)
}

/// The ports that are plugged into servers, in the order in which they were made.
pub(crate) fn ports_of_servers(tx: &mut Tx<'_>, servers: &[ServerId]) -> Result<Vec<Port>> {
    let rows = fetch_in(tx, &select(), "server_id", "ORDER BY created_at, id", servers, PortRow::read)?;
    with_details(tx, rows)
}

/// The metadata ports of networks.
pub(crate) fn metadata_ports(tx: &mut Tx<'_>, networks: &[NetworkId]) -> Result<Vec<Port>> {
    let order = "AND role = 'metadata' ORDER BY id";
    let rows = fetch_in(tx, &select(), "network_id", order, networks, PortRow::read)?;
    with_details(tx, rows)
}

/// Adds addresses and groups, in two queries for any number of ports.
pub(crate) fn with_details(tx: &mut Tx<'_>, rows: Vec<PortRow>) -> Result<Vec<Port>> {
    let ids: Vec<PortId> = rows.iter().map(|row| row.id).collect();
    let mut addresses = group_by(allocations_of_ports(tx, &ids)?.into_iter().map(|a| (a.port_id, a)));
    let mut groups = groups_of_ports(tx, &ids)?;
    let port = |row: PortRow| {
        let addresses = addresses.remove(&row.id).unwrap_or_default();
        let groups = groups.remove(&row.id).unwrap_or_default();
        Port { row, addresses, groups }
    };
    Ok(rows.into_iter().map(port).collect())
}

pub(crate) fn allocations_of_ports(tx: &mut Tx<'_>, ports: &[PortId]) -> Result<Vec<Allocation>> {
    let select = format!("SELECT {} FROM network_allocations", Allocation::COLUMNS);
    fetch_in(tx, &select, "port_id", "ORDER BY ip", ports, Allocation::read)
}

fn groups_of_ports(tx: &mut Tx<'_>, ports: &[PortId]) -> Result<HashMap<PortId, Vec<SecurityGroupId>>> {
    let select = "SELECT port_id, security_group_id FROM network_port_groups";
    let rows = fetch_in(tx, select, "port_id", "ORDER BY security_group_id", ports, |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(group_by(rows))
}

/// Fails with `MacAddressInUse` if the address is taken; the caller that chose it at random tries another one.
pub(crate) fn port_insert_in_tx(tx: &mut Tx<'_>, port: &PortRow) -> Result<()> {
    let s = &port.standard;
    let inserted = tx.execute(
        "INSERT INTO network_ports (id, project_id, network_id, name, description, admin_state_up, mac, device_id,
         device_owner, status, port_security_enabled, host, vnic_type, profile, address_pairs, dhcp_opts, dns_name, role,
         server_id, made_for_server, created_at, updated_at, revision)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            port.id, &s.project_id, port.network_id, &port.name, &s.description, port.admin_state_up, &port.mac,
            &port.device_id, &port.device_owner, &port.status, port.port_security, &port.host, &port.vnic_type,
            &port.profile, json(&port.address_pairs), &port.dhcp_opts, &port.dns_name, port.role.as_str(),
            port.server, port.made_for_server, s.created_at, s.updated_at, s.revision
        ],
    );
    mac_error(inserted, port)
}

/// Writes all that may change. The revision is the row's, raised by the caller.
pub(crate) fn port_update_in_tx(tx: &mut Tx<'_>, port: &PortRow) -> Result<()> {
    let s = &port.standard;
    let updated = tx.execute(
        "UPDATE network_ports SET name = ?, description = ?, admin_state_up = ?, mac = ?, device_id = ?, device_owner = ?,
         status = ?, port_security_enabled = ?, host = ?, vnic_type = ?, profile = ?, address_pairs = ?, dhcp_opts = ?,
         dns_name = ?, role = ?, server_id = ?, made_for_server = ?, project_id = ?, updated_at = ?, revision = ? WHERE id = ?",
        params![
            &port.name, &s.description, port.admin_state_up, &port.mac, &port.device_id, &port.device_owner,
            &port.status, port.port_security, &port.host, &port.vnic_type, &port.profile, json(&port.address_pairs),
            &port.dhcp_opts, &port.dns_name, port.role.as_str(), port.server, port.made_for_server, &s.project_id, s.updated_at,
            s.revision, port.id
        ],
    );
    mac_error(updated, port)
}

fn mac_error(done: Result<usize>, port: &PortRow) -> Result<()> {
    match done {
        Err(error) if is_unique_violation(&error) => Err(errors::mac_in_use(port.network_id, &port.mac)),
        other => other.map(drop),
    }
}

/// Deletes the row with its addresses and groups; whatever else refers to it was dealt with before.
pub(crate) fn port_delete_in_tx(tx: &mut Tx<'_>, id: PortId) -> Result<()> {
    tx.execute("DELETE FROM network_allocations WHERE port_id = ?", params![id])?;
    tx.execute("DELETE FROM network_port_groups WHERE port_id = ?", params![id])?;
    tx.execute("DELETE FROM network_ports WHERE id = ?", params![id]).map(drop)
}

/// Takes an address; `false` if somebody has it.
pub(crate) fn allocation_insert_in_tx(
    tx: &mut Tx<'_>,
    network: NetworkId,
    subnet: SubnetId,
    port: PortId,
    ip: IpAddr,
) -> Result<bool> {
    let inserted = tx.execute(
        "INSERT INTO network_allocations (network_id, ip, subnet_id, port_id) VALUES (?, ?, ?, ?)",
        params![network, address::key(ip), subnet, port],
    );
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if is_unique_violation(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn allocation_delete_in_tx(tx: &mut Tx<'_>, network: NetworkId, ip: IpAddr) -> Result<()> {
    let values = params![network, address::key(ip)];
    tx.execute("DELETE FROM network_allocations WHERE network_id = ? AND ip = ?", values).map(drop)
}

/// Up to `limit` taken addresses of a subnet from `from` on, in order.
pub(crate) fn taken_from(tx: &mut Tx<'_>, subnet: SubnetId, from: IpAddr, limit: usize) -> Result<Vec<IpAddr>> {
    tx.query(
        "SELECT ip FROM network_allocations WHERE subnet_id = ? AND ip >= ? ORDER BY ip LIMIT ?",
        params![subnet, address::key(from), limit],
        |row| address::from_key(&row.get::<String>(0)?),
    )
}

pub(crate) fn address_owner(tx: &mut Tx<'_>, network: NetworkId, ip: IpAddr) -> Result<Option<PortId>> {
    let values = params![network, address::key(ip)];
    tx.query_opt("SELECT port_id FROM network_allocations WHERE network_id = ? AND ip = ?", values, |r| r.get(0))
}

/// Makes the groups of a port these.
pub(crate) fn port_groups_set_in_tx(tx: &mut Tx<'_>, port: PortId, groups: &[SecurityGroupId]) -> Result<()> {
    tx.execute("DELETE FROM network_port_groups WHERE port_id = ?", params![port])?;
    port_groups_add_in_tx(tx, port, groups)
}

pub(crate) fn port_groups_add_in_tx(tx: &mut Tx<'_>, port: PortId, groups: &[SecurityGroupId]) -> Result<()> {
    for group in groups {
        tx.execute("INSERT INTO network_port_groups (port_id, security_group_id) VALUES (?, ?)", params![port, group])?;
    }
    Ok(())
}
