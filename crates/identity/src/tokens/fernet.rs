//! Fernet as its specification has it: `0x80 | seconds | IV | AES-128-CBC | HMAC-SHA256`, in URL-safe base64.
//!
//! Source: <https://github.com/fernet/spec/blob/master/Spec.md>. Keystone leaves the padding off; both forms are read.
//! The MAC is checked, in constant time, before anything is decrypted.

use aes::Aes128;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ferrostack_types::{Env, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const VERSION: u8 = 0x80;
const HEADER: usize = 1 + 8 + 16;
const MAC: usize = 32;
/// No token of ours is longer: a longer text is refused before any work is done on it.
const MAX_TEXT: usize = 4096;

/// URL-safe base64 that writes no padding and reads it with or without, as Keystone does.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One key: the first half signs, the second encrypts.
#[derive(Clone)]
pub(crate) struct Key {
    signing: [u8; 16],
    encryption: [u8; 16],
}

impl Key {
    /// From a key file's text: 32 bytes in URL-safe base64.
    pub(crate) fn parse(text: &str) -> Option<Key> {
        let bytes: [u8; 32] = BASE64.decode(text.trim()).ok()?.try_into().ok()?;
        let (signing, encryption) = bytes.split_at(16);
        Some(Key { signing: signing.try_into().ok()?, encryption: encryption.try_into().ok()? })
    }

    /// A new key in a key file's form, padding included, as `keystone-manage` writes it.
    pub(crate) fn generate(env: &Env) -> String {
        base64::engine::general_purpose::URL_SAFE.encode(env.random::<32>())
    }

    /// Seals `payload`, stamped with whole seconds.
    pub(crate) fn seal(&self, env: &Env, issued_at: Timestamp, payload: &[u8]) -> String {
        let iv: [u8; 16] = env.random();
        self.seal_with(iv, issued_at, payload)
    }

    fn seal_with(&self, iv: [u8; 16], issued_at: Timestamp, payload: &[u8]) -> String {
        let body =
            cbc::Encryptor::<Aes128>::new(&self.encryption.into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(payload);
        let mut bytes = Vec::with_capacity(HEADER + body.len() + MAC);
        bytes.push(VERSION);
        bytes.extend_from_slice(&issued_at.as_secs().to_be_bytes());
        bytes.extend_from_slice(&iv);
        bytes.extend_from_slice(&body);
        let mac = self.mac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac);
        BASE64.encode(bytes)
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.signing).expect("HMAC takes keys of any length");
        mac.update(bytes);
        mac
    }

    /// Opens the decoded bytes; `None` if this key did not seal them.
    fn open(&self, bytes: &[u8]) -> Option<(Timestamp, Vec<u8>)> {
        if bytes.len() < HEADER + 16 + MAC || bytes[0] != VERSION {
            return None;
        }
        let (signed, tag) = bytes.split_at(bytes.len() - MAC);
        self.mac(signed).verify_slice(tag).ok()?;
        let seconds = i64::from_be_bytes(signed[1..9].try_into().ok()?);
        let iv: [u8; 16] = signed[9..HEADER].try_into().ok()?;
        let payload = cbc::Decryptor::<Aes128>::new(&self.encryption.into(), &iv.into())
            .decrypt_padded_vec::<Pkcs7>(&signed[HEADER..])
            .ok()?;
        Some((Timestamp::from_secs(seconds), payload))
    }
}

/// Opens a token with whichever key sealed it: when it was sealed, and its payload.
pub(crate) fn open(keys: &[Key], text: &str) -> Option<(Timestamp, Vec<u8>)> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let bytes = BASE64.decode(text).ok()?;
    keys.iter().find_map(|key| key.open(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the specification (generate.json).
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const TOKEN: &str =
        "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    #[test]
    fn seals_and_opens_the_specification_s_example() {
        let key = Key::parse(KEY).unwrap();
        let iv = std::array::from_fn(|i| i as u8);
        let at = Timestamp::from_secs(499_162_800);
        assert_eq!(key.seal_with(iv, at, b"hello"), TOKEN.trim_end_matches('='));
        for text in [TOKEN, TOKEN.trim_end_matches('=')] {
            assert_eq!(open(std::slice::from_ref(&key), text), Some((at, b"hello".to_vec())));
        }
    }

    #[test]
    fn a_changed_bit_anywhere_is_refused() {
        let key = Key::parse(KEY).unwrap();
        let bytes = BASE64.decode(TOKEN).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(std::slice::from_ref(&key), &BASE64.encode(forged)), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(open(std::slice::from_ref(&key), &BASE64.encode(&bytes[..length])), None, "length {length}");
        }
        for bad in ["", "x", "gAAAA", &"A".repeat(10_000)] {
            assert_eq!(open(std::slice::from_ref(&key), bad), None);
        }
    }
}
