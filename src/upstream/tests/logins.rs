//! Clients' logins, said on to servers that do as they should and to others.

use super::*;
use crate::config::{Password, PasswordSource, UpstreamLogin};
use crate::smtp::sasl::{Name, Secret};
use crate::upstream::{Login, Said};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

async fn login(server: &Scripted, identify: Identify) -> Login {
    server.upstream(identify).for_login(&client()).await.unwrap()
}

#[tokio::test]
async fn the_server_knows_the_client_before_it_hears_the_login_and_nothing_else_is_said() {
    let server = Scripted::new(
        "U: 220 mx
         P: EHLO gw.test
         U: 250-mx
         U: 250-AUTH PLAIN CRAM-MD5
         U: 250 XCLIENT NAME ADDR PORT LOGIN
         P: XCLIENT NAME=client.test ADDR=192.0.2.7 PORT=4321 LOGIN=[UNAVAILABLE]
         U: 220 mx
         P: EHLO client.test
         U: 250-mx
         U: 250 AUTH PLAIN CRAM-MD5
         P: AUTH CRAM-MD5
         U: 334 PDE+
         P: dGltIDAw
         U: 235 2.7.0 yes
         P: QUIT
         U: 221 bye",
    )
    .await;
    let mut login = login(&server, Identify::Xclient).await;
    assert!(login.offers(name("cram-md5")) && !login.offers(name("LOGIN")));
    assert_eq!(login.begin(name("CRAM-MD5"), None).await.unwrap(), Said::Challenge(b"<1>".to_vec()));
    assert_eq!(login.go_on(&secret("tim 00")).await.unwrap(), Said::Good);
    login.leave().await;
    server.played().await;
}

#[tokio::test]
async fn first_messages_come_with_the_command_where_there_is_room() {
    let server = Scripted::new(Box::leak(
        format!(
            "U: 220 mx
             P: EHLO gw.test
             U: 250-mx
             U: 250 AUTH X
             P: AUTH X =
             U: 535 no
             P: AUTH X dA==
             U: 535 no
             P: AUTH X
             U: 334
             P: {0}
             U: 535 no
             P: AUTH X
             U: 334 AAAA",
            "AAAA".repeat(130)
        )
        .into_boxed_str(),
    ))
    .await;
    let mut login = login(&server, Identify::None).await;
    let long = Secret::new(vec![0; 390]);
    for message in [secret(""), secret("t"), long.clone()] {
        assert_eq!(login.begin(name("X"), Some(&message)).await.unwrap(), Said::Bad);
    }
    // Who asks for something before the client has said anything would be told it by mistake.
    assert!(matches!(login.begin(name("X"), Some(&long)).await, Err(UpstreamError::Protocol { .. })));
    drop(login);
    server.played().await;
}

#[tokio::test]
async fn only_a_235_is_a_yes_and_only_a_5xx_about_the_login_is_a_no() {
    for (reply, verdict) in [
        ("235 yes", Some(Said::Good)),
        ("235-yes\nU: 235 and more", Some(Said::Good)),
        ("535 5.7.8 no", Some(Said::Bad)),
        ("501 5.5.2 what", Some(Said::Bad)),
        ("534 too weak", Some(Said::Bad)),
        ("550 no", Some(Said::Bad)),
        ("334 ", Some(Said::Challenge(Vec::new()))),
        ("200 yes", None),
        ("250 yes", None),
        ("220 yes", None),
        ("354 go on", None),
        ("334 !", None),
        ("334 AA", None),
        ("334-AAAA\nU: 334 AAAA", None),
        ("454 later", None),
        ("432 later", None),
        ("421 bye", None),
        ("500 what", None),
        ("502 what", None),
        ("503 what", None),
        ("504 what", None),
        ("530 TLS", None),
        ("538 TLS", None),
        ("235", Some(Said::Good)),
        ("2350 yes", None),
        ("nonsense", None),
    ] {
        let script = format!("U: 220 mx\nP: EHLO gw.test\nU: 250-mx\nU: 250 AUTH X\nP: AUTH X\nU: {reply}\nU! hold\n");
        let server = Scripted::new(Box::leak(script.into_boxed_str())).await;
        let mut login = login(&server, Identify::None).await;
        assert_eq!(login.begin(name("X"), None).await.ok(), verdict, "{reply}");
        drop(login);
        server.played().await;
    }
}

#[tokio::test]
async fn a_yes_that_comes_too_early_is_none() {
    let server = Scripted::new(
        "U: 220 mx
         P: EHLO gw.test
         U: 250-mx
         U: 250 AUTH X
         P: AUTH X
         U: 334 AAAA
         U: 235 yes
         U! hold",
    )
    .await;
    let mut login = login(&server, Identify::None).await;
    assert!(matches!(login.begin(name("X"), None).await, Ok(Said::Challenge(_))));
    assert!(matches!(login.go_on(&secret("t")).await, Err(UpstreamError::Protocol { .. })));
    // And nothing that comes behind it is one, either.
    assert!(login.go_on(&secret("t")).await.is_err());
    drop(login);
    server.played().await;
}

#[tokio::test]
async fn a_server_that_goes_gives_no_verdict() {
    for last in ["U! close", "U! reset"] {
        let script = format!("U: 220 mx\nP: EHLO gw.test\nU: 250-mx\nU: 250 AUTH X\nP: AUTH X dA==\n{last}\n");
        let server = Scripted::new(Box::leak(script.into_boxed_str())).await;
        let mut login = login(&server, Identify::None).await;
        assert!(login.begin(name("X"), Some(&secret("t"))).await.is_err());
        server.played().await;
    }
}

#[tokio::test]
async fn the_gateways_own_login_stays_out_of_it_and_tls_comes_first() {
    let server = Scripted::new(
        "U: 220 mx
         P: EHLO gw.test
         U: 250-mx
         U: 250 STARTTLS
         P: STARTTLS
         U: 220 go
         U! tls
         P: EHLO gw.test
         U: 250-mx
         U: 250 AUTH PLAIN
         P: AUTH PLAIN dA==
         U: 235 yes
         P: QUIT
         U: 221 bye",
    )
    .await;
    let own = UpstreamLogin { user: "gateway".into(), password: PasswordSource::Written(Password::new("g".into())) };
    let upstream = server.upstream_of(
        |settings| {
            settings.tls = UpstreamTls::Opportunistic;
            settings.login = Some(own);
        },
        patient(),
    );
    let mut login = upstream.for_login(&client()).await.unwrap();
    assert_eq!(login.begin(name("PLAIN"), Some(&secret("t"))).await.unwrap(), Said::Good);
    login.leave().await;
    server.played().await;
}

#[tokio::test]
async fn a_client_that_the_server_does_not_want_or_hear_of_cannot_log_in() {
    let refused = Scripted::new(
        "U: 220 mx
         P: EHLO gw.test
         U: 250-mx
         U: 250 XCLIENT ADDR
         P: XCLIENT ADDR=192.0.2.7
         U: 550 not from there
         U! hold",
    )
    .await;
    assert!(refused.upstream(Identify::Xclient).for_login(&client()).await.is_err());
    refused.played().await;
    let without = Scripted::new("U: 220 mx\nP: EHLO gw.test\nU: 250 AUTH PLAIN\nU! hold").await;
    assert!(matches!(
        without.upstream(Identify::Xclient).for_login(&client()).await,
        Err(UpstreamError::NotIdentified(_))
    ));
    without.played().await;
}
