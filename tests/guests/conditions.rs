//! On which mail a filter runs: `when`. What a filter is not for, it neither sees nor costs anything at.

use std::sync::Arc;

use wasmilter::chain::{BodyMode, Call, Chain, Held};
use wasmilter::mail::{AuthFacts, Stage};
use wasmilter::smtp::headers::HeaderBlock;
use wasmilter::smtp::sasl::Mechanism;
use wasmilter::state::spool::Spool;

use crate::support::{Filter, Session, configuration, load, recipient, sender, session, told};

/// Asked at every stage, it says so.
const ALL: &str = "connect: say here; helo: say here; auth: say here; mail: say here; rcpt: say here; data: say here; \
                   headers: say here; body: say here; message: say here";

fn puppet(when: &str) -> Filter {
    Filter::puppet(ALL).with(&format!("when = {{ {when} }}"))
}

fn calls(session: &Session) -> u32 {
    session.chain.usage().map(|usage| usage.calls).sum()
}

fn login(session: &mut Session) {
    let auth = AuthFacts { mechanism: Mechanism::Plain.into(), identity: "anna".into() };
    Arc::make_mut(&mut session.ctx.session).auth = Some(Arc::new(auth));
}

/// The puppet could edit, so that it would have every message held.
#[tokio::test]
async fn a_filter_of_other_sessions_costs_nothing_obeyed() {
    for when in ["networks = [\"198.51.100.0/24\"]", "except-networks = \"192.0.2.7\""] {
        let chain = load(&[puppet(when)]).unwrap();
        let free = chain.host().unwrap().slots_free();
        let mut session = session(&chain);
        let facts = Arc::clone(&session.ctx.session);
        session.chain.meet(&facts, Stage::Connect);
        for stage in Stage::ALL {
            assert!(!session.chain.wants(stage), "{stage:?}");
        }
        assert!(!session.chain.wants_names());
        assert_eq!((session.chain.body_mode(), chain.host().unwrap().slots_free()), (BodyMode::Stream, free));
        // Whoever does not look first finds the same.
        assert!(session.helo().await.opinions.is_empty() && session.mail().await.opinions.is_empty());
        assert_eq!((session.chain.body_mode(), calls(&session)), (BodyMode::Stream, 0));
    }
    let chain = load(&[puppet("networks = [\"192.0.2.0/24\"], except-networks = \"192.0.2.8\"")]).unwrap();
    let mut session = session(&chain);
    assert_eq!(told(&session.helo().await), "here");
    assert_eq!(session.chain.body_mode(), BodyMode::Hold);
}

#[tokio::test]
async fn conditions_follow_the_login_obeyed() {
    let mut config = configuration(&[
        puppet("authenticated = false").named("stranger"),
        puppet("authenticated = false").named("user").with("lifetime = \"session\""),
    ]);
    // Nobody can log in at this listener, so a file may not say it.
    config.filters[1].when.authenticated = Some(true);
    let chain = Arc::new(Chain::load(&config).unwrap());
    let free = chain.host().unwrap().slots_free();
    let mut session = session(&chain);
    let who = |outcome: &wasmilter::chain::Outcome| {
        outcome.opinions.iter().map(|opinion| opinion.filter.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(who(&session.helo().await), ["stranger"]);
    assert_eq!(chain.host().unwrap().slots_free(), free - 1);
    // At `auth` the password was right: it is the user's filter that is asked, and the other one's instance is gone.
    let auth = AuthFacts { mechanism: Mechanism::Plain.into(), identity: "anna".into() };
    assert_eq!(who(&session.ask(Call::Auth(&auth)).await), ["user"]);
    assert_eq!(chain.host().unwrap().slots_free(), free - 1);
    // The login was refused by somebody.
    assert_eq!(who(&session.mail().await), ["stranger"]);
    login(&mut session);
    assert_eq!(who(&session.mail().await), ["user"]);
    assert_eq!(who(&session.rcpt().await), ["user"]);
}

#[tokio::test]
async fn senders_and_recipients_are_known_when_they_are_obeyed() {
    let chain = load(&[puppet("sender-domains = [\".net\", \"example.net\"]").named("from"), {
        puppet("recipient-domains = [\"example.org\"]").named("to")
    }])
    .unwrap();
    let mut session = session(&chain);
    let who = |outcome: wasmilter::chain::Outcome| {
        outcome.opinions.iter().map(|opinion| opinion.filter.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(who(session.helo().await), "", "nothing is known of either");
    assert_eq!(who(session.mail().await), "from");
    assert_eq!(who(session.rcpt().await), "from to");
    let elsewhere = recipient("x@example.com");
    assert_eq!(who(session.ask(Call::Rcpt(&elsewhere)).await), "from");
    assert_eq!(who(session.rcpt().await), "from to", "each recipient is looked at anew");
    let stranger = sender("a@example.com");
    assert_eq!(who(session.ask(Call::Mail(&stranger)).await), "");
    assert_eq!(who(session.rcpt().await), "to");
}

async fn held(body: usize) -> Held {
    let (headers, _) = HeaderBlock::parse(b"Subject: x\r\n\r\n");
    let mut spool = Spool::new(1 << 20, &std::env::temp_dir());
    spool.append(&vec![b'x'; body]).await.unwrap();
    Held::new(headers, spool)
}

async fn at_message(chain: &Arc<Chain>, body: usize) -> usize {
    let mut session = session(chain);
    session.mail().await;
    let mut held = held(body).await;
    session.ask(Call::Message(&mut held)).await.opinions.len()
}

/// The header block of these messages has 14 octets.
#[tokio::test]
async fn sizes_obeyed() {
    let chain = load(&[puppet("min-size = \"100 B\", max-size = \"200 B\"")]).unwrap();
    for (body, asked) in [(85, 0), (86, 1), (186, 1), (187, 0)] {
        assert_eq!(at_message(&chain, body).await, asked, "{body}");
    }
}

#[tokio::test]
async fn a_message_that_grows_is_not_shown_any_more_violated() {
    let chain = load(&[puppet("max-size = \"200 B\"")]).unwrap();
    let mut session = session(&chain);
    // What was announced counts until the message is here, and not against it then.
    let mut liar = sender("a@example.net");
    liar.params = wasmilter::smtp::Params::parse("SIZE=100000").unwrap();
    assert!(session.ask(Call::Mail(&liar)).await.opinions.is_empty());
    assert!(session.rcpt().await.opinions.is_empty());
    let (mut headers, _) = HeaderBlock::parse(b"Subject: x\r\n\r\n");
    assert_eq!(told(&session.ask(Call::Headers(&mut headers)).await), "here");
    assert_eq!(told(&session.ask(Call::Body(&[b'x'; 186])).await), "here");
    assert!(session.ask(Call::Body(b"x")).await.opinions.is_empty(), "one too many");
    assert!(!session.chain.wants(Stage::Body) && !session.chain.wants(Stage::Message));
    // The next message is another one.
    assert_eq!(told(&session.mail().await), "here");
    assert!(session.chain.wants(Stage::Body));
}
