//! `[[limit]]` by a clock that stands still until it is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;

use super::group::Group;
use super::rules::{Hit, How, Rules};
use crate::config::{Counted, KeyPart, Limit, LimitAction, LimitExcept, Most, Rate};
use crate::policy::limits::Subject;
use crate::smtp::ForwardPath;
use crate::state::keyed::{HASH_KEY_BYTES, HashKey};

const NAMES: HashKey = HashKey::from_octets([1; HASH_KEY_BYTES]);
const MINUTE: Duration = Duration::from_secs(60);

fn limit(name: &str, count: Counted, per: Vec<KeyPart>, burst: u32) -> Limit {
    Limit {
        name: name.into(),
        listeners: Vec::new(),
        count,
        per,
        most: Most::Rate(Rate { count: 1, per: MINUTE, burst }),
        except: LimitExcept::default(),
        action: LimitAction::Defer,
        reply: None,
        alarm: false,
    }
}

struct Asked {
    rules: Rules<FakeRelativeClock>,
    clock: FakeRelativeClock,
}

impl Asked {
    fn new(limits: &[Limit]) -> Asked {
        Asked::with_keys(limits, 1_000)
    }

    fn with_keys(limits: &[Limit], keys_max: usize) -> Asked {
        let clock = FakeRelativeClock::default();
        Asked { rules: Rules::new(limits, keys_max, None, NAMES, &clock), clock }
    }

    fn ask(&self, counted: Counted, how: How, amount: u32, subject: &Subject<'_>) -> Vec<Hit> {
        Group::new(Vec::new(), self.rules.checks(&[(counted, how, NonZeroU32::new(amount).unwrap())], subject))
            .finish()
            .hits
    }

    fn names(&self, counted: Counted, subject: &Subject<'_>) -> Vec<String> {
        self.ask(counted, How::Charge, 1, subject).into_iter().map(|hit| hit.limit.name.clone()).collect()
    }
}

fn from(address: &str) -> Subject<'static> {
    Subject::arriving(address.parse().unwrap(), "mx")
}

#[test]
fn the_first_that_refuses_ends_it_and_those_that_do_not_are_all_heard() {
    let messages = |name, burst| limit(name, Counted::Messages, vec![KeyPart::Address], burst);
    let asked = Asked::new(&[
        Limit { action: LimitAction::Log, ..messages("log", 1) },
        Limit { action: LimitAction::Mark, ..messages("mark", 2) },
        messages("defer", 3),
        messages("never reached", 3),
    ]);
    let client = from("192.0.2.1");
    assert!(asked.names(Counted::Messages, &client).is_empty());
    assert_eq!(asked.names(Counted::Messages, &client), ["log"]);
    assert_eq!(asked.names(Counted::Messages, &client), ["log", "mark"]);
    assert_eq!(asked.names(Counted::Messages, &client), ["log", "mark", "defer"]);
    assert!(asked.names(Counted::Messages, &from("192.0.2.2")).is_empty(), "another address");
    assert!(asked.names(Counted::Recipients, &client).is_empty(), "another count");
}

#[test]
fn what_has_happened_is_owed_up_to_the_burst() {
    let asked = Asked::new(&[limit("bytes", Counted::Bytes, vec![KeyPart::Address], 10)]);
    let client = from("192.0.2.1");
    let look = || asked.ask(Counted::Bytes, How::Look, 1, &client).pop().map(|hit| hit.retry_after);
    assert_eq!(look(), None);
    assert!(asked.ask(Counted::Bytes, How::Owe, 4, &client).is_empty());
    assert_eq!(look(), None);
    assert!(asked.ask(Counted::Bytes, How::Owe, 1_000_000, &client).is_empty());
    assert_eq!(look(), Some(Some(MINUTE * 5)), "14 are owed, of which 9 may be");
    asked.clock.advance(MINUTE * 5);
    assert_eq!(look(), None);
}

#[test]
fn distinct_recipients_count_once_in_their_time() {
    let distinct = Limit {
        most: Most::Rate(Rate { count: 2, per: MINUTE, burst: 2 }),
        ..limit("distinct", Counted::DistinctRecipients, vec![KeyPart::Address], 1)
    };
    let asked = Asked::new(&[distinct]);
    let to = |name: &str| {
        let path = ForwardPath::parse(&format!("{name}@example.org")).unwrap();
        let subject = Subject { recipient: Some(&path), ..from("192.0.2.1") };
        asked.ask(Counted::DistinctRecipients, How::Charge, 1, &subject).is_empty()
    };
    assert!(to("a") && to("b"));
    assert!(!to("c"), "a third");
    assert!(to("a") && to("B") && to("a"), "those again");
    asked.clock.advance(MINUTE / 2);
    assert!(to("a") && to("c"));
    assert!(!to("d"));
    asked.clock.advance(MINUTE / 2 + Duration::from_secs(1));
    assert!(to("a"), "it was named half a minute ago");
    assert!(to("b"), "forgotten, and counted again");
    assert!(!to("d"));
}

#[test]
fn connections_at_once_count_by_guards() {
    let at_once = |name, most, action| Limit {
        most: Most::AtOnce(most),
        action,
        ..limit(name, Counted::ConnectionsAtOnce, vec![KeyPart::Network(24, 48)], 1)
    };
    let asked = Asked::new(&[at_once("log", 1, LimitAction::Log), at_once("defer", 2, LimitAction::Defer)]);
    let enter = |address: &str| {
        let (guard, hits) = asked.rules.enter(&from(address));
        (guard, hits.into_iter().map(|hit| hit.limit.name.clone()).collect::<Vec<_>>())
    };
    let (first, none) = enter("192.0.2.1");
    let (second, log) = enter("192.0.2.2");
    assert!(none.is_empty() && log == ["log"]);
    for _ in 0..5 {
        assert_eq!(enter("192.0.2.3").1, ["log", "defer"], "who is refused does not count");
    }
    assert!(enter("198.51.100.1").1.is_empty());
    drop(second);
    assert_eq!(enter("192.0.2.3").1, ["log"]);
    drop(first);
    assert_eq!(asked.rules.tracked(), 0);
}

#[test]
fn a_reload_keeps_counts_where_they_mean_the_same() {
    let before = limit("l", Counted::Messages, vec![KeyPart::Address], 1);
    let asked = Asked::new(std::slice::from_ref(&before));
    let client = from("192.0.2.1");
    assert!(asked.names(Counted::Messages, &client).is_empty());
    let next = |limit: Limit| Asked {
        rules: Rules::new(&[limit], 1_000, Some(&asked.rules), NAMES, &asked.clock),
        clock: asked.clock.clone(),
    };
    let other_words = Limit { action: LimitAction::Refuse, reply: Some("No".into()), ..before.clone() };
    assert_eq!(next(other_words).names(Counted::Messages, &client), ["l"]);
    let other_key = Limit { per: vec![KeyPart::Network(32, 64)], ..before.clone() };
    assert!(next(other_key).names(Counted::Messages, &client).is_empty());
    let other_count = Limit { count: Counted::Recipients, ..before };
    assert!(next(other_count).names(Counted::Recipients, &client).is_empty());
}

#[test]
fn whom_an_alarm_met_is_shown() {
    let asked = Asked::new(&[Limit { alarm: true, ..limit("stolen", Counted::Messages, vec![KeyPart::Identity], 1) }]);
    let anna = Subject { identity: Some("anna"), ..from("192.0.2.1") };
    assert!(asked.names(Counted::Messages, &from("192.0.2.1")).is_empty(), "nobody has logged in");
    for _ in 0..3 {
        asked.names(Counted::Messages, &anna);
    }
    let shown = asked.rules.shown();
    assert_eq!((&shown[0]["name"], &shown[0]["hits"], &shown[0]["keys"]), (&"stolen".into(), &2.into(), &1.into()));
    assert_eq!(shown[0]["alarms"].as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["alarms"][0]["who"], "identity=anna");
}

/// So many strangers, each of whom names a recipient of its own: memory stays what `keys` says, and whoever is refused
/// stays so.
#[test]
fn four_million_addresses_stay_within_bounds() {
    const ADDRESSES: u32 = 4_000_000;
    const KEYS_MAX: usize = 50_000;
    let limits = [limit("messages", Counted::Messages, vec![KeyPart::Address], 2)];
    let asked = Asked::with_keys(&limits, KEYS_MAX);
    let loud = from("203.0.113.9");
    for _ in 0..2 {
        assert!(asked.names(Counted::Messages, &loud).is_empty());
    }
    let mut most = 0;
    for number in 0..ADDRESSES {
        let subject = Subject::arriving(std::net::Ipv4Addr::from(0x0a00_0000 + number).into(), "mx");
        assert!(asked.names(Counted::Messages, &subject).is_empty());
        if number % 100_000 == 0 {
            most = most.max(asked.rules.tracked());
        }
    }
    assert!(most.max(asked.rules.tracked()) <= KEYS_MAX, "{most}");
    assert_eq!(asked.names(Counted::Messages, &loud), ["messages"]);
    asked.clock.advance(MINUTE * 3);
    asked.rules.sweep();
    assert_eq!(asked.rules.tracked(), 0);
}
