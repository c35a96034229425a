//! What all backends elsewhere have in common: a bound in time, a bound on questions at once, and a word in the log
//! when one is away.
//!
//! It refuses to guess: whatever is not a clear answer is "unavailable", never "wrong" and never an acceptance. The
//! reasons it logs are ours and the machine's; no credential is ever part of one.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::backend::Verdict;
use super::dovecot::Dovecot;
use super::http::Http;
use super::ldap::Ldap;
use super::oauth::Oauth;
use super::saslauthd::Saslauthd;
use super::{BackendError, Client};
use crate::config::{AuthRemote, AuthService};
use crate::net::dial::Dial;
use crate::net::dns::Resolver;
use crate::report::{Seldom, backend as told};
use crate::smtp::sasl::{CREDENTIAL_OCTETS_MAX, Mechanisms, Secret};

/// Why there was no answer that counts, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Away(pub(super) String);

impl Away {
    pub(super) fn because(what: &str, why: impl std::fmt::Display) -> Away {
        Away(format!("{what}: {why}"))
    }
}

/// One of them.
pub(super) struct Remote {
    name: String,
    timeout: Duration,
    places: Semaphore,
    said: Seldom,
    service: Service,
}

enum Service {
    Dovecot(Dovecot),
    Saslauthd(Saslauthd),
    Http(Box<Http>),
    Ldap(Box<Ldap>),
    Oauth(Box<Oauth>),
}

/// How other machines are reached.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    pub resolver: &'a Resolver,
    pub dialer: &'a Arc<dyn Dial>,
}

impl Remote {
    /// # Errors
    /// A file that it names cannot be read or used.
    pub(super) fn new(name: &str, settings: &AuthRemote, reach: &Reach<'_>) -> Result<Remote, BackendError> {
        let service = match &settings.service {
            AuthService::Dovecot { socket } => Service::Dovecot(Dovecot::new(socket.clone())),
            AuthService::Saslauthd { socket, service, realm } => {
                Service::Saslauthd(Saslauthd { socket: socket.clone(), service: service.clone(), realm: realm.clone() })
            }
            AuthService::Http { url, ca, headers } => {
                Service::Http(Box::new(Http::new(name, (url, ca.as_deref()), headers, settings.timeout, reach)?))
            }
            AuthService::Ldap(ldap) => Service::Ldap(Box::new(Ldap::new(name, ldap, reach)?)),
            AuthService::Oauth(oauth) => Service::Oauth(Box::new(Oauth::new(name, oauth, settings.timeout, reach)?)),
        };
        Ok(Remote {
            name: name.to_owned(),
            timeout: settings.timeout,
            places: Semaphore::new(settings.concurrent_max),
            said: Seldom::new(),
            service,
        })
    }

    pub(super) fn serves(&self) -> Mechanisms {
        match self.service {
            Service::Dovecot(_) | Service::Saslauthd(_) | Service::Http(_) | Service::Ldap(_) => Mechanisms::PASSWORDS,
            Service::Oauth(_) => Mechanisms::TOKENS,
        }
    }

    /// Whether a name can have a password there.
    pub(super) fn knows_passwords(&self) -> bool {
        !self.serves().and(Mechanisms::PASSWORDS).is_empty()
    }

    /// Whether this token is good, whose it is, and how long that may be believed.
    pub(super) async fn verify_token(&self, token: &Secret) -> (Verdict, Duration) {
        let Service::Oauth(oauth) = &self.service else { return (Verdict::NotMine, Duration::ZERO) };
        let mut good_for = Duration::ZERO;
        let asked = async {
            let (verdict, time) = oauth.verify(token).await?;
            good_for = time;
            Ok(verdict)
        };
        (self.ask(asked).await, good_for)
    }

    /// Whether this is the account's password.
    pub(super) async fn verify_password(&self, client: &Client<'_>, name: &str, password: &Secret) -> Verdict {
        match &self.service {
            Service::Dovecot(dovecot) => self.ask(dovecot.verify(client, name, password)).await,
            Service::Saslauthd(saslauthd) => self.ask(saslauthd.verify(name, password)).await,
            Service::Http(http) => {
                let mut wait = Duration::ZERO;
                let asked = async {
                    let (verdict, after) = http.verify(client, name, password).await?;
                    wait = after;
                    Ok(verdict)
                };
                let verdict = self.ask(asked).await;
                // Not in a place that others could have.
                tokio::time::sleep(wait).await;
                verdict
            }
            Service::Ldap(ldap) => self.ask(ldap.verify(name, password)).await,
            Service::Oauth(_) => Verdict::NotMine,
        }
    }

    /// Waits for a place and for the answer, both within the one timeout.
    async fn ask(&self, question: impl Future<Output = Result<Verdict, Away>>) -> Verdict {
        let placed = async {
            let _place = self.places.acquire().await.map_err(|error| Away(error.to_string()))?;
            question.await
        };
        let answer = tokio::time::timeout(self.timeout, placed).await;
        answer.unwrap_or_else(|_| Err(Away("no answer in time".to_owned()))).unwrap_or_else(|why| {
            told::away(&self.said, &self.name, &why, Instant::now());
            Verdict::Unavailable
        })
    }
}

/// Whom a backend calls the account: it goes into the log, to filters and to the upstream.
///
/// # Errors
/// When it is empty, too long, no UTF-8, or has control characters.
pub(super) fn identity(octets: &[u8]) -> Result<Arc<str>, Away> {
    let name = str::from_utf8(octets).ok();
    let sound = |name: &&str| (1..=CREDENTIAL_OCTETS_MAX).contains(&name.len()) && !name.contains(char::is_control);
    name.filter(sound).map(Arc::from).ok_or_else(|| Away("calls the account something that is no name".to_owned()))
}
