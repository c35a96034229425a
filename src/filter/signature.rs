//! Whether a filter's file is the one that its operator wants: by its digest, and by somebody's signature (minisign).
//!
//! Judged are the octets that are compiled, never the file a second time.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use minisign_verify::{Error, PublicKey};

use super::answer::excerpt_of;
use crate::config::{self, SigningKey};

/// Octets of a signature file: four lines.
const SIGNATURE_BYTES_MAX: u64 = 8 << 10;
/// Octets of the signer's own words.
const COMMENT_BYTES_MAX: usize = 200;

const BROKEN: &str = "is none that minisign made: make it again with `minisign -S`";

/// By whom, in what words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// As minisign shows it.
    pub key_id: String,
    /// Covered by the signature.
    pub comment: String,
}

/// Holds the octets of a filter, whose SHA-256 is `digest`, against what the operator demands of them.
///
/// # Errors
/// What is wrong, and what to do about it.
pub(super) fn check(
    filter: &config::Filter,
    engine: &config::Engine,
    wasm: &[u8],
    digest: &str,
) -> Result<Option<Signed>, String> {
    if let Some(pinned) = filter.digest.as_deref().filter(|pinned| *pinned != digest) {
        return Err(format!(
            "is another file than the one that is pinned, sha256:{pinned}: bring that one back, or write \
             `digest = \"sha256:{digest}\"` for filter \"{}\" if this one is right",
            filter.name
        ));
    }
    let required = filter.require_signed.unwrap_or(engine.require_signed);
    if engine.signing_keys.is_empty() && !required {
        return Ok(None);
    }
    let path = filter.signature.clone().unwrap_or_else(|| beside(&filter.path));
    match read(&path) {
        Ok(text) => verify(&text, &engine.signing_keys, wasm)
            .map(Some)
            .map_err(|why| format!("is not to be trusted: its signature, {}, {why}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required && filter.signature.is_none() => Ok(None),
        Err(error) => Err(format!(
            "has no signature that could be read, and has to be signed: {}: {error}: bring the signature, make one with \
             `minisign -Sm {}`, or write `require-signed = false` for filter \"{}\"",
            path.display(),
            filter.path.display(),
            filter.name
        )),
    }
}

/// What stands beside a filter's file, for whoever looks at it before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// No file is there.
    None,
    /// By the key of this name; no key was given to hold it against.
    Unchecked { key_id: String },
    /// By one of the keys that were given.
    Good(Signed),
    /// Why, as the end of a sentence that begins with the signature.
    Bad(String),
}

impl Signature {
    /// Looks for that of `wasm`, which was read from `path`, and holds it against `keys` if there are any.
    #[must_use]
    pub fn beside(path: &Path, wasm: &[u8], keys: &[SigningKey]) -> Signature {
        let text = match read(&beside(path)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Signature::None,
            Err(error) => return Signature::Bad(format!("cannot be read: {error}")),
        };
        if keys.is_empty() {
            return match parse(&text) {
                Ok((_, key_id)) => Signature::Unchecked { key_id },
                Err(why) => Signature::Bad(why),
            };
        }
        verify(&text, keys, wasm).map_or_else(Signature::Bad, Signature::Good)
    }
}

/// `FILE.wasm.minisig`
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SIGNATURE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SIGNATURE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {SIGNATURE_BYTES_MAX} octets")));
    }
    Ok(text)
}

/// With the name of its key.
fn parse(text: &str) -> Result<(minisign_verify::Signature, String), String> {
    let signature = minisign_verify::Signature::decode(text).map_err(|_| BROKEN.to_owned())?;
    let by = text.lines().nth(1).and_then(config::minisign_key_id).ok_or(BROKEN)?;
    Ok((signature, by))
}

/// Both kinds that minisign makes: of the file, and of its BLAKE2b.
fn verify(text: &str, keys: &[SigningKey], wasm: &[u8]) -> Result<Signed, String> {
    let (signature, by) = parse(text)?;
    let Some(key) = keys.iter().find(|key| key.id() == by) else {
        let known: Vec<&str> = keys.iter().map(SigningKey::id).collect();
        return Err(format!(
            "was made with the key {by}, and `signing-keys` of [engine] has {}: sign it with one of these, or add that key \
             if you trust it",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ));
    };
    let public = PublicKey::from_base64(key.as_str()).map_err(|_| BROKEN.to_owned())?;
    match public.verify(wasm, &signature, true) {
        Ok(()) => Ok(Signed { key_id: by, comment: excerpt_of(signature.trusted_comment(), COMMENT_BYTES_MAX) }),
        Err(Error::UnexpectedKeyId) => Err(BROKEN.to_owned()),
        Err(_) => Err(format!(
            "does not fit: the file or the signature was changed after the key {by} signed it; do not use it before you \
             know why, and bring both from whoever signed them"
        )),
    }
}

/// Whether this is a signature of it by the key that the tests have.
pub(super) fn is_good(text: &str, wasm: &[u8]) -> bool {
    let key = SigningKey::parse("RWTPJ+pVPscCR2d48uaWeOQJs505f+dESulmvjIG9urVHeIfpzAk2D7T");
    key.is_ok_and(|key| verify(text, &[key], wasm).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    // Made by minisign 0.11 from Debian.
    const WASM: &[u8] = include_bytes!("../../tests/guests/signed/quit.wasm");
    const HASHED: &str = include_str!("../../tests/guests/signed/quit.wasm.minisig");
    const LEGACY: &str = include_str!("../../tests/guests/signed/legacy.minisig");
    const OTHER: &str = include_str!("../../tests/guests/signed/other.minisig");

    fn keys() -> Vec<SigningKey> {
        let text = include_str!("../../tests/guests/signed/one.pub");
        vec![SigningKey::parse(text.lines().nth(1).unwrap()).unwrap()]
    }

    #[test]
    fn signatures_of_the_real_program_are_good() {
        let signed = verify(HASHED, &keys(), WASM).unwrap();
        assert_eq!(signed.key_id, "4702C73E55EA27CF");
        assert_eq!(signed.comment, "quit 1.0.0, built by the postmaster");
        assert_eq!(verify(LEGACY, &keys(), WASM).unwrap().comment, "legacy");
    }

    #[test]
    fn whatever_was_changed_is_found() {
        assert!(verify(OTHER, &keys(), WASM).unwrap_err().contains("was made with the key 4209C6B7648E9600"));
        assert!(verify(HASHED, &[], WASM).unwrap_err().contains("`signing-keys` of [engine] has none"));
        for place in 0..WASM.len() {
            let mut changed = WASM.to_vec();
            changed[place] ^= 1;
            assert!(verify(HASHED, &keys(), &changed).unwrap_err().contains("was changed after"));
        }
        assert!(
            verify(&HASHED.replace("quit 1.0.0", "quit 1.0.1"), &keys(), WASM).unwrap_err().contains("was changed")
        );
        assert!(verify("", &keys(), WASM).unwrap_err().contains("none that minisign made"));
        // Whatever octet of a signature is another one: it is not good, and nobody panics.
        let untrusted = HASHED.lines().next().unwrap().len();
        for text in [HASHED, LEGACY] {
            for place in untrusted + 1..text.trim_end().len() {
                let mut changed = text.as_bytes().to_vec();
                changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert!(verify(&changed, &keys(), WASM).is_err(), "{place}: {changed}");
            }
        }
    }
}
