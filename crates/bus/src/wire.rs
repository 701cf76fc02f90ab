//! How messages look as bytes: MessagePack with field names, so that a newer side may add fields.

use bytes::Bytes;
use ferrostack_types::{Error, Kind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A value as bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|e| Error::from_source("encode a message", e))?;
    if bytes.len() > crate::MAX_MESSAGE {
        return Err(Error::internal(format!("a message of {} bytes is larger than the bus carries", bytes.len())));
    }
    Ok(Bytes::from(bytes))
}

/// A value from bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|e| Error::from_source("decode a message", e))
}

/// What really travels back: an answer or an error, both texts of it kept.
#[derive(Serialize, Deserialize)]
pub(crate) enum Envelope {
    Answer(Bytes),
    Refusal { status: u16, public: String, internal: String, retryable: bool },
}

impl Envelope {
    pub(crate) fn seal(result: Result<Bytes>) -> Envelope {
        match result {
            Ok(body) => Envelope::Answer(body),
            Err(error) => Envelope::Refusal {
                status: error.kind().status(),
                public: error.public().to_owned(),
                internal: error.internal_text(),
                retryable: error.retryable(),
            },
        }
    }

    pub(crate) fn open(self) -> Result<Bytes> {
        match self {
            Envelope::Answer(body) => Ok(body),
            Envelope::Refusal { status, public, internal, retryable } => {
                Err(Error::new(kind_of(status), public).context(internal).with_retryable(retryable))
            }
        }
    }
}

fn kind_of(status: u16) -> Kind {
    match status {
        400 => Kind::Invalid,
        401 => Kind::Unauthenticated,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        501 => Kind::NotImplemented,
        503 => Kind::Unavailable,
        504 => Kind::Timeout,
        _ => Kind::Internal,
    }
}
