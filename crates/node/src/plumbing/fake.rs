//! No network: ports are noted, packets go nowhere.

use super::{NicBackend, Plumbing};
use crate::hypervisor::Failure;
use async_trait::async_trait;
use ferrostack_contracts::network::PortInfo;
use ferrostack_types::ids::PortId;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// No network: ports are noted, packets go nowhere.
#[derive(Debug, Default)]
pub struct FakePlumbing {
    plugged: Mutex<BTreeSet<PortId>>,
}

impl FakePlumbing {
    /// The ports that are plugged now.
    pub fn plugged(&self) -> BTreeSet<PortId> {
        self.plugged.lock().clone()
    }
}

#[async_trait]
impl Plumbing for FakePlumbing {
    async fn plug(&self, port: &PortInfo) -> Result<NicBackend, Failure> {
        self.plugged.lock().insert(port.id);
        Ok(NicBackend::Disconnected)
    }

    async fn unplug(&self, port: PortId) -> Result<(), Failure> {
        self.plugged.lock().remove(&port);
        Ok(())
    }

    async fn sweep(&self, keep: &BTreeSet<PortId>) -> Result<(), Failure> {
        self.plugged.lock().retain(|port| keep.contains(port));
        Ok(())
    }

    fn userspace(&self) -> bool {
        false
    }
}
