//! What all backends elsewhere have in common: a bound in time, a bound on questions at once, and a word in the log
//! when one is away.
//!
//! It refuses to guess: whatever is not a clear answer is "unavailable", never "wrong" and never an acceptance. The
//! reasons it logs are ours and the machine's; no credential is ever part of one.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::backend::Verdict;
use super::dovecot::Dovecot;
use super::exchange::{Said, Talk};
use super::http::Http;
use super::ldap::Ldap;
use super::oauth::Oauth;
use super::saslauthd::Saslauthd;
use super::upstream::MailServer;
use super::{BackendError, Client};
use crate::config::{AuthRemote, AuthService};
use crate::net::dial::Dial;
use crate::net::dns::Resolver;
use crate::report::{Seldom, backend as told};
use crate::smtp::sasl::{CREDENTIAL_OCTETS_MAX, Mechanism, Mechanisms, Name, Secret, Witness};
use crate::upstream::Upstreams;

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
    /// Of exchanges, which wait for clients: apart, so that those who wait keep no answer from anybody.
    exchanges: Arc<Semaphore>,
    said: Seldom,
    service: Service,
}

enum Service {
    Dovecot(Dovecot),
    Saslauthd(Saslauthd),
    Http(Box<Http>),
    Ldap(Box<Ldap>),
    Oauth(Box<Oauth>),
    Upstream(MailServer),
}

/// How other machines are reached.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// Those that a backend may name.
    pub upstreams: Option<&'a Upstreams>,
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
            AuthService::Upstream { upstream } => {
                let found = reach.upstreams.and_then(|all| all.get(upstream));
                let missing = || BackendError::Upstream { backend: name.to_owned(), upstream: upstream.clone() };
                Service::Upstream(MailServer::new(found.cloned().ok_or_else(missing)?))
            }
            AuthService::Oauth(oauth) => Service::Oauth(Box::new(Oauth::new(name, oauth, settings.timeout, reach)?)),
        };
        Ok(Remote {
            name: name.to_owned(),
            timeout: settings.timeout,
            places: Semaphore::new(settings.concurrent_max),
            exchanges: Arc::new(Semaphore::new(settings.concurrent_max)),
            said: Seldom::new(),
            service,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What can be served with it here.
    pub(super) fn serves(&self) -> Mechanisms {
        match &self.service {
            // Until it was reached it is taken to have what the file lets one expect.
            Service::Dovecot(dovecot) => match dovecot.offered() {
                Some(offered) if !offered.contains(&Mechanism::Plain.into()) => Mechanisms::NONE,
                _ => Mechanisms::PASSWORDS,
            },
            Service::Saslauthd(_) | Service::Http(_) | Service::Ldap(_) => Mechanisms::PASSWORDS,
            Service::Oauth(_) => Mechanisms::TOKENS,
            Service::Upstream(server) => match server.offered() {
                Some(offered) if !offered.iter().any(|name| matches!(name.as_str(), "PLAIN" | "LOGIN")) => {
                    Mechanisms::NONE
                }
                _ => Mechanisms::PASSWORDS,
            },
        }
    }

    /// The mechanisms by which it has the exchange with clients itself; among them may be some that are never relayed.
    /// None: it was not reached yet.
    pub(super) fn offered(&self) -> Option<Arc<Vec<Name>>> {
        match &self.service {
            Service::Dovecot(dovecot) => dovecot.offered(),
            Service::Upstream(server) => server.offered(),
            _ => Some(Arc::default()),
        }
    }

    /// Whether it has the exchange by this mechanism itself: as it said, else as its kind can.
    pub(super) fn relays(&self, name: Name) -> bool {
        let offered = self.offered();
        name.can_be_relayed() && offered.map_or_else(|| self.could_relay(name), |offered| offered.contains(&name))
    }

    fn could_relay(&self, name: Name) -> bool {
        match &self.service {
            Service::Dovecot(_) => true,
            Service::Upstream(_) => Witness::of(name).is_some(),
            _ => false,
        }
    }

    /// Finds out what it offers, where that is not known. True: there is nothing more to be found out.
    pub(super) async fn learn(&self) -> bool {
        match &self.service {
            Service::Dovecot(dovecot) => {
                let _ = self.within(self.timeout, dovecot.learn()).await;
                false
            }
            Service::Upstream(server) => self.within(self.timeout, server.learn()).await.unwrap_or(false),
            _ => true,
        }
    }

    /// # Errors
    /// There is none any more.
    pub(super) async fn place_for_exchange(&self) -> Result<OwnedSemaphorePermit, Away> {
        Arc::clone(&self.exchanges).acquire_owned().await.map_err(|error| Away(error.to_string()))
    }

    /// Begins an exchange.
    ///
    /// # Errors
    /// When it is away or in doubt, or has none by this mechanism.
    pub(super) async fn begin(
        &self,
        client: &Client<'_>,
        mechanism: Name,
        initial: Option<&Secret>,
    ) -> Result<(Talk, Said), Away> {
        match &self.service {
            Service::Dovecot(dovecot) => {
                let (talk, said) = dovecot.begin(client, mechanism, initial).await?;
                Ok((Talk::Dovecot(talk), said))
            }
            Service::Upstream(server) => {
                let (talk, said) = server.begin(client, mechanism, initial).await?;
                Ok((Talk::Upstream(Box::new(talk)), said))
            }
            _ => Err(Away(format!("it has no exchange by {mechanism}"))),
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
            Service::Upstream(server) => self.ask(server.verify(client, name, password)).await,
        }
    }

    /// Waits for a place and for the answer, both within the one timeout.
    async fn ask(&self, question: impl Future<Output = Result<Verdict, Away>>) -> Verdict {
        let placed = async {
            let _place = self.places.acquire().await.map_err(|error| Away(error.to_string()))?;
            question.await
        };
        self.within(self.timeout, placed).await.unwrap_or(Verdict::Unavailable)
    }

    /// The answer that comes in time; why there is none goes into the log.
    pub(super) async fn within<T>(
        &self,
        time: Duration,
        answer: impl Future<Output = Result<T, Away>>,
    ) -> Result<T, ()> {
        let answer = tokio::time::timeout(time, answer).await;
        answer.unwrap_or_else(|_| Err(Away("no answer in time".to_owned()))).map_err(|why| {
            told::away(&self.said, &self.name, &why, Instant::now());
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
