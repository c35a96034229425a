//! Floor 7: who verifies a credential: backends, asked in their order.
//!
//! **The order.** Each says Good, Bad, not mine, or that it is away. The first that knows the name decides: its Good is
//! a login, its Bad is a 535, whatever others hold under the same name. A backend that is away ends it with 454: what
//! it knows of the name is not known, so nobody after it may decide, and who can keep one backend from answering gains
//! nothing by it. Whoever wants the accounts of a file to work all the same puts the file first.
//!
//! **Time.** It refuses to tell apart what an attacker would like to: a name that no backend knows costs the work of one
//! wrong password, and gets its answer. How often somebody may guess is the rate limits' business (`state::limits`).
//!
//! Hashes are slow on purpose, so they are computed on blocking threads, a few at once, with a bounded queue before
//! them; who cannot be served in time hears "try later" (454), never "wrong" (535).

mod backend;
mod cache;
mod dovecot;
mod exchange;
mod file;
mod hash;
mod hashing;
mod http;
mod ldap;
mod oauth;
mod offer;
mod remote;
mod saslauthd;
#[cfg(test)]
mod tests;
mod upstream;

use std::sync::Arc;

use arc_swap::ArcSwap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config;
use crate::mail::SessionFacts;
use crate::report::backend::asked;
use crate::smtp::sasl::scram::{self, ScramKeys};
use crate::smtp::sasl::{Name, Secret, Served, Way};
use crate::state::limits::LoginStanding;

pub use backend::BackendError;
use backend::{Backend, KeysVerdict, Verdict};
use cache::Cache;
pub use exchange::{EXCHANGE_SECONDS_MAX, Exchange, Turn};
pub use file::{LineFault, NAME_OCTETS_MAX, PASSWORD_FILE_BYTES_MAX, PasswordFile, PasswordFileError};
pub use file::{name_fault, with_entry};
pub use hash::{HashFault, MakeFault, Scheme, StoredHash, make};
use hashing::Hashing;
pub use hashing::{TURN_WAIT_MAX, WAITING_MAX};
pub use ldap::Directory;
use offer::Offer;
pub use remote::Reach;
use remote::Remote;

/// A first line of a file with a password that is longer than this is none.
const SECRET_FILE_BYTES_MAX: u64 = 4_096;

/// Who wants to log in.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub session: &'a SessionFacts,
    /// Of this session, from 1.
    pub attempt: u32,
    /// Who has to wait for whom.
    pub standing: LoginStanding,
}

/// Random octets of a server's nonce (RFC 5802 section 5.1); 24 characters.
const NONCE_OCTETS: usize = 18;
/// Where no account has a salt to go by.
const SALT_OCTETS_USUAL: usize = 16;

/// What came of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// It is this account's.
    Good(Arc<str>),
    /// No such account, or not its password: the same to everybody outside.
    Bad,
    /// It could not be looked at for now (too many at once, a backend is away): 454.
    Unavailable,
}

/// The backends of a configuration, set up and not in use yet.
pub struct Backends {
    list: Vec<Backend>,
    mechanisms: Option<Vec<Name>>,
    hashing_max: usize,
    cache_entries_max: usize,
}

/// The accounts of a running gateway. Outlives reloads.
pub struct Accounts {
    current: ArcSwap<Current>,
    /// Of this process: from it come the keys of names that nobody knows. None: the machine has no randomness, and SCRAM
    /// is not served.
    made_up: Option<[u8; 32]>,
}

struct Current {
    backends: Vec<Backend>,
    offer: Offer,
    hashing: Hashing,
    /// None where no backend wants it.
    cache: Option<Cache>,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list.iter().map(|backend| &backend.name)).finish()
    }
}

impl Backends {
    /// What the configuration names.
    ///
    /// # Errors
    /// The first that cannot be set up, and why.
    pub fn load(settings: &config::Auth, reach: &Reach<'_>) -> Result<Backends, BackendError> {
        Ok(Backends {
            list: settings.backends.iter().map(|one| Backend::load(one, reach)).collect::<Result<_, _>>()?,
            mechanisms: settings.mechanisms.clone(),
            hashing_max: settings.hashing_concurrent_max,
            cache_entries_max: settings.cache_entries_max,
        })
    }

    /// What the operator should hear about them although they were set up.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = self.list.iter().flat_map(Backend::warnings).cloned().collect();
        let in_vain = offer::in_vain(&self.list, self.mechanisms.as_deref().unwrap_or_default());
        if !in_vain.is_empty() {
            let names = in_vain.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
            all.push(format!("[auth] names {names} among the mechanisms, and no account can use it"));
        }
        all
    }
}

impl Accounts {
    #[must_use]
    pub fn new(backends: Backends) -> Accounts {
        let hashing = Hashing::new(backends.hashing_max);
        Accounts { current: ArcSwap::from_pointee(Current::new(backends, hashing)), made_up: random() }
    }

    /// Takes other backends and bounds, and forgets what it remembered. Those already waiting are judged by the old
    /// ones.
    pub fn reload(&self, backends: Backends) {
        let hashing = self.current.load().hashing.renewed(backends.hashing_max);
        self.current.store(Arc::new(Current::new(backends, hashing)));
    }

    /// How many accounts there are, as far as it is known here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.current.load().backends.iter().map(Backend::count).sum()
    }

    /// The mechanisms that can be offered now.
    #[must_use]
    pub fn mechanisms(&self) -> Arc<Served> {
        let current = self.current.load();
        current.offer.now(&current.backends)
    }

    /// Begins to find out what backends offer that say it themselves. To be called within the runtime, once when these
    /// accounts come into use and once after each [`reload`](Self::reload).
    pub fn begin(&self) {
        drop(tokio::spawn(offer::learn(Arc::downgrade(&self.current.load_full()))));
    }

    /// Begins an exchange by a mechanism that is [relayed](Way::Relayed), with the first backend that has it. Safe to
    /// cancel: the exchange ends then.
    pub async fn exchange(&self, client: &Client<'_>, mechanism: Name, initial: Option<&Secret>) -> Turn {
        let current = self.current.load_full();
        let relayed = offer::way(&current.backends, mechanism) == Some(Way::Relayed(mechanism));
        let remote = current.backends.iter().filter(|backend| relayed && backend.relays(mechanism));
        match remote.filter_map(Backend::remote).next() {
            Some(remote) => Exchange::begin(remote, client, mechanism, initial).await,
            // It was offered, and the backend has changed since.
            None => Turn::Unavailable,
        }
    }

    /// Whether this is the account's password. Names are compared octet for octet. Safe to cancel.
    pub async fn verify(&self, client: &Client<'_>, name: &str, password: &Secret) -> Verification {
        let current = self.current.load_full();
        for backend in &current.backends {
            match current.ask(backend, client, name, password).await {
                Verdict::Good(identity) => return Verification::Good(identity),
                Verdict::Bad => return Verification::Bad,
                Verdict::Unavailable => return Verification::Unavailable,
                Verdict::NotMine => {}
            }
        }
        current.nobody_knows(client.standing, password).await
    }

    /// Whether a token is good, and whose it is; `name` is what the client says. Safe to cancel.
    pub async fn verify_token(&self, name: Option<&str>, token: &Secret) -> Verification {
        let current = self.current.load_full();
        for backend in &current.backends {
            match current.ask_token(backend, name, token).await {
                Verdict::Good(identity) => return Verification::Good(identity),
                Verdict::Bad => return Verification::Bad,
                Verdict::Unavailable => return Verification::Unavailable,
                Verdict::NotMine => {}
            }
        }
        Verification::Bad
    }

    /// What SCRAM goes on with for this name, known or not, and a fresh nonce; None: try later. Safe to cancel.
    pub async fn scram_keys(&self, name: &str) -> Option<(ScramKeys, String)> {
        let current = self.current.load_full();
        let made_up = self.made_up.as_ref()?;
        let nonce = STANDARD.encode(random::<NONCE_OCTETS>()?);
        for backend in &current.backends {
            match backend.scram_keys(name).await {
                KeysVerdict::Keys(keys) => return Some((keys, nonce)),
                KeysVerdict::None => break,
                KeysVerdict::NotMine => {}
            }
        }
        let kind = current.backends.iter().find_map(Backend::scram_kind);
        let (iterations, salt_octets) = kind.unwrap_or((scram::ITERATIONS_MIN, SALT_OCTETS_USUAL));
        Some((ScramKeys::made_up(made_up, name, iterations, salt_octets), nonce))
    }
}

fn random<const OCTETS: usize>() -> Option<[u8; OCTETS]> {
    let mut octets = [0; OCTETS];
    aws_lc_rs::rand::fill(&mut octets).ok()?;
    Some(octets)
}

/// A password that stands in a file of its own.
fn first_line(path: &std::path::Path) -> std::io::Result<config::Password> {
    use std::io::Read as _;
    let mut octets = zeroize::Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(SECRET_FILE_BYTES_MAX + 1).read_to_end(&mut octets)?;
    // Cut short, it would be another password.
    let whole = octets.contains(&b'\n') || octets.len() as u64 <= SECRET_FILE_BYTES_MAX;
    let line = octets.split(|octet| *octet == b'\n').next().filter(|_| whole).unwrap_or_default();
    match str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) {
        Ok(line) if !line.is_empty() && !line.contains('\0') => Ok(config::Password::new(line.to_owned())),
        _ => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "its first line is no password")),
    }
}

impl Current {
    fn new(backends: Backends, hashing: Hashing) -> Current {
        let Backends { list, mechanisms, cache_entries_max, .. } = backends;
        let remembers = list.iter().any(|backend| backend.cache.is_some());
        Current {
            offer: Offer::of(mechanisms),
            cache: if remembers { Cache::new(cache_entries_max) } else { None },
            backends: list,
            hashing,
        }
    }

    async fn ask(&self, backend: &Backend, client: &Client<'_>, name: &str, password: &Secret) -> Verdict {
        let remembering = backend.cache.zip(self.cache.as_ref());
        let remembering =
            remembering.map(|(time, cache)| (time, cache, cache.key(&backend.name, name, password.reveal())));
        if let Some(identity) = remembering.as_ref().and_then(|(_, cache, key)| cache.get(key)) {
            asked(&backend.name, "remembered");
            return Verdict::Good(identity);
        }
        let verdict = backend.verify_password(client, name, password, &self.hashing).await;
        asked(&backend.name, verdict.word());
        if let (Verdict::Good(identity), Some((time, cache, key))) = (&verdict, remembering) {
            cache.put(key, Arc::clone(identity), time);
        }
        verdict
    }

    /// A right answer is remembered no longer than the token is good.
    async fn ask_token(&self, backend: &Backend, name: Option<&str>, token: &Secret) -> Verdict {
        let remembering = backend.cache.zip(self.cache.as_ref());
        let remembering = remembering
            .map(|(time, cache)| (time, cache, cache.key(&backend.name, name.unwrap_or_default(), token.reveal())));
        if let Some(identity) = remembering.as_ref().and_then(|(_, cache, key)| cache.get(key)) {
            asked(&backend.name, "remembered");
            return Verdict::Good(identity);
        }
        let (verdict, good_for) = backend.verify_token(token).await;
        asked(&backend.name, verdict.word());
        if let (Verdict::Good(identity), Some((time, cache, key))) = (&verdict, remembering) {
            cache.put(key, Arc::clone(identity), time.min(good_for));
        }
        verdict
    }

    /// The work of one wrong password, done where most accounts are. With backends of several kinds, names of the
    /// others could still be told by time.
    async fn nobody_knows(&self, standing: LoginStanding, password: &Secret) -> Verification {
        let mut candidates: Vec<&Backend> = self.backends.iter().collect();
        candidates.sort_by_key(|backend| std::cmp::Reverse(backend.count()));
        for backend in candidates {
            match backend.decoy(standing, password, &self.hashing).await {
                None => {}
                Some(Verdict::Unavailable) => return Verification::Unavailable,
                Some(_) => break,
            }
        }
        Verification::Bad
    }
}
