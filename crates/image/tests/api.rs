//! The API in process, against a real database and a real directory.

use bytes::Bytes;
use ferrostack_blobs::{BlobStore, Directory};
use ferrostack_contracts::identity::{Caller, Scope, TokenVerifier};
use ferrostack_contracts::image::{DiskFormat, Images as Contract};
use ferrostack_db::testing::TestDb;
use ferrostack_image::{Deps, ImageConfig, Images, MIGRATIONS};
use ferrostack_jobs::{Jobs, JobsConfig};
use ferrostack_rest::{Body, Kit, ServiceApi};
use ferrostack_types::ids::{DomainId, ImageId, ProjectId, UserId};
use ferrostack_types::{Env, Error, Kind, ManualClock, Result, SeededEntropy, Timestamp};
use futures::StreamExt;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A token is `<user>/<project>/<roles>`.
struct Tokens;

fn caller(token: &str) -> Option<Caller> {
    let mut parts = token.split('/');
    let (user, project, roles) = (parts.next()?, parts.next()?, parts.next()?);
    let domain = DomainId::new("default");
    Some(Caller {
        user_id: UserId::new(user),
        user_name: user.to_owned(),
        user_domain_id: domain.clone(),
        user_domain_name: "Default".to_owned(),
        scope: Scope::Project {
            id: ProjectId::new(project),
            name: project.to_owned(),
            domain_id: domain,
            domain_name: "Default".to_owned(),
        },
        roles: roles.split('+').map(str::to_owned).collect(),
        audit_ids: vec![],
        expires_at: Timestamp::default(),
        methods: vec![],
        application_credential: None,
    })
}

#[async_trait::async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &str) -> Result<Arc<Caller>> {
        caller(token).map(Arc::new).ok_or_else(|| Error::unauthenticated("no"))
    }
}

/// A list of one.
fn one(id: &String) -> &[String] {
    std::slice::from_ref(id)
}

const ANN: &str = "ann/a/member+reader";
const ANN_READS: &str = "ann/a/reader";
const BOB: &str = "bob/b/member+reader";
const ADMIN: &str = "root/admin/admin+member+reader";

struct Cloud {
    api: Arc<dyn ServiceApi>,
    images: Arc<Images>,
    blobs: Directory,
    jobs: Jobs,
    db: TestDb,
    dir: TempDir,
    clock: Arc<ManualClock>,
    env: Env,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("not JSON: {:?}", self.bytes))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

const ALL: &[&[ferrostack_db::Migration]] = &[ferrostack_jobs::MIGRATIONS, MIGRATIONS];

impl Cloud {
    async fn new() -> Cloud {
        Cloud::with(ImageConfig::default()).await
    }

    async fn with(config: ImageConfig) -> Cloud {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let env = Env::new(Arc::clone(&clock) as Arc<_>, Arc::new(SeededEntropy::new(7)));
        let db = TestDb::new(ALL).await;
        let dir = tempfile::tempdir().unwrap();
        let blobs = Directory::open(dir.path(), env.clone()).await.unwrap();
        let jobs = Jobs::new(db.db.clone(), env.clone(), JobsConfig::new("test"));
        let deps =
            Deps { db: db.db.clone(), env: env.clone(), jobs: jobs.clone(), blobs: Arc::new(blobs.clone()), config };
        let images = Images::new(deps).await.unwrap();
        let kit = Kit { env: env.clone(), tokens: Arc::new(Tokens) };
        let api = ferrostack_image::api(Arc::clone(&images), kit, None).unwrap();
        Cloud { api, images, blobs, jobs, db, dir, clock, env }
    }

    async fn send(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let method: Method = method.parse().unwrap();
        let mut request = http::Request::builder().method(method).uri(format!("/image{path}"));
        request = request.header("host", "cloud").header("x-auth-token", token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, body) = request.body(body).unwrap().into_parts();
        let response = self.api.call(parts, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(token, method, path, &[("content-type", "application/json")], body).await
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, "GET", path, Value::Null).await
    }

    async fn patch(&self, token: &str, id: &str, changes: Value) -> Answer {
        let kind = [("content-type", "application/openstack-images-v2.1-json-patch")];
        self.send(token, "PATCH", &format!("/v2/images/{id}"), &kind, Body::from(changes.to_string())).await
    }

    async fn create(&self, token: &str, body: Value) -> String {
        self.clock.advance(Duration::from_secs(1));
        let answer = self.call(token, "POST", "/v2/images", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn queued(&self, token: &str, format: &str) -> String {
        self.create(token, json!({"name": "n", "disk_format": format, "container_format": "bare"})).await
    }

    async fn upload(&self, token: &str, id: &str, data: impl Into<Body>) -> Answer {
        let kind = [("content-type", "application/octet-stream")];
        self.send(token, "PUT", &format!("/v2/images/{id}/file"), &kind, data.into()).await
    }

    async fn active(&self, token: &str, data: &'static str) -> String {
        let id = self.queued(token, "raw").await;
        let answer = self.upload(token, &id, data).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        id
    }

    async fn status(&self, id: &str) -> String {
        self.get(ADMIN, &format!("/v2/images/{id}")).await.json()["status"].as_str().unwrap().to_owned()
    }

    async fn ids(&self, token: &str, query: &str) -> Vec<String> {
        let answer = self.get(token, &format!("/v2/images?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let images = answer.json()["images"].as_array().unwrap().clone();
        images.iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn blobs(&self) -> usize {
        self.blobs.list("images").await.unwrap().len()
    }

    async fn eventually<F: Future<Output = bool>>(&self, what: &str, mut holds: impl FnMut() -> F) {
        for _ in 0..2000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}");
    }
}

#[tokio::test]
async fn versions_are_found_without_a_token() {
    let cloud = Cloud::new().await;
    let answer = cloud.get("", "/").await;
    assert_eq!(answer.status, 300);
    let versions = answer.json();
    assert_eq!(versions["versions"][0]["status"], "CURRENT");
    assert_eq!(versions["versions"][0]["links"][0]["href"], "http://cloud/image/v2/");
    assert_eq!(cloud.get("", "/versions").await.status, 200);
    assert_eq!(cloud.get("", "/v2/images").await.status, 401);
    for schema in ["image", "images", "member", "members"] {
        let answer = cloud.get(ANN, &format!("/v2/schemas/{schema}")).await;
        assert_eq!(answer.json()["name"], schema);
    }
    assert_eq!(cloud.get(ANN, "/v2/info/import").await.json()["import-methods"]["value"], json!([]));
}

#[tokio::test]
async fn an_image_is_made_filled_read_and_deleted() {
    let cloud = Cloud::new().await;
    let body = json!({"name": "cirros", "disk_format": "raw", "container_format": "bare", "min_ram": 64,
        "tags": ["b", "a"], "hw_disk_bus": "virtio"});
    let answer = cloud.call(ANN, "POST", "/v2/images", body).await;
    assert_eq!(answer.status, 201);
    let image = answer.json();
    let id = image["id"].as_str().unwrap();
    assert_eq!(answer.headers["location"], format!("http://cloud/image/v2/images/{id}"));
    assert_eq!(
        (&image["status"], &image["visibility"], &image["owner"]),
        (&json!("queued"), &json!("shared"), &json!("a"))
    );
    assert_eq!((&image["hw_disk_bus"], &image["tags"]), (&json!("virtio"), &json!(["a", "b"])));
    assert_eq!((&image["file"], &image["size"]), (&json!(format!("/v2/images/{id}/file")), &Value::Null));
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}/file")).await.status, 204);

    assert_eq!(cloud.upload(ANN, id, "hello world").await.status, 204);
    let image = cloud.get(ANN, &format!("/v2/images/{id}")).await.json();
    assert_eq!((&image["status"], &image["size"], &image["virtual_size"]), (&json!("active"), &json!(11), &json!(11)));
    assert_eq!(image["checksum"], "5eb63bbbe01eeed093cb22bb8f5acdc3");
    assert_eq!(image["os_hash_algo"], "sha512");
    assert!(image["os_hash_value"].as_str().unwrap().starts_with("309ecc489c12d6eb"));

    let file = cloud.get(ANN, &format!("/v2/images/{id}/file")).await;
    assert_eq!((file.status.as_u16(), &file.bytes[..]), (200, &b"hello world"[..]));
    assert_eq!(file.headers["content-md5"], "5eb63bbbe01eeed093cb22bb8f5acdc3");
    assert_eq!(file.headers["content-length"], "11");
    for (range, status, bytes, shown) in [
        ("bytes=0-4", 206, "hello", "bytes 0-4/11"),
        ("bytes=6-", 206, "world", "bytes 6-10/11"),
        ("bytes=-3", 206, "rld", "bytes 8-10/11"),
        ("bytes=9-100", 206, "ld", "bytes 9-10/11"),
        ("bytes=11-", 416, "", ""),
        ("bytes=5-4", 416, "", ""),
        ("bytes=x-", 416, "", ""),
    ] {
        let path = format!("/v2/images/{id}/file");
        let answer = cloud.send(ANN, "GET", &path, &[("range", range)], Body::empty()).await;
        assert_eq!(answer.status, status, "{range}");
        if status == 206 {
            assert_eq!((answer.text().as_str(), answer.headers["content-range"].to_str().unwrap()), (bytes, shown));
        }
    }
    assert_eq!(cloud.blobs().await, 1);
    cloud.jobs.start().await.unwrap();
    assert_eq!(cloud.call(ANN, "DELETE", &format!("/v2/images/{id}"), Value::Null).await.status, 204);
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}")).await.status, 404);
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}/file")).await.status, 404);
    cloud.eventually("the bytes go", || async { cloud.blobs().await == 0 }).await;
    cloud.jobs.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let cloud = Cloud::new().await;
    for (body, status, text) in [
        (json!({"status": "active"}), 403, "read-only"),
        (json!({"checksum": "x"}), 403, "read-only"),
        (json!({"os_glance_x": "x"}), 403, "reserved"),
        (json!({"deleted": "x"}), 403, "reserved"),
        (json!({"locations": []}), 403, "locations"),
        (json!({"min_ram": "x"}), 400, "min_ram"),
        (json!({"min_disk": -1}), 400, "min_disk"),
        (json!({"disk_format": "exe"}), 400, "disk_format"),
        (json!({"visibility": "secret"}), 400, "visibility"),
        (json!({"property": 5}), 400, "not of type"),
        (json!({"id": "x"}), 400, "id"),
        (json!({"owner": "b"}), 403, "add_image"),
        (json!({"visibility": "public"}), 403, "publicize_image"),
        (json!([]), 400, "object"),
    ] {
        let answer = cloud.call(ANN, "POST", "/v2/images", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(text), "{body}: {}", answer.text());
    }
    assert_eq!(cloud.call(ANN_READS, "POST", "/v2/images", json!({})).await.status, 403);
    let id = cloud.create(ANN, json!({"id": "3a6e6f86-6c5c-4f6f-9f43-6e86b8f0d0b1"})).await;
    assert_eq!(cloud.call(ANN, "POST", "/v2/images", json!({"id": id})).await.status, 409);
    // Without a format there is no telling whether the data is right.
    let answer = cloud.upload(ANN, &id, "x").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("disk_format, container_format must be set"));
    let path = format!("/v2/images/{id}/file");
    assert_eq!(cloud.send(ANN, "PUT", &path, &[("content-type", "text/plain")], Body::from("x")).await.status, 415);
    assert_eq!(cloud.upload(BOB, &id, "x").await.status, 404);
    assert_eq!(cloud.upload(ANN_READS, &id, "x").await.status, 403);
    assert_eq!(cloud.get(ANN, "/v2/images/none").await.status, 404);
}

#[tokio::test]
async fn projects_see_their_own_and_what_is_given_to_them() {
    let cloud = Cloud::new().await;
    let private = cloud.create(ANN, json!({"visibility": "private"})).await;
    let shared = cloud.create(ANN, json!({"visibility": "shared"})).await;
    let community = cloud.create(ANN, json!({"visibility": "community"})).await;
    let public = cloud.create(ADMIN, json!({"visibility": "public"})).await;
    let hidden = cloud.create(ADMIN, json!({"visibility": "public", "os_hidden": true})).await;
    let show =
        async |token: &'static str, id: &str| cloud.get(token, &format!("/v2/images/{id}")).await.status.as_u16();
    for (id, bob) in [(&private, 404), (&shared, 404), (&community, 200), (&public, 200), (&hidden, 200)] {
        assert_eq!(show(BOB, id).await, bob);
        assert_eq!((show(ANN, id).await, show(ADMIN, id).await), (200, 200));
    }
    assert_eq!(cloud.ids(BOB, "").await, one(&public));
    assert_eq!(cloud.ids(BOB, "visibility=community").await, one(&community));
    assert_eq!(cloud.ids(BOB, "os_hidden=true").await, one(&hidden));
    assert_eq!(cloud.ids(BOB, "owner=a").await, one(&community));
    assert_eq!(cloud.ids(ANN, "").await.len(), 4);
    assert_eq!(cloud.ids(ANN, "visibility=private").await, one(&private));

    // Others may not change, delete, or share what they see.
    let path = format!("/v2/images/{community}");
    assert_eq!(cloud.call(BOB, "DELETE", &path, Value::Null).await.status, 403);
    assert_eq!(cloud.call(BOB, "DELETE", &format!("/v2/images/{private}"), Value::Null).await.status, 404);
    let rename = json!([{"op": "replace", "path": "/name", "value": "x"}]);
    assert_eq!(cloud.patch(BOB, &community, rename.clone()).await.status, 403);
    assert_eq!(cloud.patch(BOB, &private, rename).await.status, 404);
    assert_eq!(cloud.call(BOB, "PUT", &format!("{path}/tags/x"), Value::Null).await.status, 403);

    // Sharing: pending shows it by its id, accepted in lists.
    let members = format!("/v2/images/{shared}/members");
    assert_eq!(cloud.call(BOB, "POST", &members, json!({"member": "b"})).await.status, 404);
    let answer = cloud.call(ANN, "POST", &members, json!({"member": "b"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("pending")));
    assert_eq!(cloud.call(ANN, "POST", &members, json!({"member": "b"})).await.status, 409);
    assert_eq!(cloud.call(ANN, "POST", &members, json!({"member": ""})).await.status, 400);
    assert_eq!(cloud.call(ANN, "POST", &members, json!({})).await.status, 400);
    cloud.call(ANN, "POST", &members, json!({"member": "c"})).await;
    assert_eq!(show(BOB, &shared).await, 200);
    assert_eq!(cloud.ids(BOB, "visibility=shared").await, Vec::<String>::new());
    assert_eq!(cloud.ids(BOB, "visibility=shared&member_status=pending").await, one(&shared));
    let mine = format!("{members}/b");
    assert_eq!(cloud.call(ANN, "PUT", &mine, json!({"status": "accepted"})).await.status, 403);
    assert_eq!(cloud.call(BOB, "PUT", &mine, json!({"status": "perhaps"})).await.status, 400);
    assert_eq!(cloud.call(BOB, "PUT", &mine, json!({"status": "accepted"})).await.json()["status"], "accepted");
    assert_eq!(cloud.ids(BOB, "visibility=shared").await, one(&shared));
    assert_eq!(cloud.ids(BOB, "member_status=all&visibility=shared").await, one(&shared));
    // A member sees itself among the members, and nobody else.
    let seen = cloud.get(BOB, &members).await.json();
    assert_eq!(seen["members"].as_array().unwrap().len(), 1);
    assert_eq!(cloud.get(BOB, &format!("{members}/c")).await.status, 404);
    assert_eq!(cloud.call(BOB, "PUT", &format!("{members}/c"), json!({"status": "accepted"})).await.status, 404);
    assert_eq!(cloud.get(ANN, &members).await.json()["members"].as_array().unwrap().len(), 2);
    assert_eq!(cloud.call(BOB, "DELETE", &mine, Value::Null).await.status, 403);
    assert_eq!(cloud.call(ANN, "DELETE", &mine, Value::Null).await.status, 204);
    assert_eq!(cloud.call(ANN, "DELETE", &mine, Value::Null).await.status, 404);
    assert_eq!(show(BOB, &shared).await, 404);
    assert_eq!(
        cloud.call(ANN, "POST", &format!("/v2/images/{private}/members"), json!({"member": "b"})).await.status,
        403
    );
    // Reading needs the same sight as showing.
    assert_eq!(cloud.get(BOB, &format!("/v2/images/{private}/file")).await.status, 404);
    let eyes = caller(BOB).unwrap();
    let contract = |id: &str| ImageId::parse(id).unwrap();
    assert_eq!(cloud.images.image(&eyes, contract(&private)).await.unwrap_err().kind(), Kind::NotFound);
    assert!(cloud.images.image(&eyes, contract(&public)).await.is_ok());
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let cloud = Cloud::new().await;
    let mut all = Vec::new();
    for n in 0..7 {
        let body = json!({"name": format!("image, {n}"), "disk_format": if n % 2 == 0 { "raw" } else { "qcow2" },
            "container_format": "bare", "min_ram": n, "protected": n == 3, "os_distro": if n < 2 { "debian" } else { "x" },
            "tags": [format!("t{}", n % 3), "all"]});
        all.push(cloud.create(ANN, body).await);
    }
    cloud.upload(ANN, &all[0], "12345").await;
    let pick = |indexes: &[usize]| indexes.iter().map(|i| all[*i].clone()).collect::<Vec<_>>();
    // Newest first; pages join without gap or overlap.
    let mut path = "/v2/images?limit=3&tag=all".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = cloud.get(ANN, &path).await.json();
        assert_eq!(page["first"], "/v2/images?limit=3&tag=all");
        let ids: Vec<String> =
            page["images"].as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect();
        assert!(ids.len() <= 3);
        seen.extend(ids);
        match page.get("next") {
            Some(next) => path = next.as_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, pick(&[6, 5, 4, 3, 2, 1, 0]));
    for (query, wanted) in [
        ("name=image,%202", &[2][..]),
        ("name=in:%22image,%202%22,%22image,%205%22", &[5, 2]),
        ("id=in:", &[]),
        ("disk_format=qcow2&sort=name:asc", &[1, 3, 5]),
        ("disk_format=in:raw,qcow2&limit=2", &[6, 5]),
        ("status=active", &[0]),
        ("status=in:active,queued&sort_key=name&sort_dir=asc&limit=2", &[0, 1]),
        ("size_min=5", &[0]),
        ("size_max=4", &[]),
        ("min_ram=4", &[4]),
        ("protected=true", &[3]),
        ("tag=t1&tag=all", &[4, 1]),
        ("tag=t1&tag=t2", &[]),
        ("os_distro=debian", &[1, 0]),
        ("os_distro=nothing", &[]),
        ("checksum=827ccb0eea8a706c4c34a16891f84e7b", &[0]),
        ("created_at=lt:2027-01-15T08:00:03Z", &[1, 0]),
        ("created_at=lte:2027-01-15T08:00:03Z", &[2, 1, 0]),
        ("created_at=2027-01-15T08:00:03Z", &[2]),
        ("created_at=gt:2027-01-15T08:00:06Z", &[6]),
        ("sort=disk_format:desc,name:asc&limit=5", &[0, 2, 4, 6, 1]),
        ("limit=0", &[]),
    ] {
        assert_eq!(cloud.ids(ANN, query).await, pick(wanted), "{query}");
    }
    let marker = format!("limit=2&sort=size:desc&marker={}", all[0]);
    assert_eq!(cloud.ids(ANN, &marker).await, pick(&[6, 5]), "null sizes come after");
    for bad in [
        "limit=x",
        "limit=-1",
        "sort_key=owner",
        "sort=name:up",
        "sort=name&sort_key=id",
        "marker=x",
        "visibility=x",
        "member_status=x",
        "os_hidden=x",
        "created_at=gt:x",
        "created_at=xx:2026-01-01T00:00:00Z",
        "size_min=x",
        "name=in:%22a",
        "marker=3a6e6f86-6c5c-4f6f-9f43-6e86b8f0d0b1",
        "changes-since=2026-01-01T00:00:00Z",
    ] {
        assert_eq!(cloud.get(ANN, &format!("/v2/images?{bad}")).await.status, 400, "{bad}");
    }
    // Another project's image is no marker: it would tell that it exists.
    let theirs = cloud.create(BOB, json!({})).await;
    assert_eq!(cloud.get(ANN, &format!("/v2/images?marker={theirs}")).await.status, 400);
}

#[tokio::test]
async fn patches_change_what_may_change() {
    let cloud = Cloud::new().await;
    let id = cloud.queued(ANN, "raw").await;
    let answer = cloud
        .patch(
            ANN,
            &id,
            json!([
                {"op": "replace", "path": "/name", "value": "new"},
                {"op": "add", "path": "/os~1distro", "value": "debian"},
                {"op": "replace", "path": "/tags", "value": ["x"]},
                {"op": "replace", "path": "/disk_format", "value": "qcow2"},
                {"op": "add", "path": "/visibility", "value": "private"},
            ]),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let image = answer.json();
    assert_eq!((&image["name"], &image["os/distro"]), (&json!("new"), &json!("debian")));
    assert_eq!((&image["tags"], &image["disk_format"]), (&json!(["x"]), &json!("qcow2")));
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}")).await.json(), image);
    cloud.patch(ANN, &id, json!([{"op": "remove", "path": "/os~1distro"}])).await;
    for (change, status) in [
        (json!({"op": "remove", "path": "/name"}), 403),
        (json!({"op": "remove", "path": "/none"}), 409),
        (json!({"op": "replace", "path": "/none", "value": "x"}), 409),
        (json!({"op": "replace", "path": "/size", "value": 1}), 403),
        (json!({"op": "replace", "path": "/checksum", "value": "x"}), 403),
        (json!({"op": "replace", "path": "/status", "value": "active"}), 403),
        (json!({"op": "replace", "path": "/id", "value": "x"}), 403),
        (json!({"op": "replace", "path": "/owner", "value": "b"}), 403),
        (json!({"op": "replace", "path": "/visibility", "value": "public"}), 403),
        (json!({"op": "replace", "path": "/min_ram", "value": "x"}), 400),
        (json!({"op": "replace", "path": "/min_ram"}), 400),
        (json!({"op": "move", "path": "/name", "value": "x"}), 400),
        (json!({"path": "/name", "value": "x"}), 400),
        (json!({"op": "replace", "path": "name", "value": "x"}), 400),
        (json!({"op": "replace", "path": "/name/x", "value": "x"}), 400),
        (json!({"op": "replace", "path": "/na~2me", "value": "x"}), 400),
        (json!({"op": "add", "path": "/locations", "value": []}), 403),
        (json!("x"), 400),
    ] {
        let answer = cloud.patch(ANN, &id, json!([change])).await;
        assert_eq!(answer.status, status, "{change}: {}", answer.text());
    }
    assert_eq!(cloud.patch(ANN, &id, json!({})).await.status, 400);
    assert_eq!(cloud.call(ANN, "PATCH", &format!("/v2/images/{id}"), json!([])).await.status, 415);
    assert_eq!(cloud.patch(ADMIN, &id, json!([{"op": "replace", "path": "/owner", "value": "b"}])).await.status, 200);
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}")).await.status, 404);
    // The older dialect.
    let kind = [("content-type", "application/openstack-images-v2.0-json-patch")];
    let body = Body::from(json!([{"replace": "/name", "value": "old way"}]).to_string());
    let answer = cloud.send(BOB, "PATCH", &format!("/v2/images/{id}"), &kind, body).await;
    assert_eq!(answer.json()["name"], "old way");
    let body = Body::from(json!([{"add": "/name", "value": "x"}]).to_string());
    assert_eq!(cloud.send(BOB, "PATCH", &format!("/v2/images/{id}"), &kind, body).await.status, 409);
}

#[tokio::test]
async fn protected_images_stay_and_deactivated_ones_are_not_read() {
    let cloud = Cloud::new().await;
    let id = cloud.active(ANN, "data").await;
    let path = format!("/v2/images/{id}");
    cloud.patch(ANN, &id, json!([{"op": "replace", "path": "/protected", "value": true}])).await;
    assert_eq!(cloud.call(ANN, "DELETE", &path, Value::Null).await.status, 403);
    cloud.patch(ANN, &id, json!([{"op": "replace", "path": "/protected", "value": false}])).await;
    assert_eq!(cloud.call(BOB, "POST", &format!("{path}/actions/deactivate"), Value::Null).await.status, 404);
    assert_eq!(cloud.call(ANN, "POST", &format!("{path}/actions/deactivate"), Value::Null).await.status, 204);
    assert_eq!(cloud.status(&id).await, "deactivated");
    assert_eq!(cloud.get(ANN, &format!("{path}/file")).await.status, 403);
    assert_eq!(cloud.get(ADMIN, &format!("{path}/file")).await.text(), "data");
    assert_eq!(cloud.call(ANN, "POST", &format!("{path}/actions/reactivate"), Value::Null).await.status, 204);
    assert_eq!(cloud.get(ANN, &format!("{path}/file")).await.text(), "data");
    let queued = cloud.queued(ANN, "raw").await;
    let answer = cloud.call(ANN, "POST", &format!("/v2/images/{queued}/actions/deactivate"), Value::Null).await;
    assert_eq!(answer.status, 403);
    for (method, tag, status) in [("PUT", "x%20y", 204), ("DELETE", "x%20y", 204), ("DELETE", "x%20y", 404)] {
        assert_eq!(cloud.call(ANN, method, &format!("{path}/tags/{tag}"), Value::Null).await.status, status);
    }
    assert_eq!(cloud.call(ANN, "DELETE", &path, Value::Null).await.status, 204);
}

/// Attack A5: once active, no request changes an image's bytes, or what is said of them.
#[tokio::test]
async fn active_data_never_changes() {
    let cloud = Cloud::new().await;
    let id = cloud.active(ANN, "first").await;
    let before = cloud.get(ADMIN, &format!("/v2/images/{id}")).await.json();
    for token in [ANN, ADMIN] {
        let answer = cloud.upload(token, &id, "second").await;
        assert_eq!(answer.status, 409);
        assert!(answer.text().contains("transition from active to saving is not allowed"), "{}", answer.text());
        for attribute in ["size", "checksum", "os_hash_value", "virtual_size", "status", "file", "direct_url"] {
            let change = json!([{"op": "replace", "path": format!("/{attribute}"), "value": "x"}]);
            assert_eq!(cloud.patch(token, &id, change).await.status, 403, "{attribute}");
        }
        for attribute in ["disk_format", "container_format", "locations"] {
            let change = json!([{"op": "replace", "path": format!("/{attribute}"), "value": "ami"}]);
            assert_eq!(cloud.patch(token, &id, change).await.status, 403, "{attribute}");
        }
        let again = json!({"id": id, "disk_format": "raw", "container_format": "bare"});
        assert_eq!(cloud.call(token, "POST", "/v2/images", again).await.status, 409);
        cloud.call(token, "POST", &format!("/v2/images/{id}/actions/deactivate"), Value::Null).await;
        assert_eq!(cloud.upload(token, &id, "second").await.status, 409);
        cloud.call(token, "POST", &format!("/v2/images/{id}/actions/reactivate"), Value::Null).await;
    }
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}/file")).await.text(), "first");
    let mut after = cloud.get(ADMIN, &format!("/v2/images/{id}")).await.json();
    after["updated_at"] = before["updated_at"].clone();
    assert_eq!(after, before);
    assert_eq!(cloud.blobs().await, 1);
}

/// A qcow2 header that is all right, of 1 MiB.
fn qcow2() -> Vec<u8> {
    let mut bytes = vec![0_u8; 65536];
    bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    bytes[20..24].copy_from_slice(&16_u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
    bytes[36..40].copy_from_slice(&1_u32.to_be_bytes());
    bytes[100..104].copy_from_slice(&104_u32.to_be_bytes());
    bytes
}

/// Attacks A1, A2, A3: what is not as declared, or leads elsewhere, is refused with its reason and leaves nothing.
#[tokio::test]
async fn data_that_lies_is_refused() {
    let cloud = Cloud::new().await;
    let good = qcow2();
    let mut backed = good.clone();
    backed[8..16].copy_from_slice(&1024_u64.to_be_bytes());
    let mut external = good.clone();
    external[79] |= 4;
    let descriptor = b"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/shadow\" 0\n";
    for (declared, data, why) in [
        ("raw", good.clone(), "Image disk_format raw does not match stream data qcow2"),
        ("qcow2", b"not at all".to_vec(), "does not match stream data raw"),
        ("vmdk", good.clone(), "does not match stream data qcow2"),
        ("aki", good.clone(), "does not match stream data qcow2"),
        ("qcow2", backed, "backing file"),
        ("qcow2", external, "another file"),
        ("vmdk", descriptor.to_vec(), "only monolithicSparse"),
        ("raw", descriptor.to_vec(), "does not match stream data vmdk"),
    ] {
        let id = cloud.queued(ANN, declared).await;
        let answer = cloud.upload(ANN, &id, data).await;
        assert_eq!(answer.status, 415, "{declared}: {}", answer.text());
        assert!(answer.text().contains(why), "{declared}: {}", answer.text());
        assert_eq!(cloud.status(&id).await, "queued");
        assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}/file")).await.status, 204);
    }
    assert_eq!(cloud.blobs().await, 8, "kept for nobody until the loop comes by");
    cloud.jobs.start().await.unwrap();
    cloud.eventually("nothing is left", || async { cloud.blobs().await == 0 }).await;
    cloud.jobs.shutdown(Duration::from_secs(5)).await.unwrap();
    // After a refusal the right data may come.
    let id = cloud.queued(ANN, "qcow2").await;
    assert_eq!(cloud.upload(ANN, &id, "wrong").await.status, 415);
    assert_eq!(cloud.upload(ANN, &id, good).await.status, 204);
    let image = cloud.get(ANN, &format!("/v2/images/{id}")).await.json();
    assert_eq!((&image["status"], &image["virtual_size"]), (&json!("active"), &json!(1 << 20)));
    let info = cloud.images.image(&caller(ANN).unwrap(), ImageId::parse(&id).unwrap()).await.unwrap();
    assert_eq!((info.format, info.virtual_size), (Some(DiskFormat::Qcow2), Some(1 << 20)));
}

#[tokio::test]
async fn without_enforcement_guests_still_do_not_boot_from_lies() {
    let cloud = Cloud::with(ImageConfig { format_enforcement: false, ..ImageConfig::default() }).await;
    let boots = async |declared: &str, container: &str, data: Vec<u8>| {
        let body = json!({"disk_format": declared, "container_format": container});
        let id = cloud.create(ANN, body).await;
        let answer = cloud.upload(ANN, &id, data).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        cloud.images.image(&caller(ANN).unwrap(), ImageId::parse(&id).unwrap()).await.unwrap().format
    };
    assert_eq!(boots("raw", "bare", qcow2()).await, None);
    assert_eq!(boots("qcow2", "bare", b"nothing".to_vec()).await, None);
    assert_eq!(boots("qcow2", "ova", b"nothing".to_vec()).await, None);
    assert_eq!(boots("qcow2", "bare", qcow2()).await, Some(DiskFormat::Qcow2));
    assert_eq!(boots("raw", "bare", b"plain".to_vec()).await, Some(DiskFormat::Raw));
}

/// A body that the test feeds.
fn fed() -> (tokio::sync::mpsc::Sender<std::io::Result<Bytes>>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let stream = futures::stream::unfold(receiver, |mut r| async move { Some((r.recv().await?, r)) });
    (sender, Body::from_stream(stream.boxed()))
}

#[tokio::test]
async fn a_second_upload_is_told_to_go_and_a_deleted_image_takes_its_upload_along() {
    let cloud = Arc::new(Cloud::new().await);
    let id = cloud.queued(ANN, "raw").await;
    let (sender, body) = fed();
    let (second, path) = (Arc::clone(&cloud), id.clone());
    let first = cloud.env.spawn("upload", async move { second.upload(ANN, &path, body).await });
    sender.send(Ok(Bytes::from_static(b"some"))).await.unwrap();
    cloud.eventually("it saves", || async { cloud.status(&id).await == "saving" }).await;
    let answer = cloud.upload(ANN, &id, "other").await;
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("from saving to saving"));
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}/file")).await.status, 204, "half an image is none");
    assert_eq!(cloud.call(ANN, "DELETE", &format!("/v2/images/{id}"), Value::Null).await.status, 204);
    sender.send(Ok(Bytes::from_static(b"more"))).await.unwrap();
    drop(sender);
    let answer = first.await.unwrap();
    assert_eq!(answer.status, 410, "{}", answer.text());
    assert_eq!(cloud.blobs().await, 0);
}

#[tokio::test]
async fn a_broken_upload_gives_the_image_back() {
    let cloud = Arc::new(Cloud::new().await);
    let id = cloud.queued(ANN, "raw").await;
    // The client says that it went away.
    let (sender, body) = fed();
    sender.send(Err(std::io::Error::other("reset"))).await.unwrap();
    assert_eq!(cloud.upload(ANN, &id, body).await.status, 400);
    assert_eq!(cloud.status(&id).await, "queued");
    // The connection is dropped, and the handler with it.
    let (sender, body) = fed();
    let (second, path) = (Arc::clone(&cloud), id.clone());
    let upload = cloud.env.spawn("upload", async move { second.upload(ANN, &path, body).await });
    sender.send(Ok(Bytes::from_static(b"some"))).await.unwrap();
    cloud.eventually("it saves", || async { cloud.status(&id).await == "saving" }).await;
    upload.abort();
    cloud.eventually("it waits again", || async { cloud.status(&id).await == "queued" }).await;
    assert_eq!(cloud.blobs().await, 0);
    assert_eq!(cloud.upload(ANN, &id, "all of it").await.status, 204);
}

/// The process dies while an image is uploaded: the next one gives it back at its start, or by its loop.
#[tokio::test]
async fn a_crashed_upload_gives_the_image_back() {
    for sole in [true, false] {
        let cloud = Cloud::new().await;
        let id = cloud.queued(ANN, "raw").await;
        let image = ImageId::parse(&id).unwrap();
        let key = "images/0b5e2c3a-0000-4000-8000-000000000001";
        let until = cloud.env.now() + Duration::from_secs(60);
        cloud
            .db
            .db
            .write("crash", move |tx| {
                tx.execute(
                    "UPDATE image_images SET status = 'saving', upload_id = ?, upload_until = ?, blob_key = ? WHERE id = ?",
                    ferrostack_db::params!["0b5e2c3a-0000-4000-8000-000000000001", until, key, image],
                )
            })
            .await
            .unwrap();
        // It had come as far as the blob.
        let data = futures::stream::once(async { Ok(Bytes::from_static(b"data")) }).boxed();
        cloud.blobs.put(&ferrostack_blobs::Key::parse(key).unwrap(), data, Default::default()).await.unwrap();
        std::fs::write(cloud.dir.path().join(".incoming/half"), b"x").unwrap();

        let db = cloud.db.reopen(ALL).await;
        let blobs = Directory::open(cloud.dir.path(), cloud.env.clone()).await.unwrap();
        let mut config = JobsConfig::new("next");
        config.poll = Duration::from_millis(20);
        let jobs = Jobs::new(db.clone(), cloud.env.clone(), config);
        let config = ImageConfig { sole, ..ImageConfig::default() };
        let deps = Deps { db, env: cloud.env.clone(), jobs: jobs.clone(), blobs: Arc::new(blobs), config };
        let next = Images::new(deps).await.unwrap();
        assert_eq!(cloud.status(&id).await, if sole { "queued" } else { "saving" });
        cloud.clock.advance(Duration::from_secs(61));
        jobs.start().await.unwrap();
        cloud.eventually("it waits again", || async { cloud.status(&id).await == "queued" }).await;
        assert_eq!(std::fs::read_dir(cloud.dir.path().join(".incoming")).unwrap().count(), 0);
        if sole {
            cloud.eventually("the bytes go", || async { cloud.blobs().await == 0 }).await;
        }
        jobs.shutdown(Duration::from_secs(5)).await.unwrap();
        drop(next);
        assert_eq!(cloud.upload(ANN, &id, "again").await.status, 204);
    }
}

/// Bytes that no row knows of are found; those of images are left alone.
#[tokio::test]
async fn orphans_are_found() {
    let cloud = Cloud::new().await;
    let id = cloud.active(ANN, "data").await;
    let data = futures::stream::once(async { Ok(Bytes::from_static(b"data")) }).boxed();
    let key = ferrostack_blobs::Key::new("images", "nobody").unwrap();
    cloud.blobs.put(&key, data, Default::default()).await.unwrap();
    cloud.jobs.start().await.unwrap();
    cloud.eventually("the orphan goes", || async { cloud.blobs().await == 1 }).await;
    assert_eq!(cloud.get(ANN, &format!("/v2/images/{id}/file")).await.text(), "data");
    cloud.jobs.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn limits_hold() {
    let config = ImageConfig {
        size_cap: 10,
        images_per_project: 3,
        bytes_per_project: Some(12),
        properties_per_image: 1,
        tags_per_image: 1,
        members_per_image: 1,
        ..ImageConfig::default()
    };
    let cloud = Cloud::with(config).await;
    let id = cloud.queued(ANN, "raw").await;
    let too_long = cloud.upload(ANN, &id, "12345678901").await;
    assert_eq!(too_long.status, 413);
    assert_eq!(cloud.status(&id).await, "queued");
    assert_eq!(cloud.upload(ANN, &id, "1234567890").await.status, 204);
    let second = cloud.queued(ANN, "raw").await;
    let announced = [("content-type", "application/octet-stream"), ("content-length", "3")];
    let path = format!("/v2/images/{second}/file");
    assert_eq!(cloud.send(ANN, "PUT", &path, &announced, Body::from("123")).await.status, 413);
    assert_eq!(cloud.upload(ANN, &second, "12").await.status, 204);
    let patch = json!([{"op": "add", "path": "/a", "value": "x"}, {"op": "add", "path": "/b", "value": "x"}]);
    assert_eq!(cloud.patch(ANN, &id, patch).await.status, 413);
    assert_eq!(cloud.call(ANN, "PUT", &format!("/v2/images/{id}/tags/x"), Value::Null).await.status, 204);
    assert_eq!(cloud.call(ANN, "PUT", &format!("/v2/images/{id}/tags/y"), Value::Null).await.status, 413);
    let members = format!("/v2/images/{id}/members");
    assert_eq!(cloud.call(ANN, "POST", &members, json!({"member": "x"})).await.status, 200);
    assert_eq!(cloud.call(ANN, "POST", &members, json!({"member": "y"})).await.status, 413);
    cloud.create(ANN, json!({})).await;
    assert_eq!(cloud.call(ANN, "POST", "/v2/images", json!({})).await.status, 413);
    cloud.create(BOB, json!({})).await;
}

/// What the nodes read: in pieces, to the end, never beyond; and a store that lost bytes is not believed (attack A48).
#[tokio::test]
async fn nodes_read_in_pieces() {
    let cloud = Cloud::new().await;
    let id = ImageId::parse(&cloud.active(ANN, "0123456789").await).unwrap();
    assert_eq!(&cloud.images.read(id, 0, 4).await.unwrap()[..], b"0123");
    assert_eq!(&cloud.images.read(id, 8, 4).await.unwrap()[..], b"89");
    assert!(cloud.images.read(id, 10, 4).await.unwrap().is_empty());
    assert_eq!(cloud.images.read(id, 11, 4).await.unwrap_err().kind(), Kind::RangeNotSatisfiable);
    let queued = ImageId::parse(&cloud.queued(ANN, "raw").await).unwrap();
    assert_eq!(cloud.images.read(queued, 0, 4).await.unwrap_err().kind(), Kind::NotFound);
    let info = cloud.images.image(&caller(ANN).unwrap(), id).await.unwrap();
    assert_eq!(
        info.sha512.as_deref(),
        Some(hex::encode(<sha2::Sha512 as sha2::Digest>::digest(b"0123456789")).as_str())
    );
    let stored = std::fs::read_dir(cloud.dir.path().join("images")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&stored, b"01234").unwrap();
    assert_eq!(cloud.images.read(id, 0, 10).await.unwrap_err().kind(), Kind::Internal);
}
