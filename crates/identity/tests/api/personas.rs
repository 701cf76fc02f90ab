//! Who may see and do what: other people's things, and domain managers.

use crate::harness::{Client, Cloud, PASSWORD};
use serde_json::json;

/// A19: a member sees what is theirs on every list, and nothing else.
#[tokio::test]
async fn a_member_sees_only_what_is_theirs() {
    let cloud = Cloud::new().await;
    let (alice, bob) = (cloud.member("alice", "member").await, cloud.member("bob", "member").await);
    for path in [
        "/v3/users",
        "/v3/projects",
        "/v3/groups",
        "/v3/domains",
        "/v3/roles",
        "/v3/role_assignments",
        "/v3/role_inferences",
        "/v3/services",
        "/v3/endpoints",
        "/v3/users?name=bob",
        "/v3/projects?domain_id=default",
        "/v3/role_assignments?user.id=x",
    ] {
        let answer = alice.client.get(path).await.expect(403);
        assert!(answer.message().starts_with("You are not authorized to perform the requested action: identity:"));
    }
    for path in ["/v3/regions", "/v3/limits", "/v3/registered_limits", "/v3/limits/model"] {
        alice.client.get(path).await.expect(200);
    }
    alice.client.get(&format!("/v3/users/{}", alice.user)).await.expect(200);
    alice.client.get(&format!("/v3/users/{}", bob.user)).await.expect(403);
    alice.client.get(&format!("/v3/projects/{}", alice.project)).await.expect(200);
    alice.client.get(&format!("/v3/projects/{}", bob.project)).await.expect(403);
    alice.client.get(&format!("/v3/projects/{}/tags", bob.project)).await.expect(403);
    alice.client.get(&format!("/v3/users/{}/projects", bob.user)).await.expect(403);
    alice.client.get(&format!("/v3/users/{}/groups", bob.user)).await.expect(403);
    let own = alice.client.get(&format!("/v3/users/{}/projects", alice.user)).await.expect(200);
    assert_eq!(own.names("projects"), ["alice-project"]);
    alice.client.get("/v3/domains/default").await.expect(200);
    for (method, path) in [
        ("DELETE", format!("/v3/users/{}", bob.user)),
        ("DELETE", format!("/v3/users/{}", alice.user)),
        ("DELETE", format!("/v3/projects/{}", alice.project)),
        ("DELETE", "/v3/domains/default".to_owned()),
    ] {
        alice.client.send(method, &path, None).await.expect(403);
    }
    let own = format!("/v3/users/{}", alice.user);
    alice.client.patch(&own, "user", json!({"enabled": true})).await.expect(403);
    let role = cloud.admin().await.role("admin").await;
    let grant = format!("/v3/projects/{}/users/{}/roles/{role}", alice.project, alice.user);
    alice.client.send("PUT", &grant, None).await.expect(403);
}

/// A19, A22: an id that does not exist looks like somebody else's; only who may see it all hears 404.
#[tokio::test]
async fn ids_cannot_be_guessed() {
    let cloud = Cloud::new().await;
    let (alice, bob) = (cloud.member("alice", "member").await, cloud.member("bob", "member").await);
    let admin = cloud.admin().await;
    let group = admin.create("group", json!({"name": "g"})).await;
    let domain = admin.create("domain", json!({"name": "d"})).await;
    let role = admin.role("member").await;
    let grants = |user: &str, project: &str, role: &str| format!("/v3/projects/{project}/users/{user}/roles/{role}");
    for (there, missing) in [
        (format!("/v3/users/{}", bob.user), "/v3/users/none".to_owned()),
        (format!("/v3/users/{}/projects", bob.user), "/v3/users/none/projects".to_owned()),
        (format!("/v3/users/{}/groups", bob.user), "/v3/users/none/groups".to_owned()),
        (format!("/v3/projects/{}", bob.project), "/v3/projects/none".to_owned()),
        (format!("/v3/projects/{}/tags", bob.project), "/v3/projects/none/tags".to_owned()),
        (format!("/v3/groups/{group}"), "/v3/groups/none".to_owned()),
        (format!("/v3/groups/{group}/users"), "/v3/groups/none/users".to_owned()),
        (format!("/v3/groups/{group}/users/{}", bob.user), "/v3/groups/none/users/none".to_owned()),
        (format!("/v3/domains/{domain}"), "/v3/domains/none".to_owned()),
        (format!("/v3/roles/{role}"), "/v3/roles/none".to_owned()),
        (format!("/v3/roles/{role}/implies"), "/v3/roles/none/implies".to_owned()),
        (format!("/v3/roles/{role}/implies/{role}"), "/v3/roles/none/implies/none".to_owned()),
        (grants(&bob.user, &bob.project, &role), grants("none", "none", "none")),
    ] {
        let (a, b) = (alice.client.get(&there).await.expect(403), alice.client.get(&missing).await.expect(403));
        assert_eq!(a.text, b.text, "{there}");
        admin.get(&missing).await.expect(404);
    }
    for domain in [domain.as_str(), "none"] {
        for kind in ["user", "group", "project"] {
            let body = json!({kind: {"name": "x", "domain_id": domain}});
            alice.client.send("POST", &format!("/v3/{kind}s"), Some(body)).await.expect(403);
        }
    }
}

#[tokio::test]
async fn an_unscoped_token_is_good_for_its_owner() {
    let cloud = Cloud::new().await;
    let alice = cloud.member("alice", "member").await;
    let token = cloud.login_as("alice", PASSWORD, Some(json!("unscoped"))).await.expect(201).token();
    let client = cloud.client(&token);
    assert_eq!(client.get("/v3/auth/projects").await.expect(200).names("projects"), ["alice-project"]);
    client.get(&format!("/v3/users/{}", alice.user)).await.expect(200);
    client.get(&format!("/v3/users/{}/projects", alice.user)).await.expect(200);
    client.get("/v3/users").await.expect(403);
    client.about("DELETE", &token).await.expect(204);
    assert!(!client.works().await);
}

async fn manager(cloud: &Cloud, domain: &str) -> String {
    let admin = cloud.admin().await;
    let user = admin.create("user", json!({"name": "manager", "password": PASSWORD, "domain_id": domain})).await;
    let role = admin.role("manager").await;
    admin.send("PUT", &format!("/v3/domains/{domain}/users/{user}/roles/{role}"), None).await.expect(204);
    let identity = json!({"methods": ["password"], "password": {"user": {"id": user, "password": PASSWORD}}});
    cloud.login(json!({"identity": identity, "scope": {"domain": {"id": domain}}})).await.expect(201).token()
}

#[tokio::test]
async fn a_domain_manager_manages_one_domain() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let domain = admin.create("domain", json!({"name": "acme"})).await;
    let foreign = admin.create("user", json!({"name": "foreign"})).await;
    let foreign_project = admin.create("project", json!({"name": "foreign"})).await;
    let manager: Client<'_> = cloud.client(&manager(&cloud, &domain).await);

    let user = manager.create("user", json!({"name": "u", "password": "p"})).await;
    let project = manager.create("project", json!({"name": "p"})).await;
    let group = manager.create("group", json!({"name": "g"})).await;
    for (kind, id) in [("user", &user), ("project", &project), ("group", &group)] {
        let path = format!("/v3/{kind}s/{id}");
        let shown = manager.get(&path).await.expect(200);
        assert_eq!(shown.body[kind]["domain_id"], json!(domain), "made in the manager's domain");
        manager.patch(&path, kind, json!({"name": format!("{kind}2")})).await.expect(200);
    }
    assert_eq!(manager.get("/v3/users").await.expect(200).names("users"), ["manager", "user2"]);
    assert_eq!(manager.get("/v3/users?domain_id=default").await.expect(200).names("users"), [] as [&str; 0]);
    assert_eq!(manager.get("/v3/projects").await.expect(200).names("projects"), ["project2"]);
    assert_eq!(manager.get("/v3/groups").await.expect(200).names("groups"), ["group2"]);
    assert_eq!(manager.get("/v3/domains").await.expect(200).names("domains"), ["acme"]);
    manager.send("PUT", &format!("/v3/groups/{group}/users/{user}"), None).await.expect(204);
    manager.send("PUT", &format!("/v3/groups/{group}/users/{foreign}"), None).await.expect(403);

    // Other domains: nothing.
    manager.get(&format!("/v3/users/{foreign}")).await.expect(403);
    manager.send("DELETE", &format!("/v3/projects/{foreign_project}"), None).await.expect(403);
    for (kind, thing) in [
        ("user", json!({"name": "x", "domain_id": "default"})),
        ("project", json!({"name": "x", "domain_id": "default"})),
        ("project", json!({"name": "x", "parent_id": foreign_project})),
        ("group", json!({"name": "x", "domain_id": "default"})),
    ] {
        manager.send("POST", &format!("/v3/{kind}s"), Some(json!({kind: thing}))).await.expect(403);
    }
    // Roles: the three that a manager may hand out, inside the domain only.
    assert!(manager.get("/v3/roles").await.expect(200).names("roles").contains(&"member".to_owned()));
    let (member, top) = (admin.role("member").await, admin.role("admin").await);
    let grant = |project: &str, user: &str, role: &str| format!("/v3/projects/{project}/users/{user}/roles/{role}");
    manager.send("PUT", &grant(&project, &user, &member), None).await.expect(204);
    manager.send("PUT", &grant(&project, &user, &top), None).await.expect(403);
    manager.send("PUT", &grant(&foreign_project, &user, &member), None).await.expect(403);
    manager.send("PUT", &grant(&project, &foreign, &member), None).await.expect(403);
    let listed = manager.get("/v3/role_assignments").await.expect(200);
    let scopes = listed.body["role_assignments"].as_array().unwrap();
    assert_eq!(scopes.len(), 2, "the manager's own and the one just made: {}", listed.text);
    manager.get("/v3/services").await.expect(403);
    manager.send("DELETE", &format!("/v3/users/{user}"), None).await.expect(204);
}

#[tokio::test]
async fn a_system_reader_sees_all_and_changes_nothing() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = admin.create("user", json!({"name": "auditor", "password": PASSWORD})).await;
    let role = admin.role("reader").await;
    admin.send("PUT", &format!("/v3/system/users/{user}/roles/{role}"), None).await.expect(204);
    let token = cloud.login_as("auditor", PASSWORD, Some(json!({"system": {"all": true}}))).await.expect(201).token();
    let auditor = cloud.client(&token);
    for path in [
        "/v3/users",
        "/v3/projects",
        "/v3/groups",
        "/v3/domains",
        "/v3/roles",
        "/v3/services",
        "/v3/endpoints",
        "/v3/role_assignments",
        "/v3/role_inferences",
    ] {
        auditor.get(path).await.expect(200);
    }
    auditor.send("POST", "/v3/users", Some(json!({"user": {"name": "x"}}))).await.expect(403);
    auditor.send("DELETE", &format!("/v3/users/{user}"), None).await.expect(403);
    auditor.send("POST", "/v3/regions", Some(json!({"region": {"id": "x"}}))).await.expect(403);
}
