//! The service as its callers meet it: over HTTP, and through the contract.

mod api;
mod claims;
mod harness;
