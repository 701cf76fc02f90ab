//! The business rules of servers; callable without HTTP.

pub(crate) mod create;
pub(crate) mod observe;
pub(crate) mod power;
pub(crate) mod remove;
