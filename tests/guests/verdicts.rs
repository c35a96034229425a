//! What a filter may say, and what it may not.

use wasmilter::chain::Call;
use wasmilter::mail::{Edit, Stage};

use crate::support::{Filter, brief, fault, load, session, told};

async fn after_helo(script: &str) -> (String, Option<String>) {
    let chain = load(&[Filter::puppet(&format!("helo: {script}"))]).unwrap();
    let outcome = session(&chain).helo().await;
    (brief(&outcome.verdict), fault(&outcome).map(str::to_owned))
}

#[tokio::test]
async fn verdicts_obeyed() {
    for (script, verdict) in [
        ("next", "next"),
        ("accept", "next"),
        ("reject", "reject"),
        ("defer", "defer"),
        ("disconnect", "disconnect"),
        ("reply 550=No%20thanks", "550 5.7.1"),
        ("reply 450=Later", "450 4.7.1"),
        ("enhanced 5.1.2", "550 5.1.2"),
    ] {
        assert_eq!(after_helo(script).await, (verdict.to_owned(), None), "{script}");
    }
}

#[tokio::test]
async fn verdicts_violated() {
    for script in [
        // Codes that say something else than the action.
        "reply 250=Ok",
        "reply 399=Hm",
        "reply 600=Hm",
        "reply 421=Bye",
        // Line ends, control characters.
        "reply 550=no%0D%0A250 yes",
        "reply 550=no%0Ayes",
        "reply 550=%00",
        "reply 550=%1B[31m",
        "enhanced 2.0.0",
        "enhanced 5.7.1%0D%0A",
        "no-text",
        "long-text 401",
        "next-with-reply",
        // Not in this stage, or not granted.
        "discard",
        "skip",
        // 500 MB of text; 8 MiB of it.
        "huge-text 500",
        "long-text 8388608",
    ] {
        let answer = after_helo(script).await;
        assert_eq!(answer, ("451 4.3.0".to_owned(), Some("bad-answer".to_owned())), "{script}");
    }
}

#[tokio::test]
async fn on_fault_obeyed() {
    for (on_fault, verdict) in
        [("defer", "451 4.3.0"), ("reject", "550 5.3.0"), ("disconnect", "421 4.3.0"), ("next", "next")]
    {
        let line = format!("on-fault = \"{on_fault}\"");
        let chain = load(&[Filter::puppet("mail: panic").with(&line)]).unwrap();
        let mut session = session(&chain);
        let outcome = session.mail().await;
        assert_eq!(brief(&outcome.verdict), verdict);
        assert_eq!(fault(&outcome), Some("trap"));
        // Left out of this transaction, back in the next.
        assert_eq!(session.chain.wants(Stage::Rcpt), on_fault != "next");
        assert_eq!(fault(&session.mail().await), Some("trap"));
    }
}

#[tokio::test]
async fn accept_obeyed() {
    let chain = load(&[Filter::puppet("mail: accept; rcpt: say asked")]).unwrap();
    let mut of_transaction = session(&chain);
    of_transaction.mail().await;
    assert!(!of_transaction.chain.wants(Stage::Rcpt) && !of_transaction.chain.wants(Stage::Message));
    of_transaction.chain.end_transaction();
    assert!(of_transaction.chain.wants(Stage::Rcpt));

    let chain = load(&[
        Filter::puppet("helo: accept; mail: say first").named("first"),
        Filter::puppet("mail: say second").named("second"),
    ])
    .unwrap();
    let mut of_session = session(&chain);
    of_session.helo().await;
    let outcome = of_session.mail().await;
    assert_eq!(outcome.opinions.len(), 1);
    assert_eq!(told(&outcome), "second");
}

#[tokio::test]
async fn order_obeyed() {
    let chain = load(&[
        Filter::puppet("helo: say seal").named("d").with("phase = \"seal\""),
        Filter::puppet("helo: say change-one").named("b").with("phase = \"transform\""),
        Filter::puppet("helo: say change-two").named("c").with("phase = \"transform\""),
        Filter::puppet("helo: say inspect").named("a").with("phase = \"inspect\"").edits("sender = true"),
    ])
    .unwrap();
    let outcome = session(&chain).helo().await;
    let names: Vec<_> = outcome.opinions.iter().map(|opinion| &*opinion.filter).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_refusal_ends_the_chain_obeyed() {
    let chain = load(&[
        Filter::puppet("helo: say one").named("a"),
        Filter::puppet("helo: reply 554=Go away").named("b"),
        Filter::puppet("helo: say three").named("c"),
    ])
    .unwrap();
    let outcome = session(&chain).helo().await;
    assert_eq!(outcome.verdict.filter.as_deref(), Some("b"));
    assert_eq!(outcome.verdict.reply.map(|reply| reply.text).as_deref(), Some("Go away"));
    assert_eq!(outcome.opinions.len(), 2);
}

#[tokio::test]
async fn routes_obeyed() {
    let chain = load(&[
        Filter::puppet("mail: route quarantine; rcpt: route default, route quarantine")
            .named("first")
            .routes("\"quarantine\", \"default\""),
        Filter::puppet("mail: route default").named("second").routes("\"default\""),
    ])
    .unwrap();
    let mut session = session(&chain);
    let routes = |names: &[&str]| names.iter().map(|name| Edit::Route((*name).to_owned())).collect::<Vec<_>>();
    let outcome = session.mail().await;
    assert_eq!((told(&outcome), outcome.edits.clone()), ("Ok(())", routes(&["quarantine", "default"])));
    assert_eq!(session.rcpt().await.edits, routes(&["default", "quarantine"]));
}

#[tokio::test]
async fn routes_violated() {
    let script = "helo: route quarantine; mail: route default; rcpt: route nowhere; data: route quarantine";
    let chain = load(&[Filter::puppet(script).routes("\"quarantine\"")]).unwrap();
    let mut honest = session(&chain);
    for (outcome, said) in [
        (honest.helo().await, "wrong-stage"),
        (honest.mail().await, "not-granted"),
        (honest.rcpt().await, "not-granted"),
        (honest.ask(Call::Data).await, "wrong-stage"),
    ] {
        assert!(told(&outcome).contains(said) && outcome.edits.is_empty(), "{}", told(&outcome));
    }
    // Said before the fault, and never said.
    let chain =
        load(&[Filter::puppet("mail: route quarantine, panic").routes("\"quarantine\"").with("on-fault = \"next\"")])
            .unwrap();
    assert_eq!(session(&chain).mail().await.edits, []);
    let many = vec!["route quarantine"; 201].join(", ");
    let chain = load(&[Filter::puppet(&format!("mail: {many}")).routes("\"quarantine\"")]).unwrap();
    let outcome = session(&chain).mail().await;
    assert!(told(&outcome).contains("limit") && outcome.edits.len() == 200, "{}", told(&outcome));
}
