//! Digests of what goes by.

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::BTreeMap;

/// A digest's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// MD5: a checksum that old clients compare; not a protection.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Finished digests in hex.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digests(pub BTreeMap<Digest, String>);

impl Digests {
    /// The digest of an algorithm, in hex.
    pub fn get(&self, algorithm: Digest) -> Option<&str> {
        self.0.get(&algorithm).map(String::as_str)
    }
}

/// A digest that is being computed.
pub(crate) enum Running {
    Md5(Md5),
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Running {
    pub(crate) fn new(algorithm: Digest) -> Running {
        match algorithm {
            Digest::Md5 => Running::Md5(Md5::new()),
            Digest::Sha256 => Running::Sha256(Sha256::new()),
            Digest::Sha512 => Running::Sha512(Box::new(Sha512::new())),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Running::Md5(d) => d.update(bytes),
            Running::Sha256(d) => d.update(bytes),
            Running::Sha512(d) => d.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> String {
        match self {
            Running::Md5(d) => hex::encode(d.finalize()),
            Running::Sha256(d) => hex::encode(d.finalize()),
            Running::Sha512(d) => hex::encode(d.finalize()),
        }
    }
}
