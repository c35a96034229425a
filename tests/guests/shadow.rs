//! A filter in shadow: whatever it says and does, it is as if it had not.

use std::sync::Arc;
use std::time::Duration;

use wasmilter::chain::{BodyMode, Call, Chain, Held, Outcome};
use wasmilter::filter::Outside;
use wasmilter::mail::Stage;
use wasmilter::smtp::headers::HeaderBlock;
use wasmilter::state::spool::Spool;

use crate::support::{Filter, SUMMARY, brief, configuration, load, session, told};

const SHADOW: &str = "shadow = true";

fn shadow(script: &str) -> Filter {
    Filter::puppet(script).named("shadow").with(SHADOW)
}

/// What filters in shadow would have said.
fn said(outcome: &Outcome) -> Vec<(&str, &str)> {
    outcome.shadows.iter().map(|said| (said.action, said.reason.as_deref().unwrap_or_default())).collect()
}

#[tokio::test]
async fn nothing_comes_of_its_verdicts_violated() {
    let script = "connect: disconnect; helo: reject; auth: say good; rcpt: reply 451=later; data: next";
    let chain = load(&[shadow(script), Filter::puppet("rcpt: say asked")]).unwrap();
    let mut session = session(&chain);
    let outcome = session.ask(Call::Connect).await;
    assert_eq!((brief(&outcome.verdict).as_str(), said(&outcome)), ("next", vec![("disconnect", "")]));
    assert_eq!(said(&session.helo().await), [("reject", "")]);
    assert_eq!(said(&session.mail().await), []);
    for _ in 0..2 {
        let outcome = session.rcpt().await;
        assert_eq!((told(&outcome), said(&outcome)), ("asked", vec![("defer", "")]));
        assert_eq!(outcome.opinions.len(), 1);
    }
}

#[tokio::test]
async fn it_is_not_asked_about_what_it_would_have_ended_obeyed() {
    let shadow = shadow("mail: reject; rcpt: say asked; headers: discard").grant("route", "discard = true, route");
    let chain = load(&[shadow]).unwrap();
    let mut session = session(&chain);
    assert_eq!(said(&session.mail().await), [("reject", "")]);
    assert!(!session.chain.wants(Stage::Rcpt) && !session.chain.wants(Stage::Message));
    // In the next transaction it is.
    session.chain.end_transaction();
    assert!(session.chain.wants(Stage::Rcpt));
}

#[tokio::test]
async fn its_faults_are_nobodys_answer_violated() {
    let script = "helo: panic; mail: reply 250=no such reply; rcpt: say never; quit: panic";
    for on_fault in ["defer", "reject", "disconnect", "next"] {
        let chain = load(&[shadow(script).with(&format!("on-fault = \"{on_fault}\""))]).unwrap();
        let mut session = session(&chain);
        let outcome = session.helo().await;
        assert_eq!((brief(&outcome.verdict).as_str(), said(&outcome)), ("next", vec![("fault", "trap")]));
        let outcome = session.mail().await;
        assert_eq!((brief(&outcome.verdict).as_str(), said(&outcome)), ("next", vec![("fault", "bad-answer")]));
        assert_eq!(said(&session.rcpt().await), [], "left out of this transaction");
        assert_eq!(brief(&session.ask(Call::Quit(SUMMARY)).await.verdict), "next");
    }
}

async fn message() -> Held {
    let (headers, _) = HeaderBlock::parse(b"Subject: x\r\n\r\n");
    let mut body = Spool::new(1 << 20, &std::env::temp_dir());
    body.append(b"Hello\r\n").await.unwrap();
    Held::new(headers, body)
}

#[tokio::test]
async fn its_edits_never_were_violated() {
    let edits = "headers = true, body = true, sender = true, recipients = true";
    let script = "mail: set-sender x@example.org; rcpt: replace y@example.org, add z@example.org, route quarantine; \
                  headers: append X-A=b, delete Subject; message: write gone, append X-A=b, remove bob@example.org";
    let filters = [
        shadow(script).edits(edits).grant("route = []", "route = [\"quarantine\"]"),
        Filter::puppet("mail: subject; rcpt: subject; headers: names; message: body").with("phase = \"transform\""),
    ];
    let chain = load(&filters).unwrap();
    let mut session = session(&chain);
    let outcome = session.mail().await;
    assert_eq!((told(&outcome), said(&outcome)), ("alice@example.net", vec![("edit", "Ok(())")]));
    assert!(outcome.edits.is_empty());
    let outcome = session.rcpt().await;
    assert_eq!((told(&outcome), said(&outcome)), ("carol@example.org", vec![("edit", "Ok(())")]));
    assert!(outcome.edits.is_empty());
    let (mut block, _) = HeaderBlock::parse(b"Subject: x\r\n\r\n");
    let outcome = session.ask(Call::Headers(&mut block)).await;
    assert_eq!((told(&outcome), said(&outcome).len(), block.count("Subject")), ("1 Subject", 1, 1));
    let mut held = message().await;
    let outcome = session.ask(Call::Message(&mut held)).await;
    assert_eq!(told(&outcome), "7 Hello\\r\\n");
    assert_eq!((said(&outcome).len(), outcome.edits.len(), held.headers.count("X-A")), (1, 0, 0));
    assert_eq!(&*held.body.read_at(0, 100).await.unwrap(), b"Hello\r\n");
}

/// Neither scores, tags nor waits of it count, for others or for the client.
#[tokio::test]
async fn its_marks_are_nobodys_violated() {
    let chain = load(&[shadow("mail: score ODD=5, tag bulk, delay 9000"), Filter::puppet("rcpt: say here")]).unwrap();
    let mut session = session(&chain);
    let outcome = session.mail().await;
    assert_eq!(said(&outcome)[0].0, "edit");
    assert!(outcome.marks.is_none() && outcome.delay.is_zero(), "{:?}", outcome.marks);
    let outcome = session.rcpt().await;
    assert!(told(&outcome) == "here" && outcome.marks.is_none(), "{:?}", outcome.marks);
}

/// The puppet could edit at `message`, and has the message held for it where it is not in shadow.
#[tokio::test]
async fn it_has_no_message_held_for_it_obeyed() {
    assert_eq!(session(&load(&[shadow("")]).unwrap()).chain.body_mode(), BodyMode::Spooled);
    assert_eq!(session(&load(&[Filter::puppet("")]).unwrap()).chain.body_mode(), BodyMode::Hold);
}

#[tokio::test]
async fn its_notes_are_its_own_violated() {
    let chain = load(&[
        shadow("helo: set-note k=1; mail: note k; rcpt: note puppet.k"),
        Filter::puppet("helo: note shadow.k; mail: set-note k=2; rcpt: note k"),
    ])
    .unwrap();
    let mut session = session(&chain);
    let outcome = session.helo().await;
    assert_eq!((said(&outcome), told(&outcome)), (vec![("next", "true")], "None"));
    assert_eq!(said(&session.mail().await), [("next", "Some(\"1\")")]);
    let outcome = session.rcpt().await;
    assert_eq!((said(&outcome), told(&outcome)), (vec![("next", "Some(\"2\")")], "Some(\"2\")"));
}

/// What it remembers lies over what is remembered under its name, and goes with the configuration.
#[tokio::test]
async fn its_memory_lies_over_the_real_one_obeyed() {
    let script = "helo: set a=1, counter c; mail: get a; rcpt: counter c; data: set a=2";
    let real = configuration(&[Filter::puppet(script)]);
    let mut in_shadow = real.clone();
    in_shadow.filters[0].shadow = true;
    let chain = Arc::new(Chain::load(&real).unwrap());
    let mut first = session(&chain);
    assert_eq!(told(&first.helo().await), "1");
    for _ in 0..2 {
        let chain = Arc::new(Chain::reload(Some(&chain), &in_shadow, &Outside::default()).unwrap());
        let mut session = session(&chain);
        assert_eq!(said(&session.mail().await), [("next", "Ok(Some([49]))")], "as it was found");
        assert_eq!(said(&session.rcpt().await), [("next", "2")]);
        assert_eq!(said(&session.rcpt().await), [("next", "3")]);
        session.ask(Call::Data).await;
        assert_eq!(said(&session.mail().await), [("next", "Ok(Some([50]))")]);
        // The next configuration finds what the real one left, in shadow or not.
        let again = Arc::new(Chain::reload(Some(&chain), &in_shadow, &Outside::default()).unwrap());
        assert_eq!(said(&crate::support::session(&again).mail().await), [("next", "Ok(Some([49]))")]);
        let back = Arc::new(Chain::reload(Some(&chain), &real, &Outside::default()).unwrap());
        let mut session = crate::support::session(&back);
        assert_eq!((told(&session.mail().await), told(&session.rcpt().await)), ("Ok(Some([49]))", "2"));
        // For the next turn.
        back.programs().next().unwrap().profile().memory.counters.add(
            "c",
            -1,
            Duration::from_secs(1_000),
            std::time::Instant::now(),
        );
    }
}

/// The time it takes is its own: neither the others' deadline nor theirs is it bound by.
#[tokio::test]
async fn its_time_is_its_own_violated() {
    let mut config = configuration(&[
        shadow("mail: spin").named("slow").with("cpu = \"900ms\""),
        Filter::puppet("mail: say here; rcpt: say here").named("honest"),
    ]);
    config.filters.iter_mut().for_each(|filter| filter.bounds.deadline = Duration::from_secs(60));
    // The shadow computes for longer than all filters of the message may take together.
    config.engine.message_deadline = Duration::from_millis(800);
    let chain = Arc::new(Chain::load(&config).unwrap());
    let mut session = session(&chain);
    let spent = session.mail().await;
    assert_eq!((told(&spent), said(&spent)), ("here", vec![("fault", "cpu")]));
    assert!(session.chain.usage().any(|usage| &**usage.filter == "slow" && usage.time >= Duration::from_millis(800)));
}
