//! SQL. Rows never leave as rows.

pub mod allocations;
pub mod names;
pub mod providers;
