//! `/v2/images`

pub mod body;
pub mod create;
pub mod delete;
pub mod list;
pub mod show;
pub mod update;
pub mod view;
