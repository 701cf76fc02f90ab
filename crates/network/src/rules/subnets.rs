//! Subnets, and the metadata port that comes with DHCP.

use super::groups::derived_id;
use super::ports::{NewPort, blank_row, port_create_on_in_tx, port_remove_in_tx};
use crate::address::{self, Pool};
use crate::cx::WriteCx;
use crate::errors;
use crate::model::{Allocation, NetworkRow, PortRole, SubnetRow};
use crate::store::networks::network_fetch;
use crate::store::ports::{address_owner, allocation_delete_in_tx, metadata_ports, port_fetch, port_update_in_tx};
use crate::store::quotas::{self, quota_check_in_tx};
use crate::store::routers::{routers_on_network, routers_on_subnet};
use crate::store::subnets::{
    subnet_delete_in_tx, subnet_fetch, subnet_insert_in_tx, subnet_update_in_tx, subnets_of_networks,
};
use crate::store::{bump_in_tx, fetch_in, networks, tags};
use ferrostack_db::{Tx, params};
use ferrostack_ovn::northbound::Key;
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, PortId, SubnetId};
use ipnet::IpNet;
use std::net::IpAddr;

/// Neutron's limits.
const MAX_DNS: usize = 5;
const MAX_HOST_ROUTES: usize = 20;

/// Makes a subnet, and the network's metadata port if it is the first with DHCP.
pub(crate) fn subnet_create_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, subnet: &SubnetRow, tags: &[String]) -> Result<()> {
    let network = network_fetch(tx, subnet.network_id)?;
    quota_check_in_tx(tx, &subnet.standard.project_id, quotas::SUBNET, 1)?;
    check_overlap(tx, subnet)?;
    subnet_insert_in_tx(tx, subnet)?;
    tags::tags_set_in_tx(tx, &subnet.id.to_string(), tags)?;
    metadata_in_tx(tx, cx, &network)?;
    network_changed(tx, cx, network.id)
}

fn network_changed(tx: &mut Tx<'_>, cx: &WriteCx, network: NetworkId) -> Result<()> {
    bump_in_tx(tx, networks::TABLE, network, cx.now)?;
    super::networks::mark_with_routers(tx, cx, network)
}

/// OVN's routers carry what their networks and subnets say.
pub(crate) fn mark_routers(tx: &mut Tx<'_>, cx: &WriteCx, network: NetworkId) -> Result<()> {
    if !cx.tracks {
        return Ok(());
    }
    for router in routers_on_network(tx, network)? {
        cx.mark(tx, Key::Router(router))?;
    }
    Ok(())
}

fn check_overlap(tx: &mut Tx<'_>, subnet: &SubnetRow) -> Result<()> {
    let overlaps = |other: &SubnetRow| ranges_overlap(other.cidr, subnet.cidr);
    if subnets_of_networks(tx, &[subnet.network_id])?.iter().any(overlaps) {
        return Err(errors::invalid_input(format!(
            "Requested subnet with cidr: {} for network: {} overlaps with another subnet",
            subnet.cidr, subnet.network_id
        )));
    }
    Ok(())
}

pub(crate) fn ranges_overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// What a subnet's own values must fulfil.
pub(crate) fn check_values(subnet: &SubnetRow) -> Result<()> {
    let version = if subnet.cidr.addr().is_ipv4() { 4 } else { 6 };
    let mismatch = |name: &str, value: String| {
        errors::invalid_input(format!("{name} '{value}' does not match the ip_version '{}'", subnet.ip_version))
    };
    if version != subnet.ip_version {
        return Err(mismatch("cidr", subnet.cidr.to_string()));
    }
    if subnet.cidr.prefix_len() == 0 {
        return Err(errors::invalid_input("0 is not allowed as CIDR prefix length"));
    }
    check_dhcp(subnet)?;
    check_v6(subnet)?;
    if let Some(gateway) = subnet.gateway {
        if gateway.is_ipv4() != (version == 4) {
            return Err(mismatch("gateway_ip", gateway.to_string()));
        }
        // An IPv6 gateway may be a link-local address, and a gateway may be outside of its range.
        let ends = subnet.cidr.prefix_len() < subnet.cidr.max_prefix_len() - 1
            && (gateway == subnet.cidr.network() || (version == 4 && gateway == subnet.cidr.broadcast()));
        if ends {
            return Err(errors::invalid_input("Gateway is not valid on subnet"));
        }
    }
    if subnet.dns.len() > MAX_DNS {
        return Err(errors::invalid(
            "DNSNameServersExhausted",
            format!(
                "Unable to complete operation for {}. The number of DNS nameservers exceeds the limit {MAX_DNS}.",
                subnet.id
            ),
        ));
    }
    if subnet.host_routes.len() > MAX_HOST_ROUTES {
        return Err(errors::invalid(
            "HostRoutesExhausted",
            format!(
                "Unable to complete operation for {}. The number of host routes exceeds the limit {MAX_HOST_ROUTES}.",
                subnet.id
            ),
        ));
    }
    if let Some(dns) = subnet.dns.iter().find(|d| d.is_ipv4() != (version == 4)) {
        return Err(mismatch("dns_nameserver", dns.to_string()));
    }
    for route in &subnet.host_routes {
        if route.nexthop.is_ipv4() != (version == 4) {
            return Err(mismatch("nexthop", route.nexthop.to_string()));
        }
        if route.destination.addr().is_ipv4() != (version == 4) {
            return Err(mismatch("destination", route.destination.to_string()));
        }
    }
    check_pools(subnet)
}

fn check_dhcp(subnet: &SubnetRow) -> Result<()> {
    if !subnet.dhcp {
        return Ok(());
    }
    let too_small = match subnet.cidr {
        IpNet::V4(net) => net.prefix_len() > 30,
        IpNet::V6(net) => net.prefix_len() > 126,
    };
    if too_small {
        return Err(errors::invalid_input("Subnet has a prefix length that is incompatible with DHCP service enabled"));
    }
    let first = subnet.cidr.network();
    if first.is_multicast() {
        return Err(errors::invalid_input("Multicast IP subnet is not supported if enable_dhcp is True"));
    }
    if first.is_loopback() {
        return Err(errors::invalid_input("Loopback IP subnet is not supported if enable_dhcp is True"));
    }
    Ok(())
}

fn check_v6(subnet: &SubnetRow) -> Result<()> {
    let (ra, mode) = (subnet.ra_mode.as_deref(), subnet.address_mode.as_deref());
    if subnet.ip_version == 4 {
        for (name, value) in [("ipv6_ra_mode", ra), ("ipv6_address_mode", mode)] {
            if value.is_some() {
                return Err(errors::invalid_input(format!("{name} is not valid when ip_version is 4")));
            }
        }
        return Ok(());
    }
    if let (Some(ra), Some(mode)) = (ra, mode)
        && ra != mode
    {
        return Err(errors::invalid_input(format!(
            "ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{mode}' is not valid. If both attributes are set, \
             they must be the same value"
        )));
    }
    if !subnet.dhcp && (ra.is_some() || mode.is_some()) {
        return Err(errors::invalid_input(
            "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False",
        ));
    }
    let slaac = matches!(ra, Some("slaac" | "dhcpv6-stateless")) || subnet.is_slaac();
    if slaac && subnet.cidr.prefix_len() != 64 {
        return Err(errors::invalid_input(format!(
            "Invalid CIDR {} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64",
            subnet.cidr
        )));
    }
    Ok(())
}

fn check_pools(subnet: &SubnetRow) -> Result<()> {
    let show = |pool: &Pool| format!("{}-{}", pool.start, pool.end);
    for pool in &subnet.pools {
        let family = subnet.cidr.addr().is_ipv4();
        if pool.start.is_ipv4() != family || pool.end.is_ipv4() != family || pool.start > pool.end {
            return Err(errors::invalid(
                "InvalidAllocationPool",
                format!("The allocation pool {} is not valid.", show(pool)),
            ));
        }
        let whole = address::usable(subnet.cidr);
        if !whole.contains(pool.start) || !whole.contains(pool.end) {
            return Err(errors::invalid(
                "OutOfBoundsAllocationPool",
                format!("The allocation pool {} spans beyond the subnet cidr {}.", show(pool), subnet.cidr),
            ));
        }
    }
    for (index, pool) in subnet.pools.iter().enumerate() {
        if let Some(other) = subnet.pools[index + 1..].iter().find(|other| pool.overlaps(other)) {
            return Err(errors::conflict(
                "OverlappingAllocationPools",
                format!(
                    "Found overlapping allocation pools: {} {} for subnet {}.",
                    show(pool),
                    show(other),
                    subnet.cidr
                ),
            ));
        }
    }
    if let Some(gateway) = subnet.gateway
        && let Some(pool) = subnet.pools.iter().find(|pool| pool.contains(gateway))
    {
        return Err(errors::conflict(
            "GatewayConflictWithAllocationPools",
            format!("Gateway ip {gateway} conflicts with allocation pool {}.", show(pool)),
        ));
    }
    Ok(())
}

/// Writes a changed subnet.
pub(crate) fn subnet_update_checked_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    before: &SubnetRow,
    after: &mut SubnetRow,
) -> Result<()> {
    if before.gateway != after.gateway
        && let Some(gateway) = before.gateway
        && let Some(port) = address_owner(tx, before.network_id, gateway)?
        && port_fetch(tx, port)?.row.role == PortRole::RouterInterface
    {
        return Err(errors::conflict(
            "GatewayIpInUse",
            format!("Current gateway ip {gateway} already in use by port {port}. Unable to update."),
        ));
    }
    check_values(after)?;
    after.standard.touch(cx.now);
    subnet_update_in_tx(tx, after)?;
    let network = network_fetch(tx, after.network_id)?;
    if before.dhcp != after.dhcp {
        metadata_in_tx(tx, cx, &network)?;
    }
    network_changed(tx, cx, after.network_id)
}

/// Deletes a subnet unless somebody has an address of it.
pub(crate) fn subnet_delete_checked_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, id: SubnetId) -> Result<()> {
    let subnet = subnet_fetch(tx, id)?;
    let used = "SELECT 1 FROM network_allocations a JOIN network_ports p ON p.id = a.port_id
         WHERE a.subnet_id = ? AND p.role <> 'metadata'";
    // Guests make up addresses of such a subnet by themselves; their ports lose them with it.
    if subnet.is_slaac() {
        release_slaac(tx, cx, &subnet)?;
    }
    if tx.exists(used, params![id])? {
        return Err(errors::subnet_in_use(id, "One or more ports have an IP allocation from this subnet"));
    }
    let network = network_fetch(tx, subnet.network_id)?;
    metadata_leaves(tx, cx, &network, id)?;
    tags::tags_clear_in_tx(tx, &id.to_string())?;
    subnet_delete_in_tx(tx, id)?;
    metadata_in_tx(tx, cx, &network)?;
    network_changed(tx, cx, network.id)
}

fn release_slaac(tx: &mut Tx<'_>, cx: &WriteCx, subnet: &SubnetRow) -> Result<()> {
    if !routers_on_subnet(tx, subnet.id)?.is_empty() {
        return Ok(());
    }
    let ports: Vec<PortId> = tx.query(
        "SELECT a.port_id FROM network_allocations a JOIN network_ports p ON p.id = a.port_id
         WHERE a.subnet_id = ? AND p.role = ''",
        params![subnet.id],
        |row| row.get(0),
    )?;
    for port in ports {
        let values = params![subnet.id, port];
        tx.execute("DELETE FROM network_allocations WHERE subnet_id = ? AND port_id = ?", values)?;
        bump_in_tx(tx, crate::store::ports::TABLE, port, cx.now)?;
        cx.mark(tx, Key::Port(port))?;
    }
    Ok(())
}

/// The metadata port gives its address in a subnet back.
fn metadata_leaves(tx: &mut Tx<'_>, cx: &WriteCx, network: &NetworkRow, subnet: SubnetId) -> Result<()> {
    for mut port in metadata_ports(tx, &[network.id])? {
        for gone in port.addresses.iter().filter(|a| a.subnet_id == subnet) {
            allocation_delete_in_tx(tx, network.id, gone.ip)?;
        }
        port.row.standard.touch(cx.now);
        port_update_in_tx(tx, &port.row)?;
        cx.mark(tx, Key::Port(port.row.id))?;
    }
    Ok(())
}

/// Makes the network's metadata port what its subnets want: an address in each that has DHCP, no port if none has.
fn metadata_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, network: &NetworkRow) -> Result<()> {
    let subnets = subnets_of_networks(tx, &[network.id])?;
    let wanted: Vec<&SubnetRow> = subnets.iter().filter(|s| s.dhcp).collect();
    let port = metadata_ports(tx, &[network.id])?.into_iter().next();
    match port {
        None if wanted.is_empty() => Ok(()),
        Some(port) if wanted.is_empty() => port_remove_in_tx(tx, cx, &port.row),
        None => {
            let id = PortId(derived_id("metadata port of", &network.id.to_string()));
            let mut row = blank_row(cx, id, network.id, "", PortRole::Metadata);
            // A port of this id may have been there before; OVN would take a lower revision for an old one.
            row.standard.revision = cx.now.as_micros();
            row.device_owner = "network:distributed".to_owned();
            row.device_id = format!("ovnmeta-{}", network.id);
            let fixed_ips = wanted.iter().map(|s| super::ips::WantedIp { subnet: Some(s.id), ip: None }).collect();
            let new = NewPort { row, fixed_ips: Some(fixed_ips), groups: Some(vec![]), any_group: false, tags: vec![] };
            port_create_on_in_tx(tx, cx, network, &subnets, new).map(drop)
        }
        Some(mut port) => {
            let taker = super::ips::Taker {
                port: port.row.id,
                network: network.id,
                mac: &port.row.mac,
                device_owner: &port.row.device_owner,
                role: PortRole::Metadata,
            };
            let has = |addresses: &[Allocation], id: SubnetId| addresses.iter().any(|a| a.subnet_id == id);
            for subnet in wanted.iter().filter(|s| !has(&port.addresses, s.id)) {
                let entry = super::ips::WantedIp { subnet: Some(subnet.id), ip: None };
                super::ips::take_one(tx, cx, &subnets, &taker, entry)?;
            }
            for gone in port.addresses.iter().filter(|a| !wanted.iter().any(|s| s.id == a.subnet_id)) {
                allocation_delete_in_tx(tx, network.id, gone.ip)?;
            }
            port.row.standard.touch(cx.now);
            port_update_in_tx(tx, &port.row)?;
            cx.mark(tx, Key::Port(port.row.id))
        }
    }
}

/// How many addresses of subnets are taken.
pub(crate) fn used_addresses(tx: &mut Tx<'_>, subnets: &[SubnetId]) -> Result<Vec<(SubnetId, u64)>> {
    let select = "SELECT subnet_id, COUNT(*) FROM network_allocations";
    fetch_in(tx, select, "subnet_id", "GROUP BY subnet_id", subnets, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The gateway that a subnet gets when none is asked for: its first address.
pub(crate) fn default_gateway(cidr: IpNet) -> Option<IpAddr> {
    let whole = address::usable(cidr);
    (whole.start != whole.end).then_some(whole.start)
}
