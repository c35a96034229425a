//! Limits by a clock that stands still until it is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use governor::clock::FakeRelativeClock;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn off() -> Rates {
    Rates {
        connections_at_once_per_address: None,
        connections_at_once: None,
        connections_per_address: None,
        messages_per_address: None,
        recipients_per_address: None,
        auth_failures_per_address: None,
        auth_failures_per_account_and_address: None,
        auth_failure_delay: None,
        messages_per_identity: None,
        recipients_per_identity: None,
        keys_max: 1_000,
        memory: crate::config::MemoryMax::Off,
        stress: true,
    }
}

fn per_minute(count: u32, burst: u32) -> Option<Rate> {
    Some(Rate { count, per: MINUTE, burst })
}

fn limits(rates: &Rates) -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limits::with_clock(rates, &[], HashKey::random(), clock.clone()), clock)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_set_is_nothing_refused_and_nothing_kept() {
    let (limits, _) = limits(&off());
    for _ in 0..1_000 {
        let _open = limits.connection(ip("192.0.2.1")).unwrap();
        limits.message(ip("192.0.2.1"), Some("anna")).unwrap();
        limits.auth_failed(ip("192.0.2.1"), "anna").unwrap();
    }
    assert_eq!(limits.tracked(), 0);
}

#[test]
fn a_burst_then_the_rate_with_the_wait_told() {
    let (limits, clock) = limits(&Rates { messages_per_address: per_minute(6, 3), ..off() });
    let client = ip("192.0.2.1");
    for _ in 0..3 {
        limits.message(client, None).unwrap();
    }
    let refused = limits.message(client, None).unwrap_err();
    assert_eq!(refused.which, "messages-per-address");
    assert_eq!(refused.retry_after, Some(Duration::from_secs(10)));
    limits.message(ip("192.0.2.2"), None).unwrap();
    clock.advance(Duration::from_secs(10));
    limits.message(client, None).unwrap();
    assert!(limits.message(client, None).is_err());
    clock.advance(MINUTE);
    for _ in 0..3 {
        limits.message(client, None).unwrap();
    }
    assert!(limits.message(client, None).is_err());
}

#[test]
fn ipv6_is_counted_by_network_and_mapped_ipv4_by_address() {
    let (limits, _) = limits(&Rates { messages_per_address: per_minute(1, 1), ..off() });
    limits.message(ip("2001:db8:0:1::1"), None).unwrap();
    assert!(limits.message(ip("2001:db8:0:1:ffff::2"), None).is_err());
    limits.message(ip("2001:db8:0:2::1"), None).unwrap();
    limits.message(ip("192.0.2.1"), None).unwrap();
    assert!(limits.message(ip("::ffff:192.0.2.1"), None).is_err());
    limits.message(ip("::ffff:192.0.2.2"), None).unwrap();
}

#[test]
fn connections_at_once_count_by_guards() {
    let rates = Rates { connections_at_once: Some(3), connections_at_once_per_address: Some(2), ..off() };
    let (limits, _) = limits(&rates);
    let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
    let first = limits.connection(one).unwrap();
    let _second = limits.connection(one).unwrap();
    assert_eq!(limits.connection(one).unwrap_err().which, "connections-at-once-per-address");
    let third = limits.connection(other).unwrap();
    assert_eq!(limits.connection(other).unwrap_err().which, "connections-at-once");
    assert_eq!(limits.exempt_connection().unwrap_err().which, "connections-at-once");
    assert_eq!(limits.open_connections(), 3);
    drop(third);
    let exempt = limits.exempt_connection().unwrap();
    drop(first);
    drop(exempt);
    limits.reload(&Rates { connections_at_once: Some(1), ..off() }, &[]);
    assert_eq!(limits.connection(other).unwrap_err().which, "connections-at-once");
}

#[test]
fn the_table_of_open_connections_empties() {
    let (limits, _) = limits(&off());
    let guards: Vec<_> = (0..100).map(|last| limits.connection(ip(&format!("192.0.2.{last}"))).unwrap()).collect();
    assert_eq!(limits.open.counts().by_address.len(), 100);
    drop(guards);
    assert!(limits.open.counts().by_address.is_empty() && limits.open.counts().by_network.is_empty());
    assert_eq!(limits.open_connections(), 0);
}

#[test]
fn a_connection_refused_by_rate_is_not_open() {
    let (limits, _) = limits(&Rates { connections_per_address: per_minute(1, 1), ..off() });
    drop(limits.connection(ip("192.0.2.1")).unwrap());
    assert_eq!(limits.connection(ip("192.0.2.1")).unwrap_err().which, "connections-per-address");
    assert_eq!(limits.open_connections(), 0);
}

#[test]
fn recipients_are_charged_by_number_all_or_none() {
    let (limits, clock) = limits(&Rates { recipients_per_identity: per_minute(60, 10), ..off() });
    let (client, anna) = (ip("192.0.2.1"), Some("anna"));
    let count = |number| NonZeroU32::new(number).unwrap();
    limits.recipients(client, anna, count(8)).unwrap();
    let refused = limits.recipients(client, anna, count(3)).unwrap_err();
    assert_eq!((refused.which, refused.retry_after), ("recipients-per-identity", Some(Duration::from_secs(1))));
    limits.recipients(client, anna, count(2)).unwrap();
    assert!(limits.recipient(client, anna).is_err());
    limits.recipient(client, Some("Anna")).unwrap();
    limits.recipient(client, None).unwrap();
    clock.advance(MINUTE);
    assert_eq!(limits.recipients(client, anna, count(11)).unwrap_err().retry_after, None);
    limits.recipients(client, anna, count(10)).unwrap();
}

#[test]
fn an_attacker_elsewhere_locks_nobody_out() {
    let rates = Rates {
        auth_failures_per_address: per_minute(10, 20),
        auth_failures_per_account_and_address: per_minute(1, 5),
        ..off()
    };
    let (limits, clock) = limits(&rates);
    let (attacker, owner) = (ip("203.0.113.9"), ip("192.0.2.1"));
    for _ in 0..5 {
        limits.auth_allowed(attacker, Some("anna")).unwrap();
        limits.auth_failed(attacker, "anna").unwrap();
    }
    let refused = limits.auth_allowed(attacker, Some("anna")).unwrap_err();
    assert_eq!(refused.which, "auth-failures-per-account-and-address");
    assert_eq!(refused.retry_after, Some(MINUTE));
    limits.auth_allowed(owner, Some("anna")).unwrap();
    limits.auth_allowed(attacker, Some("otto")).unwrap();
    // Through other accounts, the address itself comes to its end.
    for account in 0..15 {
        limits.auth_failed(attacker, &format!("guess-{account}")).unwrap();
    }
    assert_eq!(limits.auth_allowed(attacker, Some("otto")).unwrap_err().which, "auth-failures-per-address");
    assert!(limits.auth_allowed(attacker, None).is_err());
    limits.auth_allowed(owner, Some("anna")).unwrap();
    clock.advance(MINUTE);
    limits.auth_allowed(attacker, Some("anna")).unwrap();
}

#[test]
fn looking_counts_nothing() {
    let (limits, _) = limits(&Rates { auth_failures_per_address: per_minute(1, 1), ..off() });
    for _ in 0..100 {
        limits.auth_allowed(ip("192.0.2.1"), Some("anna")).unwrap();
    }
    assert_eq!(limits.tracked(), 0);
}

#[test]
fn attempts_side_by_side_learn_nothing_past_the_limit() {
    let (limits, _) = limits(&Rates { auth_failures_per_address: per_minute(1, 2), ..off() });
    let client = ip("192.0.2.1");
    for _ in 0..10 {
        limits.auth_allowed(client, Some("anna")).unwrap();
    }
    // All ten were let in before the first verdict; two are told, the others only that there is a limit.
    let told = (0..9).filter(|_| limits.auth_failed(client, "anna").is_ok()).count();
    assert_eq!(told, 2);
    assert!(limits.auth_allowed(client, Some("anna")).is_err(), "and so does the one that had it right");
}

#[test]
fn a_reload_keeps_counts_of_unchanged_quotas() {
    let rates = Rates { messages_per_address: per_minute(1, 1), recipients_per_address: per_minute(1, 1), ..off() };
    let (limits, _) = limits(&rates);
    let client = ip("192.0.2.1");
    limits.message(client, None).unwrap();
    limits.recipient(client, None).unwrap();
    limits.reload(&Rates { recipients_per_address: per_minute(1, 2), keys_max: 5, ..rates.clone() }, &[]);
    assert!(limits.message(client, None).is_err());
    limits.recipient(client, None).unwrap();
    limits.reload(&Rates { messages_per_address: None, ..rates }, &[]);
    limits.message(client, None).unwrap();
}

#[test]
fn many_addresses_stay_within_bounds_and_do_not_free_the_refused() {
    let (limits, clock) = limits(&Rates { messages_per_address: per_minute(1, 3), keys_max: 500, ..off() });
    let loud = ip("192.0.2.1");
    for _ in 0..3 {
        limits.message(loud, None).unwrap();
    }
    for network in 0..20_000_u128 {
        let one_of_many = IpAddr::from((0x2001_0db8_u128 << 96 | network << 64).to_be_bytes());
        limits.message(one_of_many, None).unwrap();
    }
    assert!(limits.tracked() <= 500);
    assert!(limits.message(loud, None).is_err());
    clock.advance(4 * MINUTE);
    limits.sweep();
    assert_eq!(limits.tracked(), 0);
}

/// As many as are let in of those who come from a network.
fn let_in(limits: &Limits<FakeRelativeClock>, network: u8, come: usize) -> Vec<ConnectionGuard> {
    let address = |last: usize| ip(&format!("198.51.{network}.{}", last % 250));
    (0..come).filter_map(|last| limits.connection(address(last)).ok()).collect()
}

#[test]
fn no_network_takes_all_and_small_ones_come_in() {
    let (limits, _) = limits(&Rates { connections_at_once: Some(1_000), ..off() });
    let greedy = let_in(&limits, 1, 5_000);
    assert_eq!(greedy.len(), 800);
    assert_eq!(limits.connection(ip("198.51.1.1")).unwrap_err().which, "fair-share");
    let small: Vec<_> = (100..150).flat_map(|network| let_in(&limits, network, 2)).collect();
    assert_eq!(small.len(), 100, "who holds little is let in");
    let other = let_in(&limits, 2, 5_000);
    assert_eq!(other.len(), 80, "four fifths of what is left");
    drop((greedy, small));
    let two = (let_in(&limits, 1, 5_000).len(), other.len());
    assert_eq!(two, (736, 80), "what was let in stays, and what is free is shared");
}

#[test]
fn the_share_follows_descriptors_and_counts_ipv6_by_48() {
    let (limits, _) = limits(&off());
    limits.set_sessions_max(10);
    let address = |host: usize| ip(&format!("2001:db8:7:{host}::1"));
    let held: Vec<_> = (0..20).filter_map(|host| limits.connection(address(host)).ok()).collect();
    assert_eq!((held.len(), limits.connections_max()), (8, 10));
    let _other = limits.connection(ip("2001:db8:8::1")).unwrap();
    let own: Vec<_> = (0..20).filter_map(|_| limits.connection(ip("127.0.0.1")).ok()).collect();
    assert_eq!(own.len(), 20, "the machine itself is no stranger; descriptors are counted elsewhere");
}

#[test]
fn each_failure_makes_the_next_answer_later_for_that_address_alone() {
    let (limits, clock) = limits(&Rates { auth_failures_per_address: per_minute(1, 30), ..off() });
    let (guesser, other, first) = (ip("192.0.2.1"), ip("192.0.2.2"), Duration::from_millis(500));
    let mut waited = Vec::new();
    for _ in 0..7 {
        limits.auth_failed(guesser, "anna").unwrap();
        waited.push(limits.auth_delay(guesser, first).as_millis());
    }
    assert_eq!(waited, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    limits.auth_failed(other, "anna").unwrap();
    assert_eq!(limits.auth_delay(other, first), first);
    clock.advance(5 * MINUTE);
    assert_eq!(limits.auth_delay(guesser, first), 2 * first, "those that are forgotten do not count");
    for _ in 0..23 {
        limits.auth_failed(guesser, "anna").unwrap();
    }
    assert_eq!(limits.auth_delay(guesser, first), AUTH_DELAY_MAX);
    assert_eq!(limits.auth_delay(guesser, 2 * AUTH_DELAY_MAX), 2 * AUTH_DELAY_MAX);
}

#[test]
fn an_account_stands_by_its_own_deeds_where_it_is_known_and_by_its_neighbours_where_not() {
    let (limits, clock) = limits(&Rates {
        auth_failures_per_address: per_minute(1, 30),
        auth_failures_per_account_and_address: per_minute(1, 10),
        ..off()
    });
    let (office, elsewhere) = (ip("192.0.2.1"), ip("198.51.100.1"));
    assert_eq!(limits.standing(office, "anna"), LoginStanding::Unknown);
    limits.logged_in(office, "anna");
    limits.auth_failed(office, "otto").unwrap();
    assert_eq!(limits.standing(office, "anna"), LoginStanding::Regular);
    assert_eq!(limits.standing(office, "otto"), LoginStanding::Suspect);
    assert_eq!(limits.standing(office, "emil"), LoginStanding::Suspect);
    // What is guessed elsewhere is no matter here, and what is known here is not known there.
    limits.auth_failed(elsewhere, "anna").unwrap();
    assert_eq!(limits.standing(office, "anna"), LoginStanding::Regular);
    assert_eq!(limits.standing(elsewhere, "anna"), LoginStanding::Suspect);
    limits.auth_failed(office, "anna").unwrap();
    assert_eq!(limits.standing(office, "anna"), LoginStanding::Suspect);
    clock.advance(3 * MINUTE);
    assert_eq!(limits.standing(office, "anna"), LoginStanding::Regular);
}
