//! The Placement API
