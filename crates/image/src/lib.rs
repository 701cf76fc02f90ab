//! The Glance API: images, what their bytes really are, and who may see them.
//!
//! | table | what |
//! |---|---|
//! | `image_images` | images, with the upload that is under way |
//! | `image_properties`, `image_tags`, `image_members` | what belongs to them |
//! | `image_garbage` | bytes that nobody needs any more |
//!
//! An image's data is written once ([`uploads`]): its row becomes `saving` under the upload's id, the bytes go by an
//! inspector ([`inspect`]) into a blob of their own, and one transaction makes size, digests, place and `active` true
//! together. From then on no request reaches any of these again. Every attempt has a key of its own, so that nothing is
//! ever overwritten; what an attempt leaves is garbage, and removed by a loop.
//!
//! Loops: `image.uploads` (uploads without a sign of life are given back), `image.garbage` (bytes of deleted images
//! and failed uploads are removed), `image.orphans` (bytes that no row knows of are found).

mod api;
mod config;
mod contract;
pub mod inspect;
mod loops;
pub mod model;
mod policy;
mod routes;
mod store;
pub mod uploads;

pub use config::ImageConfig;

use ferrostack_blobs::BlobStore;
use ferrostack_db::{Db, Migration};
use ferrostack_jobs::{Jobs, LoopHint};
use ferrostack_rest::{Enforcer, Kit, ServiceApi};
use ferrostack_types::{Env, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// The schema.
pub const MIGRATIONS: &[Migration] =
    &[Migration { service: "image", version: 1, sql: include_str!("../migrations/0001_image.sql") }];

/// The realm of the blob store that is this service's.
pub(crate) const REALM: &str = "images";

/// What the service is built from.
pub struct Deps {
    /// The database.
    pub db: Db,
    /// Time, randomness, tasks.
    pub env: Env,
    /// Where loops are registered.
    pub jobs: Jobs,
    /// Where bytes are.
    pub blobs: Arc<dyn BlobStore>,
    /// The settings.
    pub config: ImageConfig,
}

/// The service. Implements [`ferrostack_contracts::image::Images`].
pub struct Images {
    db: Db,
    env: Env,
    blobs: Arc<dyn BlobStore>,
    config: ImageConfig,
    garbage: LoopHint,
}

impl Images {
    /// Gives back what a dead process was uploading (if this is the only control node) and registers the loops.
    pub async fn new(deps: Deps) -> Result<Arc<Images>> {
        if deps.config.sole {
            loops::give_back(&deps.db, &deps.env, true).await?;
        }
        deps.jobs.add_loop(Arc::new(loops::Uploads { every: deps.config.upload_lease / 4 }));
        deps.jobs.add_loop(Arc::new(loops::Orphans { blobs: Arc::clone(&deps.blobs) }));
        let garbage = deps.jobs.add_loop(Arc::new(loops::Garbage { blobs: Arc::clone(&deps.blobs) }));
        Ok(Arc::new(Images { db: deps.db, env: deps.env, blobs: deps.blobs, config: deps.config, garbage }))
    }
}

/// The HTTP API.
pub fn api(service: Arc<Images>, kit: Kit, policy_file: Option<PathBuf>) -> Result<Arc<dyn ServiceApi>> {
    let enforcer = Enforcer::new("image", &[policy::RULES], policy_file)?;
    ferrostack_rest::build(routes::SPEC, routes::routes(), service, enforcer, kit)
}
