//! STARTTLS towards the upstream: off, preferred, demanded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::config::{Believed, TlsBegin};

const OFFER_TLS: &str = "U: 220 mx.test\nP: EHLO gw.test\nU: 250-mx.test\nU: 250 STARTTLS\n";
const INSIDE: &str = "P: EHLO gw.test\nU: 250-mx.test\nU: 250 DSN\nP: MAIL FROM:<>\nU: 250 ok\n";

async fn mail_through(upstream: &Upstream) -> Result<bool, UpstreamError> {
    let mut connection = upstream.connect(&client()).await?;
    connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await?;
    Ok(connection.is_tls())
}

fn verified(name: &str, scripted: &Scripted) -> UpstreamTls {
    let ca_file = scripted.certificate.as_ref().map(|file| file.path().to_owned());
    UpstreamTls::Verify { begin: TlsBegin::StartTls, trust: Believed::Named { name: Some(name.to_owned()), ca_file } }
}

#[tokio::test]
async fn tls_is_used_where_it_is_offered() {
    let script = format!("{OFFER_TLS}P: STARTTLS\nU: 220 go\nU! tls\n{INSIDE}");
    let script: &'static str = Box::leak(script.into_boxed_str());
    for verify in [false, true] {
        let scripted = Scripted::new(script).await;
        let tls = if verify { verified("mx.test", &scripted) } else { UpstreamTls::Opportunistic };
        let upstream = scripted.upstream_with(Identify::None, tls, patient());
        assert!(mail_through(&upstream).await.unwrap());
        assert!(upstream.last_offer().unwrap().dsn, "the offer inside TLS is the one that counts");
        scripted.played().await;
    }
}

#[tokio::test]
async fn where_tls_is_only_preferred_mail_goes_on_in_clear() {
    let plain = "U: 220 mx.test\nP: EHLO gw.test\nU: 250-mx.test\nU: 250 STARTTLS\nP: MAIL FROM:<>\nU: 250 ok\n";
    for script in [
        after_greeting("P: MAIL FROM:<>\nU: 250 ok\n").to_owned(),
        format!("{OFFER_TLS}P: STARTTLS\nU: 454 TLS not available\nP: MAIL FROM:<>\nU: 250 ok\n"),
        format!("{OFFER_TLS}P: STARTTLS\nU: 220 go\nU! refuse-tls\n---\n{plain}"),
    ] {
        let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
        let upstream = scripted.upstream_with(Identify::None, UpstreamTls::Opportunistic, patient());
        assert!(!mail_through(&upstream).await.unwrap());
        scripted.played().await;
    }
}

#[tokio::test]
async fn where_tls_is_demanded_nothing_goes_in_clear() {
    for (name, script) in [
        ("mx.test", after_greeting("").to_owned()),
        ("mx.test", format!("{OFFER_TLS}P: STARTTLS\nU: 554 no\n")),
        ("mx.test", format!("{OFFER_TLS}P: STARTTLS\nU: 220 go\nU! refuse-tls\n")),
        ("other.test", format!("{OFFER_TLS}P: STARTTLS\nU: 220 go\nU! tls\n")),
    ] {
        let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
        let upstream = scripted.upstream_with(Identify::None, verified(name, &scripted), patient());
        let error = mail_through(&upstream).await.unwrap_err();
        assert!(error.is_alarm(), "{error}");
        assert_eq!((error.reply().code, error.reply().enhanced), (451, Some(Enhanced::new(4, 3, 5))));
        scripted.played().await;
    }
}

#[tokio::test]
async fn what_comes_in_clear_behind_starttls_is_not_read_as_encrypted() {
    let script = format!("{OFFER_TLS}P: STARTTLS\nU: 220 go\nU: 250-mx.test\nU: 250 XCLIENT ADDR\n");
    let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
    let upstream = scripted.upstream_with(Identify::None, UpstreamTls::Opportunistic, patient());
    assert!(matches!(mail_through(&upstream).await, Err(UpstreamError::Protocol { during: Wait::StartTls, .. })));
    scripted.played().await;
}
