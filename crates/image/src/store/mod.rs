//! SQL. Rows never leave as rows.

pub mod images;
pub mod list;
pub mod members;
pub mod uploads;
