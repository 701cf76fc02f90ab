//! THE table: method, path, policy rule, handler.

use crate::Identity;
use crate::api::{
    app_credentials, auth, domains, endpoints, grants, groups, limits, members, project_tags, projects, regions,
    role_assignments, role_inferences, roles, services, users, versions,
};
use ferrostack_rest::{Access, Route};

const DISCOVERY: Access = Access::Public("clients read the versions before they have a token");
const LOGIN: Access = Access::Public("this is where tokens come from");
const OWN_PASSWORD: Access = Access::Public("the old password in the body is the proof");

pub(crate) fn routes() -> Vec<Route<Identity>> {
    let mut routes = core();
    routes.extend(people_and_places());
    routes.extend(rights());
    routes.extend(catalog());
    routes
}

fn core() -> Vec<Route<Identity>> {
    vec![
        Route::get("/", DISCOVERY, versions::list),
        Route::get("/v3", DISCOVERY, versions::show),
        Route::post("/v3/auth/tokens", LOGIN, auth::issue),
        Route::get("/v3/auth/tokens", "identity:validate_token", auth::validate),
        Route::delete("/v3/auth/tokens", "identity:revoke_token", auth::revoke),
        Route::get("/v3/auth/catalog", "identity:get_auth_catalog", auth::catalog),
        Route::get("/v3/auth/projects", "identity:get_auth_projects", auth::projects),
        Route::get("/v3/auth/domains", "identity:get_auth_domains", auth::domains),
        Route::get("/v3/auth/system", "identity:get_auth_system", auth::system),
        Route::get("/v3/limits", "identity:list_limits", limits::list),
        Route::get("/v3/limits/model", "identity:get_limit_model", limits::model),
        Route::get("/v3/registered_limits", "identity:list_registered_limits", limits::registered),
    ]
}

fn people_and_places() -> Vec<Route<Identity>> {
    const PROJECT: &str = "/v3/projects/{project_id}";
    const TAGS: &str = "/v3/projects/{project_id}/tags";
    const TAG: &str = "/v3/projects/{project_id}/tags/{value}";
    const MEMBER: &str = "/v3/groups/{group_id}/users/{user_id}";
    const CREDENTIALS: &str = "/v3/users/{user_id}/application_credentials";
    const CREDENTIAL: &str = "/v3/users/{user_id}/application_credentials/{application_credential_id}";
    vec![
        Route::get("/v3/domains", "identity:list_domains", domains::list),
        Route::post("/v3/domains", "identity:create_domain", domains::create),
        Route::get("/v3/domains/{domain_id}", "identity:get_domain", domains::show),
        Route::patch("/v3/domains/{domain_id}", "identity:update_domain", domains::update),
        Route::delete("/v3/domains/{domain_id}", "identity:delete_domain", domains::delete),
        Route::get("/v3/projects", "identity:list_projects", projects::list),
        Route::post("/v3/projects", "identity:create_project", projects::create),
        Route::get(PROJECT, "identity:get_project", projects::show),
        Route::patch(PROJECT, "identity:update_project", projects::update),
        Route::delete(PROJECT, "identity:delete_project", projects::delete),
        Route::get(TAGS, "identity:list_project_tags", project_tags::list),
        Route::put(TAGS, "identity:update_project_tags", project_tags::replace),
        Route::delete(TAGS, "identity:delete_project_tags", project_tags::clear),
        Route::get(TAG, "identity:get_project_tag", project_tags::show),
        Route::put(TAG, "identity:create_project_tag", project_tags::add),
        Route::delete(TAG, "identity:delete_project_tag", project_tags::remove),
        Route::get("/v3/users", "identity:list_users", users::list),
        Route::post("/v3/users", "identity:create_user", users::create),
        Route::get("/v3/users/{user_id}", "identity:get_user", users::show),
        Route::patch("/v3/users/{user_id}", "identity:update_user", users::update),
        Route::delete("/v3/users/{user_id}", "identity:delete_user", users::delete),
        Route::post("/v3/users/{user_id}/password", OWN_PASSWORD, users::change_password),
        Route::get("/v3/users/{user_id}/projects", "identity:list_user_projects", projects::list_of_user),
        Route::get("/v3/users/{user_id}/groups", "identity:list_groups_for_user", members::groups_of_user),
        Route::get("/v3/groups", "identity:list_groups", groups::list),
        Route::post("/v3/groups", "identity:create_group", groups::create),
        Route::get("/v3/groups/{group_id}", "identity:get_group", groups::show),
        Route::patch("/v3/groups/{group_id}", "identity:update_group", groups::update),
        Route::delete("/v3/groups/{group_id}", "identity:delete_group", groups::delete),
        Route::get("/v3/groups/{group_id}/users", "identity:list_users_in_group", members::list),
        Route::get(MEMBER, "identity:check_user_in_group", members::check),
        Route::put(MEMBER, "identity:add_user_to_group", members::add),
        Route::delete(MEMBER, "identity:remove_user_from_group", members::remove),
        Route::get(CREDENTIALS, "identity:list_application_credentials", app_credentials::list),
        Route::post(CREDENTIALS, "identity:create_application_credential", app_credentials::create),
        Route::get(CREDENTIAL, "identity:get_application_credential", app_credentials::show),
        Route::delete(CREDENTIAL, "identity:delete_application_credential", app_credentials::delete),
    ]
}

fn rights() -> Vec<Route<Identity>> {
    const IMPLIED: &str = "/v3/roles/{role_id}/implies/{implied_role_id}";
    let mut routes = vec![
        Route::get("/v3/roles", "identity:list_roles", roles::list),
        Route::post("/v3/roles", "identity:create_role", roles::create),
        Route::get("/v3/roles/{role_id}", "identity:get_role", roles::show),
        Route::patch("/v3/roles/{role_id}", "identity:update_role", roles::update),
        Route::delete("/v3/roles/{role_id}", "identity:delete_role", roles::delete),
        Route::get("/v3/roles/{role_id}/implies", "identity:list_implied_roles", roles::implied),
        Route::get(IMPLIED, "identity:get_implied_role", roles::implied_show),
        Route::put(IMPLIED, "identity:create_implied_role", roles::implied_create),
        Route::delete(IMPLIED, "identity:delete_implied_role", roles::implied_remove),
        Route::get("/v3/role_inferences", "identity:list_role_inference_rules", role_inferences::list),
        Route::get("/v3/role_assignments", "identity:list_role_assignments", role_assignments::list),
    ];
    for place in GRANTS {
        routes.push(Route::get(place.0, place.1[0], grants::list));
    }
    for place in GRANT {
        routes.push(Route::get(place.0, place.1[1], grants::check));
        routes.push(Route::put(place.0, place.1[2], grants::create));
        routes.push(Route::delete(place.0, place.1[3], grants::remove));
    }
    routes
}

/// Rules to list, check, give and take.
type GrantRules = [&'static str; 4];

const ON_PLACE: GrantRules =
    ["identity:list_grants", "identity:check_grant", "identity:create_grant", "identity:revoke_grant"];
const SYSTEM_USER: GrantRules = [
    "identity:list_system_grants_for_user",
    "identity:check_system_grant_for_user",
    "identity:create_system_grant_for_user",
    "identity:revoke_system_grant_for_user",
];
const SYSTEM_GROUP: GrantRules = [
    "identity:list_system_grants_for_group",
    "identity:check_system_grant_for_group",
    "identity:create_system_grant_for_group",
    "identity:revoke_system_grant_for_group",
];

/// Every list of roles that somebody has somewhere.
const GRANTS: &[(&str, GrantRules)] = &[
    ("/v3/projects/{project_id}/users/{user_id}/roles", ON_PLACE),
    ("/v3/projects/{project_id}/groups/{group_id}/roles", ON_PLACE),
    ("/v3/domains/{domain_id}/users/{user_id}/roles", ON_PLACE),
    ("/v3/domains/{domain_id}/groups/{group_id}/roles", ON_PLACE),
    ("/v3/system/users/{user_id}/roles", SYSTEM_USER),
    ("/v3/system/groups/{group_id}/roles", SYSTEM_GROUP),
    ("/v3/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/inherited_to_projects", ON_PLACE),
    ("/v3/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/inherited_to_projects", ON_PLACE),
];

/// Every single role that somebody has somewhere.
const GRANT: &[(&str, GrantRules)] = &[
    ("/v3/projects/{project_id}/users/{user_id}/roles/{role_id}", ON_PLACE),
    ("/v3/projects/{project_id}/groups/{group_id}/roles/{role_id}", ON_PLACE),
    ("/v3/domains/{domain_id}/users/{user_id}/roles/{role_id}", ON_PLACE),
    ("/v3/domains/{domain_id}/groups/{group_id}/roles/{role_id}", ON_PLACE),
    ("/v3/system/users/{user_id}/roles/{role_id}", SYSTEM_USER),
    ("/v3/system/groups/{group_id}/roles/{role_id}", SYSTEM_GROUP),
    ("/v3/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/{role_id}/inherited_to_projects", ON_PLACE),
    ("/v3/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects", ON_PLACE),
    ("/v3/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/{role_id}/inherited_to_projects", ON_PLACE),
    ("/v3/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects", ON_PLACE),
];

fn catalog() -> Vec<Route<Identity>> {
    const REGION: &str = "/v3/regions/{region_id}";
    const SERVICE: &str = "/v3/services/{service_id}";
    const ENDPOINT: &str = "/v3/endpoints/{endpoint_id}";
    vec![
        Route::get("/v3/regions", "identity:list_regions", regions::list),
        Route::post("/v3/regions", "identity:create_region", regions::create),
        Route::put(REGION, "identity:create_region", regions::create),
        Route::get(REGION, "identity:get_region", regions::show),
        Route::patch(REGION, "identity:update_region", regions::update),
        Route::delete(REGION, "identity:delete_region", regions::delete),
        Route::get("/v3/services", "identity:list_services", services::list),
        Route::post("/v3/services", "identity:create_service", services::create),
        Route::get(SERVICE, "identity:get_service", services::show),
        Route::patch(SERVICE, "identity:update_service", services::update),
        Route::delete(SERVICE, "identity:delete_service", services::delete),
        Route::get("/v3/endpoints", "identity:list_endpoints", endpoints::list),
        Route::post("/v3/endpoints", "identity:create_endpoint", endpoints::create),
        Route::get(ENDPOINT, "identity:get_endpoint", endpoints::show),
        Route::patch(ENDPOINT, "identity:update_endpoint", endpoints::update),
        Route::delete(ENDPOINT, "identity:delete_endpoint", endpoints::delete),
    ]
}
