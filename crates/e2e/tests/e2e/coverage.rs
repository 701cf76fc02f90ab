//! What holds for every route of every service, found by walking the tables.

use ferrostack_e2e::TestCloud;
use ferrostack_rest::{Access, Body};
use http::{Method, StatusCode};

fn fill(path: &str) -> String {
    let part = |segment: &str| {
        if segment.starts_with('{') { "11111111-2222-4333-8444-555555555555".to_owned() } else { segment.to_owned() }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_with_a_rule_answers_without_a_good_token() {
    let cloud = TestCloud::new().await;
    let token = cloud.admin().await.token;
    let mut bent = token.clone().into_bytes();
    let middle = bent.len() / 2;
    bent[middle] = if bent[middle] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).unwrap();
    let nobodies = [cloud.nobody(), cloud.holder("gAAAAAforged"), cloud.holder(&bent)];
    let mut walked = 0;
    for service in cloud.cloud().front().services() {
        for (method, path, access) in service.routes() {
            if matches!(access, Access::Public(_)) {
                continue;
            }
            let path = format!("{}{}", service.spec().prefix, fill(path));
            // A route may be served by the newest microversion only, or no more by it.
            let versions = service.spec().microversions.map_or(vec![String::new()], |range| {
                [range.max, range.min].iter().map(|version| format!("{} {version}", range.service_type)).collect()
            });
            for nobody in &nobodies {
                let mut statuses = Vec::new();
                for version in &versions {
                    // Headers that pretend to be the middleware's are never read.
                    let forged = [
                        ("x-roles", "admin"),
                        ("x-identity-status", "Confirmed"),
                        ("x-is-admin-project", "True"),
                        ("openstack-api-version", version.as_str()),
                    ];
                    statuses.push(nobody.send(method.clone(), &path, &forged, "{}").await.status.as_u16());
                }
                assert!(statuses.contains(&401), "{method} {path}: {statuses:?}");
                assert!(
                    statuses.iter().all(|status| [401, 404, 405].contains(status)),
                    "{method} {path}: {statuses:?}"
                );
            }
            walked += 1;
        }
    }
    assert!(walked > 100, "only {walked} routes were walked");
    cloud.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_fails_on_nonsense() {
    let cloud = TestCloud::new().await;
    let admin = cloud.admin().await;
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let bodies = [
        "",
        "{",
        "null",
        "[]",
        "{\"a\": 1}",
        "\u{0}",
        deep.as_str(),
        "{\"server\": null}",
        "{\"port\": [], \"ports\": {}}",
    ];
    for service in cloud.cloud().front().services() {
        for (method, path, _) in service.routes() {
            let path = format!("{}{}", service.spec().prefix, fill(path));
            for body in bodies {
                let answer = admin.send(method.clone(), &path, &[], body.to_owned()).await;
                assert!(
                    answer.status.as_u16() < 500 || answer.status == StatusCode::NOT_IMPLEMENTED,
                    "{method} {path} with {}: {} {:?}",
                    &body[..body.len().min(40)],
                    answer.status,
                    answer.body
                );
                if method == Method::GET || method == Method::HEAD {
                    break;
                }
            }
        }
    }
    // The walk has changed passwords and deleted things of the administrator's own; this cloud is not looked at again.
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_refused_in_the_services_own_form() {
    let cloud = TestCloud::new().await;
    let admin = cloud.admin().await;
    for prefix in ["/identity/v3", "/image/v2", "/placement", "/network/v2.0", "/compute/v2.1"] {
        let answer = admin.get(&format!("{prefix}/no/such/thing")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{prefix}");
    }
    let answer = admin.send(Method::PATCH, "/compute/v2.1/servers", &[], Body::empty()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(admin.at("2.9999").get("/compute/v2.1/servers").await.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(admin.at("banana").get("/compute/v2.1/servers").await.status, StatusCode::BAD_REQUEST);
    cloud.finish().await;
}
