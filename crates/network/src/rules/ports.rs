//! Ports.

use super::ips::{self, Taker, WantedIp};
use super::{floating_ips, groups};
use crate::cx::WriteCx;
use crate::model::{Allocation, NetworkRow, Port, PortRole, PortRow, SubnetRow};
use crate::store::networks::network_fetch;
use crate::store::ports::{
    allocation_delete_in_tx, port_delete_in_tx, port_fetch, port_groups_add_in_tx, port_groups_set_in_tx,
    port_insert_in_tx, port_update_in_tx,
};
use crate::store::quotas::{self, quota_check_in_tx};
use crate::store::subnets::subnets_of_networks;
use crate::store::tags;
use crate::{address, errors};
use ferrostack_db::Tx;
use ferrostack_ovn::northbound::Key;
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, PortId, SecurityGroupId};
use serde_json::{Value, json};
use std::net::IpAddr;

/// How often a random MAC address is drawn anew.
const MAC_ATTEMPTS: usize = 16;

/// A port that is to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewPort {
    /// Its row; an empty MAC address is filled in.
    pub(crate) row: PortRow,
    /// `None`: one of each family that the network has.
    pub(crate) fixed_ips: Option<Vec<WantedIp>>,
    /// `None`: the project's default group, if the port has port security.
    pub(crate) groups: Option<Vec<SecurityGroupId>>,
    /// Groups of other projects may be named.
    pub(crate) any_group: bool,
    pub(crate) tags: Vec<String>,
}

/// A row with the usual values.
pub(crate) fn blank_row(cx: &WriteCx, id: PortId, network: NetworkId, project: &str, role: PortRole) -> PortRow {
    PortRow {
        id,
        standard: crate::model::Standard::new(project, "", cx.now),
        network_id: network,
        name: String::new(),
        admin_state_up: true,
        mac: String::new(),
        device_id: String::new(),
        device_owner: String::new(),
        status: "DOWN".to_owned(),
        port_security: role == PortRole::Plain,
        host: String::new(),
        vnic_type: "normal".to_owned(),
        profile: json!({}),
        address_pairs: Vec::new(),
        dhcp_opts: Value::Array(Vec::new()),
        dns_name: String::new(),
        role,
        server: None,
        made_for_server: false,
    }
}

/// Makes a port: quota, MAC address, row, addresses, groups, in the caller's transaction.
pub(crate) fn port_create_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, new: NewPort) -> Result<Port> {
    let network = network_fetch(tx, new.row.network_id)?;
    let subnets = subnets_of_networks(tx, &[network.id])?;
    port_create_on_in_tx(tx, cx, &network, &subnets, new)
}

/// The same for a caller who has read the network in this transaction.
pub(crate) fn port_create_on_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    network: &NetworkRow,
    subnets: &[SubnetRow],
    new: NewPort,
) -> Result<Port> {
    let mut row = new.row;
    quota_check_in_tx(tx, &row.standard.project_id, quotas::PORT, 1)?;
    row.status = status_of(cx, &row).to_owned();
    let groups = match new.groups {
        Some(wanted) if wanted.is_empty() => wanted,
        Some(wanted) => groups::groups_for_port(tx, &row.standard.project_id, &wanted, new.any_group)?,
        None if row.role == PortRole::Plain && row.port_security && !row.standard.project_id.is_empty() => {
            vec![groups::default_group_in_tx(tx, cx, &row.standard.project_id)?]
        }
        None => Vec::new(),
    };
    insert_with_mac(tx, cx, &mut row)?;
    let taker =
        Taker { port: row.id, network: network.id, mac: &row.mac, device_owner: &row.device_owner, role: row.role };
    let mut addresses = ips::take_in_tx(tx, cx, subnets, &taker, new.fixed_ips.as_deref())?;
    addresses.sort_by_key(|a| address::key(a.ip));
    check_security(&row, &groups, &addresses)?;
    port_groups_add_in_tx(tx, row.id, &groups)?;
    if !new.tags.is_empty() {
        tags::tags_set_in_tx(tx, &row.id.to_string(), &new.tags)?;
    }
    mark(tx, cx, &row)?;
    Ok(Port { row, addresses, groups })
}

/// Tells OVN of a port, if it is one that OVN has: a gateway's other end comes with its router, a floating IP's
/// address is held by nobody.
pub(crate) fn mark(tx: &mut Tx<'_>, cx: &WriteCx, row: &PortRow) -> Result<()> {
    match row.role {
        PortRole::FloatingIp => Ok(()),
        _ => cx.mark(tx, Key::Port(row.id)),
    }
}

/// What a port's status is before the engine has said anything.
fn status_of(cx: &WriteCx, row: &PortRow) -> &'static str {
    match row.role {
        PortRole::Plain if !row.is_bound() || cx.tracks => "DOWN",
        PortRole::FloatingIp => "N/A",
        _ => "ACTIVE",
    }
}

fn insert_with_mac(tx: &mut Tx<'_>, cx: &WriteCx, row: &mut PortRow) -> Result<()> {
    if !row.mac.is_empty() {
        return port_insert_in_tx(tx, row);
    }
    // An address pair without a MAC address means the port's own.
    let own: Vec<usize> =
        row.address_pairs.iter().enumerate().filter(|(_, p)| p.mac_address.is_empty()).map(|(i, _)| i).collect();
    for attempt in 0..MAC_ATTEMPTS {
        row.mac = address::random_mac(&cx.env);
        for index in &own {
            row.address_pairs[*index].mac_address.clone_from(&row.mac);
        }
        match port_insert_in_tx(tx, row) {
            Err(error) if error.code() == Some("MacAddressInUse") && attempt + 1 < MAC_ATTEMPTS => {}
            other => return other,
        }
    }
    Ok(())
}

fn check_security(row: &PortRow, groups: &[SecurityGroupId], addresses: &[Allocation]) -> Result<()> {
    if !row.port_security && !groups.is_empty() {
        return Err(errors::conflict(
            "PortSecurityPortHasSecurityGroup",
            "Port has security group associated. Cannot disable port security or IP address until security group is removed.",
        ));
    }
    if !row.port_security && !row.address_pairs.is_empty() {
        return Err(errors::conflict(
            "AddressPairAndPortSecurityRequired",
            "Port Security must be enabled in order to have allowed address pairs on a port.",
        ));
    }
    let own = |pair: &crate::model::AddressPair| {
        pair.mac_address == row.mac && addresses.iter().any(|a| a.ip.to_string() == pair.ip_address)
    };
    if row.address_pairs.iter().any(own) {
        tracing::debug!(port = %row.id, "an address pair repeats the port's own address");
    }
    Ok(())
}

/// What an update does to a port beside its row.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortChange {
    pub(crate) fixed_ips: Option<Vec<WantedIp>>,
    pub(crate) groups: Option<Vec<SecurityGroupId>>,
    pub(crate) any_group: bool,
}

/// Writes a changed row (`before` is what it was) with new addresses and groups.
pub(crate) fn port_update_checked_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    before: &Port,
    mut row: PortRow,
    change: PortChange,
) -> Result<Port> {
    let mut port = before.clone();
    if row.host != before.row.host {
        row.status = status_of(cx, &row).to_owned();
    }
    if row.mac != before.row.mac && before.row.is_bound() {
        return Err(errors::conflict(
            "PortBound",
            format!(
                "Unable to complete operation on port {}, port is already bound, port type: ovs, old_mac {}, new_mac {}.",
                row.id, before.row.mac, row.mac
            ),
        ));
    }
    row.standard.touch(cx.now);
    port_update_in_tx(tx, &row)?;
    if let Some(wanted) = &change.fixed_ips {
        port.addresses = change_addresses(tx, cx, before, &row, wanted)?;
    }
    if let Some(wanted) = &change.groups {
        port.groups = groups::groups_for_port(tx, &row.standard.project_id, wanted, change.any_group)?;
        port_groups_set_in_tx(tx, row.id, &port.groups)?;
    }
    check_security(&row, &port.groups, &port.addresses)?;
    mark(tx, cx, &row)?;
    port.row = row;
    Ok(port)
}

fn change_addresses(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    before: &Port,
    row: &PortRow,
    wanted: &[WantedIp],
) -> Result<Vec<Allocation>> {
    let subnets = subnets_of_networks(tx, &[row.network_id])?;
    // What is asked for and there already stays; an entry with a subnet only is content with any address of it.
    let mut left = before.addresses.clone();
    let mut kept = Vec::new();
    let mut missing = Vec::new();
    for entry in wanted {
        let fits =
            |a: &Allocation| entry.ip.is_none_or(|ip| a.ip == ip) && entry.subnet.is_none_or(|s| a.subnet_id == s);
        match left.iter().position(fits) {
            Some(at) => kept.push(left.remove(at)),
            None => missing.push(*entry),
        }
    }
    for gone in &left {
        floating_ips::address_leaves_in_tx(tx, cx, row.id, Some(gone.ip))?;
        allocation_delete_in_tx(tx, row.network_id, gone.ip)?;
    }
    let taker =
        Taker { port: row.id, network: row.network_id, mac: &row.mac, device_owner: &row.device_owner, role: row.role };
    for entry in missing {
        kept.push(ips::take_one(tx, cx, &subnets, &taker, entry)?);
    }
    kept.sort_by_key(|a| address::key(a.ip));
    Ok(kept)
}

/// Deletes a port, whatever it is for; floating IPs that lead to it lead nowhere then.
pub(crate) fn port_remove_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, row: &PortRow) -> Result<()> {
    floating_ips::address_leaves_in_tx(tx, cx, row.id, None)?;
    tags::tags_clear_in_tx(tx, &row.id.to_string())?;
    port_delete_in_tx(tx, row.id)?;
    match row.role {
        PortRole::FloatingIp => Ok(()),
        _ => cx.mark_gone(tx, Key::Port(row.id)),
    }
}

/// Deletes a port for a client: not one that a router or a floating IP stands on.
pub(crate) fn port_delete_checked_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, id: PortId) -> Result<()> {
    let port = port_fetch(tx, id)?;
    if matches!(port.row.role, PortRole::RouterInterface | PortRole::RouterGateway | PortRole::FloatingIp) {
        return Err(errors::conflict(
            "ServicePortInUse",
            format!(
                "Port {id} cannot be deleted directly via the port API: has device owner {}.",
                port.row.device_owner
            ),
        ));
    }
    port_remove_in_tx(tx, cx, &port.row)
}

/// The addresses as the API shows them.
pub(crate) fn fixed_ips_view(addresses: &[Allocation]) -> Value {
    addresses
        .iter()
        .map(|a| json!({"subnet_id": a.subnet_id.to_string(), "ip_address": a.ip.to_string()}))
        .collect::<Vec<_>>()
        .into()
}

/// The first IPv4 address.
pub(crate) fn first_v4(addresses: &[Allocation]) -> Option<IpAddr> {
    addresses.iter().map(|a| a.ip).find(IpAddr::is_ipv4)
}
