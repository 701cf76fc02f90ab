//! Configuration, roles, wiring and the command line of the binary `ferrostack`.
//!
//! * [`config`]: what may be set, and what is taken when nothing is.
//! * [`home`]: the one data directory: keys, passwords, the lock that keeps a second process out.
//! * [`wiring`]: the only place that knows all services, and which engines a cloud stands on.
//! * [`http`]: the one listener, path-prefixed as DevStack's.
//! * [`client`]: a small OpenStack client for `quickstart` and `bench`; it knows nothing that a stock client does not.
//! * [`cli`]: the commands.

pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod home;
pub mod http;
pub mod wiring;
