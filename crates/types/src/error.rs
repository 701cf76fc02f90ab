//! The one error type.
//!
//! It knows nothing of HTTP bodies: a service's wire format is applied last, by `rest`. It keeps two texts apart:
//! the *public* text, which the caller may read, and the *internal* context, which only an operator may read in
//! the log. There is no `Display` on purpose: printing an error means choosing one of the two.

use std::error::Error as StdError;
use std::fmt;

/// `Result` with Ferrostack's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms of HTTP's status codes but free of any service's naming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 400: the request cannot be understood or is invalid.
    Invalid,
    /// 401: no valid token.
    Unauthenticated,
    /// 403: known caller, not allowed.
    Forbidden,
    /// 403 or 413, by service: a quota would be exceeded.
    OverQuota,
    /// 404: no such thing, or none that the caller may know of.
    NotFound,
    /// 405: the path exists, not with this method.
    MethodNotAllowed,
    /// 406: a microversion or representation that is not served.
    NotAcceptable,
    /// 409: clashes with the present state.
    Conflict,
    /// 410: was here, is gone for good.
    Gone,
    /// 412: a condition of the caller does not hold.
    PreconditionFailed,
    /// 413: the body is larger than allowed.
    TooLarge,
    /// 415: a media type that is not served here.
    UnsupportedMediaType,
    /// 416: an unsatisfiable byte range.
    RangeNotSatisfiable,
    /// 422: understood, but cannot be processed.
    Unprocessable,
    /// 429: too many requests.
    TooManyRequests,
    /// 500: our fault.
    Internal,
    /// 501: not implemented by this deployment.
    NotImplemented,
    /// 503: an engine or a limit is in the way; the same request may work later.
    Unavailable,
    /// 504: something that we waited for did not answer in time.
    Timeout,
}

impl Kind {
    /// The HTTP status code that OpenStack services use for it. `OverQuota` is 403 (Nova) here; `rest` maps it per service.
    pub const fn status(self) -> u16 {
        match self {
            Kind::Invalid => 400,
            Kind::Unauthenticated => 401,
            Kind::Forbidden | Kind::OverQuota => 403,
            Kind::NotFound => 404,
            Kind::MethodNotAllowed => 405,
            Kind::NotAcceptable => 406,
            Kind::Conflict => 409,
            Kind::Gone => 410,
            Kind::PreconditionFailed => 412,
            Kind::TooLarge => 413,
            Kind::UnsupportedMediaType => 415,
            Kind::RangeNotSatisfiable => 416,
            Kind::Unprocessable => 422,
            Kind::TooManyRequests => 429,
            Kind::Internal => 500,
            Kind::NotImplemented => 501,
            Kind::Unavailable => 503,
            Kind::Timeout => 504,
        }
    }
}

/// An error: kind, public text, internal context, source.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    /// The name of the error in the service's own vocabulary where clients match on it, e.g. Neutron's `IpAddressInUse`.
    code: Option<&'static str>,
    public: String,
    context: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    retryable: bool,
}

impl Error {
    /// An error with a text for the caller.
    pub fn new(kind: Kind, public: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            code: None,
            public: public.into(),
            context: Vec::new(),
            source: None,
            retryable: matches!(kind, Kind::Unavailable | Kind::Timeout),
        }))
    }

    /// 400
    pub fn invalid(public: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, public)
    }

    /// 401
    pub fn unauthenticated(public: impl Into<String>) -> Error {
        Error::new(Kind::Unauthenticated, public)
    }

    /// 403
    pub fn forbidden(public: impl Into<String>) -> Error {
        Error::new(Kind::Forbidden, public)
    }

    /// 404
    pub fn not_found(public: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, public)
    }

    /// 409
    pub fn conflict(public: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, public)
    }

    /// 503: the caller may try again later.
    pub fn unavailable(public: impl Into<String>) -> Error {
        Error::new(Kind::Unavailable, public)
    }

    /// 500 with a text for the operator only.
    pub fn internal(context: impl Into<String>) -> Error {
        Error::new(Kind::Internal, "An unexpected error prevented the server from fulfilling your request.")
            .context(context)
    }

    /// 500 from a library's error, with a text for the operator.
    pub fn from_source(context: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let mut error = Error::internal(context);
        error.0.source = Some(source.into());
        error
    }

    /// Names the error in the service's own vocabulary (Neutron's `type`, Placement's `code`, Nova's fault name).
    pub fn with_code(mut self, code: &'static str) -> Error {
        self.0.code = Some(code);
        self
    }

    /// Adds what we were doing, for the operator. Innermost first.
    pub fn context(mut self, context: impl Into<String>) -> Error {
        self.0.context.push(context.into());
        self
    }

    /// Keeps the library's error that led to this one, for the operator.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Says whether the same thing may work if tried again.
    pub fn with_retryable(mut self, retryable: bool) -> Error {
        self.0.retryable = retryable;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The service's own name for it, if it has one.
    pub fn code(&self) -> Option<&'static str> {
        self.0.code
    }

    /// The text for the caller. Contains nothing secret.
    pub fn public(&self) -> &str {
        &self.0.public
    }

    /// Whether the same thing may work if tried again.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// The text for the operator: everything that is known, on one line.
    pub fn internal_text(&self) -> String {
        let mut text = String::new();
        for part in self.0.context.iter().rev() {
            text.push_str(part);
            text.push_str(": ");
        }
        text.push_str(&self.0.public);
        let mut source = self.0.source.as_deref().map(|s| s as &dyn StdError);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text.replace(['\n', '\r'], " ")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.internal_text())
    }
}

/// Adds context to a `Result` in passing.
pub trait ResultExt<T> {
    /// Says what we were doing, for the operator. A library's error becomes [`Kind::Internal`].
    fn context(self, context: impl Into<String>) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T, Error> {
    fn context(self, context: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.context(context))
    }
}

macro_rules! foreign {
    ($($error:ty),+ $(,)?) => {$(
        impl<T> ResultExt<T> for Result<T, $error> {
            fn context(self, context: impl Into<String>) -> Result<T> {
                self.map_err(|error| Error::from_source(context, error))
            }
        }
    )+};
}

foreign!(
    std::io::Error,
    serde_json::Error,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::string::FromUtf8Error
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_public_and_internal_text_apart() {
        let io = std::io::Error::other("/secret/path missing");
        let error = Err::<(), _>(io).context("open disk").context("boot guest").unwrap_err();
        assert!(!error.public().contains("secret"));
        assert_eq!(
            error.internal_text(),
            "boot guest: open disk: An unexpected error prevented the server from fulfilling your request.: /secret/path missing"
        );
    }

    #[test]
    fn a_newline_cannot_forge_a_log_line() {
        let error = Error::invalid("bad\nERROR forged");
        assert!(!error.internal_text().contains('\n'));
    }
}
