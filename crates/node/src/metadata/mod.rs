//! What a guest is told about itself, over HTTP at 169.254.169.254 and on a config drive.

use crate::agent::Core;
use std::sync::Arc;

/// How the metadata service is offered.
#[derive(Debug, Clone)]
pub struct MetadataOptions {
    /// What the names of its network namespaces begin with; eight hex digits follow.
    pub namespace_prefix: String,
}

impl Default for MetadataOptions {
    fn default() -> MetadataOptions {
        MetadataOptions { namespace_prefix: "fsm-".to_owned() }
    }
}

/// Keeps a namespace and a server for every network that has a guest here.
pub(crate) async fn serve_for_ever(core: Arc<Core>, _options: MetadataOptions) {
    loop {
        core.changed.notified().await;
    }
}
