//! A server's life.

use ferrostack_e2e::{TestCloud, text};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_lives_and_leaves_nothing() {
    let cloud = TestCloud::new().await;
    let member = cloud.tenant("life", "member").await;
    let ground = cloud.ground(&member).await;
    let server = cloud.server(&member, &ground, "first").await;
    let shown = cloud.wait_status(&member, &server, "ACTIVE").await;
    assert_eq!(shown["addresses"]["net"][0]["OS-EXT-IPS:type"], "fixed");
    assert_eq!(shown["OS-EXT-STS:power_state"], 1);

    let act = |body: Value| {
        let (member, path) = (member.clone(), format!("/compute/v2.1/servers/{server}/action"));
        async move { member.post(&path, body).await.expect(202) }
    };
    act(json!({"os-stop": null})).await;
    cloud.wait_status(&member, &server, "SHUTOFF").await;
    act(json!({"os-start": null})).await;
    cloud.wait_status(&member, &server, "ACTIVE").await;
    for kind in ["SOFT", "HARD"] {
        act(json!({"reboot": {"type": kind}})).await;
        cloud.wait_status(&member, &server, "ACTIVE").await;
    }
    act(json!({"pause": null})).await;
    cloud.wait_status(&member, &server, "PAUSED").await;
    act(json!({"unpause": null})).await;
    cloud.wait_status(&member, &server, "ACTIVE").await;

    member.delete(&format!("/compute/v2.1/servers/{server}")).await.expect(204);
    cloud.wait_gone(&member, &server).await;
    cloud.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flavor_that_fits_no_host_says_why() {
    let cloud = TestCloud::new().await;
    let admin = cloud.admin().await;
    let ground = cloud.ground(&admin).await;
    let flavor = json!({"flavor": {"name": "huge", "vcpus": 1, "ram": 999_999_999, "disk": 1}});
    let quota = json!({"quota_set": {"ram": -1}});
    let projects = admin.get("/identity/v3/auth/projects").await.expect(200);
    let project = text(&projects["projects"][0], "id");
    admin.put(&format!("/compute/v2.1/os-quota-sets/{project}"), quota).await.expect(200);
    let flavor = text(&admin.post("/compute/v2.1/flavors", flavor).await.expect(200)["flavor"], "id");
    let body = json!({"server": {"name": "s", "flavorRef": flavor, "imageRef": ground.image, "networks": [{"uuid": ground.network}]}});
    let server = text(&admin.post("/compute/v2.1/servers", body).await.expect(202)["server"], "id");
    let shown = cloud.wait_status(&admin, &server, "ERROR").await;
    let message = text(&shown["fault"], "message");
    assert!(message.contains("No valid host was found") && message.contains("MEMORY_MB"), "{message}");
    cloud.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_and_deleted_while_they_build() {
    let cloud = TestCloud::new().await;
    let admin = cloud.admin().await;
    let ground = cloud.ground(&admin).await;
    let projects = admin.get("/identity/v3/auth/projects").await.expect(200);
    let project = text(&projects["projects"][0], "id");
    let quota = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
    admin.put(&format!("/compute/v2.1/os-quota-sets/{project}"), quota).await.expect(200);
    let body = json!({"server": {"name": "many", "flavorRef": ground.flavor, "imageRef": ground.image, "min_count": 30,
        "max_count": 30, "networks": [{"uuid": ground.network}]}});
    admin.post("/compute/v2.1/servers", body).await.expect(202);
    let list = admin.get("/compute/v2.1/servers").await.expect(200);
    let servers: Vec<String> = list["servers"].as_array().unwrap().iter().map(|s| text(s, "id")).collect();
    assert_eq!(servers.len(), 30);
    for server in servers.iter().step_by(2) {
        admin.delete(&format!("/compute/v2.1/servers/{server}")).await.expect(204);
    }
    for (index, server) in servers.iter().enumerate() {
        if index % 2 == 0 {
            cloud.wait_gone(&admin, server).await;
        } else {
            cloud.wait_status(&admin, server, "ACTIVE").await;
        }
    }
    cloud.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_requests_never_exceed_a_quota() {
    let cloud = TestCloud::new().await;
    let member = cloud.tenant("limited", "member").await;
    let ground = cloud.ground(&member).await;
    let mut set = tokio::task::JoinSet::new();
    for index in 0..25 {
        let member = member.clone();
        let body = json!({"server": {"name": format!("q{index}"), "flavorRef": ground.flavor, "imageRef": ground.image,
            "networks": [{"uuid": ground.network}]}});
        set.spawn(async move { member.post("/compute/v2.1/servers", body).await.status.as_u16() });
    }
    let statuses = set.join_all().await;
    assert_eq!(statuses.iter().filter(|s| **s == 202).count(), 10, "the default quota is ten instances: {statuses:?}");
    assert!(statuses.iter().all(|s| [202, 403].contains(s)), "{statuses:?}");
    cloud.finish().await;
}
