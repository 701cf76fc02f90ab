//! Names of blobs.

use ferrostack_types::{Error, Result};
use std::fmt;

/// The name of a blob, `images/<name>`: a realm that belongs to a service, and a name within it. Nothing in it can lead
/// out of the store: lower-case letters, digits, `-`, `_` and single dots inside of a name, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    realm: String,
    name: String,
}

impl Key {
    /// A key. Fails on what is not a name: that is a defect of the caller, since keys are made from ids.
    pub fn new(realm: &str, name: &str) -> Result<Key> {
        if !is_name(realm) || !is_name(name) {
            return Err(Error::internal(format!("not a blob's key: {realm:?} / {name:?}")));
        }
        Ok(Key { realm: realm.to_owned(), name: name.to_owned() })
    }

    /// Reads what [`fmt::Display`] has written.
    pub fn parse(text: &str) -> Result<Key> {
        let (realm, name) = text.split_once('/').unwrap_or((text, ""));
        Key::new(realm, name)
    }

    /// The service's part.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The name within the realm.
    pub fn name(&self) -> &str {
        &self.name
    }
}

pub(crate) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.') && !text.contains("..")
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.realm, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_the_store() {
        let key = Key::new("images", "0a1b-2c.3").unwrap();
        assert_eq!(Key::parse(&key.to_string()).unwrap(), key);
        for bad in ["..", ".hidden", "a/b", "", "A", "a\0", "a b", "a..b", "/etc", "ä"] {
            assert!(Key::new("images", bad).is_err(), "{bad:?}");
            assert!(Key::new(bad, "x").is_err(), "{bad:?}");
        }
        assert!(Key::new("images", &"a".repeat(129)).is_err());
    }
}
