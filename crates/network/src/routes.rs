//! THE table: method, path, policy rule, handler.
//!
//! The rule of a list is `regular_user`: every item of it is checked by itself. The rules of attributes come on top,
//! see `api::kit::authorize`.

use crate::Network;
use crate::api::{
    deployment, floating_ips, networks, ports, quotas, routers, security_group_rules, security_groups, subnets, tags,
    versions,
};
use ferrostack_rest::{Access, Route};

const BEFORE_TOKENS: Access = Access::Public("clients look for versions before they have a token");

macro_rules! tag_routes {
    ($routes:ident, $(($collection:literal, $resource:literal)),+) => {$(
        $routes.extend([
            Route::get(concat!("/v2.0/", $collection, "/{id}/tags"), concat!("get_", $resource, ":tags"), tags::list),
            Route::post(concat!("/v2.0/", $collection, "/{id}/tags"), concat!("create_", $resource, ":tags"), tags::create),
            Route::put(concat!("/v2.0/", $collection, "/{id}/tags"), concat!("update_", $resource, ":tags"), tags::replace),
            Route::delete(concat!("/v2.0/", $collection, "/{id}/tags"), concat!("delete_", $resource, ":tags"), tags::clear),
            Route::get(concat!("/v2.0/", $collection, "/{id}/tags/{tag}"), concat!("get_", $resource, ":tags"), tags::show),
            Route::put(concat!("/v2.0/", $collection, "/{id}/tags/{tag}"), concat!("update_", $resource, ":tags"), tags::add),
            Route::delete(concat!("/v2.0/", $collection, "/{id}/tags/{tag}"), concat!("delete_", $resource, ":tags"), tags::remove),
        ]);
    )+};
}

/// Every route of the service.
#[rustfmt::skip]
pub(crate) fn routes() -> Vec<Route<Network>> {
    let mut routes = vec![
        Route::get("/", BEFORE_TOKENS, versions::list),
        Route::get("/v2.0", BEFORE_TOKENS, versions::show),

        Route::get("/v2.0/networks", "regular_user", networks::list),
        Route::post("/v2.0/networks", "create_network", networks::create),
        Route::get("/v2.0/networks/{id}", "get_network", networks::show),
        Route::put("/v2.0/networks/{id}", "update_network", networks::update),
        Route::delete("/v2.0/networks/{id}", "delete_network", networks::delete),

        Route::get("/v2.0/subnets", "regular_user", subnets::list),
        Route::post("/v2.0/subnets", "create_subnet", subnets::create),
        Route::get("/v2.0/subnets/{id}", "get_subnet", subnets::show),
        Route::put("/v2.0/subnets/{id}", "update_subnet", subnets::update),
        Route::delete("/v2.0/subnets/{id}", "delete_subnet", subnets::delete),

        Route::get("/v2.0/ports", "regular_user", ports::list),
        Route::post("/v2.0/ports", "create_port", ports::create),
        Route::get("/v2.0/ports/{id}", "get_port", ports::show),
        Route::put("/v2.0/ports/{id}", "update_port", ports::update),
        Route::delete("/v2.0/ports/{id}", "delete_port", ports::delete),

        Route::get("/v2.0/routers", "regular_user", routers::list),
        Route::post("/v2.0/routers", "create_router", routers::create),
        Route::get("/v2.0/routers/{id}", "get_router", routers::show),
        Route::put("/v2.0/routers/{id}", "update_router", routers::update),
        Route::delete("/v2.0/routers/{id}", "delete_router", routers::delete),
        Route::put("/v2.0/routers/{id}/add_router_interface", "add_router_interface", routers::add_interface),
        Route::put("/v2.0/routers/{id}/remove_router_interface", "remove_router_interface", routers::remove_interface),

        Route::get("/v2.0/floatingips", "regular_user", floating_ips::list),
        Route::post("/v2.0/floatingips", "create_floatingip", floating_ips::create),
        Route::get("/v2.0/floatingips/{id}", "get_floatingip", floating_ips::show),
        Route::put("/v2.0/floatingips/{id}", "update_floatingip", floating_ips::update),
        Route::delete("/v2.0/floatingips/{id}", "delete_floatingip", floating_ips::delete),

        Route::get("/v2.0/security-groups", "regular_user", security_groups::list),
        Route::post("/v2.0/security-groups", "create_security_group", security_groups::create),
        Route::get("/v2.0/security-groups/{id}", "get_security_group", security_groups::show),
        Route::put("/v2.0/security-groups/{id}", "update_security_group", security_groups::update),
        Route::delete("/v2.0/security-groups/{id}", "delete_security_group", security_groups::delete),

        Route::get("/v2.0/security-group-rules", "regular_user", security_group_rules::list),
        Route::post("/v2.0/security-group-rules", "create_security_group_rule", security_group_rules::create),
        Route::get("/v2.0/security-group-rules/{id}", "get_security_group_rule", security_group_rules::show),
        Route::delete("/v2.0/security-group-rules/{id}", "delete_security_group_rule", security_group_rules::delete),

        Route::get("/v2.0/quotas", "update_quota", quotas::list),
        Route::get("/v2.0/quotas/{project_id}", "get_quota", quotas::show),
        Route::put("/v2.0/quotas/{project_id}", "update_quota", quotas::update),
        Route::delete("/v2.0/quotas/{project_id}", "delete_quota", quotas::delete),
        Route::get("/v2.0/quotas/{project_id}/default", "get_quota", quotas::default),
        Route::get("/v2.0/quotas/{project_id}/default.json", "get_quota", quotas::default),
        Route::get("/v2.0/quotas/{project_id}/details", "get_quota", quotas::details),
        Route::get("/v2.0/quotas/{project_id}/details.json", "get_quota", quotas::details),

        Route::get("/v2.0/extensions", "regular_user", deployment::extensions),
        Route::get("/v2.0/extensions/{alias}", "regular_user", deployment::extension_show),
        Route::get("/v2.0/service-providers", "get_service_provider", deployment::service_providers),
        Route::get("/v2.0/availability_zones", "get_availability_zone", deployment::availability_zones),
        Route::get("/v2.0/agents", "regular_user", deployment::agents),
        Route::get("/v2.0/agents/{id}", "get_agent", deployment::agent_show),
        Route::get("/v2.0/network-ip-availabilities", "regular_user", deployment::ip_availabilities),
        Route::get("/v2.0/network-ip-availabilities/{network_id}", "get_network_ip_availability", deployment::ip_availability),
    ];
    tag_routes!(
        routes,
        ("networks", "network"),
        ("subnets", "subnet"),
        ("ports", "port"),
        ("routers", "router"),
        ("floatingips", "floatingip"),
        ("security-groups", "security_group")
    );
    routes
}
