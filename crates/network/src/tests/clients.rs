//! What clients see.

use super::{Fixture, fixture};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const P: &str = "p:member,reader";
const Q: &str = "q:member,reader";
const READER: &str = "p:reader";
const ADMIN: &str = "admin:admin,member,reader";

fn id(answer: &Value, kind: &str) -> String {
    answer[kind]["id"].as_str().unwrap_or_else(|| panic!("no {kind} in {answer}")).to_owned()
}

fn error(status: u16, name: &str) -> (u16, String) {
    (status, name.to_owned())
}

impl Fixture {
    async fn network(&self, token: &str, extra: Value) -> String {
        let mut body = json!({"name": "net"});
        for (key, value) in extra.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        id(&self.ok(token, "POST", "networks", json!({"network": body})).await, "network")
    }

    async fn subnet(&self, token: &str, network: &str, cidr: &str) -> String {
        let body = json!({"subnet": {"network_id": network, "cidr": cidr, "ip_version": 4}});
        id(&self.ok(token, "POST", "subnets", body).await, "subnet")
    }

    async fn port(&self, token: &str, network: &str) -> Value {
        self.ok(token, "POST", "ports", json!({"port": {"network_id": network}})).await["port"].clone()
    }

    /// A router between a tenant's subnet and an external network: router, external network, subnet, network.
    async fn routed(&self) -> (String, String, String, String) {
        let external = self.network(ADMIN, json!({"router:external": true})).await;
        self.subnet(ADMIN, &external, "172.24.4.0/24").await;
        let network = self.network(P, json!({})).await;
        let subnet = self.subnet(P, &network, "10.0.0.0/24").await;
        let body = json!({"router": {"name": "r", "external_gateway_info": {"network_id": external}}});
        let router = id(&self.ok(P, "POST", "routers", body).await, "router");
        self.ok(P, "PUT", &format!("routers/{router}/add_router_interface"), json!({"subnet_id": subnet})).await;
        (router, external, subnet, network)
    }
}

#[tokio::test]
async fn networks_have_a_life() {
    let f = fixture().await;
    let made = f.ok(P, "POST", "networks", json!({"network": {"name": "a", "tags": ["x"]}})).await["network"].clone();
    assert_eq!(made["status"], "ACTIVE");
    assert_eq!(made["mtu"], 1442);
    assert_eq!((&made["project_id"], &made["tenant_id"]), (&json!("p"), &json!("p")));
    assert_eq!((&made["revision_number"], &made["tags"]), (&json!(1), &json!(["x"])));
    assert!(made.get("provider:network_type").is_none(), "{made}");
    let path = format!("networks/{}", made["id"].as_str().unwrap());
    assert_eq!(f.ok(ADMIN, "GET", &path, Value::Null).await["network"]["provider:network_type"], "geneve");
    // Other projects cannot see it, and only administrators may share.
    assert_eq!(f.refused(Q, "GET", &path, Value::Null).await, error(404, "NetworkNotFound"));
    assert_eq!(f.refused(Q, "DELETE", &path, Value::Null).await, error(404, "NetworkNotFound"));
    assert_eq!(f.refused(READER, "DELETE", &path, Value::Null).await, error(403, "PolicyNotAuthorized"));
    let share = json!({"network": {"shared": true}});
    assert_eq!(f.refused(P, "PUT", &path, share.clone()).await, error(403, "PolicyNotAuthorized"));
    f.ok(ADMIN, "PUT", &path, share).await;
    let seen = f.ok(Q, "GET", &path, Value::Null).await["network"].clone();
    assert_eq!((&seen["shared"], &seen["revision_number"]), (&json!(true), &json!(2)));
    assert_eq!(f.refused(Q, "DELETE", &path, Value::Null).await, error(403, "PolicyNotAuthorized"));
    // If-Match
    let rename = json!({"network": {"name": "b"}});
    let (status, _) = f.call_if(P, "PUT", &path, rename.clone(), Some("revision_number=1")).await;
    assert_eq!(status, 412);
    let (status, _) = f.call_if(P, "PUT", &path, rename, Some("revision_number=2")).await;
    assert_eq!(status, 200);
    f.ok(P, "DELETE", &path, Value::Null).await;
    assert_eq!(f.refused(P, "GET", &path, Value::Null).await, error(404, "NetworkNotFound"));
}

#[tokio::test]
async fn bad_bodies_get_neutrons_answers() {
    let f = fixture().await;
    for (path, body) in [
        ("networks", json!({"network": {"colour": "red"}})),
        ("networks", json!({"network": {"id": "x"}})),
        ("networks", json!({"network": {"name": 5}})),
        ("networks", json!({"net": {}})),
        ("networks", json!({"networks": []})),
        ("networks", json!([])),
        ("networks", json!({"network": {"project_id": "q"}})),
        ("subnets", json!({"subnet": {"cidr": "10.0.0.0/24", "ip_version": 4}})),
        ("ports", json!({"port": {"network_id": "nonsense"}})),
    ] {
        assert_eq!(f.refused(P, "POST", path, body.clone()).await, error(400, "HTTPBadRequest"), "{body}");
    }
    assert_eq!(f.refused(P, "GET", "networks/nonsense", Value::Null).await, error(404, "NetworkNotFound"));
    assert_eq!(f.refused(P, "GET", "networks?colour=red", Value::Null).await, error(400, "HTTPBadRequest"));
    assert_eq!(f.call("nobody", "GET", "networks", Value::Null).await.0, 401);
    // All or nothing.
    let some = json!({"networks": [{"name": "a"}, {"name": "b", "provider:network_type": "flat"}]});
    assert_eq!(f.refused(ADMIN, "POST", "networks", some).await, error(400, "InvalidInput"));
    assert_eq!(f.ok(ADMIN, "GET", "networks", Value::Null).await["networks"], json!([]));
}

#[tokio::test]
async fn lists_filter_sort_and_page() {
    let f = fixture().await;
    let bulk: Vec<Value> = (0..5).map(|n| json!({"name": format!("n{n}"), "tags": [format!("t{}", n % 2)]})).collect();
    let made = f.ok(P, "POST", "networks", json!({"networks": bulk})).await;
    assert_eq!(made["networks"].as_array().unwrap().len(), 5);
    f.network(Q, json!({"name": "theirs"})).await;
    let names = |answer: &Value| -> Vec<String> {
        let list = answer["networks"].as_array().unwrap();
        list.iter().map(|n| n["name"].as_str().unwrap().to_owned()).collect()
    };
    let get = |query: &'static str| f.ok(P, "GET", query, Value::Null);
    assert_eq!(names(&get("networks?sort_key=name&sort_dir=desc").await), ["n4", "n3", "n2", "n1", "n0"]);
    assert_eq!(names(&get("networks?name=n1&name=n3&sort_key=name").await), ["n1", "n3"]);
    assert_eq!(names(&get("networks?tags=t1&sort_key=name").await), ["n1", "n3"]);
    assert_eq!(names(&get("networks?not-tags=t1&sort_key=name").await), ["n0", "n2", "n4"]);
    assert_eq!(names(&get("networks?shared=true").await), [""; 0]);
    assert_eq!(get("networks?name=n0&fields=name").await, json!({"networks": [{"name": "n0"}]}));
    // Pages, forwards by the links, then one back.
    let mut url = "networks?limit=2&sort_key=name".to_owned();
    let mut seen = Vec::new();
    let last = loop {
        let page = f.ok(P, "GET", &url, Value::Null).await;
        seen.extend(names(&page));
        let links = page["networks_links"].as_array().unwrap().clone();
        let Some(next) = links.iter().find(|l| l["rel"] == "next") else { break links };
        url = next["href"].as_str().unwrap().split_once("/v2.0/").unwrap().1.to_owned();
    };
    assert_eq!(seen, ["n0", "n1", "n2", "n3", "n4"]);
    let back = last.iter().find(|l| l["rel"] == "previous").unwrap()["href"].as_str().unwrap().to_owned();
    assert!(back.starts_with("http://cloud:80/network/v2.0/networks?"), "{back}");
    let page = f.ok(P, "GET", back.split_once("/v2.0/").unwrap().1, Value::Null).await;
    assert_eq!(names(&page), ["n2", "n3"]);
}

#[tokio::test]
async fn subnets_are_checked_and_bring_their_metadata_port() {
    let f = fixture().await;
    let net = f.network(P, json!({})).await;
    let body = |extra: Value| {
        let mut subnet = json!({"network_id": net, "cidr": "10.0.0.0/24", "ip_version": 4});
        for (key, value) in extra.as_object().unwrap() {
            subnet[key] = value.clone();
        }
        json!({"subnet": subnet})
    };
    for (extra, wanted) in [
        (json!({"cidr": "fd00::/64"}), error(400, "InvalidInput")),
        (json!({"cidr": "10.0.0.1/24"}), error(400, "HTTPBadRequest")),
        (json!({"gateway_ip": "10.0.0.0"}), error(400, "InvalidInput")),
        (json!({"gateway_ip": "fd00::1"}), error(400, "InvalidInput")),
        (
            json!({"allocation_pools": [{"start": "10.0.1.1", "end": "10.0.1.9"}]}),
            error(400, "OutOfBoundsAllocationPool"),
        ),
        (
            json!({"allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}]}),
            error(409, "GatewayConflictWithAllocationPools"),
        ),
        (json!({"dns_nameservers": ["fd00::1"]}), error(400, "InvalidInput")),
        (json!({"ipv6_ra_mode": "slaac"}), error(400, "InvalidInput")),
        (json!({"network_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}), error(404, "NetworkNotFound")),
    ] {
        assert_eq!(f.refused(P, "POST", "subnets", body(extra.clone())).await, wanted, "{extra}");
    }
    assert_eq!(f.refused(Q, "POST", "subnets", body(json!({}))).await, error(404, "NetworkNotFound"));
    let made = f.ok(P, "POST", "subnets", body(json!({}))).await["subnet"].clone();
    assert_eq!(made["gateway_ip"], "10.0.0.1");
    assert_eq!(made["allocation_pools"], json!([{"start": "10.0.0.2", "end": "10.0.0.254"}]));
    let overlapping = body(json!({"cidr": "10.0.0.128/25"}));
    assert_eq!(f.refused(P, "POST", "subnets", overlapping).await, error(400, "InvalidInput"));
    // The metadata port: everybody's on the network, nobody's in the quota.
    let ports = f.ok(P, "GET", &format!("ports?network_id={net}"), Value::Null).await;
    assert_eq!(ports["ports"][0]["device_owner"], "network:distributed");
    assert_eq!(ports["ports"][0]["project_id"], "");
    let other = id(&f.ok(P, "POST", "subnets", body(json!({"cidr": "10.0.1.0/24"}))).await, "subnet");
    let ports = f.ok(P, "GET", &format!("ports?network_id={net}"), Value::Null).await["ports"].clone();
    assert_eq!(ports.as_array().unwrap().len(), 1);
    assert_eq!(ports[0]["fixed_ips"].as_array().unwrap().len(), 2);
    f.ok(P, "DELETE", &format!("subnets/{other}"), Value::Null).await;
    let first = format!("subnets/{}", made["id"].as_str().unwrap());
    f.ok(P, "PUT", &first, json!({"subnet": {"enable_dhcp": false}})).await;
    assert_eq!(f.ok(P, "GET", &format!("ports?network_id={net}"), Value::Null).await["ports"], json!([]));
    f.ok(P, "PUT", &first, json!({"subnet": {"enable_dhcp": true, "gateway_ip": null}})).await;
    // In use by a port.
    let port = f.port(P, &net).await;
    assert_eq!(f.refused(P, "DELETE", &first, Value::Null).await, error(409, "SubnetInUse"));
    assert_eq!(f.refused(P, "DELETE", &format!("networks/{net}"), Value::Null).await, error(409, "NetworkInUse"));
    f.ok(P, "DELETE", &format!("ports/{}", port["id"].as_str().unwrap()), Value::Null).await;
    f.ok(P, "DELETE", &format!("networks/{net}"), Value::Null).await;
    assert_eq!(f.refused(P, "GET", &first, Value::Null).await, error(404, "SubnetNotFound"));
}

#[tokio::test]
async fn ports_get_addresses_groups_and_limits() {
    let f = fixture().await;
    let net = f.network(P, json!({})).await;
    let subnet = f.subnet(P, &net, "10.0.0.0/24").await;
    let port = f.port(P, &net).await;
    assert!(port["mac_address"].as_str().unwrap().starts_with("fa:16:3e:"));
    assert_eq!(port["fixed_ips"][0]["subnet_id"], json!(subnet));
    assert_eq!(port["security_groups"].as_array().unwrap().len(), 1);
    assert_eq!(port["status"], "DOWN");
    let new = |extra: Value| {
        let mut port = json!({"network_id": net});
        for (key, value) in extra.as_object().unwrap() {
            port[key] = value.clone();
        }
        json!({"port": port})
    };
    let fixed = |ip: &str| json!({"fixed_ips": [{"ip_address": ip}]});
    let made = f.ok(P, "POST", "ports", new(fixed("10.0.0.77"))).await["port"].clone();
    let mac = made["mac_address"].clone();
    for (extra, wanted) in [
        (fixed("10.0.0.77"), error(409, "IpAddressInUse")),
        (fixed("10.1.0.77"), error(400, "InvalidIpForNetwork")),
        (fixed("10.0.0.255"), error(400, "InvalidIpForSubnet")),
        (json!({"fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.7"}]}), error(400, "InvalidIpForSubnet")),
        (json!({"mac_address": mac}), error(409, "MacAddressInUse")),
        (json!({"security_groups": ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"]}), error(404, "SecurityGroupNotFound")),
        (json!({"binding:host_id": "h"}), error(403, "PolicyNotAuthorized")),
        (json!({"device_owner": "network:dhcp"}), error(403, "PolicyNotAuthorized")),
        (json!({"device_owner": " NETWORK:router_interface"}), error(403, "PolicyNotAuthorized")),
        (
            json!({"port_security_enabled": false, "security_groups": port["security_groups"]}),
            error(409, "PortSecurityPortHasSecurityGroup"),
        ),
        (
            json!({"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1\ndhcp-script=/bin/sh"}]}),
            error(400, "HTTPBadRequest"),
        ),
        (json!({"extra_dhcp_opts": [{"opt_name": "a,option:b", "opt_value": "1"}]}), error(400, "HTTPBadRequest")),
        (json!({"allowed_address_pairs": [{"mac_address": "fa:16:3e:00:00:01"}]}), error(400, "HTTPBadRequest")),
    ] {
        assert_eq!(f.refused(P, "POST", "ports", new(extra.clone())).await, wanted, "{extra}");
    }
    // Address pairs without a MAC address have the port's.
    let pairs = json!({"allowed_address_pairs": [{"ip_address": "10.0.0.200"}, {"ip_address": "10.9.0.0/16"}]});
    let made = f.ok(P, "POST", "ports", new(pairs)).await["port"].clone();
    assert_eq!(made["allowed_address_pairs"][0]["mac_address"], made["mac_address"]);
    // Filters on addresses.
    let by_ip = f.ok(P, "GET", "ports?fixed_ips=ip_address%3D10.0.0.77", Value::Null).await;
    assert_eq!(by_ip["ports"].as_array().unwrap().len(), 1);
    // Moving an address.
    let path = format!("ports/{}", made["id"].as_str().unwrap());
    let moved = f.ok(P, "PUT", &path, json!({"port": {"fixed_ips": [{"ip_address": "10.0.0.78"}]}})).await;
    assert_eq!(moved["port"]["fixed_ips"], json!([{"subnet_id": subnet, "ip_address": "10.0.0.78"}]));
    assert_eq!(f.refused(P, "PUT", &path, json!({"port": {"network_id": net}})).await, error(400, "HTTPBadRequest"));
    // A quota is enforced with the row.
    f.ok(ADMIN, "PUT", "quotas/p", json!({"quota": {"port": 4}})).await;
    f.port(P, &net).await;
    assert_eq!(f.refused(P, "POST", "ports", new(json!({}))).await, error(409, "OverQuota"));
    let details = f.ok("p:manager,member,reader", "GET", "quotas/p/details.json", Value::Null).await;
    assert_eq!(details["quota"]["port"], json!({"limit": 4, "used": 4, "reserved": 0}));
}

#[tokio::test]
async fn a_shared_network_is_not_the_guests_own() {
    let f = fixture().await;
    let net = f.network(ADMIN, json!({"shared": true})).await;
    f.subnet(ADMIN, &net, "10.0.0.0/24").await;
    let port = f.port(P, &net).await;
    let path = format!("ports/{}", port["id"].as_str().unwrap());
    for extra in [
        json!({"fixed_ips": [{"ip_address": "10.0.0.77"}]}),
        json!({"mac_address": "fa:16:3e:00:00:09"}),
        json!({"port_security_enabled": false}),
        json!({"allowed_address_pairs": [{"ip_address": "0.0.0.0/1"}]}),
        json!({"device_owner": "network:floatingip_agent_gateway"}),
    ] {
        let mut new = extra.clone();
        new["network_id"] = json!(net);
        let refused = f.refused(P, "POST", "ports", json!({"port": new})).await;
        assert_eq!(refused, error(403, "PolicyNotAuthorized"), "{extra}");
        let refused = f.refused(P, "PUT", &path, json!({"port": extra})).await;
        assert_eq!(refused, error(403, "PolicyNotAuthorized"), "{extra}");
    }
    // Neither may others tag the network, nor look at the port.
    let tag = format!("networks/{net}/tags/mine");
    assert_eq!(f.refused(P, "PUT", &tag, Value::Null).await, error(403, "PolicyNotAuthorized"));
    assert_eq!(f.refused(Q, "GET", &path, Value::Null).await, error(404, "PortNotFound"));
    assert_eq!(f.refused(Q, "PUT", &format!("{path}/tags/x"), Value::Null).await, error(404, "PortNotFound"));
    assert_eq!(
        f.refused(READER, "PUT", &format!("{path}/tags/x"), Value::Null).await,
        error(403, "PolicyNotAuthorized")
    );
    f.ok(P, "PUT", &format!("{path}/tags/x"), Value::Null).await;
    assert_eq!(f.ok(P, "GET", &format!("{path}/tags"), Value::Null).await, json!({"tags": ["x"]}));
}

#[tokio::test]
async fn routers_and_floating_ips() {
    let f = fixture().await;
    let (router, external, subnet, network) = f.routed().await;
    let shown = f.ok(P, "GET", &format!("routers/{router}"), Value::Null).await["router"].clone();
    assert_eq!(shown["external_gateway_info"]["network_id"], json!(external));
    assert_eq!(shown["external_gateway_info"]["external_fixed_ips"].as_array().unwrap().len(), 1);
    let add = format!("routers/{router}/add_router_interface");
    assert_eq!(f.refused(P, "PUT", &add, json!({"subnet_id": subnet})).await, error(400, "BadRequest"));
    assert_eq!(f.refused(P, "PUT", &add, json!({})).await, error(400, "BadRequest"));
    assert_eq!(f.refused(Q, "PUT", &add, json!({"subnet_id": subnet})).await, error(404, "RouterNotFound"));
    let inner = f.ok(P, "GET", &format!("ports?device_id={router}&network_id={network}"), Value::Null).await;
    let inner = inner["ports"][0].clone();
    assert_eq!(inner["fixed_ips"][0]["ip_address"], "10.0.0.1");
    let inner_path = format!("ports/{}", inner["id"].as_str().unwrap());
    assert_eq!(f.refused(P, "DELETE", &inner_path, Value::Null).await, error(409, "ServicePortInUse"));
    // A floating IP leads to a port, and only one at a time.
    let port = f.port(P, &network).await;
    let body = json!({"floatingip": {"floating_network_id": external, "port_id": port["id"]}});
    let floating = f.ok(P, "POST", "floatingips", body.clone()).await["floatingip"].clone();
    assert_eq!((&floating["status"], &floating["router_id"]), (&json!("ACTIVE"), &json!(router)));
    assert_eq!(floating["fixed_ip_address"], port["fixed_ips"][0]["ip_address"]);
    assert_eq!(f.refused(P, "POST", "floatingips", body).await, error(409, "FloatingIPPortAlreadyAssociated"));
    let not_external = json!({"floatingip": {"floating_network_id": network}});
    assert_eq!(f.refused(P, "POST", "floatingips", not_external).await, error(400, "BadRequest"));
    let lonely = f.network(P, json!({})).await;
    f.subnet(P, &lonely, "10.7.0.0/24").await;
    let unreachable = f.port(P, &lonely).await;
    let body = json!({"floatingip": {"floating_network_id": external, "port_id": unreachable["id"]}});
    assert_eq!(f.refused(P, "POST", "floatingips", body).await, error(404, "ExternalGatewayForFloatingIPNotFound"));
    let theirs = json!({"floatingip": {"port_id": null}});
    let path = format!("floatingips/{}", floating["id"].as_str().unwrap());
    assert_eq!(f.refused(Q, "PUT", &path, theirs).await, error(404, "FloatingIPNotFound"));
    // What stands on a router keeps it.
    let remove = format!("routers/{router}/remove_router_interface");
    let router_path = format!("routers/{router}");
    assert_eq!(
        f.refused(P, "PUT", &remove, json!({"subnet_id": subnet})).await,
        error(409, "RouterInterfaceInUseByFloatingIP")
    );
    let clear = json!({"router": {"external_gateway_info": {}}});
    assert_eq!(
        f.refused(P, "PUT", &router_path, clear.clone()).await,
        error(409, "RouterExternalGatewayInUseByFloatingIp")
    );
    assert_eq!(f.refused(P, "DELETE", &router_path, Value::Null).await, error(409, "RouterInUse"));
    // The port goes, the floating IP stays and leads nowhere.
    f.ok(P, "DELETE", &format!("ports/{}", port["id"].as_str().unwrap()), Value::Null).await;
    let left = f.ok(P, "GET", &path, Value::Null).await["floatingip"].clone();
    assert_eq!((&left["port_id"], &left["status"], &left["router_id"]), (&Value::Null, &json!("DOWN"), &Value::Null));
    // Routes must lead to a neighbour.
    let routes = |hop: &str| json!({"router": {"routes": [{"destination": "10.99.0.0/16", "nexthop": hop}]}});
    assert_eq!(f.refused(P, "PUT", &router_path, routes("10.50.0.1")).await, error(400, "InvalidRoutes"));
    assert_eq!(f.refused(P, "PUT", &router_path, routes("10.0.0.1")).await, error(400, "InvalidRoutes"));
    f.ok(P, "PUT", &router_path, routes("10.0.0.9")).await;
    assert_eq!(
        f.refused(P, "PUT", &remove, json!({"subnet_id": subnet})).await,
        error(409, "RouterInterfaceInUseByRoute")
    );
    f.ok(P, "PUT", &router_path, json!({"router": {"routes": null}})).await;
    f.ok(P, "PUT", &router_path, clear).await;
    let removed = f.ok(P, "PUT", &remove, json!({"subnet_id": subnet})).await;
    assert_eq!(removed["port_id"], inner["id"]);
    assert_eq!(
        f.refused(P, "PUT", &remove, json!({"subnet_id": subnet})).await,
        error(404, "RouterInterfaceNotFoundForSubnet")
    );
    f.ok(P, "DELETE", &router_path, Value::Null).await;
    f.ok(P, "DELETE", &path, Value::Null).await;
    // Nothing is left on the external network but its metadata port.
    let ports = f.ok(ADMIN, "GET", &format!("ports?network_id={external}"), Value::Null).await["ports"].clone();
    let owners: BTreeSet<&str> = ports.as_array().unwrap().iter().filter_map(|p| p["device_owner"].as_str()).collect();
    assert_eq!(owners, BTreeSet::from(["network:distributed"]));
}

#[tokio::test]
async fn security_groups_and_their_rules() {
    let f = fixture().await;
    // A list with an invented project makes nothing; the own one has its default group.
    for token in [P, ADMIN] {
        let invented = f.ok(token, "GET", "security-groups?project_id=invented", Value::Null).await;
        assert_eq!(invented["security_groups"], json!([]));
    }
    let all = f.ok(ADMIN, "GET", "security-groups", Value::Null).await["security_groups"].clone();
    let projects: BTreeSet<&str> = all.as_array().unwrap().iter().filter_map(|g| g["project_id"].as_str()).collect();
    assert_eq!(projects, BTreeSet::from(["admin", "p"]));
    let own = f.ok(P, "GET", "security-groups", Value::Null).await["security_groups"].clone();
    assert_eq!((&own[0]["name"], own[0]["security_group_rules"].as_array().unwrap().len()), (&json!("default"), 4));
    let default = format!("security-groups/{}", own[0]["id"].as_str().unwrap());
    assert_eq!(f.refused(P, "DELETE", &default, Value::Null).await, error(409, "SecurityGroupCannotRemoveDefault"));
    let named = json!({"security_group": {"name": "Default"}});
    assert_eq!(f.refused(P, "POST", "security-groups", named).await, error(409, "SecurityGroupDefaultAlreadyExists"));
    let web = f.ok(P, "POST", "security-groups", json!({"security_group": {"name": "web"}})).await;
    assert_eq!(web["security_group"]["security_group_rules"].as_array().unwrap().len(), 2);
    let web = id(&web, "security_group");
    let rule = |extra: Value| {
        let mut rule = json!({"security_group_id": web, "direction": "ingress"});
        for (key, value) in extra.as_object().unwrap() {
            rule[key] = value.clone();
        }
        json!({"security_group_rule": rule})
    };
    let ssh = json!({"protocol": "TCP", "port_range_min": 22, "port_range_max": "22", "remote_ip_prefix": "10.0.0.5"});
    let made = f.ok(P, "POST", "security-group-rules", rule(ssh)).await["security_group_rule"].clone();
    assert_eq!((&made["protocol"], &made["remote_ip_prefix"]), (&json!("tcp"), &json!("10.0.0.5/32")));
    let by_number =
        json!({"protocol": 6, "port_range_min": 22, "port_range_max": 22, "remote_ip_prefix": "10.0.0.5/32"});
    assert_eq!(
        f.refused(P, "POST", "security-group-rules", rule(by_number)).await,
        error(409, "SecurityGroupRuleExists")
    );
    for (extra, name) in [
        (json!({"protocol": "carrot"}), "SecurityGroupRuleInvalidProtocol"),
        (json!({"protocol": 256}), "SecurityGroupRuleInvalidProtocol"),
        (json!({"protocol": "vrrp", "port_range_min": 1, "port_range_max": 2}), "SecurityGroupInvalidProtocolForPort"),
        (json!({"port_range_min": 1, "port_range_max": 2}), "SecurityGroupProtocolRequiredWithPorts"),
        (json!({"protocol": "udp", "port_range_min": 3, "port_range_max": 2}), "SecurityGroupInvalidPortRange"),
        (json!({"protocol": "icmp", "port_range_min": 256}), "SecurityGroupInvalidIcmpValue"),
        (json!({"protocol": "icmp", "port_range_max": 1}), "SecurityGroupMissingIcmpType"),
        (json!({"protocol": "ipv6-icmp"}), "SecurityGroupEthertypeConflictWithProtocol"),
        (json!({"remote_ip_prefix": "fd00::/8"}), "SecurityGroupRuleParameterConflict"),
        (json!({"direction": "up"}), "HTTPBadRequest"),
        (json!({"remote_ip_prefix": "everything"}), "HTTPBadRequest"),
    ] {
        assert_eq!(
            f.refused(P, "POST", "security-group-rules", rule(extra.clone())).await,
            error(400, name),
            "{extra}"
        );
    }
    // Others neither see the group nor add to it.
    assert_eq!(
        f.refused(Q, "POST", "security-group-rules", rule(json!({}))).await,
        error(404, "SecurityGroupNotFound")
    );
    let rules = f.ok(Q, "GET", "security-group-rules", Value::Null).await["security_group_rules"].clone();
    assert!(rules.as_array().unwrap().iter().all(|r| r["project_id"] == "q"), "{rules}");
    // In use by a port.
    let net = f.network(P, json!({})).await;
    let port = json!({"port": {"network_id": net, "security_groups": [web]}});
    let port = id(&f.ok(P, "POST", "ports", port).await, "port");
    let path = format!("security-groups/{web}");
    assert_eq!(f.refused(P, "DELETE", &path, Value::Null).await, error(409, "SecurityGroupInUse"));
    f.ok(P, "DELETE", &format!("ports/{port}"), Value::Null).await;
    f.ok(P, "DELETE", &path, Value::Null).await;
    let gone = format!("security-group-rules/{}", made["id"].as_str().unwrap());
    assert_eq!(f.refused(P, "GET", &gone, Value::Null).await, error(404, "SecurityGroupRuleNotFound"));
}

#[tokio::test]
async fn the_deployment_describes_itself() {
    let f = fixture().await;
    let extensions = f.ok(P, "GET", "extensions", Value::Null).await;
    let aliases: BTreeSet<&str> =
        extensions["extensions"].as_array().unwrap().iter().filter_map(|e| e["alias"].as_str()).collect();
    for alias in ["external-net", "router", "security-group", "quotas", "binding", "standard-attr-tag"] {
        assert!(aliases.contains(alias), "{alias}");
    }
    f.ok(P, "GET", "extensions/router", Value::Null).await;
    assert_eq!(f.call(P, "GET", "extensions/nothing", Value::Null).await.0, 404);
    assert_eq!(f.ok(P, "GET", "availability_zones", Value::Null).await["availability_zones"][0]["name"], "nova");
    assert_eq!(f.ok(P, "GET", "agents", Value::Null).await["agents"], json!([]));
    assert_eq!(f.refused(P, "GET", "quotas/q", Value::Null).await, error(403, "PolicyNotAuthorized"));
    assert_eq!(
        f.refused(P, "PUT", "quotas/p", json!({"quota": {"port": -1}})).await,
        error(403, "PolicyNotAuthorized")
    );
    assert_eq!(f.ok(ADMIN, "GET", "quotas/p/default", Value::Null).await["quota"]["port"], 500);
    let net = f.network(P, json!({})).await;
    f.subnet(P, &net, "10.0.0.0/24").await;
    let full = f.ok(ADMIN, "GET", &format!("network-ip-availabilities/{net}"), Value::Null).await;
    assert_eq!(full["network_ip_availability"]["total_ips"], 253);
    assert_eq!(full["network_ip_availability"]["used_ips"], 1);
}

#[tokio::test]
async fn every_route_wants_a_token_and_no_role_gets_nothing() {
    let f = fixture().await;
    let net = f.network(P, json!({})).await;
    for (method, path, access) in f.api.routes() {
        let ferrostack_rest::Access::Rule(_) = access else { continue };
        let path = path.trim_start_matches("/v2.0/").replace("{id}", &net).replace("{project_id}", "p");
        let path = path.replace("{network_id}", &net).replace("{tag}", "t").replace("{alias}", "router");
        let (status, _) = f.call("nobody", method.as_str(), &path, json!({})).await;
        assert_eq!(status, 401, "{method} {path}");
        // A token without any role: refused, or an empty list. What describes the API itself is for everybody.
        let (status, answer) = f.call("z:none", method.as_str(), &path, json!({})).await;
        let empty = answer.as_object().is_some_and(|map| map.values().all(|list| *list == json!([])));
        assert!(status >= 400 || empty || path.starts_with("extensions"), "{method} {path}: {status} {answer}");
    }
}
