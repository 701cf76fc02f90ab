//! The documents, in OpenStack's and in EC2's form.

use crate::plumbing::tap_name;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ferrostack_contracts::network::PortInfo;
use ferrostack_contracts::node::{GuestSpec, WantedGuest};
use ferrostack_types::Env;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// OpenStack's versions, each with what it added; every version has what the ones before it have.
const VERSIONS: [(&str, &str); 10] = [
    ("2012-08-10", "meta_data.json"),
    ("2013-04-04", "password"),
    ("2013-10-17", "vendor_data.json"),
    ("2015-10-15", "network_data.json"),
    ("2016-06-30", ""),
    ("2016-10-06", "vendor_data2.json"),
    ("2017-02-22", ""),
    ("2018-08-27", ""),
    ("2020-10-14", ""),
    ("latest", ""),
];

/// EC2's versions.
const EC2_VERSIONS: [&str; 10] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "latest",
];

/// A document and its media type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub body: Vec<u8>,
    pub json: bool,
}

impl Document {
    fn text(text: impl Into<Vec<u8>>) -> Document {
        Document { body: text.into(), json: false }
    }

    fn json(value: &Value) -> Document {
        Document { body: serde_json::to_vec(value).unwrap_or_default(), json: true }
    }
}

/// What is at a path of the metadata service, for the guest that `port` belongs to.
pub(super) fn lookup(wanted: &WantedGuest, port: &PortInfo, path: &str, env: &Env) -> Option<Document> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => Some(Document::text(EC2_VERSIONS.join("\n"))),
        ["openstack"] => Some(Document::text(VERSIONS.map(|(version, _)| version).join("\n"))),
        ["openstack", version] => openstack_list(wanted, version),
        ["openstack", version, name] => openstack(wanted, version, name, env),
        [version, rest @ ..] if EC2_VERSIONS.contains(version) => ec2(wanted, port, rest),
        _ => None,
    }
}

/// The files of a config drive.
pub(super) fn drive(wanted: &WantedGuest, env: &Env) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (version, _) in VERSIONS {
        for name in names(version).into_iter().flatten().filter(|name| *name != "password") {
            if let Some(document) = openstack(wanted, version, name, env) {
                files.insert(format!("openstack/{version}/{name}"), document.body);
            }
        }
    }
    files
}

/// The documents of a version; `None` if there is no such version.
fn names(version: &str) -> Option<Vec<&'static str>> {
    let last = VERSIONS.iter().position(|(name, _)| *name == version)?;
    let added = VERSIONS[..=last].iter().map(|(_, added)| *added).filter(|added| !added.is_empty());
    let mut names: Vec<&str> = added.collect();
    names.insert(1, "user_data");
    Some(names)
}

fn openstack_list(wanted: &WantedGuest, version: &str) -> Option<Document> {
    let has_user_data = wanted.spec.as_ref().is_some_and(|spec| spec.metadata.user_data.is_some());
    let mut names = names(version)?;
    names.retain(|name| *name != "user_data" || has_user_data);
    Some(Document::text(names.join("\n")))
}

fn openstack(wanted: &WantedGuest, version: &str, name: &str, env: &Env) -> Option<Document> {
    let spec = wanted.spec.as_ref()?;
    if !names(version)?.contains(&name) {
        return None;
    }
    match name {
        "meta_data.json" => Some(Document::json(&meta_data(wanted, spec, version, env))),
        "user_data" => user_data(spec).map(Document::text),
        "network_data.json" => Some(Document::json(&network_data(spec))),
        "vendor_data.json" => Some(Document::json(&json!({}))),
        "vendor_data2.json" => Some(Document::json(&json!({ "static": {} }))),
        "password" => Some(Document::text("")),
        _ => None,
    }
}

fn meta_data(wanted: &WantedGuest, spec: &GuestSpec, version: &str, env: &Env) -> Value {
    let metadata = &spec.metadata;
    let mut document = Map::new();
    document.insert("uuid".into(), json!(wanted.server));
    if !metadata.meta.is_empty() {
        document.insert("meta".into(), json!(metadata.meta));
    }
    if !metadata.public_keys.is_empty() {
        document.insert("public_keys".into(), json!(metadata.public_keys));
        let keys = metadata.public_keys.iter().map(|(name, key)| json!({ "name": name, "type": "ssh", "data": key }));
        document.insert("keys".into(), keys.collect());
    }
    document.insert("hostname".into(), json!(metadata.hostname));
    document.insert("name".into(), json!(metadata.name));
    document.insert("launch_index".into(), json!(metadata.launch_index));
    document.insert("availability_zone".into(), json!(metadata.availability_zone));
    if let Some(password) = &metadata.admin_password {
        document.insert("admin_pass".into(), json!(password.expose()));
    }
    if version >= "2013-10-17" {
        document.insert("random_seed".into(), json!(BASE64.encode(env.random::<512>())));
    }
    if version >= "2016-06-30" {
        document.insert("project_id".into(), json!(metadata.project_id));
        document.insert("devices".into(), json!([]));
    }
    if version >= "2020-10-14" {
        document.insert("dedicated_cpus".into(), json!([]));
    }
    Value::Object(document)
}

fn user_data(spec: &GuestSpec) -> Option<Vec<u8>> {
    let text: String = spec.metadata.user_data.as_ref()?.split_whitespace().collect();
    BASE64.decode(text).ok()
}

fn network_data(spec: &GuestSpec) -> Value {
    let mut links = Vec::new();
    let mut networks = Vec::new();
    let mut services: Vec<Value> = Vec::new();
    for port in &spec.nics {
        let link = tap_name(port.id);
        links.push(json!({
            "id": link, "vif_id": port.id, "type": "ovs", "mtu": port.mtu, "ethernet_mac_address": port.mac,
        }));
        for fixed in &port.fixed_ips {
            let (family, any) = if fixed.address.is_ipv4() { ("ipv4", "0.0.0.0") } else { ("ipv6", "::") };
            let mut network = json!({
                "id": format!("network{}", networks.len()), "link": link, "network_id": port.network_id, "type": family,
            });
            let dns: Vec<Value> = fixed.dns.iter().map(|dns| json!({ "type": "dns", "address": dns })).collect();
            if fixed.address.is_ipv4() && port.metadata.is_some() {
                network["type"] = json!("ipv4_dhcp");
            } else {
                network["ip_address"] = json!(fixed.address);
                network["netmask"] = json!(netmask(fixed.address, fixed.prefix));
                let route = |gateway| json!({ "network": any, "netmask": any, "gateway": gateway });
                network["routes"] = fixed.gateway.map(route).into_iter().collect();
                network["services"] = json!(dns);
            }
            networks.push(network);
            services.extend(dns);
        }
    }
    services.dedup();
    json!({ "links": links, "networks": networks, "services": services })
}

fn netmask(address: IpAddr, prefix: u8) -> String {
    match ipnet::IpNet::new(address, prefix) {
        Ok(net) => net.netmask().to_string(),
        Err(_) => String::new(),
    }
}

fn ec2(wanted: &WantedGuest, port: &PortInfo, rest: &[&str]) -> Option<Document> {
    let spec = wanted.spec.as_ref()?;
    match rest {
        [] => {
            let user_data = if spec.metadata.user_data.is_some() { "\nuser-data" } else { "" };
            Some(Document::text(format!("meta-data/{user_data}")))
        }
        ["user-data"] => user_data(spec).map(Document::text),
        ["meta-data", path @ ..] => {
            let tree = ec2_tree(wanted, spec, port);
            let path = path.join("/");
            match tree.get(&path) {
                Some(text) => Some(Document::text(text.as_str())),
                None => ec2_list(&tree, &path, spec).map(Document::text),
            }
        }
        _ => None,
    }
}

fn ec2_tree(wanted: &WantedGuest, spec: &GuestSpec, port: &PortInfo) -> BTreeMap<String, String> {
    let metadata = &spec.metadata;
    let number = spec
        .name
        .rsplit('-')
        .next()
        .filter(|n| n.len() == 8)
        .map_or_else(|| short(&wanted.server.to_string()), str::to_owned);
    let v4 = port.fixed_ips.iter().find(|fixed| fixed.address.is_ipv4());
    let local = v4.map(|fixed| fixed.address.to_string()).unwrap_or_default();
    let public = v4.and_then(|fixed| fixed.floating.first()).map(ToString::to_string).unwrap_or_default();
    let mut tree = BTreeMap::from([
        ("ami-id".to_owned(), format!("ami-{}", short(&spec.image.id.to_string()))),
        ("ami-launch-index".to_owned(), metadata.launch_index.to_string()),
        ("ami-manifest-path".to_owned(), "FIXME".to_owned()),
        ("block-device-mapping/ami".to_owned(), "vda".to_owned()),
        ("block-device-mapping/root".to_owned(), "/dev/vda".to_owned()),
        ("hostname".to_owned(), metadata.hostname.clone()),
        ("instance-action".to_owned(), "none".to_owned()),
        ("instance-id".to_owned(), format!("i-{number}")),
        ("local-hostname".to_owned(), metadata.hostname.clone()),
        ("local-ipv4".to_owned(), local),
        ("mac".to_owned(), port.mac.clone()),
        ("placement/availability-zone".to_owned(), metadata.availability_zone.clone()),
        ("public-hostname".to_owned(), metadata.hostname.clone()),
        ("public-ipv4".to_owned(), public),
        ("reservation-id".to_owned(), format!("r-{}", short(&wanted.server.to_string()))),
        ("security-groups".to_owned(), port.security_groups.join("\n")),
    ]);
    for (index, key) in metadata.public_keys.values().enumerate() {
        tree.insert(format!("public-keys/{index}/openssh-key"), key.clone());
    }
    tree
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// What is below a path: files, and directories with a slash; public keys with their names.
fn ec2_list(tree: &BTreeMap<String, String>, path: &str, spec: &GuestSpec) -> Option<String> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut names: Vec<String> = Vec::new();
    for below in tree.keys().filter_map(|key| key.strip_prefix(&prefix)) {
        let name = match below.split_once('/') {
            Some((dir, _)) => format!("{dir}/"),
            None => below.to_owned(),
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    if path == "public-keys" {
        names = spec.metadata.public_keys.keys().enumerate().map(|(index, name)| format!("{index}={name}")).collect();
    }
    (!names.is_empty()).then(|| names.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::service::tests::guest;

    fn text(path: &str) -> Option<String> {
        let (wanted, env) = (guest(), Env::system());
        let port = wanted.spec.as_ref().unwrap().nics[0].clone();
        lookup(&wanted, &port, path, &env).map(|document| String::from_utf8(document.body).unwrap())
    }

    #[test]
    fn answers_as_openstack() {
        assert!(text("/openstack").unwrap().starts_with("2012-08-10\n"));
        assert_eq!(text("/openstack/2012-08-10/").unwrap(), "meta_data.json\nuser_data");
        assert!(text("/openstack/latest").unwrap().contains("network_data.json"));
        assert_eq!(text("/openstack/2012-08-10/network_data.json"), None);
        assert_eq!(text("/openstack/2011-01-01/meta_data.json"), None);
        assert_eq!(text("/openstack/latest/user_data").unwrap(), "#!/bin/sh\n");
        let meta: Value = serde_json::from_str(&text("/openstack/latest/meta_data.json").unwrap()).unwrap();
        assert_eq!(meta["public_keys"]["laptop"], "ssh-ed25519 AAAA");
        assert_eq!((&meta["name"], &meta["project_id"]), (&json!("one"), &json!("p")));
        let network: Value = serde_json::from_str(&text("/openstack/latest/network_data.json").unwrap()).unwrap();
        assert_eq!(network["links"][0]["ethernet_mac_address"], "fa:16:3e:00:00:01");
        assert_eq!(network["networks"][0]["type"], "ipv4_dhcp");
    }

    #[test]
    fn answers_as_ec2() {
        assert!(text("/").unwrap().ends_with("latest"));
        assert_eq!(text("/latest").unwrap(), "meta-data/\nuser-data");
        let list = text("/latest/meta-data/").unwrap();
        assert!(list.contains("placement/\n") && list.contains("instance-id\n"), "{list}");
        assert_eq!(text("/latest/meta-data/instance-id").unwrap(), "i-0000002a");
        assert_eq!(text("/2009-04-04/meta-data/public-keys/").unwrap(), "0=laptop");
        assert_eq!(text("/latest/meta-data/public-keys/0/").unwrap(), "openssh-key");
        assert_eq!(text("/latest/meta-data/public-keys/0/openssh-key").unwrap(), "ssh-ed25519 AAAA");
        assert_eq!(text("/latest/meta-data/local-ipv4").unwrap(), "10.0.0.5");
        assert_eq!(text("/latest/meta-data/public-ipv4").unwrap(), "203.0.113.7");
        assert_eq!(text("/latest/meta-data/nothing"), None);
        assert_eq!(text("/1999-01-01/meta-data"), None);
    }
}
