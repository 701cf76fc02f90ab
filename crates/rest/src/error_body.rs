//! Errors in each service's own JSON. The last thing that happens to an error, and the only place that knows.

use crate::Reply;
use ferrostack_types::{Error, Kind};
use http::StatusCode;
use serde_json::json;

/// Whose error bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorStyle {
    /// `{"error": {"code", "title", "message"}}`
    Keystone,
    /// `{"itemNotFound": {"code", "message"}}`
    Nova,
    /// `{"NeutronError": {"type", "message", "detail"}}`
    Neutron,
    /// An HTML page with the message, as webob makes it.
    Glance,
    /// `{"errors": [{"status", "title", "detail", "code", "request_id"}]}`
    Placement,
}

impl ErrorStyle {
    /// The answer for an error.
    pub fn reply(self, error: &Error, request_id: &str) -> Reply {
        let status = self.status(error.kind());
        let code = status.as_u16();
        let title = status.canonical_reason().unwrap_or("Error");
        let message = error.public();
        // A missing or bad token is answered by the same middleware in front of every service.
        let style = if error.kind() == Kind::Unauthenticated { ErrorStyle::Keystone } else { self };
        match style {
            ErrorStyle::Keystone => {
                Reply::json(status, &json!({"error": {"code": code, "title": title, "message": message}}))
            }
            ErrorStyle::Nova => {
                let name = error.code().filter(|c| !c.starts_with("db_")).unwrap_or_else(|| nova_fault(code));
                Reply::json(status, &json!({ name: {"code": code, "message": message} }))
            }
            ErrorStyle::Neutron => {
                let kind = error.code().filter(|c| !c.starts_with("db_")).unwrap_or_else(|| neutron_type(error.kind()));
                Reply::json(status, &json!({"NeutronError": {"type": kind, "message": message, "detail": ""}}))
            }
            ErrorStyle::Glance => {
                let text = escape(message);
                Reply::html(
                    status,
                    format!(
                        "<html>\n <head>\n  <title>{code} {title}</title>\n </head>\n <body>\n  <h1>{code} {title}</h1>\n  \
                         {text}<br /><br />\n\n\n </body>\n</html>"
                    ),
                )
            }
            ErrorStyle::Placement => {
                let name = error.code().filter(|c| !c.starts_with("db_")).unwrap_or("placement.undefined_code");
                Reply::json(
                    status,
                    &json!({"errors": [{
                        "status": code, "title": title, "detail": message, "code": name, "request_id": request_id,
                    }]}),
                )
            }
        }
    }

    fn status(self, kind: Kind) -> StatusCode {
        let code = match (self, kind) {
            (ErrorStyle::Neutron, Kind::OverQuota) => 409,
            (ErrorStyle::Glance, Kind::OverQuota) => 413,
            _ => kind.status(),
        };
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

fn nova_fault(code: u16) -> &'static str {
    match code {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 | 429 => "overLimit",
        415 => "badMediaType",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    }
}

fn neutron_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "HTTPBadRequest",
        Kind::Forbidden => "PolicyNotAuthorized",
        Kind::NotFound => "HTTPNotFound",
        Kind::Conflict => "HTTPConflict",
        Kind::OverQuota => "OverQuota",
        Kind::PreconditionFailed => "RevisionNumberConstraintViolated",
        Kind::Unavailable => "ServiceUnavailable",
        Kind::NotImplemented => "HTTPNotImplemented",
        _ => "HTTPInternalServerError",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#x27;")
}
