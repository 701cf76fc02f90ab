//! Hosts as administrators see them: services, hypervisors, aggregates, zones.

use super::{Cloud, server_id};
use serde_json::json;

#[tokio::test]
async fn zones_are_made_of_aggregates() {
    let cloud = Cloud::new().await;
    let made = json!({"aggregate": {"name": "left", "availability_zone": "west"}});
    let aggregate = cloud.ok("admin", "POST", "/os-aggregates", Some(made.clone()), 200).await["aggregate"].clone();
    let path = format!("/os-aggregates/{}", aggregate["id"]);
    cloud.ok("admin", "POST", "/os-aggregates", Some(made), 409).await;
    cloud.ok("member", "GET", "/os-aggregates", None, 403).await;
    let add = |host: &str| json!({"add_host": {"host": host}});
    cloud.ok("admin", "POST", &format!("{path}/action"), Some(add("nowhere")), 404).await;
    let shown = cloud.ok("admin", "POST", &format!("{path}/action"), Some(add("host-1")), 200).await;
    assert_eq!(shown["aggregate"]["hosts"], json!(["host-1"]));
    cloud.ok("admin", "POST", &format!("{path}/action"), Some(add("host-1")), 409).await;
    let zones = cloud.get("/os-availability-zone").await["availabilityZoneInfo"].clone();
    assert_eq!(zones.as_array().unwrap().len(), 2);
    assert_eq!(zones[1]["zoneName"], "west");
    assert_eq!(zones[1]["hosts"], json!(null));
    let detail = cloud.ok("admin", "GET", "/os-availability-zone/detail", None, 200).await;
    assert_eq!(detail["availabilityZoneInfo"][1]["hosts"]["host-1"]["nova-compute"]["available"], true);
    for _ in 0..3 {
        let mut order = cloud.order("w");
        order["server"]["availability_zone"] = json!("west");
        let id =
            cloud.ok("member", "POST", "/servers", Some(order), 202).await["server"]["id"].as_str().unwrap().to_owned();
        let server = cloud.wait(&id, "ACTIVE").await;
        assert_eq!(server["OS-EXT-SRV-ATTR:host"], "host-1");
        assert_eq!(server["OS-EXT-AZ:availability_zone"], "west");
        assert_eq!(server["pinned_availability_zone"], "west");
    }
    let mut order = cloud.order("forced");
    order["server"]["availability_zone"] = json!("nova:host-0");
    let id = cloud.ok("admin", "POST", "/servers", Some(order), 202).await["server"]["id"].as_str().unwrap().to_owned();
    assert_eq!(cloud.wait(&id, "ACTIVE").await["OS-EXT-SRV-ATTR:host"], "host-0");
    // Servers were promised their zone.
    let remove = json!({"remove_host": {"host": "host-1"}});
    cloud.ok("admin", "POST", &format!("{path}/action"), Some(remove), 409).await;
    cloud.ok("admin", "DELETE", &path, None, 400).await;
    let metadata = json!({"set_metadata": {"metadata": {"ssd": "true"}}});
    let shown = cloud.ok("admin", "POST", &format!("{path}/action"), Some(metadata), 200).await;
    assert_eq!(shown["aggregate"]["metadata"], json!({"availability_zone": "west", "ssd": "true"}));
}

#[tokio::test]
async fn hosts_are_shown_and_disabled() {
    let cloud = Cloud::new().await;
    let id = cloud.booted("s").await;
    let home = cloud.world.nodes.host_of(server_id(&id)).unwrap().to_string();
    let list = cloud.ok("admin", "GET", "/os-hypervisors/detail?with_servers=true", None, 200).await;
    assert_eq!(list["hypervisors"].as_array().unwrap().len(), 2);
    let shown = cloud.ok("admin", "GET", &format!("/os-hypervisors/{home}?with_servers=true"), None, 200).await;
    assert_eq!(shown["hypervisor"]["servers"][0]["uuid"], id);
    assert!(shown["hypervisor"]["uptime"].as_str().unwrap().contains(" up "));
    assert!(shown["hypervisor"].get("vcpus").is_none());
    let old = cloud.call("admin", "2.53", "GET", &format!("/os-hypervisors/{home}"), None).await.body;
    assert_eq!((old["hypervisor"]["vcpus"].clone(), old["hypervisor"]["vcpus_used"].clone()), (json!(8), json!(1)));
    let oldest = cloud.call("admin", "2.1", "GET", "/os-hypervisors/1", None).await.body;
    assert!(oldest["hypervisor"]["cpu_info"].is_string());
    let sums = cloud.call("admin", "2.87", "GET", "/os-hypervisors/statistics", None).await.body;
    assert_eq!(sums["hypervisor_statistics"]["count"], 2);
    assert_eq!(sums["hypervisor_statistics"]["running_vms"], 1);
    cloud.ok("admin", "GET", "/os-hypervisors/statistics", None, 404).await;
    cloud.ok("member", "GET", "/os-hypervisors", None, 403).await;
    let found = cloud.call("admin", "2.1", "GET", "/os-hypervisors/host-0/search", None).await;
    assert_eq!(found.body["hypervisors"][0]["hypervisor_hostname"], "host-0");
    let page = cloud.ok("admin", "GET", "/os-hypervisors?limit=1", None, 200).await;
    assert_eq!(page["hypervisors"].as_array().unwrap().len(), 1);
    assert!(page["hypervisors_links"][0]["href"].as_str().unwrap().contains("marker="));
    // A disabled host gets no new servers.
    let services = cloud.ok("admin", "GET", "/os-services?binary=nova-compute", None, 200).await["services"].clone();
    let service = services.as_array().unwrap().iter().find(|s| s["host"] == "host-0").unwrap();
    let path = format!("/os-services/{}", service["id"].as_str().unwrap());
    let disable = json!({"status": "disabled", "disabled_reason": "repair"});
    let shown = cloud.ok("admin", "PUT", &path, Some(disable), 200).await["service"].clone();
    assert_eq!((shown["status"].clone(), shown["disabled_reason"].clone()), (json!("disabled"), json!("repair")));
    for _ in 0..3 {
        let id = cloud.boot("elsewhere").await;
        assert_eq!(cloud.wait(&id, "ACTIVE").await["OS-EXT-SRV-ATTR:host"], "host-1");
    }
    let old = json!({"host": "host-1", "binary": "nova-compute"});
    assert_eq!(cloud.call("admin", "2.1", "PUT", "/os-services/disable", Some(old)).await.status, 200);
    let id = cloud.boot("nowhere").await;
    let fault = cloud.wait(&id, "ERROR").await["fault"]["message"].clone();
    assert_eq!(fault, "No valid host was found. Of 2 hosts, these were removed: 2: the host is disabled.");
    let busy = services.as_array().unwrap().iter().find(|s| s["host"] == "host-1").unwrap();
    cloud.ok("admin", "DELETE", &format!("/os-services/{}", busy["id"].as_str().unwrap()), None, 409).await;
    cloud.ok("admin", "DELETE", "/os-services/none", None, 404).await;
}
