//! The state machine without a socket: what no sequence of commands and verdicts may bring about. What the wire
//! can see stands in tests/dialogs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::mail::{Action, Edit, PeerName, Recipient, Verdict};
use crate::smtp::{ForwardPath, Offer, Params};

fn config() -> Arc<Config> {
    let text = r#"
        hostname = "mx.example.org"
        [upstream]
        address = "127.0.0.1:10025"
        [relay]
        domains = ["example.org"]
        [[listener]]
        name = "mx"
        address = "127.0.0.1:2525"
    "#;
    Arc::new(crate::config::parse(text, "test.toml", &|_| None).unwrap())
}

fn session() -> Session {
    session_with(config())
}

fn session_with(config: Arc<Config>) -> Session {
    let facts = SessionFacts {
        id: Arc::from("ID"),
        listener: Arc::from("mx"),
        peer: "192.0.2.7:4321".parse().unwrap(),
        local: "192.0.2.1:25".parse().unwrap(),
        peer_name: PeerName::Unavailable,
        reverse_name: PeerName::Unavailable,
        hello: None,
        tls: None,
        auth: None,
    };
    let limits = Arc::new(Limits { errors: None, idle_commands: None, ..config.limits.clone() });
    Session::new(Rules { config, listener: 0 }, limits, Arc::new(facts))
}

/// What the world around the session says; chosen by the property test.
#[derive(Debug, Clone)]
struct World {
    verdicts: Vec<u8>,
    answers: Vec<u16>,
}

/// Runs commands through the session as the driver would; gives every line that went upstream.
fn run(session: &mut Session, commands: &[String], world: &World) -> Vec<String> {
    let (mut upstream, mut verdicts, mut answers) =
        (Vec::new(), world.verdicts.iter().cycle(), world.answers.iter().cycle());
    let mut commands = commands.iter();
    let mut step = session.handle(Input::Begin(None));
    for _ in 0..1_000 {
        step = match step {
            Step::Reply(_) | Step::Listen | Step::Challenge(_) => match commands.next() {
                Some(line) => session.handle(Input::Line(line.as_bytes())),
                None => break,
            },
            Step::Close(_) => break,
            Step::ListenThenClose(reply) => Step::Close(vec![reply]),
            Step::Consult(ask) => {
                let (verdict, edits) = verdict(*verdicts.next().unwrap(), &ask);
                session.handle(Input::Verdict(verdict, edits))
            }
            Step::Tell(_, then) => *then,
            Step::Charge(_) => session.handle(Input::Charged(Ok(()))),
            Step::AskOffer | Step::Reach => session.handle(Input::Reached(Ok(Arc::new(Offer::default())))),
            Step::Forward(_, line) => {
                upstream.push(String::from_utf8(line).unwrap());
                let code = *answers.next().unwrap();
                session.handle(Input::Answer(Ok(Reply::new(code, None, "as the world wills"))))
            }
            Step::Verify { .. } => session.handle(Input::Identity(Identity::Bad)),
            Step::StartTls(_) => break,
            Step::Receive(_) => {
                let outcome = BodyOutcome { reply: replies::OK, close: false, aborted: None };
                session.handle(Input::Received(outcome))
            }
        };
    }
    upstream
}

/// A filter that may say anything, and tries to send mail elsewhere.
fn verdict(choice: u8, ask: &Ask) -> (Verdict, Vec<Edit>) {
    let action = match choice % 6 {
        0 => Action::Reject,
        1 => Action::Defer,
        2 => Action::Discard,
        _ => Action::Next,
    };
    let elsewhere = Recipient { path: ForwardPath::parse("victim@elsewhere.test").unwrap(), params: Params::default() };
    let edits = match (ask, choice % 5) {
        (Ask::Rcpt(_), 0) => vec![Edit::ReplaceRecipient { recipient: elsewhere, beyond_relay: false }],
        (Ask::Rcpt(_), 1) => vec![Edit::AddRecipient { recipient: elsewhere, beyond_relay: false }],
        _ => Vec::new(),
    };
    (Verdict { action, ..Verdict::NEXT }, edits)
}

fn command() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("EHLO client.test".to_owned()),
        Just("HELO client.test".to_owned()),
        Just("MAIL FROM:<a@client.test>".to_owned()),
        Just("RCPT TO:<b@example.org>".to_owned()),
        Just("RCPT TO:<b@elsewhere.test>".to_owned()),
        Just("RCPT TO:<b%elsewhere.test@example.org>".to_owned()),
        Just("RCPT TO:<\"b@elsewhere.test\"@example.org>".to_owned()),
        Just("RCPT TO:<elsewhere.test!b@example.org>".to_owned()),
        Just("RCPT TO:<@example.org:b@elsewhere.test>".to_owned()),
        Just("RCPT TO:<b@[192.0.2.1]>".to_owned()),
        Just("RCPT TO:<b@example.org.elsewhere.test>".to_owned()),
        Just("RCPT TO:<b@EXAMPLE.ORG.>".to_owned()),
        Just("DATA".to_owned()),
        Just("RSET".to_owned()),
        Just("NOOP".to_owned()),
        Just("STARTTLS".to_owned()),
        Just("AUTH PLAIN AGEAYg==".to_owned()),
        "[ -~]{0,40}",
    ]
}

/// A session that has said which account it wants, up to the question for the limits and the verifier's answer.
fn logging_in(identity: Identity) -> (Session, Step) {
    let text = r#"
        hostname = "mx.example.org"
        [upstream]
        address = "127.0.0.1:10025"
        [tls]
        certificate = "c.pem"
        key = "k.pem"
        [auth]
        password-file = "p"
        [[listener]]
        name = "submissions"
        address = "127.0.0.1:2465"
        tls = "implicit"
        auth = "required"
    "#;
    let config = Arc::new(crate::config::parse(text, "test.toml", &|_| None).unwrap());
    let mut session = session_with(config);
    let cipher = "TLS_AES_256_GCM_SHA384".into();
    let tls = TlsFacts { version: "TLSv1.3", cipher, bits: 256, sni: None, client_subject: None };
    session.handle(Input::Begin(Some(tls)));
    session.handle(Input::Verdict(Verdict::NEXT, Vec::new()));
    session.handle(Input::Verdict(Verdict::NEXT, Vec::new()));
    session.handle(Input::Line(b"EHLO client.test"));
    session.handle(Input::Verdict(Verdict::NEXT, Vec::new()));
    session.handle(Input::Reached(Ok(Arc::new(Offer::default()))));
    let step = session.handle(Input::Line(b"AUTH PLAIN AGEAYg=="));
    assert!(matches!(&step, Step::Charge(Charge::AuthAttempt { account }) if &**account == "a"), "{step:?}");
    let step = session.handle(Input::Charged(Ok(())));
    assert!(matches!(step, Step::Verify { .. }), "{step:?}");
    let step = session.handle(Input::Identity(identity));
    (session, step)
}

#[test]
fn a_guess_beyond_the_limit_learns_nothing_right_or_wrong() {
    for identity in [Identity::Good("a".into()), Identity::Bad] {
        let (mut session, step) = logging_in(identity);
        assert!(matches!(step, Step::Charge(Charge::AuthAttempt { .. } | Charge::AuthFailure { .. })), "{step:?}");
        let step = session.handle(Input::Charged(Err("auth-failures-per-address")));
        assert!(matches!(&step, Step::Close(said) if *said == [replies::TOO_MANY_LOGINS_NOW]), "{step:?}");
        assert!(session.facts().auth.is_none());
    }
    let (mut session, _) = logging_in(Identity::Good("a".into()));
    let step = session.handle(Input::Charged(Ok(())));
    assert!(matches!(step, Step::Consult(Ask::Auth(_))), "{step:?}");
}

proptest! {
    #[test]
    fn no_command_and_no_verdict_makes_it_a_relay(
        commands in prop::collection::vec(command(), 0..30),
        verdicts in prop::collection::vec(any::<u8>(), 1..20),
        answers in prop::collection::vec(prop_oneof![Just(250u16), Just(250), Just(354), Just(451), Just(550)], 1..20),
    ) {
        let upstream = run(&mut session(), &commands, &World { verdicts, answers });
        for line in upstream.iter().filter(|line| line.starts_with("RCPT")) {
            let plain = line.trim_end();
            prop_assert!(plain == "RCPT TO:<b@example.org>" || plain == "RCPT TO:<b@EXAMPLE.ORG.>", "{}", plain);
        }
    }

    #[test]
    fn data_goes_upstream_only_after_an_accepted_recipient(
        commands in prop::collection::vec(command(), 0..30),
        answers in prop::collection::vec(prop_oneof![Just(250u16), Just(250), Just(354), Just(550)], 1..20),
    ) {
        let upstream = run(&mut session(), &commands, &World { verdicts: vec![5], answers: answers.clone() });
        let mut accepted = false;
        for (line, code) in upstream.iter().zip(answers.iter().cycle()) {
            match line.split([' ', '\r']).next().unwrap() {
                "MAIL" | "RSET" => accepted = false,
                "RCPT" => accepted |= *code == 250,
                "DATA" => prop_assert!(accepted),
                other => prop_assert!(false, "{}", other),
            }
        }
    }
}
