//! PLAIN, LOGIN, EXTERNAL and the tokens; SCRAM has tests of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

fn step(mechanism: Mechanism, initial: Option<&str>) -> Step {
    Exchange::begin(mechanism, initial.map(|text| Secret::new(text.into())).as_ref(), Channel::default())
}

fn plain_step(message: &[u8]) -> Step {
    step(Mechanism::Plain, Some(&STANDARD.encode(message)))
}

fn credentials(identity: &str, password: &str) -> Step {
    Step::Password { identity: identity.into(), password: Secret::new(password.into()) }
}

#[test]
fn plain_with_and_without_initial_response() {
    // RFC 4616 section 4: tim, tanstaaftanstaaf.
    assert_eq!(plain_step(b"\0tim\0tanstaaf"), credentials("tim", "tanstaaf"));
    assert_eq!(plain_step(b"tim\0tim\0tanstaaf"), credentials("tim", "tanstaaf"));
    let Step::Challenge(reply, exchange) = step(Mechanism::Plain, None) else { panic!("no challenge") };
    assert_eq!((reply.code, reply.text.as_ref()), (334, ""));
    assert_eq!(exchange.respond(b"AHRpbQB0YW5zdGFhZg=="), credentials("tim", "tanstaaf"));
}

#[test]
fn login_asks_for_what_it_was_not_told() {
    for initial in [None, Some("dGlt")] {
        let mut next = step(Mechanism::Login, initial);
        if initial.is_none() {
            let Step::Challenge(reply, exchange) = next else { panic!("no challenge") };
            assert_eq!(reply.text, "VXNlcm5hbWU6");
            next = exchange.respond(b"dGlt");
        }
        let Step::Challenge(reply, exchange) = next else { panic!("no challenge") };
        assert_eq!(reply.text, "UGFzc3dvcmQ6");
        assert_eq!(exchange.respond(b"dGFuc3RhYWY="), credentials("tim", "tanstaaf"));
    }
}

#[test]
fn cancelled_means_cancelled() {
    let Step::Challenge(_, exchange) = step(Mechanism::Login, Some("dGlt")) else { panic!("no challenge") };
    assert_eq!(exchange.respond(b"*"), Step::Failed(replies::AUTH_CANCELLED));
}

#[test]
fn malformed_messages_are_refused() {
    let long = [b"\0tim\0".as_slice(), &[b'x'; 256]].concat();
    let messages: [&[u8]; 9] =
        [b"", b"\0", b"\0\0", b"\0tim\0", b"\0\0pass", b"tim\0pass", b"\0tim\0pass\0", b"\0t\nm\0pass", &long];
    for message in messages {
        assert_eq!(plain_step(message), Step::Failed(replies::AUTH_MALFORMED), "{message:?}");
    }
    assert_eq!(plain_step(b"\0\xff\0pass"), Step::Failed(replies::AUTH_MALFORMED));
    assert_eq!(plain_step(b"root\0tim\0pass"), Step::Failed(replies::AUTH_FAILED));
    assert_eq!(step(Mechanism::Login, Some("")), Step::Failed(replies::AUTH_MALFORMED));
}

#[test]
fn base64_is_strict() {
    for text in ["AHRpbQB0YW5zdGFhZg", "AHRpbQB0YW5zdGFhZg=", "AHRpbQB0YW5zdGFhZh==", " AHRpbQB0YW5zdGFhZg==", "=", "*"]
    {
        assert_eq!(step(Mechanism::Plain, Some(text)), Step::Failed(replies::AUTH_NOT_BASE64), "{text:?}");
    }
}

#[test]
fn a_secret_cannot_be_printed() {
    assert_eq!(format!("{:?}", credentials("tim", "tanstaaf")), r#"Password { identity: "tim", password: Secret }"#);
}

#[test]
fn a_certificate_says_who_it_is() {
    let channel = |name: Option<&str>| Channel { certified: name.map(Into::into), ..Channel::default() };
    let begin = |name, initial: Option<&str>| {
        let initial = initial.map(|text| Secret::new(STANDARD.encode(text).into()));
        Exchange::begin(Mechanism::External, initial.as_ref(), channel(name))
    };
    let anna = Step::Proven { identity: "anna".to_owned(), last: None };
    assert_eq!(begin(Some("anna"), Some("")), anna);
    assert_eq!(begin(Some("anna"), Some("anna")), anna);
    let Step::Challenge(said, exchange) = begin(Some("anna"), None) else { panic!("no challenge") };
    assert_eq!((said.code, said.text.as_ref()), (334, ""));
    assert_eq!(exchange.respond(b""), anna);
    for (name, initial) in [(Some("anna"), "otto"), (Some("anna"), "Anna"), (None, ""), (None, "anna")] {
        assert_eq!(begin(name, Some(initial)), Step::Failed(replies::AUTH_FAILED), "{name:?} {initial}");
    }
}

fn token_step(mechanism: Mechanism, message: &str) -> Step {
    step(mechanism, Some(&STANDARD.encode(message)))
}

#[test]
fn tokens_come_out_whole() {
    let token = |mechanism, identity: Option<&str>, token: &str| Step::Token {
        mechanism,
        identity: identity.map(str::to_owned),
        token: Secret::new(token.into()),
    };
    // RFC 7628 section 4.1.
    let message = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
    let expected =
        token(Mechanism::OauthBearer, Some("user@example.com"), "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
    assert_eq!(token_step(Mechanism::OauthBearer, message), expected);
    let bare = token_step(Mechanism::OauthBearer, "y,,\x01auth=bearer  a.b-c_d~e+f/g\x01\x01");
    assert_eq!(bare, token(Mechanism::OauthBearer, None, "a.b-c_d~e+f/g"));
    let message = "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2\x01\x01";
    let expected = token(Mechanism::Xoauth2, Some("someuser@example.com"), "ya29.vF9dft4qmTc2");
    assert_eq!(token_step(Mechanism::Xoauth2, message), expected);
}

#[test]
fn malformed_tokens_are_refused() {
    for message in [
        "",
        "\x01",
        "n,,\x01\x01",
        "n,,\x01auth=Bearer \x01\x01",
        "n,,\x01auth=Bearer ==\x01\x01",
        "n,,\x01auth=Bearer a\x01",
        "n,,\x01auth=Basic YTpi\x01\x01",
        "n,,\x01auth=Bearer a b\x01\x01",
        "n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
        "p=tls-exporter,,\x01auth=Bearer a\x01\x01",
        "n,b=x,\x01auth=Bearer a\x01\x01",
        "n,a=,\x01auth=Bearer a\x01\x01",
        "n,a=x=2Ey,\x01auth=Bearer a\x01\x01",
        "n,,x\x01auth=Bearer a\x01\x01",
        "n,,\x01h\u{f6}st=a\x01auth=Bearer a\x01\x01",
    ] {
        let step = token_step(Mechanism::OauthBearer, message);
        assert_eq!(step, Step::Failed(replies::AUTH_MALFORMED), "{message:?}");
    }
    for message in [
        "",
        "user=a",
        "user=a\x01auth=Bearer b\x01",
        "user=\x01auth=Bearer b\x01\x01",
        "user=a\x01auth=b\x01\x01",
        "user=a\nb\x01auth=Bearer b\x01\x01",
        "user=a\x01auth=Bearer b\x01x\x01\x01",
    ] {
        assert_eq!(token_step(Mechanism::Xoauth2, message), Step::Failed(replies::AUTH_MALFORMED), "{message:?}");
    }
}

#[test]
fn what_is_said_of_a_bad_token_is_json() {
    let page = "https://login.example.org/.well-known/openid-configuration";
    let said = |mechanism, discovery| {
        let said = refusal(mechanism, discovery)?;
        Some(String::from_utf8(STANDARD.decode(said.text.as_bytes()).unwrap()).unwrap())
    };
    for mechanism in Mechanism::ALL {
        for discovery in [None, Some(page), Some("https://login.example.org/\",\"x\":\"")] {
            let Some(text) = said(*mechanism, discovery) else { continue };
            assert!(text.starts_with("{\"status\":\"") && text.ends_with("\"}"), "{text}");
            assert!(Mechanisms::TOKENS.contains(*mechanism) && !text.contains("\"x\""));
            let named = *mechanism == Mechanism::OauthBearer && discovery == Some(page);
            assert_eq!(text.contains(&format!("\"openid-configuration\":\"{page}\"")), named, "{text}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn every_message_has_an_end(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), text in "[nya=,\u{1}uthBer user]{0,40}") {
        for message in [octets.as_slice(), text.as_bytes()] {
            let initial = Secret::new(STANDARD.encode(message).into());
            for mechanism in Mechanism::ALL {
                let mut step = Exchange::begin(*mechanism, Some(&initial), Channel::default());
                let mut steps = 0;
                while let Step::Challenge(_, exchange) = step {
                    step = exchange.respond(initial.reveal());
                    steps += 1;
                    proptest::prop_assert!(steps < 3);
                }
                let named = match &step {
                    Step::Password { identity, .. } | Step::Keys { identity, .. } => Some(identity.as_str()),
                    Step::Token { identity, .. } => identity.as_deref(),
                    _ => None,
                };
                proptest::prop_assert!(named.is_none_or(|name| !name.is_empty() && !name.contains(char::is_control)));
            }
        }
    }
}
