//! What is said to nodes ([`Messenger`]) and what they say ([`reports`]).

mod messenger;
mod reports;

pub(crate) use messenger::{Messenger, Tell};
pub(crate) use reports::KnownNodes;
