//! A client of OVSDB (RFC 7047 and the extensions of ovsdb-server(7)), over a unix socket.
//!
//! One [`Client`] is one session with one database: a task owns the socket, sends what it is handed without waiting
//! for earlier answers, and keeps a copy of the monitored tables in memory.
//!
//! ```text
//!   transact() --queue-->  task  --JSON-RPC-->  ovsdb-server
//!   cache()    <--lock---  copy  <--update3---
//! ```
//!
//! * **Own writes are read.** ovsdb-server sends the updates that a transaction causes before the transaction's answer,
//!   on the same session; the task applies them in order. So what [`Client::transact`] changed is in
//!   [`Client::cache`] when it returns.
//! * **A lost connection** fails the calls that were under way with a retryable error, because nobody knows whether they
//!   were committed; calls that were not sent yet wait. The task connects again for as long as the client lives,
//!   and asks for what changed since the last transaction that it saw. A server that cannot tell sends everything, and
//!   the copy is compared with it, so that observers are told of rows that went away meanwhile.
//! * **Refused** is not an error of the connection: one operation of a transaction failed, hence none took effect. The
//!   caller gets to know which and why ([`Refusal`]), because "somebody else was quicker" is part of normal work.

mod cache;
mod client;
pub mod op;
mod value;
mod wire;

pub(crate) use cache::owner_of;
pub use cache::{Cache, Change, ChangeKind, Row, Table};
pub use client::{Client, Monitor, Observer, Outcome, Refusal};
pub use value::{Atom, Datum, derived_uuid};
