//! The quotas of `[rates]` as questions: about whom, and how it is counted. Another process may answer in the place of
//! this one, so whom it is about is kept until somebody has answered.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};

use super::quota::{Exhausted, Quota};
use super::rules::{Checked, How};
use super::{Limits, Quotas, Refused, address_key};
use crate::config::Rate;

/// A quota of `[rates]`.
pub(super) struct Named<C: Clock> {
    pub(super) which: &'static str,
    pub(super) quota: Quota<C>,
}

impl<C: Clock> Named<C> {
    fn refused(&self, retry_after: Exhausted) -> Refused {
        Refused { which: self.which, retry_after }
    }
}

/// One that is set, or none.
type Set<C> = Option<Arc<Named<C>>>;

/// Whom a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who<'a> {
    Address(IpAddr),
    Identity(&'a str),
    /// An account at an address.
    Account(IpAddr, &'a str),
}

/// One quota asked about somebody.
pub struct RateCheck<'a, C: Clock = DefaultClock> {
    named: Arc<Named<C>>,
    /// Of `who`, in this process.
    key: u64,
    pub who: Who<'a>,
    pub how: How,
    pub amount: NonZeroU32,
    /// It is asked even where the one before it refused.
    pub regardless: bool,
}

impl<C: Clock> std::fmt::Debug for RateCheck<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} by {:?} {}", self.who, self.named.which, self.how, self.amount)
    }
}

impl<C: Clock + Clone> RateCheck<'_, C> {
    /// The setting's name in the configuration.
    #[must_use]
    pub fn which(&self) -> &'static str {
        self.named.which
    }

    #[must_use]
    pub fn rate(&self) -> Rate {
        self.named.quota.rate
    }

    pub(super) fn refused(&self, retry_after: Exhausted) -> Refused {
        self.named.refused(retry_after)
    }

    /// Asks this process.
    pub(super) fn decide(&self) -> Checked {
        match self.how {
            How::Charge => self.named.quota.charge(self.key, self.amount),
            How::Look => self.named.quota.look(self.key),
            How::Owe => {
                self.named.quota.owe(self.key, self.amount);
                Ok(())
            }
        }
    }
}

/// Asks this process, one after another until one of them refuses. Where several do, the last one is told.
pub(super) fn decide<C: Clock + Clone>(checks: &[RateCheck<'_, C>]) -> Result<(), Refused> {
    let mut outcome = Ok(());
    for check in checks {
        if outcome.is_err() && !check.regardless {
            break;
        }
        if let Err(after) = check.decide() {
            outcome = Err(check.refused(after));
        }
    }
    outcome
}

impl<C: Clock + Clone> Limits<C> {
    /// A connection was accepted: `connections-per-address`.
    #[must_use]
    pub fn connection_checks(&self, ip: IpAddr) -> Vec<RateCheck<'static, C>> {
        let quotas = self.quotas.load();
        let rate = quotas.connections_per_address.as_ref();
        rate.map(|named| self.check(named, Who::Address(ip), How::Charge, NonZeroU32::MIN)).into_iter().collect()
    }

    /// A message begins (MAIL): `messages-per-identity`, `messages-per-address`.
    #[must_use]
    pub fn message_checks<'a>(&self, ip: IpAddr, identity: Option<&'a str>) -> Vec<RateCheck<'a, C>> {
        let quotas = self.quotas.load();
        let both = (&quotas.messages_per_identity, &quotas.messages_per_address);
        self.sender_checks(both, ip, identity, NonZeroU32::MIN)
    }

    /// So many recipients are named (RCPT), all or none: `recipients-per-identity`, `recipients-per-address`.
    #[must_use]
    pub fn recipient_checks<'a>(
        &self,
        ip: IpAddr,
        identity: Option<&'a str>,
        count: NonZeroU32,
    ) -> Vec<RateCheck<'a, C>> {
        let quotas = self.quotas.load();
        self.sender_checks((&quotas.recipients_per_identity, &quotas.recipients_per_address), ip, identity, count)
    }

    /// Whether a login may be tried: `auth-failures-per-address`, `auth-failures-per-account-and-address`. Counts
    /// nothing.
    #[must_use]
    pub fn auth_checks<'a>(&self, ip: IpAddr, account: Option<&'a str>) -> Vec<RateCheck<'a, C>> {
        let quotas = self.quotas.load();
        let address = quotas.auth_failures_per_address.as_ref();
        let address = address.map(|named| self.check(named, Who::Address(ip), How::Look, NonZeroU32::MIN));
        let pair = quotas.auth_failures_per_account_and_address.as_ref().zip(account);
        let pair =
            pair.map(|(named, account)| self.check(named, Who::Account(ip, account), How::Look, NonZeroU32::MIN));
        address.into_iter().chain(pair).collect()
    }

    /// A login failed: the same, counted, and each whatever the other says.
    #[must_use]
    pub fn auth_failure_checks<'a>(&self, ip: IpAddr, account: &'a str) -> Vec<RateCheck<'a, C>> {
        let quotas: &Quotas<C> = &self.quotas.load();
        let pair = quotas.auth_failures_per_account_and_address.as_ref();
        let pair = pair.map(|named| self.check(named, Who::Account(ip, account), How::Charge, NonZeroU32::MIN));
        let address = quotas.auth_failures_per_address.as_ref();
        let address = address.map(|named| self.check(named, Who::Address(ip), How::Charge, NonZeroU32::MIN));
        let address = address.map(|check| RateCheck { regardless: true, ..check });
        pair.into_iter().chain(address).collect()
    }

    fn sender_checks<'a>(
        &self,
        (per_identity, per_address): (&Set<C>, &Set<C>),
        ip: IpAddr,
        identity: Option<&'a str>,
        count: NonZeroU32,
    ) -> Vec<RateCheck<'a, C>> {
        let identity = per_identity.as_ref().zip(identity);
        let identity = identity.map(|(named, name)| self.check(named, Who::Identity(name), How::Charge, count));
        let address = per_address.as_ref().map(|named| self.check(named, Who::Address(ip), How::Charge, count));
        identity.into_iter().chain(address).collect()
    }

    fn check<'a>(&self, named: &Arc<Named<C>>, who: Who<'a>, how: How, amount: NonZeroU32) -> RateCheck<'a, C> {
        let key = match who {
            Who::Address(ip) => address_key(ip),
            Who::Identity(name) => self.name_key(name),
            Who::Account(ip, account) => self.pair_key(ip, account),
        };
        RateCheck { named: Arc::clone(named), key, who, how, amount, regardless: false }
    }
}
