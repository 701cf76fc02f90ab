//! Flavors, key pairs, quotas, groups, usage, versions; and the table of routes as a whole.

use super::Cloud;
use ferrostack_rest::Access;
use serde_json::{Value, json};

#[tokio::test]
async fn versions_need_no_token() {
    let cloud = Cloud::new().await;
    let answer = cloud.call("", "2.1", "GET", "", None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["version"]["version"], "2.96");
    assert_eq!(answer.body["version"]["min_version"], "2.1");
    assert_eq!(answer.headers["x-openstack-nova-api-version"], "2.1");
}

#[tokio::test]
async fn every_route_but_discovery_wants_a_token() {
    let cloud = Cloud::new().await;
    let mut walked = 0;
    for (method, path, access) in cloud.api.routes() {
        if matches!(access, Access::Public(_)) {
            continue;
        }
        let path = path.trim_start_matches("/v2.1");
        let answer = ["2.1", "2.96"].map(|version| cloud.call("forged", version, method.as_str(), path, None));
        let answers = futures::future::join_all(answer).await;
        assert!(answers.iter().any(|a| a.status == 401), "{method} {path}");
        walked += 1;
    }
    assert_eq!(walked, crate::routes::routes().len() - 2);
}

#[tokio::test]
async fn flavors_are_managed() {
    let cloud = Cloud::new().await;
    let new = json!({"flavor": {"name": "secret", "id": "s", "vcpus": 1, "ram": "64", "disk": 0,
        "os-flavor-access:is_public": false, "description": "private"}});
    let made = cloud.ok("admin", "POST", "/flavors", Some(new.clone()), 200).await["flavor"].clone();
    assert_eq!(
        (made["ram"].clone(), made["swap"].clone(), made["rxtx_factor"].clone()),
        (json!(64), json!(0), json!(1.0))
    );
    assert_eq!(cloud.refused("admin", "POST", "/flavors", Some(new), 409).await, "Flavor with ID s already exists.");
    assert_eq!(cloud.refused("member", "GET", "/flavors/s", None, 404).await, "Flavor s could not be found.");
    cloud.ok("member", "POST", "/flavors", Some(json!({"flavor": {}})), 403).await;
    let ids = async |token: &str, query: &str| -> Vec<String> {
        let list = cloud.ok(token, "GET", &format!("/flavors{query}"), None, 200).await;
        list["flavors"].as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("member", "").await, ["1", "big"]);
    assert_eq!(ids("admin", "?is_public=none").await, ["1", "big", "s"]);
    assert_eq!(ids("admin", "?is_public=false").await, ["s"]);
    assert_eq!(ids("member", "?minRam=1000").await, ["big"]);
    assert_eq!(ids("member", "?limit=1").await, ["1"]);
    assert_eq!(ids("member", "?limit=1&marker=1").await, ["big"]);
    assert_eq!(ids("member", "?sort_key=vcpus&sort_dir=desc").await, ["big", "1"]);
    assert_eq!(ids("member", "?sort_key=vcpus&sort_dir=desc&marker=big").await, ["1"]);
    cloud.ok("member", "GET", "/flavors?marker=none", None, 400).await;
    let add = json!({"addTenantAccess": {"tenant": "p1"}});
    cloud.ok("admin", "POST", "/flavors/s/action", Some(add.clone()), 200).await;
    cloud.ok("admin", "POST", "/flavors/s/action", Some(add), 409).await;
    assert_eq!(ids("member", "").await, ["1", "big", "s"]);
    assert_eq!(ids("other", "").await, ["1", "big"]);
    let access = cloud.ok("admin", "GET", "/flavors/s/os-flavor-access", None, 200).await;
    assert_eq!(access["flavor_access"].as_array().unwrap().len(), 2);
    let remove = json!({"removeTenantAccess": {"tenant": "p1"}});
    cloud.ok("admin", "POST", "/flavors/s/action", Some(remove.clone()), 200).await;
    cloud.ok("admin", "POST", "/flavors/s/action", Some(remove), 404).await;
    let specs = json!({"extra_specs": {"hw:cpu_policy": "shared", "n": "1"}});
    cloud.ok("admin", "POST", "/flavors/s/os-extra_specs", Some(specs.clone()), 200).await;
    assert_eq!(cloud.ok("admin", "GET", "/flavors/s/os-extra_specs", None, 200).await, specs);
    cloud.ok("admin", "PUT", "/flavors/s/os-extra_specs/n", Some(json!({"n": "2"})), 200).await;
    assert_eq!(cloud.ok("admin", "GET", "/flavors/s", None, 200).await["flavor"]["extra_specs"]["n"], "2");
    cloud.ok("admin", "DELETE", "/flavors/s/os-extra_specs/n", None, 200).await;
    cloud.ok("admin", "DELETE", "/flavors/s/os-extra_specs/n", None, 404).await;
    let old = cloud.call("member", "2.1", "GET", "/flavors/1", None).await.body["flavor"].clone();
    assert_eq!(old["swap"], "");
    assert!(old.get("extra_specs").is_none() && old.get("description").is_none());
    cloud.ok("admin", "DELETE", "/flavors/s", None, 202).await;
    cloud.ok("admin", "DELETE", "/flavors/s", None, 404).await;
}

#[tokio::test]
async fn keypairs_belong_to_users() {
    let cloud = Cloud::new().await;
    let path = "/os-keypairs";
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me@home";
    let import = json!({"keypair": {"name": "k1", "public_key": key, "type": "ssh"}});
    let made = cloud.ok("member", "POST", path, Some(import.clone()), 201).await["keypair"].clone();
    assert_eq!(made["fingerprint"].as_str().unwrap().len(), 47);
    assert!(made.get("private_key").is_none());
    assert_eq!(cloud.refused("member", "POST", path, Some(import), 409).await, "Key pair 'k1' already exists.");
    let bad = json!({"keypair": {"name": "k2", "public_key": "ssh-rsa nonsense"}});
    let said = cloud.refused("member", "POST", path, Some(bad), 400).await;
    assert_eq!(said, "Keypair data is invalid: failed to generate fingerprint");
    // Generation is of old versions only.
    let generate = json!({"keypair": {"name": "gen"}});
    cloud.ok("member", "POST", path, Some(generate.clone()), 400).await;
    let answer = cloud.call("member", "2.1", "POST", path, Some(generate)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body["keypair"]["private_key"].as_str().unwrap().starts_with("-----BEGIN OPENSSH PRIVATE KEY"));
    assert_eq!(cloud.get(path).await["keypairs"].as_array().unwrap().len(), 2);
    assert_eq!(cloud.get("/os-keypairs?limit=1").await["keypairs"][0]["keypair"]["name"], "gen");
    assert_eq!(cloud.get("/os-keypairs?limit=1&marker=gen").await["keypairs"][0]["keypair"]["name"], "k1");
    assert_eq!(cloud.ok("other", "GET", path, None, 200).await["keypairs"], json!([]));
    cloud.ok("other", "GET", "/os-keypairs?user_id=member", None, 403).await;
    let theirs = cloud.ok("admin", "GET", "/os-keypairs/k1?user_id=member", None, 200).await;
    assert_eq!(theirs["keypair"]["user_id"], "member");
    cloud.ok("other", "GET", "/os-keypairs/k1", None, 404).await;
    let mut order = cloud.order("keyed");
    order["server"]["key_name"] = json!("k1");
    let id =
        cloud.ok("member", "POST", "/servers", Some(order), 202).await["server"]["id"].as_str().unwrap().to_owned();
    cloud.wait(&id, "ACTIVE").await;
    let (wanted, _) = cloud.world.nodes.guest(super::server_id(&id)).unwrap();
    assert_eq!(wanted.spec.unwrap().metadata.public_keys["k1"], key);
    cloud.ok("member", "DELETE", "/os-keypairs/k1", None, 204).await;
    cloud.ok("member", "DELETE", "/os-keypairs/k1", None, 404).await;
}

#[tokio::test]
async fn quotas_are_set_and_shown() {
    let cloud = Cloud::new().await;
    cloud.booted("one").await;
    let set = cloud.get("/os-quota-sets/p1").await["quota_set"].clone();
    assert_eq!((set["id"].clone(), set["instances"].clone()), (json!("p1"), json!(10)));
    assert!(set.get("floating_ips").is_none() && set.get("injected_files").is_none());
    cloud.ok("other", "GET", "/os-quota-sets/p1", None, 403).await;
    let detail = cloud.get("/os-quota-sets/p1/detail").await["quota_set"].clone();
    assert_eq!(detail["cores"], json!({"limit": 20, "in_use": 1, "reserved": 0}));
    let low = json!({"quota_set": {"instances": 0}});
    let said = cloud.refused("admin", "PUT", "/os-quota-sets/p1", Some(low), 400).await;
    assert!(said.contains("must be greater than or equal to already used and reserved 1"), "{said}");
    let forced = json!({"quota_set": {"instances": 0, "force": true}});
    cloud.ok("admin", "PUT", "/os-quota-sets/p1", Some(forced), 200).await;
    let said = cloud.refused("member", "POST", "/servers", Some(cloud.order("x")), 403).await;
    assert_eq!(said, "Quota exceeded for instances: Requested 1, but already used 1 of 0 instances");
    cloud.ok("member", "PUT", "/os-quota-sets/p1", Some(json!({"quota_set": {"instances": 99}})), 403).await;
    cloud.ok("admin", "PUT", "/os-quota-sets/p1", Some(json!({"quota_set": {"instances": -2}})), 400).await;
    cloud.ok("admin", "DELETE", "/os-quota-sets/p1", None, 202).await;
    assert_eq!(cloud.get("/os-quota-sets/p1").await["quota_set"]["instances"], 10);
    assert_eq!(cloud.get("/os-quota-sets/p1/defaults").await["quota_set"]["ram"], 51200);
    let old = cloud.call("member", "2.1", "GET", "/limits", None).await.body["limits"]["absolute"].clone();
    assert_eq!(old["maxSecurityGroups"], -1);
    let new = cloud.get("/limits").await["limits"]["absolute"].clone();
    assert!(new.get("maxSecurityGroups").is_none());
    assert_eq!(new["totalInstancesUsed"], 1);
    let usage = cloud.get("/os-simple-tenant-usage/p1").await["tenant_usage"].clone();
    assert_eq!(usage["server_usages"][0]["flavor"], "m1.1");
    cloud.ok("member", "GET", "/os-simple-tenant-usage", None, 403).await;
    let all = cloud.ok("admin", "GET", "/os-simple-tenant-usage?detailed=1", None, 200).await;
    assert_eq!(all["tenant_usages"][0]["tenant_id"], "p1");
    cloud.ok("admin", "GET", "/os-simple-tenant-usage?start=2030-01-01&end=2020-01-01", None, 400).await;
}

#[tokio::test]
async fn groups_keep_servers_apart_and_together() {
    let cloud = Cloud::with(|_| {}, 3).await;
    let make = async |policy: &str| -> String {
        let body = json!({"server_group": {"name": policy, "policy": policy}});
        let made = cloud.ok("member", "POST", "/os-server-groups", Some(body), 200).await;
        made["server_group"]["id"].as_str().unwrap().to_owned()
    };
    let (apart, together) = (make("anti-affinity").await, make("affinity").await);
    let boot = async |group: &str| -> String {
        let mut order = cloud.order("g");
        order["os:scheduler_hints"] = json!({"group": group, "unknown": "harmless"});
        let made = cloud.ok("member", "POST", "/servers", Some(order), 202).await;
        made["server"]["id"].as_str().unwrap().to_owned()
    };
    // At the same time, so that only the check at the claim keeps them apart.
    let ids = futures::future::join_all((0..4).map(|_| boot(&apart))).await;
    let mut states = Vec::new();
    for id in &ids {
        for _ in 0..2000 {
            let server = cloud.get(&format!("/servers/{id}")).await["server"].clone();
            if server["status"] != "BUILD" {
                states.push(server["status"].as_str().unwrap().to_owned());
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    states.sort();
    assert_eq!(states, ["ACTIVE", "ACTIVE", "ACTIVE", "ERROR"], "three hosts, three servers");
    let ids = futures::future::join_all((0..3).map(|_| boot(&together))).await;
    for id in &ids {
        cloud.wait(id, "ACTIVE").await;
    }
    cloud.assert_sound().await;
    let shown = cloud.get(&format!("/os-server-groups/{together}")).await["server_group"].clone();
    assert_eq!(shown["members"].as_array().unwrap().len(), 3);
    assert_eq!(cloud.get(&format!("/servers/{}", ids[0])).await["server"]["server_groups"], json!([together]));
    let old = cloud.call("member", "2.15", "GET", "/os-server-groups", None).await.body;
    assert_eq!(old["server_groups"][0]["policies"], json!(["anti-affinity"]));
    cloud.ok("other", "GET", &format!("/os-server-groups/{apart}"), None, 404).await;
    assert_eq!(cloud.ok("other", "GET", "/os-server-groups", None, 200).await["server_groups"], json!([]));
    cloud.ok("member", "DELETE", &format!("/os-server-groups/{apart}"), None, 204).await;
    let mut order = cloud.order("g");
    order["os:scheduler_hints"] = json!({"group": apart});
    cloud.ok("member", "POST", "/servers", Some(order), 400).await;
    let bad: Value = json!({"server_group": {"name": "x", "policy": "nearby"}});
    cloud.ok("member", "POST", "/os-server-groups", Some(bad), 400).await;
}
