//! What an operator may set.

use std::time::Duration;

/// The settings, with Glance's defaults.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    /// The largest image in bytes.
    pub size_cap: u64,
    /// How many images a project may have.
    pub images_per_project: u64,
    /// How many bytes a project's images may have together; `None` for no limit.
    pub bytes_per_project: Option<u64>,
    /// How many extra properties an image may have.
    pub properties_per_image: usize,
    /// How many tags an image may have.
    pub tags_per_image: usize,
    /// How many members an image may have.
    pub members_per_image: usize,
    /// Whether an upload whose bytes are not what was declared is refused. Without it guests still never boot from such
    /// an image.
    pub format_enforcement: bool,
    /// How long an upload may go without a sign of life before its image is given back.
    pub upload_lease: Duration,
    /// No other control node exists: whatever is being uploaded at the start was left by a dead process.
    pub sole: bool,
}

impl Default for ImageConfig {
    fn default() -> ImageConfig {
        ImageConfig {
            size_cap: 1 << 40,
            images_per_project: 1000,
            bytes_per_project: None,
            properties_per_image: 128,
            tags_per_image: 128,
            members_per_image: 128,
            format_enforcement: true,
            upload_lease: Duration::from_secs(60),
            sole: false,
        }
    }
}
