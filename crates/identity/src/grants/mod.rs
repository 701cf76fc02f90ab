//! Which roles somebody really has.

mod effective;

pub(crate) use effective::{RoleTarget, expand_implied, user_roles_in_tx, user_targets_in_tx};
