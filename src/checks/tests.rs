//! Checks against the answers of a DNS server on loopback.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

use super::*;
use crate::config::Dnssec;
use crate::net::dns::tests::zone;

const MESSAGE: &str = "From: <joe@football.test>\r\nTo: <a@example.org>\r\nSubject: Dinner\r\n\r\nAre you hungry?\r\n";

fn origin(address: &str, sender: &str) -> Origin {
    Origin { address: address.parse().unwrap(), helo: "mail.football.test".into(), sender: sender.into() }
}

/// A DNS that knows these TXT records, and signs with this key.
async fn checker(key: Option<&Ed25519Key>, policy: &str) -> Checker {
    checker_under(Dnssec::Unchecked, key, policy).await
}

async fn checker_under(dnssec: Dnssec, key: Option<&Ed25519Key>, policy: &str) -> Checker {
    let mut records = vec![
        ("football.test".to_owned(), "v=spf1 ip4:192.0.2.1 -all".to_owned()),
        ("mail.football.test".to_owned(), "v=spf1 ip4:192.0.2.2 ~all".to_owned()),
        ("broken.test".to_owned(), "v=spf1 include:broken.test -all".to_owned()),
        ("_dmarc.football.test".to_owned(), format!("v=DMARC1; p={policy}")),
    ];
    if let Some(key) = key {
        let text = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key.public_key()));
        records.push(("s1._domainkey.football.test".to_owned(), text));
    }
    Checker::new(&zone(records, dnssec).await)
}

fn key() -> Ed25519Key {
    Ed25519Key::from_pkcs8_der(&Ed25519Key::generate_pkcs8().unwrap()).unwrap()
}

fn signed(key: Ed25519Key, message: &str) -> String {
    let signer = DkimSigner::from_key(key).domain("football.test").selector("s1").headers(["From", "Subject"]);
    format!("{}{message}", signer.sign(message.as_bytes()).unwrap().to_header())
}

fn outcomes(findings: &[Finding], check: &str) -> Vec<String> {
    findings.iter().filter(|finding| finding.check == check).map(|finding| finding.outcome.clone()).collect()
}

fn property<'a>(finding: &'a Finding, name: &str) -> Option<&'a str> {
    finding.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn spf_says_who_may_send() {
    let checker = checker(None, "none").await;
    for (address, sender, wanted) in [
        ("192.0.2.1", "joe@football.test", "pass"),
        ("192.0.2.9", "joe@football.test", "fail"),
        ("192.0.2.2", "", "pass"),
        ("192.0.2.9", "", "softfail"),
        ("192.0.2.1", "joe@elsewhere.test", "none"),
        ("192.0.2.1", "joe@broken.test", "permerror"),
    ] {
        let spf = checker.spf(&origin(address, sender)).await;
        assert_eq!(spf.finding.outcome, wanted, "{address} {sender}");
    }
    let spf = checker.spf(&origin("192.0.2.2", "")).await.finding;
    assert_eq!((property(&spf, "domain"), property(&spf, "scope")), (Some("mail.football.test"), Some("helo")));
}

/// Nobody is refused, and nobody is let in, by what somebody else made up.
#[tokio::test]
async fn what_dnssec_calls_forged_says_nothing() {
    let key = key();
    let checker = checker_under(Dnssec::Validated { trust_anchor: None }, Some(&key), "reject").await;
    let from = origin("192.0.2.1", "joe@football.test");
    let spf = checker.spf(&from).await;
    assert_eq!(spf.finding.outcome, "temperror");
    let found = checker.message(signed(key, MESSAGE).into_bytes(), from, spf).await;
    assert_eq!(
        (outcomes(&found, "dkim"), outcomes(&found, "dmarc")),
        (vec!["temperror".into()], vec!["temperror".into()])
    );
}

#[tokio::test]
async fn a_signature_counts_when_it_fits() {
    let der = Ed25519Key::generate_pkcs8().unwrap();
    let key = || Ed25519Key::from_pkcs8_der(&der).unwrap();
    let checker = checker(Some(&key()), "reject").await;
    let from = origin("192.0.2.9", "joe@football.test");
    let spf = checker.spf(&from).await;
    let good = signed(key(), MESSAGE);
    let found = checker.message(good.clone().into_bytes(), from.clone(), spf.clone()).await;
    assert_eq!((outcomes(&found, "dkim"), outcomes(&found, "dmarc")), (vec!["pass".into()], vec!["pass".into()]));
    assert_eq!(outcomes(&found, "arc"), ["none"]);
    assert_eq!((property(&found[0], "domain"), property(&found[0], "selector")), (Some("football.test"), Some("s1")));
    let bent = good.replace("hungry", "thirsty");
    let found = checker.message(bent.into_bytes(), from.clone(), spf.clone()).await;
    assert_eq!(outcomes(&found, "dmarc"), ["fail"]);
    assert_ne!(outcomes(&found, "dkim"), ["pass"]);
    let dmarc = found.iter().find(|finding| finding.check == "dmarc").unwrap();
    assert_eq!((property(dmarc, "domain"), property(dmarc, "policy")), (Some("football.test"), Some("reject")));
    // Not signed at all, from where the domain allows it.
    let from = origin("192.0.2.1", "joe@football.test");
    let spf = checker.spf(&from).await;
    let found = checker.message(MESSAGE.into(), from, spf).await;
    assert_eq!((outcomes(&found, "dkim"), outcomes(&found, "dmarc")), (vec!["none".into()], vec!["pass".into()]));
}

#[tokio::test]
async fn signatures_violated() {
    let checker = checker(Some(&key()), "none").await;
    let from = origin("192.0.2.1", "joe@football.test");
    let spf = checker.spf(&from).await;
    let one = signed(key(), MESSAGE);
    let (field, _) = one.split_once("From:").unwrap();
    let many = format!("{}{MESSAGE}", field.repeat(SIGNATURES_MAX * 5));
    let found = checker.message(many.into_bytes(), from, spf).await;
    assert_eq!(outcomes(&found, "dkim").len(), SIGNATURES_MAX);
}

#[tokio::test]
async fn what_is_no_message_is_no_panic() {
    let checker = checker(None, "none").await;
    let from = origin("192.0.2.1", "joe@football.test");
    let spf = checker.spf(&from).await;
    for raw in [
        "",
        "\r\n",
        "x",
        "DKIM-Signature: ;;;=\r\n\r\n",
        "DKIM-Signature: v=1; a=rsa-sha256; b=; bh=\r\nFrom: \0\r\n\r\n",
    ] {
        let found = checker.message(raw.into(), from.clone(), spf.clone()).await;
        assert!(!outcomes(&found, "dkim").contains(&"pass".to_owned()), "{raw:?}: {found:?}");
        assert_eq!(outcomes(&found, "dmarc").len(), 1);
    }
}
