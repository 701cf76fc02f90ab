//! From rows to what OVN should have, in a fixed number of queries.

use crate::NetworkConfig;
use crate::model::{FloatingIpRow, GroupRow, NetworkRow, Port, PortRole, PortRow, RouterRow, RuleRow, SubnetRow};
use crate::store::floating_ips::floating_ip_fetch_many;
use crate::store::group_by;
use crate::store::groups::{group_fetch_many, rules_of_groups};
use crate::store::networks::network_fetch_many;
use crate::store::ports::{metadata_ports, port_fetch_many, with_details};
use crate::store::routers::{interfaces_of, router_fetch_many};
use crate::store::subnets::subnets_of_networks;
use ferrostack_db::{Tx, params};
use ferrostack_ovn::northbound as ovn;
use ferrostack_ovn::northbound::{Key, Object};
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, RouterId, SecurityGroupId, SubnetId};
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap};

/// Which objects.
pub(crate) enum Wanted {
    /// These, as far as they are there.
    Keys(Vec<Key>),
    /// Every one.
    All,
}

/// Reads objects. A floating IP that leads nowhere is none; neither is the port that holds its address.
pub(crate) fn objects(tx: &mut Tx<'_>, config: &NetworkConfig, wanted: &Wanted) -> Result<Vec<Object>> {
    let rows = read_rows(tx, wanted)?;
    let mut objects = Vec::new();
    groups(tx, &rows.groups, &mut objects)?;
    networks(tx, &rows.networks, &mut objects)?;
    routers(tx, config, &rows.routers, &mut objects)?;
    objects.extend(rows.ports.iter().filter_map(port).map(Object::Port));
    objects.extend(rows.floating_ips.iter().filter_map(floating_ip).map(Object::FloatingIp));
    Ok(objects)
}

struct Rows {
    groups: Vec<GroupRow>,
    networks: Vec<NetworkRow>,
    routers: Vec<RouterRow>,
    ports: Vec<Port>,
    floating_ips: Vec<FloatingIpRow>,
}

fn read_rows(tx: &mut Tx<'_>, wanted: &Wanted) -> Result<Rows> {
    let Wanted::Keys(keys) = wanted else { return read_all(tx) };
    let (mut groups, mut networks, mut routers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ports, mut floating_ips) = (Vec::new(), Vec::new());
    for key in keys {
        match key {
            Key::SecurityGroup(id) => groups.push(*id),
            Key::Network(id) => networks.push(*id),
            Key::Router(id) => routers.push(*id),
            Key::Port(id) => ports.push(*id),
            Key::FloatingIp(id) => floating_ips.push(*id),
        }
    }
    Ok(Rows {
        groups: group_fetch_many(tx, &groups)?,
        networks: network_fetch_many(tx, &networks)?,
        routers: router_fetch_many(tx, &routers)?,
        ports: port_fetch_many(tx, &ports)?,
        floating_ips: floating_ip_fetch_many(tx, &floating_ips)?,
    })
}

fn read_all(tx: &mut Tx<'_>) -> Result<Rows> {
    let all = |columns: &str, table: &str| format!("SELECT {columns} FROM {table} ORDER BY id");
    let ports = tx.query(&all(PortRow::COLUMNS, crate::store::ports::TABLE), params![], PortRow::read)?;
    Ok(Rows {
        groups: tx.query(&all(GroupRow::COLUMNS, crate::store::groups::TABLE), params![], GroupRow::read)?,
        networks: tx.query(&all(NetworkRow::COLUMNS, crate::store::networks::TABLE), params![], NetworkRow::read)?,
        routers: tx.query(&all(RouterRow::COLUMNS, crate::store::routers::TABLE), params![], RouterRow::read)?,
        ports: with_details(tx, ports)?,
        floating_ips: tx.query(
            &all(FloatingIpRow::COLUMNS, crate::store::floating_ips::TABLE),
            params![],
            FloatingIpRow::read,
        )?,
    })
}

fn groups(tx: &mut Tx<'_>, rows: &[GroupRow], objects: &mut Vec<Object>) -> Result<()> {
    let ids: Vec<SecurityGroupId> = rows.iter().map(|g| g.id).collect();
    let mut rules = group_by(rules_of_groups(tx, &ids)?.into_iter().map(|r| (r.group_id, r)));
    for group in rows {
        objects.push(Object::SecurityGroup(ovn::SecurityGroup {
            id: group.id,
            revision: group.standard.revision,
            name: group.name.clone(),
            rules: rules.remove(&group.id).unwrap_or_default().iter().map(rule).collect(),
            stateful: group.stateful,
        }));
    }
    Ok(())
}

fn rule(rule: &RuleRow) -> ovn::Rule {
    let prefix = rule.remote_prefix.as_deref().and_then(|p| p.parse::<IpNet>().ok());
    ovn::Rule {
        id: rule.id,
        direction: if rule.direction == "egress" { ovn::Direction::Egress } else { ovn::Direction::Ingress },
        ethertype: if rule.ethertype == "IPv6" { ovn::Ethertype::V6 } else { ovn::Ethertype::V4 },
        protocol: rule.protocol.clone(),
        port_min: rule.port_min,
        port_max: rule.port_max,
        remote: match (rule.remote_group, prefix) {
            (Some(group), _) => ovn::Remote::Group(group),
            (None, Some(prefix)) => ovn::Remote::Prefix(prefix),
            (None, None) => ovn::Remote::Any,
        },
    }
}

fn networks(tx: &mut Tx<'_>, rows: &[NetworkRow], objects: &mut Vec<Object>) -> Result<()> {
    let ids: Vec<NetworkId> = rows.iter().map(|n| n.id).collect();
    let mut subnets = group_by(subnets_of_networks(tx, &ids)?.into_iter().map(|s| (s.network_id, s)));
    let metadata: HashMap<SubnetId, std::net::IpAddr> =
        metadata_ports(tx, &ids)?.iter().flat_map(|port| port.addresses.iter().map(|a| (a.subnet_id, a.ip))).collect();
    for network in rows {
        let subnet = |s: SubnetRow| ovn::Subnet {
            id: s.id,
            cidr: s.cidr,
            gateway: s.gateway,
            dhcp: s.dhcp,
            dns: s.dns,
            host_routes: s.host_routes.iter().map(|r| (r.destination, r.nexthop)).collect(),
            metadata_address: metadata.get(&s.id).copied(),
        };
        let vlan = network.segmentation_id.and_then(|id| u16::try_from(id).ok());
        objects.push(Object::Network(ovn::Network {
            id: network.id,
            revision: network.standard.revision,
            name: network.name.clone(),
            mtu: network.mtu,
            physnet: network.physical_network.clone().map(|physical| (physical, vlan)),
            subnets: subnets.remove(&network.id).unwrap_or_default().into_iter().map(subnet).collect(),
        }));
    }
    Ok(())
}

fn port(port: &Port) -> Option<ovn::Port> {
    let row = &port.row;
    let kind = match row.role {
        PortRole::Plain => {
            ovn::PortKind::Vif { host: row.is_bound().then(|| row.host.clone()), owner: row.device_owner.clone() }
        }
        PortRole::Metadata => ovn::PortKind::Metadata,
        PortRole::RouterInterface | PortRole::RouterGateway => {
            ovn::PortKind::RouterInterface { router: RouterId::parse(&row.device_id)? }
        }
        PortRole::FloatingIp => return None,
    };
    let pair = |pair: &crate::model::AddressPair| {
        let range = pair.ip_address.parse::<IpNet>().ok();
        let range = range.or_else(|| pair.ip_address.parse::<std::net::IpAddr>().ok().map(IpNet::from))?;
        Some((range, (pair.mac_address != row.mac).then(|| pair.mac_address.clone())))
    };
    Some(ovn::Port {
        id: row.id,
        revision: row.standard.revision,
        network_id: row.network_id,
        name: row.name.clone(),
        mac: row.mac.clone(),
        addresses: port.addresses.iter().map(|a| (a.subnet_id, a.ip)).collect(),
        security_groups: port.groups.clone(),
        port_security: row.port_security,
        allowed_address_pairs: row.address_pairs.iter().filter_map(pair).collect(),
        kind,
        enabled: row.admin_state_up,
    })
}

fn routers(tx: &mut Tx<'_>, config: &NetworkConfig, rows: &[RouterRow], objects: &mut Vec<Object>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<RouterId> = rows.iter().map(|r| r.id).collect();
    let mut interfaces = interfaces_of(tx, &ids)?;
    let gateways: Vec<_> = rows.iter().filter_map(|r| r.gateway_port).collect();
    let gateways: HashMap<_, Port> = port_fetch_many(tx, &gateways)?.into_iter().map(|p| (p.row.id, p)).collect();
    let all = interfaces.values().flatten().chain(gateways.values());
    let networks: Vec<NetworkId> = all.map(|p| p.row.network_id).collect::<BTreeSet<_>>().into_iter().collect();
    let mtus: HashMap<NetworkId, u32> = network_fetch_many(tx, &networks)?.iter().map(|n| (n.id, n.mtu)).collect();
    let subnets: HashMap<SubnetId, SubnetRow> =
        subnets_of_networks(tx, &networks)?.into_iter().map(|s| (s.id, s)).collect();
    let chassis = gateway_chassis(tx, config)?;
    for router in rows {
        let ports = interfaces.remove(&router.id).unwrap_or_default();
        let gateway = router.gateway_port.and_then(|id| gateways.get(&id));
        objects.push(Object::Router(ovn::Router {
            id: router.id,
            revision: router.standard.revision,
            name: router.name.clone(),
            enabled: router.admin_state_up,
            gateway: gateway.map(|port| gateway_of(router, port, &subnets, &chassis)),
            interfaces: ports.iter().map(|port| interface(port, &subnets, &mtus)).collect(),
            routes: router.routes.iter().map(|r| (r.destination, r.nexthop)).collect(),
        }));
    }
    Ok(())
}

fn gateway_of(
    router: &RouterRow,
    port: &Port,
    subnets: &HashMap<SubnetId, SubnetRow>,
    chassis: &[(String, u16)],
) -> ovn::Gateway {
    let next_hop = |v4: bool| {
        let here = port.addresses.iter().filter(|a| a.ip.is_ipv4() == v4);
        here.filter_map(|a| subnets.get(&a.subnet_id)?.gateway).next()
    };
    ovn::Gateway {
        port_id: port.row.id,
        network_id: port.row.network_id,
        mac: port.row.mac.clone(),
        addresses: with_prefixes(port, subnets),
        next_hop: next_hop(true).or_else(|| next_hop(false)),
        snat: router.enable_snat,
        chassis: chassis.to_vec(),
    }
}

fn interface(port: &Port, subnets: &HashMap<SubnetId, SubnetRow>, mtus: &HashMap<NetworkId, u32>) -> ovn::Interface {
    let mode = port.addresses.iter().filter_map(|a| subnets.get(&a.subnet_id)?.ra_mode.as_deref()).next();
    let mode = mode.map(|mode| match mode {
        "dhcpv6-stateful" => ovn::AddressMode::Stateful,
        "dhcpv6-stateless" => ovn::AddressMode::Stateless,
        _ => ovn::AddressMode::Slaac,
    });
    let mtu = mtus.get(&port.row.network_id).copied().unwrap_or(1500);
    ovn::Interface {
        port_id: port.row.id,
        network_id: port.row.network_id,
        mac: port.row.mac.clone(),
        addresses: with_prefixes(port, subnets),
        router_advertisement: mode.map(|mode| ovn::RouterAdvertisement { mode, mtu }),
    }
}

fn with_prefixes(port: &Port, subnets: &HashMap<SubnetId, SubnetRow>) -> Vec<IpNet> {
    let addresses = port.addresses.iter();
    addresses.filter_map(|a| IpNet::new(a.ip, subnets.get(&a.subnet_id)?.cidr.prefix_len()).ok()).collect()
}

/// The hosts that may carry gateways, with priorities: those of the configuration, else all that have ports.
fn gateway_chassis(tx: &mut Tx<'_>, config: &NetworkConfig) -> Result<Vec<(String, u16)>> {
    let hosts = if config.gateway_hosts.is_empty() { known_hosts(tx)? } else { config.gateway_hosts.clone() };
    // OVN runs BFD between all of them, so a handful is plenty.
    let hosts = hosts.into_iter().take(5);
    Ok((1..=5).rev().zip(hosts).map(|(priority, host)| (host, priority)).collect())
}

/// Every host that some port is bound to.
pub(crate) fn known_hosts(tx: &mut Tx<'_>) -> Result<Vec<String>> {
    tx.query("SELECT DISTINCT host FROM network_ports WHERE host <> '' ORDER BY host", params![], |row| row.get(0))
}

fn floating_ip(row: &FloatingIpRow) -> Option<ovn::FloatingIp> {
    Some(ovn::FloatingIp {
        id: row.id,
        revision: row.standard.revision,
        router_id: row.router_id?,
        external_ip: row.address,
        fixed_ip: row.fixed_ip?,
        port_id: row.port_id?,
        external_mac: None,
    })
}
