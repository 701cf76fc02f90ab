//! Routers: their way out, their interfaces, their routes.

use super::ips::WantedIp;
use super::ports::{NewPort, blank_row, port_create_in_tx, port_remove_in_tx};
use super::subnets::ranges_overlap;
use crate::cx::WriteCx;
use crate::errors;
use crate::model::{Port, PortRole, RouterRow, SubnetRow};
use crate::store::floating_ips::floating_ips_of_router;
use crate::store::networks::network_fetch;
use crate::store::ports::{port_fetch, port_row, port_update_in_tx};
use crate::store::quotas::{self, quota_check_in_tx};
use crate::store::routers::{
    interface_delete_in_tx, interface_insert_in_tx, interfaces_of, router_delete_in_tx, router_fetch,
    router_insert_in_tx, router_update_in_tx,
};
use crate::store::subnets::{subnet_fetch, subnet_fetch_many};
use crate::store::tags;
use ferrostack_db::Tx;
use ferrostack_ovn::northbound::Key;
use ferrostack_types::ids::{NetworkId, PortId, RouterId, SubnetId};
use ferrostack_types::{Error, Result};

/// Neutron's limit.
const MAX_ROUTES: usize = 30;

/// A router's way out as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedGateway {
    pub(crate) network: NetworkId,
    pub(crate) enable_snat: Option<bool>,
    pub(crate) fixed_ips: Option<Vec<WantedIp>>,
}

/// Makes a router, with its gateway if one is asked for.
pub(crate) fn router_create_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    mut router: RouterRow,
    gateway: Option<&WantedGateway>,
    tags: &[String],
) -> Result<RouterRow> {
    quota_check_in_tx(tx, &router.standard.project_id, quotas::ROUTER, 1)?;
    router_insert_in_tx(tx, &router)?;
    tags::tags_set_in_tx(tx, &router.id.to_string(), tags)?;
    if let Some(gateway) = gateway {
        gateway_set(tx, cx, &mut router, gateway)?;
        router_update_in_tx(tx, &router)?;
    }
    cx.mark(tx, Key::Router(router.id))?;
    Ok(router)
}

/// Writes a changed router. `gateway`: `None` leaves it, `Some(None)` takes it away.
pub(crate) fn router_update_checked_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    router: &mut RouterRow,
    gateway: Option<Option<&WantedGateway>>,
) -> Result<()> {
    match gateway {
        None => {}
        Some(None) => gateway_clear(tx, cx, router)?,
        Some(Some(wanted)) if router.gateway_network == Some(wanted.network) => {
            if let Some(snat) = wanted.enable_snat {
                router.enable_snat = snat;
            }
            if let Some(fixed_ips) = &wanted.fixed_ips {
                gateway_move(tx, cx, router, fixed_ips)?;
            }
        }
        Some(Some(wanted)) => {
            gateway_clear(tx, cx, router)?;
            gateway_set(tx, cx, router, wanted)?;
        }
    }
    check_routes(tx, router)?;
    router.standard.touch(cx.now);
    router_update_in_tx(tx, router)?;
    cx.mark(tx, Key::Router(router.id))
}

fn gateway_set(tx: &mut Tx<'_>, cx: &WriteCx, router: &mut RouterRow, wanted: &WantedGateway) -> Result<()> {
    let network = network_fetch(tx, wanted.network)?;
    if !network.external {
        return Err(errors::bad("router", format!("Network {} is not an external network", network.id)));
    }
    let mut row = blank_row(cx, PortId(cx.env.uuid()), network.id, "", PortRole::RouterGateway);
    row.device_owner = "network:router_gateway".to_owned();
    row.device_id = router.id.to_string();
    let new =
        NewPort { row, fixed_ips: wanted.fixed_ips.clone(), groups: Some(vec![]), any_group: false, tags: vec![] };
    let port = port_create_in_tx(tx, cx, new)?;
    router.gateway_port = Some(port.row.id);
    router.gateway_network = Some(network.id);
    router.enable_snat = wanted.enable_snat.unwrap_or(true);
    Ok(())
}

/// Other addresses on the same network.
fn gateway_move(tx: &mut Tx<'_>, cx: &WriteCx, router: &RouterRow, fixed_ips: &[WantedIp]) -> Result<()> {
    let Some(id) = router.gateway_port else { return Ok(()) };
    let before = port_fetch(tx, id)?;
    let change = super::ports::PortChange { fixed_ips: Some(fixed_ips.to_vec()), ..Default::default() };
    super::ports::port_update_checked_in_tx(tx, cx, &before, before.row.clone(), change).map(drop)
}

fn gateway_clear(tx: &mut Tx<'_>, cx: &WriteCx, router: &mut RouterRow) -> Result<()> {
    let (Some(port), Some(network)) = (router.gateway_port, router.gateway_network) else { return Ok(()) };
    if !floating_ips_of_router(tx, router.id)?.is_empty() {
        return Err(errors::conflict(
            "RouterExternalGatewayInUseByFloatingIp",
            format!(
                "Gateway cannot be updated for router {}, since a gateway to external network {network} is required by one \
                 or more floating IPs.",
                router.id
            ),
        ));
    }
    router.gateway_port = None;
    router.gateway_network = None;
    router.enable_snat = true;
    // The row must let go of the port before that can be deleted.
    router_update_in_tx(tx, router)?;
    match port_row(tx, port)? {
        Some(row) => port_remove_in_tx(tx, cx, &row),
        None => Ok(()),
    }
}

/// Every next hop must be an address on one of the router's networks, and none of its own.
fn check_routes(tx: &mut Tx<'_>, router: &RouterRow) -> Result<()> {
    if router.routes.is_empty() {
        return Ok(());
    }
    if router.routes.len() > MAX_ROUTES {
        return Err(errors::invalid(
            "RoutesExhausted",
            format!(
                "Unable to complete operation for {}. The number of routes exceeds the maximum {MAX_ROUTES}.",
                router.id
            ),
        ));
    }
    let mut ports = interfaces_of(tx, &[router.id])?.remove(&router.id).unwrap_or_default();
    if let Some(gateway) = router.gateway_port {
        ports.push(port_fetch(tx, gateway)?);
    }
    let subnets = subnets_of_ports(tx, &ports)?;
    for route in &router.routes {
        let refuse = |reason: &str| {
            errors::invalid(
                "InvalidRoutes",
                format!(
                    "Invalid format for routes: [{{'destination': '{}', 'nexthop': '{}'}}], {reason}",
                    route.destination, route.nexthop
                ),
            )
        };
        if !subnets.iter().any(|s| s.cidr.contains(&route.nexthop)) {
            return Err(refuse("the nexthop is not connected with router"));
        }
        if ports.iter().any(|p| p.addresses.iter().any(|a| a.ip == route.nexthop)) {
            return Err(refuse("the nexthop is used by router"));
        }
    }
    Ok(())
}

fn subnets_of_ports(tx: &mut Tx<'_>, ports: &[Port]) -> Result<Vec<SubnetRow>> {
    let mut ids: Vec<SubnetId> = ports.iter().flat_map(|p| p.addresses.iter().map(|a| a.subnet_id)).collect();
    ids.sort();
    ids.dedup();
    subnet_fetch_many(tx, &ids)
}

/// Deletes a router that has no interface any more.
pub(crate) fn router_delete_checked_in_tx(tx: &mut Tx<'_>, cx: &WriteCx, id: RouterId) -> Result<()> {
    let mut router = router_fetch(tx, id)?;
    if interfaces_of(tx, &[id])?.contains_key(&id) {
        return Err(errors::conflict("RouterInUse", format!("Router {id} still has ports")));
    }
    gateway_clear(tx, cx, &mut router)?;
    tags::tags_clear_in_tx(tx, &id.to_string())?;
    router_delete_in_tx(tx, id)?;
    cx.mark_gone(tx, Key::Router(id))
}

/// What a new interface is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedInterface {
    /// A port is made that has the subnet's gateway address.
    Subnet(SubnetId),
    /// A port that is there.
    Port(PortId),
}

/// Adds an interface. The caller has checked that the subnet or port may be used.
pub(crate) fn interface_add_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    id: RouterId,
    wanted: WantedInterface,
    project: &str,
) -> Result<(RouterRow, Port)> {
    let router = router_fetch(tx, id)?;
    let port = match wanted {
        WantedInterface::Subnet(subnet) => interface_by_subnet(tx, cx, &router, subnet, project)?,
        WantedInterface::Port(port) => interface_by_port(tx, cx, &router, port)?,
    };
    interface_insert_in_tx(tx, id, port.row.id)?;
    router_changed(tx, cx, router, port)
}

fn router_changed(tx: &mut Tx<'_>, cx: &WriteCx, mut router: RouterRow, port: Port) -> Result<(RouterRow, Port)> {
    router.standard.touch(cx.now);
    router_update_in_tx(tx, &router)?;
    cx.mark(tx, Key::Router(router.id))?;
    Ok((router, port))
}

fn interface_by_subnet(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    router: &RouterRow,
    subnet: SubnetId,
    project: &str,
) -> Result<Port> {
    let subnet = subnet_fetch(tx, subnet)?;
    let Some(gateway) = subnet.gateway else {
        return Err(errors::bad("router", "Subnet for router interface must have a gateway IP"));
    };
    check_new_ranges(tx, router.id, std::slice::from_ref(&subnet), None)?;
    let mut row = blank_row(cx, PortId(cx.env.uuid()), subnet.network_id, project, PortRole::RouterInterface);
    row.device_owner = "network:router_interface".to_owned();
    row.device_id = router.id.to_string();
    let fixed_ips = Some(vec![WantedIp { subnet: Some(subnet.id), ip: Some(gateway) }]);
    port_create_in_tx(tx, cx, NewPort { row, fixed_ips, groups: Some(vec![]), any_group: false, tags: vec![] })
}

fn interface_by_port(tx: &mut Tx<'_>, cx: &WriteCx, router: &RouterRow, id: PortId) -> Result<Port> {
    let mut port = port_fetch(tx, id)?;
    if port.row.role != PortRole::Plain || !port.row.device_id.is_empty() {
        return Err(errors::port_in_use(id, port.row.network_id, &port.row.device_id));
    }
    if port.addresses.is_empty() {
        return Err(errors::bad("router", "Router port must have at least one fixed IP"));
    }
    if port.addresses.iter().filter(|a| a.ip.is_ipv4()).count() > 1 {
        return Err(errors::bad("router", "Cannot have multiple IPv4 subnets on router port"));
    }
    let subnets = subnets_of_ports(tx, std::slice::from_ref(&port))?;
    check_new_ranges(tx, router.id, &subnets, Some(id))?;
    port.row.device_owner = "network:router_interface".to_owned();
    port.row.device_id = router.id.to_string();
    port.row.role = PortRole::RouterInterface;
    port.row.port_security = false;
    port.row.address_pairs.clear();
    port.row.status = "ACTIVE".to_owned();
    port.row.standard.touch(cx.now);
    crate::store::ports::port_groups_set_in_tx(tx, id, &[])?;
    port.groups.clear();
    port_update_in_tx(tx, &port.row)?;
    cx.mark(tx, Key::Port(id))?;
    Ok(port)
}

/// A router cannot have two interfaces whose ranges overlap.
fn check_new_ranges(tx: &mut Tx<'_>, router: RouterId, new: &[SubnetRow], but: Option<PortId>) -> Result<()> {
    let mut ports = interfaces_of(tx, &[router])?.remove(&router).unwrap_or_default();
    ports.retain(|p| Some(p.row.id) != but);
    let mut there = subnets_of_ports(tx, &ports)?;
    if let Some(gateway) = router_fetch(tx, router)?.gateway_port {
        let gateway = port_fetch(tx, gateway)?;
        there.extend(subnets_of_ports(tx, &[gateway])?);
    }
    for subnet in new {
        for other in &there {
            if other.id == subnet.id {
                return Err(errors::bad("router", format!("Router already has a port on subnet {}", subnet.id)));
            }
            if ranges_overlap(other.cidr, subnet.cidr) {
                return Err(errors::bad(
                    "router",
                    format!(
                        "Cidr {} of subnet {} overlaps with cidr {} of subnet {}",
                        subnet.cidr, subnet.id, other.cidr, other.id
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Takes an interface away, named by its port, its subnet, or both. The port is deleted.
pub(crate) fn interface_remove_in_tx(
    tx: &mut Tx<'_>,
    cx: &WriteCx,
    id: RouterId,
    by_port: Option<PortId>,
    by_subnet: Option<SubnetId>,
) -> Result<(RouterRow, Port)> {
    let router = router_fetch(tx, id)?;
    let interfaces = interfaces_of(tx, &[id])?.remove(&id).unwrap_or_default();
    let on_subnet = |p: &&Port| by_subnet.is_none_or(|s| p.addresses.iter().any(|a| a.subnet_id == s));
    let found = interfaces.iter().find(|p| by_port.is_none_or(|port| p.row.id == port));
    let port = match (by_port, by_subnet) {
        (Some(port), subnet) => {
            let named = found.ok_or_else(|| {
                Error::not_found(format!("Router {id} does not have an interface with id {port}"))
                    .with_code("RouterInterfaceNotFound")
            })?;
            if !on_subnet(&named) {
                return Err(errors::invalid(
                    "SubnetMismatchForPort",
                    format!(
                        "Subnet on port {port} does not match the requested subnet {}.",
                        subnet.map(|s| s.to_string()).unwrap_or_default()
                    ),
                ));
            }
            named.clone()
        }
        (None, subnet) => interfaces.iter().find(on_subnet).cloned().ok_or_else(|| {
            let subnet = subnet.map(|s| s.to_string()).unwrap_or_default();
            Error::not_found(format!("Router {id} has no interface on subnet {subnet}"))
                .with_code("RouterInterfaceNotFoundForSubnet")
        })?,
    };
    check_unused(tx, &router, &port)?;
    interface_delete_in_tx(tx, port.row.id)?;
    port_remove_in_tx(tx, cx, &port.row)?;
    router_changed(tx, cx, router, port)
}

/// Floating IPs and routes may stand on an interface.
fn check_unused(tx: &mut Tx<'_>, router: &RouterRow, port: &Port) -> Result<()> {
    let floating = floating_ips_of_router(tx, router.id)?;
    for subnet in subnets_of_ports(tx, std::slice::from_ref(port))? {
        let needed = floating.iter().filter_map(|f| f.fixed_ip).any(|ip| subnet.cidr.contains(&ip));
        if needed {
            return Err(errors::conflict(
                "RouterInterfaceInUseByFloatingIP",
                format!(
                    "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more floating IPs.",
                    subnet.id, router.id
                ),
            ));
        }
        if router.routes.iter().any(|r| subnet.cidr.contains(&r.nexthop)) {
            return Err(errors::conflict(
                "RouterInterfaceInUseByRoute",
                format!(
                    "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more routes.",
                    subnet.id, router.id
                ),
            ));
        }
    }
    Ok(())
}
