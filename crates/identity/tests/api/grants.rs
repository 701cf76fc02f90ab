//! Giving, taking and listing roles.

use crate::harness::{Cloud, PASSWORD};
use serde_json::{Value, json};

#[tokio::test]
async fn every_kind_of_grant_can_be_given_checked_listed_and_taken() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = admin.create("user", json!({"name": "u"})).await;
    let group = admin.create("group", json!({"name": "g"})).await;
    let project = admin.create("project", json!({"name": "p"})).await;
    let role = admin.role("member").await;
    for place in [format!("projects/{project}"), "domains/default".to_owned(), "system".to_owned()] {
        for actor in [format!("users/{user}"), format!("groups/{group}")] {
            let list = format!("/v3/{place}/{actor}/roles");
            let one = format!("{list}/{role}");
            let missing = admin.send("HEAD", &one, None).await;
            assert_eq!(missing.status.as_u16(), 404);
            admin.send("DELETE", &one, None).await.expect(404);
            admin.send("PUT", &one, None).await.expect(204);
            admin.send("PUT", &one, None).await.expect(204);
            admin.send("HEAD", &one, None).await.expect(204);
            admin.get(&one).await.expect(204);
            assert_eq!(admin.get(&list).await.expect(200).names("roles"), ["member"]);
            admin.send("DELETE", &one, None).await.expect(204);
            assert_eq!(admin.get(&list).await.expect(200).names("roles"), [] as [&str; 0]);
            if place != "system" {
                let inherited = format!("/v3/OS-INHERIT/{place}/{actor}/roles/{role}/inherited_to_projects");
                admin.send("PUT", &inherited, None).await.expect(204);
                admin.send("HEAD", &inherited, None).await.expect(204);
                admin.send("HEAD", &one, None).await.expect(404);
                admin.send("DELETE", &inherited, None).await.expect(204);
            }
        }
    }
    let none = admin.send("PUT", &format!("/v3/projects/{project}/users/{user}/roles/none"), None).await.expect(404);
    assert_eq!(none.message(), "Could not find role: none.");
    admin.send("PUT", &format!("/v3/projects/none/users/{user}/roles/{role}"), None).await.expect(404);
    admin.send("PUT", &format!("/v3/projects/{project}/users/none/roles/{role}"), None).await.expect(404);
}

#[tokio::test]
async fn inherited_roles_reach_the_projects_below() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = admin.create("user", json!({"name": "u", "password": PASSWORD})).await;
    let top = admin.create("project", json!({"name": "top"})).await;
    let below = admin.create("project", json!({"name": "below", "parent_id": top})).await;
    let role = admin.role("member").await;
    let scope = |id: &str| Some(json!({"project": {"id": id}}));
    let path = format!("/v3/OS-INHERIT/projects/{top}/users/{user}/roles/{role}/inherited_to_projects");
    admin.send("PUT", &path, None).await.expect(204);
    cloud.login_as("u", PASSWORD, scope(&top)).await.expect(401);
    let client = cloud.client(&cloud.login_as("u", PASSWORD, scope(&below)).await.expect(201).token());
    assert_eq!(client.get("/v3/auth/projects").await.names("projects"), ["below"]);
    admin.send("DELETE", &path, None).await.expect(204);
    assert!(!client.works().await);
    let path = format!("/v3/OS-INHERIT/domains/default/users/{user}/roles/{role}/inherited_to_projects");
    admin.send("PUT", &path, None).await.expect(204);
    for project in [&top, &below] {
        cloud.login_as("u", PASSWORD, scope(project)).await.expect(201);
    }
    cloud.login_as("u", PASSWORD, Some(json!({"domain": {"id": "default"}}))).await.expect(401);
}

#[tokio::test]
async fn role_assignments_as_stored_and_as_they_work_out() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let member = cloud.member("alice", "member").await;
    let (user, project) = (&member.user, &member.project);
    let group = admin.create("group", json!({"name": "g"})).await;
    admin.send("PUT", &format!("/v3/groups/{group}/users/{user}"), None).await.expect(204);
    let (role, reader) = (admin.role("member").await, admin.role("reader").await);
    let on_domain = format!("/v3/OS-INHERIT/domains/default/groups/{group}/roles/{reader}/inherited_to_projects");
    admin.send("PUT", &on_domain, None).await.expect(204);
    let list = async |query: &str| -> Vec<Value> {
        let answer = admin.get(&format!("/v3/role_assignments?{query}")).await.expect(200);
        answer.body["role_assignments"].as_array().unwrap().clone()
    };
    let stored = list(&format!("user.id={user}")).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["role"], json!({"id": role}));
    assert_eq!(stored[0]["scope"], json!({"project": {"id": project}}));
    let link = format!("http://cloud.example:5000/identity/v3/projects/{project}/users/{user}/roles/{role}");
    assert_eq!(stored[0]["links"]["assignment"], json!(link));
    assert_eq!(list(&format!("group.id={group}")).await[0]["scope"]["OS-INHERIT:inherited_to"], "projects");
    assert_eq!(list(&format!("role.id={reader}")).await.len(), 1);
    assert_eq!(list("scope.system=all").await.len(), 1);
    assert_eq!(list(&format!("scope.project.id={project}")).await.len(), 1);
    let effective = list(&format!("effective&user.id={user}&scope.project.id={project}")).await;
    // Member as given, reader as member implies it, reader as the domain hands it down to the group.
    assert_eq!(effective.len(), 3, "{effective:?}");
    assert!(effective.iter().all(|e| e["user"]["id"] == json!(user)));
    let named = list(&format!("include_names=true&user.id={user}")).await;
    assert_eq!(named[0]["user"]["name"], "alice");
    assert_eq!(named[0]["user"]["domain"], json!({"id": "default", "name": "Default"}));
    assert_eq!(named[0]["scope"]["project"]["domain"]["name"], "Default");
    assert_eq!(named[0]["role"]["name"], "member");
    let child = admin.create("project", json!({"name": "child", "parent_id": project})).await;
    admin.send("PUT", &format!("/v3/projects/{child}/users/{user}/roles/{role}"), None).await.expect(204);
    assert_eq!(list(&format!("include_subtree=true&scope.project.id={project}")).await.len(), 2);
    for bad in [
        "scope.domain.id=a&scope.project.id=b",
        "user.id=a&group.id=b",
        "effective&group.id=a",
        "include_subtree=true",
        "scope.system=all&scope.project.id=b",
    ] {
        admin.get(&format!("/v3/role_assignments?{bad}")).await.expect(400);
    }
    assert_eq!(list("user.id=nobody").await.len(), 0);
}

#[tokio::test]
async fn a_domain_s_own_role_stands_for_what_it_implies_there() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let domain = admin.create("domain", json!({"name": "acme"})).await;
    let own = admin.create("role", json!({"name": "operator", "domain_id": domain})).await;
    let member = admin.role("member").await;
    admin.send("PUT", &format!("/v3/roles/{own}/implies/{member}"), None).await.expect(201);
    admin.send("PUT", &format!("/v3/roles/{member}/implies/{own}"), None).await.expect(403);
    let project = admin.create("project", json!({"name": "p", "domain_id": domain})).await;
    let user = admin.create("user", json!({"name": "u", "password": PASSWORD})).await;
    admin.send("PUT", &format!("/v3/projects/{project}/users/{user}/roles/{own}"), None).await.expect(204);
    let answer = cloud.login_as("u", PASSWORD, Some(json!({"project": {"id": project}}))).await.expect(201);
    let names: Vec<&Value> = answer.body["token"]["roles"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["member", "reader"]);
    let elsewhere = admin.create("project", json!({"name": "q"})).await;
    admin.send("PUT", &format!("/v3/projects/{elsewhere}/users/{user}/roles/{own}"), None).await.expect(403);
}
