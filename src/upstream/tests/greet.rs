//! What stands before the first command: PROXY headers, LMTP's hello, a login of our own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::config::{Believed, Password, PasswordSource, ProxyVersion, TlsBegin, UpstreamLogin, UpstreamProtocol};

fn logging_in(scripted: &Scripted) -> Upstream {
    scripted.upstream_of(
        |settings| {
            let password = PasswordSource::Written(Password::new("pass word".to_owned()));
            settings.login = Some(UpstreamLogin { user: "gateway".to_owned(), password });
        },
        patient(),
    )
}

#[tokio::test]
async fn the_clients_address_goes_before_everything_else_and_the_connection_is_its_own() {
    let script = "P: PROXY TCP4 192.0.2.7 198.51.100.1 4321 25\nU: 220 x\nP: EHLO gw.test\nU: 250 x\n\
                  P: MAIL FROM:<>\nU: 250 ok\nP: QUIT\n";
    let scripted = Scripted::new(script).await;
    let upstream = scripted.upstream_of(|settings| settings.proxy_protocol = Some(ProxyVersion::V1), patient());
    let mut connection = upstream.connect(&client()).await.unwrap();
    connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
    assert!(!connection.is_shareable());
    connection.release().await;
    scripted.played().await;
}

#[tokio::test]
async fn an_lmtp_server_is_greeted_as_one_and_answers_for_each_recipient() {
    let script = "U: 220 x LMTP\nP: LHLO gw.test\nU: 250-x\nU: 250-PIPELINING\nU: 250 CHUNKING\n\
                  P: MAIL FROM:<>\nU: 250 ok\nP: RCPT TO:<a@y.test>\nU: 250 ok\nP: RCPT TO:<b@y.test>\nU: 550 no\n\
                  P: RCPT TO:<c@y.test>\nU: 250 ok\nP: DATA\nU: 354 go\nP: .\nU: 250 2.1.5 a has it\nU: 250 2.1.5 c has it\n\
                  P: MAIL FROM:<>\nU: 250 ok\nP: RCPT TO:<a@y.test>\nU: 250 ok\nP: RCPT TO:<c@y.test>\nU: 250 ok\n\
                  P: DATA\nU: 354 go\nP: .\nU: 250 a has it\nU: 452 4.2.2 c is full\nP: QUIT\n";
    let scripted = Scripted::new(script).await;
    let upstream = scripted.upstream_of(|settings| settings.protocol = UpstreamProtocol::Lmtp, patient());
    let mut connection = upstream.connect(&client()).await.unwrap();
    assert!(connection.is_lmtp() && !connection.offer().chunking);
    for recipients in [["a", "b", "c"].as_slice(), &["a", "c"]] {
        connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
        for recipient in recipients {
            connection.command(format!("RCPT TO:<{recipient}@y.test>\r\n").as_bytes(), Wait::Rcpt).await.unwrap();
        }
        connection.command(b"DATA\r\n", Wait::Data).await.unwrap();
        connection.write(b".\r\n").await.unwrap();
        if recipients.len() == 3 {
            let texts: Vec<_> = connection.final_replies().await.unwrap().into_iter().map(|reply| reply.text).collect();
            assert_eq!(texts, ["a has it", "c has it"]);
        } else {
            let reply = connection.final_reply().await.unwrap();
            assert_eq!(reply.code, 451, "a yes would lose mail: {reply:?}");
        }
    }
    assert!(connection.is_alive());
    connection.quit().await;
    scripted.played().await;
}

#[tokio::test]
async fn an_lmtp_server_that_knows_no_lhlo_is_none() {
    let scripted = Scripted::new("U: 220 x\nP: LHLO gw.test\nU: 500 what?\n").await;
    let upstream = scripted.upstream_of(|settings| settings.protocol = UpstreamProtocol::Lmtp, patient());
    assert!(matches!(upstream.connect(&client()).await, Err(UpstreamError::Refused { during: Wait::Hello, .. })));
    scripted.played().await;
}

#[tokio::test]
async fn the_gateway_logs_in_once_for_all_clients() {
    let mail = "P: MAIL FROM:<>\nU: 250 ok\n";
    for auth in [
        "U: 250 AUTH LOGIN PLAIN\nP: AUTH PLAIN AGdhdGV3YXkAcGFzcyB3b3Jk\nU: 235 welcome\n",
        "U: 250 AUTH LOGIN\nP: AUTH LOGIN\nU: 334 VXNlcm5hbWU6\nP: Z2F0ZXdheQ==\nU: 334 UGFzc3dvcmQ6\n\
         P: cGFzcyB3b3Jk\nU: 235 welcome\n",
    ] {
        let script = format!("U: 220 x\nP: EHLO gw.test\nU: 250-x\n{auth}{mail}P: RSET\n{mail}");
        let script = script.replacen("P: RSET\nP: MAIL FROM:<>\n", "P: RSET\nU: 250 ok\nP: MAIL FROM:<>\n", 1);
        let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
        let mut connection = logging_in(&scripted).connect(&client()).await.unwrap();
        connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
        connection.command(b"RSET\r\n", Wait::Rset).await.unwrap();
        connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
        connection.abort();
        scripted.played().await;
    }
}

#[tokio::test]
async fn a_login_of_ours_that_fails_is_our_trouble() {
    for (alarm, answer) in [
        (true, "U: 250 AUTH PLAIN\nP: AUTH PLAIN AGdhdGV3YXkAcGFzcyB3b3Jk\nU: 535 5.7.8 bad credentials\n"),
        (true, "U: 250 AUTH CRAM-MD5\n"),
        (true, "U: 250 PIPELINING\n"),
        (false, "U: 250 AUTH PLAIN\nP: AUTH PLAIN AGdhdGV3YXkAcGFzcyB3b3Jk\nU: 454 4.7.0 not now\n"),
        (false, "U: 250 AUTH PLAIN\nP: AUTH PLAIN AGdhdGV3YXkAcGFzcyB3b3Jk\nU: 250 sure\n"),
        (false, "U: 250 AUTH PLAIN\nP: AUTH PLAIN AGdhdGV3YXkAcGFzcyB3b3Jk\nU: 334 more\n"),
    ] {
        let script = format!("U: 220 x\nP: EHLO gw.test\nU: 250-x\n{answer}");
        let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
        let error = logging_in(&scripted).connect(&client()).await.unwrap_err();
        assert_eq!((error.is_alarm(), error.reply().code), (alarm, 451), "{error}");
        assert!(!format!("{error} {error:?}").contains("pass"), "{error}");
        scripted.played().await;
    }
}

#[tokio::test]
async fn tls_may_begin_with_the_first_octet() {
    let script = "U! tls\nU: 220 x\nP: EHLO gw.test\nU: 250 x\nP: MAIL FROM:<>\nU: 250 ok\n";
    let scripted = Scripted::new(script).await;
    let ca_file = scripted.certificate.as_ref().map(|file| file.path().to_owned());
    let trust = Believed::Named { name: Some("mx.test".to_owned()), ca_file };
    let tls = UpstreamTls::Verify { begin: TlsBegin::Implicit, trust };
    let mut connection = scripted.upstream_with(Identify::None, tls, patient()).connect(&client()).await.unwrap();
    connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
    assert!(connection.is_tls());
    connection.abort();
    scripted.played().await;
}

#[test]
fn a_password_is_the_first_line_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let mut settings = crate::config::Upstream::at("127.0.0.1", 25);
    settings.login = Some(UpstreamLogin { user: "gateway".to_owned(), password: PasswordSource::File(path.clone()) });
    assert!(super::check(&settings).unwrap_err().to_string().contains("password"), "it is not there");
    for (text, good) in [("secret\nnot this\n", true), ("", false), ("\nsecret\n", false), ("a\0b\n", false)] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(super::check(&settings).is_ok(), good, "{text:?}");
    }
}
