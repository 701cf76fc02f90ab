//! The HTTP kit that every service's API is built with.
//!
//! A service is a table of [`Route`]s: method, path, microversions, policy rule, handler, one line each. Everything
//! that is the same for all of them happens here, in this order, for every request:
//!
//! ```text
//!  request id, log span ─► route ─► microversion ─► token ─► handler: parse ─► resolve ─► authorize ─► act ─► view
//!        │                  404/405     406           401                400       404        403
//!        └─ body limit, time limit, panics caught; errors become the service's own JSON last
//! ```
//!
//! **Default deny.** A route names its rule, or says why it is public; a rule that no policy table defines stops the
//! start. A handler calls [`Request::authorize`] with the target it has resolved; a handler that answers with success
//! without having done so is a defect, and its answer is replaced by a 500.
//!
//! Identity comes from the verified token alone: headers such as `X-Roles` are never read.

mod body;
mod error_body;
pub mod policy;
mod query;
mod reply;
mod request;
mod route;
mod schema;
mod service;
mod versions;

pub use error_body::ErrorStyle;
pub use policy::{Enforcer, RuleDefault, ScopeType, Target};
pub use query::{PagingRules, Query};
pub use reply::Reply;
pub use request::{Ctx, Request};
pub use route::{Access, Handler, Route};
pub use schema::{FieldVersions, Schema};
pub use service::{Kit, ServiceApi, ServiceSpec, build};
pub use versions::MicroversionRange;

pub use axum::body::Body;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
