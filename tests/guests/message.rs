//! What a filter sees of a message, and what it may make of it.

use std::fmt::Write;

use wasmilter::chain::{BodyMode, Call, Chain, Held, Outcome};
use wasmilter::mail::{Edit, Stage};
use wasmilter::smtp::headers::HeaderBlock;
use wasmilter::state::spool::Spool;

use crate::support::{Filter, Session, brief, fault, load, session, told};

const MESSAGE: &[u8] =
    b"Received: from x\r\nSubject: One\r\nX-Old: a\r\nX-Old:\r\n b\r\nContent-Type: multipart/mixed; \
boundary=q\r\n\r\n--q\r\n\r\nHello\r\n--q\r\nContent-Type: application/x-msdownload; name=\"a.EXE\"\r\n\
Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nTVo=\r\n--q--\r\n";

/// A message, in memory or on disk.
async fn held(memory_bytes: usize) -> Held {
    let (headers, body_start) = HeaderBlock::parse(MESSAGE);
    let mut body = Spool::new(memory_bytes, &std::env::temp_dir());
    body.append(&MESSAGE[body_start..]).await.unwrap();
    Held::new(headers, body)
}

async fn octets(held: &Held) -> Vec<u8> {
    let mut all = Vec::new();
    held.headers.write_into(&mut all);
    let mut offset = 0;
    loop {
        let piece = held.body.read_at(offset, 1_000).await.unwrap();
        if piece.is_empty() {
            return all;
        }
        all.extend_from_slice(&piece);
        offset += piece.len() as u64;
    }
}

async fn at_message(filters: &[Filter]) -> (Outcome, String) {
    let chain = load(filters).unwrap();
    let mut session = session(&chain);
    session.mail().await;
    let mut held = held(1 << 20).await;
    let outcome = session.ask(Call::Message(&mut held)).await;
    let octets = String::from_utf8(octets(&held).await).unwrap();
    (outcome, octets)
}

async fn tell(trick: &str, memory_bytes: usize) -> String {
    let chain = load(&[Filter::puppet(&format!("message: {trick}"))]).unwrap();
    let mut session = session(&chain);
    session.mail().await;
    let mut held = held(memory_bytes).await;
    let outcome = session.ask(Call::Message(&mut held)).await;
    assert_eq!(octets(&held).await, MESSAGE, "nobody edited");
    told(&outcome).to_owned()
}

#[tokio::test]
async fn reading_obeyed() {
    for memory in [1 << 20, 10] {
        assert_eq!(tell("names", memory).await, "5 Received Subject X-Old X-Old Content-Type");
        assert_eq!(tell("field subject", memory).await, "Some(\"One\")");
        assert_eq!(tell("field nothing", memory).await, "None");
        assert_eq!(tell("at 2", memory).await, "Some(\"X-Old\")");
        let size = MESSAGE.len() - HeaderBlock::parse(MESSAGE).1;
        let told = tell("body", memory).await;
        assert!(told.starts_with(&format!("{size} --q\\r\\n\\r\\nHello")), "{told}");
        assert_eq!(tell("body-end", memory).await, "--\\r\\n");
        assert_eq!(tell("find Hello", memory).await, "Some(7)");
        assert_eq!(tell("find Goodbye", memory).await, "None");
        let mut hash = String::new();
        let body = &MESSAGE[HeaderBlock::parse(MESSAGE).1..];
        for octet in aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body).as_ref() {
            let _ = write!(hash, "{octet:02x}");
        }
        assert_eq!(tell("hash", memory).await, hash);
        assert_eq!(
            tell("parts", memory).await,
            "None multipart/mixed None None 0 / Some(0) text/plain None None 5 / \
             Some(0) application/x-msdownload Some(\"attachment\") Some(\"a.EXE\") 2"
        );
        assert_eq!(tell("part 2", memory).await, "MZ");
        assert_eq!(tell("part 99", memory).await, "");
        assert_eq!(tell("part-text 1", memory).await, "Some(\"Hello\")");
        assert_eq!(tell("part-text 2", memory).await, "None");
    }
}

#[tokio::test]
async fn too_early_violated() {
    let chain = load(&[Filter::puppet("mail: parts; rcpt: body; data: append X-A=1").edits("headers = true")]).unwrap();
    let mut session = session(&chain);
    assert_eq!(told(&session.mail().await), "Error::TooEarly");
    assert_eq!(told(&session.rcpt().await), "0 ");
    assert_eq!(told(&session.ask(Call::Data).await), "Err(Error::TooLate)");
}

#[tokio::test]
async fn header_edits_obeyed() {
    let script = "headers: insert X-Top=first, append X-Last=folded%0D%0A value, change X-Old=new, delete Received";
    let chain = load(&[
        Filter::puppet(script).named("editor").edits("headers = true"),
        Filter::puppet("headers: names").named("reader"),
        Filter::puppet("headers: subject").named("seer"),
    ])
    .unwrap();
    let mut session = session(&chain);
    assert_eq!(session.chain.body_mode(), BodyMode::Hold);
    let (mut block, _) = HeaderBlock::parse(MESSAGE);
    let outcome = session.ask(Call::Headers(&mut block)).await;
    // The next ones see it at once.
    assert_eq!(outcome.opinions[1].reason.as_deref(), Some("6 X-Top Subject X-Old X-Old Content-Type X-Last"));
    assert!(told(&outcome).starts_with("X-Top=first|Subject=One|X-Old=new|X-Old=\\r\\n b|"), "{}", told(&outcome));
    let mut wire = Vec::new();
    block.write_into(&mut wire);
    let text = String::from_utf8(wire).unwrap();
    assert!(text.starts_with("X-Top: first\r\nSubject: One\r\nX-Old: new\r\nX-Old:\r\n b\r\n"), "{text}");
    assert!(text.ends_with("X-Last: folded\r\n value\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn edits_without_a_grant_violated() {
    for (trick, error) in [
        // Granted: X-* only.
        ("append Subject=2", "Err(Error::NotGranted)"),
        ("delete Received", "Err(Error::NotGranted)"),
        ("write gone", "Err(Error::NotGranted)"),
        ("set-sender x@y.example", "Err(Error::NotGranted)"),
        ("add x@y.example", "Err(Error::NotGranted)"),
        ("remove bob@example.org", "Err(Error::NotGranted)"),
        ("replace x@y.example", "Err(Error::TooLate)"),
        // Malformed: what a client could not have said.
        ("append X-A=a%0D%0AInjected: yes", "Malformed"),
        ("append X-A=a%0D%0A%0D%0Abody", "Malformed"),
        ("append X-A=a%0Ab", "Malformed"),
        ("append X-A=%00", "Malformed"),
        ("append X-A:b=c", "Malformed"),
        ("append X-%0D%0A=c", "Malformed"),
        ("change X-Old=a%0Db", "Malformed"),
        ("change X-None=a", "Err(Error::NoSuch)"),
    ] {
        let (outcome, octets) = at_message(&[Filter::puppet(&format!("message: {trick}"))]).await;
        assert!(told(&outcome).contains(error), "{trick}: {}", told(&outcome));
        assert_eq!(octets.as_bytes(), MESSAGE, "{trick}");
        assert!(outcome.edits.is_empty());
    }
    // A filter of the wrong phase: the configuration refuses it, and so does the host.
    let mut config = crate::support::configuration(&[Filter::puppet("message: append X-A=1")]);
    config.filters[0].phase = Some(wasmilter::config::FilterPhase::Decide);
    assert!(Chain::load(&config).map(|_| ()).unwrap_err().to_string().contains("runs at the phase decide"));
}

#[tokio::test]
async fn malformed_envelopes_violated() {
    for trick in [
        "set-sender a@b.example%0D%0ARCPT TO:<x@y.example>",
        "set-sender <a@b.example>",
        "set-sender a b@c",
        "set-sender a@b.example SIZE",
        "set-sender a@b.example X=%0D%0A",
        "add not-an-address",
        "add ",
        "add @relay.example:a@b.example",
    ] {
        let filter = Filter::puppet(&format!("message: {trick}")).edits("sender = true, recipients = true");
        let (outcome, _) = at_message(&[filter]).await;
        let fine = trick == "set-sender a@b.example SIZE";
        assert_eq!(told(&outcome).contains("Malformed"), !fine, "{trick}: {}", told(&outcome));
    }
}

#[tokio::test]
async fn envelope_edits_obeyed() {
    let script = "mail: set-sender new@example.net SIZE=7; rcpt: replace two@example.org, add three@corp.example; \
                  message: add four@elsewhere.example, remove bob@example.org, set-sender ";
    let edits = "sender = true, recipients = [\"*@corp.example\"]";
    let chain = load(&[
        Filter::puppet(script).named("editor").edits(edits),
        Filter::puppet("mail: subject; rcpt: subject; message: envelope").named("reader"),
    ])
    .unwrap();
    let mut session = session(&chain);
    let outcome = session.mail().await;
    assert_eq!(told(&outcome), "new@example.net SIZE=7");
    assert!(matches!(&outcome.edits[..], [Edit::SetSender(sender)] if sender.path.as_str() == "new@example.net"));
    let outcome = session.rcpt().await;
    assert_eq!(told(&outcome), "two@example.org");
    let beyond: Vec<_> = outcome
        .edits
        .iter()
        .map(|edit| match edit {
            Edit::ReplaceRecipient { recipient, beyond_relay } => (recipient.path.as_str(), *beyond_relay),
            Edit::AddRecipient { recipient, beyond_relay } => (recipient.path.as_str(), *beyond_relay),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(beyond, [("two@example.org", false), ("three@corp.example", true)]);
    let outcome = session.ask(Call::Message(&mut held(1 << 20).await)).await;
    assert!(
        told(&outcome).contains("four@elsewhere.example") && !told(&outcome).contains("bob@"),
        "{}",
        told(&outcome)
    );
    assert_eq!(outcome.edits.len(), 3);
}

#[tokio::test]
async fn body_edits_obeyed() {
    let (outcome, octets) = at_message(&[
        Filter::puppet("message: write new%0D%0A, write body%0D%0A").named("editor").edits("body = true"),
        Filter::puppet("message: body").named("reader"),
    ])
    .await;
    assert_eq!(told(&outcome), "11 new\\r\\nbody\\r\\n");
    assert!(octets.ends_with("boundary=q\r\n\r\nnew\r\nbody\r\n"), "{octets}");
    // MIME is of the message as it came.
    let (outcome, _) = at_message(&[
        Filter::puppet("message: write gone%0D%0A, delete Content-Type")
            .named("editor")
            .edits("body = true, headers = true"),
        Filter::puppet("message: part 2").named("reader"),
    ])
    .await;
    assert_eq!(told(&outcome), "MZ");
}

#[tokio::test]
async fn body_edits_violated() {
    for (trick, what) in [
        ("write a%0Ab", "an LF without a CR"),
        ("write a%0Db", "a CR without an LF"),
        ("write %00", "a NUL"),
        ("write-much 10", "1 Error::Limit"),
    ] {
        let filter = Filter::puppet(&format!("message: {trick}")).edits("body = true").with("cpu = \"5s\"");
        let (outcome, _) = at_message(&[filter]).await;
        assert!(told(&outcome).contains(what), "{trick}: {}", told(&outcome));
    }
    let (outcome, octets) = at_message(&[Filter::puppet("message: write half%0D").edits("body = true")]).await;
    assert_eq!(fault(&outcome), Some("bad-answer"));
    assert_eq!(octets.as_bytes(), MESSAGE);
}

#[tokio::test]
async fn changes_of_a_filter_that_fails_violated() {
    let script = "message: append X-A=1, write x%0D%0A, set-sender , panic";
    let editor = || Filter::puppet(script).named("editor").edits("headers = true, body = true, sender = true");
    let (outcome, octets) =
        at_message(&[editor().with("on-fault = \"next\""), Filter::puppet("message: names").named("reader")]).await;
    assert_eq!(brief(&outcome.verdict), "next");
    assert_eq!(told(&outcome), "5 Received Subject X-Old X-Old Content-Type");
    assert_eq!(octets.as_bytes(), MESSAGE);
    assert!(outcome.edits.is_empty());
}

#[tokio::test]
async fn body_chunks_obeyed() {
    let chain = load(&[Filter::puppet("body: subject; message: next").named("a")]).unwrap();
    let mut session = session(&chain);
    session.mail().await;
    let outcome = session.ask(Call::Body(&[b'x'; 100_000])).await;
    assert_eq!(told(&outcome), "34464", "the second piece of two");
    let chain = load(&[Filter::puppet("body: skip").named("a")]).unwrap();
    let mut session = crate::support::session(&chain);
    session.mail().await;
    session.ask(Call::Body(b"x")).await;
    assert!(!session.chain.wants(Stage::Body), "enough seen");
    session.mail().await;
    assert!(session.chain.wants(Stage::Body), "of the next message again");
}

#[tokio::test]
async fn headers_at_body_obeyed() {
    let chain = load(&[Filter::puppet("body: field Subject; message: field Subject")]).unwrap();
    let mut session = session(&chain);
    session.mail().await;
    let (mut block, _) = HeaderBlock::parse(MESSAGE);
    session.ask(Call::Headers(&mut block)).await;
    assert_eq!(block.len(), 5, "given back");
    for _ in 0..2 {
        assert_eq!(told(&session.ask(Call::Body(b"x")).await), "Some(\"One\")");
    }
    async fn next_mail(session: &mut Session) -> String {
        session.mail().await;
        told(&session.ask(Call::Body(b"x")).await).to_owned()
    }
    assert_eq!(next_mail(&mut session).await, "None", "not of the message before");
}

#[tokio::test]
async fn body_modes_obeyed() {
    let mode = |filter: Filter| session(&load(&[filter]).unwrap()).chain.body_mode();
    assert_eq!(mode(Filter::new("idle", crate::support::guest("idle"), "")), BodyMode::Stream);
    assert_eq!(mode(Filter::puppet("")), BodyMode::Hold);
    let chain = load(&[Filter::puppet("mail: accept")]).unwrap();
    let mut session = session(&chain);
    session.mail().await;
    assert_eq!(session.chain.body_mode(), BodyMode::Stream, "who is content does not look");
}
