//! Why a workflow is being undone, in a form that survives a restart.

use ferrostack_types::{Error, Kind};
use serde::{Deserialize, Serialize};

/// The error that made a workflow turn back. Kept with the workflow until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    #[serde(with = "KindName")]
    pub kind: Kind,
    /// The service's own name for it, if it has one.
    pub code: Option<String>,
    /// The text for the tenant: a server's fault message.
    pub public: String,
    /// The text for the operator.
    pub internal: String,
    /// The step that failed, by name; empty if none did.
    pub step: String,
    /// Nothing failed: [`Jobs::interrupt_in_tx`](crate::Jobs::interrupt_in_tx) asked for the end.
    pub interrupted: bool,
}

impl Failure {
    /// What `error` was when `step` gave up.
    pub fn of(error: &Error, step: &str) -> Failure {
        Failure {
            kind: error.kind(),
            code: error.code().map(str::to_owned),
            public: error.public().to_owned(),
            internal: error.internal_text(),
            step: step.to_owned(),
            interrupted: false,
        }
    }

    /// The failure of a workflow that was asked to end.
    pub fn interruption() -> Failure {
        Failure {
            kind: Kind::Conflict,
            code: None,
            public: "The operation was interrupted by a later request.".to_owned(),
            internal: "interrupted".to_owned(),
            step: String::new(),
            interrupted: true,
        }
    }
}

/// `Kind` by name; the compiler says when a kind is missing here.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Kind", rename_all = "snake_case")]
enum KindName {
    Invalid,
    Unauthenticated,
    Forbidden,
    OverQuota,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    Conflict,
    Gone,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    Unprocessable,
    TooManyRequests,
    Internal,
    NotImplemented,
    Unavailable,
    Timeout,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_restart() {
        let failure = Failure::of(&Error::unavailable("later").context("disk of h1"), "claim_host");
        let text = serde_json::to_string(&failure).unwrap();
        assert!(text.contains("\"unavailable\""), "{text}");
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), failure);
    }
}
