//! One stored password: which scheme it is in, what it costs to check, and the check.
//!
//! argon2id, bcrypt, and sha-crypt, bare (`$argon2id$…`, `$2b$…`, `$6$…`) or with Dovecot's prefix
//! (`{ARGON2ID}…`, `{BLF-CRYPT}…`, `{SHA512-CRYPT}…`, `{CRYPT}…`), and the keys that SCRAM needs, with Dovecot's prefix
//! only (`{SCRAM-SHA-256}…`). It refuses plain text, fast hashes, and costs
//! that would hang a login. No error quotes what was stored: it might be somebody's password.

use std::num::NonZeroU32;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::pbkdf2;
use sha_crypt::ShaCrypt;
use zeroize::Zeroizing;

use crate::smtp::sasl::scram::{ITERATIONS_MAX, ITERATIONS_MIN, KEY_OCTETS, ScramKeys, are_equal};

/// Memory of one argon2id check.
const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;
const ARGON2_PASSES_MAX: u32 = 64;
const ARGON2_LANES_MAX: u32 = 64;
/// Half a minute or so.
const BCRYPT_COST_MAX: u32 = 18;
const SHA_CRYPT_ROUNDS_MAX: u32 = 20_000_000;

/// What `wasmilter passwd` makes: OWASP's first recommendation for argon2id (19 MiB, 2 passes).
const BCRYPT_COST: u32 = 12;
/// About 0.2 s, as the others.
const SHA_CRYPT_ROUNDS: u32 = 200_000;
/// A client computes them at every login, a telephone in a fraction of a second.
const SCRAM_ITERATIONS: u32 = 100_000;
const SCRAM_SALT_OCTETS: usize = 16;
/// sha-crypt knows no more than 16 characters of salt, which is 12 octets in its base64.
const SHA_CRYPT_SALT_OCTETS: usize = 12;

/// In what new entries can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    #[default]
    Argon2id,
    Bcrypt,
    Sha512Crypt,
    ScramSha256,
}

/// What one check costs: hashes of equal cost take equally long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cost {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32 },
    Bcrypt { cost: u32 },
    Sha512Crypt { rounds: u32 },
    Sha256Crypt { rounds: u32 },
    ScramSha256 { iterations: u32 },
}

/// A hash as it was stored, checked to be one.
#[derive(Clone)]
pub struct StoredHash {
    /// Without Dovecot's prefix, unless there is no other way to tell what it is.
    text: Zeroizing<String>,
    cost: Cost,
    scram: Option<Box<ScramKeys>>,
}

impl std::fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StoredHash").field(&self.cost).finish()
    }
}

/// Why a text is no hash we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashFault {
    #[error(
        "this is no password hash of a known kind ($argon2id$, $2b$, $2y$, $2a$, $6$, $5$); make one with `wasmilter \
         passwd`"
    )]
    Unknown,
    #[error(
        "the scheme {{{0}}} is not supported; ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, SCRAM-SHA-256 and CRYPT are"
    )]
    Scheme(String),
    #[error("the prefix {{{0}}} and the hash after it are of different kinds")]
    Contradiction(String),
    #[error("this {0} hash is malformed, or cut short")]
    Malformed(&'static str),
    #[error("this {what} hash asks for {asked}; at most {max} is taken")]
    TooCostly { what: &'static str, asked: u32, max: u32 },
    #[error("this {what} hash has {asked} iterations; less than {min} is too easy to guess at")]
    TooCheap { what: &'static str, asked: u32, min: u32 },
}

/// Why no hash could be made of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeFault {
    #[error("bcrypt uses only the first 72 octets of a password; take a shorter one or another scheme")]
    TooLongForBcrypt,
    #[error("the password cannot be hashed: {0}")]
    Failed(String),
}

impl StoredHash {
    /// # Errors
    /// See [`HashFault`].
    pub fn parse(stored: &str) -> Result<StoredHash, HashFault> {
        let (prefix, text) = match stored.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((scheme, text)) => (Some(scheme.to_ascii_uppercase()), text),
            None => (None, stored),
        };
        let fits = match prefix.as_deref() {
            None | Some("CRYPT") => is_known as fn(Cost) -> bool,
            Some("ARGON2ID") => |cost| matches!(cost, Cost::Argon2id { .. }),
            Some("BLF-CRYPT") => |cost| matches!(cost, Cost::Bcrypt { .. }),
            Some("SHA512-CRYPT") => |cost| matches!(cost, Cost::Sha512Crypt { .. }),
            Some("SHA256-CRYPT") => |cost| matches!(cost, Cost::Sha256Crypt { .. }),
            Some("SCRAM-SHA-256") => return scram(text),
            Some(other) => return Err(HashFault::Scheme(shown(other))),
        };
        let cost = cost(text)?;
        match prefix {
            Some(prefix) if !fits(cost) => Err(HashFault::Contradiction(prefix)),
            _ => Ok(StoredHash { text: Zeroizing::new(text.to_owned()), cost, scram: None }),
        }
    }

    /// Whether it is this password's. Takes as long as the hash was made to take: never on an async thread.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        match self.cost {
            Cost::Argon2id { .. } => Argon2::default().verify_password(password, self.text.as_str()).is_ok(),
            Cost::Bcrypt { .. } => bcrypt::verify(password, &self.text).unwrap_or(false),
            Cost::Sha512Crypt { .. } | Cost::Sha256Crypt { .. } => {
                ShaCrypt::default().verify_password(password, self.text.as_str()).is_ok()
            }
            Cost::ScramSha256 { .. } => self.scram.as_ref().is_some_and(|kept| {
                let made = scram_keys(password, kept.salt.clone(), kept.iterations);
                made.is_some_and(|made| are_equal(&made.stored_key, &kept.stored_key))
            }),
        }
    }

    /// What SCRAM needs, if it is that.
    pub(super) fn scram(&self) -> Option<&ScramKeys> {
        self.scram.as_deref()
    }

    pub(super) fn cost(&self) -> Cost {
        self.cost
    }
}

/// Dovecot's `{SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey`.
fn scram(text: &str) -> Result<StoredHash, HashFault> {
    const WHAT: &str = "SCRAM-SHA-256";
    let keys = ScramKeys::parse(text).ok_or(HashFault::Malformed(WHAT))?;
    let iterations = bounded(WHAT, keys.iterations, ITERATIONS_MAX)?;
    if iterations < ITERATIONS_MIN {
        return Err(HashFault::TooCheap { what: WHAT, asked: iterations, min: ITERATIONS_MIN });
    }
    let text = Zeroizing::new(format!("{{{WHAT}}}{text}"));
    Ok(StoredHash { text, cost: Cost::ScramSha256 { iterations }, scram: Some(Box::new(keys)) })
}

/// As a client makes them: of the password as SASLprep (RFC 4013) has it, where that takes it.
fn scram_keys(password: &[u8], salt: Vec<u8>, iterations: u32) -> Option<ScramKeys> {
    let prepared = str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    let password = prepared.as_ref().map_or(password, |text| text.as_bytes());
    let mut salted = Zeroizing::new([0; KEY_OCTETS]);
    let rounds = NonZeroU32::new(iterations)?;
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, salted.as_mut());
    Some(ScramKeys::from_salted(salted.as_ref(), salt, iterations))
}

fn is_known(_: Cost) -> bool {
    true
}

/// A scheme's name for an error text: short and printable.
fn shown(scheme: &str) -> String {
    scheme.chars().filter(char::is_ascii_graphic).take(20).collect()
}

/// Reads a hash's parameters, and checks that all of it is there.
fn cost(text: &str) -> Result<Cost, HashFault> {
    if text.starts_with("$argon2id$") {
        argon2id(text)
    } else if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| HashFault::Malformed("bcrypt"))?;
        let cost = bounded("bcrypt", parts.get_cost(), BCRYPT_COST_MAX)?;
        Ok(Cost::Bcrypt { cost })
    } else if let Some(rest) = text.strip_prefix("$6$") {
        Ok(Cost::Sha512Crypt { rounds: sha_crypt_rounds("SHA512-CRYPT", rest, 86)? })
    } else if let Some(rest) = text.strip_prefix("$5$") {
        Ok(Cost::Sha256Crypt { rounds: sha_crypt_rounds("SHA256-CRYPT", rest, 43)? })
    } else {
        Err(HashFault::Unknown)
    }
}

fn argon2id(text: &str) -> Result<Cost, HashFault> {
    let malformed = || HashFault::Malformed("argon2id");
    let hash = PasswordHash::new(text).map_err(|_| malformed())?;
    let params = argon2::Params::try_from(&hash).map_err(|_| malformed())?;
    let whole = hash.salt.is_some() && hash.hash.is_some() && matches!(hash.version, None | Some(0x10 | 0x13));
    if !whole {
        return Err(malformed());
    }
    Ok(Cost::Argon2id {
        memory_kib: bounded("argon2id", params.m_cost(), ARGON2_MEMORY_KIB_MAX)?,
        passes: bounded("argon2id", params.t_cost(), ARGON2_PASSES_MAX)?,
        lanes: bounded("argon2id", params.p_cost(), ARGON2_LANES_MAX)?,
    })
}

/// `[rounds=N$]salt$digest`, the digest of a fixed length.
fn sha_crypt_rounds(what: &'static str, rest: &str, digest_chars: usize) -> Result<u32, HashFault> {
    let malformed = || HashFault::Malformed(what);
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or_else(malformed)?;
            (rounds.parse().map_err(|_| malformed())?, rest)
        }
        None => (sha_crypt::Params::RECOMMENDED_ROUNDS, rest),
    };
    let (salt, digest) = rest.split_once('$').ok_or_else(malformed)?;
    let alphabet = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/');
    if salt.is_empty() || !alphabet(salt) || digest.len() != digest_chars || !alphabet(digest) {
        return Err(malformed());
    }
    if rounds < sha_crypt::Params::ROUNDS_MIN {
        return Err(malformed());
    }
    bounded(what, rounds, SHA_CRYPT_ROUNDS_MAX)
}

fn bounded(what: &'static str, asked: u32, max: u32) -> Result<u32, HashFault> {
    if asked > max { Err(HashFault::TooCostly { what, asked, max }) } else { Ok(asked) }
}

/// A new entry's hash, with a fresh salt. Slow, as it should be.
///
/// # Errors
/// A password that bcrypt would cut short; a machine without randomness.
pub fn make(scheme: Scheme, password: &[u8]) -> Result<StoredHash, MakeFault> {
    let failed = |error: &dyn std::fmt::Display| MakeFault::Failed(error.to_string());
    let text = match scheme {
        Scheme::Argon2id => {
            let salt = salt::<{ argon2::RECOMMENDED_SALT_LEN }>()?;
            Argon2::default().hash_password_with_salt(password, &salt).map_err(|error| failed(&error))?.to_string()
        }
        Scheme::Bcrypt => bcrypt::non_truncating_hash(password, BCRYPT_COST).map_err(|error| match error {
            bcrypt::BcryptError::Truncation(_) => MakeFault::TooLongForBcrypt,
            error => failed(&error),
        })?,
        Scheme::Sha512Crypt => {
            let salt = salt::<SHA_CRYPT_SALT_OCTETS>()?;
            let params = sha_crypt::Params::new(SHA_CRYPT_ROUNDS).map_err(|error| failed(&error))?;
            let hasher = ShaCrypt::new(sha_crypt::Algorithm::Sha512Crypt, params);
            hasher.hash_password_with_salt(password, &salt).map_err(|error| failed(&error))?.to_string()
        }
        Scheme::ScramSha256 => {
            let salt = salt::<SCRAM_SALT_OCTETS>()?;
            let keys = scram_keys(password, salt.to_vec(), SCRAM_ITERATIONS);
            keys.map(|keys| format!("{{SCRAM-SHA-256}}{}", keys.to_text())).unwrap_or_default()
        }
    };
    StoredHash::parse(&text).map_err(|error| failed(&error))
}

fn salt<const OCTETS: usize>() -> Result<[u8; OCTETS], MakeFault> {
    let mut salt = [0; OCTETS];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| MakeFault::Failed("the system has no randomness".to_owned()))?;
    Ok(salt)
}

impl StoredHash {
    /// As it goes into a password file.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

/// Of what a hash with nothing behind it costs to check, for files that name nobody: argon2id as
/// [`make`] makes it. No password is known for it.
pub(super) const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$b25lIHNhbHQgZm9yIGFsbA$A9UUkkFGeeQjz7tO3CFjIMYy9L5wGuZ/kIpHGhvCYxM";
