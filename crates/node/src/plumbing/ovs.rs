//! Ports on the host's Open vSwitch, each through a tap device of ours.

use super::{NicBackend, Plumbing, tap, tap_name};
use crate::hypervisor::Failure;
use async_trait::async_trait;
use ferrostack_contracts::network::PortInfo;
use ferrostack_ovn::plug::{Datapath, PlugKind, Switch};
use ferrostack_types::ids::PortId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Ports on the host's Open vSwitch.
pub struct Ovs {
    switch: Arc<Switch>,
}

impl Ovs {
    /// On this switch.
    pub fn new(switch: Arc<Switch>) -> Ovs {
        Ovs { switch }
    }
}

fn failed(doing: &str) -> impl Fn(std::io::Error) -> Failure {
    move |e| Failure::io(doing, &e)
}

#[async_trait]
impl Plumbing for Ovs {
    async fn plug(&self, port: &PortInfo) -> Result<NicBackend, Failure> {
        let name = tap_name(port.id);
        tap::create(&name, port.mtu).map_err(failed("make a tap device"))?;
        self.switch.plug(port.id, &name, &port.mac, PlugKind::Tap).await?;
        Ok(NicBackend::Tap(name))
    }

    async fn unplug(&self, port: PortId) -> Result<(), Failure> {
        self.switch.unplug(port).await?;
        tap::remove(&tap_name(port)).map_err(failed("remove a tap device"))
    }

    async fn sweep(&self, keep: &BTreeSet<PortId>) -> Result<(), Failure> {
        for plugged in self.switch.plugged() {
            // What has another name is not a guest's: the metadata service has ports of its own.
            if plugged.interface == tap_name(plugged.port) && !keep.contains(&plugged.port) {
                tracing::info!(port = %plugged.port, "removing an interface that no guest has");
                self.unplug(plugged.port).await?;
            }
        }
        Ok(())
    }

    fn userspace(&self) -> bool {
        self.switch.bridge_datapath(self.switch.integration_bridge()) == Some(Datapath::Userspace)
    }
}
