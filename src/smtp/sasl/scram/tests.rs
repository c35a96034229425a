//! The example of RFC 7677, what may not pass, and messages of all kinds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::keys::hmac;
use super::*;
use crate::smtp::Reply;
use crate::smtp::sasl::{ChannelBinding, Secret};

/// RFC 7677 section 3.
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CLIENT_PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

/// PBKDF2 as RFC 5802 section 2.2 spells it out.
fn salted(password: &[u8], salt: &[u8], iterations: u32) -> [u8; KEY_OCTETS] {
    let mut last = hmac(password, &[salt, &[0, 0, 0, 1]].concat());
    let mut sum = last;
    for _ in 1..iterations {
        last = hmac(password, &last);
        sum.iter_mut().zip(last).for_each(|(octet, more)| *octet ^= more);
    }
    sum
}

fn pencil() -> ScramKeys {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    ScramKeys::from_salted(&salted(b"pencil", &salt, 4_096), salt, 4_096)
}

fn begin(mechanism: Mechanism, channel: Channel, message: &str) -> Step {
    Exchange::begin(mechanism, Some(&Secret::new(STANDARD.encode(message).into())), channel)
}

fn text(reply: &Reply) -> String {
    assert_eq!(reply.code, 334);
    String::from_utf8(STANDARD.decode(reply.text.as_bytes()).unwrap()).unwrap()
}

/// After the client's first message and ours.
fn answered(mechanism: Mechanism, channel: Channel, message: &str) -> (String, Exchange) {
    let Step::Keys { identity, first } = begin(mechanism, channel, message) else { panic!("no keys are asked for") };
    assert_eq!(identity, "user");
    let Step::Challenge(said, exchange) = first.go_on(pencil(), SERVER_NONCE) else { panic!("no challenge") };
    (text(&said), exchange)
}

fn last_word(exchange: Exchange, message: &str) -> Step {
    exchange.respond(STANDARD.encode(message).as_bytes())
}

/// The final message of a client that has the password.
fn with_proof(client_bare: &str, server_first: &str, without_proof: &str) -> String {
    let keys = pencil();
    let client_key = hmac(&salted(b"pencil", &keys.salt, 4_096), b"Client Key");
    let signature = hmac(&keys.stored_key, format!("{client_bare},{server_first},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

#[test]
fn the_example_of_the_rfc() {
    let (said, exchange) = answered(Mechanism::ScramSha256, Channel::default(), CLIENT_FIRST);
    assert_eq!(said, format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    let Step::Proven { identity, last } = last_word(exchange, &format!("c=biws,r={NONCE},p={CLIENT_PROOF}")) else {
        panic!("not proven")
    };
    assert_eq!(identity, "user");
    assert_eq!(text(&last.unwrap()), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn a_proof_is_good_for_one_conversation() {
    let bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    let disproven = Step::Disproven { identity: "user".to_owned() };
    let other_proof = CLIENT_PROOF.replacen('d', "e", 1);
    let answer =
        |message: &str| last_word(answered(Mechanism::ScramSha256, Channel::default(), CLIENT_FIRST).1, message);
    assert_eq!(answer(&format!("c=biws,r={NONCE},p={other_proof}")), disproven);
    assert_eq!(answer(&format!("c=biws,r={NONCE}x,p={CLIENT_PROOF}")), disproven);
    let server_first = format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    // A right proof over a nonce or a header that is not this conversation's.
    let header = with_proof(bare, &server_first, &format!("c=eSws,r={NONCE}"));
    assert_eq!(answer(&header), disproven, "the header said `n` before");
    let nonce = with_proof(bare, &server_first, "c=biws,r=rOprNGfwEbeRWgbNEkqO");
    assert_eq!(answer(&nonce), disproven);
    let right = with_proof(bare, &server_first, &format!("c=biws,r={NONCE}"));
    assert!(matches!(answer(&right), Step::Proven { .. }));
    for malformed in ["", "c=biws", &format!("r={NONCE},c=biws,p={CLIENT_PROOF}"), &format!("c=biws,r={NONCE},p=AAAA")]
    {
        assert_eq!(answer(malformed), Step::Failed(replies::AUTH_MALFORMED), "{malformed}");
    }
}

#[test]
fn plus_is_bound_to_the_connection() {
    let channel =
        |octet: u8| Channel { binding: Some(ChannelBinding::new([octet; 32])), plus_offered: true, certified: None };
    let first = "p=tls-exporter,,n=user,r=abc";
    let final_message = |bound_to: u8| {
        let (said, exchange) = answered(Mechanism::ScramSha256Plus, channel(7), first);
        let bound = [b"p=tls-exporter,,".as_slice(), &[bound_to; 32]].concat();
        let without_proof = format!("c={},r=abc{SERVER_NONCE}", STANDARD.encode(bound));
        last_word(exchange, &with_proof("n=user,r=abc", &said, &without_proof))
    };
    assert!(matches!(final_message(7), Step::Proven { .. }));
    // Somebody in between has another connection to the client.
    assert!(matches!(final_message(8), Step::Disproven { .. }));

    let failed = Step::Failed(replies::AUTH_FAILED);
    let malformed = Step::Failed(replies::AUTH_MALFORMED);
    let plus = |message| begin(Mechanism::ScramSha256Plus, channel(7), message);
    assert_eq!(plus("p=tls-unique,,n=user,r=abc"), failed);
    assert_eq!(plus("n,,n=user,r=abc"), malformed);
    assert_eq!(plus("y,,n=user,r=abc"), malformed);
    assert_eq!(begin(Mechanism::ScramSha256Plus, Channel::default(), first), failed, "there is nothing to bind to");
    assert_eq!(begin(Mechanism::ScramSha256, channel(7), first), failed);
    // The downgrade: the client could have, and believes that we could not.
    assert_eq!(begin(Mechanism::ScramSha256, channel(7), "y,,n=user,r=abc"), failed);
    assert!(matches!(begin(Mechanism::ScramSha256, Channel::default(), "y,,n=user,r=abc"), Step::Keys { .. }));
    assert!(matches!(begin(Mechanism::ScramSha256, channel(7), "n,,n=user,r=abc"), Step::Keys { .. }));
}

#[test]
fn names_are_unescaped_and_nobody_acts_for_another() {
    let step = |message: &str| begin(Mechanism::ScramSha256, Channel::default(), message);
    let name = |message: &str| match step(message) {
        Step::Keys { identity, .. } => identity,
        other => panic!("{other:?}"),
    };
    assert_eq!(name("n,,n=a=2Cb=3Dc,r=x"), "a,b=c");
    assert_eq!(name("n,a=user,n=user,r=x"), "user");
    assert_eq!(name("n,,n=user,r=x,later=thing"), "user");
    assert_eq!(step("n,a=root,n=user,r=x"), Step::Failed(replies::AUTH_FAILED));
    let long = format!("n,,n=user,r={}", "x".repeat(129));
    for malformed in [
        "",
        "n",
        "n,,",
        "n,,n=,r=x",
        "n,,n=user",
        "n,,n=user,r=",
        "n,,r=x,n=user",
        "n,,m=must,n=user,r=x",
        "n,b,n=user,r=x",
        "n,,n=us=2Eer,r=x",
        "n,,n=us=,r=x",
        "n,,n=us\ner,r=x",
        "n,,n=user,r=a b",
        "z,,n=user,r=x",
        &long,
    ] {
        assert_eq!(step(malformed), Step::Failed(replies::AUTH_MALFORMED), "{malformed}");
    }
}

#[test]
fn without_an_initial_response_it_is_asked_for_and_can_be_cancelled() {
    let Step::Challenge(said, exchange) = Exchange::begin(Mechanism::ScramSha256, None, Channel::default()) else {
        panic!("no challenge")
    };
    assert_eq!(text(&said), "");
    assert!(matches!(exchange.respond(STANDARD.encode(CLIENT_FIRST).as_bytes()), Step::Keys { .. }));
    let (_, exchange) = answered(Mechanism::ScramSha256, Channel::default(), CLIENT_FIRST);
    assert_eq!(exchange.respond(b"*"), Step::Failed(replies::AUTH_CANCELLED));
}

#[test]
fn keys_are_read_as_they_are_written_and_do_not_print() {
    let keys = pencil();
    assert_eq!(ScramKeys::parse(&keys.to_text()), Some(keys.clone()));
    let text = keys.to_text();
    assert!(text.starts_with("4096,W22ZaJ0SNY7soEsUEjb6gQ==,"));
    assert_eq!(format!("{keys:?}"), "ScramKeys { iterations: 4096, .. }");
    for wrong in ["", "4096", "0,AA==,AA==,AA==", &text.replacen("4096", "+4096", 1), &format!("{text},"), &text[..80]]
    {
        assert_eq!(ScramKeys::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn made_up_keys_stay_the_same_and_belong_to_their_name() {
    let made_up = |key: &[u8], name| ScramKeys::made_up(key, name, 5_000, 40);
    let keys = made_up(b"key", "nobody");
    assert_eq!((keys.iterations, keys.salt.len()), (5_000, 40));
    assert_eq!(keys, made_up(b"key", "nobody"));
    assert_ne!(keys.salt, made_up(b"key", "somebody").salt);
    assert_ne!(keys.salt, made_up(b"another key", "nobody").salt);
    assert_ne!(keys.stored_key, keys.server_key);
}

proptest! {
    #[test]
    fn no_message_is_taken_for_a_proof(first in ".{0,80}", last in ".{0,80}", octets in proptest::collection::vec(any::<u8>(), 0..60)) {
        for message in [first.as_bytes(), &octets] {
            let initial = Secret::new(STANDARD.encode(message).into());
            for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha256Plus] {
                let step = Exchange::begin(mechanism, Some(&initial), Channel::default());
                let Step::Keys { identity, first } = step else { continue };
                prop_assert!(!identity.is_empty() && !identity.contains(char::is_control));
                let Step::Challenge(_, exchange) = first.go_on(pencil(), SERVER_NONCE) else { continue };
                let proven = matches!(exchange.respond(STANDARD.encode(&last).as_bytes()), Step::Proven { .. });
                prop_assert!(!proven);
            }
        }
    }
}
