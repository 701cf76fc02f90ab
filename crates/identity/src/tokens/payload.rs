//! What is sealed inside a token: Keystone's MessagePack payloads, byte for byte.
//!
//! ```text
//!  0 unscoped     [user, methods, expires, audit]
//!  1 domain       [user, methods, domain, expires, audit]
//!  2 project      [user, methods, project, expires, audit]
//!  8 system       [user, methods, "all", expires, audit]
//!  9 application  [user, methods, project, expires, audit, credential]
//! ```
//!
//! A user, project or credential is `[true, 16 bytes]` for an id of 32 hex digits and `[false, text]` otherwise; a
//! domain is 16 bytes or a text. Times are floating-point seconds. Methods are a bit set.

use super::fernet::BASE64;
use base64::Engine as _;
use ferrostack_types::Timestamp;
use rmp::Marker;
use rmp::{decode, encode};

/// What a token is good for, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PayloadScope {
    Unscoped,
    Domain(String),
    Project(String),
    System,
}

/// A token's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) user_id: String,
    pub(crate) methods: Vec<&'static str>,
    pub(crate) scope: PayloadScope,
    pub(crate) expires_at: Timestamp,
    pub(crate) audit_ids: Vec<String>,
    pub(crate) application_credential_id: Option<String>,
}

/// Keystone's default `[auth] methods`; a method's bit is its position.
const METHODS: [&str; 6] = ["external", "password", "token", "oauth1", "mapped", "application_credential"];

/// The known methods among `names`, each once, in the order in which Keystone reads them back from a token.
pub(crate) fn normalize_methods<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'static str> {
    methods_of_bits(names.into_iter().map(method_bit).fold(0, |all, bit| all | bit))
}

fn method_bit(name: &str) -> u64 {
    METHODS.iter().position(|m| *m == name).map_or(0, |index| 1 << index)
}

fn methods_of_bits(bits: u64) -> Vec<&'static str> {
    (0..METHODS.len()).rev().filter(|index| bits & (1 << index) != 0).map(|index| METHODS[index]).collect()
}

impl Payload {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        // Writing into a Vec cannot fail.
        self.write(&mut out).expect("a Vec takes any bytes");
        out
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), encode::ValueWriteError> {
        let (version, length) = match (&self.scope, &self.application_credential_id) {
            (PayloadScope::Project(_), Some(_)) => (9, 7),
            (PayloadScope::Project(_), None) => (2, 6),
            (PayloadScope::Domain(_), _) => (1, 6),
            (PayloadScope::System, _) => (8, 6),
            (PayloadScope::Unscoped, _) => (0, 5),
        };
        encode::write_array_len(out, length)?;
        encode::write_uint(out, version)?;
        write_id(out, &self.user_id)?;
        encode::write_uint(out, self.methods.iter().fold(0, |all, m| all | method_bit(m)))?;
        match &self.scope {
            PayloadScope::Unscoped => {}
            PayloadScope::Project(id) => write_id(out, id)?,
            PayloadScope::Domain(id) => match compact(id) {
                Some(bytes) => encode::write_bin(out, &bytes)?,
                None => encode::write_str(out, id)?,
            },
            PayloadScope::System => encode::write_str(out, "all")?,
        }
        encode::write_f64(out, self.expires_at.as_secs() as f64)?;
        encode::write_array_len(out, self.audit_ids.len() as u32)?;
        for id in &self.audit_ids {
            encode::write_bin(out, &BASE64.decode(id).unwrap_or_default())?;
        }
        if let (9, Some(id)) = (version, &self.application_credential_id) {
            write_id(out, id)?;
        }
        Ok(())
    }

    /// Reads a payload; `None` if it is of a kind that is not served. It was sealed by a key of ours, so this is not a
    /// border to the outside, yet it takes nothing for granted.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Payload> {
        let from = &mut bytes;
        let length = decode::read_array_len(from).ok()?;
        let version: u64 = decode::read_int(from).ok()?;
        let user_id = read_id(from)?;
        let methods = methods_of_bits(decode::read_int(from).ok()?);
        let (scope, wanted) = match version {
            0 => (PayloadScope::Unscoped, 5),
            1 => (PayloadScope::Domain(read_text_or_uuid(from)?), 6),
            2 => (PayloadScope::Project(read_id(from)?), 6),
            8 => (PayloadScope::System, 6).also(read_text_or_uuid(from)? == "all")?,
            9 => (PayloadScope::Project(read_id(from)?), 7),
            _ => return None,
        };
        if length != wanted {
            return None;
        }
        let expires_at = Timestamp::from_secs(read_seconds(from)?);
        let count = decode::read_array_len(from).ok()?.min(16);
        let audit_ids = (0..count).map(|_| read_bytes(from).map(|b| BASE64.encode(b))).collect::<Option<Vec<_>>>()?;
        let application_credential_id = if version == 9 { Some(read_id(from)?) } else { None };
        Some(Payload { user_id, methods, scope, expires_at, audit_ids, application_credential_id })
    }
}

trait Also: Sized {
    fn also(self, holds: bool) -> Option<Self> {
        holds.then_some(self)
    }
}

impl<T> Also for T {}

/// The 16 bytes of an id in Keystone's usual form. Ids that would not come back the same stay texts.
fn compact(id: &str) -> Option<[u8; 16]> {
    let plain = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    plain.then(|| hex::decode(id).ok()?.try_into().ok()).flatten()
}

fn write_id(out: &mut Vec<u8>, id: &str) -> Result<(), encode::ValueWriteError> {
    encode::write_array_len(out, 2)?;
    match compact(id) {
        Some(bytes) => {
            encode::write_bool(out, true).map_err(encode::ValueWriteError::InvalidDataWrite)?;
            encode::write_bin(out, &bytes)
        }
        None => {
            encode::write_bool(out, false).map_err(encode::ValueWriteError::InvalidDataWrite)?;
            encode::write_str(out, id)
        }
    }
}

fn read_id(from: &mut &[u8]) -> Option<String> {
    if decode::read_array_len(from).ok()? != 2 {
        return None;
    }
    let packed = decode::read_bool(from).ok()?;
    let bytes = read_bytes(from)?;
    if packed { (bytes.len() == 16).then(|| hex::encode(bytes)) } else { String::from_utf8(bytes).ok() }
}

fn read_text_or_uuid(from: &mut &[u8]) -> Option<String> {
    let text = matches!(Marker::from_u8(*from.first()?), Marker::FixStr(_) | Marker::Str8 | Marker::Str16);
    let bytes = read_bytes(from)?;
    if !text && bytes.len() == 16 { Some(hex::encode(bytes)) } else { String::from_utf8(bytes).ok() }
}

/// A binary or a text.
fn read_bytes(from: &mut &[u8]) -> Option<Vec<u8>> {
    let length = match Marker::from_u8(*from.first()?) {
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => decode::read_bin_len(from).ok()?,
        _ => decode::read_str_len(from).ok()?,
    } as usize;
    if from.len() < length {
        return None;
    }
    let (bytes, rest) = from.split_at(length);
    *from = rest;
    Some(bytes.to_vec())
}

fn read_seconds(from: &mut &[u8]) -> Option<i64> {
    match Marker::from_u8(*from.first()?) {
        Marker::F64 => decode::read_f64(from).ok().map(|s| s as i64),
        _ => decode::read_int(from).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(scope: PayloadScope, credential: Option<&str>) -> Payload {
        Payload {
            user_id: "0123456789abcdef0123456789abcdef".into(),
            methods: normalize_methods(["password", "token"]),
            scope,
            expires_at: Timestamp::from_secs(1_795_363_200),
            audit_ids: vec!["AAECAwQFBgcICQoLDA0ODw".into()],
            application_credential_id: credential.map(str::to_owned),
        }
    }

    #[test]
    fn has_keystone_s_bytes() {
        // As Python's msgpack.packb((2, (True, b), 6, (True, b), 1795363200.0, [b])) writes it.
        let bytes = payload(PayloadScope::Project("f".repeat(32)), None).encode();
        let expected = "9602\
            92c3c4100123456789abcdef0123456789abcdef\
            06\
            92c3c410ffffffffffffffffffffffffffffffff\
            cb41dac0c520000000\
            91c410000102030405060708090a0b0c0d0e0f";
        let seconds = hex::encode(1_795_363_200_f64.to_be_bytes());
        assert_eq!(hex::encode(bytes), expected.replace("41dac0c520000000", &seconds));
    }

    #[test]
    fn comes_back_the_same() {
        for (scope, credential) in [
            (PayloadScope::Unscoped, None),
            (PayloadScope::Domain("default".into()), None),
            (PayloadScope::Domain("0".repeat(32)), None),
            (PayloadScope::Project("Not-Hex".into()), None),
            (PayloadScope::System, None),
            (PayloadScope::Project("a".repeat(32)), Some("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")),
        ] {
            let payload = payload(scope, credential);
            let bytes = payload.encode();
            assert_eq!(Payload::decode(&bytes).as_ref(), Some(&payload));
            for cut in 0..bytes.len() {
                assert_eq!(Payload::decode(&bytes[..cut]), None);
            }
        }
    }
}
