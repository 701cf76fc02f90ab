//! What may be set, and what is taken when nothing is.
//!
//! `ferrostack.toml` in the data directory, all of it optional; environment variables `FERROSTACK_<SECTION>_<KEY>`
//! go over it, and flags of the command line over those.

use ferrostack_types::{Error, Result, ResultExt};
use ipnet::IpNet;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The whole configuration.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The API's listener.
    pub api: ApiConfig,
    /// Tokens and passwords.
    pub identity: IdentityConfig,
    /// Guests.
    pub compute: ComputeConfig,
    /// Packets.
    pub network: NetworkConfig,
}

/// The API's listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Address and port. Loopback by default: a cloud is not put on a network by accident.
    pub listen: SocketAddr,
    /// The URL that the catalog names; by default made from `listen`.
    pub public_url: Option<String>,
    /// The region's name.
    pub region: String,
}

impl Default for ApiConfig {
    fn default() -> ApiConfig {
        ApiConfig { listen: SocketAddr::from(([127, 0, 0, 1], 5000)), public_url: None, region: "RegionOne".to_owned() }
    }
}

impl ApiConfig {
    /// Where clients find the API, without a slash at the end.
    pub fn url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen)).trim_end_matches('/').to_owned()
    }
}

/// Tokens and passwords.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// How long a token lives, in seconds.
    pub token_seconds: u64,
    /// bcrypt's cost: 2^n rounds.
    pub bcrypt_cost: u32,
}

impl Default for IdentityConfig {
    fn default() -> IdentityConfig {
        IdentityConfig { token_seconds: 3600, bcrypt_cost: 12 }
    }
}

/// What runs guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HypervisorKind {
    /// QEMU on this machine.
    Qemu,
    /// Guests that exist in name only, for development and load tests of the control plane.
    Fake,
}

/// How guests' code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// KVM if a probe guest has really run with it, else TCG.
    Auto,
    /// Hardware virtualization.
    Kvm,
    /// Emulation.
    Tcg,
}

/// Guests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputeConfig {
    /// What runs guests.
    pub hypervisor: HypervisorKind,
    /// How their code is run.
    pub accelerator: Accelerator,
    /// This host's name in the cloud; by default the machine's.
    pub host: Option<String>,
    /// How many virtual CPUs guests may have for each of the host's.
    pub cpu_allocation_ratio: f64,
    /// How many hosts the fake hypervisor makes.
    pub fake_hosts: u32,
}

impl Default for ComputeConfig {
    fn default() -> ComputeConfig {
        ComputeConfig {
            hypervisor: HypervisorKind::Qemu,
            accelerator: Accelerator::Auto,
            host: None,
            cpu_allocation_ratio: 4.0,
            fake_hosts: 1,
        }
    }
}

/// What carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// OVN and Open vSwitch on this machine.
    Ovn,
    /// Nothing: addresses are handed out, packets are not carried. Goes with the fake hypervisor.
    None,
}

/// Packets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// What carries them; by default what fits the hypervisor.
    pub engine: Option<NetworkKind>,
    /// The name of the provider network that leads out.
    pub physical_network: String,
    /// The bridge that it is on.
    pub bridge: String,
    /// This machine's address on it: how the machine itself reaches floating IPs.
    pub address: IpNet,
    /// Put before the names of bridges and namespaces, so that two clouds can share a machine.
    pub name_prefix: String,
}

impl Default for NetworkConfig {
    fn default() -> NetworkConfig {
        NetworkConfig {
            engine: None,
            physical_network: "public".to_owned(),
            bridge: "br-ex".to_owned(),
            address: "172.24.4.1/24".parse().expect("a valid network"),
            name_prefix: String::new(),
        }
    }
}

impl Config {
    /// What carries packets.
    pub fn network_kind(&self) -> NetworkKind {
        self.network.engine.unwrap_or(match self.compute.hypervisor {
            HypervisorKind::Qemu => NetworkKind::Ovn,
            HypervisorKind::Fake => NetworkKind::None,
        })
    }

    /// Reads `ferrostack.toml` of a data directory, if there is one, with the environment over it.
    pub fn load(home: &Path) -> Result<Config> {
        let file = home.join("ferrostack.toml");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(format!("read {}", file.display())),
        };
        let mut table: toml::Table = text.parse().map_err(|e| Error::invalid(format!("{}: {e}", file.display())))?;
        overlay(&mut table, std::env::vars());
        table.try_into().map_err(|e| Error::invalid(format!("configuration: {e}")))
    }
}

/// `FERROSTACK_API_LISTEN=...` becomes `api.listen`.
fn overlay(table: &mut toml::Table, variables: impl Iterator<Item = (String, String)>) {
    const SECTIONS: [&str; 4] = ["api", "identity", "compute", "network"];
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("FERROSTACK_") else { continue };
        let Some((section, key)) = rest.split_once('_') else { continue };
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        if !SECTIONS.contains(&section.as_str()) {
            continue;
        }
        let number = value.parse().map(toml::Value::Integer).or_else(|_| value.parse().map(toml::Value::Float));
        let value = number.unwrap_or(toml::Value::String(value));
        if let toml::Value::Table(section) =
            table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()))
        {
            section.insert(key, value);
        }
    }
}

/// The data directory: `FERROSTACK_HOME`, else `/var/lib/ferrostack` for root, else one in the user's own files.
pub fn default_home() -> PathBuf {
    if let Some(home) = std::env::var_os("FERROSTACK_HOME").filter(|h| !h.is_empty()) {
        return PathBuf::from(home);
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/ferrostack");
    }
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    base.unwrap_or_else(|| PathBuf::from(".")).join("ferrostack")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_over_the_file_and_typos_are_refused() {
        let mut table: toml::Table = "[api]\nregion = \"a\"\n".parse().unwrap();
        let vars = [
            ("FERROSTACK_API_LISTEN", "127.0.0.1:7000"),
            ("FERROSTACK_COMPUTE_HYPERVISOR", "fake"),
            ("FERROSTACK_HOME", "/x"),
            ("FERROSTACK_COMPUTE_CPU_ALLOCATION_RATIO", "16"),
        ];
        overlay(&mut table, vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let config: Config = table.try_into().unwrap();
        assert_eq!(config.api.listen.port(), 7000);
        assert_eq!(config.api.region, "a");
        assert_eq!(config.network_kind(), NetworkKind::None);
        assert_eq!(config.compute.cpu_allocation_ratio, 16.0);
        assert!("[api]\nlissten = 1".parse::<toml::Table>().unwrap().try_into::<Config>().is_err());
    }
}
