//! The agent on a host: converges guests, disks and ports to what the control plane wants.
//!
//! The control plane never says what to do, only what is wanted ([`ferrostack_contracts::node`]). The agent writes that
//! to its own disk before it answers; from then on it needs nobody: it can die at any instant, and the control plane can
//! be away for days.
//!
//! ```text
//!  bus: node.<id>            one task per guest                          bus: control
//!  Converge --> wanted.json --hint--> plan(wanted, seen) -> one step --> outbox --Guests--> until acknowledged
//!                                        ^                    |
//!                                        +-- hint: QEMU ended +--> hypervisor, plumbing, images
//! ```
//!
//! * [`Agent`]: start, answer, report. Guests are not its children: they outlive it and are adopted when it returns.
//! * [`Hypervisor`]: where guests run. [`hypervisor::qemu`] is the real one, [`hypervisor::fake`] a product of its own
//!   for scale tests.
//! * [`Plumbing`]: how a NIC reaches the network.
//! * [`metadata`]: what a guest is told about itself, over HTTP and on a config drive.
//!
//! What can race, and what then happens:
//!
//! * *A late or repeated Converge*: a generation that is not newer is ignored and the observation sent again. A deleted
//!   guest leaves a tombstone for a day, so that a late Converge cannot bring it back.
//! * *The agent dies between starting QEMU and writing that down*: QEMU holds a lock on a file in the guest's directory
//!   from before its first instruction, so the next agent sees it and adopts it ([`hypervisor::qemu`]).
//! * *A guest powers itself off while nobody looks*: its QEMU stays, stopped, until somebody has written down that it
//!   was the guest's own wish.

mod agent;
mod config;
mod failpoint;
mod guest;
pub mod hypervisor;
mod images;
pub mod metadata;
mod plan;
pub mod plumbing;
mod reporter;
mod store;
mod table;
mod tools;

pub use agent::Agent;
pub use config::{Capacity, Config, Platform};
pub use failpoint::Failpoints;
pub use hypervisor::{Failure, GuestRef, Hypervisor, HypervisorInfo, Power};
pub use images::ImageCache;
pub use plumbing::{NicBackend, Plumbing};
