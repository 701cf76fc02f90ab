//! `network.ovn_sync`: tells the engine what has changed.
//!
//! Reads marks and the rows behind them in one snapshot, applies, and removes those marks whose sequence is still what
//! it was. What changed meanwhile has a higher one and comes again. Marks are read in the order of [`crate::cx::rank`],
//! so that nothing is put before what it hangs on.

use super::objects::{Wanted, objects};
use crate::{NetworkConfig, Wiring};
use async_trait::async_trait;
use ferrostack_db::{Tx, params};
use ferrostack_jobs::{Loop, LoopCx};
use ferrostack_ovn::northbound::{Key, Object};
use ferrostack_types::ids::{FloatingIpId, NetworkId, PortId, RouterId, SecurityGroupId};
use ferrostack_types::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many marks are dealt with at a time.
const BATCH: usize = 500;

pub(crate) struct OvnSync {
    pub(crate) wiring: Arc<dyn Wiring>,
    pub(crate) config: Arc<NetworkConfig>,
}

/// A mark: what has changed, and how often.
#[derive(Debug, Clone)]
struct Mark {
    kind: i64,
    id: Uuid,
    seq: i64,
    gone: bool,
}

impl Mark {
    fn key(&self) -> Result<Key> {
        Ok(match self.kind {
            1 => Key::SecurityGroup(SecurityGroupId(self.id)),
            2 => Key::Network(NetworkId(self.id)),
            3 => Key::Router(RouterId(self.id)),
            4 => Key::Port(PortId(self.id)),
            5 => Key::FloatingIp(FloatingIpId(self.id)),
            other => return Err(Error::internal(format!("network_ovn_dirty holds the unknown kind {other}"))),
        })
    }
}

#[async_trait]
impl Loop for OvnSync {
    fn name(&self) -> &'static str {
        "network.ovn_sync"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn run(&self, cx: &LoopCx) -> Result<Value> {
        let (mut synced, mut put_off) = (0, 0);
        let mut after = (0, Uuid::nil());
        loop {
            let config = Arc::clone(&self.config);
            let batch = cx.db.read("ovn_dirty", move |tx| read_batch(tx, after, &config)).await?;
            let Some(last) = batch.marks.last() else { break };
            after = (last.kind, last.id);
            let done = self.apply(batch).await?;
            synced += done.0.len();
            put_off += done.1;
            if !done.0.is_empty() {
                cx.db.write("ovn_synced", move |tx| clear(tx, &done.0)).await?;
            }
        }
        Ok(json!({"synced": synced, "put_off": put_off}))
    }
}

struct Batch {
    marks: Vec<Mark>,
    put: Vec<Object>,
    delete: Vec<Key>,
}

fn read_batch(tx: &mut Tx<'_>, after: (i64, Uuid), config: &NetworkConfig) -> Result<Batch> {
    let marks = tx.query(
        "SELECT kind, id, seq, gone FROM network_ovn_dirty WHERE kind > ? OR (kind = ? AND id > ?)
         ORDER BY kind, id LIMIT ?",
        params![after.0, after.0, after.1, BATCH],
        |row| Ok(Mark { kind: row.get(0)?, id: row.get(1)?, seq: row.get(2)?, gone: row.get(3)? }),
    )?;
    let (mut keys, mut delete) = (Vec::new(), Vec::new());
    for mark in &marks {
        if mark.gone { delete.push(mark.key()?) } else { keys.push(mark.key()?) }
    }
    let put = objects(tx, config, &Wanted::Keys(keys.clone()))?;
    // A key without an object is one that OVN must not have: a floating IP that leads nowhere.
    let there: std::collections::HashSet<Key> = put.iter().map(Object::key).collect();
    delete.extend(keys.into_iter().filter(|key| !there.contains(key)));
    Ok(Batch { marks, put, delete })
}

/// The sequence must still be the one that was read.
fn clear(tx: &mut Tx<'_>, marks: &[Mark]) -> Result<()> {
    for mark in marks {
        tx.execute(
            "DELETE FROM network_ovn_dirty WHERE kind = ? AND id = ? AND seq = ?",
            params![mark.kind, mark.id, mark.seq],
        )?;
    }
    Ok(())
}

impl OvnSync {
    /// All in one transaction; if something in it cannot be put, one by one, so that it does not hold up the others.
    async fn apply(&self, batch: Batch) -> Result<(Vec<Mark>, usize)> {
        match self.wiring.apply(&batch.put, &batch.delete).await {
            Ok(()) => return Ok((batch.marks, 0)),
            Err(error) if error.kind() == ferrostack_types::Kind::Unavailable => return Err(error),
            Err(error) => tracing::warn!(?error, "a batch of network changes is applied one by one"),
        }
        let (mut done, mut put_off) = (Vec::new(), 0);
        for mark in batch.marks {
            let key = mark.key()?;
            let put = batch.put.iter().find(|object| object.key() == key).cloned();
            let result = match put {
                Some(object) => self.wiring.apply(&[object], &[]).await,
                None => self.wiring.apply(&[], &[key]).await,
            };
            match result {
                Ok(()) => done.push(mark),
                Err(error) => {
                    put_off += 1;
                    tracing::warn!(%key, ?error, "not applied yet");
                }
            }
        }
        Ok((done, put_off))
    }
}
