//! The Keystone API
