//! What is to be decided at one step of a session: quotas of `[rates]`, then `[[limit]]`s, one after another until one
//! refuses. Who decides it, this process or another one, is the caller's; a group may be decided in parts.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};

use super::Refused;
use super::rates::{RateCheck, Who};
use super::rules::{Check, Checked, Hit, How};
use crate::config::Rate;
use crate::policy::limits::{account_octets, address_octets, identity_octets};

/// Asked in this order.
#[derive(Debug)]
pub struct Group<'a, C: Clock = DefaultClock> {
    items: VecDeque<Item<'a, C>>,
    decided: Decided,
    /// Something refused.
    refusing: bool,
}

#[derive(Debug)]
enum Item<'a, C: Clock> {
    Rate(RateCheck<'a, C>),
    Rule(Check<C>),
}

/// What came of a group.
#[derive(Debug, Default)]
pub struct Decided {
    /// By `[rates]`; no `[[limit]]` was asked then.
    pub refused: Option<Refused>,
    /// Every `[[limit]]` that was reached.
    pub hits: Vec<Hit>,
}

/// One part of a group, for a process that knows nothing of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question<'a> {
    /// What is counted, and by which rate: whoever counts the same at the same rate shares the count.
    pub quota: String,
    /// Whom, in unambiguous octets.
    pub key: Vec<u8>,
    pub rate: Rate,
    pub how: How,
    pub amount: NonZeroU32,
    /// What counts only if it is new.
    pub distinct: Option<&'a str>,
    /// If this one says no, those after it are not asked …
    pub refuses: bool,
    /// … but for those that are asked in any case.
    pub regardless: bool,
}

impl<'a, C: Clock + Clone> Group<'a, C> {
    #[must_use]
    pub fn new(rates: Vec<RateCheck<'a, C>>, rules: Vec<Check<C>>) -> Group<'a, C> {
        let items = rates.into_iter().map(Item::Rate).chain(rules.into_iter().map(Item::Rule)).collect();
        Group { items, decided: Decided::default(), refusing: false }
    }

    /// Whether nothing is left to be asked.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.items.front().is_none_or(|item| self.refusing && !item.regardless())
    }

    /// What is left to be asked.
    #[must_use]
    pub fn questions(&self) -> Vec<Question<'_>> {
        if self.is_over() { Vec::new() } else { self.items.iter().map(Item::question).collect() }
    }

    /// Another process has answered the first of them. What it counted is counted here, too: should it go away, this
    /// process knows at least what it asked itself.
    pub fn settle(&mut self, answers: impl IntoIterator<Item = Checked>) {
        for answer in answers {
            let Some(item) = self.next() else { return };
            if answer.is_ok() && item.how() != How::Look {
                let _ = item.decide();
            }
            self.note(item, answer);
        }
    }

    /// This process decides so many of them.
    pub fn settle_here(&mut self, count: usize) {
        for _ in 0..count {
            let Some(item) = self.next() else { return };
            let answer = item.decide();
            self.note(item, answer);
        }
    }

    /// What came of it; what nobody has answered this process does.
    #[must_use]
    pub fn finish(mut self) -> Decided {
        self.settle_here(usize::MAX);
        self.decided
    }

    fn next(&mut self) -> Option<Item<'a, C>> {
        if self.is_over() { None } else { self.items.pop_front() }
    }

    fn note(&mut self, item: Item<'a, C>, answer: Checked) {
        let Err(after) = answer else { return };
        self.refusing |= item.refuses();
        match item {
            Item::Rate(check) => self.decided.refused = Some(check.refused(after)),
            Item::Rule(check) => self.decided.hits.push(check.hit(after)),
        }
    }
}

impl<C: Clock + Clone> Item<'_, C> {
    fn refuses(&self) -> bool {
        match self {
            Item::Rate(_) => true,
            Item::Rule(check) => check.limit().action.refuses(),
        }
    }

    fn regardless(&self) -> bool {
        matches!(self, Item::Rate(check) if check.regardless)
    }

    fn how(&self) -> How {
        match self {
            Item::Rate(check) => check.how,
            Item::Rule(check) => check.how,
        }
    }

    fn decide(&self) -> Checked {
        match self {
            Item::Rate(check) => check.decide(),
            Item::Rule(check) => check.decide(),
        }
    }

    fn question(&self) -> Question<'_> {
        let (quota, key, rate, amount, distinct) = match self {
            Item::Rate(check) => {
                let key = match check.who {
                    Who::Address(ip) => address_octets(ip),
                    Who::Identity(name) => identity_octets(name),
                    Who::Account(ip, account) => account_octets(ip, account),
                };
                (format!("rates:{}", check.which()), key, check.rate(), check.amount, None)
            }
            Item::Rule(check) => {
                let limit = check.limit();
                let quota = format!("limit:{}:{}", limit.name, limit.count.name());
                (quota, check.key.clone(), check.rate(), check.amount, check.distinct.as_deref())
            }
        };
        let quota = format!("{quota}:{}/{}ms/{}", rate.count, rate.per.as_millis(), rate.burst);
        let (how, refuses, regardless) = (self.how(), self.refuses(), self.regardless());
        Question { quota, key, rate, how, amount, distinct, refuses, regardless }
    }
}
