//! Values on their way into and out of the database.

use ferrostack_types::ids::*;
use ferrostack_types::{Error, Result, Timestamp};
use uuid::Uuid;

/// A value for a placeholder.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// Integers, booleans (0 and 1) and timestamps (microseconds).
    Int(i64),
    /// Floating point.
    Real(f64),
    /// Text, ids and JSON.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// A value of a row, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL's NULL.
    Null,
    /// An integer.
    Int(i64),
    /// Floating point.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

macro_rules! from_integers {
    ($($t:ty),+) => {$(
        impl From<$t> for Value {
            /// A number beyond 63 bits is stored as the largest that fits: nothing that we count gets there.
            fn from(value: $t) -> Value {
                Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
            }
        }
    )+};
}

from_integers!(i32, i64, u16, u32, u64, usize);

impl From<u8> for Value {
    fn from(value: u8) -> Value {
        Value::Int(i64::from(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Int(i64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Value {
        Value::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Value {
        Value::Blob(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Value {
        Value::Blob(value.to_vec())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Value {
        Value::Int(value.as_micros())
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Value {
        Value::Text(value.hyphenated().to_string())
    }
}

impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Value {
        Value::Text(value.to_string())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// Something that can be read from a column.
pub trait FromValue: Sized {
    /// Reads it; the error says what was there instead.
    fn from_value(value: ValueRef<'_>) -> Result<Self>;
}

fn wrong(value: ValueRef<'_>, wanted: &str) -> Error {
    let found = match value {
        ValueRef::Null => "NULL",
        ValueRef::Int(_) => "an integer",
        ValueRef::Real(_) => "a float",
        ValueRef::Text(_) => "a text",
        ValueRef::Blob(_) => "bytes",
    };
    Error::internal(format!("the database holds {found} where {wanted} was expected"))
}

macro_rules! read_integers {
    ($($t:ty),+) => {$(
        impl FromValue for $t {
            fn from_value(value: ValueRef<'_>) -> Result<$t> {
                match value {
                    ValueRef::Int(i) => <$t>::try_from(i).map_err(|_| wrong(value, stringify!($t))),
                    other => Err(wrong(other, stringify!($t))),
                }
            }
        }
    )+};
}

read_integers!(i32, i64, u8, u16, u32, u64, usize);

impl FromValue for bool {
    fn from_value(value: ValueRef<'_>) -> Result<bool> {
        match value {
            ValueRef::Int(i) => Ok(i != 0),
            other => Err(wrong(other, "a boolean")),
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: ValueRef<'_>) -> Result<f64> {
        match value {
            ValueRef::Real(f) => Ok(f),
            ValueRef::Int(i) => Ok(i as f64),
            other => Err(wrong(other, "a number")),
        }
    }
}

impl FromValue for String {
    fn from_value(value: ValueRef<'_>) -> Result<String> {
        match value {
            ValueRef::Text(text) => Ok(text.to_owned()),
            other => Err(wrong(other, "a text")),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: ValueRef<'_>) -> Result<Vec<u8>> {
        match value {
            ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
            other => Err(wrong(other, "bytes")),
        }
    }
}

impl FromValue for Timestamp {
    fn from_value(value: ValueRef<'_>) -> Result<Timestamp> {
        i64::from_value(value).map(Timestamp::from_micros)
    }
}

impl FromValue for Uuid {
    fn from_value(value: ValueRef<'_>) -> Result<Uuid> {
        match value {
            ValueRef::Text(text) => Uuid::try_parse(text).map_err(|_| wrong(value, "a UUID")),
            other => Err(wrong(other, "a UUID")),
        }
    }
}

impl FromValue for serde_json::Value {
    fn from_value(value: ValueRef<'_>) -> Result<serde_json::Value> {
        match value {
            ValueRef::Text(text) => serde_json::from_str(text).map_err(|_| wrong(value, "JSON")),
            other => Err(wrong(other, "JSON")),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: ValueRef<'_>) -> Result<Option<T>> {
        match value {
            ValueRef::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

macro_rules! uuid_ids {
    ($($t:ty),+) => {$(
        impl From<$t> for Value {
            fn from(id: $t) -> Value { Value::from(id.0) }
        }
        impl From<&$t> for Value {
            fn from(id: &$t) -> Value { Value::from(id.0) }
        }
        impl FromValue for $t {
            fn from_value(value: ValueRef<'_>) -> Result<$t> {
                Uuid::from_value(value).map(<$t>::from_uuid)
            }
        }
    )+};
}

macro_rules! text_ids {
    ($($t:ty),+) => {$(
        impl From<$t> for Value {
            fn from(id: $t) -> Value { Value::Text(id.as_str().to_owned()) }
        }
        impl From<&$t> for Value {
            fn from(id: &$t) -> Value { Value::Text(id.as_str().to_owned()) }
        }
        impl FromValue for $t {
            fn from_value(value: ValueRef<'_>) -> Result<$t> {
                match value {
                    ValueRef::Text(text) => Ok(<$t>::new(text)),
                    other => Err(wrong(other, "an id")),
                }
            }
        }
    )+};
}

uuid_ids!(
    FloatingIpId,
    ImageId,
    NetworkId,
    NodeId,
    PortId,
    ProviderId,
    RouterId,
    SecurityGroupId,
    SecurityGroupRuleId,
    ServerId,
    SubnetId,
    SubnetPoolId,
    VolumeId,
    WorkflowId
);
text_ids!(DomainId, GroupId, ProjectId, RoleId, UserId);
