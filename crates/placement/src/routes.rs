//! THE table: method, path, policy rule, handler, microversions.

use crate::Placement;
use crate::api::{
    aggregates, allocations, candidates, classes, inventories, providers, reshaper, root, traits, usages,
};
use crate::microversions::*;
use ferrostack_rest::{Access, ErrorStyle, MicroversionRange, Route, ServiceSpec};
use std::time::Duration;

/// What the API is like as a whole.
pub const SPEC: ServiceSpec = ServiceSpec {
    name: "placement",
    prefix: "/placement",
    style: ErrorStyle::Placement,
    microversions: Some(MicroversionRange {
        service_type: "placement",
        legacy_header: None,
        min: V0,
        max: V39_ANY_TRAITS,
    }),
    // The reshaper moves the allocations of a whole host at once.
    body_limit: 4 * 1024 * 1024,
    time_limit: Duration::from_secs(60),
};

/// The routes.
#[rustfmt::skip]
pub fn routes() -> Vec<Route<Placement>> {
    vec![
        Route::get("/", Access::Public("version discovery comes before authentication"), root::show),

        Route::get("/resource_providers", "placement:resource_providers:list", providers::list),
        Route::post("/resource_providers", "placement:resource_providers:create", providers::create),
        Route::get("/resource_providers/{uuid}", "placement:resource_providers:show", providers::show),
        Route::put("/resource_providers/{uuid}", "placement:resource_providers:update", providers::update),
        Route::delete("/resource_providers/{uuid}", "placement:resource_providers:delete", providers::delete),

        Route::get("/resource_providers/{uuid}/inventories", "placement:resource_providers:inventories:list", inventories::list),
        Route::post("/resource_providers/{uuid}/inventories", "placement:resource_providers:inventories:create", inventories::create),
        Route::put("/resource_providers/{uuid}/inventories", "placement:resource_providers:inventories:update", inventories::set),
        Route::delete("/resource_providers/{uuid}/inventories", "placement:resource_providers:inventories:delete", inventories::clear).since(V5_DELETE_INVENTORIES),
        Route::get("/resource_providers/{uuid}/inventories/{resource_class}", "placement:resource_providers:inventories:show", inventories::show),
        Route::put("/resource_providers/{uuid}/inventories/{resource_class}", "placement:resource_providers:inventories:update", inventories::update),
        Route::delete("/resource_providers/{uuid}/inventories/{resource_class}", "placement:resource_providers:inventories:delete", inventories::delete),

        Route::get("/resource_providers/{uuid}/usages", "placement:resource_providers:usages", usages::of_provider),
        Route::get("/resource_providers/{uuid}/allocations", "placement:resource_providers:allocations:list", allocations::of_provider),
        Route::get("/resource_providers/{uuid}/aggregates", "placement:resource_providers:aggregates:list", aggregates::list).since(V1_AGGREGATES),
        Route::put("/resource_providers/{uuid}/aggregates", "placement:resource_providers:aggregates:update", aggregates::set).since(V1_AGGREGATES),
        Route::get("/resource_providers/{uuid}/traits", "placement:resource_providers:traits:list", traits::of_provider).since(V6_TRAITS),
        Route::put("/resource_providers/{uuid}/traits", "placement:resource_providers:traits:update", traits::set_of_provider).since(V6_TRAITS),
        Route::delete("/resource_providers/{uuid}/traits", "placement:resource_providers:traits:delete", traits::clear_of_provider).since(V6_TRAITS),

        Route::get("/resource_classes", "placement:resource_classes:list", classes::list).since(V2_CLASSES),
        Route::post("/resource_classes", "placement:resource_classes:create", classes::create).since(V2_CLASSES),
        Route::get("/resource_classes/{name}", "placement:resource_classes:show", classes::show).since(V2_CLASSES),
        Route::put("/resource_classes/{name}", "placement:resource_classes:update", classes::put).since(V2_CLASSES),
        Route::delete("/resource_classes/{name}", "placement:resource_classes:delete", classes::delete).since(V2_CLASSES),

        Route::get("/traits", "placement:traits:list", traits::list).since(V6_TRAITS),
        Route::get("/traits/{name}", "placement:traits:show", traits::show).since(V6_TRAITS),
        Route::put("/traits/{name}", "placement:traits:update", traits::create).since(V6_TRAITS),
        Route::delete("/traits/{name}", "placement:traits:delete", traits::delete).since(V6_TRAITS),

        Route::post("/allocations", "placement:allocations:manage", allocations::set_many).since(V13_POST_ALLOCATIONS),
        Route::get("/allocations/{consumer_uuid}", "placement:allocations:list", allocations::of_consumer),
        Route::put("/allocations/{consumer_uuid}", "placement:allocations:update", allocations::set),
        Route::delete("/allocations/{consumer_uuid}", "placement:allocations:delete", allocations::delete),

        Route::get("/allocation_candidates", "placement:allocation_candidates:list", candidates::list).since(V10_CANDIDATES),
        Route::get("/usages", "placement:usages", usages::of_project).since(V9_USAGES),
        Route::post("/reshaper", "placement:reshaper:reshape", reshaper::reshape).since(V30_RESHAPER),
    ]
}
