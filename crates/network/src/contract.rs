//! What compute asks of networks.
//!
//! A server's ports are those that name it in `server_id`, which only this file writes: `device_id` and `device_owner`
//! are a tenant's to fill in on ports of its own, and must not make a port appear in somebody else's server.

use crate::Network;
use crate::cx::WriteCx;
use crate::errors;
use crate::model::{NetworkRow, Port, PortRole, SubnetRow};
use crate::rules::groups::default_group_of;
use crate::rules::ips::WantedIp;
use crate::rules::ports::{
    NewPort, PortChange, blank_row, port_create_in_tx, port_remove_in_tx, port_update_checked_in_tx,
};
use crate::store::floating_ips::floating_ips_of_ports;
use crate::store::group_by;
use crate::store::groups::{group_fetch_many, groups_of_project};
use crate::store::networks::network_fetch_many;
use crate::store::ports::{address_owner, metadata_ports, port_fetch, port_row, ports_of_servers};
use crate::store::quotas::{self, quota_limit, quota_used};
use crate::store::subnets::subnets_of_networks;
use async_trait::async_trait;
use ferrostack_contracts::identity::Caller;
use ferrostack_contracts::network::{FixedIp, MetadataPort, NicRequest, NicsRequest, PlannedNic, PortInfo, Ports};
use ferrostack_db::{Tx, params};
use ferrostack_ovn::northbound::Key;
use ferrostack_types::ids::{NetworkId, NodeId, PortId, ProjectId, RouterId, SecurityGroupId, ServerId, SubnetId};
use ferrostack_types::{Env, Error, Kind, Result};
use ipnet::IpNet;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

#[async_trait]
impl Ports for Network {
    async fn plan(&self, caller: &Caller, nics: &NicsRequest, security_groups: &[String]) -> Result<Vec<PlannedNic>> {
        let project = caller
            .project_id()
            .cloned()
            .ok_or_else(|| Error::forbidden("A token of a project is needed to plug ports."))?;
        let planner =
            Planner { env: self.env.clone(), project: project.as_str().to_owned(), admin: caller.has_role("admin") };
        let (nics, wanted) = (nics.clone(), security_groups.to_vec());
        self.db.read("ports_plan", move |tx| planner.plan(tx, &nics, &wanted)).await
    }

    async fn ensure(
        &self,
        project: &ProjectId,
        server: ServerId,
        host: (&NodeId, &str),
        nic: &PlannedNic,
    ) -> Result<PortInfo> {
        let binder = Binder {
            cx: self.cx(),
            project: project.as_str().to_owned(),
            server,
            host: host.1.to_owned(),
            nic: nic.clone(),
        };
        self.db
            .write("port_ensure", move |tx| {
                binder.know_host(tx)?;
                let port = binder.ensure(tx)?;
                let mut infos = port_infos(tx, vec![port])?;
                infos.pop().map(|(_, info)| info).ok_or_else(|| errors::port_not_found(binder.nic.port_id))
            })
            .await
    }

    async fn wired(&self, server: ServerId) -> Result<bool> {
        let waiting: Vec<PortId> = self
            .db
            .read("ports_wired", move |tx| {
                tx.query(
                    "SELECT id FROM network_ports WHERE server_id = ? AND status <> 'ACTIVE' AND admin_state_up = 1",
                    params![server],
                    |row| row.get(0),
                )
            })
            .await?;
        // The engine may know more than the row, which follows it.
        Ok(waiting.into_iter().all(|id| self.wiring.port_up(id)))
    }

    async fn release(&self, server: ServerId) -> Result<()> {
        let cx = self.cx();
        self.db
            .write("ports_release", move |tx| {
                for port in ports_of_servers(tx, &[server])? {
                    if port.row.made_for_server {
                        port_remove_in_tx(tx, &cx, &port.row)?;
                        continue;
                    }
                    let mut row = port.row.clone();
                    row.device_id.clear();
                    row.device_owner.clear();
                    row.host.clear();
                    row.server = None;
                    port_update_checked_in_tx(tx, &cx, &port, row, PortChange::default())?;
                }
                Ok(())
            })
            .await
    }

    async fn of_servers(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, Vec<PortInfo>>> {
        let servers = servers.to_vec();
        self.db
            .read("ports_of_servers", move |tx| {
                let ports = ports_of_servers(tx, &servers)?;
                let infos = port_infos(tx, ports)?;
                Ok(group_by(infos.into_iter().filter_map(|(server, info)| Some((server?, info)))))
            })
            .await
    }

    async fn owners(&self) -> Result<Vec<(PortId, ServerId)>> {
        self.db
            .read("port_owners", |tx| {
                tx.query(
                    "SELECT id, server_id FROM network_ports WHERE server_id IS NOT NULL ORDER BY id",
                    params![],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
            })
            .await
    }
}

/// Turns a request into NICs.
struct Planner {
    env: Env,
    project: String,
    admin: bool,
}

impl Planner {
    fn plan(&self, tx: &mut Tx<'_>, nics: &NicsRequest, security_groups: &[String]) -> Result<Vec<PlannedNic>> {
        let requests = match nics {
            NicsRequest::None => return Ok(Vec::new()),
            NicsRequest::Auto => self.only_network(tx)?,
            NicsRequest::List(list) => list.clone(),
        };
        let groups = self.groups(tx, security_groups)?;
        let mut planned = Vec::new();
        let mut ports = BTreeSet::new();
        for request in &requests {
            let nic = match request {
                NicRequest::Network { id, fixed_ip } => self.on_network(tx, *id, *fixed_ip, &groups)?,
                NicRequest::Port(id) => self.on_port(tx, *id)?,
            };
            if !ports.insert(nic.port_id) {
                return Err(Error::invalid(format!("Port {} is named more than once.", nic.port_id)));
            }
            planned.push(nic);
        }
        self.check_quota(tx, planned.iter().filter(|nic| !nic.preexisting).count())?;
        Ok(planned)
    }

    /// Nova's rule: exactly one network that the project can use.
    fn only_network(&self, tx: &mut Tx<'_>) -> Result<Vec<NicRequest>> {
        let own: Vec<NetworkId> = tx.query(
            "SELECT id FROM network_networks WHERE (project_id = ? OR shared = 1) AND external = 0 ORDER BY id LIMIT 2",
            params![&self.project],
            |row| row.get(0),
        )?;
        match own.as_slice() {
            [] => Ok(Vec::new()),
            [id] => Ok(vec![NicRequest::Network { id: *id, fixed_ip: None }]),
            _ => Err(Error::conflict("Multiple possible networks found, use a Network ID to be more specific.")),
        }
    }

    fn on_network(
        &self,
        tx: &mut Tx<'_>,
        id: NetworkId,
        fixed_ip: Option<IpAddr>,
        groups: &[SecurityGroupId],
    ) -> Result<PlannedNic> {
        let network = network_fetch_many(tx, &[id])?.pop();
        let visible = |n: &NetworkRow| self.admin || n.standard.project_id == self.project || n.shared || n.external;
        let network =
            network.filter(visible).ok_or_else(|| Error::invalid(format!("Network {id} could not be found.")))?;
        let own = network.standard.project_id == self.project;
        if network.external && !network.shared && !own && !self.admin {
            let text = format!("It is not allowed to create an interface on external network {id}");
            return Err(Error::forbidden(text));
        }
        let subnets = subnets_of_networks(tx, &[id])?;
        if subnets.is_empty() {
            return Err(Error::invalid(format!("Network {id} requires a subnet in order to boot instances on.")));
        }
        if let Some(ip) = fixed_ip {
            self.check_fixed_ip(tx, &network, &subnets, ip)?;
        }
        Ok(PlannedNic {
            port_id: PortId(self.env.uuid()),
            network_id: id,
            fixed_ip,
            security_groups: if network.port_security { groups.to_vec() } else { Vec::new() },
            preexisting: false,
        })
    }

    fn check_fixed_ip(&self, tx: &mut Tx<'_>, network: &NetworkRow, subnets: &[SubnetRow], ip: IpAddr) -> Result<()> {
        if !subnets.iter().any(|s| s.cidr.contains(&ip)) {
            return Err(Error::invalid(format!("Fixed IP {ip} is not a valid ip address for network {}.", network.id)));
        }
        // Neutron's rule `create_port:fixed_ips:ip_address`: a given address is for the network's owner.
        if network.standard.project_id != self.project && !self.admin {
            let text = "rule:create_port:fixed_ips:ip_address is disallowed by policy";
            return Err(Error::forbidden(text));
        }
        if address_owner(tx, network.id, ip)?.is_some() {
            return Err(Error::invalid(format!("Fixed IP address {ip} is already in use on network {}.", network.id)));
        }
        Ok(())
    }

    fn on_port(&self, tx: &mut Tx<'_>, id: PortId) -> Result<PlannedNic> {
        let port = port_row(tx, id)?
            .filter(|p| self.admin || p.standard.project_id == self.project)
            .filter(|p| p.role == PortRole::Plain)
            .ok_or_else(|| Error::invalid(format!("Port id {id} could not be found.")))?;
        if !port.device_id.is_empty() || port.server.is_some() {
            return Err(Error::conflict(format!("Port {id} is still in use.")));
        }
        Ok(PlannedNic {
            port_id: id,
            network_id: port.network_id,
            fixed_ip: None,
            security_groups: Vec::new(),
            preexisting: true,
        })
    }

    /// Groups by name or id. The default group need not be there yet: its id is known beforehand.
    fn groups(&self, tx: &mut Tx<'_>, wanted: &[String]) -> Result<Vec<SecurityGroupId>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let own = groups_of_project(tx, &self.project)?;
        let mut found = Vec::new();
        for text in wanted {
            let by_id: Vec<_> = own.iter().filter(|g| g.id.to_string() == *text).collect();
            let matching = if by_id.is_empty() { own.iter().filter(|g| g.name == *text).collect() } else { by_id };
            match matching.as_slice() {
                [group] => found.push(group.id),
                [] if text == "default" => found.push(default_group_of(&self.project)),
                [] => {
                    let shown: String = text.chars().take(255).collect();
                    return Err(Error::invalid(format!("Security group {shown} not found.")));
                }
                _ => {
                    return Err(Error::conflict(format!(
                        "Multiple security groups found matching '{text}'. Use an ID to be more specific."
                    )));
                }
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn check_quota(&self, tx: &mut Tx<'_>, more: usize) -> Result<()> {
        let limit = quota_limit(tx, &self.project, quotas::PORT)?;
        let more = i64::try_from(more).unwrap_or(i64::MAX);
        if limit >= 0 && more > 0 && quota_used(tx, &self.project, quotas::PORT)?.saturating_add(more) > limit {
            return Err(Error::new(Kind::OverQuota, "Maximum number of ports exceeded"));
        }
        Ok(())
    }
}

/// Makes or takes a port for a server and binds it.
struct Binder {
    cx: WriteCx,
    project: String,
    server: ServerId,
    host: String,
    nic: PlannedNic,
}

impl Binder {
    /// Where no hosts are set for gateways, any may carry them: routers learn of one with its first port.
    fn know_host(&self, tx: &mut Tx<'_>) -> Result<()> {
        let known = "SELECT 1 FROM network_ports WHERE host = ?";
        if !self.cx.tracks || !self.cx.config.gateway_hosts.is_empty() || tx.exists(known, params![&self.host])? {
            return Ok(());
        }
        let routers: Vec<RouterId> =
            tx.query("SELECT id FROM network_routers WHERE gateway_port_id IS NOT NULL", params![], |row| row.get(0))?;
        routers.into_iter().try_for_each(|router| self.cx.mark(tx, Key::Router(router)))
    }

    fn ensure(&self, tx: &mut Tx<'_>) -> Result<Port> {
        let id = self.nic.port_id;
        match port_row(tx, id)? {
            None if self.nic.preexisting => Err(Error::not_found(format!("Port id {id} could not be found."))),
            None => self.create(tx),
            Some(_) => {
                let port = port_fetch(tx, id)?;
                let free = port.row.server.is_none() && port.row.device_id.is_empty();
                if port.row.server == Some(self.server) && port.row.host == self.host {
                    return Ok(port);
                }
                if !free && port.row.server != Some(self.server) {
                    return Err(Error::conflict(format!("Port {id} is still in use.")));
                }
                let mut row = port.row.clone();
                self.bind(&mut row);
                port_update_checked_in_tx(tx, &self.cx, &port, row, PortChange::default())
            }
        }
    }

    fn create(&self, tx: &mut Tx<'_>) -> Result<Port> {
        let network = network_fetch_many(tx, &[self.nic.network_id])?
            .pop()
            .ok_or_else(|| errors::network_not_found(self.nic.network_id))?;
        let mut row = blank_row(&self.cx, self.nic.port_id, self.nic.network_id, &self.project, PortRole::Plain);
        row.made_for_server = true;
        row.port_security = network.port_security;
        self.bind(&mut row);
        let fixed_ips = self.nic.fixed_ip.map(|ip| vec![WantedIp { subnet: None, ip: Some(ip) }]);
        let mut groups = Some(self.nic.security_groups.clone()).filter(|groups| !groups.is_empty());
        if groups.as_ref().is_some_and(|groups| groups.contains(&default_group_of(&self.project))) {
            crate::rules::groups::default_group_in_tx(tx, &self.cx, &self.project)?;
        }
        if !row.port_security {
            groups = Some(Vec::new());
        }
        port_create_in_tx(tx, &self.cx, NewPort { row, fixed_ips, groups, any_group: false, tags: Vec::new() })
    }

    fn bind(&self, row: &mut crate::model::PortRow) {
        row.server = Some(self.server);
        row.device_id = self.server.to_string();
        row.device_owner = format!("compute:{}", self.cx.config.availability_zone);
        row.host.clone_from(&self.host);
    }
}

/// What ports are to compute, in a fixed number of queries. Keeps the order.
fn port_infos(tx: &mut Tx<'_>, ports: Vec<Port>) -> Result<Vec<(Option<ServerId>, PortInfo)>> {
    let networks: Vec<NetworkId> = unique(ports.iter().map(|p| p.row.network_id));
    let groups: Vec<SecurityGroupId> = unique(ports.iter().flat_map(|p| p.groups.iter().copied()));
    let ids: Vec<PortId> = ports.iter().map(|p| p.row.id).collect();
    let rows: HashMap<NetworkId, NetworkRow> =
        network_fetch_many(tx, &networks)?.into_iter().map(|n| (n.id, n)).collect();
    let subnets: HashMap<SubnetId, SubnetRow> =
        subnets_of_networks(tx, &networks)?.into_iter().map(|s| (s.id, s)).collect();
    let names: HashMap<SecurityGroupId, String> =
        group_fetch_many(tx, &groups)?.into_iter().map(|g| (g.id, g.name)).collect();
    let floating = group_by(
        floating_ips_of_ports(tx, &ids)?.into_iter().filter_map(|f| Some(((f.port_id?, f.fixed_ip?), f.address))),
    );
    let metadata: HashMap<NetworkId, MetadataPort> = metadata_ports(tx, &networks)?
        .into_iter()
        .map(|port| (port.row.network_id, metadata_of(&port, &subnets)))
        .collect();
    let info = |port: Port| {
        let network = rows.get(&port.row.network_id)?;
        let fixed_ips = port.addresses.iter().filter_map(|a| {
            let subnet = subnets.get(&a.subnet_id)?;
            Some(FixedIp {
                subnet_id: a.subnet_id,
                address: a.ip,
                prefix: subnet.cidr.prefix_len(),
                gateway: subnet.gateway,
                dns: subnet.dns.clone(),
                floating: floating.get(&(port.row.id, a.ip)).cloned().unwrap_or_default(),
            })
        });
        let info = PortInfo {
            id: port.row.id,
            network_id: network.id,
            network_name: network.name.clone(),
            mac: port.row.mac.clone(),
            mtu: network.mtu,
            fixed_ips: fixed_ips.collect(),
            security_groups: port.groups.iter().filter_map(|g| names.get(g).cloned()).collect(),
            metadata: metadata.get(&network.id).cloned(),
            preexisting: !port.row.made_for_server,
        };
        Some((port.row.server, info))
    };
    Ok(ports.into_iter().filter_map(info).collect())
}

fn metadata_of(port: &Port, subnets: &HashMap<SubnetId, SubnetRow>) -> MetadataPort {
    let addresses = port.addresses.iter().filter_map(|a| {
        let prefix = subnets.get(&a.subnet_id)?.cidr.prefix_len();
        IpNet::new(a.ip, prefix).ok()
    });
    MetadataPort { id: port.row.id, mac: port.row.mac.clone(), addresses: addresses.collect() }
}

fn unique<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect::<BTreeSet<T>>().into_iter().collect()
}
