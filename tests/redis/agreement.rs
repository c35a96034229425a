//! What the script decides is what one gateway alone would have decided, question by question, at any time.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wasmilter::config::{Counted, KeyPart, Limit, LimitAction, LimitExcept, Most, Rate, Rates};
use wasmilter::policy::limits::Subject;
use wasmilter::shared::Shared;
use wasmilter::smtp::ForwardPath;
use wasmilter::state::keyed::HashKey;
use wasmilter::state::limits::{Decided, Group, How, Limits};

use crate::server::Redis;
use crate::shared::connected;

/// Sequences, and the most steps of one.
const SEQUENCES: u32 = 150;
const STEPS_MAX: usize = 40;
/// Somewhere in 2027, as the script counts.
const BEGAN_MICROS: u64 = 70_000_000_000_000;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Message(u8, Option<u8>),
    Recipients(u8, Option<u8>, u32),
    Octets(u8, u32),
    Errors(u8, u32),
    Login(u8, u8),
    FailedLogin(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (who, name) = (0..3_u8, 0..3_u8);
    prop_oneof![
        3 => prop_oneof![1..2_000_u64, 1..200_000_000_u64].prop_map(Step::Wait),
        4 => (who.clone(), prop::option::of(name.clone())).prop_map(|(a, b)| Step::Message(a, b)),
        4 => (who.clone(), prop::option::of(name.clone()), 1..6_u32).prop_map(|(a, b, c)| Step::Recipients(a, b, c)),
        1 => (who.clone(), 1..2_000_u32).prop_map(|(a, b)| Step::Octets(a, b)),
        1 => (who.clone(), 1..9_u32).prop_map(|(a, b)| Step::Errors(a, b)),
        1 => (who.clone(), name.clone()).prop_map(|(a, b)| Step::Login(a, b)),
        2 => (who, name).prop_map(|(a, b)| Step::FailedLogin(a, b)),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    // One of them takes a whole number of microseconds to be forgotten.
    let per = prop_oneof![Just((1, 1)), Just((3, 60)), Just((50, 60)), Just((600, 3_600)), Just((8, 1))];
    (per, 1..7_u32).prop_map(|((count, seconds), burst)| Rate { count, per: Duration::from_secs(seconds), burst })
}

#[derive(Debug, Clone)]
struct House {
    rates: Rates,
    rules: Vec<Limit>,
}

fn limit() -> impl Strategy<Value = Limit> {
    let count = prop::sample::select(vec![
        Counted::Messages,
        Counted::Recipients,
        Counted::DistinctRecipients,
        Counted::Bytes,
        Counted::AuthFailures,
        Counted::Errors,
    ]);
    let action =
        prop::sample::select(vec![LimitAction::Defer, LimitAction::Refuse, LimitAction::Mark, LimitAction::Log]);
    let per = prop::sample::select(vec![vec![], vec![KeyPart::Address], vec![KeyPart::Network(24, 48)]]);
    (count, action, per, rate()).prop_map(|(count, action, per, rate)| Limit {
        name: String::new(),
        listeners: Vec::new(),
        count,
        per,
        most: Most::Rate(rate),
        except: LimitExcept::default(),
        action,
        reply: None,
        alarm: false,
    })
}

fn house() -> impl Strategy<Value = House> {
    let some = || prop::option::of(rate());
    let rates = (some(), some(), some(), some(), some(), some());
    (rates, prop::collection::vec(limit(), 0..6)).prop_map(|(rates, mut rules)| {
        for (at, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("rule-{at}");
        }
        let rates = Rates {
            messages_per_address: rates.0,
            recipients_per_address: rates.1,
            messages_per_identity: rates.2,
            recipients_per_identity: rates.3,
            auth_failures_per_address: rates.4,
            auth_failures_per_account_and_address: rates.5,
            ..Rates::default()
        };
        House { rates, rules }
    })
}

fn address(which: u8) -> IpAddr {
    [[192, 0, 2, 1], [192, 0, 2, 2], [198, 51, 100, 1]][usize::from(which)].into()
}

const NAMES: [&str; 3] = ["anna", "Anna", "otto"];

/// The group of a step. Both houses are asked the same.
fn group<'a>(
    limits: &Limits<FakeRelativeClock>,
    step: &Step,
    recipients: &'a [ForwardPath],
) -> Group<'a, FakeRelativeClock> {
    let one = NonZeroU32::MIN;
    let name = |which: &Option<u8>| which.map(|which| NAMES[usize::from(which)]);
    let rules = |who: u8, recipient, asks: &[(Counted, How, NonZeroU32)]| {
        limits.rules().checks(asks, &Subject { recipient, ..Subject::arriving(address(who), "mx") })
    };
    let many = |count: &u32| NonZeroU32::new(*count).unwrap();
    match step {
        Step::Wait(_) => Group::new(Vec::new(), Vec::new()),
        Step::Message(who, login) => {
            let asks = [
                (Counted::Messages, How::Charge, one),
                (Counted::Bytes, How::Look, one),
                (Counted::Errors, How::Look, one),
            ];
            Group::new(limits.message_checks(address(*who), name(login)), rules(*who, None, &asks))
        }
        Step::Recipients(who, login, count) => {
            let asks =
                [(Counted::Recipients, How::Charge, many(count)), (Counted::DistinctRecipients, How::Charge, one)];
            let recipient = &recipients[*count as usize % recipients.len()];
            let rates = limits.recipient_checks(address(*who), name(login), many(count));
            Group::new(rates, rules(*who, Some(recipient), &asks))
        }
        Step::Octets(who, kib) => Group::new(Vec::new(), rules(*who, None, &[(Counted::Bytes, How::Owe, many(kib))])),
        Step::Errors(who, count) => {
            Group::new(Vec::new(), rules(*who, None, &[(Counted::Errors, How::Owe, many(count))]))
        }
        Step::Login(who, account) => {
            let rates = limits.auth_checks(address(*who), Some(NAMES[usize::from(*account)]));
            Group::new(rates, rules(*who, None, &[(Counted::AuthFailures, How::Look, one)]))
        }
        Step::FailedLogin(who, account) => {
            let rates = limits.auth_failure_checks(address(*who), NAMES[usize::from(*account)]);
            Group::new(rates, rules(*who, None, &[(Counted::AuthFailures, How::Charge, one)]))
        }
    }
}

fn shown(decided: &Decided) -> String {
    let hits: Vec<_> = decided.hits.iter().map(|hit| (hit.limit.name.as_str(), hit.retry_after)).collect();
    format!("{:?} {hits:?}", decided.refused)
}

/// The same steps here and there.
async fn compare(shared: &Arc<Shared>, house: &House, steps: &[Step]) -> Result<(), TestCaseError> {
    let (clock, idle) = (FakeRelativeClock::default(), FakeRelativeClock::default());
    let here = Limits::with_clock(&house.rates, &house.rules, HashKey::random(), clock.clone());
    // Only for its questions, and for what becomes of the answers.
    let there = Limits::with_clock(&house.rates, &house.rules, HashKey::random(), idle);
    let recipients = ["a@example.org", "B@example.org", "b@example.org"].map(|text| ForwardPath::parse(text).unwrap());
    let mut now = BEGAN_MICROS;
    for (at, step) in steps.iter().enumerate() {
        if let Step::Wait(micros) = step {
            clock.advance(Duration::from_micros(*micros));
            now += micros;
            continue;
        }
        let decided_here = group(&here, step, &recipients).finish();
        let mut asked = group(&there, step, &recipients);
        let answers = shared.decide_at(&asked.questions(), now).await.unwrap();
        asked.settle(answers);
        prop_assert!(asked.is_over(), "step {at} {step:?}: answers are missing");
        prop_assert_eq!(shown(&decided_here), shown(&asked.finish()), "step {} {:?}", at, step);
    }
    Ok(())
}

#[test]
fn the_script_and_this_process_decide_alike() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shared = runtime.block_on(connected(&format!("redis = \"{}\"\ntimeout = \"2s\"", redis.url())));
    let mut runner = TestRunner::new(Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() });
    let strategy = (house(), prop::collection::vec(step(), 1..STEPS_MAX));
    let outcome = runner.run(&strategy, |(house, steps)| {
        redis.say(&["FLUSHALL"]);
        runtime.block_on(compare(&shared, &house, &steps))
    });
    outcome.unwrap_or_else(|why| panic!("{why}"));
}
