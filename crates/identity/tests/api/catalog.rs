//! Regions, services, endpoints, and the catalog that tokens carry.

use crate::harness::{Cloud, PASSWORD};
use serde_json::{Value, json};

#[tokio::test]
async fn the_catalog_follows_every_write_at_once() {
    let cloud = Cloud::new().await;
    let member = cloud.member("alice", "member").await;
    let admin = cloud.admin().await;
    let urls = async || -> Vec<Value> {
        let answer = member.client.get("/v3/auth/catalog").await.expect(200);
        let services = answer.body["catalog"].as_array().unwrap().clone();
        let of = |s: &Value| s["type"] == "object-store";
        services.iter().filter(|s| of(s)).flat_map(|s| s["endpoints"].as_array().unwrap().clone()).collect()
    };
    let body = json!({"service": {"type": "object-store", "name": "swift", "description": "d"}});
    let service = admin.send("POST", "/v3/services", Some(body)).await.expect(201).id();
    let endpoint = admin
        .create(
            "endpoint",
            json!({"service_id": service, "interface": "public", "region": "Two",
            "url": "http://o/v1/AUTH_%(project_id)s"}),
        )
        .await;
    assert_eq!(admin.get("/v3/regions/Two").await.expect(200).body["region"]["id"], "Two", "made on the way");
    let entry = &urls().await[0];
    assert_eq!(entry["url"], json!(format!("http://o/v1/AUTH_{}", member.project)));
    assert_eq!((&entry["region"], &entry["region_id"]), (&json!("Two"), &json!("Two")));
    let shown = member.client.about("GET", &member.client.token).await.expect(200);
    assert!(shown.text.contains(&format!("AUTH_{}", member.project)));
    // A token without a project has no such URL.
    let system = cloud.login_as("admin", PASSWORD, Some(json!({"system": {"all": true}}))).await.expect(201);
    assert!(!system.text.contains("AUTH_"));
    let path = format!("/v3/endpoints/{endpoint}");
    admin.patch(&path, "endpoint", json!({"url": "http://new/"})).await.expect(200);
    assert_eq!(urls().await[0]["url"], "http://new/");
    admin.patch(&path, "endpoint", json!({"enabled": false})).await.expect(200);
    assert_eq!(urls().await.len(), 0);
    admin.patch(&path, "endpoint", json!({"enabled": true})).await.expect(200);
    admin.send("DELETE", "/v3/regions/Two", None).await.expect(403);
    admin.send("DELETE", &format!("/v3/services/{service}"), None).await.expect(204);
    assert_eq!(urls().await.len(), 0);
    admin.get(&path).await.expect(404);
    admin.send("DELETE", "/v3/regions/Two", None).await.expect(204);
    for bad in [
        json!({"service_id": "none", "interface": "public", "url": "http://x"}),
        json!({"service_id": service, "interface": "other", "url": "http://x"}),
        json!({"interface": "public", "url": "http://x"}),
        json!({"service_id": service, "interface": "public", "url": "nonsense"}),
    ] {
        admin.send("POST", "/v3/endpoints", Some(json!({"endpoint": bad}))).await.expect(400);
    }
}

#[tokio::test]
async fn regions_and_services_as_resources() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    admin.send("POST", "/v3/regions", Some(json!({"region": {"id": "eu", "description": "Europe"}}))).await.expect(201);
    admin.send("POST", "/v3/regions", Some(json!({"region": {"id": "eu"}}))).await.expect(409);
    let body = json!({"region": {"parent_region_id": "eu"}});
    admin.send("PUT", "/v3/regions/eu-1", Some(body)).await.expect(201);
    admin.patch("/v3/regions/eu", "region", json!({"parent_region_id": "eu-1"})).await.expect(400);
    admin.send("PUT", "/v3/regions/a", Some(json!({"region": {"id": "b"}}))).await.expect(400);
    let listed = admin.get("/v3/regions?parent_region_id=eu").await.expect(200);
    assert_eq!(listed.body["regions"][0]["id"], "eu-1");
    admin.patch("/v3/regions/eu-1", "region", json!({"description": "x", "note": 1})).await.expect(200);
    assert_eq!(admin.get("/v3/regions/eu-1").await.body["region"]["note"], json!(1));
    admin.send("DELETE", "/v3/regions/eu", None).await.expect(204);
    admin.get("/v3/regions/eu-1").await.expect(404);
    let missing = admin.get("/v3/regions/none").await.expect(404);
    assert_eq!(missing.message(), "Could not find region: none.");

    let id = admin.create("service", json!({"type": "dns", "name": "designate"})).await;
    let path = format!("/v3/services/{id}");
    let changed = admin.patch(&path, "service", json!({"enabled": false, "description": "d"})).await.expect(200);
    assert_eq!(changed.body["service"]["enabled"], json!(false));
    assert_eq!(admin.get("/v3/services?type=dns").await.names("services"), ["designate"]);
    admin.send("POST", "/v3/services", Some(json!({"service": {"name": "x"}}))).await.expect(400);
    admin.send("DELETE", &path, None).await.expect(204);
    admin.get(&path).await.expect(404);
}
