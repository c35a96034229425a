//! End to end: clients that other people wrote, the gateway as an operator runs it, and a real Postfix behind it.
//!
//! The gateway is not in Postfix's `mynetworks`; what Postfix allows, it allows because of the client it was told
//! about. Nothing here is left out where a program is missing: `cargo xtask test` installs them first.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod clients;
mod compare;
mod exim;
mod gateway;
mod log;
#[path = "../smuggling/model.rs"]
mod model;
mod mta;
mod policy;
mod probe;
mod proxies;
mod signed;
mod slow;
mod smuggling;
mod towards;
#[path = "../smuggling/variants.rs"]
mod variants;

use clients::{Mail, Told, Way};
use gateway::{ACCOUNT, Gateway};
use mta::Postfix;

/// The gateway lets clients from here relay; Postfix has never heard of them.
const TRUSTED_BY_THE_GATEWAY: &str = "127.0.0.7";

const TEN_MIB: usize = 10 << 20;

type Client = fn(&Mail<'_>) -> Told;

#[test]
fn mail_arrives_as_it_was_sent() {
    let runs: [(&str, Client, Way, &str, Vec<u8>); 11] = [
        ("swaks", clients::swaks, Way::Plain, "127.0.0.11", dotted("bye")),
        ("swaks-starttls", clients::swaks, Way::StartTls, "127.0.0.12", dotted("bye")),
        ("curl", clients::curl, Way::Plain, "127.0.0.13", dotted(".")),
        ("curl-implicit", clients::curl, Way::Implicit, "127.0.0.14", dotted(".")),
        ("python", clients::smtplib, Way::Plain, "127.0.0.15", dotted(".")),
        ("python-8bit", clients::smtplib, Way::StartTls, "127.0.0.16", eight_bit()),
        ("почта", clients::smtplib, Way::Implicit, "127.0.0.17", eight_bit()),
        ("python-large", clients::smtplib, Way::Plain, "127.0.0.18", large()),
        ("chunks", clients::chunks, Way::Plain, "127.0.0.19", dotted(".")),
        ("chunks-tls", clients::chunks, Way::StartTls, "127.0.0.20", eight_bit()),
        ("chunks-large", clients::chunks, Way::Plain, "127.0.0.21", large()),
    ];
    let mailboxes = runs.each_ref().map(|(name, ..)| format!("{name}@inside.test"));
    let postfix = Postfix::start(&mailboxes.each_ref().map(String::as_str));
    let gateway = Gateway::start(postfix.address, TRUSTED_BY_THE_GATEWAY);
    for ((_, client, way, from_address, message), mailbox) in runs.iter().zip(&mailboxes) {
        let server = match way {
            Way::Plain => gateway.mx,
            Way::StartTls => gateway.submission,
            Way::Implicit => gateway.submissions,
        };
        let told =
            client(&Mail { server, way: *way, from_address, sender: "ann@client.test", recipient: mailbox, message });
        assert!(told.taken, "{mailbox}: {}\n{}", told.printed, gateway.log());
        arrived(&postfix.message_of(mailbox), message, mailbox);
        postfix.log.wait_for(&["client=", &format!("[{from_address}]")]);
    }
    gateway.stop();
}

#[test]
fn a_login_may_relay_and_its_absence_may_not() {
    let postfix = Postfix::start(&[]);
    let gateway = Gateway::start(postfix.address, TRUSTED_BY_THE_GATEWAY);
    let message = dotted(".");
    let mail = |server, way, from_address, recipient| Mail {
        server,
        way,
        from_address,
        sender: "ann@client.test",
        recipient,
        message: &message,
    };

    let told = clients::smtplib(&mail(gateway.submission, Way::StartTls, "127.0.0.21", "friend@outside.test"));
    assert!(told.taken, "{}", told.printed);
    postfix.log.wait_for(&["client=unknown[127.0.0.21]", &format!("sasl_username={ACCOUNT}")]);
    postfix.log.wait_for(&["to=<friend@outside.test>", "status=sent"]);

    // The gateway would let this one through, so that the answer is Postfix's.
    let told = clients::smtplib(&mail(gateway.mx, Way::Plain, TRUSTED_BY_THE_GATEWAY, "guest@outside.test"));
    let refusal = "refused 554 5.7.1 <guest@outside.test>: Relay access denied";
    assert!(!told.taken && told.printed.contains(refusal), "{}", told.printed);
    postfix.log.wait_for(&["reject: RCPT from unknown[127.0.0.7]", "guest@outside.test"]);

    // And this one the gateway refuses by itself: Postfix has never heard of it.
    let told = clients::smtplib(&mail(gateway.mx, Way::Plain, "127.0.0.22", "stranger@outside.test"));
    assert!(!told.taken && told.printed.contains("refused 55"), "{}", told.printed);
    assert!(!postfix.log.text().contains("stranger@outside.test"), "{}", postfix.log.text());
    gateway.stop();
}

#[test]
fn an_unknown_recipient_is_refused_in_the_words_of_postfix() {
    let postfix = Postfix::start(&["ann@inside.test"]);
    let gateway = Gateway::start(postfix.address, TRUSTED_BY_THE_GATEWAY);
    let message = dotted(".");
    let mail = Mail {
        server: gateway.mx,
        way: Way::Plain,
        from_address: "127.0.0.31",
        sender: "bob@client.test",
        recipient: "nobody@inside.test",
        message: &message,
    };
    let words = "550 5.1.1 <nobody@inside.test>: Recipient address rejected: User unknown in virtual mailbox table";
    for client in [clients::swaks as Client, clients::curl, clients::smtplib] {
        let told = client(&mail);
        assert!(!told.taken && told.printed.contains(words), "{}", told.printed);
    }
    gateway.stop();
}

/// The stored message is the sent one (Postfix ends lines with LF) below trace fields, and nothing but trace fields,
/// one of them ours.
fn arrived(stored: &[u8], sent: &[u8], mailbox: &str) {
    const TRACE: [&str; 4] = ["Return-Path:", "X-Original-To:", "Delivered-To:", "Received:"];
    let sent: Vec<u8> = sent.iter().copied().filter(|octet| *octet != b'\r').collect();
    assert!(stored.ends_with(&sent), "{mailbox} got something else: {}", String::from_utf8_lossy(&head(stored)));
    let trace = String::from_utf8_lossy(&stored[..stored.len() - sent.len()]).into_owned();
    for line in trace.lines().filter(|line| !line.starts_with([' ', '\t'])) {
        assert!(TRACE.iter().any(|field| line.starts_with(field)), "{mailbox} got one more field: {line}");
    }
    assert!(trace.contains("by mx.inside.test"), "{mailbox} was not told of the gateway:\n{trace}");
}

fn head(text: &[u8]) -> Vec<u8> {
    text.iter().copied().take(4_096).collect()
}

/// Dots where they hurt (swaks takes one at the very end for the end), white space where it is easily lost, odd folding, a line as long as allowed.
fn dotted(last_line: &str) -> Vec<u8> {
    let long = "x".repeat(998);
    format!(
        "From: Ann <ann@client.test>\r\nSubject:  two spaces, \r\n\tand a\r\n   fold\r\nX-Empty:\r\n\r\n\
         .\r\n..\r\n.a\r\n\r\n trailing \t \r\n{long}\r\nFrom here\r\n\r\n.\r\n\r\n{last_line}\r\n"
    )
    .into_bytes()
}

/// UTF-8 in the header, every octet from 0x80 up in the body.
fn eight_bit() -> Vec<u8> {
    let mut message = "Subject: Grüße, привет\r\n\r\n".as_bytes().to_vec();
    for octet in 0x80..=0xff_u8 {
        message.extend_from_slice(&[octet, b' ', octet, b'\r', b'\n']);
    }
    message
}

/// Ten MiB of lines that all differ.
fn large() -> Vec<u8> {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    let mut line = 0_u64;
    while message.len() < TEN_MIB {
        line += 1;
        message
            .extend_from_slice(format!("{line:020} {:064x}\r\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes());
    }
    message
}
