//! `network_subnets`.

use super::{fetch_in, json};
use crate::errors;
use crate::model::SubnetRow;
use ferrostack_db::{Tx, params};
use ferrostack_types::Result;
use ferrostack_types::ids::{NetworkId, SubnetId};

pub(crate) const TABLE: &str = "network_subnets";

fn select() -> String {
    format!("SELECT {} FROM {TABLE}", SubnetRow::COLUMNS)
}

pub(crate) fn subnet_fetch(tx: &mut Tx<'_>, id: SubnetId) -> Result<SubnetRow> {
    tx.query_opt(&format!("{} WHERE id = ?", select()), params![id], SubnetRow::read)?
        .ok_or_else(|| errors::subnet_not_found(id))
}

pub(crate) fn subnet_fetch_many(tx: &mut Tx<'_>, ids: &[SubnetId]) -> Result<Vec<SubnetRow>> {
    fetch_in(tx, &select(), "id", "", ids, SubnetRow::read)
}

/// The subnets of networks, oldest first.
pub(crate) fn subnets_of_networks(tx: &mut Tx<'_>, networks: &[NetworkId]) -> Result<Vec<SubnetRow>> {
    fetch_in(tx, &select(), "network_id", "ORDER BY created_at, id", networks, SubnetRow::read)
}

pub(crate) fn subnet_insert_in_tx(tx: &mut Tx<'_>, subnet: &SubnetRow) -> Result<()> {
    let s = &subnet.standard;
    tx.execute(
        "INSERT INTO network_subnets (id, project_id, network_id, name, description, ip_version, cidr, gateway_ip, enable_dhcp,
         ipv6_ra_mode, ipv6_address_mode, allocation_pools, dns_nameservers, host_routes, service_types, created_at,
         updated_at, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            subnet.id, &s.project_id, subnet.network_id, &subnet.name, &s.description, subnet.ip_version,
            subnet.cidr.to_string(), subnet.gateway.map(|g| g.to_string()), subnet.dhcp, subnet.ra_mode.clone(),
            subnet.address_mode.clone(), json(&subnet.pools), json(&subnet.dns), json(&subnet.host_routes),
            json(&subnet.service_types), s.created_at, s.updated_at, s.revision
        ],
    )
    .map(drop)
}

/// Writes all that may change. The revision is the row's, raised by the caller.
pub(crate) fn subnet_update_in_tx(tx: &mut Tx<'_>, subnet: &SubnetRow) -> Result<()> {
    let s = &subnet.standard;
    tx.execute(
        "UPDATE network_subnets SET name = ?, description = ?, gateway_ip = ?, enable_dhcp = ?, allocation_pools = ?,
         dns_nameservers = ?, host_routes = ?, service_types = ?, updated_at = ?, revision = ? WHERE id = ?",
        params![
            &subnet.name,
            &s.description,
            subnet.gateway.map(|g| g.to_string()),
            subnet.dhcp,
            json(&subnet.pools),
            json(&subnet.dns),
            json(&subnet.host_routes),
            json(&subnet.service_types),
            s.updated_at,
            s.revision,
            subnet.id
        ],
    )
    .map(drop)
}

pub(crate) fn subnet_delete_in_tx(tx: &mut Tx<'_>, id: SubnetId) -> Result<()> {
    tx.execute("DELETE FROM network_subnets WHERE id = ?", params![id]).map(drop)
}
