//! What compute asks of networks.

use super::{Fixture, caller, fixture};
use crate::address;
use crate::model::{NetworkRow, Standard, SubnetRow};
use crate::rules::networks::network_create_in_tx;
use crate::rules::subnets::subnet_create_in_tx;
use ferrostack_contracts::network::{NicRequest, NicsRequest, Ports};
use ferrostack_types::ids::{NetworkId, NodeId, ProjectId, ServerId, SubnetId};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Fixture {
    async fn net(&self, project: &str, cidr: &str, shared: bool) -> NetworkId {
        let cx = self.network.cx();
        let id = NetworkId(cx.env.uuid());
        let standard = Standard::new(project, "", cx.now);
        let row = NetworkRow {
            id,
            standard: standard.clone(),
            name: "net".into(),
            admin_state_up: true,
            shared,
            external: false,
            is_default: false,
            mtu: 1442,
            port_security: true,
            network_type: "geneve".into(),
            physical_network: None,
            segmentation_id: None,
            az_hints: vec![],
        };
        let cidr: ipnet::IpNet = cidr.parse().unwrap();
        let gateway = crate::rules::subnets::default_gateway(cidr);
        let subnet = SubnetRow {
            id: SubnetId(cx.env.uuid()),
            standard,
            network_id: id,
            name: "sub".into(),
            ip_version: 4,
            cidr,
            gateway,
            dhcp: true,
            ra_mode: None,
            address_mode: None,
            pools: address::default_pools(cidr, gateway),
            dns: vec![],
            host_routes: vec![],
            service_types: vec![],
        };
        self.network
            .db
            .write("test", move |tx| {
                network_create_in_tx(tx, &cx, row.clone(), &[])?;
                subnet_create_in_tx(tx, &cx, &subnet, &[])
            })
            .await
            .unwrap();
        id
    }
}

#[tokio::test]
async fn a_server_gets_a_port_and_gives_it_back() {
    let f = fixture().await;
    let me = caller("p", &["member", "reader"]);
    let node = NodeId(f.network.env.uuid());
    let server = ServerId(f.network.env.uuid());
    assert_eq!(f.network.plan(&me, &NicsRequest::Auto, &[]).await.unwrap(), []);
    let net = f.net("p", "10.0.0.0/24", false).await;
    let nics = f.network.plan(&me, &NicsRequest::Auto, &["default".to_owned()]).await.unwrap();
    assert_eq!(nics.len(), 1);
    let project = ProjectId::new("p");
    let port = f.network.ensure(&project, server, (&node, "host1"), &nics[0]).await.unwrap();
    assert_eq!(port.network_id, net);
    assert_eq!(port.security_groups, ["default"]);
    assert_eq!(port.fixed_ips.len(), 1);
    assert_eq!(port.fixed_ips[0].gateway.unwrap().to_string(), "10.0.0.1");
    let metadata = port.metadata.clone().unwrap();
    assert_eq!(metadata.addresses.len(), 1);
    assert_ne!(metadata.addresses[0].addr(), port.fixed_ips[0].address);
    // A repeat finds it; another host rebinds it.
    let again = f.network.ensure(&project, server, (&node, "host1"), &nics[0]).await.unwrap();
    assert_eq!(again, port);
    f.network.ensure(&project, server, (&node, "host2"), &nics[0]).await.unwrap();
    assert!(f.network.wired(server).await.unwrap());
    assert_eq!(f.network.owners().await.unwrap(), [(port.id, server)]);
    assert_eq!(f.network.of_servers(&[server]).await.unwrap()[&server], std::slice::from_ref(&port));
    // Another server cannot take it.
    let other = ServerId(f.network.env.uuid());
    let refused = f.network.ensure(&project, other, (&node, "host1"), &nics[0]).await.unwrap_err();
    assert_eq!(refused.kind().status(), 409);
    f.network.release(server).await.unwrap();
    f.network.release(server).await.unwrap();
    assert!(f.network.owners().await.unwrap().is_empty());
}

#[tokio::test]
async fn planning_follows_nova() {
    let f = fixture().await;
    let me = caller("p", &["member", "reader"]);
    let net = f.net("p", "10.0.0.0/24", false).await;
    let theirs = f.net("q", "10.1.0.0/24", false).await;
    let shared = f.net("q", "10.2.0.0/24", true).await;
    let plan = |nics: NicsRequest| {
        let (network, me) = (Arc::clone(&f.network), me.clone());
        async move { network.plan(&me, &nics, &[]).await }
    };
    let on = |id| NicsRequest::List(vec![NicRequest::Network { id, fixed_ip: None }]);
    // Own and shared make two.
    assert_eq!(plan(NicsRequest::Auto).await.unwrap_err().kind().status(), 409);
    assert_eq!(plan(NicsRequest::None).await.unwrap(), []);
    assert_eq!(plan(on(net)).await.unwrap().len(), 1);
    assert_eq!(plan(on(shared)).await.unwrap().len(), 1);
    assert_eq!(plan(on(theirs)).await.unwrap_err().kind().status(), 400);
    let fixed = |id, ip: &str| NicsRequest::List(vec![NicRequest::Network { id, fixed_ip: Some(ip.parse().unwrap()) }]);
    assert!(plan(fixed(net, "10.0.0.77")).await.is_ok());
    assert_eq!(plan(fixed(net, "10.9.0.77")).await.unwrap_err().kind().status(), 400);
    assert_eq!(plan(fixed(shared, "10.2.0.77")).await.unwrap_err().kind().status(), 403);
    let groups = f.network.plan(&me, &on(net), &["nothing".to_owned()]).await.unwrap_err();
    assert_eq!(groups.kind().status(), 400);
}

#[tokio::test]
async fn every_address_of_a_pool_is_given_once() {
    let f = fixture().await;
    let net = f.net("p", "10.0.0.0/26", false).await;
    let (node, project) = (NodeId(f.network.env.uuid()), ProjectId::new("p"));
    let me = caller("p", &["member"]);
    let on = NicsRequest::List(vec![NicRequest::Network { id: net, fixed_ip: None }]);
    let mut seen = BTreeSet::new();
    // 64 less network, broadcast, gateway and the metadata port.
    for _ in 0..60 {
        let nic = f.network.plan(&me, &on, &[]).await.unwrap().remove(0);
        let server = ServerId(f.network.env.uuid());
        let port = f.network.ensure(&project, server, (&node, "h"), &nic).await.unwrap();
        assert!(seen.insert(port.fixed_ips[0].address), "{} twice", port.fixed_ips[0].address);
    }
    let nic = f.network.plan(&me, &on, &[]).await.unwrap().remove(0);
    let server = ServerId(f.network.env.uuid());
    let full = f.network.ensure(&project, server, (&node, "h"), &nic).await.unwrap_err();
    assert_eq!(full.code(), Some("IpAddressGenerationFailure"));
    // Nothing of the failed one is left.
    assert_eq!(f.network.owners().await.unwrap().len(), 60);
}
