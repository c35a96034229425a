//! Groups of questions, and that another process may answer them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;

use super::{Decided, Group, How, Limits, Refused};
use crate::config::{Counted, KeyPart, Limit, LimitAction, LimitExcept, Most, Rate, Rates};
use crate::policy::limits::Subject;
use crate::state::keyed::HashKey;

const HOUR: Duration = Duration::from_secs(3_600);
const ONE: NonZeroU32 = NonZeroU32::MIN;
const ADDRESS: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn rate(burst: u32) -> Rate {
    Rate { count: 1, per: HOUR, burst }
}

fn limit(name: &str, action: LimitAction, burst: u32) -> Limit {
    Limit {
        name: name.into(),
        listeners: Vec::new(),
        count: Counted::Messages,
        per: vec![KeyPart::Address],
        most: Most::Rate(rate(burst)),
        except: LimitExcept::default(),
        action,
        reply: None,
        alarm: false,
    }
}

fn limits(rates: &Rates, rules: &[Limit]) -> Limits<FakeRelativeClock> {
    Limits::with_clock(rates, rules, HashKey::random(), FakeRelativeClock::default())
}

/// A message, as the driver asks about it.
fn message<'a>(limits: &Limits<FakeRelativeClock>, identity: Option<&'a str>) -> Group<'a, FakeRelativeClock> {
    let subject = Subject::arriving(ADDRESS, "mx");
    let rules = limits.rules().checks(&[(Counted::Messages, How::Charge, ONE)], &subject);
    Group::new(limits.message_checks(ADDRESS, identity), rules)
}

fn shown(decided: &Decided) -> (Option<&'static str>, Vec<&str>) {
    let hits = decided.hits.iter().map(|hit| hit.limit.name.as_str()).collect();
    (decided.refused.map(|refused| refused.which), hits)
}

#[test]
fn quotas_come_first_and_what_refuses_ends_it() {
    let rates = Rates { messages_per_address: Some(rate(2)), messages_per_identity: Some(rate(1)), ..Rates::default() };
    let limits = limits(&rates, &[limit("note", LimitAction::Log, 1), limit("later", LimitAction::Defer, 9)]);
    assert_eq!(shown(&message(&limits, Some("anna")).finish()), (None, vec![]));
    // The address was not charged for what the identity may not have.
    assert_eq!(shown(&message(&limits, Some("anna")).finish()), (Some("messages-per-identity"), vec![]));
    assert_eq!(shown(&message(&limits, None).finish()), (None, vec!["note"]));
    assert_eq!(shown(&message(&limits, None).finish()), (Some("messages-per-address"), vec![]));
}

#[test]
fn both_counts_of_failed_logins_are_charged_whatever_one_says() {
    let rates = Rates {
        auth_failures_per_address: Some(rate(3)),
        auth_failures_per_account_and_address: Some(rate(1)),
        ..Rates::default()
    };
    let limits = limits(&rates, &[]);
    let failed = |account| {
        let decided = Group::new(limits.auth_failure_checks(ADDRESS, account), Vec::new()).finish();
        decided.refused.map(|refused| refused.which)
    };
    assert_eq!(failed("anna"), None);
    assert_eq!(failed("anna"), Some("auth-failures-per-account-and-address"));
    assert_eq!(failed("otto"), None);
    assert_eq!(
        failed("otto"),
        Some("auth-failures-per-address"),
        "the three before were counted, and this one is told"
    );
}

#[test]
fn a_question_says_all_that_another_process_needs() {
    let rates = Rates { messages_per_address: Some(rate(2)), messages_per_identity: Some(rate(1)), ..Rates::default() };
    let limits = limits(&rates, &[limit("note", LimitAction::Log, 1)]);
    let group = message(&limits, Some("Anna"));
    let questions = group.questions();
    let said: Vec<_> = questions.iter().map(|q| (q.quota.as_str(), q.refuses, q.regardless, q.how)).collect();
    let charge = How::Charge;
    assert_eq!(
        said,
        [
            ("rates:messages-per-identity:1/3600000ms/1", true, false, charge),
            ("rates:messages-per-address:1/3600000ms/2", true, false, charge),
            ("limit:note:messages:1/3600000ms/1", false, false, charge),
        ]
    );
    assert_eq!(questions[0].key, b"\0\0\0\0\0\0\0\x04Anna");
    assert_eq!(questions[1].key, questions[2].key, "the same client is the same key, whoever counts");
}

#[test]
fn what_another_process_counted_is_known_here_when_it_goes_away() {
    let rates = Rates { messages_per_address: Some(rate(3)), ..Rates::default() };
    let limits = limits(&rates, &[limit("note", LimitAction::Log, 2)]);
    for _ in 0..2 {
        let mut group = message(&limits, None);
        group.settle([Ok(()), Ok(())]);
        assert!(group.is_over() && group.questions().is_empty());
        assert_eq!(shown(&group.finish()), (None, vec![]));
    }
    // It says no for others' messages, too; that is not counted here.
    let mut group = message(&limits, None);
    group.settle([Err(Some(HOUR))]);
    assert!(group.is_over());
    let Decided { refused, hits } = group.finish();
    assert_eq!(refused, Some(Refused { which: "messages-per-address", retry_after: Some(HOUR) }));
    assert!(hits.is_empty());
    // Away in the middle of a group: the rest is decided here.
    let mut group = message(&limits, None);
    group.settle([Ok(())]);
    assert_eq!(group.questions().len(), 1);
    assert_eq!(shown(&group.finish()), (None, vec!["note"]));
    assert_eq!(shown(&message(&limits, None).finish()), (Some("messages-per-address"), vec![]), "three were counted");
}

#[test]
fn answers_too_many_are_nobodys() {
    let limits = limits(&Rates { messages_per_address: Some(rate(3)), ..Rates::default() }, &[]);
    let mut group = message(&limits, None);
    group.settle([Ok(()), Err(None), Err(None)]);
    assert_eq!(shown(&group.finish()), (None, vec![]));
}
