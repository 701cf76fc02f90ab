//! Words that every part of Ferrostack shares. No I/O happens here.
//!
//! * [`Error`]: the one error type, transport-free; a service's wire format is applied last, in `rest`.
//! * [`Env`]: time, randomness and tasks. Nothing else may ask the operating system for them, so that
//!   a whole cloud can be replayed from a seed.
//! * [`ids`]: one type per kind of id, so that a port's id cannot be handed to a function that wants a server's.
//! * [`Timestamp`], [`Microversion`], [`PageRequest`]: the vocabulary of OpenStack's APIs.

mod env;
mod error;
pub mod ids;
mod microversion;
mod page;
mod secret;
mod time;

pub use env::{Clock, Entropy, Env, ManualClock, SeededEntropy, Task};
pub use error::{Error, Kind, Result, ResultExt};
pub use microversion::Microversion;
pub use page::{Page, PageRequest, SortDirection, SortKey};
pub use secret::Secret;
pub use time::Timestamp;
