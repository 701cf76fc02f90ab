//! The table: method, path, policy rule, handler, microversions.
//!
//! Actions (`POST .../action`) are many operations behind one path; the rule in the table is the weakest of them, and
//! the handler asks for that of the action.

use crate::Compute;
use crate::api::{aggregates, extensions, flavors, groups, hosts, keypairs, quotas, servers, usage, versions};
use crate::microversions::*;
use ferrostack_rest::{Access, Route};

const PUBLIC: Access = Access::Public("version discovery comes before authentication");

/// All routes.
pub(crate) fn routes() -> Vec<Route<Compute>> {
    let mut all = vec![Route::get("/", PUBLIC, versions::list), Route::get("/v2.1", PUBLIC, versions::show)];
    all.extend(server_routes());
    all.extend(server_part_routes());
    all.extend(flavor_routes());
    all.extend(project_routes());
    all.extend(host_routes());
    all
}

fn server_routes() -> Vec<Route<Compute>> {
    use servers::{action, create, list, show};
    vec![
        Route::get("/v2.1/servers", "os_compute_api:servers:index", list::list),
        Route::post("/v2.1/servers", "os_compute_api:servers:create", create::create),
        Route::get("/v2.1/servers/detail", "os_compute_api:servers:detail", list::list_detail),
        Route::get("/v2.1/servers/{server_id}", "os_compute_api:servers:show", show::show),
        Route::put("/v2.1/servers/{server_id}", "os_compute_api:servers:update", show::update),
        Route::delete("/v2.1/servers/{server_id}", "os_compute_api:servers:delete", show::delete),
        Route::post("/v2.1/servers/{server_id}/action", "os_compute_api:servers:show", action::action),
    ]
}

fn server_part_routes() -> Vec<Route<Compute>> {
    use servers::{addresses, console, history, metadata, tags};
    const META: &str = "/v2.1/servers/{server_id}/metadata";
    const ITEM: &str = "/v2.1/servers/{server_id}/metadata/{key}";
    const TAGS: &str = "/v2.1/servers/{server_id}/tags";
    const TAG: &str = "/v2.1/servers/{server_id}/tags/{tag}";
    const ACTIONS: &str = "/v2.1/servers/{server_id}/os-instance-actions";
    const ACTION: &str = "/v2.1/servers/{server_id}/os-instance-actions/{request_id}";
    const CONSOLES: &str = "/v2.1/servers/{server_id}/remote-consoles";
    const INTERFACES: &str = "/v2.1/servers/{server_id}/os-interface";
    const INTERFACE: &str = "/v2.1/servers/{server_id}/os-interface/{port_id}";
    const GROUPS: &str = "/v2.1/servers/{server_id}/os-security-groups";
    const VOLUMES: &str = "/v2.1/servers/{server_id}/os-volume_attachments";
    vec![
        Route::get(META, "os_compute_api:server-metadata:index", metadata::list),
        Route::post(META, "os_compute_api:server-metadata:create", metadata::create),
        Route::put(META, "os_compute_api:server-metadata:update_all", metadata::replace),
        Route::get(ITEM, "os_compute_api:server-metadata:show", metadata::show),
        Route::put(ITEM, "os_compute_api:server-metadata:update", metadata::update),
        Route::delete(ITEM, "os_compute_api:server-metadata:delete", metadata::delete),
        Route::get(TAGS, "os_compute_api:os-server-tags:index", tags::list).since(V2_26),
        Route::put(TAGS, "os_compute_api:os-server-tags:update_all", tags::replace).since(V2_26),
        Route::delete(TAGS, "os_compute_api:os-server-tags:delete_all", tags::delete_all).since(V2_26),
        Route::get(TAG, "os_compute_api:os-server-tags:show", tags::show).since(V2_26),
        Route::put(TAG, "os_compute_api:os-server-tags:update", tags::add).since(V2_26),
        Route::delete(TAG, "os_compute_api:os-server-tags:delete", tags::delete).since(V2_26),
        Route::get(ACTIONS, "os_compute_api:os-instance-actions:list", history::list),
        Route::get(ACTION, "os_compute_api:os-instance-actions:show", history::show),
        Route::post(CONSOLES, "os_compute_api:os-remote-consoles", console::create).since(V2_6),
        Route::get("/v2.1/servers/{server_id}/ips", "os_compute_api:ips:index", addresses::ips),
        Route::get("/v2.1/servers/{server_id}/ips/{network}", "os_compute_api:ips:show", addresses::ips_of),
        Route::get(INTERFACES, "os_compute_api:os-attach-interfaces:list", addresses::interfaces),
        Route::get(INTERFACE, "os_compute_api:os-attach-interfaces:show", addresses::interface_show),
        Route::get(GROUPS, "os_compute_api:os-security-groups:list", addresses::groups),
        Route::get(VOLUMES, "os_compute_api:os-volumes-attachments:index", addresses::volumes),
    ]
}

fn project_routes() -> Vec<Route<Compute>> {
    const QUOTAS: &str = "/v2.1/os-quota-sets/{project_id}";
    const USAGES: &str = "/v2.1/os-simple-tenant-usage";
    vec![
        Route::get("/v2.1/os-keypairs", "os_compute_api:os-keypairs:index", keypairs::list),
        Route::post("/v2.1/os-keypairs", "os_compute_api:os-keypairs:create", keypairs::create),
        Route::get("/v2.1/os-keypairs/{name}", "os_compute_api:os-keypairs:show", keypairs::show),
        Route::delete("/v2.1/os-keypairs/{name}", "os_compute_api:os-keypairs:delete", keypairs::delete),
        Route::get("/v2.1/limits", "os_compute_api:limits", quotas::limits),
        Route::get(QUOTAS, "os_compute_api:os-quota-sets:show", quotas::show),
        Route::put(QUOTAS, "os_compute_api:os-quota-sets:update", quotas::update),
        Route::delete(QUOTAS, "os_compute_api:os-quota-sets:delete", quotas::delete),
        Route::get("/v2.1/os-quota-sets/{project_id}/detail", "os_compute_api:os-quota-sets:detail", quotas::detail),
        Route::get(
            "/v2.1/os-quota-sets/{project_id}/defaults",
            "os_compute_api:os-quota-sets:defaults",
            quotas::defaults,
        ),
        Route::get("/v2.1/os-quota-class-sets/{class}", "os_compute_api:os-quota-class-sets:show", quotas::class),
        Route::get("/v2.1/os-server-groups", "os_compute_api:os-server-groups:index", groups::list),
        Route::post("/v2.1/os-server-groups", "os_compute_api:os-server-groups:create", groups::create),
        Route::get("/v2.1/os-server-groups/{group_id}", "os_compute_api:os-server-groups:show", groups::show),
        Route::delete("/v2.1/os-server-groups/{group_id}", "os_compute_api:os-server-groups:delete", groups::delete),
        Route::get(USAGES, "os_compute_api:os-simple-tenant-usage:list", usage::list),
        Route::get(
            "/v2.1/os-simple-tenant-usage/{project_id}",
            "os_compute_api:os-simple-tenant-usage:show",
            usage::show,
        ),
        Route::get("/v2.1/extensions", "os_compute_api:extensions", extensions::list),
        Route::get("/v2.1/extensions/{alias}", "os_compute_api:extensions", extensions::show),
        Route::get("/v2.1/os-migrations", "os_compute_api:os-migrations:index", extensions::migrations),
    ]
}

fn host_routes() -> Vec<Route<Compute>> {
    const SERVICE: &str = "/v2.1/os-services/{service_id}";
    const AGGREGATE: &str = "/v2.1/os-aggregates/{aggregate_id}";
    const HYPERVISORS: &str = "/v2.1/os-hypervisors";
    vec![
        Route::get("/v2.1/os-availability-zone", "os_compute_api:os-availability-zone:list", hosts::zones),
        Route::get(
            "/v2.1/os-availability-zone/detail",
            "os_compute_api:os-availability-zone:detail",
            hosts::zones_detail,
        ),
        Route::get("/v2.1/os-services", "os_compute_api:os-services:list", hosts::services),
        Route::put(SERVICE, "os_compute_api:os-services:update", hosts::service_update),
        Route::delete(SERVICE, "os_compute_api:os-services:delete", hosts::service_delete),
        Route::get(HYPERVISORS, "os_compute_api:os-hypervisors:list", hosts::hypervisors),
        Route::get(
            "/v2.1/os-hypervisors/detail",
            "os_compute_api:os-hypervisors:list-detail",
            hosts::hypervisors_detail,
        ),
        Route::get("/v2.1/os-hypervisors/statistics", "os_compute_api:os-hypervisors:statistics", hosts::statistics)
            .until(before(V2_88)),
        Route::get(
            "/v2.1/os-hypervisors/{hypervisor_id}",
            "os_compute_api:os-hypervisors:show",
            hosts::hypervisor_show,
        ),
        Route::get(
            "/v2.1/os-hypervisors/{hypervisor_id}/uptime",
            "os_compute_api:os-hypervisors:uptime",
            hosts::hypervisor_uptime,
        )
        .until(before(V2_88)),
        Route::get(
            "/v2.1/os-hypervisors/{hypervisor_id}/search",
            "os_compute_api:os-hypervisors:search",
            hosts::hypervisor_search,
        )
        .until(before(V2_53)),
        Route::get(
            "/v2.1/os-hypervisors/{hypervisor_id}/servers",
            "os_compute_api:os-hypervisors:servers",
            hosts::hypervisor_servers,
        )
        .until(before(V2_53)),
        Route::get("/v2.1/os-aggregates", "os_compute_api:os-aggregates:index", aggregates::list),
        Route::post("/v2.1/os-aggregates", "os_compute_api:os-aggregates:create", aggregates::create),
        Route::get(AGGREGATE, "os_compute_api:os-aggregates:show", aggregates::show),
        Route::put(AGGREGATE, "os_compute_api:os-aggregates:update", aggregates::update),
        Route::delete(AGGREGATE, "os_compute_api:os-aggregates:delete", aggregates::delete),
        Route::post(
            "/v2.1/os-aggregates/{aggregate_id}/action",
            "os_compute_api:os-aggregates:index",
            aggregates::action,
        ),
    ]
}

fn flavor_routes() -> Vec<Route<Compute>> {
    const SPECS: &str = "/v2.1/flavors/{flavor_id}/os-extra_specs";
    const SPEC: &str = "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}";
    vec![
        Route::get("/v2.1/flavors", "os_compute_api:flavors", flavors::list),
        Route::post("/v2.1/flavors", "os_compute_api:os-flavor-manage:create", flavors::create),
        Route::get("/v2.1/flavors/detail", "os_compute_api:flavors", flavors::list_detail),
        Route::get("/v2.1/flavors/{flavor_id}", "os_compute_api:flavors", flavors::show),
        Route::put("/v2.1/flavors/{flavor_id}", "os_compute_api:os-flavor-manage:update", flavors::update).since(V2_55),
        Route::delete("/v2.1/flavors/{flavor_id}", "os_compute_api:os-flavor-manage:delete", flavors::delete),
        Route::get(SPECS, "os_compute_api:os-flavor-extra-specs:index", flavors::specs_list),
        Route::post(SPECS, "os_compute_api:os-flavor-extra-specs:create", flavors::specs_create),
        Route::get(SPEC, "os_compute_api:os-flavor-extra-specs:show", flavors::spec_show),
        Route::put(SPEC, "os_compute_api:os-flavor-extra-specs:update", flavors::spec_update),
        Route::delete(SPEC, "os_compute_api:os-flavor-extra-specs:delete", flavors::spec_delete),
        Route::get(
            "/v2.1/flavors/{flavor_id}/os-flavor-access",
            "os_compute_api:os-flavor-access",
            flavors::access_list,
        ),
        Route::post(
            "/v2.1/flavors/{flavor_id}/action",
            "os_compute_api:os-flavor-access:add_tenant_access",
            flavors::action,
        ),
    ]
}
