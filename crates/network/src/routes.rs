//! THE table: method, path, policy rule, handler.

use crate::Network;
use crate::api::versions;
use ferrostack_rest::{Access, Route};

/// Every route of the service.
pub(crate) fn routes() -> Vec<Route<Network>> {
    vec![
        Route::get("/", Access::Public("clients look for versions before they have a token"), versions::list),
        Route::get("/v2.0", Access::Public("clients look for versions before they have a token"), versions::show),
    ]
}
