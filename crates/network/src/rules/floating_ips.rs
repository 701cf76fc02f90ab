//! Floating IPs.

use super::ips::WantedIp;
use super::ports::{NewPort, blank_row, port_create_in_tx, port_remove_in_tx};
use crate::address;
use crate::cx::WriteCx;
use crate::errors;
use crate::model::{FloatingIpRow, PortRole};
use crate::store::floating_ips::{
    floating_ip_delete_in_tx, floating_ip_fetch, floating_ip_insert_in_tx, floating_ip_update_in_tx,
    floating_ips_of_ports,
};
use crate::store::networks::network_fetch;
use crate::store::ports::{port_fetch, port_row};
use crate::store::quotas::{self, quota_check_in_tx};
use crate::store::routers::routers_between;
use crate::store::subnets::{subnet_fetch, subnets_of_networks};
use crate::store::tags;
use ferrostack_db::{Tx, is_unique_violation};
use ferrostack_ovn::northbound::Key;
use ferrostack_types::Result;
use ferrostack_types::ids::{FloatingIpId, PortId};
use std::net::IpAddr;

/// Where a floating IP is to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Association {
    pub(crate) port: PortId,
    pub(crate) fixed_ip: Option<IpAddr>,
}

/// A floating IP that is to be made. The row's address and ports are filled in.
#[derive(Debug, Clone)]
pub(crate) struct NewFloatingIp {
    pub(crate) row: FloatingIpRow,
    pub(crate) from: WantedIp,
    pub(crate) to: Option<Association>,
    pub(crate) tags: Vec<String>,
}

/// Takes an address of the external network and leads it to a port if one is named.
pub(crate) fn floating_ip_create_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, new: NewFloatingIp) -> Result<FloatingIpRow> {
    let mut row = new.row;
    let network = network_fetch(tx, row.network_id)?;
    if !network.external {
        return Err(errors::bad("floatingip", format!("Network {} is not a valid external network", network.id)));
    }
    quota_check_in_tx(tx, &row.standard.project_id, quotas::FLOATING_IP, 1)?;
    let wanted = match new.from {
        WantedIp { subnet: None, ip: None } => {
            let subnets = subnets_of_networks(tx, &[network.id])?;
            if !subnets.iter().any(|s| s.ip_version == 4) {
                let text = format!("Network {} does not contain any IPv4 subnet", network.id);
                return Err(errors::bad("floatingip", text));
            }
            None
        }
        wanted => Some(vec![wanted]),
    };
    let mut port = blank_row(cx, row.floating_port, network.id, "", PortRole::FloatingIp);
    port.device_owner = "network:floatingip".to_owned();
    port.device_id = row.id.to_string();
    let new_port = NewPort { row: port, fixed_ips: wanted, groups: Some(vec![]), any_group: false, tags: vec![] };
    let port = port_create_in_tx(tx, cx, new_port)?;
    row.address = super::ports::first_v4(&port.addresses)
        .ok_or_else(|| errors::bad("floatingip", format!("Network {} does not contain any IPv4 subnet", network.id)))?;
    if let Some(to) = new.to {
        associate(tx, &mut row, to)?;
    }
    floating_ip_insert_in_tx(tx, &row).map_err(|error| taken(error, &row))?;
    tags::tags_set_in_tx(tx, &row.id.to_string(), &new.tags)?;
    if row.port_id.is_some() {
        cx.mark(tx, Key::FloatingIp(row.id))?;
    }
    Ok(row)
}

fn taken(error: ferrostack_types::Error, row: &FloatingIpRow) -> ferrostack_types::Error {
    if !is_unique_violation(&error) {
        return error;
    }
    errors::conflict(
        "FloatingIPPortAlreadyAssociated",
        format!(
            "Cannot associate floating IP {} ({}) with port {} using fixed IP {}, as that fixed IP already has a floating \
             IP on external network {}.",
            row.address,
            row.id,
            row.port_id.map(|p| p.to_string()).unwrap_or_default(),
            row.fixed_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            row.network_id
        ),
    )
}

/// Finds the port's address and the router that can translate. The caller has checked that the port may be used.
fn associate(tx: &mut Tx<'_>, row: &mut FloatingIpRow, to: Association) -> Result<()> {
    let port = port_fetch(tx, to.port)?;
    let candidates: Vec<_> = port.addresses.iter().filter(|a| a.ip.is_ipv4()).collect();
    let address = match to.fixed_ip {
        Some(ip) => candidates
            .into_iter()
            .find(|a| a.ip == ip)
            .ok_or_else(|| errors::bad("floatingip", format!("Port {} does not have fixed ip {ip}", to.port)))?,
        None if candidates.len() > 1 => {
            return Err(errors::bad(
                "floatingip",
                format!(
                    "Port {} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP",
                    to.port
                ),
            ));
        }
        None => candidates.into_iter().next().ok_or_else(|| {
            errors::bad(
                "floatingip",
                format!("Cannot add floating IP to port {} that has no fixed IPv4 addresses", to.port),
            )
        })?,
    };
    let subnet = subnet_fetch(tx, address.subnet_id)?;
    let routers = routers_between(tx, subnet.id, subnet.gateway.map(address::key), row.network_id)?;
    let router = routers.first().ok_or_else(|| {
        ferrostack_types::Error::not_found(format!(
            "External network {} is not reachable from subnet {}.  Therefore, cannot associate Port {} with a Floating IP.",
            row.network_id, subnet.id, to.port
        ))
        .with_code("ExternalGatewayForFloatingIPNotFound")
    })?;
    row.port_id = Some(to.port);
    row.fixed_ip = Some(address.ip);
    row.router_id = Some(*router);
    row.status = "ACTIVE".to_owned();
    let others = floating_ips_of_ports(tx, &[to.port])?;
    let clash = |f: &FloatingIpRow| f.id != row.id && f.fixed_ip == row.fixed_ip && f.network_id == row.network_id;
    if others.iter().any(clash) {
        return Err(taken(unique_error(), row));
    }
    Ok(())
}

fn unique_error() -> ferrostack_types::Error {
    ferrostack_types::Error::conflict("taken").with_code("db_unique_violation")
}

/// Leads a floating IP elsewhere, or nowhere, and writes the row.
pub(crate) fn floating_ip_update_checked_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    row: &mut FloatingIpRow,
    to: Option<Option<Association>>,
) -> Result<()> {
    let was_there = row.port_id.is_some();
    match to {
        None => {}
        Some(None) => disassociate(row),
        Some(Some(to)) => {
            disassociate(row);
            associate(tx, row, to)?;
        }
    }
    row.standard.touch(cx.now);
    floating_ip_update_in_tx(tx, row).map_err(|error| taken(error, row))?;
    match (was_there, row.port_id.is_some()) {
        (_, true) => cx.mark(tx, Key::FloatingIp(row.id)),
        (true, false) => cx.mark_gone(tx, Key::FloatingIp(row.id)),
        (false, false) => Ok(()),
    }
}

fn disassociate(row: &mut FloatingIpRow) {
    row.port_id = None;
    row.fixed_ip = None;
    row.router_id = None;
    row.status = "DOWN".to_owned();
}

/// An address of a port (`None`: all of them) goes: what led there leads nowhere.
pub(crate) fn address_leaves_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, port: PortId, ip: Option<IpAddr>) -> Result<()> {
    for mut row in floating_ips_of_ports(tx, &[port])? {
        if ip.is_none() || row.fixed_ip == ip {
            floating_ip_update_checked_in_tx(tx, cx, &mut row, Some(None))?;
        }
    }
    Ok(())
}

/// Gives the address back.
pub(crate) fn floating_ip_delete_checked_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, id: FloatingIpId) -> Result<()> {
    let row = floating_ip_fetch(tx, id)?;
    floating_ip_delete_in_tx(tx, id)?;
    tags::tags_clear_in_tx(tx, &id.to_string())?;
    if let Some(port) = port_row(tx, row.floating_port)? {
        port_remove_in_tx(tx, cx, &port)?;
    }
    if row.port_id.is_some() {
        cx.mark_gone(tx, Key::FloatingIp(id))?;
    }
    Ok(())
}
