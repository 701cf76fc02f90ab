//! `/extensions` and `/os-migrations`: what old clients look at before they begin.

use crate::Compute;
use ferrostack_rest::{Reply, Request, Target};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;

const EXTENSIONS: &[(&str, &str)] = &[
    ("os-aggregates", "Aggregates"),
    ("os-attach-interfaces", "AttachInterfaces"),
    ("os-availability-zone", "AvailabilityZone"),
    ("os-config-drive", "ConfigDrive"),
    ("os-console-output", "ConsoleOutput"),
    ("os-extended-server-attributes", "ExtendedServerAttributes"),
    ("os-extended-status", "ExtendedStatus"),
    ("os-flavor-access", "FlavorAccess"),
    ("os-flavor-extra-specs", "FlavorExtraSpecs"),
    ("os-flavor-manage", "FlavorManage"),
    ("os-hypervisors", "Hypervisors"),
    ("os-instance-actions", "InstanceActions"),
    ("os-keypairs", "Keypairs"),
    ("os-lock-server", "LockServer"),
    ("os-pause-server", "PauseServer"),
    ("os-quota-sets", "Quotas"),
    ("os-remote-consoles", "Consoles"),
    ("os-scheduler-hints", "SchedulerHints"),
    ("os-server-groups", "ServerGroups"),
    ("os-services", "Services"),
    ("os-simple-tenant-usage", "SimpleTenantUsage"),
];

fn view(alias: &str, name: &str) -> Value {
    json!({
        "alias": alias, "name": name, "description": name, "links": [], "updated": "2014-12-03T00:00:00Z",
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
    })
}

/// `GET /extensions`
pub(crate) async fn list(_: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let list: Vec<Value> = EXTENSIONS.iter().map(|(alias, name)| view(alias, name)).collect();
    Ok(Reply::ok(&json!({"extensions": list})))
}

/// `GET /extensions/{alias}`
pub(crate) async fn show(_: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    let alias = request.param("alias");
    let found = EXTENSIONS.iter().find(|(known, _)| *known == alias);
    let (alias, name) = found.ok_or_else(|| Error::not_found("The resource could not be found."))?;
    Ok(Reply::ok(&json!({"extension": view(alias, name)})))
}

/// `GET /os-migrations`: servers do not move here yet.
pub(crate) async fn migrations(_: Arc<Compute>, request: Request) -> Result<Reply> {
    request.authorize(&Target::own(request.caller()))?;
    Ok(Reply::ok(&json!({"migrations": []})))
}
