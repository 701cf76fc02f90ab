//! Answers.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

/// An answer: status, headers, body.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers beside the content's type.
    pub headers: HeaderMap,
    body: Body,
}

impl Reply {
    /// A JSON body.
    pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Reply {
        match serde_json::to_vec(value) {
            Ok(bytes) => Reply::bytes(status, "application/json", bytes),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Reply::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// 200 with a JSON body.
    pub fn ok<T: Serialize + ?Sized>(value: &T) -> Reply {
        Reply::json(StatusCode::OK, value)
    }

    /// 201 with a JSON body.
    pub fn created<T: Serialize + ?Sized>(value: &T) -> Reply {
        Reply::json(StatusCode::CREATED, value)
    }

    /// 202 with a JSON body.
    pub fn accepted<T: Serialize + ?Sized>(value: &T) -> Reply {
        Reply::json(StatusCode::ACCEPTED, value)
    }

    /// 204.
    pub fn no_content() -> Reply {
        Reply::empty(StatusCode::NO_CONTENT)
    }

    /// Any status, no body.
    pub fn empty(status: StatusCode) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Body::empty() }
    }

    /// An HTML page.
    pub fn html(status: StatusCode, text: String) -> Reply {
        Reply::bytes(status, "text/html; charset=UTF-8", text)
    }

    /// Plain text.
    pub fn text(status: StatusCode, text: String) -> Reply {
        Reply::bytes(status, "text/plain; charset=UTF-8", text)
    }

    /// Bytes of a type.
    pub fn bytes(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Reply { status, headers, body: Body::from(bytes.into()) }
    }

    /// A stream of bytes.
    pub fn stream(status: StatusCode, content_type: &'static str, body: Body) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Reply { status, headers, body }
    }

    /// Adds a header. A value with control characters is left out: nothing of a user's may split an answer.
    pub fn header(mut self, name: &'static str, value: &str) -> Reply {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}
