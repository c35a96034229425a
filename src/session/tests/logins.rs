//! Logins: what is asked for in which order, and what is said of it.

use super::*;
use crate::smtp::sasl::Mechanisms;

/// A session in TLS that has said EHLO.
pub(super) fn greeted() -> Session {
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
    let tls = TlsFacts::new("TLSv1.3", cipher, 256);
    session.handle(Input::Begin(Some(tls)));
    session.handle(Input::Verdict(Verdict::NEXT, Vec::new()));
    session.handle(Input::Verdict(Verdict::NEXT, Vec::new()));
    session.handle(Input::Line(b"EHLO client.test"));
    session.handle(Input::Verdict(Verdict::NEXT, Vec::new()));
    session.handle(Input::Reached(Ok(Arc::new(Offer::default()))));
    session
}

/// A session that has said which account it wants, up to the question for the limits and the verifier's answer.
fn logging_in(identity: Identity) -> (Session, Step) {
    let mut session = greeted();
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
        assert!(matches!(step, Step::Charge(Charge::AuthGood { .. } | Charge::AuthFailure { .. })), "{step:?}");
        let step = session.handle(Input::Charged(Err("auth-failures-per-address")));
        assert!(matches!(&step, Step::Close(said) if *said == [replies::TOO_MANY_LOGINS_NOW]), "{step:?}");
        assert!(session.facts().auth.is_none());
    }
    let (mut session, _) = logging_in(Identity::Good("a".into()));
    let step = session.handle(Input::Charged(Ok(())));
    assert!(matches!(step, Step::Consult(Ask::Auth(_))), "{step:?}");
}

/// What the driver would be asked, with a session that is offered every mechanism.
fn logging_in_by(line: &[u8]) -> (Session, Step) {
    let (mut session, _) = logging_in(Identity::Unavailable);
    session
        .set_mechanisms(Arc::new(Served::here(Mechanisms::SCRAM.or(Mechanisms::TOKENS).or(Mechanisms::CERTIFICATES))));
    session.handle(Input::Next);
    let step = session.handle(Input::Line(line));
    (session, step)
}

#[test]
fn a_token_has_to_be_whose_the_client_says_it_is() {
    // n,a=anna,^Aauth=Bearer t^A^A
    let line = b"AUTH OAUTHBEARER bixhPWFubmEsAWF1dGg9QmVhcmVyIHQBAQ==";
    let verified = |identity| {
        let (mut session, step) = logging_in_by(line);
        assert!(matches!(&step, Step::Charge(Charge::AuthAttempt { account }) if &**account == "anna"), "{step:?}");
        let step = session.handle(Input::Charged(Ok(())));
        assert!(matches!(&step, Step::VerifyToken { identity: Some(name), .. } if &**name == "anna"), "{step:?}");
        let step = session.handle(Input::Identity(identity));
        (session, step)
    };
    let (_, step) = verified(Identity::Good("anna".into()));
    assert!(matches!(&step, Step::Charge(Charge::AuthGood { account }) if &**account == "anna"), "{step:?}");
    let lasts = [Input::Line(b"AQ=="), Input::Line(b"*"), Input::BadLine(BadLine::AuthTooLong)];
    let others = [Identity::Bad, Identity::Good("otto".into()), Identity::Bad];
    for (last, identity) in lasts.into_iter().zip(others) {
        let (mut session, step) = verified(identity);
        assert!(matches!(&step, Step::Charge(Charge::AuthFailure { .. })), "{step:?}");
        // Counted before the client is told; then it has a last word, whatever that is.
        let step = session.handle(Input::Charged(Ok(())));
        assert!(matches!(&step, Step::Challenge(reply) if reply.code == 334 && !reply.text.is_empty()), "{step:?}");
        let step = session.handle(last);
        assert!(matches!(&step, Step::Reply(reply) if *reply == replies::AUTH_FAILED), "{step:?}");
        assert_eq!((session.auth_failures, session.facts().auth.is_none()), (1, true));
    }
    let (_, step) = verified(Identity::Unavailable);
    assert!(matches!(&step, Step::Reply(reply) if *reply == replies::AUTH_TRY_LATER), "{step:?}");
}

#[test]
fn what_the_connection_does_not_have_is_not_offered() {
    let (session, step) = logging_in_by(b"AUTH EXTERNAL =");
    assert!(matches!(&step, Step::Reply(reply) if *reply == replies::AUTH_MECHANISM_UNKNOWN), "{step:?}");
    assert_eq!(session.auth_offered().to_string(), "SCRAM-SHA-256 OAUTHBEARER XOAUTH2");
    let (_, step) = logging_in_by(b"AUTH SCRAM-SHA-256-PLUS");
    assert!(matches!(&step, Step::Reply(reply) if *reply == replies::AUTH_MECHANISM_UNKNOWN), "{step:?}");
    let (mut session, step) = logging_in_by(b"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj");
    assert!(matches!(step, Step::Charge(Charge::AuthAttempt { .. })), "{step:?}");
    let step = session.handle(Input::Charged(Ok(())));
    assert!(matches!(&step, Step::FindKeys { identity } if &**identity == "user"), "{step:?}");
    let step = session.handle(Input::Keys(KeysFound::Unavailable));
    assert!(matches!(&step, Step::Reply(reply) if *reply == replies::AUTH_TRY_LATER), "{step:?}");
}
