//! The engines that carry packets, started and kept by us.
//!
//! ```text
//!   central:  ovsdb-server nb.db <-- ovn-northd --> ovsdb-server sb.db
//!                                                         ^
//!   host:     ovsdb-server conf.db <-- ovn-controller ----'
//!                     ^                     |
//!                ovs-vswitchd <--OpenFlow---'
//! ```
//!
//! They live in a directory of ours, with sockets, pidfiles and databases of their own, so an Open vSwitch
//! that belongs to somebody else is not touched. They are not our children and outlive the control plane: guests keep
//! their network while it restarts. The next start finds them (`process.rs`) and adopts them; a daemon that is
//! dead is started again, by the start and by the supervisor while an [`Engine`] exists.
//!
//! Everything works in a network namespace too: start the process in it.
//!
//! **Datapath.** The kernel's module is used if it can be loaded and no other ovs-vswitchd runs in this network
//! namespace (two of them delete each other's datapaths). Otherwise ovs-vswitchd forwards packets itself, and
//! needs the name `ovs-netdev` for a device: one per network namespace.

mod config;
mod link;
mod process;

pub use config::{Config, Provider};
pub use link::{disable_tx_checksum_offload, interface_index};

use crate::plug::{Datapath, Host, PlugKind, Switch};
use config::Layout;
use ferrostack_types::{Env, Error, Result, ResultExt, Task};
use futures::future::{join_all, try_join};
use process::{Daemon, run_tool};
use rustix::fs::FlockOperation;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often the supervisor looks.
const SUPERVISE: Duration = Duration::from_secs(1);
/// How long a start may wait for another one of the same configuration.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// The userspace datapath's own device. Like all devices that Open vSwitch makes there, it is a persistent tap: it outlives
/// ovs-vswitchd, and the next one takes it over.
const NETDEV: &str = "ovs-netdev";
/// The oldest versions whose databases and options we know.
const OLDEST_OVS: (u32, u32) = (2, 17);
const OLDEST_OVN: (u32, u32) = (22, 3);

/// The running engines. Dropping it ends the supervision, not the engines.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    supervisor: Task<()>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    layout: Layout,
    datapath: Datapath,
    switch: Switch,
    env: Env,
}

/// A daemon, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonStatus {
    /// Which.
    pub name: &'static str,
    /// Its process if it is alive.
    pub pid: Option<u32>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Engine {
    /// Starts what is not running, adopts what is, and returns when ports can be plugged. Repeatable.
    pub async fn start(config: Config, env: Env) -> Result<Engine> {
        let layout = Layout::new(&config)?;
        let _lock = prepare(&layout, &env).await?;
        check_versions().await?;
        start_databases(&config, &layout, &env).await?;
        let bridge = config.integration_bridge();
        let switch = Switch::connect(&layout.socket("conf"), &bridge, env.clone()).await?;
        let datapath = choose_datapath(&config, &layout, &switch).await?;
        switch.ensure_host(&host(&config, &layout, datapath)).await?;
        let daemons = layout.workers(&config);
        all(daemons.iter().map(|daemon| daemon.ensure(&env))).await?;
        let shared = Arc::new(Shared { config, layout, datapath, switch, env: env.clone() });
        shared.switch.settle().await.context("ovs-vswitchd does not do what it is told")?;
        shared.bring_up_provider().await?;
        let supervisor = env.spawn("ovn engines", supervise(shared.clone()));
        Ok(Engine { shared, supervisor })
    }

    /// The northbound database's socket, for [`crate::northbound::Northbound::connect`].
    pub fn northbound_socket(&self) -> PathBuf {
        self.shared.layout.socket("nb")
    }

    /// The southbound database's socket.
    pub fn southbound_socket(&self) -> PathBuf {
        self.shared.layout.socket("sb")
    }

    /// Open vSwitch's database's socket, for [`Switch::connect`].
    pub fn switch_socket(&self) -> PathBuf {
        self.shared.layout.socket("conf")
    }

    /// This host's Open vSwitch.
    pub fn switch(&self) -> &Switch {
        &self.shared.switch
    }

    /// What forwards packets. With [`Datapath::Userspace`] guests' interfaces must do without checksum offload.
    pub fn datapath(&self) -> Datapath {
        self.shared.datapath
    }

    /// The chassis name: what a router's gateway names to be carried by this host.
    pub fn chassis(&self) -> &str {
        &self.shared.config.chassis
    }

    /// All daemons and whether they are alive.
    pub fn status(&self) -> Vec<DaemonStatus> {
        let daemons = self.shared.layout.all(&self.shared.config);
        let pid = |daemon: &Daemon| daemon.alive().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
        daemons.iter().map(|daemon| DaemonStatus { name: daemon.name, pid: pid(daemon) }).collect()
    }

    /// Ends all daemons. Databases stay, so that the next start goes on from there; guests lose their network until then.
    pub async fn stop(self) -> Result<()> {
        self.supervisor.abort();
        let Shared { config, layout, env, .. } = &*self.shared;
        let _lock = prepare(layout, env).await?;
        stop_all(config, layout, env).await
    }

    /// Removes every trace of the engines of a configuration, running or not: bridges, taps that are plugged,
    /// processes, sockets and databases. The caller makes sure that no [`Engine`] of that configuration is in use.
    pub async fn purge(config: &Config, env: &Env) -> Result<()> {
        let layout = Layout::new(config)?;
        if layout.database("conf").exists() {
            let _lock = prepare(&layout, env).await?;
            // ovn-controller would make the integration bridge anew.
            stop_controllers(config, &layout, env).await?;
            // Only the database knows what is plugged.
            layout.server("conf", config).ensure(env).await?;
            let left_over = remove_interfaces(config, &layout, env).await?;
            stop_all(config, &layout, env).await?;
            remove_left_over(&left_over).await?;
        }
        stop_all(config, &layout, env).await?;
        for directory in [&layout.run_dir, &config.state_dir] {
            match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context(format!("remove {}", directory.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Gives the provider bridge's own interface its address. Open vSwitch makes the interface anew with every start of
    /// ovs-vswitchd in the userspace datapath, so this is repeated then.
    async fn bring_up_provider(&self) -> Result<()> {
        let Some(provider) = &self.config.provider else { return Ok(()) };
        let bridge = self.config.bridge(&provider.bridge);
        if self.datapath == Datapath::Userspace
            && let Err(error) = disable_tx_checksum_offload(&bridge)
        {
            tracing::debug!(error = ?error, "the provider bridge has no checksum offload to turn off");
        }
        if let Some(address) = provider.address {
            link::ip(&["address", "replace", &address.to_string(), "dev", &bridge]).await?;
        }
        link::ip(&["link", "set", "dev", &bridge, "up"]).await
    }

    /// Starts what died. Returns whether anything had.
    async fn revive(&self) -> Result<bool> {
        let daemons = self.layout.all(&self.config);
        if daemons.iter().all(|daemon| daemon.alive().is_some()) {
            return Ok(false);
        }
        let _lock = prepare(&self.layout, &self.env).await?;
        for daemon in &daemons {
            let started = daemon.ensure(&self.env).await?;
            if started {
                tracing::warn!(daemon = daemon.name, "daemon was dead and has been started again");
            }
            if started && daemon.name == "vswitchd" {
                self.switch.settle().await?;
                self.bring_up_provider().await?;
            }
        }
        Ok(true)
    }
}

async fn supervise(shared: Arc<Shared>) {
    loop {
        shared.env.sleep(SUPERVISE).await;
        if let Err(error) = shared.revive().await {
            tracing::error!(error = ?error, "the network engine cannot be revived; trying again");
        }
    }
}

/// Makes the directories and keeps other starts of the same configuration out while the returned file is open.
async fn prepare(layout: &Layout, env: &Env) -> Result<std::fs::File> {
    for directory in [&layout.state_dir, &layout.run_dir] {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).context(format!("make {}", directory.display()))?;
    }
    let lock = std::fs::File::create(layout.run_dir.join("lock")).context("open lock file")?;
    let end = env.instant() + LOCK_PATIENCE;
    // Never block on it: the one who holds it may be another task of this thread.
    while let Err(error) = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK || env.instant() > end {
            return Err(Error::from_source("lock the engines", error));
        }
        env.sleep(Duration::from_millis(20)).await;
    }
    Ok(lock)
}

async fn start_databases(config: &Config, layout: &Layout, env: &Env) -> Result<()> {
    let start = async |name: &'static str| -> Result<()> {
        let server = layout.server(name, config);
        if server.alive().is_none() {
            prepare_database(&layout.database(name), &layout.schema(name)?).await?;
        }
        server.ensure(env).await.map(drop)
    };
    all(layout.databases(config).iter().map(|name| start(name))).await
}

/// Waits for all, even if one fails: a start that is given up half-way would leave a daemon that has no pidfile yet, which
/// nobody would find again.
async fn all<T>(work: impl Iterator<Item = impl Future<Output = Result<T>>>) -> Result<()> {
    join_all(work).await.into_iter().try_for_each(|result| result.map(drop))
}

/// Makes a database file, or brings an older one to the schema of the installed version.
async fn prepare_database(file: &Path, schema: &Path) -> Result<()> {
    let arguments = |command: &str| vec![command.into(), file.into(), schema.into()];
    if !file.exists() {
        return run_tool("ovsdb-tool", &arguments("create")).await.map(drop);
    }
    if run_tool("ovsdb-tool", &arguments("needs-conversion")).await?.trim() == "yes" {
        run_tool("ovsdb-tool", &arguments("convert")).await?;
    }
    Ok(())
}

async fn check_versions() -> Result<()> {
    let version = async |program: &str| run_tool(program, &["--version".into()]).await;
    let (ovs, ovn) = try_join(version("ovsdb-server"), version("ovn-controller")).await?;
    for (name, text, oldest) in [("Open vSwitch", ovs, OLDEST_OVS), ("OVN", ovn, OLDEST_OVN)] {
        let Some(found) = parse_version(&text) else {
            return Err(Error::internal(format!("cannot tell the version of {name}")));
        };
        if found < oldest {
            let text = format!("{name} {}.{} is too old, {}.{} is needed", found.0, found.1, oldest.0, oldest.1);
            return Err(Error::internal(text));
        }
    }
    Ok(())
}

/// The version in the first line of `--version`: its last word.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.lines().next()?.split_whitespace().last()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A running ovs-vswitchd keeps the datapath that it has; see the module's text for the rest.
async fn choose_datapath(config: &Config, layout: &Layout, switch: &Switch) -> Result<Datapath> {
    if let (Some(_), Some(datapath)) = (layout.vswitchd().alive(), switch.bridge_datapath(switch.integration_bridge()))
    {
        return Ok(datapath);
    }
    let datapath = match config.datapath {
        Some(datapath) => datapath,
        None if !foreign_vswitchd() && kernel_module().await => Datapath::Kernel,
        None => Datapath::Userspace,
    };
    if datapath == Datapath::Userspace && foreign_vswitchd() && interface_index(NETDEV).is_some() {
        return Err(Error::unavailable("The network engine is not available.").with_retryable(false).context(
            "another Open vSwitch with the userspace datapath (device ovs-netdev) runs in this network namespace",
        ));
    }
    Ok(datapath)
}

async fn kernel_module() -> bool {
    Path::new("/sys/module/openvswitch").exists()
        || run_tool("modprobe", &["-q".into(), "openvswitch".into()]).await.is_ok()
}

/// Whether an ovs-vswitchd runs in this network namespace. (Ours does not, when this is asked.)
fn foreign_vswitchd() -> bool {
    let here = link::network_namespace("self");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().into_string().ok()).any(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "ovs-vswitchd" && link::network_namespace(&pid) == here
    })
}

fn host(config: &Config, layout: &Layout, datapath: Datapath) -> Host {
    let own = format!("unix:{}", layout.socket("sb").display());
    let provider = config.provider.iter().map(|p| (p.physnet.clone(), config.bridge(&p.bridge)));
    Host {
        chassis: config.chassis.clone(),
        hostname: config.hostname.clone(),
        southbound: config.southbound.clone().unwrap_or(own),
        encap_ip: config.encap_ip,
        datapath,
        integration_bridge: config.integration_bridge(),
        mappings: provider.collect(),
        monitor_all: config.southbound.is_none(),
    }
}

/// Removes bridges, and the taps that were plugged into them. Returns the devices that may be left when ovs-vswitchd, if
/// it was running at all, has ended.
async fn remove_interfaces(config: &Config, layout: &Layout, env: &Env) -> Result<Vec<String>> {
    let switch = Switch::connect(&layout.socket("conf"), &config.integration_bridge(), env.clone()).await?;
    let plugged = switch.plugged();
    let datapath = switch.bridge_datapath(switch.integration_bridge());
    let mut left_over = switch.own_bridges();
    left_over.extend(plugged.iter().filter(|p| p.kind == PlugKind::Internal).map(|p| p.interface.clone()));
    switch.remove_bridges().await?;
    if layout.vswitchd().alive().is_some() {
        // The kernel keeps a datapath when ovs-vswitchd ends; it goes with its last bridge.
        switch.settle().await?;
    } else if datapath == Some(Datapath::Kernel) {
        tracing::warn!("ovs-vswitchd is not running: the kernel's datapath, if any is left, goes with its next start");
    }
    for tap in plugged.into_iter().filter(|p| p.kind == PlugKind::Tap) {
        remove_device(&tap.interface).await?;
    }
    Ok(left_over)
}

async fn remove_device(name: &str) -> Result<()> {
    if interface_index(name).is_none() {
        return Ok(());
    }
    link::ip(&["link", "delete", "dev", name]).await
}

async fn remove_left_over(devices: &[String]) -> Result<()> {
    for device in devices {
        remove_device(device).await?;
    }
    // Somebody else's may be using this one.
    if foreign_vswitchd() { Ok(()) } else { remove_device(NETDEV).await }
}

/// Ends the daemons, those that use others first.
async fn stop_all(config: &Config, layout: &Layout, env: &Env) -> Result<()> {
    stop_controllers(config, layout, env).await?;
    layout.vswitchd().stop(env).await?;
    let names = layout.databases(config);
    let servers: Vec<Daemon> = names.iter().map(|name| layout.server(name, config)).collect();
    all(servers.iter().map(|server| server.stop(env))).await
}

async fn stop_controllers(config: &Config, layout: &Layout, env: &Env) -> Result<()> {
    let workers = layout.workers(config);
    let controllers = workers.iter().filter(|daemon| daemon.name != "vswitchd");
    all(controllers.map(|daemon| daemon.stop(env))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(parse_version("ovsdb-server (Open vSwitch) 3.1.0\n"), Some((3, 1)));
        assert_eq!(parse_version("ovn-controller 23.03.1\nOpen vSwitch Library 3.1.0\n"), Some((23, 3)));
        assert_eq!(parse_version("nonsense"), None);
    }
}
