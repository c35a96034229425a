//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), the server's side. Neither the password nor anything that
//! could be used as one is seen here; the client proves that it has it, and is shown that we know it, too.
//!
//! Of an unknown name nothing is said before the end: it gets keys that are made up (see [`ScramKeys::made_up`]).

mod keys;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use keys::{ITERATIONS_MAX, ITERATIONS_MIN, KEY_OCTETS, SALT_OCTETS_MAX, ScramKeys, are_equal};

use super::bearer::unescaped;
use super::{Challenged, Channel, Exchange, Mechanism, Step, challenge, identity};
use crate::smtp::replies;
use keys::{hash, hmac};

/// The one kind of channel binding there is here (RFC 9266).
const BINDING: &[u8] = b"p=tls-exporter";
/// A client's nonce that is longer is nobody's idea of one.
const NONCE_OCTETS_MAX: usize = 128;

/// The client's first message, waiting for the keys of the name in it.
#[derive(Debug, PartialEq, Eq)]
pub struct First {
    identity: String,
    /// What `c=` of the client's final message has to be: the GSS-API header, and what the channel is bound to.
    bound: Vec<u8>,
    bare: String,
    nonce: String,
}

/// What the server has said, waiting for the client's proof.
#[derive(Debug, PartialEq, Eq)]
pub struct Proof {
    first: First,
    server_first: String,
    nonce: String,
    keys: ScramKeys,
}

/// `gs2-header n=name,r=nonce`. None: it is malformed.
pub(super) fn first(mechanism: Mechanism, channel: &Channel, message: &[u8]) -> Option<Step> {
    let text = str::from_utf8(message).ok()?;
    let mut parts = text.splitn(3, ',');
    let (flag, acting_for, bare) = (parts.next()?, parts.next()?, parts.next()?);
    let header = text.get(..flag.len() + acting_for.len() + 2)?;
    let mut bound = header.as_bytes().to_vec();
    match (mechanism, flag.as_bytes(), &channel.binding) {
        (Mechanism::ScramSha256Plus, BINDING, Some(binding)) => bound.extend_from_slice(binding.octets()),
        // "You do not offer -PLUS" from a client that could have used it: somebody took it out of our offer.
        (Mechanism::ScramSha256, b"y", _) if channel.plus_offered => return Some(Step::Failed(replies::AUTH_FAILED)),
        (Mechanism::ScramSha256, b"n" | b"y", _) => {}
        (_, flag, _) if flag.starts_with(b"p=") => return Some(Step::Failed(replies::AUTH_FAILED)),
        _ => return None,
    }
    // A mandatory extension (m=) stands where the name has to.
    let mut fields = bare.split(',');
    let (name, nonce) = (fields.next()?.strip_prefix("n=")?, fields.next()?.strip_prefix("r=")?);
    let printable = |b: u8| matches!(b, 0x21..=0x7e);
    if !(1..=NONCE_OCTETS_MAX).contains(&nonce.len()) || !nonce.bytes().all(printable) {
        return None;
    }
    let name = unescaped(name.as_bytes())?;
    let identity = identity(&name)?;
    let acting_for = match acting_for.strip_prefix("a=") {
        Some(other) => Some(unescaped(other.as_bytes())?),
        None if acting_for.is_empty() => None,
        None => return None,
    };
    if acting_for.is_some_and(|other| other != name) {
        return Some(Step::Failed(replies::AUTH_FAILED));
    }
    let first = First { identity: identity.clone(), bound, bare: bare.to_owned(), nonce: nonce.to_owned() };
    Some(Step::Keys { identity, first: Box::new(first) })
}

impl First {
    /// Goes on with the keys of the name; `nonce` is fresh and random, in printable characters without a comma.
    #[must_use]
    pub fn go_on(self, keys: ScramKeys, nonce: &str) -> Step {
        let nonce = format!("{}{nonce}", self.nonce);
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let said = challenge(server_first.as_bytes());
        let proof = Proof { first: self, server_first, nonce, keys };
        Step::Challenge(said, Exchange(Challenged::ScramProof(Box::new(proof))))
    }
}

impl Proof {
    /// `c=channel,r=nonce,p=proof`. None: it is malformed.
    pub(super) fn verify(self, message: &[u8]) -> Option<Step> {
        let text = str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let proof: [u8; KEY_OCTETS] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let mut fields = without_proof.split(',');
        let (bound, nonce) = (fields.next()?.strip_prefix("c=")?, fields.next()?.strip_prefix("r=")?);
        let bound = STANDARD.decode(bound).ok()?;
        let Proof { first, server_first, nonce: expected, keys } = self;
        let conversation = format!("{},{server_first},{without_proof}", first.bare);
        let signature = hmac(&keys.stored_key, conversation.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(octet, mask)| *octet ^= mask);
        let proven = are_equal(&hash(&client_key), &keys.stored_key);
        if !proven || bound != first.bound || nonce != expected {
            return Some(Step::Disproven { identity: first.identity });
        }
        let server = hmac(&keys.server_key, conversation.as_bytes());
        let last = challenge(format!("v={}", STANDARD.encode(server)).as_bytes());
        Some(Step::Proven { identity: first.identity, last: Some(last) })
    }
}
