//! The keys of a provider (RFC 7517): each is good for one kind of signature, and all but those for signatures are left
//! out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use super::jws::Jws;
use crate::accounts::remote::Away;
use crate::config::SignatureAlgorithm;

/// Octets of the answer with them.
pub(super) const KEYS_BYTES_MAX: usize = 256 * 1_024;
/// Keys in it, of every kind. A provider has two or three at a time.
pub(super) const KEYS_MAX: usize = 100;
/// Octets of an RSA modulus, 2,048 bits.
const MODULUS_BYTES_MIN: usize = 256;
/// 8,192 bits.
const MODULUS_BYTES_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    kind: Kind,
    /// The only one that it is for, if it says so.
    algorithm: Option<SignatureAlgorithm>,
    key: DecodingKey,
}

/// The keys of an answer.
///
/// # Errors
/// When it is none, has too many, or none that is of use.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Key>, Away> {
    let set: Value = serde_json::from_slice(body).map_err(|_| Away("its keys are no JSON".to_owned()))?;
    let all = set.get("keys").and_then(Value::as_array).ok_or_else(|| Away("its keys are no JWK set".to_owned()))?;
    if all.len() > KEYS_MAX {
        return Err(Away(format!("it has more than {KEYS_MAX} keys")));
    }
    let keys: Vec<Key> = all.iter().filter_map(Value::as_object).filter_map(Key::read).collect();
    if keys.is_empty() {
        Err(Away("it has no key that a signature could be verified with".to_owned()))
    } else {
        Ok(keys)
    }
}

impl Key {
    /// None: it is of no use here, which is no error (RFC 7517 section 5).
    fn read(jwk: &Map<String, Value>) -> Option<Key> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let octets = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if jwk.contains_key("use") && text("use") != Some("sig") {
            return None;
        }
        let operations = jwk.get("key_ops").map(|all| all.as_array().is_some_and(|all| all.contains(&"verify".into())));
        if operations == Some(false) {
            return None;
        }
        let point = |octets_each: usize| {
            let (x, y) = (octets("x")?, octets("y")?);
            let fits = x.len() == octets_each && y.len() == octets_each;
            fits.then(|| DecodingKey::from_ec_der(&[&[4][..], &x, &y].concat()))
        };
        let (kind, key) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (n, e) = (octets("n")?, octets("e")?);
                let fits = (MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&n.len());
                (Kind::Rsa, fits.then(|| DecodingKey::from_rsa_raw_components(&n, &e))?)
            }
            ("EC", Some("P-256")) => (Kind::P256, point(32)?),
            ("EC", Some("P-384")) => (Kind::P384, point(48)?),
            ("OKP", Some("Ed25519")) => {
                let x = octets("x").filter(|x| x.len() == 32)?;
                (Kind::Ed25519, DecodingKey::from_ed_der(&x))
            }
            _ => return None,
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(alg) => Some(SignatureAlgorithm::parse(alg.as_str()?).filter(|named| kind.signs(*named))?),
        };
        let id = jwk.get("kid").map(|kid| kid.as_str().map(str::to_owned));
        // One with a name that is none cannot be asked for.
        let id = match id {
            Some(None) => return None,
            other => other.flatten(),
        };
        Some(Key { id, kind, algorithm, key })
    }

    /// Whether a signature of this kind, said to be by the key of this name, could be its.
    pub(super) fn could_be(&self, id: Option<&str>, algorithm: SignatureAlgorithm) -> bool {
        let named = id.is_none_or(|id| self.id.as_deref() == Some(id));
        named && self.kind.signs(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    pub(super) fn verifies(&self, jws: &Jws<'_>, algorithm: SignatureAlgorithm) -> bool {
        crypto::verify(jws.signature, jws.signed, &self.key, named(algorithm)).unwrap_or(false)
    }
}

impl Kind {
    fn signs(self, algorithm: SignatureAlgorithm) -> bool {
        use SignatureAlgorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match algorithm {
            Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 => self == Kind::Rsa,
            Es256 => self == Kind::P256,
            Es384 => self == Kind::P384,
            EdDsa => self == Kind::Ed25519,
        }
    }
}

fn named(algorithm: SignatureAlgorithm) -> Algorithm {
    match algorithm {
        SignatureAlgorithm::Rs256 => Algorithm::RS256,
        SignatureAlgorithm::Rs384 => Algorithm::RS384,
        SignatureAlgorithm::Rs512 => Algorithm::RS512,
        SignatureAlgorithm::Ps256 => Algorithm::PS256,
        SignatureAlgorithm::Ps384 => Algorithm::PS384,
        SignatureAlgorithm::Ps512 => Algorithm::PS512,
        SignatureAlgorithm::Es256 => Algorithm::ES256,
        SignatureAlgorithm::Es384 => Algorithm::ES384,
        SignatureAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_that_are_too_large_or_too_small_are_left_out() {
        for (octets, taken) in [(255, false), (256, true), (1_024, true), (1_025, false)] {
            let jwk = serde_json::json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(vec![0x81; octets]), "e": "AQAB"});
            assert_eq!(Key::read(jwk.as_object().unwrap()).is_some(), taken, "{octets}");
        }
    }
}
