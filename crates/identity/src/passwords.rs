//! Passwords and application credential secrets: bcrypt, away from everything else.
//!
//! At the production cost a hash takes a quarter of a second of one core. So hashing runs on blocking threads, at most
//! (cores - 1) at a time, and at most [`MAX_WAITING`] requests wait for their turn; the next one is told to come back
//! later. Logins can thus neither hold up other requests nor pile up without bound.
//!
//! bcrypt reads 72 bytes and stops at a NUL byte. A secret beyond that is stored in the form that Keystone calls
//! `bcrypt_sha256` (an HMAC-SHA256 of the secret under the salt goes into bcrypt), so that every byte matters and a
//! Keystone could still verify it. A plain bcrypt hash never accepts a longer secret than bcrypt reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcrypt::Version;
use ferrostack_types::{Env, Error, Kind, Result, Secret};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// Requests that may wait for a hash.
const MAX_WAITING: usize = 256;
/// Keystone's default `max_password_length`.
const MAX_LENGTH: usize = 4096;
/// What bcrypt reads.
const BCRYPT_LENGTH: usize = 72;
const SHA256_PREFIX: &str = "$bcrypt-sha256$";

/// Makes and checks hashes.
pub(crate) struct Passwords {
    env: Env,
    cost: u32,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Checked when there is nobody to check against, so that an unknown user takes as long as a wrong password.
    decoy: String,
}

impl Passwords {
    pub(crate) fn new(env: Env, cost: u32) -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let running = Arc::new(Semaphore::new(cores.saturating_sub(1).max(1)));
        // Any salt and digest do; only the cost matters.
        let decoy = format!("$2b${cost:02}${}", "........................................7B/../J.e2bO6");
        let decoy = if decoy.len() == 60 { decoy } else { format!("$2b${cost:02}${}", ".".repeat(53)) };
        Passwords { env, cost, running, waiting: AtomicUsize::new(0), decoy }
    }

    /// Hashes a new secret. 403 if it is longer than Keystone's limit.
    pub(crate) async fn hash(&self, secret: &Secret) -> Result<String> {
        if secret.expose().len() > MAX_LENGTH {
            return Err(Error::forbidden(format!(
                "The password length must be less than or equal to {MAX_LENGTH}. The server could not comply with the \
                 request because the password is invalid."
            )));
        }
        let (secret, salt, cost) = (secret.clone(), self.env.random::<16>(), self.cost);
        self.blocking(move || hash(secret.expose().as_bytes(), salt, cost)).await?
    }

    /// Whether `secret` is the one that was hashed. Takes as long when there is no hash.
    pub(crate) async fn verify(&self, secret: &Secret, hash: Option<&str>) -> Result<bool> {
        let known = hash.is_some();
        let (secret, hash) = (secret.clone(), hash.unwrap_or(&self.decoy).to_owned());
        let matches = self.blocking(move || verify(secret.expose().as_bytes(), &hash)).await?;
        Ok(matches && known)
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _waiting = Waiting::enter(&self.waiting)?;
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(|_| busy())?;
        // The permit goes with the work: a request that is given up does not make room for one more hash.
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        task.await.map_err(|e| Error::from_source("hash a password", e))
    }
}

fn busy() -> Error {
    Error::new(Kind::TooManyRequests, "Too many logins at the moment; try again later.").with_retryable(true)
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Waiting<'a>> {
        let waiting = Waiting(count);
        if count.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            return Err(busy());
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn fits_bcrypt(secret: &[u8]) -> bool {
    secret.len() <= BCRYPT_LENGTH && !secret.contains(&0)
}

fn hash(secret: &[u8], salt: [u8; 16], cost: u32) -> Result<String> {
    let run = |bytes: &[u8]| {
        bcrypt::hash_with_salt(bytes, cost, salt)
            .map(|parts| parts.format_for_version(Version::TwoB))
            .map_err(|e| Error::from_source("hash a password", e))
    };
    if fits_bcrypt(secret) {
        return run(secret);
    }
    let plain = run(&[])?;
    let salt_text = plain.get(7..29).unwrap_or_default().to_owned();
    let whole = run(prehash(salt_text.as_bytes(), secret).as_bytes())?;
    Ok(format!("{SHA256_PREFIX}v=2,t=2b,r={cost}${salt_text}${}", whole.get(29..).unwrap_or_default()))
}

fn prehash(salt: &[u8], secret: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(salt).expect("HMAC takes keys of any length");
    mac.update(secret);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn verify(secret: &[u8], hash: &str) -> bool {
    if let Some(rest) = hash.strip_prefix(SHA256_PREFIX) {
        return verify_sha256(secret, rest).unwrap_or(false);
    }
    if fits_bcrypt(secret) {
        return bcrypt::verify(secret, hash).unwrap_or(false);
    }
    // As much work as an honest check, and never a match: bcrypt would not read the whole of it.
    let cut = &secret[..secret.len().min(BCRYPT_LENGTH)];
    let worked: Vec<u8> = cut.iter().map(|b| if *b == 0 { 1 } else { *b }).collect();
    std::hint::black_box(bcrypt::verify(worked, hash).unwrap_or(false));
    false
}

fn verify_sha256(secret: &[u8], rest: &str) -> Option<bool> {
    let mut parts = rest.split('$');
    let (params, salt, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let cost: u32 = params.split(',').find_map(|p| p.strip_prefix("r="))?.parse().ok()?;
    // The salt is decoded by bcrypt itself, out of a hash that carries it.
    let carrier = format!("$2b${cost:02}${salt}{digest}");
    let salt_bytes = carrier.parse::<bcrypt::HashParts>().ok()?.get_salt_raw();
    let made = bcrypt::hash_with_salt(prehash(salt.as_bytes(), secret), cost, salt_bytes).ok()?;
    let made = made.format_for_version(Version::TwoB);
    Some(bool::from(made.as_bytes().ct_eq(carrier.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(Env::system(), 4)
    }

    #[tokio::test]
    async fn every_byte_matters() {
        let passwords = passwords();
        let long = "x".repeat(72);
        for (password, other) in [
            ("secret".to_owned(), "Secret".to_owned()),
            (long.clone(), format!("{long}y")),
            (format!("{long}y"), long.clone()),
            (format!("{long}y"), format!("{long}z")),
            (format!("{}a", "x".repeat(4000)), format!("{}b", "x".repeat(4000))),
            ("nul\0a".to_owned(), "nul\0b".to_owned()),
            ("nul".to_owned(), "nul\0".to_owned()),
            ("é".repeat(37), "é".repeat(36)),
        ] {
            let hash = passwords.hash(&Secret::new(password.clone())).await.unwrap();
            assert!(passwords.verify(&Secret::new(password.clone()), Some(&hash)).await.unwrap(), "{password:?}");
            assert!(!passwords.verify(&Secret::new(other.clone()), Some(&hash)).await.unwrap(), "{other:?}");
        }
        let too_long = Secret::new("x".repeat(4097));
        assert_eq!(passwords.hash(&too_long).await.unwrap_err().kind(), Kind::Forbidden);
    }

    #[test]
    fn the_decoy_is_a_hash_that_bcrypt_works_on() {
        let decoy = passwords().decoy;
        assert!(bcrypt::verify("anything", &decoy).is_ok(), "{decoy}");
    }

    #[test]
    fn reads_keystone_s_hashes() {
        // Made by passlib's bcrypt_sha256 and bcrypt, as Keystone's data bases hold them.
        assert!(verify(b"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"));
        assert!(verify(
            b"password",
            "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2"
        ));
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let passwords = passwords();
        let all = Arc::clone(&passwords.running);
        let _hold = all.acquire_many(all.available_permits() as u32).await.unwrap();
        passwords.waiting.store(MAX_WAITING, Ordering::Relaxed);
        let error = passwords.verify(&Secret::new("x"), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::TooManyRequests);
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), MAX_WAITING, "the one that was refused left the queue");
    }
}
