use crate::harness::{Cloud, PASSWORD};
use ferrostack_contracts::identity::{IdentityDirectory, Scope, TokenVerifier};
use serde_json::json;

#[tokio::test]
async fn versions_are_found_where_the_client_asked() {
    let cloud = Cloud::new().await;
    let all = cloud.send("GET", "", &[], None).await.expect(300);
    let v3 = &all.body["versions"]["values"][0];
    assert_eq!(v3["id"], "v3.14");
    assert_eq!(v3["links"][0]["href"], "http://cloud.example:5000/identity/v3/");
    assert_eq!(all.headers["location"], "http://cloud.example:5000/identity/v3/");
    let one = cloud.send("GET", "/v3/", &[], None).await.expect(200);
    assert_eq!(one.body["version"]["status"], "stable");
}

#[tokio::test]
async fn a_password_gives_a_project_token_that_says_everything() {
    let cloud = Cloud::new().await;
    let scope = json!({"project": {"name": "admin", "domain": {"id": "default"}}});
    let answer = cloud.login_as("admin", PASSWORD, Some(scope)).await.expect(201);
    let token = &answer.body["token"];
    assert_eq!(token["methods"], json!(["password"]));
    assert_eq!(token["user"]["name"], "admin");
    assert_eq!(token["user"]["domain"], json!({"id": "default", "name": "Default"}));
    assert_eq!(token["user"]["password_expires_at"], json!(null));
    assert_eq!(token["project"]["name"], "admin");
    assert_eq!(token["is_domain"], json!(false));
    let roles: Vec<&str> = token["roles"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(roles, ["admin", "manager", "member", "reader"], "implied roles are in the token");
    assert_eq!(token["catalog"].as_array().unwrap().len(), 2);
    assert_eq!(token["catalog"][0]["endpoints"].as_array().unwrap().len(), 3);
    assert_eq!(token["audit_ids"].as_array().unwrap().len(), 1);
    assert!(token["expires_at"].as_str().unwrap().ends_with(".000000Z"), "whole seconds, as Keystone's tokens");
    assert!(answer.token().starts_with("gAAAAA"));
    assert!(answer.token().len() < 255);

    let caller = cloud.identity.verify(&answer.token()).await.unwrap();
    assert_eq!(caller.roles, ["admin", "manager", "member", "reader"]);
    assert!(matches!(&caller.scope, Scope::Project { name, .. } if name == "admin"));
    let client = cloud.client(&answer.token());
    let shown = client.about("GET", &answer.token()).await.expect(200);
    assert_eq!(shown.body, answer.body, "validated as issued");
    assert_eq!(shown.token(), answer.token());
    let head = client.about("HEAD", &answer.token()).await.expect(200);
    assert_eq!(head.token(), answer.token());
    let project = caller.project_id().unwrap().clone();
    assert!(cloud.identity.project_exists(&project).await.unwrap());
    assert_eq!(cloud.identity.catalog().await.unwrap(), token["catalog"]);
}

#[tokio::test]
async fn every_scope() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let system = cloud.login_as("admin", PASSWORD, Some(json!({"system": {"all": true}}))).await.expect(201);
    assert_eq!(system.body["token"]["system"], json!({"all": true}));
    assert!(cloud.identity.verify(&system.token()).await.unwrap().is_system());

    // No role on the domain yet, then one.
    let domain = json!({"domain": {"name": "Default"}});
    cloud.login_as("admin", PASSWORD, Some(domain.clone())).await.expect(401);
    let (role, user) = (admin.role("admin").await, cloud.identity.verify(&admin.token).await.unwrap().user_id.clone());
    admin.send("PUT", &format!("/v3/domains/default/users/{user}/roles/{role}"), None).await.expect(204);
    let answer = cloud.login_as("admin", PASSWORD, Some(domain)).await.expect(201);
    assert_eq!(answer.body["token"]["domain"], json!({"id": "default", "name": "Default"}));
    let shown = cloud.client(&answer.token()).about("GET", &answer.token()).await.expect(200);
    assert_eq!(shown.body, answer.body);

    // Nothing asked and no default project; explicitly unscoped; a default project.
    for scope in [None, Some(json!("unscoped")), Some(json!({"unscoped": {}}))] {
        let answer = cloud.login_as("admin", PASSWORD, scope).await.expect(201);
        for absent in ["project", "domain", "system", "roles", "catalog"] {
            assert!(answer.body["token"].get(absent).is_none(), "{absent}: {}", answer.text);
        }
    }
    let project = cloud.identity.verify(&admin.token).await.unwrap().project_id().unwrap().clone();
    admin.patch(&format!("/v3/users/{user}"), "user", json!({"default_project_id": project})).await.expect(200);
    let answer = cloud.login_as("admin", PASSWORD, None).await.expect(201);
    assert_eq!(answer.body["token"]["project"]["name"], "admin");
    let answer = cloud.login_as("admin", PASSWORD, Some(json!("unscoped"))).await.expect(201);
    assert!(answer.body["token"].get("project").is_none());
    // A default project that is of no use is passed over.
    admin.patch(&format!("/v3/users/{user}"), "user", json!({"default_project_id": "gone"})).await.expect(200);
    let answer = cloud.login_as("admin", PASSWORD, None).await.expect(201);
    assert!(answer.body["token"].get("project").is_none());
}

#[tokio::test]
async fn what_is_malformed_is_400_and_what_is_wrong_is_401() {
    let cloud = Cloud::new().await;
    let user = json!({"name": "admin", "domain": {"id": "default"}, "password": PASSWORD});
    for (auth, status) in [
        (json!({}), 400),
        (json!({"identity": {}}), 400),
        (json!({"identity": {"methods": "password"}}), 400),
        (json!({"identity": {"methods": ["password"]}}), 400),
        (json!({"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "password": "x"}}}}), 400),
        (json!({"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}}), 400),
        (json!({"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {}}), 400),
        (json!({"identity": {"methods": ["password"], "password": {"user": user}}, "scope": "all"}), 400),
        (
            json!({"identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "admin"}}}),
            400,
        ),
        (
            json!({"identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"id": "x"}, "system": {"all": true}}}),
            400,
        ),
        (json!({"identity": {"methods": []}}), 401),
        (json!({"identity": {"methods": ["saml2"], "saml2": {}}}), 401),
        (json!({"identity": {"methods": ["token"], "token": {"id": "gAAAAA"}}}), 401),
        (
            json!({"identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"id": "nowhere"}}}),
            401,
        ),
        (
            json!({"identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"domain": {"name": "nowhere"}}}),
            401,
        ),
    ] {
        let answer = cloud.login(auth.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{auth}: {}", answer.text);
        assert_eq!(answer.body["error"]["code"], json!(status));
    }
    cloud.send("POST", "/v3/auth/tokens", &[], Some(&json!({"auht": 1}))).await.expect(400);
}

#[tokio::test]
async fn nocatalog_and_the_catalog_by_itself() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let headers = [("x-auth-token", admin.token.as_str()), ("x-subject-token", admin.token.as_str())];
    let answer = cloud.send("GET", "/v3/auth/tokens?nocatalog", &headers, None).await.expect(200);
    assert!(answer.body["token"].get("catalog").is_none());
    assert_eq!(admin.get("/v3/auth/catalog").await.expect(200).body["catalog"].as_array().unwrap().len(), 2);
    let system = cloud.login_as("admin", PASSWORD, Some(json!({"system": {"all": true}}))).await.expect(201);
    cloud.client(&system.token()).get("/v3/auth/catalog").await.expect(403);
    assert_eq!(admin.get("/v3/auth/projects").await.expect(200).names("projects"), ["admin"]);
    assert_eq!(admin.get("/v3/auth/domains").await.expect(200).body["domains"], json!([]));
    assert_eq!(admin.get("/v3/auth/system").await.expect(200).body["system"], json!([{"all": true}]));
}

#[tokio::test]
async fn tokens_end_and_services_may_ask_a_little_longer() {
    let cloud = Cloud::new().await;
    let old = cloud.admin().await;
    assert!(old.works().await);
    cloud.pass(3601);
    assert!(!old.works().await);
    let admin = cloud.admin().await;
    admin.about("GET", &old.token).await.expect(404);
    let headers = [("x-auth-token", admin.token.as_str()), ("x-subject-token", old.token.as_str())];
    cloud.send("GET", "/v3/auth/tokens?allow_expired=1", &headers, None).await.expect(200);
    assert!(!old.works().await, "asking about it does not bring it back");
    cloud.pass(172_800);
    let admin = cloud.admin().await;
    let headers = [("x-auth-token", admin.token.as_str()), ("x-subject-token", old.token.as_str())];
    cloud.send("GET", "/v3/auth/tokens?allow_expired=1", &headers, None).await.expect(404);
}

#[tokio::test]
async fn a_user_may_ask_about_their_own_token_only() {
    let cloud = Cloud::new().await;
    let (alice, bob) = (cloud.member("alice", "member").await, cloud.member("bob", "member").await);
    alice.client.about("GET", &alice.client.token).await.expect(200);
    alice.client.about("GET", &bob.client.token).await.expect(403);
    alice.client.about("HEAD", &bob.client.token).await.expect(403);
    alice.client.about("DELETE", &bob.client.token).await.expect(403);
    assert!(bob.client.works().await);
    cloud.admin().await.about("GET", &bob.client.token).await.expect(200);
    // A service may ask about anybody's token, but not end it.
    let service = cloud.member("svc", "service").await;
    service.client.about("GET", &bob.client.token).await.expect(200);
    service.client.about("DELETE", &bob.client.token).await.expect(403);
    // Without a subject, without a token, with somebody's rubbish.
    cloud.send("GET", "/v3/auth/tokens", &[("x-auth-token", &alice.client.token)], None).await.expect(400);
    cloud.send("GET", "/v3/auth/tokens", &[("x-subject-token", &alice.client.token)], None).await.expect(401);
    alice.client.about("GET", "gAAAAAnonsense").await.expect(404);
}

#[tokio::test]
async fn keys_survive_a_restart_and_a_rotation() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let mut config = ferrostack_identity::Config::new(cloud.dir.path().join("keys"));
    config.bcrypt_cost = 4;
    let db = cloud.db.db.clone();
    let deps = ferrostack_identity::Deps { db, env: cloud.env.clone(), config };
    let again = ferrostack_identity::Identity::new(deps).await.unwrap();
    assert!(again.verify(&admin.token).await.is_ok(), "another process with the same keys knows the token");
    cloud.identity.rotate_token_keys(3).unwrap();
    assert!(admin.works().await);
    let newer = cloud.admin().await;
    assert!(again.verify(&newer.token).await.is_ok(), "the new primary was staged there before");
}

#[tokio::test]
async fn a_start_does_not_change_what_is_there() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = cloud.identity.verify(&admin.token).await.unwrap().user_id.clone();
    admin.patch(&format!("/v3/users/{user}"), "user", json!({"password": "changed"})).await.expect(200);
    cloud.bootstrap("http://127.0.0.1:2").await;
    cloud.login_as("admin", PASSWORD, None).await.expect(401);
    let scope = json!({"project": {"name": "admin", "domain": {"id": "default"}}});
    let answer = cloud.login_as("admin", "changed", Some(scope)).await.expect(201);
    let urls: Vec<&str> = answer.body["token"]["catalog"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|s| s["endpoints"].as_array().unwrap())
        .map(|e| e["url"].as_str().unwrap())
        .collect();
    assert_eq!(urls.len(), 6, "updated, not added");
    assert!(urls.iter().all(|u| u.starts_with("http://127.0.0.1:2/")), "{urls:?}");
    let admin = cloud.client(&answer.token());
    assert_eq!(admin.get("/v3/users").await.names("users"), ["admin"]);
    assert_eq!(admin.get("/v3/roles").await.names("roles"), ["admin", "manager", "member", "reader", "service"]);
    // An operator's own URL stays.
    let id = admin.get("/v3/endpoints?interface=admin").await.body["endpoints"][0]["id"].as_str().unwrap().to_owned();
    admin.patch(&format!("/v3/endpoints/{id}"), "endpoint", json!({"url": "http://own/"})).await.expect(200);
    cloud.bootstrap("http://127.0.0.1:3").await;
    assert_eq!(admin.get(&format!("/v3/endpoints/{id}")).await.body["endpoint"]["url"], "http://own/");
    assert_eq!(admin.get("/v3/endpoints").await.body["endpoints"].as_array().unwrap().len(), 6);
}
