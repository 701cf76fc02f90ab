//! The business rules, callable without HTTP. Functions whose name ends in `_in_tx` decide on what they read in
//! the caller's transaction.

pub(crate) mod floating_ips;
pub(crate) mod groups;
pub(crate) mod ips;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod routers;
pub(crate) mod subnets;

use crate::model::Standard;
use ferrostack_types::{Error, Kind, Result, Timestamp};

/// What an `If-Match` header demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected(pub(crate) Option<i64>);

impl Expected {
    /// 412 unless the row has the revision that the caller saw.
    pub(crate) fn check(self, standard: &Standard) -> Result<()> {
        match self.0 {
            Some(expected) if expected != standard.revision => Err(Error::new(
                Kind::PreconditionFailed,
                format!("Constrained to {expected}, but current revision is {}", standard.revision),
            )),
            _ => Ok(()),
        }
    }
}

impl Standard {
    /// The row changes in this transaction.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.revision += 1;
        self.updated_at = now;
    }
}
