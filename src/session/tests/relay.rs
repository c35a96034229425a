//! Exchanges that a backend has with the client, through the session.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::logins::greeted;
use super::*;
use crate::session::relay::RELAYED_MESSAGES_MAX;
use crate::smtp::line::AUTH_LINE_OCTETS_MAX;
use crate::smtp::sasl::{Name, Way};

const CRAM_ANSWER: &str = "tim b913a602c7eda7a495b4e6e7334d3890";

/// A session in TLS that is offered what a backend has.
fn session() -> Session {
    let names = ["CRAM-MD5", "SCRAM-SHA-1", "GSSAPI"].map(|name| Way::Relayed(Name::parse(name).unwrap()));
    let mut session = greeted();
    session.set_mechanisms(Arc::new(names.into_iter().fold(Served::default(), Served::and)));
    session
}

fn line(text: &str) -> String {
    STANDARD.encode(text)
}

fn say(session: &mut Session, text: &str) -> Step {
    session.handle(Input::Line(text.as_bytes()))
}

fn challenged(session: &mut Session) -> Step {
    session.handle(Input::Relayed(Relayed::Challenge(b"<1896.697170952@postoffice>".to_vec())))
}

/// Up to the client's answer to the first challenge.
fn begun() -> Session {
    let mut session = session();
    let step = say(&mut session, "AUTH CRAM-MD5");
    assert!(matches!(&step, Step::Charge(Charge::AuthAttempt { account }) if account.is_empty()), "{step:?}");
    let step = session.handle(Input::Charged(Ok(())));
    assert!(matches!(&step, Step::Relay { initial: None, mechanism } if mechanism.as_str() == "CRAM-MD5"), "{step:?}");
    let step = challenged(&mut session);
    let Step::Challenge(reply) = &step else { panic!("{step:?}") };
    assert_eq!((reply.code, &*reply.text), (334, "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+"));
    session
}

/// Up to the backend's word on the client's answer.
fn answered() -> Session {
    let mut session = begun();
    let step = say(&mut session, &line(CRAM_ANSWER));
    assert!(matches!(&step, Step::Charge(Charge::AuthAttempt { account }) if &**account == "tim"), "{step:?}");
    let step = session.handle(Input::Charged(Ok(())));
    assert!(matches!(&step, Step::RelayOn(said) if said.reveal() == CRAM_ANSWER.as_bytes()), "{step:?}");
    session
}

fn good(identity: &str, last: Option<&[u8]>) -> Relayed {
    Relayed::Good { identity: identity.into(), last: last.map(<[u8]>::to_vec) }
}

fn is_reply(step: &Step, reply: &Reply) -> bool {
    matches!(step, Step::Reply(said) if said == reply)
}

/// The exchange is ended, and this said.
fn ended_with(step: &Step, reply: &Reply) -> bool {
    matches!(step, Step::RelayEnd(then) if is_reply(then, reply))
}

#[test]
fn the_backend_says_whose_login_it_is() {
    let mut session = answered();
    let step = session.handle(Input::Relayed(good("tim@example.org", None)));
    assert!(matches!(&step, Step::Charge(Charge::AuthGood { account }) if &**account == "tim@example.org"));
    let step = session.handle(Input::Charged(Ok(())));
    assert!(matches!(&step, Step::Consult(Ask::Auth(auth)) if auth.mechanism.as_str() == "CRAM-MD5"), "{step:?}");
    let step = session.handle(Input::Verdict(Verdict::NEXT, Vec::new()));
    assert!(is_reply(&step, &replies::AUTH_OK), "{step:?}");
    assert_eq!(&*session.facts().auth.as_ref().unwrap().identity, "tim@example.org");
}

#[test]
fn final_data_is_one_more_challenge_that_is_answered_with_nothing() {
    for (last, reply) in [("", None), ("*", Some(replies::AUTH_CANCELLED)), ("AA==", Some(replies::AUTH_MALFORMED))] {
        let mut session = answered();
        session.handle(Input::Relayed(good("tim", Some(b"v=1"))));
        let step = session.handle(Input::Charged(Ok(())));
        assert!(matches!(&step, Step::Challenge(said) if said.text == line("v=1")), "{step:?}");
        let step = say(&mut session, last);
        match reply {
            None => assert!(matches!(step, Step::Consult(Ask::Auth(_))), "{step:?}"),
            Some(reply) => assert!(is_reply(&step, &reply), "{step:?}"),
        }
        assert!(session.facts().auth.is_none());
    }
}

#[test]
fn the_first_message_may_come_with_the_command() {
    for (said, account) in [("=", ""), (&*line("n,,n=user,r=abc"), "user")] {
        let mut session = session();
        let step = say(&mut session, &format!("AUTH scram-sha-1 {said}"));
        assert!(matches!(&step, Step::Charge(Charge::AuthAttempt { account: of }) if &**of == account), "{step:?}");
        let step = session.handle(Input::Charged(Ok(())));
        assert!(matches!(&step, Step::Relay { initial: Some(_), .. }), "{step:?}");
    }
    let mut session = session();
    let step = say(&mut session, "AUTH SCRAM-SHA-1 AAA");
    assert!(is_reply(&step, &replies::AUTH_NOT_BASE64), "{step:?}");
    let step = say(&mut session, "AUTH NTLM");
    assert!(is_reply(&step, &replies::AUTH_MECHANISM_UNKNOWN), "{step:?}");
}

#[test]
fn whoever_leaves_the_exchange_ends_it() {
    let step = say(&mut begun(), "*");
    assert!(ended_with(&step, &replies::AUTH_CANCELLED), "{step:?}");
    let step = say(&mut begun(), "AA==AA");
    assert!(ended_with(&step, &replies::AUTH_NOT_BASE64), "{step:?}");
    let step = begun().handle(Input::BadLine(BadLine::AuthTooLong));
    assert!(ended_with(&step, &replies::AUTH_LINE_TOO_LONG), "{step:?}");
    for input in [Input::Silence, Input::Shutdown, Input::Overdue] {
        let step = begun().handle(input);
        assert!(matches!(step, Step::Close(_)), "{step:?}");
    }
}

#[test]
fn a_limit_on_the_account_ends_it_before_the_backend_hears_the_proof() {
    let mut session = begun();
    say(&mut session, &line(CRAM_ANSWER));
    let step = session.handle(Input::Charged(Err("auth-failures-per-account-and-address")));
    let Step::RelayEnd(then) = step else { panic!("{step:?}") };
    assert!(matches!(&*then, Step::Close(said) if *said == [replies::TOO_MANY_LOGINS_NOW]), "{then:?}");
    for (code, closes) in [(421, true), (450, false)] {
        let mut session = begun();
        say(&mut session, &line(CRAM_ANSWER));
        let step = session.handle(Input::Limited(Reply::new(code, None, "no")));
        let Step::RelayEnd(then) = step else { panic!("{step:?}") };
        assert_eq!(matches!(*then, Step::Close(_)), closes, "{then:?}");
    }
    // Nothing was begun yet.
    let mut session = super::relay::session();
    say(&mut session, "AUTH GSSAPI");
    let step = session.handle(Input::Charged(Err("auth-failures-per-address")));
    assert!(matches!(step, Step::Close(_)), "{step:?}");
}

#[test]
fn bad_is_counted_for_the_account_and_away_is_nobodys_fault() {
    let mut session = answered();
    let step = session.handle(Input::Relayed(Relayed::Bad));
    assert!(
        matches!(&step, Step::Charge(Charge::AuthFailure { account, mechanism })
            if &**account == "tim" && mechanism.as_str() == "CRAM-MD5"),
        "{step:?}"
    );
    let step = session.handle(Input::Charged(Ok(())));
    assert!(is_reply(&step, &replies::AUTH_FAILED), "{step:?}");
    assert_eq!(session.auth_failures, 1);
    let mut session = answered();
    let step = session.handle(Input::Relayed(Relayed::Unavailable));
    assert!(is_reply(&step, &replies::AUTH_TRY_LATER), "{step:?}");
    assert_eq!(session.auth_failures, 0);
}

#[test]
fn an_exchange_without_end_and_a_challenge_without_bound_are_put_off() {
    let mut session = session();
    say(&mut session, "AUTH GSSAPI");
    session.handle(Input::Charged(Ok(())));
    for _ in 0..RELAYED_MESSAGES_MAX {
        assert!(matches!(challenged(&mut session), Step::Challenge(_)));
        assert!(matches!(say(&mut session, "AA=="), Step::RelayOn(_)));
    }
    let step = challenged(&mut session);
    assert!(ended_with(&step, &replies::AUTH_TRY_LATER), "{step:?}");

    for (octets, sound) in [(9_210, true), (9_211, false)] {
        let mut session = self::session();
        say(&mut session, "AUTH GSSAPI");
        session.handle(Input::Charged(Ok(())));
        let step = session.handle(Input::Relayed(Relayed::Challenge(vec![0; octets])));
        if sound {
            let Step::Challenge(reply) = step else { panic!("{step:?}") };
            let mut wire = Vec::new();
            reply.encode(&mut wire);
            assert!(wire.len() <= AUTH_LINE_OCTETS_MAX && wire.len() == 6 + reply.text.len());
        } else {
            assert!(ended_with(&step, &replies::AUTH_TRY_LATER), "{step:?}");
        }
    }
    let step = answered().handle(Input::Relayed(good("tim", Some(&[0; 9_211]))));
    assert!(is_reply(&step, &replies::AUTH_TRY_LATER), "{step:?}");
}

#[derive(Debug, Clone)]
enum Event {
    Line(String),
    TooLong,
    Charged(bool),
    Limited(u16),
    Relayed(Relayed),
    Identity(Identity),
    Verdict(Action),
    Next,
    Answer(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let lines = prop_oneof![
        Just("AUTH CRAM-MD5".to_owned()),
        Just("AUTH SCRAM-SHA-1 biwsbj11c2VyLHI9YWJj".to_owned()),
        Just("AUTH GSSAPI =".to_owned()),
        Just("AUTH PLAIN AGEAYg==".to_owned()),
        Just(line(CRAM_ANSWER)),
        Just("*".to_owned()),
        Just(String::new()),
        Just("EHLO client.test".to_owned()),
        Just("RSET".to_owned()),
        "[ -~]{0,20}",
    ];
    let relayed = prop_oneof![
        Just(Relayed::Challenge(b"go on".to_vec())),
        Just(Relayed::Challenge(Vec::new())),
        Just(Relayed::Challenge(vec![0; 20_000])),
        Just(Relayed::Bad),
        Just(Relayed::Unavailable),
        Just(good("tim", None)),
        Just(good("tim", Some(b"v=1"))),
    ];
    prop_oneof![
        4 => lines.prop_map(Event::Line),
        4 => relayed.prop_map(Event::Relayed),
        4 => any::<bool>().prop_map(Event::Charged),
        1 => Just(Event::TooLong),
        1 => prop_oneof![Just(421_u16), Just(450)].prop_map(Event::Limited),
        1 => prop_oneof![Just(Identity::Bad), Just(Identity::Unavailable)].prop_map(Event::Identity),
        2 => prop_oneof![Just(Action::Next), Just(Action::Reject), Just(Action::Defer)].prop_map(Event::Verdict),
        1 => Just(Event::Next),
        1 => prop_oneof![Just(235_u16), Just(250), Just(535)].prop_map(Event::Answer),
    ]
}

/// What answers a step as a driver would; None: it is not this event's turn.
fn fits(step: &Step, event: &Event) -> bool {
    match step {
        Step::Reply(_) | Step::Listen | Step::Challenge(_) => matches!(event, Event::Line(_) | Event::TooLong),
        Step::Charge(_) => matches!(event, Event::Charged(_) | Event::Limited(_)),
        Step::Relay { .. } | Step::RelayOn(_) => matches!(event, Event::Relayed(_)),
        Step::Consult(_) => matches!(event, Event::Verdict(_)),
        Step::Verify { .. } => matches!(event, Event::Identity(_)),
        _ => false,
    }
}

proptest! {
    /// In the order a driver keeps (`orderly`) or in any: without the backend's good word nobody is logged in, and no
    /// exchange is left open behind a reply.
    #[test]
    fn nobody_is_logged_in_without_a_good_word(events in prop::collection::vec(event(), 0..60), orderly in any::<bool>()) {
        let mut session = session();
        let (mut good_word, mut open) = (false, false);
        let mut step = Step::Listen;
        for event in events {
            if let Step::RelayEnd(then) = step {
                prop_assert!(open, "what was not begun is ended");
                (open, step) = (false, *then);
            }
            if matches!(step, Step::Close(_)) {
                break;
            }
            if orderly && !fits(&step, &event) {
                continue;
            }
            if matches!((&step, &event), (Step::Relay { .. } | Step::RelayOn(_), Event::Relayed(_))) {
                open = matches!(&event, Event::Relayed(Relayed::Challenge(_)));
                good_word |= matches!(&event, Event::Relayed(Relayed::Good { .. }));
            }
            step = match event {
                Event::Line(text) => session.handle(Input::Line(text.as_bytes())),
                Event::TooLong => session.handle(Input::BadLine(BadLine::AuthTooLong)),
                Event::Charged(room) => session.handle(Input::Charged(if room { Ok(()) } else { Err("a limit") })),
                Event::Limited(code) => session.handle(Input::Limited(Reply::new(code, None, "limited"))),
                Event::Relayed(said) => session.handle(Input::Relayed(said)),
                Event::Identity(identity) => session.handle(Input::Identity(identity)),
                Event::Verdict(action) => {
                    session.handle(Input::Verdict(Verdict { action, ..Verdict::NEXT }, Vec::new()))
                }
                Event::Next => session.handle(Input::Next),
                Event::Answer(code) => session.handle(Input::Answer(Ok(Reply::new(code, None, "answer")))),
            };
            prop_assert!(good_word || session.facts().auth.is_none(), "{step:?}");
            if orderly && matches!(step, Step::Reply(_) | Step::Listen) {
                prop_assert!(!open, "an exchange is left open: {step:?}");
            }
        }
    }
}
