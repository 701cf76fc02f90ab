//! Domains, projects, users, groups and roles as resources.

use crate::harness::{Cloud, PASSWORD};
use serde_json::json;

#[tokio::test]
async fn a_user_s_life() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"user": {"name": "eve", "password": PASSWORD, "email": "eve@example.org", "description": "d",
        "enabled": true, "options": {"ignore_password_expiry": true}}});
    let made = admin.send("POST", "/v3/users", Some(body.clone())).await.expect(201);
    let id = made.id();
    let user = &made.body["user"];
    assert_eq!(user["email"], "eve@example.org");
    assert_eq!(user["domain_id"], "default");
    assert_eq!(user["options"], json!({"ignore_password_expiry": true}));
    assert_eq!(user["links"]["self"], format!("http://cloud.example:5000/identity/v3/users/{id}"));
    for secret in ["password", "password_hash", "original_password"] {
        assert!(user.get(secret).is_none());
    }
    let answer = admin.send("POST", "/v3/users", Some(body)).await.expect(409);
    assert_eq!(
        answer.message(),
        "Conflict occurred attempting to store user - Duplicate entry found with name eve at domain ID default."
    );
    let path = format!("/v3/users/{id}");
    let changed = admin.patch(&path, "user", json!({"email": "e@x", "phone": "1", "enabled": false})).await.expect(200);
    assert_eq!((&changed.body["user"]["email"], &changed.body["user"]["phone"]), (&json!("e@x"), &json!("1")));
    assert_eq!(changed.body["user"]["description"], "d");
    assert_eq!(admin.get(&path).await.body, changed.body);
    assert_eq!(admin.get("/v3/users?enabled=false").await.names("users"), ["eve"]);
    assert_eq!(admin.get("/v3/users?name=eve&domain_id=default").await.names("users"), ["eve"]);
    assert_eq!(admin.get("/v3/users?name=nobody").await.names("users"), [] as [&str; 0]);
    assert_eq!(admin.get("/v3/users?name__contains=v").await.names("users"), ["eve"]);
    let list = admin.get("/v3/users").await.expect(200);
    assert_eq!(list.body["links"]["self"], "http://cloud.example:5000/identity/v3/users");
    assert_eq!(list.body["links"]["next"], json!(null));
    admin.send("DELETE", &path, None).await.expect(204);
    let gone = admin.get(&path).await.expect(404);
    assert_eq!(gone.message(), format!("Could not find user: {id}."));
    assert_eq!(gone.body["error"]["title"], "Not Found");
    admin.send("DELETE", &path, None).await.expect(404);
    for bad in [json!({"name": ""}), json!({"name": 5}), json!({}), json!({"name": "x", "options": {"evil": 1}})] {
        admin.send("POST", "/v3/users", Some(json!({"user": bad}))).await.expect(400);
    }
    admin.send("POST", "/v3/users", Some(json!({"user": {"name": "x", "domain_id": "nowhere"}}))).await.expect(404);
    admin.send("PATCH", &path, Some(json!({"user": {"name": "x"}}))).await.expect(404);
}

#[tokio::test]
async fn a_password_change_needs_the_old_one() {
    let cloud = Cloud::new().await;
    let member = cloud.member("alice", "member").await;
    let path = format!("/v3/users/{}/password", member.user);
    let change = |old: &str, new: &str| json!({"user": {"original_password": old, "password": new}});
    cloud.send("POST", &path, &[], Some(&change("wrong", "new"))).await.expect(401);
    cloud.send("POST", &path, &[], Some(&json!({"user": {"password": "new"}}))).await.expect(400);
    cloud.send("POST", &path, &[], Some(&change(PASSWORD, "new"))).await.expect(204);
    cloud.login_as("alice", PASSWORD, None).await.expect(401);
    cloud.login_as("alice", "new", None).await.expect(201);
    let admin = cloud.admin().await;
    let options = json!({"options": {"lock_password": true}});
    admin.patch(&format!("/v3/users/{}", member.user), "user", options).await.expect(200);
    cloud.send("POST", &path, &[], Some(&change("new", "newer"))).await.expect(400);
    cloud.login_as("alice", "new", None).await.expect(201);
}

#[tokio::test]
async fn projects_form_a_tree() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let top = admin.create("project", json!({"name": "top", "tags": ["b", "a"], "color": "red"})).await;
    let path = format!("/v3/projects/{top}");
    let shown = admin.get(&path).await.expect(200);
    let project = &shown.body["project"];
    assert_eq!((&project["parent_id"], &project["domain_id"]), (&json!("default"), &json!("default")));
    assert_eq!(
        (&project["tags"], &project["is_domain"], &project["color"]),
        (&json!(["a", "b"]), &json!(false), &json!("red"))
    );
    let middle = admin.create("project", json!({"name": "middle", "parent_id": top})).await;
    let leaf = admin.create("project", json!({"name": "leaf", "parent_id": middle})).await;
    admin.send("DELETE", &path, None).await.expect(403);
    admin.patch(&path, "project", json!({"enabled": false})).await.expect(403);
    admin.patch(&path, "project", json!({"parent_id": leaf})).await.expect(403);
    let ids = admin.get(&format!("/v3/projects/{middle}?parents_as_ids&subtree_as_ids")).await.expect(200);
    assert_eq!(ids.body["project"]["parents"], json!({top.clone(): {"default": null}}));
    assert_eq!(ids.body["project"]["subtree"], json!({leaf.clone(): null}));
    let lists = admin.get(&format!("/v3/projects/{leaf}?parents_as_list&subtree_as_list")).await.expect(200);
    assert_eq!(lists.body["project"]["parents"][0]["project"]["id"], json!(middle));
    assert_eq!(lists.body["project"]["subtree"], json!([]));
    assert_eq!(admin.get(&format!("/v3/projects?parent_id={top}")).await.names("projects"), ["middle"]);
    // Depth is bounded; a disabled branch grows no more.
    let deep = admin.create("project", json!({"name": "deep", "parent_id": leaf})).await;
    let deeper = json!({"project": {"name": "deeper", "parent_id": deep}});
    admin.send("POST", "/v3/projects", Some(deeper)).await.expect(403);
    admin.patch(&format!("/v3/projects/{deep}"), "project", json!({"enabled": false})).await.expect(200);
    admin.send("DELETE", &format!("/v3/projects/{deep}"), None).await.expect(204);
    admin.patch(&format!("/v3/projects/{leaf}"), "project", json!({"enabled": false})).await.expect(200);
    admin.send("POST", "/v3/projects", Some(json!({"project": {"name": "x", "parent_id": leaf}}))).await.expect(400);
    let same = admin.send("POST", "/v3/projects", Some(json!({"project": {"name": "top"}}))).await.expect(409);
    assert!(same.message().starts_with("Conflict occurred attempting to store project - it is not permitted"));
    let gone = admin.send("POST", "/v3/projects", Some(json!({"project": {"name": "y", "parent_id": "no"}}))).await;
    assert_eq!(gone.expect(404).message(), "Could not find project: no.");
}

#[tokio::test]
async fn tags_of_a_project() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let id = admin.create("project", json!({"name": "p"})).await;
    let tags = format!("/v3/projects/{id}/tags");
    admin.send("PUT", &format!("{tags}/blue"), None).await.expect(201);
    admin.send("PUT", &format!("{tags}/blue"), None).await.expect(201);
    admin.get(&format!("{tags}/blue")).await.expect(204);
    admin.send("HEAD", &format!("{tags}/red"), None).await.expect(404);
    admin.send("PUT", &tags, Some(json!({"tags": ["x", "blue"]}))).await.expect(200);
    assert_eq!(admin.get(&tags).await.expect(200).body["tags"], json!(["blue", "x"]));
    assert_eq!(admin.get("/v3/projects?tags=blue,x").await.names("projects"), ["p"]);
    assert_eq!(admin.get("/v3/projects?tags=blue,y").await.names("projects"), [] as [&str; 0]);
    assert_eq!(admin.get("/v3/projects?not-tags-any=blue").await.names("projects"), ["admin"]);
    admin.send("PUT", &tags, Some(json!({"tags": ["a,b"]}))).await.expect(400);
    admin.send("DELETE", &format!("{tags}/x"), None).await.expect(204);
    admin.send("DELETE", &format!("{tags}/x"), None).await.expect(404);
    admin.send("DELETE", &tags, None).await.expect(204);
    assert_eq!(admin.get(&tags).await.body["tags"], json!([]));
}

#[tokio::test]
async fn a_domain_goes_with_everything_in_it_once_disabled() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let domain = admin.create("domain", json!({"name": "acme", "description": "x"})).await;
    let path = format!("/v3/domains/{domain}");
    let user = admin.create("user", json!({"name": "u", "domain_id": domain})).await;
    let group = admin.create("group", json!({"name": "g", "domain_id": domain})).await;
    let project = admin.create("project", json!({"name": "p", "domain_id": domain})).await;
    admin.send("PUT", &format!("/v3/groups/{group}/users/{user}"), None).await.expect(204);
    let role = admin.role("member").await;
    admin.send("PUT", &format!("/v3/domains/{domain}/groups/{group}/roles/{role}"), None).await.expect(204);
    admin.send("POST", "/v3/domains", Some(json!({"domain": {"name": "acme"}}))).await.expect(409);
    let refused = admin.send("DELETE", &path, None).await.expect(403);
    assert_eq!(refused.message(), "Cannot delete a domain that is enabled, please disable it first.");
    admin.patch(&path, "domain", json!({"enabled": false})).await.expect(200);
    admin.send("DELETE", &path, None).await.expect(204);
    for gone in [path, format!("/v3/users/{user}"), format!("/v3/groups/{group}"), format!("/v3/projects/{project}")] {
        admin.get(&gone).await.expect(404);
    }
    let left = admin.get("/v3/role_assignments").await.expect(200);
    assert!(!left.text.contains(&domain));
}

#[tokio::test]
async fn what_is_immutable_stays_until_that_is_lifted() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let lock = json!({"name": "x", "options": {"immutable": true}});
    for kind in ["project", "domain", "role"] {
        let id = admin.create(kind, lock.clone()).await;
        let path = format!("/v3/{kind}s/{id}");
        let refused = admin.patch(&path, kind, json!({"description": "y"})).await.expect(403);
        assert!(refused.message().contains("immutable"), "{}", refused.text);
        admin.send("DELETE", &path, None).await.expect(403);
        admin.patch(&path, kind, json!({"options": {"immutable": false}, "description": "y"})).await.expect(403);
        admin.patch(&path, kind, json!({"options": {"immutable": null}})).await.expect(200);
        admin.patch(&path, kind, json!({"description": "y"})).await.expect(200);
    }
    // The roles that everything stands on are made so.
    let role = admin.role("admin").await;
    admin.send("DELETE", &format!("/v3/roles/{role}"), None).await.expect(403);
}

#[tokio::test]
async fn groups_and_their_members() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = admin.create("user", json!({"name": "u"})).await;
    let group = admin.create("group", json!({"name": "g", "description": "d"})).await;
    let member = format!("/v3/groups/{group}/users/{user}");
    admin.send("HEAD", &member, None).await.expect(404);
    admin.send("PUT", &member, None).await.expect(204);
    admin.send("PUT", &member, None).await.expect(204);
    admin.send("HEAD", &member, None).await.expect(204);
    assert_eq!(admin.get(&format!("/v3/groups/{group}/users")).await.names("users"), ["u"]);
    assert_eq!(admin.get(&format!("/v3/users/{user}/groups")).await.names("groups"), ["g"]);
    admin.send("DELETE", &member, None).await.expect(204);
    admin.send("DELETE", &member, None).await.expect(404);
    admin.send("PUT", &format!("/v3/groups/{group}/users/nobody"), None).await.expect(404);
    admin.patch(&format!("/v3/groups/{group}"), "group", json!({"name": "h"})).await.expect(200);
    assert_eq!(admin.get("/v3/groups?name=h").await.names("groups"), ["h"]);
    admin.send("POST", "/v3/groups", Some(json!({"group": {"name": "h"}}))).await.expect(409);
    admin.send("DELETE", &format!("/v3/groups/{group}"), None).await.expect(204);
}

#[tokio::test]
async fn roles_and_what_they_imply() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let a = admin.create("role", json!({"name": "a"})).await;
    let b = admin.create("role", json!({"name": "b", "description": "x"})).await;
    let again = admin.send("POST", "/v3/roles", Some(json!({"role": {"name": "a"}}))).await.expect(409);
    assert_eq!(again.message(), "Conflict occurred attempting to store role - Duplicate entry found with name a.");
    let path = format!("/v3/roles/{a}/implies/{b}");
    admin.get(&path).await.expect(404);
    let made = admin.send("PUT", &path, None).await.expect(201);
    assert_eq!(made.body["role_inference"]["implies"]["name"], "b");
    admin.send("HEAD", &path, None).await.expect(204);
    admin.get(&path).await.expect(200);
    admin.send("PUT", &format!("/v3/roles/{b}/implies/{a}"), None).await.expect(400);
    admin.send("PUT", &format!("/v3/roles/{a}/implies/{a}"), None).await.expect(400);
    let top = admin.role("admin").await;
    admin.send("PUT", &format!("/v3/roles/{a}/implies/{top}"), None).await.expect(403);
    let list = admin.get(&format!("/v3/roles/{a}/implies")).await.expect(200);
    assert_eq!(list.body["role_inference"]["implies"][0]["id"], json!(b));
    let all = admin.get("/v3/role_inferences").await.expect(200);
    assert_eq!(all.body["role_inferences"].as_array().unwrap().len(), 4);
    // A domain's own role is listed only with its domain and keeps its name beside a global one.
    let domain = admin.create("domain", json!({"name": "acme"})).await;
    admin.create("role", json!({"name": "a", "domain_id": domain})).await;
    assert_eq!(admin.get(&format!("/v3/roles?domain_id={domain}")).await.names("roles"), ["a"]);
    assert_eq!(admin.get("/v3/roles?name=a").await.names("roles").len(), 1);
    admin.send("DELETE", &format!("/v3/roles/{b}"), None).await.expect(204);
    admin.get(&path).await.expect(404);
}
