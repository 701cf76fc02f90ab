//! The HTTP API: shapes at their versions, conflicts, rights.

use crate::harness::{ADMIN, Cloud, READER, provider, server};
use serde_json::{Value, json};

impl Cloud {
    /// A provider with an inventory, at generation 1.
    async fn host(&self, n: u128, inventories: Value) -> String {
        let uuid = provider(n).to_string();
        self.ok("POST", "/resource_providers", json!({"name": format!("host{n}"), "uuid": uuid})).await;
        let body = json!({"resource_provider_generation": 0, "inventories": inventories});
        self.ok("PUT", &format!("/resource_providers/{uuid}/inventories"), body).await;
        uuid
    }
}

fn take(provider: &str, vcpus: u64, generation: Value) -> Value {
    json!({
        "allocations": {provider: {"resources": {"VCPU": vcpus}}},
        "project_id": "p", "user_id": "u", "consumer_generation": generation, "consumer_type": "INSTANCE",
    })
}

#[tokio::test]
async fn discovery_and_rights() {
    let cloud = Cloud::new().await;
    let root = cloud.call_as("", "", "GET", "/", Value::Null).await;
    assert_eq!(root.json["versions"][0]["max_version"], "1.39");
    assert_eq!(root.json["versions"][0]["min_version"], "1.0");
    assert_eq!(root.headers["openstack-api-version"], "placement 1.0");
    assert_eq!(cloud.call_as("", "", "GET", "", Value::Null).await.status, 200);
    assert_eq!(cloud.get("1.40", "/").await.status, 406);
    assert_eq!(cloud.get("latest", "/traits").await.headers["openstack-api-version"], "placement 1.39");
    assert_eq!(cloud.call_as("", "", "GET", "/resource_providers", Value::Null).await.status, 401);
    for (method, path, _) in cloud.api.routes() {
        if path == "/" || path == "/usages" {
            continue;
        }
        let path = path.replace("{uuid}", &provider(1).to_string()).replace("{name}", "CUSTOM_X");
        let path = path.replace("{consumer_uuid}", &server(1).to_string()).replace("{resource_class}", "VCPU");
        let answer = cloud.call_as(READER, "1.39", method.as_str(), &path, Value::Null).await;
        assert_eq!(answer.status, 403, "{method} {path}");
    }
    assert_eq!(cloud.call_as("p/service", "1.39", "GET", "/resource_providers", Value::Null).await.status, 200);
    // A project's readers see what their own project uses.
    let usages = |project: &str| format!("/usages?project_id={project}");
    assert_eq!(cloud.call_as(READER, "1.9", "GET", &usages("p"), Value::Null).await.status, 200);
    assert_eq!(cloud.call_as(READER, "1.9", "GET", &usages("q"), Value::Null).await.status, 403);
    assert_eq!(cloud.call_as(ADMIN, "1.9", "GET", &usages("q"), Value::Null).await.status, 200);
    // What a version does not know is not there.
    for (version, path) in [
        ("1.0", "/resource_classes"),
        ("1.5", "/traits"),
        ("1.8", "/usages?project_id=p"),
        ("1.9", "/allocation_candidates?resources=VCPU:1"),
    ] {
        assert_eq!(cloud.get(version, path).await.status, 404, "{version} {path}");
    }
}

#[tokio::test]
async fn providers_form_trees() {
    let cloud = Cloud::new().await;
    let uuid = |n| provider(n).to_string();
    let create = |version: &'static str, body: Value| cloud.call(version, "POST", "/resource_providers", body);
    let old = create("1.0", json!({"name": "a", "uuid": uuid(1)})).await;
    assert_eq!((old.status.as_u16(), &old.json), (201, &Value::Null));
    assert_eq!(old.headers["location"], format!("/placement/resource_providers/{}", uuid(1)));
    let new = create("1.20", json!({"name": "b", "uuid": uuid(2), "parent_provider_uuid": uuid(1)})).await;
    assert_eq!((new.status.as_u16(), &new.json["generation"]), (200, &json!(0)));
    assert_eq!(
        (&new.json["root_provider_uuid"], &new.json["parent_provider_uuid"]),
        (&json!(uuid(1)), &json!(uuid(1)))
    );
    assert_eq!(new.json["links"].as_array().unwrap().len(), 6);
    assert!(new.headers.contains_key("last-modified"));
    let shown = cloud.get("1.0", &format!("/resource_providers/{}", uuid(2))).await;
    assert_eq!(shown.json["links"].as_array().unwrap().len(), 3);
    assert!(shown.json.get("root_provider_uuid").is_none() && !shown.headers.contains_key("last-modified"));

    let taken = create("1.39", json!({"name": "a"})).await;
    assert_eq!((taken.status.as_u16(), taken.error().0), (409, "placement.duplicate_name"));
    let taken = create("1.39", json!({"name": "z", "uuid": uuid(1)})).await;
    assert!(taken.error().1.contains(&format!("uuid: {}", uuid(1))), "{}", taken.json);
    for body in [
        json!({}),
        json!({"name": "x".repeat(201)}),
        json!({"name": "x", "uuid": "x"}),
        json!({"name": "x", "y": 1}),
        json!({"name": "x", "parent_provider_uuid": uuid(99)}),
        json!({"name": "x", "uuid": uuid(5), "parent_provider_uuid": uuid(5)}),
    ] {
        assert_eq!(create("1.39", body.clone()).await.status, 400, "{body}");
    }
    assert_eq!(create("1.13", json!({"name": "x", "parent_provider_uuid": uuid(1)})).await.status, 400);

    create("1.39", json!({"name": "c", "uuid": uuid(3), "parent_provider_uuid": uuid(2)})).await;
    create("1.39", json!({"name": "d", "uuid": uuid(4)})).await;
    let put = |version: &'static str, n, body: Value| {
        let path = format!("/resource_providers/{}", uuid(n));
        let cloud = &cloud;
        async move { cloud.call(version, "PUT", &path, body).await }
    };
    assert_eq!(put("1.39", 1, json!({"name": "a", "parent_provider_uuid": uuid(3)})).await.status, 400, "a loop");
    assert_eq!(put("1.36", 2, json!({"name": "b", "parent_provider_uuid": uuid(4)})).await.status, 400);
    assert_eq!(put("1.36", 2, json!({"name": "b", "parent_provider_uuid": null})).await.status, 400);
    assert_eq!(put("1.39", 2, json!({"name": "d"})).await.error().0, "placement.duplicate_name");
    // A subtree moves with all that is below it.
    let moved = put("1.37", 2, json!({"name": "b2", "parent_provider_uuid": uuid(4)})).await;
    assert_eq!((&moved.json["root_provider_uuid"], &moved.json["name"]), (&json!(uuid(4)), &json!("b2")));
    let names = |query: String| {
        let cloud = &cloud;
        async move {
            let list = cloud.ok("GET", &format!("/resource_providers?{query}"), Value::Null).await;
            let mut names: Vec<String> = list["resource_providers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| p["name"].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names.join("")
        }
    };
    assert_eq!(names(format!("in_tree={}", uuid(3))).await, "b2cd");
    assert_eq!(names("name=a".into()).await, "a");
    assert_eq!(names(format!("uuid={}", uuid(4))).await, "d");
    assert_eq!(names("name=none".into()).await, "");
    assert_eq!(cloud.get("1.39", "/resource_providers?colour=red").await.status, 400);
    assert_eq!(cloud.get("1.3", "/resource_providers?resources=VCPU:1").await.status, 400);
    let delete = |n| {
        let path = format!("/resource_providers/{}", uuid(n));
        let cloud = &cloud;
        async move { cloud.call("1.39", "DELETE", &path, Value::Null).await }
    };
    assert_eq!(delete(2).await.error().0, "placement.resource_provider.cannot_delete_parent");
    assert_eq!(delete(3).await.status, 204);
    assert_eq!(delete(3).await.status, 404);
    assert_eq!(delete(2).await.status, 204);
}

#[tokio::test]
async fn inventories_are_guarded_by_generations_and_use() {
    let cloud = Cloud::new().await;
    let uuid = cloud.host(1, json!({"VCPU": {"total": 8}})).await;
    let path = format!("/resource_providers/{uuid}/inventories");
    let shown = cloud.ok("GET", &path, Value::Null).await;
    assert_eq!(shown["resource_provider_generation"], 1);
    assert_eq!(
        shown["inventories"]["VCPU"],
        json!({"total": 8, "reserved": 0, "min_unit": 1, "max_unit": 2147483647,
        "step_size": 1, "allocation_ratio": 1.0})
    );
    let stale = cloud.call("1.39", "PUT", &path, json!({"resource_provider_generation": 0, "inventories": {}})).await;
    assert_eq!((stale.status.as_u16(), stale.error().0), (409, "placement.concurrent_update"));
    let add = |body: Value| cloud.call("1.39", "POST", &path, body);
    assert_eq!(add(json!({"resource_class": "DISK_GB", "total": 10})).await.status, 201);
    assert_eq!(add(json!({"resource_class": "DISK_GB", "total": 10})).await.status, 409);
    assert_eq!(add(json!({"resource_class": "CUSTOM_NONE", "total": 10})).await.status, 400);
    assert_eq!(add(json!({"resource_class": "MEMORY_MB", "total": 10, "reserved": 11})).await.status, 400);
    assert_eq!(add(json!({"resource_class": "MEMORY_MB", "total": 0})).await.status, 400);
    let reserved = json!({"resource_class": "MEMORY_MB", "total": 10, "reserved": 10});
    assert_eq!(cloud.call("1.25", "POST", &path, reserved.clone()).await.status, 400);
    assert_eq!(add(reserved).await.status, 201);
    let one = format!("{path}/VCPU");
    let update = cloud.call("1.39", "PUT", &one, json!({"resource_provider_generation": 3, "total": 4})).await;
    assert_eq!((update.status.as_u16(), &update.json["resource_provider_generation"]), (200, &json!(4)));
    assert_eq!(cloud.get("1.39", &format!("{path}/PCPU")).await.status, 404);

    let allocation = format!("/allocations/{}", server(1));
    cloud.ok("PUT", &allocation, take(&uuid, 2, Value::Null)).await;
    let wipe = json!({"resource_provider_generation": 5, "inventories": {}});
    assert_eq!(cloud.call("1.39", "PUT", &path, wipe.clone()).await.error().0, "placement.inventory.inuse");
    assert_eq!(cloud.call("1.39", "DELETE", &path, Value::Null).await.error().0, "placement.inventory.inuse");
    assert_eq!(cloud.call("1.39", "DELETE", &one, Value::Null).await.status, 409);
    assert_eq!(
        cloud.call("1.39", "DELETE", &format!("/resource_providers/{uuid}"), Value::Null).await.error().0,
        "placement.resource_provider.inuse"
    );
    let usages = cloud.ok("GET", &format!("/resource_providers/{uuid}/usages"), Value::Null).await;
    assert_eq!(usages["usages"], json!({"DISK_GB": 0, "MEMORY_MB": 0, "VCPU": 2}));
    assert_eq!(cloud.call("1.39", "DELETE", &allocation, Value::Null).await.status, 204);
    assert_eq!(cloud.call("1.39", "DELETE", &allocation, Value::Null).await.status, 404);
    assert_eq!(cloud.call("1.39", "PUT", &path, wipe).await.json["inventories"], json!({}));
    assert_eq!(cloud.call("1.39", "DELETE", &format!("/resource_providers/{uuid}"), Value::Null).await.status, 204);
    assert_eq!(cloud.get("1.39", &path).await.status, 404);
    assert_eq!(cloud.call("1.4", "DELETE", &path, Value::Null).await.status, 405);
    cloud.assert_sound().await;
}

#[tokio::test]
async fn allocations_change_shape_with_versions() {
    let cloud = Cloud::new().await;
    let uuid = cloud.host(1, json!({"VCPU": {"total": 8, "max_unit": 4, "step_size": 2, "min_unit": 2}})).await;
    let path = format!("/allocations/{}", server(1));
    let list = json!([{"resource_provider": {"uuid": uuid}, "resources": {"VCPU": 2}}]);
    let put = |version: &'static str, body: Value| cloud.call(version, "PUT", &path, body);
    assert_eq!(put("1.0", json!({"allocations": list})).await.status, 204);
    assert_eq!(put("1.8", json!({"allocations": list})).await.status, 400, "owners are wanted since 1.8");
    assert_eq!(put("1.8", json!({"allocations": list, "project_id": "p", "user_id": "u"})).await.status, 204);
    let dict = json!({&uuid: {"resources": {"VCPU": 4}}});
    assert_eq!(put("1.11", json!({"allocations": dict, "project_id": "p", "user_id": "u"})).await.status, 400);
    assert_eq!(put("1.12", json!({"allocations": dict, "project_id": "p", "user_id": "u"})).await.status, 204);
    assert_eq!(put("1.12", json!({"allocations": {}, "project_id": "p", "user_id": "u"})).await.status, 400);
    let shown = cloud.get("1.11", &path).await.json;
    assert_eq!(shown, json!({"allocations": {&uuid: {"resources": {"VCPU": 4}, "generation": 4}}}));
    let shown = cloud.get("1.38", &path).await.json;
    assert_eq!(
        (&shown["project_id"], &shown["consumer_generation"], &shown["consumer_type"]),
        (&json!("p"), &json!(3), &json!("unknown"))
    );
    assert!(cloud.get("1.27", &path).await.json.get("consumer_generation").is_none());

    // Generations of consumers.
    let stale = put("1.38", take(&uuid, 2, Value::Null)).await;
    assert_eq!((stale.status.as_u16(), stale.error().0), (409, "placement.concurrent_update"));
    assert!(stale.error().1.contains("expected 3 but got None"), "{}", stale.json);
    assert_eq!(put("1.38", take(&uuid, 2, json!(3))).await.status, 204);
    let mut mapped = take(&uuid, 2, json!(4));
    mapped["mappings"] = json!({"": [uuid]});
    assert_eq!(put("1.38", mapped.clone()).await.status, 204);
    mapped["consumer_generation"] = json!(5);
    mapped.as_object_mut().unwrap().remove("consumer_type");
    assert_eq!(put("1.33", mapped.clone()).await.status, 400, "mappings came with 1.34");
    assert_eq!(put("1.38", mapped).await.status, 400, "the type is wanted since 1.38");

    // Amounts that cannot be.
    for (vcpus, text) in [(6, "violate inventory constraints"), (3, "violate"), (1, "violate")] {
        let refused = put("1.38", take(&uuid, vcpus, json!(5))).await;
        assert_eq!(refused.status, 409);
        assert!(refused.error().1.contains(text), "{}", refused.json);
    }
    let second = format!("/allocations/{}", server(2));
    assert_eq!(cloud.call("1.38", "PUT", &second, take(&uuid, 4, Value::Null)).await.status, 204);
    let third = format!("/allocations/{}", server(3));
    let full = cloud.call("1.38", "PUT", &third, take(&uuid, 4, Value::Null)).await;
    assert_eq!(full.status, 409);
    assert!(full.error().1.contains("exceed the capacity"), "{}", full.json);
    assert_eq!(cloud.get("1.38", &third).await.json, json!({"allocations": {}}));
    let unknown = take(&provider(9).to_string(), 2, Value::Null);
    assert_eq!(cloud.call("1.38", "PUT", &third, unknown).await.status, 400);
    let foreign = cloud.call("1.38", "PUT", "/allocations/x", take(&uuid, 2, Value::Null)).await;
    assert_eq!(foreign.status, 400);
    // Emptied by its generation, a consumer is gone.
    let mut empty = take(&uuid, 2, json!(5));
    empty["allocations"] = json!({});
    assert_eq!(put("1.38", empty).await.status, 204);
    assert_eq!(cloud.get("1.38", &path).await.json, json!({"allocations": {}}));
    let held = cloud.ok("GET", &format!("/resource_providers/{uuid}/allocations"), Value::Null).await;
    assert_eq!(
        held["allocations"],
        json!({server(2).to_string(): {"resources": {"VCPU": 4}, "consumer_generation": 1}})
    );
    cloud.assert_sound().await;
}

#[tokio::test]
async fn several_consumers_change_together_or_not_at_all() {
    let cloud = Cloud::new().await;
    let a = cloud.host(1, json!({"VCPU": {"total": 4}})).await;
    let b = cloud.host(2, json!({"VCPU": {"total": 2}})).await;
    let (one, two) = (server(1).to_string(), server(2).to_string());
    cloud.ok("PUT", &format!("/allocations/{one}"), take(&a, 4, Value::Null)).await;
    // The migration: what the server held goes to another consumer, the server takes the new host, in one step.
    let swap = json!({&one: take(&b, 2, json!(1)), &two: take(&a, 4, Value::Null)});
    assert_eq!(cloud.call("1.38", "POST", "/allocations", swap).await.status, 204);
    let too_much = json!({&one: take(&a, 1, json!(2)), &two: take(&b, 3, json!(1))});
    assert_eq!(cloud.call("1.38", "POST", "/allocations", too_much).await.status, 409);
    let stale = json!({&one: take(&a, 1, json!(2)), &two: take(&b, 2, json!(7))});
    assert_eq!(cloud.call("1.38", "POST", "/allocations", stale).await.error().0, "placement.concurrent_update");
    let of = |id: &str| {
        let path = format!("/allocations/{id}");
        let cloud = &cloud;
        async move { cloud.ok("GET", &path, Value::Null).await["allocations"].clone() }
    };
    assert_eq!(of(&one).await[&b]["resources"], json!({"VCPU": 2}));
    assert_eq!(of(&two).await[&a]["resources"], json!({"VCPU": 4}));
    let mut gone = take(&a, 1, json!(1));
    gone["allocations"] = json!({});
    assert_eq!(cloud.call("1.38", "POST", "/allocations", json!({&two: gone})).await.status, 204);
    assert_eq!(of(&two).await, json!({}));
    assert_eq!(cloud.call("1.12", "POST", "/allocations", json!({})).await.status, 404);
    let usages = |version: &'static str, query: &'static str| {
        let cloud = &cloud;
        async move { cloud.get(version, &format!("/usages?project_id=p{query}")).await.json["usages"].clone() }
    };
    assert_eq!(usages("1.37", "").await, json!({"VCPU": 2}));
    assert_eq!(usages("1.38", "").await, json!({"INSTANCE": {"VCPU": 2, "consumer_count": 1}}));
    assert_eq!(usages("1.38", "&consumer_type=all").await, json!({"all": {"VCPU": 2, "consumer_count": 1}}));
    assert_eq!(usages("1.38", "&consumer_type=unknown").await, json!({}));
    assert_eq!(usages("1.38", "&consumer_type=INSTANCE&user_id=u").await["INSTANCE"]["VCPU"], 2);
    assert_eq!(cloud.get("1.38", "/usages").await.status, 400);
    assert_eq!(cloud.get("1.38", "/usages?project_id=p&consumer_type=x").await.status, 400);
    // Inventory and what is taken of it move to another provider in one step.
    let reshape = json!({
        "inventories": {
            &a: {"resource_provider_generation": cloud.ok("GET", &format!("/resource_providers/{a}"), Value::Null).await["generation"],
                 "inventories": {"VCPU": {"total": 9}}},
            &b: {"resource_provider_generation": cloud.ok("GET", &format!("/resource_providers/{b}"), Value::Null).await["generation"],
                 "inventories": {}},
        },
        "allocations": {&one: take(&a, 2, json!(2))},
    });
    assert_eq!(cloud.call("1.38", "POST", "/reshaper", reshape.clone()).await.status, 204);
    assert_eq!(of(&one).await[&a]["resources"], json!({"VCPU": 2}));
    assert_eq!(cloud.call("1.38", "POST", "/reshaper", reshape).await.error().0, "placement.concurrent_update");
    cloud.assert_sound().await;
}

#[tokio::test]
async fn names_are_defined_and_used() {
    let cloud = Cloud::new().await;
    let uuid = cloud.host(1, json!({"VCPU": {"total": 8}})).await;
    let status = |version: &'static str, method: &'static str, path: &'static str, body: Value| {
        let cloud = &cloud;
        async move { cloud.call(version, method, path, body).await.status.as_u16() }
    };
    let none = || Value::Null;
    assert_eq!(status("1.7", "PUT", "/resource_classes/CUSTOM_GPU", none()).await, 201);
    assert_eq!(status("1.7", "PUT", "/resource_classes/CUSTOM_GPU", none()).await, 204);
    assert_eq!(status("1.7", "PUT", "/resource_classes/GPU", none()).await, 400);
    assert_eq!(status("1.2", "POST", "/resource_classes", json!({"name": "CUSTOM_GPU"})).await, 409);
    assert_eq!(status("1.2", "POST", "/resource_classes", json!({"name": "CUSTOM_NIC"})).await, 201);
    assert_eq!(status("1.2", "PUT", "/resource_classes/CUSTOM_NIC", json!({"name": "CUSTOM_NET"})).await, 200);
    assert_eq!(status("1.2", "DELETE", "/resource_classes/CUSTOM_NET", none()).await, 204);
    assert_eq!(status("1.2", "DELETE", "/resource_classes/VCPU", none()).await, 400);
    assert_eq!(status("1.2", "GET", "/resource_classes/CUSTOM_NET", none()).await, 404);
    let add = json!({"resource_class": "CUSTOM_GPU", "total": 2});
    cloud.ok("POST", &format!("/resource_providers/{uuid}/inventories"), add).await;
    assert_eq!(status("1.2", "DELETE", "/resource_classes/CUSTOM_GPU", none()).await, 409);
    let classes = cloud.ok("GET", "/resource_classes", none()).await;
    assert_eq!(classes["resource_classes"].as_array().unwrap().len(), 22);

    assert_eq!(status("1.6", "PUT", "/traits/CUSTOM_FAST", none()).await, 201);
    assert_eq!(status("1.6", "PUT", "/traits/CUSTOM_FAST", none()).await, 204);
    assert_eq!(status("1.6", "PUT", "/traits/HW_CPU_X86_AVX", none()).await, 400);
    assert_eq!(status("1.6", "GET", "/traits/HW_CPU_X86_AVX", none()).await, 204);
    assert_eq!(status("1.6", "GET", "/traits/CUSTOM_SLOW", none()).await, 404);
    assert_eq!(status("1.6", "DELETE", "/traits/HW_CPU_X86_AVX", none()).await, 400);
    let path = format!("/resource_providers/{uuid}/traits");
    let set = json!({"traits": ["CUSTOM_FAST", "HW_CPU_X86_AVX"], "resource_provider_generation": 2});
    assert_eq!(cloud.ok("PUT", &path, set.clone()).await["resource_provider_generation"], 3);
    assert_eq!(cloud.call("1.39", "PUT", &path, set).await.error().0, "placement.concurrent_update");
    let unknown = json!({"traits": ["CUSTOM_SLOW"], "resource_provider_generation": 3});
    assert_eq!(cloud.call("1.39", "PUT", &path, unknown).await.status, 400);
    assert_eq!(status("1.6", "DELETE", "/traits/CUSTOM_FAST", none()).await, 409);
    let list = |query: &'static str| {
        let cloud = &cloud;
        async move { cloud.ok("GET", &format!("/traits?{query}"), Value::Null).await["traits"].clone() }
    };
    assert_eq!(list("associated=true").await, json!(["CUSTOM_FAST", "HW_CPU_X86_AVX"]));
    assert_eq!(list("name=startswith:CUSTOM").await, json!(["CUSTOM_FAST"]));
    assert_eq!(list("name=in:CUSTOM_FAST,X").await, json!(["CUSTOM_FAST"]));
    assert_eq!(status("1.6", "GET", "/traits?associated=x", none()).await, 400);
    assert_eq!(status("1.6", "GET", "/traits?name=x", none()).await, 400);
    assert_eq!(cloud.call("1.39", "DELETE", &path, none()).await.status, 204);
    assert_eq!(status("1.6", "DELETE", "/traits/CUSTOM_FAST", none()).await, 204);

    let path = format!("/resource_providers/{uuid}/aggregates");
    let (x, y) = (provider(100).to_string(), provider(101).to_string());
    assert_eq!(cloud.call("1.1", "PUT", &path, json!([x])).await.json, json!({"aggregates": [x]}));
    let set = json!({"aggregates": [x, y], "resource_provider_generation": 4});
    let answer = cloud.call("1.19", "PUT", &path, set.clone()).await;
    assert_eq!(answer.json, json!({"aggregates": [x, y], "resource_provider_generation": 5}));
    assert_eq!(cloud.call("1.19", "PUT", &path, set).await.status, 409);
    for (query, count) in [
        (format!("member_of={x}"), 1),
        (format!("member_of=in:{},{y}", provider(102)), 1),
        (format!("member_of=!{x}"), 0),
        (format!("member_of={}", provider(102)), 0),
        ("resources=VCPU:8".to_owned(), 1),
        ("resources=VCPU:9".to_owned(), 0),
        ("required=HW_CPU_X86_AVX".to_owned(), 0),
        ("required=!HW_CPU_X86_AVX".to_owned(), 1),
    ] {
        let found = cloud.ok("GET", &format!("/resource_providers?{query}"), none()).await;
        assert_eq!(found["resource_providers"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn candidates_change_shape_with_versions() {
    let cloud = Cloud::new().await;
    let a = cloud.host(1, json!({"VCPU": {"total": 8, "allocation_ratio": 2.0}, "MEMORY_MB": {"total": 100}})).await;
    let b = cloud.host(2, json!({"VCPU": {"total": 1}})).await;
    let get = |version: &'static str, query: &str| {
        let path = format!("/allocation_candidates?{query}");
        let cloud = &cloud;
        async move { cloud.get(version, &path).await }
    };
    let old = get("1.10", "resources=VCPU:2").await.json;
    assert_eq!(
        old["allocation_requests"],
        json!([{"allocations": [
        {"resource_provider": {"uuid": a}, "resources": {"VCPU": 2}}]}])
    );
    assert_eq!(old["provider_summaries"], json!({&a: {"resources": {"VCPU": {"capacity": 16, "used": 0}}}}));
    let new = get("1.39", "resources=VCPU:2").await.json;
    assert_eq!(
        new["allocation_requests"],
        json!([{
        "allocations": {&a: {"resources": {"VCPU": 2}}}, "mappings": {"": [a]}}])
    );
    assert_eq!(
        new["provider_summaries"][&a],
        json!({
        "resources": {"MEMORY_MB": {"capacity": 100, "used": 0}, "VCPU": {"capacity": 16, "used": 0}},
        "traits": [], "parent_provider_uuid": null, "root_provider_uuid": a})
    );
    let count = async |version, query: &str| {
        let answer = get(version, query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.json);
        answer.json["allocation_requests"].as_array().unwrap().len()
    };
    assert_eq!(count("1.39", "resources=VCPU:1").await, 2);
    assert_eq!(count("1.39", "resources=VCPU:1&limit=1").await, 1);
    assert_eq!(count("1.39", "resources=VCPU:1,MEMORY_MB:101").await, 0);
    assert_eq!(count("1.39", &format!("resources=VCPU:1&in_tree={b}")).await, 1);
    assert_eq!(count("1.39", "resources_A=VCPU:1&resources_B=VCPU:1&group_policy=none").await, 1);
    assert_eq!(count("1.25", "resources1=VCPU:1&resources2=VCPU:1&group_policy=isolate").await, 0);
    assert_eq!(count("1.39", "resources=VCPU:1&required=!HW_CPU_X86_AVX").await, 2);
    assert_eq!(count("1.39", "resources=VCPU:1&required=in:HW_CPU_X86_AVX,HW_CPU_X86_AVX2").await, 0);
    // What is taken is seen at once.
    cloud.ok("PUT", &format!("/allocations/{}", server(1)), take(&b, 1, Value::Null)).await;
    assert_eq!(count("1.39", "resources=VCPU:1").await, 1);
    for (version, query, code) in [
        ("1.39", "", "placement.query.missing_value"),
        ("1.10", "", "placement.undefined_code"),
        ("1.39", "resources=VCPU", ""),
        ("1.39", "resources=VCPU:0", ""),
        ("1.39", "resources=VCPU:x", ""),
        ("1.39", "resources=CUSTOM_NONE:1", ""),
        ("1.39", "resources=VCPU:1&required=CUSTOM_NONE", ""),
        ("1.39", "resources=VCPU:1&required=,", ""),
        ("1.39", "resources=VCPU:1&required=HW_CPU_X86_AVX,!HW_CPU_X86_AVX", ""),
        ("1.38", "resources=VCPU:1&required=in:HW_CPU_X86_AVX", ""),
        ("1.21", "resources=VCPU:1&required=!HW_CPU_X86_AVX", ""),
        ("1.31", "resources=VCPU:1&member_of=!3a6e6f86-6c5c-4f6f-9f43-6e86b8f0d0b1", ""),
        ("1.39", "resources=VCPU:1&member_of=x", ""),
        ("1.39", "resources=VCPU:1&in_tree=x", ""),
        ("1.39", "resources=VCPU:1&limit=0", ""),
        ("1.15", "resources=VCPU:1&limit=1", ""),
        ("1.39", "resources=VCPU:1&group_policy=x", ""),
        ("1.39", "resources1=VCPU:1&resources2=VCPU:1", ""),
        ("1.32", "resources_A=VCPU:1", ""),
        ("1.24", "resources1=VCPU:1", ""),
        ("1.35", "resources=VCPU:1&required1=HW_CPU_X86_AVX", ""),
        ("1.39", "resources=VCPU:1&required1=HW_CPU_X86_AVX", "placement.query.bad_value"),
        ("1.39", "resources1=VCPU:1&same_subtree=1,2", "placement.query.bad_value"),
        ("1.39", "resources=VCPU:1&root_required=A&root_required=B", "placement.query.duplicate_key"),
        ("1.39", "resources=VCPU:1&colour=red", ""),
    ] {
        let answer = get(version, query).await;
        assert_eq!(answer.status, 400, "{version} {query}: {}", answer.json);
        assert!(answer.error().0.starts_with(code), "{version} {query}: {}", answer.json);
    }
}
