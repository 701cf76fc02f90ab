//! What a guest is told about itself, over HTTP at 169.254.169.254 and on a config drive.
//!
//! Both are made of the wanted guest, which is on this node's disk, so guests are answered while the control plane is
//! away. `content` is what is said, `iso` how it looks on a drive.

mod content;
mod iso;
mod service;

pub use service::MetadataOptions;
pub(crate) use service::serve_for_ever;

use ferrostack_contracts::node::WantedGuest;
use ferrostack_types::Env;

/// The bytes of a config drive: ISO 9660 with the label `config-2`.
pub(crate) fn config_drive(wanted: &WantedGuest, env: &Env) -> Vec<u8> {
    iso::image("config-2", &content::drive(wanted, env), env.now())
}

#[cfg(test)]
pub(crate) use service::tests;
