//! OVN and Open vSwitch on this machine, as the configuration has them.

use crate::config::Config;
use crate::home::Home;
use ferrostack_ovn::daemons;
use ferrostack_types::Result;

/// The engines' configuration for a data directory.
pub fn config(config: &Config, home: &Home, host: &str) -> daemons::Config {
    let mut engines = daemons::Config::single(home.join("ovn"), host);
    engines.bridge_prefix = config.network.name_prefix.clone();
    engines.provider = Some(daemons::Provider {
        physnet: config.network.physical_network.clone(),
        bridge: config.network.bridge.clone(),
        address: Some(config.network.address),
    });
    engines
}

/// What a host is called in the cloud.
pub fn host_name(config: &Config) -> Result<String> {
    let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(config.compute.host.clone().unwrap_or_else(system))
}
