//! Reading bodies within a limit.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use ferrostack_types::{Error, Kind, Result};
use http_body_util::BodyExt;

/// Reads a whole body; 413 as soon as it is longer than `limit` bytes, however long it claims to be.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::invalid("The request's body ended too early.").with_source(e))?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > limit {
                return Err(Error::new(Kind::TooLarge, "Request is too large."));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
