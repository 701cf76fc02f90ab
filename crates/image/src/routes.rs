//! THE table: method, path, policy rule, handler.

use crate::Images;
use crate::api::{actions, data, images, info, members, schemas, tags, versions};
use ferrostack_rest::{Access, ErrorStyle, Route, ServiceSpec};
use std::time::Duration;

/// What the API is like as a whole.
pub const SPEC: ServiceSpec = ServiceSpec {
    name: "image",
    prefix: "/image",
    style: ErrorStyle::Glance,
    microversions: None,
    body_limit: 114_688,
    time_limit: Duration::from_secs(60),
};

const DISCOVERY: Access = Access::Public("version discovery comes before authentication");

/// The routes.
#[rustfmt::skip]
pub fn routes() -> Vec<Route<Images>> {
    vec![
        Route::get("/", DISCOVERY, versions::choices),
        Route::get("/v2", DISCOVERY, versions::choices),
        Route::get("/versions", DISCOVERY, versions::list),

        Route::get("/v2/images", "get_images", images::list::list),
        Route::post("/v2/images", "add_image", images::create::create),
        Route::get("/v2/images/{image_id}", "get_image", images::show::show),
        Route::patch("/v2/images/{image_id}", "modify_image", images::update::update),
        Route::delete("/v2/images/{image_id}", "delete_image", images::delete::delete),

        Route::get("/v2/images/{image_id}/file", "download_image", data::download).streams(),
        Route::put("/v2/images/{image_id}/file", "upload_image", data::upload).streams(),

        Route::post("/v2/images/{image_id}/actions/deactivate", "deactivate", actions::deactivate),
        Route::post("/v2/images/{image_id}/actions/reactivate", "reactivate", actions::reactivate),

        Route::put("/v2/images/{image_id}/tags/{tag}", "modify_image", tags::add),
        Route::delete("/v2/images/{image_id}/tags/{tag}", "modify_image", tags::remove),

        Route::get("/v2/images/{image_id}/members", "get_members", members::list),
        Route::post("/v2/images/{image_id}/members", "add_member", members::create),
        Route::get("/v2/images/{image_id}/members/{member_id}", "get_member", members::show),
        Route::put("/v2/images/{image_id}/members/{member_id}", "modify_member", members::update),
        Route::delete("/v2/images/{image_id}/members/{member_id}", "delete_member", members::delete),

        Route::get("/v2/schemas/image", "default", schemas::image),
        Route::get("/v2/schemas/images", "default", schemas::images),
        Route::get("/v2/schemas/member", "default", schemas::member),
        Route::get("/v2/schemas/members", "default", schemas::members),

        Route::get("/v2/info/import", "default", info::import),
        Route::get("/v2/info/usage", "default", info::usage),
    ]
}
