//! What nodes say.
//!
//! A hello is written down only now and then, or when something in it has changed. The first hello of a node's process
//! (or to ours) makes both sides compare: the node hears of everything that is wanted of it, and is asked for what it
//! has; guests that nobody wants are told to go. Every guest on a node has had a row before the node heard of it, so a
//! guest without a row is no accident of timing.

use crate::Compute;
use crate::servers::observe;
use crate::store::{guests, nodes};
use async_trait::async_trait;
use ferrostack_contracts::node::{
    GuestState, NodeInfo, NodeReply, NodeReport, NodeReports, NodeRequest, Nodes, ObservedGuest, ReportReply, Want,
    WantedGuest,
};
use ferrostack_contracts::placement::Inventory;
use ferrostack_db::{Db, Tx};
use ferrostack_types::ids::{ImageId, NodeId, ProviderId, ServerId};
use ferrostack_types::{Error, Result, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What this process has heard from nodes and written down.
#[derive(Default)]
pub(crate) struct KnownNodes(Mutex<BTreeMap<NodeId, Known>>);

#[derive(Clone)]
struct Known {
    info: NodeInfo,
    written: Timestamp,
    inventory: BTreeMap<String, Inventory>,
}

#[async_trait]
impl NodeReports for Compute {
    async fn report(&self, node: NodeId, report: NodeReport) -> Result<ReportReply> {
        match report {
            NodeReport::Hello(info) => self.hello(node, info).await.map(|()| ReportReply::Done),
            NodeReport::Guests(seen) => self.guests_seen(node, seen).await.map(|()| ReportReply::Done),
            NodeReport::ReadImage { image, offset, length } => self.read_image(node, image, offset, length).await,
        }
    }
}

impl Compute {
    async fn hello(&self, node: NodeId, info: NodeInfo) -> Result<()> {
        if info.id != node {
            tracing::error!(%node, claims = %info.id, "a node claims to be another");
            return Err(Error::forbidden("A node may speak for itself only."));
        }
        let now = self.env.now();
        let known = self.known.0.lock().get(&node).cloned();
        let fresh = known.as_ref().is_none_or(|k| k.info.started_at != info.started_at);
        let inventory = self.inventory(&info);
        let due = known.as_ref().is_none_or(|k| now.since(k.written) >= self.config.heartbeat_every);
        if fresh || due || known.as_ref().is_some_and(|k| !same_host(&k.info, &info)) {
            let (row, service) = (info.clone(), self.env.uuid());
            let written = self.db.write("node_hello", move |tx| nodes::node_upsert_in_tx(tx, &row, service, now)).await;
            if let Err(error) = &written {
                tracing::error!(host = info.name, %node, ?error, "a host's hello is refused");
            }
            written?;
        }
        if known.as_ref().is_none_or(|k| k.inventory != inventory) {
            self.placement.ensure_provider(ProviderId::from_uuid(node.0), &info.name, &inventory).await?;
        }
        let written = if fresh || due { now } else { known.map_or(now, |k| k.written) };
        self.known.0.lock().insert(node, Known { info, written, inventory });
        if fresh {
            self.compare_soon(node);
        }
        Ok(())
    }

    fn inventory(&self, info: &NodeInfo) -> BTreeMap<String, Inventory> {
        let config = &self.config;
        let reserved = config.reserved_memory_mb.min(info.memory_mb / 2);
        let classes = [
            ("VCPU", u64::from(info.vcpus), 0, config.cpu_ratio),
            ("MEMORY_MB", info.memory_mb, reserved, config.ram_ratio),
            ("DISK_GB", info.disk_gb, 0, config.disk_ratio),
        ];
        let of = |total, reserved, allocation_ratio| Inventory {
            total,
            reserved,
            min_unit: 1,
            max_unit: total,
            step_size: 1,
            allocation_ratio,
        };
        let there = classes.into_iter().filter(|class| class.1 > 0);
        there.map(|(name, total, reserved, ratio)| (name.to_owned(), of(total, reserved, ratio))).collect()
    }

    /// Compares what is wanted of a node with what it has, without keeping its hello waiting.
    fn compare_soon(&self, node: NodeId) {
        let (db, nodes) = (self.db.clone(), Arc::clone(&self.nodes));
        let wanted = self.db.clone();
        let messenger = self.messenger.clone_sender();
        self.env.spawn("compare", async move {
            match wanted.read("guests_of_node", move |tx| guests::guests_of_node_in_tx(tx, node)).await {
                Ok(servers) => messenger(node, servers),
                Err(error) => tracing::warn!(%node, ?error, "what is wanted of a node cannot be read"),
            }
            let seen = match nodes.request(node, NodeRequest::ListGuests).await {
                Ok(NodeReply::Guests(seen)) => seen,
                Ok(_) => return,
                // It says hello again when it is back.
                Err(error) => {
                    tracing::debug!(%node, ?error, "a node does not say what it has");
                    return;
                }
            };
            if let Err(error) = dismiss_orphans(&db, nodes.as_ref(), node, seen).await {
                tracing::warn!(%node, ?error, "orphaned guests stay");
            }
        });
    }

    async fn guests_seen(&self, node: NodeId, seen: Vec<ObservedGuest>) -> Result<()> {
        let now = self.env.now();
        let (jobs, seen) = (self.jobs.clone(), Arc::new(seen));
        let taken = Arc::clone(&seen);
        let messenger = self.messenger.clone_sender();
        let orphans = self
            .db
            .write("guests_observe", move |tx| observe::take_in_tx(tx, &jobs, &messenger, node, &taken, now))
            .await?;
        if !orphans.is_empty() {
            let orphans = seen.iter().filter(|s| orphans.contains(&s.server)).cloned().collect();
            dismiss_orphans(&self.db, self.nodes.as_ref(), node, orphans).await?;
        }
        Ok(())
    }

    /// Bytes of an image, for a node that has a guest which boots from it.
    async fn read_image(&self, node: NodeId, image: ImageId, offset: u64, length: u32) -> Result<ReportReply> {
        let used = move |tx: &mut Tx<'_>| guests::image_used_on_node_in_tx(tx, node, image);
        if !self.db.read("image_used", used).await? {
            return Err(Error::forbidden("No guest of this host boots from the image."));
        }
        self.images.read(image, offset, length).await.map(ReportReply::Bytes)
    }
}

/// Whether a hello says the same of what changes seldom.
fn same_host(old: &NodeInfo, new: &NodeInfo) -> bool {
    let still = NodeInfo { disk_free_gb: old.disk_free_gb, running_guests: old.running_guests, ..new.clone() };
    *old == still
}

/// Tells guests to go that no row wants on this node.
async fn dismiss_orphans(db: &Db, nodes: &dyn Nodes, node: NodeId, seen: Vec<ObservedGuest>) -> Result<()> {
    let ids: Vec<ServerId> = seen.iter().map(|s| s.server).collect();
    let rows: HashMap<_, _> = db.read("guests_known", move |tx| guests::guests_by_id_in_tx(tx, &ids)).await?;
    let orphans: Vec<WantedGuest> = seen
        .iter()
        .filter(|s| s.state != GuestState::Absent)
        .filter(|s| rows.get(&s.server).is_none_or(|guest| guest.node != node || guest.is_gone()))
        .map(|s| WantedGuest {
            server: s.server,
            // Far above what anybody would say of a server that was forgotten.
            generation: s.generation.saturating_add(1_000_000),
            want: Want::Absent,
            boot: s.boot,
            soft_reboot: false,
            spec: None,
        })
        .collect();
    if orphans.is_empty() {
        return Ok(());
    }
    for orphan in &orphans {
        tracing::warn!(%node, server = %orphan.server, "a guest that nobody wants is told to go");
    }
    nodes.request(node, NodeRequest::Converge(orphans)).await.map(|_| ())
}
