//! The provider's keys, kept: fetched when the first token comes, again when they are old or a token names one that is
//! not among them, and never more often than the pauses allow, whatever tokens come.
//!
//! One fetch at a time, which nobody who waits for it can break off. While the provider is away the keys there are go
//! on, for a bounded time; a token whose key is not known then is put off, not refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::jws::Jws;
use super::keys::{self, Key};
use crate::accounts::remote::Away;
use crate::config::{OauthKeys, SignatureAlgorithm, Url};
use crate::net::http::{Client, Request};
use crate::report::{Seldom, backend as told};

/// Keys are not asked for again for so long, if those that tokens name are among them.
pub(super) const FRESH: Duration = Duration::from_secs(900);
/// Keys that cannot be renewed are used for so long.
pub(super) const KEPT: Duration = Duration::from_secs(86_400);
/// Between two fetches, while there are keys.
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// Between two fetches, while there are none.
pub(super) const PAUSE_WITHOUT: Duration = Duration::from_secs(5);

pub(super) struct Keyring {
    name: String,
    client: Client,
    place: OauthKeys,
    /// What the provider's own page has to call it.
    issuer: String,
    /// For one fetch, all its requests together.
    timeout: Duration,
    said: Seldom,
    held: Mutex<Held>,
    /// Whoever has it fetches.
    flight: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Held {
    keys: Vec<Key>,
    fetched: Option<Instant>,
    attempted: Option<Instant>,
    /// Of the last attempt.
    failure: Option<Away>,
}

/// What the keys there are say of a token.
enum Course {
    Settled(bool),
    Fetch,
    Away(Away),
}

impl Keyring {
    pub(super) fn new(name: &str, client: Client, place: OauthKeys, issuer: &str, timeout: Duration) -> Keyring {
        Keyring {
            name: name.to_owned(),
            client,
            place,
            issuer: issuer.to_owned(),
            timeout,
            said: Seldom::new(),
            held: Mutex::default(),
            flight: Arc::default(),
        }
    }

    /// Whether the provider signed this.
    ///
    /// # Errors
    /// When that cannot be known for now.
    pub(super) async fn verifies(
        self: &Arc<Keyring>,
        jws: &Jws<'_>,
        algorithm: SignatureAlgorithm,
        now: Instant,
    ) -> Result<bool, Away> {
        if let Some(settled) = self.held().course(jws, algorithm, now).settled() {
            return settled;
        }
        let flight = Arc::clone(&self.flight).lock_owned().await;
        // Somebody else may have landed meanwhile.
        if let Some(settled) = self.held().course(jws, algorithm, now).settled() {
            return settled;
        }
        let keyring = Arc::clone(self);
        let fetching = tokio::spawn(async move {
            let _flight = flight;
            let came = tokio::time::timeout(keyring.timeout, keyring.fetch()).await;
            let came = came.unwrap_or_else(|_| Err(Away("its keys do not come in time".to_owned())));
            let told = keyring.held().take(came, now);
            if let Some(why) = told {
                told::stale(&keyring.said, &keyring.name, &why, now);
            }
        });
        fetching.await.map_err(|why| Away(why.to_string()))?;
        let after = self.held().course(jws, algorithm, now).settled();
        after.unwrap_or_else(|| Err(Away("its keys could not be fetched".to_owned())))
    }

    async fn fetch(&self) -> Result<Vec<Key>, Away> {
        let url = match &self.place {
            OauthKeys::At(url) => url.clone(),
            OauthKeys::Discovered(page) => self.discover(page).await?,
        };
        keys::parse(&self.get(&url).await?)
    }

    /// OpenID Connect Discovery 1.0 section 4.3: a page that calls itself otherwise is somebody else's.
    async fn discover(&self, page: &Url) -> Result<Url, Away> {
        let body = self.get(page).await?;
        let said: Value = serde_json::from_slice(&body).map_err(|_| Away(format!("{page} is no JSON")))?;
        if said.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(Away(format!("{page} is the page of another issuer")));
        }
        let place = said.get("jwks_uri").and_then(Value::as_str).and_then(|text| Url::parse(text).ok());
        // What is asked over TLS does not send us to what is not.
        let place = place.filter(|place| place.secure || (!page.secure && place.is_kept_private()));
        place.ok_or_else(|| Away(format!("{page} has no jwks_uri that could be trusted")))
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, Away> {
        let headers = vec![("Accept".to_owned(), b"application/json".to_vec())];
        let request = Request { method: "GET", url: url.clone(), headers, body: Vec::new() };
        let answer = self.client.send(&request, self.timeout).await;
        let answer = answer.map_err(|why| Away::because(&url.to_string(), why))?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(Away(format!("{url} answers with status {}", answer.status)))
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Course {
    fn settled(self) -> Option<Result<bool, Away>> {
        match self {
            Course::Settled(good) => Some(Ok(good)),
            Course::Away(why) => Some(Err(why)),
            Course::Fetch => None,
        }
    }
}

impl Held {
    fn course(&self, jws: &Jws<'_>, algorithm: SignatureAlgorithm, now: Instant) -> Course {
        let age = self.fetched.map(|at| now.saturating_duration_since(at));
        let usable = age.is_some_and(|age| age < KEPT);
        let candidates = || self.keys.iter().filter(|key| usable && key.could_be(jws.key_id(), algorithm));
        let good = candidates().any(|key| key.verifies(jws, algorithm));
        // A key that is named and known has spoken; where none is named, the right one may not have come yet.
        let verdict = (good || (jws.key_id().is_some() && candidates().next().is_some())).then_some(good);
        let pause = if usable { PAUSE } else { PAUSE_WITHOUT };
        let may_fetch = self.attempted.is_none_or(|at| now.saturating_duration_since(at) >= pause);
        match verdict {
            Some(good) if age.is_some_and(|age| age < FRESH) => Course::Settled(good),
            _ if may_fetch => Course::Fetch,
            Some(good) => Course::Settled(good),
            None => match &self.failure {
                Some(why) => Course::Away(why.clone()),
                None => Course::Settled(false),
            },
        }
    }

    /// What came of a fetch that began then; what to tell, if the old keys have to go on.
    fn take(&mut self, came: Result<Vec<Key>, Away>, now: Instant) -> Option<Away> {
        self.attempted = Some(now);
        match came {
            Ok(keys) => {
                (self.keys, self.fetched, self.failure) = (keys, Some(now), None);
                None
            }
            Err(why) => {
                self.failure = Some(why.clone());
                self.fetched.is_some_and(|at| now.saturating_duration_since(at) < KEPT).then_some(why)
            }
        }
    }
}
