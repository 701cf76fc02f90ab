//! Attacks that have worked on Keystone. The numbers are those of the list of attacks in the security notes.

use crate::harness::{Cloud, PASSWORD};
use ferrostack_rest::Access;
use serde_json::{Value, json};

const FORGED: [(&str, &str); 12] = [
    ("x-roles", "admin"),
    ("x-role", "admin"),
    ("x-is-admin-project", "True"),
    ("x-identity-status", "Confirmed"),
    ("x-user-id", "admin"),
    ("x-user-name", "admin"),
    ("x-project-id", "admin"),
    ("x-tenant-id", "admin"),
    ("x-domain-id", "default"),
    ("x-system-scope", "all"),
    ("openstack-system-scope", "all"),
    ("x-service-roles", "service"),
];

/// A14: nothing gives a token for a signature; what does not exist is not open.
#[tokio::test]
async fn signatures_give_no_token() {
    let cloud = Cloud::new().await;
    for path in ["/v3/ec2tokens", "/v3/s3tokens"] {
        let body = json!({"credentials": {"access": "a", "signature": "s"}});
        let answer = cloud.send("POST", path, &[], Some(&body)).await;
        assert!([401, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text);
        assert!(!answer.headers.contains_key("x-subject-token"));
    }
}

async fn credential(member: &crate::harness::Member<'_>, name: &str, body: Value) -> Value {
    let mut wanted = json!({"name": name});
    for (key, value) in body.as_object().unwrap() {
        wanted[key] = value.clone();
    }
    let path = format!("/v3/users/{}/application_credentials", member.user);
    let body = json!({"application_credential": wanted});
    member.client.send("POST", &path, Some(body)).await.expect(201).body["application_credential"].clone()
}

async fn login_with(cloud: &Cloud, credential: &Value) -> crate::harness::Answer {
    let proof = json!({"id": credential["id"], "secret": credential["secret"]});
    cloud.login(json!({"identity": {"methods": ["application_credential"], "application_credential": proof}})).await
}

/// A17: a restricted credential makes no credential of any kind, nor does a token got with its token.
#[tokio::test]
async fn a_restricted_credential_makes_no_credential() {
    let cloud = Cloud::new().await;
    let member = cloud.member("alice", "member").await;
    let made = credential(&member, "ci", json!({})).await;
    let first = login_with(&cloud, &made).await.expect(201);
    assert_eq!(first.body["token"]["application_credential"]["restricted"], json!(true));
    let auth = json!({"identity": {"methods": ["token"], "token": {"id": first.token()}}});
    let second = cloud.login(auth).await.expect(201);
    assert_eq!(second.body["token"]["application_credential"]["id"], made["id"], "it stays behind the new token");
    let credentials = format!("/v3/users/{}/application_credentials", member.user);
    for token in [first.token(), second.token()] {
        let client = cloud.client(&token);
        for (path, body) in [
            (credentials.clone(), json!({"application_credential": {"name": "more"}})),
            ("/v3/credentials".to_owned(), json!({"credential": {"type": "ec2", "blob": "{}"}})),
            (format!("/v3/users/{}/credentials/OS-EC2", member.user), json!({"tenant_id": member.project})),
            ("/v3/OS-TRUST/trusts".to_owned(), json!({"trust": {}})),
        ] {
            let answer = client.send("POST", &path, Some(body)).await;
            // Not served at all yet, or refused: never made.
            assert!([403, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text);
        }
        client.send("POST", &credentials, Some(json!({"application_credential": {"name": "m"}}))).await.expect(403);
        let own = format!("{credentials}/{}", made["id"].as_str().unwrap());
        client.send("DELETE", &own, None).await.expect(403);
    }
    // One that was made for it can, with no more roles than it has itself.
    let unrestricted =
        credential(&member, "deployer", json!({"unrestricted": true, "roles": [{"name": "reader"}]})).await;
    let client = cloud.client(&login_with(&cloud, &unrestricted).await.expect(201).token());
    let wants = |role: &str| json!({"application_credential": {"name": "x", "roles": [{"name": role}]}});
    client.send("POST", &credentials, Some(wants("member"))).await.expect(400);
    client.send("POST", &credentials, Some(wants("reader"))).await.expect(201);
}

/// A17, A20: a credential's token is for its project and roles, whatever is asked.
#[tokio::test]
async fn a_credential_cannot_be_widened() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let member = cloud.member("alice", "member").await;
    let other = admin.create("project", json!({"name": "other"})).await;
    let role = admin.role("member").await;
    admin.send("PUT", &format!("/v3/projects/{other}/users/{}/roles/{role}", member.user), None).await.expect(204);
    let user_path = format!("/v3/users/{}", member.user);
    admin.patch(&user_path, "user", json!({"default_project_id": other})).await.expect(200);

    let made = credential(&member, "ci", json!({"roles": [{"name": "reader"}]})).await;
    let answer = login_with(&cloud, &made).await.expect(201);
    let names = |answer: &crate::harness::Answer| -> Vec<Value> {
        answer.body["token"]["roles"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect()
    };
    assert_eq!(names(&answer), ["reader"]);
    assert_eq!(answer.body["token"]["project"]["id"], json!(member.project));
    let proof = json!({"id": made["id"], "secret": made["secret"]});
    let identity = json!({"methods": ["application_credential"], "application_credential": proof});
    for scope in [json!({"project": {"id": other}}), json!({"system": {"all": true}}), json!("unscoped")] {
        cloud.login(json!({"identity": identity, "scope": scope})).await.expect(401);
        let by_token = json!({"methods": ["token"], "token": {"id": answer.token()}});
        cloud.login(json!({"identity": by_token, "scope": scope})).await.expect(403);
    }
    // Neither the user's default project nor a second proof frees it.
    let by_token = json!({"methods": ["token"], "token": {"id": answer.token()}});
    let again = cloud.login(json!({"identity": by_token})).await.expect(201);
    assert_eq!(again.body["token"]["project"]["id"], json!(member.project));
    assert_eq!(names(&again), ["reader"]);

    // It goes with the role that it was made from, with its user, and at its own end.
    let grant = format!("/v3/projects/{}/users/{}/roles/{role}", member.project, member.user);
    admin.send("DELETE", &grant, None).await.expect(204);
    assert!(!cloud.client(&again.token()).works().await);
    login_with(&cloud, &made).await.expect(401);
}

#[tokio::test]
async fn credentials_end_and_are_their_owners() {
    let cloud = Cloud::new().await;
    let (alice, bob) = (cloud.member("alice", "member").await, cloud.member("bob", "member").await);
    let end = (cloud.env.now() + std::time::Duration::from_secs(100)).to_iso();
    let made = credential(&alice, "short", json!({"expires_at": end, "secret": "known"})).await;
    assert_eq!(made["secret"], "known");
    let by_name = json!({"name": "short", "user": {"name": "alice", "domain": {"id": "default"}}, "secret": "known"});
    let identity = json!({"methods": ["application_credential"], "application_credential": by_name});
    let client = cloud.client(&cloud.login(json!({"identity": identity})).await.expect(201).token());
    // Somebody else's is not there, under whatever user's path it is asked for.
    for user in [&alice.user, &bob.user] {
        let path = format!("/v3/users/{user}/application_credentials/{}", made["id"].as_str().unwrap());
        bob.client.get(&path).await.expect(404);
        bob.client.send("DELETE", &path, None).await.expect(404);
        let shown = alice.client.get(&path).await.expect(200);
        assert!(shown.body["application_credential"].get("secret").is_none());
    }
    bob.client.get(&format!("/v3/users/{}/application_credentials", alice.user)).await.expect(403);
    let list = alice.client.get(&format!("/v3/users/{}/application_credentials", alice.user)).await.expect(200);
    assert_eq!(list.names("application_credentials"), ["short"]);
    let body = json!({"application_credential": {"name": "short"}});
    let path = format!("/v3/users/{}/application_credentials", alice.user);
    alice.client.send("POST", &path, Some(body)).await.expect(409);
    cloud.pass(101);
    assert!(!client.works().await);
    cloud.login(json!({"identity": identity})).await.expect(401);
}

/// A20: a hundred rescopings later the token still ends when the first one did.
#[tokio::test]
async fn rescoping_never_prolongs() {
    let cloud = Cloud::new().await;
    let member = cloud.member("alice", "member").await;
    let first = member.client.about("GET", &member.client.token).await.expect(200);
    let end = first.body["token"]["expires_at"].clone();
    let chain = first.body["token"]["audit_ids"][0].clone();
    let mut token = member.client.token.clone();
    for round in 0..100 {
        cloud.pass(10);
        let scope = if round % 2 == 0 { json!("unscoped") } else { json!({"project": {"id": member.project}}) };
        let identity = json!({"methods": ["token"], "token": {"id": token}});
        let answer = cloud.login(json!({"identity": identity, "scope": scope})).await.expect(201);
        assert_eq!(answer.body["token"]["expires_at"], end, "round {round}");
        assert_eq!(answer.body["token"]["audit_ids"][1], chain);
        assert_eq!(answer.body["token"]["methods"], json!(["token", "password"]));
        token = answer.token();
    }
    // A password beside the old token does not prolong either: the earliest end counts.
    let user = json!({"id": member.user, "password": PASSWORD});
    let identity = json!({"methods": ["password", "token"], "password": {"user": user}, "token": {"id": token}});
    let answer = cloud.login(json!({"identity": identity})).await.expect(201);
    assert_eq!(answer.body["token"]["expires_at"], end);
    cloud.pass(2600);
    let identity = json!({"methods": ["token"], "token": {"id": token}});
    cloud.login(json!({"identity": identity})).await.expect(401);
}

#[tokio::test]
async fn a_system_token_does_not_become_a_project_s() {
    let cloud = Cloud::new().await;
    let system = cloud.login_as("admin", PASSWORD, Some(json!({"system": {"all": true}}))).await.expect(201);
    let identity = json!({"methods": ["token"], "token": {"id": system.token()}});
    let scope = json!({"project": {"name": "admin", "domain": {"id": "default"}}});
    cloud.login(json!({"identity": identity, "scope": scope})).await.expect(403);
}

#[tokio::test]
async fn two_proofs_have_to_be_of_the_same_user() {
    let cloud = Cloud::new().await;
    let (alice, bob) = (cloud.member("alice", "member").await, cloud.member("bob", "member").await);
    let user = json!({"id": alice.user, "password": PASSWORD});
    let identity =
        json!({"methods": ["password", "token"], "password": {"user": user}, "token": {"id": bob.client.token}});
    cloud.login(json!({"identity": identity})).await.expect(401);
}

/// A22: an unknown user, a wrong password, a disabled user and a disabled domain look the same.
#[tokio::test]
async fn nobody_learns_who_exists() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let member = cloud.member("alice", "member").await;
    let off = admin.create("user", json!({"name": "off", "password": PASSWORD, "enabled": false})).await;
    admin.create("user", json!({"name": "nopass"})).await;
    let mut bodies = Vec::new();
    for user in [
        json!({"name": "alice", "domain": {"id": "default"}, "password": "wrong"}),
        json!({"name": "nobody", "domain": {"id": "default"}, "password": "wrong"}),
        json!({"name": "off", "domain": {"id": "default"}, "password": PASSWORD}),
        json!({"name": "off", "domain": {"id": "default"}, "password": "wrong"}),
        json!({"name": "nopass", "domain": {"id": "default"}, "password": ""}),
        json!({"name": "alice", "domain": {"name": "nowhere"}, "password": PASSWORD}),
        json!({"id": member.user, "password": "wrong"}),
        json!({"id": off, "password": PASSWORD}),
        json!({"id": "0".repeat(32), "password": PASSWORD}),
    ] {
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let answer = cloud.login(json!({"identity": identity})).await.expect(401);
        assert_eq!(answer.message(), "The request you have made requires authentication.");
        bodies.push(answer.text);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // The password form tells no more.
    let body = json!({"user": {"original_password": "wrong", "password": "new"}});
    for id in [member.user.as_str(), "nobody"] {
        let answer = cloud.send("POST", &format!("/v3/users/{id}/password"), &[], Some(&body)).await.expect(401);
        assert_eq!(answer.text, bodies[0]);
    }
}

/// A23: only a true `true` enables.
#[tokio::test]
async fn nothing_but_true_enables_a_user() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    for value in [json!("True"), json!("yes"), json!(1), json!(null), json!([])] {
        let body = json!({"user": {"name": "x", "enabled": value}});
        admin.send("POST", "/v3/users", Some(body)).await.expect(400);
    }
}

/// A24: identity headers of a client mean nothing, with and without a token, on every route.
#[tokio::test]
async fn forged_identity_headers_mean_nothing() {
    let cloud = Cloud::new().await;
    let member = cloud.member("alice", "reader").await;
    let mut tokenless = 0;
    for (method, path, access) in cloud.api.routes() {
        let path: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "default" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let answer = cloud.send(method.as_str(), &path, &FORGED, Some(&json!({}))).await;
        if matches!(access, Access::Rule(_)) {
            assert_eq!(answer.status.as_u16(), 401, "{method} {path}: {}", answer.text);
            tokenless += 1;
        }
        let plain = member.client.send(method.as_str(), &path, Some(json!({}))).await;
        let mut headers = FORGED.to_vec();
        headers.push(("x-auth-token", &member.client.token));
        let forged = cloud.send(method.as_str(), &path, &headers, Some(&json!({}))).await;
        assert_eq!(plain.status, forged.status, "{method} {path}");
        assert_eq!(plain.text, forged.text, "{method} {path}");
    }
    assert!(tokenless > 90, "the table was walked: {tokenless}");
}

/// A25: bcrypt reads 72 bytes; the rest of a password counts all the same.
#[tokio::test]
async fn every_byte_of_a_long_password_counts() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let long = "p".repeat(72);
    for (index, (password, others)) in [
        (long.clone(), vec![format!("{long}x"), "p".repeat(71)]),
        (format!("{long}a"), vec![format!("{long}b"), long.clone(), format!("{long}ab")]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("u{index}");
        admin.create("user", json!({"name": name, "password": password})).await;
        cloud.login_as(&name, &password, None).await.expect(201);
        for other in others {
            cloud.login_as(&name, &other, None).await.expect(401);
        }
    }
    let body = json!({"user": {"name": "u", "password": "p".repeat(4097)}});
    admin.send("POST", "/v3/users", Some(body)).await.expect(403);
}

/// A changed token is no token, whichever byte was changed.
#[tokio::test]
async fn forged_tokens_are_refused() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    for index in 0..admin.token.len() {
        let mut forged = admin.token.clone().into_bytes();
        forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(!cloud.client(&forged).works().await, "byte {index}");
    }
    for bad in ["x", "gAAAAA", &"A".repeat(100_000)] {
        assert!(!cloud.client(bad).works().await);
    }
}

/// A user's own rules about methods hold.
#[tokio::test]
async fn more_methods_if_the_user_says_so() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let rules = json!({"multi_factor_auth_rules": [["password", "token"]]});
    admin.create("user", json!({"name": "careful", "password": PASSWORD, "options": rules})).await;
    cloud.login_as("careful", PASSWORD, None).await.expect(401);
}
