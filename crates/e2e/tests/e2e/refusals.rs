//! Bad input: OpenStack's status and body, the true reason, and nothing left behind.

use ferrostack_e2e::TestCloud;
use http::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn bad_servers_are_refused_with_the_reason() {
    let cloud = TestCloud::new().await;
    let member = cloud.tenant("bad", "member").await;
    let ground = cloud.ground(&member).await;
    let unknown = "11111111-2222-4333-8444-555555555555";
    let good = json!({"name": "s", "flavorRef": ground.flavor, "imageRef": ground.image, "networks": [{"uuid": ground.network}]});
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        json!({"server": body})
    };
    for (what, body, words) in [
        ("no name", json!({"server": {"flavorRef": "1", "imageRef": unknown}}), "'name' is a required property"),
        ("empty name", with("name", json!("")), "name"),
        ("over-long name", with("name", json!("x".repeat(256))), "too long"),
        ("name of a wrong type", with("name", json!(7)), "is not of type 'string'"),
        ("unknown field", with("evil", json!(true)), "'evil' was unexpected"),
        ("unknown flavor", with("flavorRef", json!(unknown)), "Flavor"),
        ("unknown image", with("imageRef", json!(unknown)), "image"),
        ("unknown network", with("networks", json!([{"uuid": unknown}])), "Network"),
        ("unknown key", with("key_name", json!("nokey")), "key_name"),
        ("user data that is not base64", with("user_data", json!("!!!")), "user_data"),
        ("a list for a body", json!([]), ""),
    ] {
        let answer = member.post("/compute/v2.1/servers", body).await;
        let status = answer.status.as_u16();
        let body = answer.expect(status);
        assert_eq!(status, 400, "{what}: {body}");
        let message = body["badRequest"]["message"].as_str().unwrap_or_else(|| panic!("{what}: {body}"));
        assert!(message.contains(words), "{what}: {message}");
    }
    let limits = member.get("/compute/v2.1/limits").await.expect(200);
    assert_eq!(limits["limits"]["absolute"]["totalInstancesUsed"], 0);
    let ports = member.get("/network/v2.0/ports?device_owner=compute:nova").await.expect(200);
    assert_eq!(ports["ports"], json!([]));
    cloud.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_bodies_are_refused() {
    let cloud = TestCloud::new().await;
    let member = cloud.tenant("body", "member").await;
    for path in ["/compute/v2.1/servers", "/network/v2.0/networks", "/image/v2/images"] {
        member.send(Method::POST, path, &[], "{\"x\": ").await.expect(400);
        let status = member.send(Method::POST, path, &[], vec![b' '; 4 << 20]).await.status.as_u16();
        assert!(status == 413 || status == 400, "{path}: {status}");
    }
    cloud.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_lies_about_its_format_is_refused_and_leaves_nothing() {
    let cloud = TestCloud::new().await;
    let member = cloud.tenant("liar", "member").await;
    let image = json!({"name": "liar", "disk_format": "qcow2", "container_format": "bare"});
    let image = ferrostack_e2e::text(&member.post("/image/v2/images", image).await.expect(201), "id");
    let path = format!("/image/v2/images/{image}/file");
    let answer =
        member.send(Method::PUT, &path, &[("content-type", "application/octet-stream")], vec![7u8; 8192]).await;
    assert!([400, 415].contains(&answer.status.as_u16()), "{:?}", answer.body);
    let shown = member.get(&format!("/image/v2/images/{image}")).await.expect(200);
    assert_ne!(shown["status"], "active");
    member.delete(&format!("/image/v2/images/{image}")).await.expect(204);
    cloud.finish().await;
}
