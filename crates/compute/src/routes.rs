//! The table: method, path, policy rule, handler, microversions.
//!
//! Actions (`POST .../action`) are many operations behind one path; the rule in the table is the weakest of them, and
//! the handler asks for that of the action.

use crate::Compute;
use crate::api::{flavors, servers, versions};
use crate::microversions::*;
use ferrostack_rest::{Access, Route};

const PUBLIC: Access = Access::Public("version discovery comes before authentication");

/// All routes.
pub(crate) fn routes() -> Vec<Route<Compute>> {
    let mut all = vec![Route::get("/", PUBLIC, versions::list), Route::get("/v2.1", PUBLIC, versions::show)];
    all.extend(server_routes());
    all.extend(flavor_routes());
    all
}

fn server_routes() -> Vec<Route<Compute>> {
    use servers::{create, list, show};
    vec![
        Route::get("/v2.1/servers", "os_compute_api:servers:index", list::list),
        Route::post("/v2.1/servers", "os_compute_api:servers:create", create::create),
        Route::get("/v2.1/servers/detail", "os_compute_api:servers:detail", list::list_detail),
        Route::get("/v2.1/servers/{server_id}", "os_compute_api:servers:show", show::show),
        Route::put("/v2.1/servers/{server_id}", "os_compute_api:servers:update", show::update),
        Route::delete("/v2.1/servers/{server_id}", "os_compute_api:servers:delete", show::delete),
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
