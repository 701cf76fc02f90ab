//! The API over a real database, called in process.

mod attacks;
mod catalog;
mod grants;
mod harness;
mod personas;
mod resources;
mod revocation;
mod tokens;
