//! Rate limits over sessions: how much one address, one account, and all together may do.
//!
//! GCRA by governor over bounded tables; synchronous, a hash and a short lock per question. IPv4 clients are counted
//! by address, IPv6 clients by /64 (what one subscriber has). It refuses to answer clients: a [`Refused`] names the
//! setting, and the session knows what that means on the wire.
//!
//! Failed logins are counted per address, and per account *at* an address; nothing is counted per account alone, so
//! nobody can lock an account's owner out from somewhere else.

mod group;
#[cfg(test)]
mod group_tests;
mod open;
mod quota;
mod rates;
mod rules;
#[cfg(test)]
mod rules_tests;
mod saved;
mod seen;
mod standing;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::{Clock, DefaultClock};

pub use self::group::{Decided, Group, Question};
pub use self::open::ConnectionGuard;
use self::open::{AtOnce, Open};
use self::quota::Quota;
pub use self::quota::{Exhausted, period};
use self::rates::Named;
pub use self::rates::{RateCheck, Who};
pub use self::rules::{Check, Checked, Hit, How, RuleGuard, Rules};
pub use self::standing::LoginStanding;
use self::standing::Regulars;
use super::keyed::HashKey;
use super::snapshot::Part;
use crate::config::{Limit, Rate, Rates};

/// The answer to a failed login is not held back for longer, unless the first one is: clients wait for so long, and
/// attackers are hardly slower for more.
pub const AUTH_DELAY_MAX: Duration = Duration::from_secs(15);
/// More would not be seen below [`AUTH_DELAY_MAX`], and has no room in a number.
const AUTH_DELAY_DOUBLINGS_MAX: u32 = 16;

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The setting's name in the configuration: `messages-per-address`.
    pub which: &'static str,
    /// From when on it would be allowed again; `None` where that depends on others (connections at once).
    pub retry_after: Option<Duration>,
}

/// All rate limits of the process. Outlives reloads.
pub struct Limits<C: Clock = DefaultClock> {
    clock: C,
    quotas: ArcSwap<Quotas<C>>,
    open: Arc<Open>,
    /// Names are counted by a keyed hash: fixed size, and no collision can be sought.
    names: HashKey,
    rules: ArcSwap<Rules<C>>,
    regulars: Arc<Regulars>,
}

impl<C: Clock> std::fmt::Debug for Limits<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").finish_non_exhaustive()
    }
}

/// One limiter per quota that is set.
struct Quotas<C: Clock> {
    keys_max: usize,
    at_once: AtOnce,
    connections_per_address: Option<Arc<Named<C>>>,
    messages_per_address: Option<Arc<Named<C>>>,
    recipients_per_address: Option<Arc<Named<C>>>,
    auth_failures_per_address: Option<Arc<Named<C>>>,
    auth_failures_per_account_and_address: Option<Arc<Named<C>>>,
    messages_per_identity: Option<Arc<Named<C>>>,
    recipients_per_identity: Option<Arc<Named<C>>>,
}

impl Limits<DefaultClock> {
    /// By the machine's monotonic clock; `names` is what names are hashed with.
    #[must_use]
    pub fn new(rates: &Rates, limits: &[Limit], names: HashKey) -> Limits<DefaultClock> {
        Limits::with_clock(rates, limits, names, DefaultClock::default())
    }

    /// What of all this a snapshot keeps: whatever counts by time.
    #[must_use]
    pub fn parts(&self) -> Vec<Box<dyn Part>> {
        let quotas = self.quotas.load();
        let named = quotas.all().into_iter().flatten().map(|quota| saved::of_rates(Arc::clone(quota)));
        let regulars = saved::of_regulars(Arc::clone(&self.regulars), quotas.keys_max);
        named.chain(self.rules.load().parts()).chain([regulars]).collect()
    }
}

impl<C: Clock + Clone> Limits<C> {
    /// By a clock of the caller's.
    #[must_use]
    pub fn with_clock(rates: &Rates, limits: &[Limit], names: HashKey, clock: C) -> Limits<C> {
        let rules = Rules::new(limits, rates.keys_max, None, names, &clock);
        let quotas = Quotas::new(rates, None, &clock);
        Limits {
            clock,
            quotas: ArcSwap::from_pointee(quotas),
            open: Arc::new(Open::default()),
            names,
            rules: ArcSwap::from_pointee(rules),
            regulars: Arc::default(),
        }
    }

    /// `[[limit]]`, as they are now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules<C>> {
        self.rules.load_full()
    }

    /// Takes new limits. What a quota has counted is kept where the quota is the same as before; counts of open
    /// connections are always kept.
    pub fn reload(&self, rates: &Rates, limits: &[Limit]) {
        let rules = Rules::new(limits, rates.keys_max, Some(&self.rules.load()), self.names, &self.clock);
        self.rules.store(Arc::new(rules));
        let old = self.quotas.load();
        self.quotas.store(Arc::new(Quotas::new(rates, Some(&old), &self.clock)));
    }

    /// A connection was accepted. It counts as open until the guard is dropped; a refused one does not count.
    ///
    /// # Errors
    /// `connections-at-once`, `connections-at-once-per-address`, `fair-share`, `connections-per-address`.
    pub fn connection(&self, ip: IpAddr) -> Result<ConnectionGuard, Refused> {
        let guard = self.enter(ip)?;
        rates::decide(&self.connection_checks(ip))?;
        Ok(guard)
    }

    /// The same as far as connections at once are concerned, which is nobody's business but this process's.
    ///
    /// # Errors
    /// `connections-at-once`, `connections-at-once-per-address`, `fair-share`.
    pub fn enter(&self, ip: IpAddr) -> Result<ConnectionGuard, Refused> {
        Open::enter(&self.open, Some(ip), &self.quotas.load().at_once)
    }

    /// A connection from a network for which `rates = false`: only the total counts.
    ///
    /// # Errors
    /// `connections-at-once`.
    pub fn exempt_connection(&self) -> Result<ConnectionGuard, Refused> {
        Open::enter(&self.open, None, &self.quotas.load().at_once)
    }

    /// Connections open now.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.open.total()
    }

    /// More sessions than this cannot be, whatever the configuration says: the descriptors they need.
    pub fn set_sessions_max(&self, sessions: u32) {
        self.open.set_ceiling(sessions);
    }

    /// How many connections there can be at once.
    #[must_use]
    pub fn connections_max(&self) -> u32 {
        self.open.cap(&self.quotas.load().at_once)
    }

    /// A message begins (MAIL).
    ///
    /// # Errors
    /// `messages-per-identity`, `messages-per-address`.
    pub fn message(&self, ip: IpAddr, identity: Option<&str>) -> Result<(), Refused> {
        rates::decide(&self.message_checks(ip, identity))
    }

    /// A recipient is named (RCPT).
    ///
    /// # Errors
    /// `recipients-per-identity`, `recipients-per-address`.
    pub fn recipient(&self, ip: IpAddr, identity: Option<&str>) -> Result<(), Refused> {
        self.recipients(ip, identity, NonZeroU32::MIN)
    }

    /// So many recipients at once, all or none: what a filter adds.
    ///
    /// # Errors
    /// As [`recipient`](Limits::recipient); more than the burst are never allowed, and `retry_after` is `None` then.
    pub fn recipients(&self, ip: IpAddr, identity: Option<&str>, count: NonZeroU32) -> Result<(), Refused> {
        rates::decide(&self.recipient_checks(ip, identity, count))
    }

    /// Whether a login may be tried. To be asked before the password is looked at, and **again after it was found
    /// good**: of many attempts side by side, those that end after the limit was reached must learn nothing.
    /// Without an account (it is not known yet), only the address is judged. Counts nothing.
    ///
    /// # Errors
    /// `auth-failures-per-address`, `auth-failures-per-account-and-address`.
    pub fn auth_allowed(&self, ip: IpAddr, account: Option<&str>) -> Result<(), Refused> {
        rates::decide(&self.auth_checks(ip, account))
    }

    /// A login failed: counts it.
    ///
    /// # Errors
    /// The limit was reached already (by attempts side by side): the client is told of the limit, not that the
    /// password was wrong.
    pub fn auth_failed(&self, ip: IpAddr, account: &str) -> Result<(), Refused> {
        rates::decide(&self.auth_failure_checks(ip, account))
    }

    /// A login was good: its account is a regular at this address.
    pub fn logged_in(&self, ip: IpAddr, account: &str) {
        self.regulars.keep(self.pair_key(ip, account), self.quotas.load().keys_max);
    }

    /// How whoever wants to log in stands.
    #[must_use]
    pub fn standing(&self, ip: IpAddr, account: &str) -> LoginStanding {
        let quotas = self.quotas.load();
        let pair = self.pair_key(ip, account);
        let owes = |quota: &Option<Arc<Named<C>>>, key| quota.as_ref().is_some_and(|named| named.quota.debt(key) > 0);
        if owes(&quotas.auth_failures_per_account_and_address, pair) {
            LoginStanding::Suspect
        } else if self.regulars.knows(pair) {
            LoginStanding::Regular
        } else if owes(&quotas.auth_failures_per_address, address_key(ip)) {
            LoginStanding::Suspect
        } else {
            LoginStanding::Unknown
        }
    }

    /// How long the answer to a login that has just failed is to be held back, for it is counted already: `first`, and
    /// twice as long with each further failure of this address that is not forgotten, up to [`AUTH_DELAY_MAX`].
    #[must_use]
    pub fn auth_delay(&self, ip: IpAddr, first: Duration) -> Duration {
        let quotas = self.quotas.load();
        let failures = quotas.auth_failures_per_address.as_ref().map_or(1, |named| named.quota.debt(address_key(ip)));
        let doublings = failures.saturating_sub(1).min(AUTH_DELAY_DOUBLINGS_MAX);
        first.saturating_mul(1 << doublings).min(AUTH_DELAY_MAX.max(first))
    }

    /// Forgets keys whose counts are as good as new, and gives their memory back. For a timer; the tables are
    /// bounded without it.
    pub fn sweep(&self) {
        for quota in self.quotas.load().all().into_iter().flatten() {
            quota.quota.sweep();
        }
        self.rules.load().sweep();
    }

    /// Keys remembered in all tables together.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.quotas.load().all().into_iter().flatten().map(|quota| quota.quota.len()).sum::<usize>()
            + self.rules.load().tracked()
            + self.regulars.len()
    }

    fn name_key(&self, name: &str) -> u64 {
        self.names.hash(&[name.as_bytes()])
    }

    fn pair_key(&self, ip: IpAddr, account: &str) -> u64 {
        self.names.hash(&[&address_key(ip).to_le_bytes(), account.as_bytes()])
    }
}

/// What an address is counted as. IPv6 by its upper half; IPv4 inside `::/32`, from which nobody calls.
fn address_key(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => u64::try_from(u128::from(v6) >> 64).unwrap_or(0),
    }
}

impl<C: Clock + Clone> Quotas<C> {
    fn new(rates: &Rates, old: Option<&Quotas<C>>, clock: &C) -> Quotas<C> {
        let quota = |which: &'static str, rate: Option<Rate>, of: fn(&Quotas<C>) -> &Option<Arc<Named<C>>>| {
            let rate = rate?;
            let kept = old.and_then(|old| of(old).as_ref()).filter(|old| old.quota.rate == rate);
            if let Some(kept) = kept {
                kept.quota.set_keys_max(rates.keys_max);
                return Some(Arc::clone(kept));
            }
            Some(Arc::new(Named { which, quota: Quota::new(rate, rates.keys_max, clock) }))
        };
        Quotas {
            keys_max: rates.keys_max,
            at_once: AtOnce { all: rates.connections_at_once, per_address: rates.connections_at_once_per_address },
            connections_per_address: quota("connections-per-address", rates.connections_per_address, |old| {
                &old.connections_per_address
            }),
            messages_per_address: quota("messages-per-address", rates.messages_per_address, |old| {
                &old.messages_per_address
            }),
            recipients_per_address: quota("recipients-per-address", rates.recipients_per_address, |old| {
                &old.recipients_per_address
            }),
            auth_failures_per_address: quota("auth-failures-per-address", rates.auth_failures_per_address, |old| {
                &old.auth_failures_per_address
            }),
            auth_failures_per_account_and_address: quota(
                "auth-failures-per-account-and-address",
                rates.auth_failures_per_account_and_address,
                |old| &old.auth_failures_per_account_and_address,
            ),
            messages_per_identity: quota("messages-per-identity", rates.messages_per_identity, |old| {
                &old.messages_per_identity
            }),
            recipients_per_identity: quota("recipients-per-identity", rates.recipients_per_identity, |old| {
                &old.recipients_per_identity
            }),
        }
    }

    fn all(&self) -> [Option<&Arc<Named<C>>>; 7] {
        [
            self.connections_per_address.as_ref(),
            self.messages_per_address.as_ref(),
            self.recipients_per_address.as_ref(),
            self.auth_failures_per_address.as_ref(),
            self.auth_failures_per_account_and_address.as_ref(),
            self.messages_per_identity.as_ref(),
            self.recipients_per_identity.as_ref(),
        ]
    }
}
