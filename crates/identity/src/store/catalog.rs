//! Regions, services and endpoints.

use super::{Map, json};
use ferrostack_db::{Row, Select, Tx, is_foreign_key_violation, is_unique_violation, params};
use ferrostack_types::{Error, Result, SortDirection};

/// A region.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub(crate) id: String,
    pub(crate) parent_id: Option<String>,
    pub(crate) description: String,
    pub(crate) extra: Map,
}

/// A service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) enabled: bool,
    pub(crate) description: Option<String>,
    pub(crate) extra: Map,
}

/// Where a service can be reached.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) service_id: String,
    pub(crate) region_id: Option<String>,
    pub(crate) interface: String,
    pub(crate) url: String,
    pub(crate) enabled: bool,
    pub(crate) extra: Map,
    /// Made by this deployment for itself, which keeps its URL up to date.
    pub(crate) bootstrapped: bool,
}

const REGION: &str = "SELECT id, parent_id, description, extra FROM identity_regions";
const SERVICE: &str = "SELECT id, type, name, enabled, description, extra FROM identity_services";
const ENDPOINT: &str =
    "SELECT id, service_id, region_id, interface, url, enabled, extra, bootstrapped FROM identity_endpoints";

fn read_region(row: &Row<'_>) -> Result<Region> {
    Ok(Region { id: row.get(0)?, parent_id: row.get(1)?, description: row.get(2)?, extra: row.json(3)? })
}

fn read_service(row: &Row<'_>) -> Result<Service> {
    Ok(Service {
        id: row.get(0)?,
        kind: row.get(1)?,
        name: row.get(2)?,
        enabled: row.get(3)?,
        description: row.get(4)?,
        extra: row.json(5)?,
    })
}

fn read_endpoint(row: &Row<'_>) -> Result<Endpoint> {
    Ok(Endpoint {
        id: row.get(0)?,
        service_id: row.get(1)?,
        region_id: row.get(2)?,
        interface: row.get(3)?,
        url: row.get(4)?,
        enabled: row.get(5)?,
        extra: row.json(6)?,
        bootstrapped: row.get(7)?,
    })
}

pub(crate) fn region_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<Region>> {
    tx.query_opt(&format!("{REGION} WHERE id = ?"), params![id], read_region)
}

pub(crate) fn region_list(tx: &mut Tx<'_>, parent: Option<&str>) -> Result<Vec<Region>> {
    Select::new(REGION).filter_opt("parent_id = ?", parent).order("id", SortDirection::Asc).fetch(tx, read_region)
}

pub(crate) fn region_insert(tx: &mut Tx<'_>, region: &Region) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_regions (id, parent_id, description, extra) VALUES (?, ?, ?, ?)",
        params![&region.id, region.parent_id.as_ref(), &region.description, json(&region.extra)],
    )
    .map(drop)
    .map_err(|e| {
        if is_unique_violation(&e) {
            return crate::errors::conflict("region", format!("Duplicate ID, {}", region.id));
        }
        e
    })
}

pub(crate) fn region_update(tx: &mut Tx<'_>, region: &Region) -> Result<()> {
    tx.execute(
        "UPDATE identity_regions SET parent_id = ?, description = ?, extra = ? WHERE id = ?",
        params![region.parent_id.as_ref(), &region.description, json(&region.extra), &region.id],
    )
    .map(drop)
}

pub(crate) fn region_delete(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.execute("DELETE FROM identity_regions WHERE id = ?", params![id]).map(drop).map_err(|e| {
        if is_foreign_key_violation(&e) {
            return Error::forbidden(format!(
                "Unable to delete region {id} because it or its child regions have associated endpoints."
            ));
        }
        e
    })
}

pub(crate) fn service_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<Service>> {
    tx.query_opt(&format!("{SERVICE} WHERE id = ?"), params![id], read_service)
}

pub(crate) fn service_list(tx: &mut Tx<'_>, kind: Option<&str>, name: Option<&str>) -> Result<Vec<Service>> {
    Select::new(SERVICE)
        .filter_opt("type = ?", kind)
        .filter_opt("name = ?", name)
        .order("type", SortDirection::Asc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read_service)
}

pub(crate) fn service_insert(tx: &mut Tx<'_>, service: &Service) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_services (id, type, name, enabled, description, extra) VALUES (?, ?, ?, ?, ?, ?)",
        params![
            &service.id,
            &service.kind,
            &service.name,
            service.enabled,
            service.description.as_ref(),
            json(&service.extra)
        ],
    )
    .map(drop)
}

pub(crate) fn service_update(tx: &mut Tx<'_>, service: &Service) -> Result<()> {
    tx.execute(
        "UPDATE identity_services SET type = ?, name = ?, enabled = ?, description = ?, extra = ? WHERE id = ?",
        params![
            &service.kind,
            &service.name,
            service.enabled,
            service.description.as_ref(),
            json(&service.extra),
            &service.id
        ],
    )
    .map(drop)
}

/// The service with its endpoints.
pub(crate) fn service_delete(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.execute("DELETE FROM identity_endpoints WHERE service_id = ?", params![id])?;
    tx.execute("DELETE FROM identity_services WHERE id = ?", params![id]).map(drop)
}

pub(crate) fn endpoint_fetch(tx: &mut Tx<'_>, id: &str) -> Result<Option<Endpoint>> {
    tx.query_opt(&format!("{ENDPOINT} WHERE id = ?"), params![id], read_endpoint)
}

pub(crate) fn endpoint_list(
    tx: &mut Tx<'_>,
    interface: Option<&str>,
    service: Option<&str>,
    region: Option<&str>,
) -> Result<Vec<Endpoint>> {
    Select::new(ENDPOINT)
        .filter_opt("interface = ?", interface)
        .filter_opt("service_id = ?", service)
        .filter_opt("region_id = ?", region)
        .order("service_id", SortDirection::Asc)
        .order("interface", SortDirection::Desc)
        .order("id", SortDirection::Asc)
        .fetch(tx, read_endpoint)
}

pub(crate) fn endpoint_insert(tx: &mut Tx<'_>, endpoint: &Endpoint) -> Result<()> {
    tx.execute(
        "INSERT INTO identity_endpoints (id, service_id, region_id, interface, url, enabled, extra, bootstrapped) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            &endpoint.id,
            &endpoint.service_id,
            endpoint.region_id.as_ref(),
            &endpoint.interface,
            &endpoint.url,
            endpoint.enabled,
            json(&endpoint.extra),
            endpoint.bootstrapped
        ],
    )
    .map(drop)
}

pub(crate) fn endpoint_update(tx: &mut Tx<'_>, endpoint: &Endpoint) -> Result<()> {
    tx.execute(
        "UPDATE identity_endpoints SET service_id = ?, region_id = ?, interface = ?, url = ?, enabled = ?, extra = ?, \
         bootstrapped = ? WHERE id = ?",
        params![
            &endpoint.service_id,
            endpoint.region_id.as_ref(),
            &endpoint.interface,
            &endpoint.url,
            endpoint.enabled,
            json(&endpoint.extra),
            endpoint.bootstrapped,
            &endpoint.id
        ],
    )
    .map(drop)
}

pub(crate) fn endpoint_delete(tx: &mut Tx<'_>, id: &str) -> Result<()> {
    tx.execute("DELETE FROM identity_endpoints WHERE id = ?", params![id]).map(drop)
}
