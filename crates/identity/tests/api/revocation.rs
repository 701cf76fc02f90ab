//! A revocation is seen by the very next request, and by no other token than those that it is about.

use crate::harness::{Cloud, PASSWORD};
use serde_json::json;

#[tokio::test]
async fn whatever_ends_a_token_is_seen_by_the_next_request() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let bystander = cloud.member("bystander", "member").await;
    let role = admin.role("member").await;
    for (index, how) in [
        "token",
        "password",
        "own password",
        "user disabled",
        "user deleted",
        "project disabled",
        "project deleted",
        "role taken",
        "domain disabled",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{index}");
        let domain = admin.create("domain", json!({"name": format!("domain{index}")})).await;
        let project = admin.create("project", json!({"name": "p", "domain_id": domain})).await;
        let user = admin.create("user", json!({"name": name, "password": PASSWORD, "domain_id": domain})).await;
        let grant = format!("/v3/projects/{project}/users/{user}/roles/{role}");
        admin.send("PUT", &grant, None).await.expect(204);
        let auth = |password: &str| {
            json!({"identity": {"methods": ["password"], "password": {"user": {"id": user, "password": password}}},
                   "scope": {"project": {"id": project}}})
        };
        let client = cloud.client(&cloud.login(auth(PASSWORD)).await.expect(201).token());
        assert!(client.works().await);
        let user_path = format!("/v3/users/{user}");
        match how {
            "token" => drop(client.about("DELETE", &client.token).await.expect(204)),
            "password" => drop(admin.patch(&user_path, "user", json!({"password": "new"})).await.expect(200)),
            "own password" => {
                let body = json!({"user": {"original_password": PASSWORD, "password": "new"}});
                cloud.send("POST", &format!("{user_path}/password"), &[], Some(&body)).await.expect(204);
            }
            "user disabled" => drop(admin.patch(&user_path, "user", json!({"enabled": false})).await.expect(200)),
            "user deleted" => drop(admin.send("DELETE", &user_path, None).await.expect(204)),
            "project disabled" => {
                let path = format!("/v3/projects/{project}");
                admin.patch(&path, "project", json!({"enabled": false})).await.expect(200);
            }
            "project deleted" => drop(admin.send("DELETE", &format!("/v3/projects/{project}"), None).await.expect(204)),
            "role taken" => drop(admin.send("DELETE", &grant, None).await.expect(204)),
            "domain disabled" => {
                let path = format!("/v3/domains/{domain}");
                admin.patch(&path, "domain", json!({"enabled": false})).await.expect(200);
            }
            other => unreachable!("{other}"),
        }
        assert!(!client.works().await, "{how}");
        assert!(bystander.client.works().await, "{how} ended somebody else's token");
        // Being enabled again does not bring old tokens back; a new login in the same second works.
        let (back, password) = match how {
            "user disabled" => (admin.patch(&user_path, "user", json!({"enabled": true})).await, PASSWORD),
            "project disabled" => {
                (admin.patch(&format!("/v3/projects/{project}"), "project", json!({"enabled": true})).await, PASSWORD)
            }
            "domain disabled" => {
                (admin.patch(&format!("/v3/domains/{domain}"), "domain", json!({"enabled": true})).await, PASSWORD)
            }
            "password" | "own password" => (admin.get(&user_path).await, "new"),
            _ => continue,
        };
        back.expect(200);
        assert!(!client.works().await, "{how}, and back again");
        let again = cloud.client(&cloud.login(auth(password)).await.expect(201).token());
        assert!(again.works().await, "{how}: a new token at once");
    }
}

#[tokio::test]
async fn groups_and_implied_roles_count_at_once() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let member = cloud.member("alice", "member").await;
    let group = admin.create("group", json!({"name": "g"})).await;
    let roles = |answer: &crate::harness::Answer| -> Vec<String> {
        let roles = answer.body["token"]["roles"].as_array().unwrap();
        roles.iter().map(|r| r["name"].as_str().unwrap().to_owned()).collect()
    };
    let now = async || roles(&member.client.about("GET", &member.client.token).await.expect(200));
    assert_eq!(now().await, ["member", "reader"]);
    let manager = admin.role("manager").await;
    let grant = format!("/v3/projects/{}/groups/{group}/roles/{manager}", member.project);
    admin.send("PUT", &grant, None).await.expect(204);
    assert_eq!(now().await, ["member", "reader"]);
    let membership = format!("/v3/groups/{group}/users/{}", member.user);
    admin.send("PUT", &membership, None).await.expect(204);
    assert_eq!(now().await, ["manager", "member", "reader"]);
    let audit = admin.create("role", json!({"name": "audit"})).await;
    let implies = format!("/v3/roles/{manager}/implies/{audit}");
    admin.send("PUT", &implies, None).await.expect(201);
    assert_eq!(now().await, ["audit", "manager", "member", "reader"]);
    admin.send("DELETE", &implies, None).await.expect(204);
    assert_eq!(now().await, ["manager", "member", "reader"]);
    admin.send("DELETE", &grant, None).await.expect(204);
    assert_eq!(now().await, ["member", "reader"]);
    admin.send("PUT", &grant, None).await.expect(204);
    admin.send("DELETE", &format!("/v3/groups/{group}"), None).await.expect(204);
    assert_eq!(now().await, ["member", "reader"]);
}

#[tokio::test]
async fn a_revocation_outlives_a_restart() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    admin.about("DELETE", &admin.token).await.expect(204);
    let config = ferrostack_identity::Config::new(cloud.dir.path().join("keys"));
    let deps = ferrostack_identity::Deps { db: cloud.db.db.clone(), env: cloud.env.clone(), config };
    let again = ferrostack_identity::Identity::new(deps).await.unwrap();
    use ferrostack_contracts::identity::TokenVerifier;
    assert!(again.verify(&admin.token).await.is_err());
    // Not for a service that may ask about ended tokens either.
    let other = cloud.admin().await;
    let headers = [("x-auth-token", other.token.as_str()), ("x-subject-token", admin.token.as_str())];
    cloud.send("GET", "/v3/auth/tokens?allow_expired=1", &headers, None).await.expect(404);
}
