//! The HTTP side.

pub(crate) mod versions;
