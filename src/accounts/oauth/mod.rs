//! Tokens of an OAuth provider, by OAUTHBEARER and XOAUTH2: a JWT whose signature is verified here (RFC 9068), or
//! anything that the provider knows when it is asked (RFC 7662).
//!
//! It refuses to believe anything of a token that the provider did not say: which key, which algorithm, whose it is. A
//! JWT of another issuer, and what is no JWT where only such are good, is not ours and nobody is asked about it; a
//! provider that is away puts a login off and refuses none.

mod claims;
mod introspection;
mod jws;
mod keyring;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::backend::Verdict;
use super::remote::{Away, Reach};
use super::{BackendError, first_line};
use crate::config::{HttpGrant, OauthAccounts, OauthKeys, OauthProof, SignatureAlgorithm, Url};
use crate::net::http::Client;
use crate::report::{Seldom, backend as told};
use crate::smtp::sasl::Secret;
use claims::{Claims, Demands, Refused};
use introspection::Introspection;
use jws::Jws;
use keyring::Keyring;

/// Octets of a token; about what a line of AUTH can carry.
const TOKEN_BYTES_MAX: usize = 12 * 1_024;

pub(super) struct Oauth {
    name: String,
    demands: Demands,
    proof: Proof,
    said: Seldom,
}

enum Proof {
    Signature { keyring: Arc<Keyring>, algorithms: Vec<SignatureAlgorithm> },
    Introspection(Box<Introspection>),
}

/// What time it is, by both clocks.
#[derive(Debug, Clone, Copy)]
struct Now {
    instant: Instant,
    /// Since 1970.
    date: Duration,
}

impl Oauth {
    /// # Errors
    /// A file that it names cannot be read or used.
    pub(super) fn new(
        name: &str,
        settings: &OauthAccounts,
        timeout: Duration,
        reach: &Reach<'_>,
    ) -> Result<Oauth, BackendError> {
        let client = |url: &Url, response_bytes_max| {
            let grant = HttpGrant { urls: vec![url.clone()], response_bytes_max, ca: settings.ca.clone() };
            let client = Client::new(reach.resolver, reach.dialer, &grant);
            client.map_err(|error| BackendError::Tls { backend: name.to_owned(), error })
        };
        let proof = match &settings.proof {
            OauthProof::Signature { keys: place, algorithms } => {
                let (OauthKeys::At(url) | OauthKeys::Discovered(url)) = place;
                let client = client(url, keys::KEYS_BYTES_MAX)?;
                let issuer = settings.issuer.as_deref().unwrap_or_default();
                // Half of it, so that there is time to go on with the old keys.
                let keyring = Keyring::new(name, client, place.clone(), issuer, timeout / 2);
                Proof::Signature { keyring: Arc::new(keyring), algorithms: algorithms.clone() }
            }
            OauthProof::Introspection { url, client_id, client_secret_file: file } => {
                let secret = first_line(file).map_err(|error| BackendError::Secret {
                    backend: name.to_owned(),
                    key: "client-secret-file",
                    path: file.clone(),
                    error,
                })?;
                let client = client(url, introspection::ANSWER_BYTES_MAX)?;
                Proof::Introspection(Box::new(Introspection::new(client, url.clone(), client_id, &secret, timeout)))
            }
        };
        let demands = Demands {
            issuer: settings.issuer.clone(),
            audiences: settings.audiences.clone(),
            scopes: settings.scopes.clone(),
            identity: settings.identity.clone(),
            trust_email: settings.trust_email,
            domains: settings.domains.clone(),
            expiry: matches!(proof, Proof::Signature { .. }),
        };
        Ok(Oauth { name: name.to_owned(), demands, proof, said: Seldom::new() })
    }

    /// Whose token it is, and how long it is good at most.
    ///
    /// # Errors
    /// When the provider is away, or says what cannot be understood.
    pub(super) async fn verify(&self, token: &Secret) -> Result<(Verdict, Duration), Away> {
        let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.verify_at(token, Now { instant: Instant::now(), date }).await
    }

    async fn verify_at(&self, token: &Secret, now: Now) -> Result<(Verdict, Duration), Away> {
        let not_mine = Ok((Verdict::NotMine, Duration::ZERO));
        if token.reveal().len() > TOKEN_BYTES_MAX {
            return not_mine;
        }
        let jws = Jws::parse(token.reveal());
        if jws.as_ref().is_some_and(|jws| self.demands.is_foreign(&jws.claims)) {
            return not_mine;
        }
        match (&self.proof, jws) {
            (Proof::Signature { .. }, None) => not_mine,
            (Proof::Signature { keyring, algorithms }, Some(jws)) => {
                let algorithm = match jws.algorithm(algorithms) {
                    Ok(algorithm) => algorithm,
                    Err(why) => return Ok(self.forged(why)),
                };
                if keyring.verifies(&jws, algorithm, now.instant).await? {
                    Ok(self.judge(&jws.claims, now))
                } else {
                    Ok(self.forged(Refused::Signature))
                }
            }
            // One that it does not call good may be another provider's.
            (Proof::Introspection(introspection), _) => match introspection.ask(token).await? {
                Some(claims) => Ok(self.judge(&claims, now)),
                None => not_mine,
            },
        }
    }

    /// Of claims that the provider made.
    fn judge(&self, claims: &Claims, now: Now) -> (Verdict, Duration) {
        match self.demands.judge(claims, now.date) {
            Ok(owner) => (Verdict::Good(owner.identity), owner.left.unwrap_or(Duration::MAX)),
            Err(why) => {
                // Nobody can bring this about who is not the provider's user, and the operator wants to know.
                told::refused(&self.said, &self.name, &why, now.instant);
                (Verdict::Bad, Duration::ZERO)
            }
        }
    }

    /// What anybody can make up is not worth a line.
    fn forged(&self, why: Refused) -> (Verdict, Duration) {
        tracing::debug!(backend = self.name, %why, "a token that the provider did not make");
        (Verdict::Bad, Duration::ZERO)
    }
}
