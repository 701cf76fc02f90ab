//! The desired logical network and its synchronisation with OVN's northbound database.

mod model;

pub use model::*;
