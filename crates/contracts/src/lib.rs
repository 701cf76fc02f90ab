//! What the services ask of each other and of the nodes.
//!
//! Every service runs in every control-plane process, so these traits are called in process; each has one
//! implementation. They stay narrow, so that one of them could later be spoken over the public REST API to
//! somebody's existing Keystone or Glance. The two enums in [`node`] are all that ever crosses the bus.

pub mod identity;
pub mod image;
pub mod network;
pub mod node;
pub mod placement;
