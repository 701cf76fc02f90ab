//! Giving addresses to ports.
//!
//! A free address is found from a random point of the pools on: the taken ones from there are read in order, and the
//! first gap is it. That reads one row in a sparse pool and a few more in a crowded one, never the whole pool. The
//! primary key of `network_allocations` decides between two that found the same gap; the loser looks again.

use crate::address::{self, Pool};
use crate::cx::WriteCx;
use crate::errors;
use crate::model::{Allocation, PortRole, SubnetRow};
use crate::store::ports::{address_owner, allocation_insert_in_tx, taken_from};
use ferrostack_db::Tx;
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, PortId, SubnetId};
use std::net::IpAddr;

/// How many taken addresses are read at a time.
const WINDOW: usize = 64;
/// How often one that lost its gap to somebody else looks again.
const ATTEMPTS: usize = 16;

/// An entry of a port's `fixed_ips` as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WantedIp {
    pub(crate) subnet: Option<SubnetId>,
    pub(crate) ip: Option<IpAddr>,
}

/// What the addresses are for.
pub(crate) struct Taker<'a> {
    pub(crate) port: PortId,
    pub(crate) network: NetworkId,
    pub(crate) mac: &'a str,
    pub(crate) device_owner: &'a str,
    pub(crate) role: PortRole,
}

/// Takes addresses for a new port: those that are asked for (`None`: one of each family that the network has).
pub(crate) fn take_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    subnets: &[SubnetRow],
    taker: &Taker<'_>,
    wanted: Option<&[WantedIp]>,
) -> Result<Vec<Allocation>> {
    match wanted {
        Some(wanted) => wanted.iter().map(|w| take_one(tx, cx, subnets, taker, *w)).collect(),
        None => take_default(tx, cx, subnets, taker),
    }
}

fn take_default(tx: &mut Tx<'_>, cx: &WriteCx, subnets: &[SubnetRow], taker: &Taker<'_>) -> Result<Vec<Allocation>> {
    let serves = |subnet: &&SubnetRow| serves(subnet, taker.device_owner);
    let slaac: Vec<&SubnetRow> = subnets.iter().filter(|s| s.is_slaac()).collect();
    let mut taken = Vec::new();
    for version in [4, 6] {
        let family: Vec<&SubnetRow> =
            subnets.iter().filter(|s| s.ip_version == version && !s.is_slaac()).filter(serves).collect();
        if family.is_empty() {
            continue;
        }
        let mut found = None;
        for subnet in &family {
            found = next_free(tx, cx, subnet, taker)?;
            if found.is_some() {
                break;
            }
        }
        taken.push(found.ok_or_else(|| exhausted(taker))?);
    }
    // Guests on such subnets have these addresses whether they are asked or not.
    for subnet in slaac {
        if let Some(allocation) = take_slaac(tx, subnet, taker)? {
            taken.push(allocation);
        }
    }
    if taken.is_empty() && !subnets.is_empty() {
        return Err(exhausted(taker));
    }
    Ok(taken)
}

/// A subnet with service types serves only those owners.
fn serves(subnet: &SubnetRow, device_owner: &str) -> bool {
    subnet.service_types.is_empty() || subnet.service_types.iter().any(|t| device_owner.starts_with(t.as_str()))
}

fn exhausted(taker: &Taker<'_>) -> ferrostack_types::Error {
    if taker.role == PortRole::FloatingIp || taker.role == PortRole::RouterGateway {
        let text = format!("Unable to find any IP address on external network {}.", taker.network);
        return errors::invalid("ExternalIpAddressExhausted", text);
    }
    errors::no_more_addresses(taker.network)
}

/// One entry of `fixed_ips`.
pub(crate) fn take_one(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    subnets: &[SubnetRow],
    taker: &Taker<'_>,
    wanted: WantedIp,
) -> Result<Allocation> {
    let subnet = match wanted.subnet {
        Some(id) => subnets.iter().find(|s| s.id == id).ok_or_else(|| {
            errors::invalid_input(format!(
                "Failed to create port on network {}, because fixed_ips included invalid subnet {id}",
                taker.network
            ))
        })?,
        None => {
            let ip =
                wanted.ip.ok_or_else(|| errors::invalid_input("IP allocation requires subnet_id or ip_address"))?;
            subnets.iter().find(|s| s.cidr.contains(&ip)).ok_or_else(|| {
                errors::invalid(
                    "InvalidIpForNetwork",
                    format!("IP address {ip} is not a valid IP for any of the subnets on the specified network."),
                )
            })?
        }
    };
    match wanted.ip {
        Some(ip) => take_this(tx, subnet, taker, ip),
        None if subnet.is_slaac() => {
            take_slaac(tx, subnet, taker)?.ok_or_else(|| errors::no_more_addresses(taker.network))
        }
        None => next_free(tx, cx, subnet, taker)?.ok_or_else(|| exhausted(taker)),
    }
}

/// A given address: anything of the range that a host may have, in or out of the pools.
fn take_this(tx: &mut Tx<'_>, subnet: &SubnetRow, taker: &Taker<'_>, ip: IpAddr) -> Result<Allocation> {
    let whole = address::usable(subnet.cidr).contains(ip) && subnet.cidr.contains(&ip);
    let gateway_taken = subnet.gateway == Some(ip) && taker.role == PortRole::Plain;
    if !whole
        || (subnet.is_slaac() && taker.role == PortRole::Plain && address::eui64(subnet.cidr, taker.mac) != Some(ip))
    {
        return Err(errors::invalid(
            "InvalidIpForSubnet",
            format!("IP address {ip} is not a valid IP for the specified subnet."),
        ));
    }
    // A port of a tenant's may have the gateway's address, as a router appliance would, while no router has it.
    if gateway_taken && address_owner(tx, taker.network, ip)?.is_some() {
        return Err(errors::address_in_use(taker.network, ip));
    }
    if allocation_insert_in_tx(tx, taker.network, subnet.id, taker.port, ip)? {
        Ok(Allocation { port_id: taker.port, subnet_id: subnet.id, ip })
    } else {
        Err(errors::address_in_use(taker.network, ip))
    }
}

fn take_slaac(tx: &mut Tx<'_>, subnet: &SubnetRow, taker: &Taker<'_>) -> Result<Option<Allocation>> {
    let Some(ip) = address::eui64(subnet.cidr, taker.mac) else { return Ok(None) };
    let taken = allocation_insert_in_tx(tx, taker.network, subnet.id, taker.port, ip)?;
    Ok(taken.then_some(Allocation { port_id: taker.port, subnet_id: subnet.id, ip }))
}

/// Any free address of a subnet's pools; `None` if there is none.
fn next_free(tx: &mut Tx<'_>, cx: &WriteCx, subnet: &SubnetRow, taker: &Taker<'_>) -> Result<Option<Allocation>> {
    for _ in 0..ATTEMPTS {
        let Some(ip) = find_gap(tx, cx, subnet)? else { return Ok(None) };
        if allocation_insert_in_tx(tx, taker.network, subnet.id, taker.port, ip)? {
            return Ok(Some(Allocation { port_id: taker.port, subnet_id: subnet.id, ip }));
        }
    }
    Err(errors::no_more_addresses(taker.network))
}

fn find_gap(tx: &mut Tx<'_>, cx: &WriteCx, subnet: &SubnetRow) -> Result<Option<IpAddr>> {
    let Some((index, start)) = address::random_in(&cx.env, &subnet.pools) else { return Ok(None) };
    // From the point on to the pool's end, the other pools, and at last the part of the pool before the point.
    let pool = subnet.pools[index];
    let mut parts = vec![Pool { start, end: pool.end }];
    parts.extend(subnet.pools.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, p)| *p));
    if start > pool.start {
        parts.push(Pool { start: pool.start, end: address::of_number(address::number(start) - 1, start) });
    }
    for part in parts {
        if let Some(ip) = gap_in(tx, subnet.id, part)? {
            return Ok(Some(ip));
        }
    }
    Ok(None)
}

fn gap_in(tx: &mut Tx<'_>, subnet: SubnetId, part: Pool) -> Result<Option<IpAddr>> {
    let (mut next, last) = (address::number(part.start), address::number(part.end));
    while next <= last {
        let taken = taken_from(tx, subnet, address::of_number(next, part.start), WINDOW)?;
        for ip in &taken {
            let ip = address::number(*ip);
            if ip > next {
                return Ok(Some(address::of_number(next, part.start)));
            }
            next = ip + 1;
            if next > last {
                return Ok(None);
            }
        }
        if taken.len() < WINDOW {
            return Ok(Some(address::of_number(next, part.start)));
        }
    }
    Ok(None)
}
