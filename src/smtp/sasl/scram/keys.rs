//! What a server keeps of a password for SCRAM-SHA-256: enough to verify it, too little to log in elsewhere with.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Octets of a SHA-256.
pub const KEY_OCTETS: usize = 32;
/// RFC 7677 section 4: fewer are too few.
pub const ITERATIONS_MIN: u32 = 4_096;
/// About five seconds for a phone.
pub const ITERATIONS_MAX: u32 = 10_000_000;
/// Salts that others made are longer or shorter; this is enough for all of them.
pub const SALT_OCTETS_MAX: usize = 64;

/// `StoredKey` and `ServerKey` (RFC 5802 section 3), with what the client needs to make its own. Cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub stored_key: [u8; KEY_OCTETS],
    pub server_key: [u8; KEY_OCTETS],
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramKeys {
    /// From `SaltedPassword`: PBKDF2 with HMAC-SHA-256 of the password, this salt and so many iterations.
    #[must_use]
    pub fn from_salted(salted: &[u8], salt: Vec<u8>, iterations: u32) -> ScramKeys {
        let stored_key = hash(&hmac(salted, b"Client Key"));
        ScramKeys { iterations, salt, stored_key, server_key: hmac(salted, b"Server Key") }
    }

    /// Dovecot's form: iterations, salt, StoredKey, ServerKey, with commas between them and all but the first in base64.
    #[must_use]
    pub fn parse(text: &str) -> Option<ScramKeys> {
        let mut parts = text.split(',');
        let mut next = || parts.next();
        let iterations = next()?;
        let digits = iterations.bytes().all(|b| b.is_ascii_digit());
        let iterations = iterations.parse().ok().filter(|_| digits)?;
        let mut decoded = || STANDARD.decode(next()?).ok();
        let (salt, stored, server) = (decoded()?, decoded()?, decoded()?);
        let sound = (1..=SALT_OCTETS_MAX).contains(&salt.len()) && parts.next().is_none() && iterations > 0;
        let (stored_key, server_key) = (stored.try_into().ok()?, server.try_into().ok()?);
        sound.then_some(ScramKeys { iterations, salt, stored_key, server_key })
    }

    /// The same form.
    #[must_use]
    pub fn to_text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|octets| STANDARD.encode(octets));
        format!("{},{salt},{stored},{server}", self.iterations)
    }

    /// Keys for a name that has none, under a key of the gateway's own: the same each time the name is asked for, and of
    /// a password that nobody knows.
    #[must_use]
    pub fn made_up(key: &[u8], name: &str, iterations: u32, salt_octets: usize) -> ScramKeys {
        let part = |what: &str| hmac(key, format!("{what}\0{name}").as_bytes());
        let salt = [part("salt"), part("more salt")].concat();
        let salt = salt.into_iter().take(salt_octets.clamp(1, SALT_OCTETS_MAX)).collect();
        ScramKeys { iterations, salt, stored_key: part("stored key"), server_key: part("server key") }
    }
}

pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; KEY_OCTETS] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; KEY_OCTETS] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(super) fn hash(message: &[u8]) -> [u8; KEY_OCTETS] {
    Sha256::digest(message).into()
}

/// Whether two are equal, in a time that does not tell where they differ.
#[must_use]
pub fn are_equal(one: &[u8; KEY_OCTETS], other: &[u8; KEY_OCTETS]) -> bool {
    let differing = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differing) == 0
}
