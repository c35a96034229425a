//! What filters say of a message beside their verdicts: points, words, waits.

use std::time::Duration;

use wasmilter::chain::{Call, Outcome};
use wasmilter::mail::Marks;
use wasmilter::smtp::headers::{HeaderBlock, HeaderField};

use crate::support::{ENDING, Filter, SUMMARY, brief, fault, load, session, told};

/// What the log will say.
fn marks(outcome: &Outcome) -> String {
    let Some(marks) = outcome.marks.as_deref().filter(|marks| **marks != Marks::default()) else {
        return "nothing".into();
    };
    let symbols: Vec<_> = marks.symbols().iter().map(|s| format!("{}:{}={}", s.filter, s.name, s.points)).collect();
    format!("{} [{}] [{}]", marks.total(), symbols.join(" "), marks.tags().join(" "))
}

#[tokio::test]
async fn scores_and_tags_obeyed() {
    let chain = load(&[
        Filter::puppet("mail: score A=1.5, tag bulk; rcpt: score A=2, score B=-0.5; data: marks").named("one"),
        Filter::puppet("mail: marks; rcpt: score A=10, tag bulk, tag list, marks").named("two"),
    ])
    .unwrap();
    let mut session = session(&chain);
    // Seen by the next filter at once, and by all from then on.
    let outcome = session.mail().await;
    assert_eq!(told(&outcome), "1.5 one:A=1.5(Some(\"alice@example.net\")) bulk");
    assert_eq!(marks(&outcome), "1.5 [one:A=1.5] [bulk]");
    let outcome = session.rcpt().await;
    assert_eq!(marks(&outcome), "11.5 [one:A=2 one:B=-0.5 two:A=10] [bulk list]");
    assert_eq!(marks(&session.ask(Call::Data).await), marks(&outcome));
    // They die with the transaction.
    session.chain.end_transaction();
    assert_eq!(marks(&session.mail().await), "1.5 [one:A=1.5] [bulk]");
    session.ask(Call::Abort(ENDING)).await;
    assert_eq!(marks(&session.ask(Call::Quit(SUMMARY)).await), "nothing");
}

#[tokio::test]
async fn scores_and_tags_violated() {
    let script = "helo: score A=1; mail: score A=NaN; rcpt: score two words=1; data: score A=2000000; \
                  abort: tag a; quit: tag a";
    let chain = load(&[Filter::puppet(script)]).unwrap();
    let mut honest = session(&chain);
    for (outcome, said) in [
        (honest.helo().await, "wrong-stage"),
        (honest.mail().await, "malformed"),
        (honest.rcpt().await, "malformed"),
        (honest.ask(Call::Data).await, "limit"),
        // What reports come to is nothing but what they leave behind.
        (honest.ask(Call::Abort(ENDING)).await, ""),
        (honest.ask(Call::Quit(SUMMARY)).await, ""),
    ] {
        assert!(told(&outcome).contains(said), "{}", told(&outcome));
        assert_eq!(marks(&outcome), "nothing");
    }
    let many: Vec<_> = (0..65).map(|i| format!("score S{i}=1")).collect();
    let tags: Vec<_> = (0..33).map(|i| format!("tag T{i}")).collect();
    let script = format!("mail: {}; rcpt: {}", many.join(", "), tags.join(", "));
    let chain = load(&[Filter::puppet(&script)]).unwrap();
    let mut greedy = session(&chain);
    for outcome in [greedy.mail().await, greedy.rcpt().await] {
        assert!(told(&outcome).contains("limit"), "{}", told(&outcome));
    }
    let outcome = greedy.ask(Call::Data).await;
    let marks = outcome.marks.unwrap();
    assert_eq!((marks.symbols().len(), marks.tags().len()), (64, 32));
}

/// Each kind of mark has a grant of its own, and any of them grants the import.
#[tokio::test]
async fn mark_grants_violated() {
    let others = "headers = true, body = true, mime = true, metrics = true, counters = true, tables = [], kv = true, \
                  dns = true, http = [], facts = true, edit = { headers = [\"X-*\"] }";
    let script = "rcpt: tag a; data: score A=1; message: delay 100";
    let rich = Filter::puppet("mail: score RICH=5").named("rich");
    for (grant, allowed) in [("mark = true", 2), ("delay = \"1s\"", 1), ("route = []", 0)] {
        let poor = Filter::puppet(script).grants(&format!("{others}, {grant}"));
        let chain = load(&[rich.clone(), poor]).unwrap();
        let mut session = session(&chain);
        let mut granted = 0;
        for outcome in [session.rcpt().await, session.ask(Call::Data).await, session.message().await] {
            granted += usize::from(told(&outcome).starts_with("Ok"));
            assert!(told(&outcome).starts_with("Ok") || told(&outcome).contains("not-granted"), "{}", told(&outcome));
        }
        assert_eq!(granted, allowed, "{grant}");
    }
    // Nor does it see what others said.
    let poor = Filter::puppet("mail: marks").grants(&format!("{others}, route = []"));
    let chain = load(&[rich, poor]).unwrap();
    assert_eq!(told(&session(&chain).mail().await), "0  ");
}

#[tokio::test]
async fn marks_before_a_fault_violated() {
    let chain = load(&[
        Filter::puppet("mail: score A=1, tag kept").named("one"),
        Filter::puppet("mail: score A=9, score B=9, tag lost, delay 9000, panic")
            .named("two")
            .with("on-fault = \"next\""),
    ])
    .unwrap();
    let outcome = session(&chain).mail().await;
    assert_eq!((fault(&outcome), outcome.delay), (Some("trap"), Duration::ZERO));
    assert_eq!(marks(&outcome), "1 [one:A=1] [kept]");
}

#[tokio::test]
async fn delay_obeyed() {
    let chain = load(&[
        Filter::puppet("connect: delay 700; helo: delay 300, delay 200; rcpt: delay 5").named("one"),
        Filter::puppet("connect: delay 900, delay 800; rcpt: delay 7, reply 550=No").named("two"),
    ])
    .unwrap();
    let mut session = session(&chain);
    // The longest holds, and for its stage alone; a refusal is held back as well.
    assert_eq!(session.ask(Call::Connect).await.delay, Duration::from_millis(900));
    assert_eq!(session.helo().await.delay, Duration::from_millis(300));
    assert_eq!(session.mail().await.delay, Duration::ZERO);
    let outcome = session.rcpt().await;
    assert_eq!((brief(&outcome.verdict).as_str(), outcome.delay), ("550 5.7.1", Duration::from_millis(7)));
}

#[tokio::test]
async fn delay_violated() {
    let script = "helo: delay 4294967295; headers: delay 1; body: delay 1; abort: delay 1; quit: delay 1";
    let chain = load(&[Filter::puppet(script)]).unwrap();
    let mut session = session(&chain);
    let outcome = session.helo().await;
    assert_eq!((told(&outcome), outcome.delay), ("Ok(10000)", Duration::from_secs(10)));
    session.mail().await;
    let mut block = HeaderBlock::default();
    block.append(&HeaderField::new("Subject", b" x".to_vec()).unwrap());
    for (outcome, said) in [
        (session.ask(Call::Headers(&mut block)).await, "wrong-stage"),
        (session.ask(Call::Body(b"x")).await, "wrong-stage"),
        (session.ask(Call::Abort(ENDING)).await, ""),
        (session.ask(Call::Quit(SUMMARY)).await, ""),
    ] {
        assert!(told(&outcome).contains(said) && outcome.delay.is_zero(), "{}", told(&outcome));
    }
}

#[tokio::test]
async fn time_left_obeyed() {
    let left = |outcome: &Outcome| told(outcome).parse::<f64>().unwrap();
    let chain = load(&[Filter::puppet("helo: time-left; mail: time-left").with("deadline = \"2s\"")]).unwrap();
    let mut session = session(&chain);
    for outcome in [session.helo().await, session.mail().await] {
        assert!((0.0..=2_000.0).contains(&left(&outcome)), "{}", told(&outcome));
    }
}
