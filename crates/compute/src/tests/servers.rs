//! Servers from creation to deletion.

use super::{Cloud, server_id};
use ferrostack_contracts::node::{ConsoleKind, GuestError, GuestState, NodeReport, NodeReports, Want};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_server_lives_and_dies() {
    let cloud = Cloud::new().await;
    let mut order = cloud.order("web 1");
    order["server"]["metadata"] = json!({"role": "web"});
    order["server"]["tags"] = json!(["b", "a"]);
    order["server"]["description"] = json!("the first");
    let answer = cloud.call("member", "2.96", "POST", "/servers", Some(order)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.body["server"]["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.headers["location"], format!("http://cloud:1/compute/v2.1/servers/{id}"));
    assert_eq!(answer.body["server"]["security_groups"], json!([{"name": "default"}]));
    assert_eq!(answer.body["server"]["adminPass"].as_str().unwrap().len(), 12);
    cloud.wait(&id, "ACTIVE").await;
    let server = cloud.get(&format!("/servers/{id}")).await["server"].clone();
    assert_eq!(server["name"], "web 1");
    assert_eq!(server["flavor"]["original_name"], "m1.1");
    assert_eq!(server["flavor"]["ram"], 512);
    assert_eq!(server["tags"], json!(["a", "b"]));
    assert_eq!(server["metadata"], json!({"role": "web"}));
    assert_eq!(server["OS-EXT-STS:power_state"], 1);
    assert_eq!(server["OS-EXT-AZ:availability_zone"], "nova");
    assert_eq!(server["addresses"]["private"][0]["OS-EXT-IPS:type"], "fixed");
    assert_eq!(server["OS-EXT-SRV-ATTR:hostname"], "web-1");
    assert!(server.get("OS-EXT-SRV-ATTR:host").is_none(), "hosts are for administrators");
    assert_eq!(server["hostId"].as_str().unwrap().len(), 56);
    let (wanted, _) = cloud.world.nodes.guest(server_id(&id)).unwrap();
    let spec = wanted.spec.unwrap();
    assert_eq!((spec.vcpus, spec.memory_mb, spec.root_gb), (1, 512, 1));
    assert!(spec.metadata.admin_password.is_some(), "the node is told the password");
    cloud.delete(&id).await;
    cloud.wait(&id, "gone").await;
    cloud.assert_sound().await;
    assert_eq!(cloud.world.nodes.count(), 0);
    let deleted = cloud.ok("admin", "GET", "/servers/detail?all_tenants=1&deleted=true", None, 200).await;
    assert_eq!(deleted["servers"][0]["status"], "DELETED");
}

#[tokio::test]
async fn shapes_follow_the_microversion() {
    let cloud = Cloud::new().await;
    let id = cloud.booted("old").await;
    let at = async |token: &str, version: &str| {
        cloud.call(token, version, "GET", &format!("/servers/{id}"), None).await.body["server"].clone()
    };
    let old = at("member", "2.1").await;
    assert_eq!(old["flavor"]["id"], "1");
    for key in ["locked", "description", "tags", "server_groups", "OS-EXT-SRV-ATTR:hostname"] {
        assert!(old.get(key).is_none(), "{key} in 2.1");
    }
    let admin = at("admin", "2.3").await;
    assert_eq!(admin["OS-EXT-SRV-ATTR:root_device_name"], "/dev/vda");
    assert!(admin["OS-EXT-SRV-ATTR:instance_name"].as_str().unwrap().starts_with("instance-0000"));
    assert_eq!(at("admin", "2.16").await["host_status"], "UP");
    assert!(at("member", "2.46").await["flavor"].get("links").is_some());
    assert_eq!(at("member", "2.47").await["flavor"]["vcpus"], 1);
    assert_eq!(at("member", "2.71").await["server_groups"], json!([]));
    assert_eq!(at("member", "2.73").await["locked_reason"], Value::Null);
    // Before 2.37 nothing need be said of networks; a word is not understood.
    let mut order = cloud.order("x");
    order["server"].as_object_mut().unwrap().remove("networks");
    assert_eq!(cloud.call("member", "2.36", "POST", "/servers", Some(order.clone())).await.status, 202);
    assert_eq!(
        cloud.refused("member", "POST", "/servers", Some(order), 400).await,
        "'networks' is a required property"
    );
    assert_eq!(cloud.call("member", "2.36", "POST", "/servers", Some(cloud.order("y"))).await.status, 400);
    let answer = cloud.call("member", "2.97", "GET", "/servers", None).await;
    assert_eq!(answer.status, 406);
}

#[tokio::test]
async fn wrong_orders_are_refused_as_nova_does() {
    let cloud = Cloud::new().await;
    let raw = cloud.world.images.add(&cloud.world.env, |image| image.format = None);
    let queued = cloud.world.images.add(&cloud.world.env, |image| image.status = "queued".to_owned());
    let huge = cloud.world.images.add(&cloud.world.env, |image| image.virtual_size = Some(2 << 30));
    let hungry = cloud.world.images.add(&cloud.world.env, |image| image.min_ram = 1024);
    let wide = cloud.world.images.add(&cloud.world.env, |image| image.min_disk = 5);
    let nobody = "11111111-2222-3333-4444-555555555555";
    let cases: Vec<(&str, Value, u16, &str)> = vec![
        ("flavorRef", json!("none"), 400, "Flavor none could not be found."),
        ("imageRef", json!(nobody), 400, "Can not find requested image"),
        ("imageRef", json!("nonsense"), 400, "Invalid imageRef provided."),
        ("imageRef", json!(queued.to_string()), 400, "is not active."),
        ("imageRef", json!(raw.to_string()), 400, "is unacceptable"),
        ("imageRef", json!(huge.to_string()), 400, "Flavor's disk is too small for requested image."),
        ("imageRef", json!(hungry.to_string()), 400, "Flavor's memory is too small for requested image."),
        ("imageRef", json!(wide.to_string()), 400, "Flavor's disk is smaller than the minimum size"),
        ("key_name", json!("nokey"), 400, "Invalid key_name provided."),
        (
            "networks",
            json!([{"uuid": nobody}]),
            400,
            "Network 11111111-2222-3333-4444-555555555555 could not be found.",
        ),
        ("name", json!("x".repeat(256)), 400, "is too long"),
        ("name", json!(""), 400, "is too short"),
        ("name", json!(5), 400, "5 is not of type 'string'"),
        ("surprise", json!(1), 400, "Additional properties are not allowed ('surprise' was unexpected)"),
        ("availability_zone", json!("mars"), 400, "The requested availability zone is not available"),
        ("availability_zone", json!("nova:host-0"), 403, "os_compute_api:servers:create:forced_host"),
        ("user_data", json!("!!"), 400, "is not a 'base64'"),
        ("security_groups", json!([{"name": "nosuch"}]), 400, "Security group nosuch not found."),
        ("max_count", json!(0), 400, "0 is less than the minimum of 1"),
        ("min_count", json!(3), 202, ""),
        (
            "block_device_mapping_v2",
            json!([{"source_type": "volume", "uuid": nobody, "boot_index": 0}]),
            400,
            "Block Device Mapping is Invalid",
        ),
        ("hostname", json!("under_score"), 400, "does not match"),
        ("tags", json!(["a/b"]), 400, "does not match"),
    ];
    for (field, value, status, text) in cases {
        let mut order = cloud.order("x");
        order["server"][field] = value.clone();
        let said = cloud.refused("member", "POST", "/servers", Some(order), status).await;
        assert!(said.contains(text), "{field} = {value}: {said}");
    }
    let mut order = cloud.order("x");
    order["server"]["min_count"] = json!(3);
    order["server"]["max_count"] = json!(2);
    let said = cloud.refused("member", "POST", "/servers", Some(order), 400).await;
    assert_eq!(said, "min_count must be <= max_count");
    assert_eq!(cloud.call("member", "2.96", "POST", "/servers", Some(json!([]))).await.status, 400);
    cloud.ok("reader", "POST", "/servers", Some(cloud.order("x")), 403).await;
    // As OSC sends it: the image's root disk said twice.
    let mut order = cloud.order("bdm");
    order["server"]["block_device_mapping_v2"] = json!([{"uuid": cloud.image.to_string(), "boot_index": 0,
        "source_type": "image", "destination_type": "local", "delete_on_termination": true}]);
    cloud.ok("member", "POST", "/servers", Some(order), 202).await;
}

#[tokio::test]
async fn quota_is_never_exceeded() {
    let cloud = Cloud::with(|config| config.cpu_ratio = 16.0, 2).await;
    let tries = (0..30).map(|i| {
        let order = cloud.order(&format!("s{i}"));
        let cloud = &cloud;
        async move { cloud.call("member", "2.96", "POST", "/servers", Some(order)).await }
    });
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|a| a.status == 202).count(), 10);
    let refused: Vec<_> = answers.iter().filter(|a| a.status == 403).collect();
    assert_eq!(refused.len(), 20);
    assert_eq!(
        refused[0].body["forbidden"]["message"],
        "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
    );
    let list = cloud.get("/servers").await;
    let ids: Vec<String> =
        list["servers"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
    for id in &ids {
        cloud.wait(id, "ACTIVE").await;
    }
    let limits = cloud.get("/limits").await["limits"]["absolute"].clone();
    assert_eq!((limits["totalInstancesUsed"].clone(), limits["totalCoresUsed"].clone()), (json!(10), json!(10)));
    cloud.assert_sound().await;
    // Deleting twice gives back once.
    for id in &ids {
        cloud.delete(id).await;
        cloud.call("member", "2.96", "DELETE", &format!("/servers/{id}"), None).await;
    }
    for id in &ids {
        cloud.wait(id, "gone").await;
    }
    cloud.assert_sound().await;
    assert_eq!(cloud.get("/limits").await["limits"]["absolute"]["totalRAMUsed"], 0);
    // As many as there is room for.
    let mut order = cloud.order("many");
    order["server"]["min_count"] = json!(2);
    order["server"]["max_count"] = json!(40);
    order["server"]["return_reservation_id"] = json!(true);
    let body = cloud.ok("member", "POST", "/servers", Some(order), 202).await;
    let reservation = body["reservation_id"].as_str().unwrap();
    let path = format!("/servers?reservation_id={reservation}");
    assert_eq!(cloud.get(&path).await["servers"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn other_projects_see_nothing() {
    let cloud = Cloud::new().await;
    let id = cloud.booted("mine").await;
    for (method, path, body) in [
        ("GET", format!("/servers/{id}"), None),
        ("DELETE", format!("/servers/{id}"), None),
        ("PUT", format!("/servers/{id}"), Some(json!({"server": {"name": "theirs"}}))),
        ("POST", format!("/servers/{id}/action"), Some(json!({"os-stop": null}))),
        ("GET", format!("/servers/{id}/metadata"), None),
        ("GET", format!("/servers/{id}/tags"), None),
        ("GET", format!("/servers/{id}/ips"), None),
        ("GET", format!("/servers/{id}/os-interface"), None),
        ("GET", format!("/servers/{id}/os-instance-actions"), None),
        (
            "POST",
            format!("/servers/{id}/remote-consoles"),
            Some(json!({"remote_console": {"protocol": "vnc", "type": "novnc"}})),
        ),
    ] {
        let said = cloud.refused("other", method, &path, body, 404).await;
        assert_eq!(said, format!("Instance {id} could not be found."), "{method} {path}");
    }
    assert_eq!(cloud.ok("other", "GET", "/servers", None, 200).await["servers"], json!([]));
    cloud.ok("other", "GET", "/servers?all_tenants=1", None, 403).await;
    let all = cloud.ok("admin", "GET", "/servers?all_tenants=1", None, 200).await;
    assert_eq!(all["servers"].as_array().unwrap().len(), 1);
    cloud.ok("reader", "DELETE", &format!("/servers/{id}"), None, 403).await;
    cloud.ok("reader", "POST", &format!("/servers/{id}/action"), Some(json!({"os-stop": null})), 403).await;
    assert_eq!(cloud.call("", "2.1", "GET", "/servers", None).await.status, 401);
    cloud.ok("member", "GET", "/servers/nonsense", None, 404).await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let cloud = Cloud::new().await;
    let mut ids = Vec::new();
    for name in ["alpha", "beta", "gamma", "beta2", "delta"] {
        ids.push(cloud.booted(name).await);
    }
    let names = async |query: &str| -> Vec<String> {
        let list = cloud.get(&format!("/servers{query}")).await;
        list["servers"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, ["delta", "beta2", "gamma", "beta", "alpha"], "newest first");
    assert_eq!(names("?name=^beta").await, ["beta2", "beta"]);
    assert_eq!(names("?sort_key=display_name&sort_dir=asc").await, ["alpha", "beta", "beta2", "delta", "gamma"]);
    // A page at a time, by the links.
    let (mut seen, mut path) = (Vec::new(), "/servers?limit=2&sort_key=display_name&sort_dir=asc".to_owned());
    loop {
        let page = cloud.get(&path).await;
        seen.extend(page["servers"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()));
        match page["servers_links"][0]["href"].as_str() {
            Some(next) => path = next.split_once("/v2.1").unwrap().1.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["alpha", "beta", "beta2", "delta", "gamma"]);
    cloud.ok("member", "PUT", &format!("/servers/{}/tags", ids[0]), Some(json!({"tags": ["x", "y"]})), 200).await;
    cloud.ok("member", "PUT", &format!("/servers/{}/tags/x", ids[1]), None, 201).await;
    cloud.ok("member", "PUT", &format!("/servers/{}/tags/x", ids[1]), None, 204).await;
    assert_eq!(names("?tags=x,y").await, ["alpha"]);
    assert_eq!(names("?tags-any=x,y").await, ["beta", "alpha"]);
    assert_eq!(names("?not-tags-any=x,y").await, ["delta", "beta2", "gamma"]);
    assert_eq!(names("?not-tags=x,y").await, ["delta", "beta2", "gamma", "beta"]);
    let address = cloud.get(&format!("/servers/{}/ips", ids[2])).await["addresses"]["private"][0]["addr"].clone();
    let pattern = format!("?ip=^{}$", address.as_str().unwrap());
    assert_eq!(names(&pattern).await, ["gamma"]);
    assert_eq!(names("?status=ACTIVE").await.len(), 5);
    assert_eq!(names("?status=SHUTOFF").await, Vec::<String>::new());
    assert_eq!(names("?flavor=1&limit=0").await.len(), 5);
    for bad in [
        "?limit=-1",
        "?limit=x",
        "?marker=nothing",
        "?sort_key=password",
        "?status=NEW",
        "?bogus=1",
        "?changes-since=x",
    ] {
        cloud.ok("member", "GET", &format!("/servers{bad}"), None, 400).await;
    }
    assert_eq!(cloud.call("member", "2.74", "GET", "/servers?bogus=1", None).await.status, 200);
    cloud.ok("member", "GET", "/servers?status=DELETED", None, 403).await;
    cloud.delete(&ids[4]).await;
    cloud.wait(&ids[4], "gone").await;
    let since = cloud.get("/servers/detail?changes-since=2020-01-01T00:00:00Z").await;
    assert_eq!(since["servers"].as_array().unwrap().len(), 5, "deletions are changes, too");
    assert_eq!(names("").await.len(), 4);
}

#[tokio::test]
async fn power_follows_what_is_wanted() {
    let cloud = Cloud::new().await;
    let id = cloud.booted("p").await;
    let guest = server_id(&id);
    let nodes = &cloud.world.nodes;
    cloud.act(&id, json!({"os-stop": null})).await;
    assert_eq!(cloud.wait(&id, "SHUTOFF").await["OS-EXT-STS:power_state"], 4);
    let said =
        cloud.refused("member", "POST", &format!("/servers/{id}/action"), Some(json!({"pause": null})), 409).await;
    assert_eq!(said, format!("Cannot 'pause' instance {id} while it is in vm_state stopped"));
    cloud.act(&id, json!({"os-start": null})).await;
    cloud.wait(&id, "ACTIVE").await;
    cloud.act(&id, json!({"pause": null})).await;
    assert_eq!(cloud.wait(&id, "PAUSED").await["OS-EXT-STS:power_state"], 3);
    cloud.act(&id, json!({"unpause": null})).await;
    cloud.wait(&id, "ACTIVE").await;
    let before = nodes.guest(guest).unwrap().1.boot;
    cloud.act(&id, json!({"reboot": {"type": "HARD"}})).await;
    cloud.wait(&id, "ACTIVE").await;
    assert!(nodes.guest(guest).unwrap().1.boot > before);
    // Its owner shuts it down from inside.
    nodes.ends(guest, GuestState::Stopped);
    assert_eq!(cloud.wait(&id, "SHUTOFF").await["OS-EXT-STS:power_state"], 4);
    for _ in 0..500 {
        if nodes.guest(guest).unwrap().0.want == Want::Stopped {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(nodes.guest(guest).unwrap().0.want, Want::Stopped, "the wanted state follows");
    // A start that fails leaves it off; its reason is in the history.
    let broken = GuestError { public: "no memory".into(), internal: "ENOMEM".into(), elsewhere: true };
    nodes.fail_all_starts(Some(broken));
    cloud.act(&id, json!({"os-start": null})).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    cloud.wait(&id, "SHUTOFF").await;
    nodes.fail_all_starts(None);
    let actions = cloud.get(&format!("/servers/{id}/os-instance-actions")).await;
    let names: Vec<&str> =
        actions["instanceActions"].as_array().unwrap().iter().map(|a| a["action"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "reboot", "unpause", "pause", "start", "stop", "create"]);
    assert_eq!(actions["instanceActions"][0]["message"], "Error");
    let request = actions["instanceActions"][6]["request_id"].as_str().unwrap();
    let action = cloud.get(&format!("/servers/{id}/os-instance-actions/{request}")).await["instanceAction"].clone();
    assert_eq!(action["events"][0]["result"], "Success");
    for (body, text) in [
        (json!({"fly": null}), "There is no such action: fly"),
        (json!({"reboot": {"type": "GENTLE"}}), "is not one of"),
        (json!({}), "There should be one action"),
    ] {
        let said = cloud.refused("member", "POST", &format!("/servers/{id}/action"), Some(body), 400).await;
        assert!(said.contains(text), "{said}");
    }
    cloud.ok("member", "POST", &format!("/servers/{id}/action"), Some(json!({"rebuild": {}})), 501).await;
    cloud.assert_sound().await;
}

#[tokio::test]
async fn a_host_that_cannot_is_left_for_another() {
    let cloud = Cloud::with(|config| config.build_attempts = 2, 3).await;
    let nodes = &cloud.world.nodes;
    let broken = GuestError { public: "The host's disk is full.".into(), internal: "ENOSPC".into(), elsewhere: true };
    nodes.fail_all_starts(Some(broken.clone()));
    let id = cloud.boot("nowhere").await;
    let server = cloud.wait(&id, "ERROR").await;
    assert_eq!(
        server["fault"]["message"],
        "Exceeded maximum number of retries: 2 hosts failed. The last one said: The host's disk is full."
    );
    assert!(server["fault"]["details"].as_str().unwrap().contains("ENOSPC"));
    let shown = cloud.get(&format!("/servers/{id}")).await["server"].clone();
    assert!(shown["fault"].get("details").is_none(), "details are for administrators");
    assert_eq!(shown["hostId"], "");
    cloud.assert_sound().await;
    // All but one fail: it takes what the others could not.
    nodes.fail_all_starts(None);
    let first = cloud.booted("probe").await;
    let good = nodes.host_of(server_id(&first)).unwrap();
    nodes.fail_all_starts(Some(broken));
    nodes.fail_starts(good, None);
    // Images that no host can boot are not tried elsewhere.
    for id in [&first, &id] {
        cloud.delete(id).await;
        cloud.wait(id, "gone").await;
    }
    nodes.fail_all_starts(Some(GuestError {
        public: "The image is broken.".into(),
        internal: "x".into(),
        elsewhere: false,
    }));
    let id = cloud.boot("broken").await;
    assert_eq!(cloud.wait(&id, "ERROR").await["fault"]["message"], "The image is broken.");
    cloud.assert_sound().await;
}

#[tokio::test]
async fn no_room_says_why() {
    let cloud = Cloud::new().await;
    cloud.ok("admin", "PUT", "/os-quota-sets/p1", Some(json!({"quota_set": {"cores": -1, "ram": -1}})), 200).await;
    let mut order = cloud.order("big");
    order["server"]["flavorRef"] = json!("big");
    for _ in 0..2 {
        let body = cloud.ok("member", "POST", "/servers", Some(order.clone()), 202).await;
        cloud.wait(body["server"]["id"].as_str().unwrap(), "ACTIVE").await;
    }
    let body = cloud.ok("member", "POST", "/servers", Some(order), 202).await;
    let server = cloud.wait(body["server"]["id"].as_str().unwrap(), "ERROR").await;
    assert_eq!(
        server["fault"]["message"],
        "No valid host was found. Of 2 hosts, these were removed: 2: not enough VCPU."
    );
    assert_eq!(server["fault"]["code"], 500);
    cloud.assert_sound().await;
}

#[tokio::test]
async fn a_server_is_deleted_while_it_is_built() {
    let cloud = Cloud::new().await;
    for round in 0..12_u64 {
        let id = cloud.boot("short").await;
        tokio::time::sleep(Duration::from_millis(round)).await;
        cloud.delete(&id).await;
        cloud.wait(&id, "gone").await;
    }
    cloud.assert_sound().await;
    assert_eq!(cloud.world.nodes.count(), 0);
}

#[tokio::test]
async fn a_host_that_is_away_is_told_when_it_is_back() {
    let cloud = Cloud::with(|_| {}, 1).await;
    let (stays, goes) = (cloud.booted("stays").await, cloud.booted("goes").await);
    let node = cloud.world.nodes.host_of(server_id(&goes)).unwrap();
    cloud.world.nodes.set_up(node, false);
    cloud.act(&stays, json!({"os-stop": null})).await;
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let services = cloud.ok("admin", "GET", "/os-services", None, 200).await;
    assert_eq!(services["services"][0]["state"], "down");
    let late = cloud.boot("late").await;
    let fault = cloud.wait(&late, "ERROR").await["fault"]["message"].clone();
    assert_eq!(fault, "No valid host was found. Of 1 hosts, these were removed: 1: the host is down.");
    cloud.delete(&goes).await;
    cloud.wait(&goes, "gone").await;
    assert_eq!(cloud.world.nodes.count(), 2, "the guest still runs out there");
    let held = ferrostack_contracts::placement::Placement::holders(cloud.world.placement.as_ref()).await.unwrap();
    assert_eq!(held.len(), 2, "its room is kept until it is known to be gone");
    assert_eq!(cloud.compute.audit().await.unwrap(), []);
    cloud.world.nodes.set_up(node, true);
    cloud.wait(&stays, "SHUTOFF").await;
    cloud.assert_sound().await;
    assert_eq!(cloud.world.nodes.count(), 1);
}

#[tokio::test]
async fn a_host_that_is_removed_takes_its_guests_along() {
    let cloud = Cloud::with(|_| {}, 1).await;
    let id = cloud.booted("lost").await;
    let node = cloud.world.nodes.host_of(server_id(&id)).unwrap();
    let service = cloud.ok("admin", "GET", "/os-services", None, 200).await["services"][0].clone();
    let path = format!("/os-services/{}", service["id"].as_str().unwrap());
    cloud.ok("admin", "DELETE", &path, None, 409).await;
    cloud.world.nodes.set_up(node, false);
    cloud.ok("admin", "PUT", &path, Some(json!({"forced_down": true})), 200).await;
    cloud.delete(&id).await;
    cloud.wait(&id, "gone").await;
    assert!(!cloud.jobs.backlog().await.unwrap().is_empty(), "its room is kept");
    cloud.ok("admin", "DELETE", &path, None, 204).await;
    cloud.assert_sound().await;
    let held = ferrostack_contracts::placement::Placement::holders(cloud.world.placement.as_ref()).await.unwrap();
    assert!(held.is_empty());
    // It comes back nevertheless, and what it still has is told to go.
    assert_eq!(cloud.world.nodes.count(), 1);
    cloud.world.nodes.set_up(node, true);
    cloud.world.nodes.ends(server_id(&id), GuestState::Running);
    for _ in 0..500 {
        if cloud.world.nodes.count() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(cloud.world.nodes.count(), 0);
}

#[tokio::test]
async fn strays_and_orphans_are_cleared_away() {
    let cloud = Cloud::with(|config| config.orphan_grace = Duration::from_millis(50), 1).await;
    let id = cloud.booted("real").await;
    let node = cloud.world.nodes.host_of(server_id(&id)).unwrap();
    let stray = server_id("99999999-9999-4999-8999-999999999999");
    cloud.world.nodes.stray(node, stray);
    cloud.world.nodes.ends(stray, GuestState::Running);
    cloud.world.ports.litter(stray);
    let offences = cloud.compute.audit().await.unwrap();
    assert_eq!(offences.len(), 1, "{offences:?}");
    assert_eq!(offences[0].law, "port");
    for _ in 0..200 {
        cloud.compute.hint_all_loops();
        tokio::time::sleep(Duration::from_millis(20)).await;
        if cloud.world.nodes.guest(stray).is_none() && cloud.compute.audit().await.unwrap().is_empty() {
            break;
        }
    }
    assert!(cloud.world.nodes.guest(stray).is_none(), "a guest that nobody wants goes");
    cloud.assert_sound().await;
    assert_eq!(cloud.world.nodes.count(), 1);
}

#[tokio::test]
async fn nodes_speak_for_themselves_only() {
    let cloud = Cloud::with(|_| {}, 1).await;
    let id = cloud.booted("s").await;
    let node = cloud.world.nodes.host_of(server_id(&id)).unwrap();
    let read = |image| NodeReport::ReadImage { image, offset: 0, length: 4 };
    assert!(cloud.compute.report(node, read(cloud.image)).await.is_ok());
    let other = cloud.world.images.add(&cloud.world.env, |_| {});
    assert_eq!(cloud.compute.report(node, read(other)).await.unwrap_err().kind().status(), 403);
    let imposter = cloud.world.nodes.add("host-0", 8);
    cloud.world.nodes.pump(cloud.compute.as_ref()).await;
    let hosts = cloud.ok("admin", "GET", "/os-hypervisors", None, 200).await;
    assert_eq!(hosts["hypervisors"].as_array().unwrap().len(), 1, "a name belongs to one host");
    // A report of another host about our server changes nothing.
    let (_, mut seen) = cloud.world.nodes.guest(server_id(&id)).unwrap();
    seen.sequence += 1000;
    seen.state = GuestState::Crashed;
    seen.settled = false;
    let _ = cloud.compute.report(imposter, NodeReport::Guests(vec![seen])).await;
    assert_eq!(cloud.get(&format!("/servers/{id}")).await["server"]["status"], "ACTIVE");
}

#[tokio::test]
async fn a_console_token_works_once() {
    let cloud = Cloud::new().await;
    let id = cloud.booted("c").await;
    let body = json!({"remote_console": {"protocol": "vnc", "type": "novnc"}});
    let path = format!("/servers/{id}/remote-consoles");
    let console = cloud.ok("member", "POST", &path, Some(body), 200).await["remote_console"].clone();
    let url = console["url"].as_str().unwrap();
    let token = url.strip_prefix("http://cloud:1/console/?token=").expect(url);
    let (node, server, kind) = cloud.compute.redeem_console(token).await.unwrap();
    assert_eq!(Some(node), cloud.world.nodes.host_of(server_id(&id)));
    assert_eq!((server, kind), (server_id(&id), ConsoleKind::Vnc));
    assert_eq!(cloud.compute.redeem_console(token).await.unwrap_err().kind().status(), 404);
    assert!(cloud.compute.redeem_console("guess").await.is_err());
    let spice = json!({"remote_console": {"protocol": "spice", "type": "spice-html5"}});
    assert_eq!(cloud.refused("member", "POST", &path, Some(spice), 400).await, "Unavailable console type spice-html5.");
    let old = json!({"os-getVNCConsole": {"type": "novnc"}});
    let answer = cloud.call("member", "2.5", "POST", &format!("/servers/{id}/action"), Some(old.clone())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(cloud.call("member", "2.6", "POST", &format!("/servers/{id}/action"), Some(old)).await.status, 400);
    let log = json!({"os-getConsoleOutput": {"length": 5}});
    let output = cloud.ok("member", "POST", &format!("/servers/{id}/action"), Some(log), 200).await;
    assert_eq!(output["output"], "login: Some(5)");
    cloud.act(&id, json!({"os-stop": null})).await;
    cloud.wait(&id, "SHUTOFF").await;
    let body = json!({"remote_console": {"protocol": "serial", "type": "serial"}});
    assert_eq!(cloud.refused("member", "POST", &path, Some(body), 409).await, format!("Instance {id} is not ready"));
}

#[tokio::test]
async fn parts_of_a_server_change() {
    let cloud = Cloud::new().await;
    let id = cloud.booted("m").await;
    let path = format!("/servers/{id}/metadata");
    cloud.ok("member", "POST", &path, Some(json!({"metadata": {"a": "1", "b": "2"}})), 200).await;
    cloud.ok("member", "PUT", &format!("{path}/a"), Some(json!({"meta": {"a": "9"}})), 200).await;
    cloud.ok("member", "PUT", &format!("{path}/a"), Some(json!({"meta": {"x": "9"}})), 400).await;
    cloud.ok("member", "DELETE", &format!("{path}/b"), None, 204).await;
    assert_eq!(cloud.refused("member", "GET", &format!("{path}/b"), None, 404).await, "Metadata item was not found");
    assert_eq!(cloud.get(&path).await["metadata"], json!({"a": "9"}));
    let many: serde_json::Map<String, Value> = (0..129).map(|i| (format!("k{i}"), json!("v"))).collect();
    let said = cloud.refused("member", "PUT", &path, Some(json!({"metadata": many})), 403).await;
    assert_eq!(said, "Maximum number of metadata items exceeds 128");
    cloud.ok("member", "PUT", &path, Some(json!({"metadata": {"a": 5}})), 400).await;
    for _ in 0..500 {
        let told = cloud.world.nodes.guest(server_id(&id)).unwrap().0.spec.unwrap().metadata;
        if told.meta.get("a").is_some_and(|a| a == "9") && told.admin_password.is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = cloud.world.nodes.guest(server_id(&id)).unwrap().0.spec.unwrap().metadata;
    assert_eq!(told.meta.get("a").map(String::as_str), Some("9"), "the guest is told");
    let body = json!({"server": {"name": "renamed", "description": "d", "accessIPv4": "192.0.2.1"}});
    let server = cloud.ok("member", "PUT", &format!("/servers/{id}"), Some(body), 200).await["server"].clone();
    assert_eq!((server["name"].clone(), server["accessIPv4"].clone()), (json!("renamed"), json!("192.0.2.1")));
    let old =
        cloud.call("member", "2.40", "PUT", &format!("/servers/{id}"), Some(json!({"server": {"name": "n"}}))).await;
    assert!(old.body["server"].get("OS-EXT-STS:vm_state").is_none());
    // Locks bind everybody but administrators.
    cloud.act(&id, json!({"lock": {"locked_reason": "careful"}})).await;
    assert_eq!(cloud.get(&format!("/servers/{id}")).await["server"]["locked_reason"], "careful");
    let said = cloud.refused("member", "DELETE", &format!("/servers/{id}"), None, 409).await;
    assert_eq!(said, format!("Instance {id} is locked"));
    cloud.act(&id, json!({"unlock": null})).await;
    cloud.ok("admin", "POST", &format!("/servers/{id}/action"), Some(json!({"lock": null})), 202).await;
    cloud.ok("member", "POST", &format!("/servers/{id}/action"), Some(json!({"unlock": null})), 403).await;
    cloud.ok("admin", "POST", &format!("/servers/{id}/action"), Some(json!({"unlock": null})), 202).await;
    assert_eq!(
        cloud.get(&format!("/servers/{id}/os-interface")).await["interfaceAttachments"][0]["port_state"],
        "ACTIVE"
    );
    assert_eq!(cloud.get(&format!("/servers/{id}/os-volume_attachments")).await["volumeAttachments"], json!([]));
    assert_eq!(cloud.get(&format!("/servers/{id}/os-security-groups")).await["security_groups"][0]["name"], "default");
    cloud.ok("member", "DELETE", &format!("/servers/{id}/tags/none"), None, 404).await;
    cloud
        .ok("member", "POST", &format!("/servers/{id}/action"), Some(json!({"os-resetState": {"state": "error"}})), 403)
        .await;
    cloud
        .ok("admin", "POST", &format!("/servers/{id}/action"), Some(json!({"os-resetState": {"state": "error"}})), 202)
        .await;
    cloud.wait(&id, "ERROR").await;
    cloud.act(&id, json!({"reboot": {"type": "HARD"}})).await;
    cloud.wait(&id, "ACTIVE").await;
    cloud.assert_sound().await;
}
