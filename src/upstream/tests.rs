//! Whole conversations with scripted upstreams: what is said, and in which order.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod clients;
mod faults;
mod greet;
mod logins;
mod pool;
mod tls;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use super::support::{Scripted, client, patient, upstream_at};
use super::*;
use crate::config::{Identify, UpstreamTls};
use crate::mail::{AuthFacts, Hello};
use crate::smtp::{Enhanced, Reply};

const GREET: &str = "U: 220 mx.test ESMTP\nP: EHLO gw.test\nU: 250-mx.test\nU: 250-PIPELINING\nU: 250 8BITMIME\n";

/// A script behind the banner and an EHLO without anything special.
fn after_greeting(rest: &str) -> &'static str {
    Box::leak(format!("{GREET}{rest}").into_boxed_str())
}

async fn greeted(script: &'static str) -> (Scripted, Connection) {
    let scripted = Scripted::new(script).await;
    let connection = scripted.upstream(Identify::None).connect(&client()).await.unwrap();
    (scripted, connection)
}

#[tokio::test]
async fn a_message_goes_through_and_its_answers_come_back() {
    let (scripted, mut connection) = greeted(after_greeting(
        "P: MAIL FROM:<a@b.test>\nU: 250 2.1.0 Sender ok\n\
         P: RCPT TO:<x@y.test>\nU: 550-5.1.1 No such\nU: 550 5.1.1 user\n\
         P: RCPT TO:<z@y.test>\nU: 250 ok\n\
         P: DATA\nU: 354 go on\n\
         P: Subject: x\nP: \nP: hello\nP: .\nU: 250 2.0.0 queued as 77\n\
         P: QUIT\n",
    ))
    .await;
    assert!(connection.offer().pipelining && connection.offer().eight_bit_mime && !connection.offer().dsn);
    let reply = connection.command(b"MAIL FROM:<a@b.test>\r\n", Wait::Mail).await.unwrap();
    assert_eq!(reply, Reply::new(250, Some(Enhanced::new(2, 1, 0)), "Sender ok"));
    let reply = connection.command(b"RCPT TO:<x@y.test>\r\n", Wait::Rcpt).await.unwrap();
    assert_eq!(reply, Reply::new(550, Some(Enhanced::new(5, 1, 1)), "No such\nuser"));
    let reply = connection.command(b"RCPT TO:<z@y.test>\r\n", Wait::Rcpt).await.unwrap();
    assert_eq!(reply, Reply::new(250, Some(Enhanced::new(2, 0, 0)), "ok"));
    assert!(connection.is_alive());
    assert_eq!(connection.command(b"DATA\r\n", Wait::Data).await.unwrap().code, 354);
    connection.write(b"Subject: x\r\n").await.unwrap();
    connection.write_slices(&mut [IoSlice::new(b"\r\nhel"), IoSlice::new(b"lo\r\n.\r\n")]).await.unwrap();
    assert_eq!(connection.final_reply().await.unwrap().text, "queued as 77");
    assert!(connection.is_alive());
    connection.quit().await;
    scripted.played().await;
}

#[tokio::test]
async fn a_group_leaves_in_one_write_and_its_answers_come_one_by_one() {
    let (scripted, mut connection) = greeted(after_greeting(
        "P: MAIL FROM:<a@b.test>\nP: RCPT TO:<z@y.test>\nP: DATA\nU: 250 ok\nU: 450 later\nU: 554 none\nP: QUIT\n",
    ))
    .await;
    connection.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<z@y.test>\r\nDATA\r\n", 3, Wait::Mail).await.unwrap();
    assert_eq!(connection.reply(Wait::Mail).await.unwrap().code, 250);
    assert_eq!(connection.reply(Wait::Rcpt).await.unwrap().code, 450);
    assert_eq!(connection.reply(Wait::Data).await.unwrap().code, 554);
    connection.quit().await;
    scripted.played().await;
}

#[tokio::test]
async fn an_upstream_that_knows_only_helo_is_served() {
    let scripted = Scripted::new(
        "U: 220 old.test\nP: EHLO gw.test\nU: 502 what?\nP: HELO gw.test\nU: 250 old.test\n\
         P: MAIL FROM:<a@b.test>\nU: 250 ok\n",
    )
    .await;
    let mut connection = scripted.upstream(Identify::Auto).connect(&client()).await.unwrap();
    assert_eq!(*connection.offer(), Offer::default());
    connection.command(b"MAIL FROM:<a@b.test>\r\n", Wait::Mail).await.unwrap();
    connection.abort();
    scripted.played().await;
}

const XCLIENT: &str = "U: 220 mx.test\nP: EHLO gw.test\nU: 250-mx.test\n\
                       U: 250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME\n";
const SAID: &str = "P: XCLIENT NAME=client.test ADDR=192.0.2.7 PORT=4321 PROTO=ESMTP HELO=client.test \
                    LOGIN=[UNAVAILABLE] DESTADDR=198.51.100.1 DESTPORT=25 REVERSE_NAME=client.test\n";

fn xclient(rest: &str) -> &'static str {
    Box::leak(format!("{XCLIENT}{SAID}{rest}").into_boxed_str())
}

#[tokio::test]
async fn the_client_is_introduced_and_greets_in_its_own_name() {
    let scripted = Scripted::new(xclient(
        "U: 220 mx.test again\nP: EHLO client.test\nU: 250-mx.test\nU: 250 DSN\nP: MAIL FROM:<>\nU: 250 ok\n",
    ))
    .await;
    let upstream = scripted.upstream(Identify::Xclient);
    let mut connection = upstream.connect(&client()).await.unwrap();
    assert!(connection.offer().dsn, "the last offer counts");
    connection.identify(&client()).await.unwrap();
    connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
    assert_eq!(upstream.last_offer().as_deref(), Some(&*connection.offer()));
    assert_eq!(upstream.fresh_offer(), None, "a ttl of zero asks each time");
    connection.abort();
    scripted.played().await;
}

#[tokio::test]
async fn a_login_is_told_on_a_new_connection_where_the_old_one_takes_no_more() {
    let told = "U: 220 mx.test\nP: EHLO client.test\nU: 250 mx.test\nP: QUIT\n";
    let script = xclient(&format!(
        "{told}---\n{XCLIENT}{}U: 220 mx.test\nP: EHLO client.test\nU: 250 mx.test\nP: MAIL FROM:<>\nU: 250 ok\n",
        SAID.replace("LOGIN=[UNAVAILABLE]", "LOGIN=bob")
    ));
    let scripted = Scripted::new(script).await;
    let mut connection = scripted.upstream(Identify::Xclient).connect(&client()).await.unwrap();
    let mut who = client();
    who.auth =
        Some(Arc::new(AuthFacts { mechanism: crate::smtp::sasl::Mechanism::Plain.into(), identity: "bob".into() }));
    connection.identify(&who).await.unwrap();
    connection.identify(&who).await.unwrap();
    connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
    connection.abort();
    scripted.played().await;
}

#[tokio::test]
async fn a_login_is_told_again_where_xclient_stays_on_offer() {
    let script = xclient(
        "U: 220 mx.test\nP: EHLO client.test\nU: 250-mx.test\nU: 250 XCLIENT ADDR LOGIN\n\
         P: XCLIENT ADDR=192.0.2.7 LOGIN=bob\nU: 220 mx.test\nP: EHLO client.test\nU: 250 mx.test\n",
    );
    let scripted = Scripted::new(script).await;
    let mut connection = scripted.upstream(Identify::Xclient).connect(&client()).await.unwrap();
    let mut who = client();
    who.auth =
        Some(Arc::new(AuthFacts { mechanism: crate::smtp::sasl::Mechanism::Plain.into(), identity: "bob".into() }));
    connection.identify(&who).await.unwrap();
    connection.abort();
    scripted.played().await;
}

#[tokio::test]
async fn a_client_that_said_helo_is_offered_nothing() {
    let script = XCLIENT.to_owned()
        + &SAID.replace("PROTO=ESMTP", "PROTO=SMTP")
        + "U: 220 mx.test\nP: HELO client.test\nU: 250-mx.test\nU: 250 PIPELINING\n";
    let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
    let upstream = scripted.upstream(Identify::Auto);
    let mut who = client();
    who.hello = Some(Hello { name: "client.test".into(), extended: false });
    let connection = upstream.connect(&who).await.unwrap();
    assert_eq!(*connection.offer(), Offer::default());
    assert!(!upstream.last_offer().unwrap().xclient.is_empty(), "what others are offered is not forgotten");
    connection.abort();
    scripted.played().await;
}

#[tokio::test]
async fn nothing_of_the_client_is_said_before_its_name() {
    let scripted = Scripted::new(XCLIENT).await;
    let mut connection = scripted.upstream(Identify::Xclient).acquire(&client(), Telling::Postpone).await.unwrap();
    let error = connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap_err();
    assert!(matches!(error, UpstreamError::NotIdentified(_)));
    drop(connection);
    scripted.played().await;
}

#[tokio::test]
async fn xforward_is_said_before_each_mail() {
    let forward = "P: XFORWARD NAME=client.test ADDR=192.0.2.7 PROTO=ESMTP HELO=client.test SOURCE=REMOTE\nU: 250 ok\n\
                   P: MAIL FROM:<>\nU: 250 ok\nP: RSET\nU: 250 ok\n";
    let script =
        format!("U: 220 x\nP: EHLO gw.test\nU: 250-x\nU: 250 XFORWARD NAME ADDR PROTO HELO SOURCE\n{forward}{forward}");
    let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
    let mut connection = scripted.upstream(Identify::Auto).connect(&client()).await.unwrap();
    for _ in 0..2 {
        connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
        connection.command(b"RSET\r\n", Wait::Rset).await.unwrap();
    }
    connection.abort();
    scripted.played().await;
}

#[tokio::test]
async fn idle_connections_share_what_they_were_offered() {
    let told = "U: 220 mx.test\nP: EHLO client.test\nU: 250 mx.test\nP: QUIT\n";
    let once = format!("{XCLIENT}{SAID}{told}");
    let scripted = Scripted::new(Box::leak(format!("{once}---\n{once}").into_boxed_str())).await;
    let upstream = scripted.upstream(Identify::Xclient);
    let connection = upstream.connect(&client()).await.unwrap();
    let first = connection.offer();
    connection.quit().await;
    let connection = upstream.connect(&client()).await.unwrap();
    assert!(Arc::ptr_eq(&first, &connection.offer()));
    connection.quit().await;
    scripted.played().await;
}

#[tokio::test]
async fn an_offer_stays_fresh_for_its_time() {
    let mut scripted = Scripted::new(GREET).await;
    scripted.extensions_ttl = Duration::from_secs(60);
    let upstream = scripted.upstream(Identify::None);
    assert_eq!(upstream.fresh_offer(), None);
    upstream.acquire(&client(), Telling::Postpone).await.unwrap().abort();
    tokio::time::pause();
    assert!(upstream.fresh_offer().unwrap().eight_bit_mime);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(upstream.fresh_offer(), None);
    assert!(upstream.last_offer().unwrap().eight_bit_mime);
    scripted.played().await;
}

#[tokio::test]
async fn a_write_that_was_dropped_leaves_nothing_to_go_on_with() {
    let (scripted, mut connection) = greeted(after_greeting("P: DATA\nU: 354 go\nU! stall\n")).await;
    connection.command(b"DATA\r\n", Wait::Data).await.unwrap();
    // More than any socket buffer holds.
    let much = vec![b'x'; 64 * 1_024 * 1_024];
    let dropped = tokio::time::timeout(Duration::from_millis(50), connection.write(&much)).await;
    assert!(dropped.is_err());
    assert!(connection.write(b"\r\n.\r\n").await.is_err());
    assert!(connection.final_reply().await.is_err());
    drop(connection);
    drop(scripted);
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 320, "{}", size_of::<Connection>());
}
