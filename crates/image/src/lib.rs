//! The Glance API
