//! What is to run, and where its files are.

use super::process::Daemon;
use crate::ovsdb::derived_uuid;
use crate::plug::Datapath;
use ferrostack_types::{Error, Result};
use ipnet::IpNet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use uuid::Uuid;

/// The longest run directory: a socket's path has at most 107 bytes, and the longest file in it is
/// `ovn-controller.4194304.ctl`.
const LONGEST_RUN_DIR: usize = 80;
/// The longest name of a network interface.
const LONGEST_INTERFACE: usize = 15;

/// What is to run on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The engines' own directory: databases and logs.
    pub state_dir: PathBuf,
    /// Where sockets and pidfiles go; with `None` a directory in `state_dir`, or in `/run` if that path is too long for
    /// sockets.
    pub run_dir: Option<PathBuf>,
    /// OVN's id for this host; must never change.
    pub chassis: String,
    /// The host's name.
    pub hostname: String,
    /// The address at which other hosts reach this one's tunnels; 127.0.0.1 for a single machine.
    pub encap_ip: IpAddr,
    /// Whether the northbound and southbound databases and ovn-northd run here.
    pub central: bool,
    /// Where the southbound database is if not here, e.g. `tcp:10.0.0.1:6642`.
    pub southbound: Option<String>,
    /// Where other hosts reach the southbound database if it is here. It has no access control: an internal network.
    pub southbound_listen: Option<SocketAddr>,
    /// Put before the names of bridges, so that several clouds fit on one machine. At most 8 characters.
    pub bridge_prefix: String,
    /// A bridge for an external network.
    pub provider: Option<Provider>,
    /// What forwards packets; found out if it is `None`.
    pub datapath: Option<Datapath>,
}

impl Config {
    /// A single machine: all in one directory, no external network yet.
    pub fn single(state_dir: impl Into<PathBuf>, hostname: &str) -> Config {
        Config {
            state_dir: state_dir.into(),
            run_dir: None,
            chassis: hostname.to_owned(),
            hostname: hostname.to_owned(),
            encap_ip: IpAddr::from([127, 0, 0, 1]),
            central: true,
            southbound: None,
            southbound_listen: None,
            bridge_prefix: String::new(),
            provider: None,
            datapath: None,
        }
    }

    /// A bridge's name with the prefix.
    pub fn bridge(&self, name: &str) -> String {
        format!("{}{name}", self.bridge_prefix)
    }

    /// The integration bridge's name.
    pub fn integration_bridge(&self) -> String {
        self.bridge("br-int")
    }
}

/// A bridge for an external network whose router is this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The name that networks refer to it by, e.g. `public`.
    pub physnet: String,
    /// The bridge (without prefix), e.g. `br-ex`.
    pub bridge: String,
    /// The host's own address on it, e.g. `172.24.4.1/24`. Nothing is masqueraded towards the world.
    pub address: Option<IpNet>,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) state_dir: PathBuf,
    pub(super) run_dir: PathBuf,
}

impl Layout {
    pub(super) fn new(config: &Config) -> Result<Layout> {
        let state_dir = std::path::absolute(&config.state_dir)
            .map_err(|e| Error::from_source("the engines' directory has no absolute path", e))?;
        let inside = state_dir.join("run");
        let run_dir = match &config.run_dir {
            Some(run_dir) => run_dir.clone(),
            None if inside.as_os_str().len() <= LONGEST_RUN_DIR => inside,
            None => {
                let hash = derived_uuid(Uuid::nil(), &[&state_dir.to_string_lossy()]).simple().to_string();
                PathBuf::from(format!("/run/ferrostack-{}", &hash[..16]))
            }
        };
        if run_dir.as_os_str().len() > LONGEST_RUN_DIR {
            return Err(Error::internal(format!("path too long for sockets: {}", run_dir.display())));
        }
        let bridges = config.provider.iter().map(|p| config.bridge(&p.bridge)).chain([config.integration_bridge()]);
        for bridge in bridges {
            if bridge.len() > LONGEST_INTERFACE {
                return Err(Error::internal(format!("name too long for a network interface: {bridge}")));
            }
        }
        Ok(Layout { state_dir, run_dir })
    }

    pub(super) fn socket(&self, database: &str) -> PathBuf {
        self.run_dir.join(format!("{database}.sock"))
    }

    pub(super) fn database(&self, database: &str) -> PathBuf {
        self.state_dir.join(format!("{database}.db"))
    }

    /// The schema that came with the installed version.
    pub(super) fn schema(&self, database: &str) -> Result<PathBuf> {
        let (package, file) = match database {
            "nb" => ("ovn", "ovn-nb.ovsschema"),
            "sb" => ("ovn", "ovn-sb.ovsschema"),
            _ => ("openvswitch", "vswitch.ovsschema"),
        };
        let places = ["/usr/share", "/usr/local/share"];
        let mut files = places.iter().map(|place| PathBuf::from(place).join(package).join(file));
        files.find(|file| file.is_file()).ok_or_else(|| {
            Error::unavailable("The network engine is not installed.")
                .with_retryable(false)
                .context(format!("no {file}"))
        })
    }

    /// The databases that are here.
    pub(super) fn databases(&self, config: &Config) -> &'static [&'static str] {
        if config.central { &["conf", "nb", "sb"] } else { &["conf"] }
    }

    fn daemon(&self, name: &'static str, program: &'static str, arguments: Vec<OsString>) -> Daemon {
        let (run_dir, log_dir) = (self.run_dir.clone(), self.state_dir.clone());
        Daemon { name, program, arguments, run_dir, log_dir }
    }

    /// The server of a database.
    pub(super) fn server(&self, database: &str, config: &Config) -> Daemon {
        let mut arguments = vec![format!("--remote=punix:{}", self.socket(database).display()).into()];
        if let ("sb", Some(listen)) = (database, config.southbound_listen) {
            let address = match listen.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            arguments.push(format!("--remote=ptcp:{}:{address}", listen.port()).into());
        }
        arguments.push(self.database(database).into());
        let name = match database {
            "nb" => "ovsdb-nb",
            "sb" => "ovsdb-sb",
            _ => "ovsdb-conf",
        };
        self.daemon(name, "ovsdb-server", arguments)
    }

    pub(super) fn vswitchd(&self) -> Daemon {
        self.daemon("vswitchd", "ovs-vswitchd", vec![self.remote("conf")])
    }

    fn remote(&self, database: &str) -> OsString {
        format!("unix:{}", self.socket(database).display()).into()
    }

    /// The daemons that work on databases.
    pub(super) fn workers(&self, config: &Config) -> Vec<Daemon> {
        let mut daemons = vec![self.vswitchd()];
        if config.central {
            let databases = [("--ovnnb-db=unix:", "nb"), ("--ovnsb-db=unix:", "sb")];
            let arguments = databases.map(|(option, name)| format!("{option}{}", self.socket(name).display()).into());
            daemons.push(self.daemon("northd", "ovn-northd", arguments.to_vec()));
        }
        daemons.push(self.daemon("controller", "ovn-controller", vec![self.remote("conf")]));
        daemons
    }

    /// All daemons, in the order in which they need each other.
    pub(super) fn all(&self, config: &Config) -> Vec<Daemon> {
        let servers = self.databases(config).iter().map(|name| self.server(name, config));
        servers.chain(self.workers(config)).collect()
    }
}
