//! What one project has, another may not see.

use ferrostack_e2e::TestCloud;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_things_are_not_there() {
    let cloud = TestCloud::new().await;
    let owner = cloud.tenant("owner", "member").await;
    let other = cloud.tenant("other", "member").await;
    let ground = cloud.ground(&owner).await;
    let server = cloud.server(&owner, &ground, "mine").await;
    cloud.wait_status(&owner, &server, "ACTIVE").await;
    let ports = owner.get(&format!("/network/v2.0/ports?device_id={server}")).await.expect(200);
    let port = ferrostack_e2e::text(&ports["ports"][0], "id");
    for path in [
        format!("/compute/v2.1/servers/{server}"),
        format!("/network/v2.0/networks/{}", ground.network),
        format!("/network/v2.0/ports/{port}"),
    ] {
        other.get(&path).await.expect(404);
        other.delete(&path).await.expect(404);
    }
    other.post(&format!("/compute/v2.1/servers/{server}/action"), json!({"os-stop": null})).await.expect(404);
    let body = json!({"server": {"name": "thief", "flavorRef": ground.flavor, "imageRef": ground.image,
        "networks": [{"uuid": ground.network}]}});
    other.post("/compute/v2.1/servers", body).await.expect(400);
    for (path, list) in [("/compute/v2.1/servers", "servers"), ("/network/v2.0/ports", "ports")] {
        assert_eq!(other.get(path).await.expect(200)[list], json!([]), "{path}");
    }
    other.get("/compute/v2.1/servers?all_tenants=1").await.expect(403);
    cloud.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_and_changes_nothing() {
    let cloud = TestCloud::new().await;
    let reader = cloud.tenant("reader", "reader").await;
    let admin = cloud.admin().await;
    let ground = cloud.ground(&admin).await;
    reader.get("/compute/v2.1/servers").await.expect(200);
    reader.get("/network/v2.0/networks").await.expect(200);
    let body =
        json!({"server": {"name": "s", "flavorRef": ground.flavor, "imageRef": ground.image, "networks": "none"}});
    reader.at("2.37").post("/compute/v2.1/servers", body).await.expect(403);
    reader.post("/network/v2.0/networks", json!({"network": {"name": "n"}})).await.expect(403);
    reader.post("/image/v2/images", json!({"name": "i"})).await.expect(403);
    cloud.finish().await;
}
