//! Addresses: their sortable form in the database, pools, MAC addresses.

use ferrostack_types::{Env, Error, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as the database keeps it: its family's digit and its bits in hex, so that text sorts as addresses do.
pub(crate) fn key(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => format!("4{:08x}", u32::from(v4)),
        IpAddr::V6(v6) => format!("6{:032x}", u128::from(v6)),
    }
}

/// The reverse of [`key`].
pub(crate) fn from_key(text: &str) -> Result<IpAddr> {
    let wrong = || Error::internal(format!("the database holds '{text}' where an address was expected"));
    let (family, hex) = text.split_at_checked(1).ok_or_else(wrong)?;
    let bits = u128::from_str_radix(hex, 16).map_err(|_| wrong())?;
    match family {
        "4" => u32::try_from(bits).map(|b| IpAddr::V4(Ipv4Addr::from(b))).map_err(|_| wrong()),
        "6" => Ok(IpAddr::V6(Ipv6Addr::from(bits))),
        _ => Err(wrong()),
    }
}

/// An address as a number within its family.
pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address of a number in the family of `like`.
pub(crate) fn of_number(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// A range of addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) start: IpAddr,
    pub(crate) end: IpAddr,
}

impl Pool {
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.start.is_ipv4() && self.start <= ip && ip <= self.end
    }

    /// How many addresses, at most `u128::MAX`.
    pub(crate) fn size(&self) -> u128 {
        number(self.end).saturating_sub(number(self.start)).saturating_add(1)
    }

    pub(crate) fn overlaps(&self, other: &Pool) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// The addresses of a range that hosts may have: all but network and broadcast (IPv4), all but the first (IPv6).
pub(crate) fn usable(cidr: IpNet) -> Pool {
    let (first, last) = (cidr.network(), cidr.broadcast());
    let (low, high) = (number(first), number(last));
    let (low, high) = match cidr {
        IpNet::V4(net) if net.prefix_len() < 31 => (low + 1, high - 1),
        IpNet::V6(net) if net.prefix_len() < 127 => (low + 1, high),
        _ => (low, high),
    };
    Pool { start: of_number(low, first), end: of_number(high, first) }
}

/// All that is usable but the gateway.
pub(crate) fn default_pools(cidr: IpNet, gateway: Option<IpAddr>) -> Vec<Pool> {
    let all = usable(cidr);
    let Some(gateway) = gateway.filter(|g| all.contains(*g)) else { return vec![all] };
    let at = number(gateway);
    let mut pools = Vec::new();
    if gateway != all.start {
        pools.push(Pool { start: all.start, end: of_number(at - 1, gateway) });
    }
    if gateway != all.end {
        pools.push(Pool { start: of_number(at + 1, gateway), end: all.end });
    }
    pools
}

/// A random address of the pools, each as likely as any other.
pub(crate) fn random_in(env: &Env, pools: &[Pool]) -> Option<(usize, IpAddr)> {
    let total = pools.iter().fold(0_u128, |sum, pool| sum.saturating_add(pool.size()));
    if total == 0 {
        return None;
    }
    let mut at = u128::from_le_bytes(env.random()) % total;
    for (index, pool) in pools.iter().enumerate() {
        if at < pool.size() {
            return Some((index, of_number(number(pool.start) + at, pool.start)));
        }
        at -= pool.size();
    }
    None
}

/// A random MAC address below Neutron's base `fa:16:3e`.
pub(crate) fn random_mac(env: &Env) -> String {
    let [a, b, c] = env.random::<3>();
    format!("fa:16:3e:{a:02x}:{b:02x}:{c:02x}")
}

/// The address that a guest makes up from an advertised prefix (modified EUI-64).
pub(crate) fn eui64(cidr: IpNet, mac: &str) -> Option<IpAddr> {
    let bytes: Vec<u8> = mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let [a, b, c, d, e, f] = bytes.try_into().ok()?;
    let IpNet::V6(net) = cidr else { return None };
    if net.prefix_len() > 64 {
        return None;
    }
    let host = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Some(IpAddr::V6(Ipv6Addr::from(u128::from(net.network()) | u128::from(host))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn keys_sort_like_addresses_and_come_back() {
        let mut all = ["10.0.0.2", "10.0.0.10", "9.255.255.255", "fd00::1", "fd00::10", "::2"].map(ip);
        all.sort_by_key(|ip| key(*ip));
        assert_eq!(
            all.map(|ip| ip.to_string()),
            ["9.255.255.255", "10.0.0.2", "10.0.0.10", "::2", "fd00::1", "fd00::10"]
        );
        for ip in all {
            assert_eq!(from_key(&key(ip)).unwrap(), ip);
        }
        assert!(from_key("").is_err() && from_key("5ff").is_err() && from_key("4zz").is_err());
    }

    #[test]
    fn pools_leave_out_the_gateway() {
        let pools = |cidr: &str, gateway: Option<&str>| -> Vec<String> {
            let pools = default_pools(cidr.parse().unwrap(), gateway.map(ip));
            pools.iter().map(|p| format!("{}-{}", p.start, p.end)).collect()
        };
        assert_eq!(pools("10.0.0.0/24", Some("10.0.0.1")), ["10.0.0.2-10.0.0.254"]);
        assert_eq!(pools("10.0.0.0/24", Some("10.0.0.100")), ["10.0.0.1-10.0.0.99", "10.0.0.101-10.0.0.254"]);
        assert_eq!(pools("10.0.0.0/24", None), ["10.0.0.1-10.0.0.254"]);
        assert_eq!(pools("10.0.0.0/31", None), ["10.0.0.0-10.0.0.1"]);
        assert_eq!(pools("fd00::/64", Some("fd00::1")), ["fd00::2-fd00::ffff:ffff:ffff:ffff"]);
    }

    #[test]
    fn slaac_addresses_follow_the_mac() {
        let made = eui64("fd00:1::/64".parse().unwrap(), "fa:16:3e:12:34:56").unwrap();
        assert_eq!(made.to_string(), "fd00:1::f816:3eff:fe12:3456");
    }
}
