//! The desired logical network and its synchronisation with OVN's northbound database.
//!
//! The network service owns the truth in SQL. It hands objects over, each with the revision of its row, and this module
//! brings OVN to them: *level-triggered*, so a call that is repeated, late or made by two control nodes at once does no
//! harm. What is there is compared with what is wanted, and only the difference is sent, as one transaction.
//!
//! ```text
//!   objects --rows.rs--> rows wanted --\
//!                                       plan.rs --> operations --> one transact --refused: somebody was quicker--> again
//!   OVN_Northbound --> cache ----------/
//! ```
//!
//! Rows of ours carry `ferrostack:id` and `ferrostack:kind` in `external_ids`, the object's main row
//! `ferrostack:revision` as well. A row without them belongs to somebody else and is never touched.
//!
//! Within one process, plans are made and sent one after the other: a plan sees all that the one before it did (see
//! [`crate::ovsdb`]). Between processes, the guards of `plan.rs` apply.

mod acl;
mod model;
mod plan;
mod rows;
#[cfg(test)]
mod tests;

pub use model::*;

use crate::ovsdb::{Cache, Change as RowChange, ChangeKind, Client, Monitor, Observer, Outcome, Refusal, op};
use ferrostack_types::ids::PortId;
use ferrostack_types::{Env, Error, Kind, Result};
use plan::{Missing, Plan, Request};
use rows::table;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{Mutex, broadcast};

/// How often a transaction is planned anew because somebody else was quicker.
const ATTEMPTS: u32 = 10;
/// How many objects go into one transaction of a full reconciliation.
const CHUNK: usize = 500;
/// RFC 7047's word for a `wait` whose condition does not hold.
const GUARD_FAILED: &str = "timed out";
const CHANGES_KEPT: usize = 4096;

const MONITORS: &[Monitor] = &[
    Monitor { table: table::SWITCH, columns: &["name", "ports", "other_config", "external_ids"] },
    Monitor {
        table: table::SWITCH_PORT,
        columns: &[
            "name",
            "type",
            "options",
            "tag",
            "addresses",
            "port_security",
            "up",
            "enabled",
            "dhcpv4_options",
            "dhcpv6_options",
            "external_ids",
        ],
    },
    Monitor { table: table::PORT_GROUP, columns: &["name", "ports", "acls", "external_ids"] },
    Monitor { table: table::ACL, columns: &["priority", "direction", "match", "action", "external_ids"] },
    Monitor { table: table::DHCP_OPTIONS, columns: &["cidr", "options", "external_ids"] },
    Monitor {
        table: table::ROUTER,
        columns: &["name", "ports", "static_routes", "nat", "enabled", "options", "external_ids"],
    },
    Monitor {
        table: table::ROUTER_PORT,
        columns: &["name", "mac", "networks", "gateway_chassis", "ipv6_ra_configs", "external_ids"],
    },
    Monitor { table: table::ROUTE, columns: &["ip_prefix", "nexthop", "external_ids"] },
    Monitor {
        table: table::NAT,
        columns: &["type", "external_ip", "external_mac", "logical_ip", "logical_port", "external_ids"],
    },
    Monitor { table: table::GATEWAY_CHASSIS, columns: &["name", "chassis_name", "priority", "external_ids"] },
];

/// Something that OVN did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A port's wiring came up or went down.
    PortUp {
        /// Which.
        id: PortId,
        /// Whether a host has wired it up.
        up: bool,
    },
    /// The connection to OVN is new: whatever one believed about ports has to be looked up again. The same holds for
    /// a receiver that lagged behind.
    Resync,
}

/// What a full reconciliation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReconcileReport {
    /// Objects that were handed over.
    pub objects: usize,
    /// Objects of which something had to be put or corrected.
    pub put: usize,
    /// Objects that were in OVN and should not have been.
    pub deleted: usize,
    /// Operations that were sent.
    pub operations: usize,
    /// Objects that could not be put because something that they hang on (a port's network) is missing, or because OVN
    /// refuses them (then the log says why).
    pub skipped: Vec<Key>,
}

/// OVN's northbound database, brought to what it should be.
#[derive(Debug)]
pub struct Northbound {
    client: Client,
    changes: broadcast::Sender<Change>,
    /// Held while a plan is made and sent.
    planning: Mutex<()>,
    env: Env,
}

impl Northbound {
    /// Connects to the northbound database's unix socket and reads it.
    pub async fn connect(socket: &Path, env: Env) -> Result<Northbound> {
        let changes = broadcast::Sender::new(CHANGES_KEPT);
        let observer = observer(changes.clone());
        let client = Client::connect(socket, "OVN_Northbound", MONITORS, observer, env.clone()).await?;
        Ok(Northbound { client, changes, planning: Mutex::new(()), env })
    }

    /// Puts and deletes objects in one transaction. Nothing is sent for what is there already. The order of the lists
    /// does not matter, a key that is also put is not deleted, and an object that OVN has at a later revision
    /// is left alone. A retryable [`ferrostack_types::Kind::Conflict`] if something is put that hangs on what is not
    /// there (a port whose network neither is in OVN nor in `put`).
    pub async fn apply(&self, put: &[Object], delete: &[Key]) -> Result<()> {
        let delete: Vec<String> = delete.iter().map(Key::to_string).collect();
        self.execute(Request { put, delete: &delete, missing: Missing::Refuse }).await.map(drop)
    }

    /// Brings all of OVN to `all`: puts what differs and deletes what is marked as ours but not wanted.
    ///
    /// What was put into OVN after `all` was read would be deleted and come back with the next round. To avoid that
    /// flicker, take [`Northbound::revisions`] *before* reading `all` and use [`Northbound::reconcile_seen`].
    pub async fn reconcile(&self, all: &[Object]) -> Result<ReconcileReport> {
        self.client.sync().await?;
        let seen = plan::owners(&self.client.cache());
        self.reconcile_owners(all, &seen).await
    }

    /// As [`Northbound::reconcile`], but deletes only objects that are in `seen`.
    pub async fn reconcile_seen(&self, all: &[Object], seen: &BTreeMap<Key, i64>) -> Result<ReconcileReport> {
        let seen = seen.keys().map(Key::to_string).collect();
        self.reconcile_owners(all, &seen).await
    }

    async fn reconcile_owners(&self, all: &[Object], seen: &BTreeSet<String>) -> Result<ReconcileReport> {
        self.client.sync().await?;
        let mut report = ReconcileReport { objects: all.len(), ..ReconcileReport::default() };
        let wanted: BTreeSet<String> = all.iter().map(|object| object.key().to_string()).collect();
        let mut strays = plan::owners(&self.client.cache());
        strays.retain(|owner| seen.contains(owner) && !wanted.contains(owner));
        let strays: Vec<String> = strays.into_iter().collect();
        let mut sorted = all.to_vec();
        sorted.sort_by_key(Object::key);
        for put in sorted.chunks(CHUNK) {
            self.put_chunk(put, &mut report).await?;
        }
        // What is wanted comes first: a router's interface may be taken over by a port before the rest of it goes.
        for delete in strays.chunks(CHUNK) {
            let plan = self.execute(Request { put: &[], delete, missing: Missing::Skip }).await?;
            report.deleted += plan.touched.len();
            report.operations += plan.operations.len();
        }
        let members = plan::stray_members(&self.client.cache(), all);
        report.operations += members.len();
        if !members.is_empty() {
            self.client.commit(members).await?;
        }
        Ok(report)
    }

    /// Puts what differs of a chunk. What OVN refuses for good must not keep the rest from being put.
    async fn put_chunk(&self, put: &[Object], report: &mut ReconcileReport) -> Result<()> {
        match self.execute(Request { put, delete: &[], missing: Missing::Skip }).await {
            Ok(plan) => {
                report.put += plan.touched.len();
                report.operations += plan.operations.len();
                report.skipped.extend(plan.skipped);
            }
            Err(error) if error.kind() == Kind::Internal => match put {
                [object] => {
                    tracing::error!(error = ?error, object = %object.key(), "OVN refuses an object");
                    report.skipped.push(object.key());
                }
                _ => {
                    for object in put.chunks(1) {
                        Box::pin(self.put_chunk(object, report)).await?;
                    }
                }
            },
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The revision at which OVN has each object.
    pub fn revisions(&self) -> BTreeMap<Key, i64> {
        let cache = self.client.cache();
        let rows = plan::TABLES.iter().flat_map(|table| cache.table(table).rows());
        rows.filter_map(|(_, row)| {
            let kind = row.key("external_ids", "ferrostack:kind")?;
            let id = row.key("external_ids", "ferrostack:id")?;
            Some((Key::from_parts(kind, id)?, plan::revision(row)?))
        })
        .collect()
    }

    /// Whether a host has wired the port up.
    pub fn port_up(&self, id: PortId) -> bool {
        self.client.cache().row(table::SWITCH_PORT, id.0).is_some_and(|row| row.boolean("up"))
    }

    /// What OVN does from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Whether the connection is there now.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    async fn execute(&self, request: Request<'_>) -> Result<Plan> {
        let _one_at_a_time = self.planning.lock().await;
        let mut refused = None;
        let mut fresh = false;
        let mut attempt = 0;
        while attempt < ATTEMPTS {
            let plan = plan::plan(&self.client.cache(), request)?;
            if plan.operations.is_empty() {
                // "Nothing to do" is only true of a copy that is up to date.
                if fresh {
                    return Ok(plan);
                }
                self.client.sync().await?;
                fresh = true;
                continue;
            }
            match self.client.transact(plan.operations.clone()).await? {
                Outcome::Committed(results) if all_matched(&plan.operations, &results) => return Ok(plan),
                Outcome::Committed(_) => tracing::debug!("a row vanished while OVN was changed; planning anew"),
                Outcome::Refused(refusal) => {
                    tracing::debug!(?refusal, "OVN refused a transaction; planning anew");
                    let again = refused.as_ref().is_some_and(|(before, _)| *before == refusal);
                    // Only a guard may fail the same way twice and still be worth another try.
                    let hopeless = again && fresh && refusal.error != GUARD_FAILED;
                    refused = Some((refusal, plan));
                    if hopeless {
                        break;
                    }
                    self.client.sync().await?;
                    fresh = true;
                }
            }
            attempt += 1;
            // The other's change has reached the server; give it the time to reach our copy.
            self.env.sleep(Duration::from_millis(u64::from(5 * attempt))).await;
        }
        Err(match refused {
            Some((refusal, plan)) => refusal_error(refusal, &plan),
            None => Error::unavailable("The network engine is busy.").context("rows vanish as fast as they are put"),
        })
    }
}

fn refusal_error(refusal: Refusal, plan: &Plan) -> Error {
    let operation = plan.operations.get(refusal.operation).map(Value::to_string).unwrap_or_default();
    refusal.into_error().context(operation).with_retryable(true)
}

/// Whether every change found its row. One that did not was lost to somebody who deleted the row meanwhile.
fn all_matched(operations: &[Value], results: &[Value]) -> bool {
    let counted = |(operation, result): (&Value, &Value)| !op::must_match(operation) || result["count"] != 0;
    operations.iter().zip(results).all(counted)
}

fn observer(changes: broadcast::Sender<Change>) -> Observer {
    Box::new(move |cache: &Cache, rows: &[RowChange]| {
        // Sending fails if nobody listens.
        if rows.is_empty() {
            let _ = changes.send(Change::Resync);
        }
        for row in rows.iter().filter(|row| row.table == table::SWITCH_PORT) {
            let relevant = match row.kind {
                ChangeKind::Deleted => true,
                ChangeKind::Inserted | ChangeKind::Modified => row.columns.iter().any(|column| column == "up"),
            };
            if relevant {
                let up = cache.row(table::SWITCH_PORT, row.uuid).is_some_and(|row| row.boolean("up"));
                let _ = changes.send(Change::PortUp { id: PortId(row.uuid), up });
            }
        }
    })
}
