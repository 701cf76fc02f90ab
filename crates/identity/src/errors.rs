//! Keystone's texts, by which clients and people recognise an error.

use ferrostack_types::Error;

/// 401, the one text for every reason: what was wrong is for the log, not for the caller.
pub(crate) fn unauthorized(why: impl Into<String>) -> Error {
    Error::unauthenticated("The request you have made requires authentication.").context(why)
}

/// 404: `Could not find user: X.`
pub(crate) fn not_found(kind: &str, id: impl std::fmt::Display) -> Error {
    Error::not_found(format!("Could not find {kind}: {id}."))
}

/// 409
pub(crate) fn conflict(kind: &str, details: impl std::fmt::Display) -> Error {
    Error::conflict(format!("Conflict occurred attempting to store {kind} - {details}."))
}

/// 409 for a name that is taken in a domain.
pub(crate) fn duplicate_in_domain(kind: &str, name: &str, domain: impl std::fmt::Display) -> Error {
    conflict(kind, format!("Duplicate entry found with name {name} at domain ID {domain}"))
}

/// 409 for a name that is taken.
pub(crate) fn duplicate(kind: &str, name: &str) -> Error {
    conflict(kind, format!("Duplicate entry found with name {name}"))
}

/// 403 for something that no right allows.
pub(crate) fn forbidden_action(action: &str) -> Error {
    Error::forbidden(format!("You are not authorized to perform the requested action: {action}."))
}

/// 403 for a change of something that is protected against it.
pub(crate) fn immutable(verb: &str, kind: &str, id: impl std::fmt::Display) -> Error {
    Error::forbidden(format!(
        "Unable to {verb} immutable {kind} resource: `{id}. Set resource option \"immutable\" to false first."
    ))
}

/// 400: something that has to be there is not.
pub(crate) fn expecting(attribute: &str, target: &str) -> Error {
    Error::invalid(format!(
        "Expecting to find {attribute} in {target}. The server could not comply with the request since it is either \
         malformed or otherwise incorrect. The client is assumed to be in error."
    ))
}
