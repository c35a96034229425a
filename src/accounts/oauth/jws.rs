//! A JWT as it is sent (RFC 7515 section 7.1): three parts in base64url with dots between them. What it says is believed
//! by nobody before its signature is looked at.
//!
//! Keys that it brings along, or the addresses of keys (`jwk`, `jku`, `x5c`, `x5u`), are not looked at: a forger would
//! bring his own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::claims::{Claims, Refused};
use crate::config::SignatureAlgorithm;

/// Tokens for something else carry other names here (RFC 8725 section 3.11).
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

pub(super) struct Jws<'a> {
    header: Map<String, Value>,
    pub(super) claims: Claims,
    /// What the signature is of.
    pub(super) signed: &'a [u8],
    /// Still in base64url; may be empty.
    pub(super) signature: &'a str,
}

impl<'a> Jws<'a> {
    /// None: this is no JWT.
    pub(super) fn parse(token: &'a [u8]) -> Option<Jws<'a>> {
        let text = str::from_utf8(token).ok()?;
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |part: &str| match serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        };
        Some(Jws { header: object(header)?, claims: object(claims)?, signed: signed.as_bytes(), signature })
    }

    /// Which key it is said to be signed with.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// How it is said to be signed, if that is allowed.
    pub(super) fn algorithm(&self, allowed: &[SignatureAlgorithm]) -> Result<SignatureAlgorithm, Refused> {
        let plain = match self.header.get("typ") {
            None => true,
            Some(typ) => typ.as_str().is_some_and(|typ| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known))),
        };
        // `crit` names what must be understood; there is nothing of that kind here.
        if !plain || self.header.contains_key("crit") || self.header.get("kid").is_some_and(|kid| !kid.is_string()) {
            return Err(Refused::Header);
        }
        let named = self.header.get("alg").and_then(Value::as_str).and_then(SignatureAlgorithm::parse);
        named.filter(|algorithm| allowed.contains(algorithm)).ok_or(Refused::Algorithm)
    }
}
