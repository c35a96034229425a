//! Connections that go from one client to the next, and servers that stand in for each other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::config::{Pool as PoolSettings, Server, Servers};

const OTHER_SAID: &str = "P: XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.8 PORT=99 PROTO=ESMTP HELO=other.test \
                          LOGIN=[UNAVAILABLE] DESTADDR=198.51.100.1 DESTPORT=25 REVERSE_NAME=[UNAVAILABLE]\n";
const AGAIN: &str = "U: 250 XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT\n";

/// Nothing of it is known but its address and what it says.
fn other() -> SessionFacts {
    SessionFacts {
        id: "other".into(),
        peer: "192.0.2.8:99".parse().unwrap(),
        peer_name: crate::mail::PeerName::Unavailable,
        reverse_name: crate::mail::PeerName::Unavailable,
        hello: Some(Hello { name: "other.test".into(), extended: true }),
        ..client()
    }
}

fn leaked(script: String) -> &'static str {
    Box::leak(script.into_boxed_str())
}

fn pooled(scripted: &Scripted, identify: Identify, change: impl FnOnce(&mut PoolSettings)) -> Upstream {
    let mut pool = PoolSettings::default();
    change(&mut pool);
    scripted.upstream_of(
        |settings| {
            settings.identify = identify;
            settings.pool = pool;
        },
        patient(),
    )
}

async fn mail(connection: &mut Connection) {
    connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
}

#[tokio::test]
async fn the_next_client_gets_the_connection_and_the_reset_costs_no_wait() {
    let scripted = Scripted::new(after_greeting(
        "P: MAIL FROM:<>\nU: 250 ok\n\
         P: RSET\nP: MAIL FROM:<>\nU: 250 reset\nU: 250 sender\n\
         P: RCPT TO:<x@y.test>\nU: 250 recipient\nP: DATA\nU: 354 go\nP: .\nU: 250 queued\n\
         P: MAIL FROM:<>\nU: 250 third\nP: QUIT\n",
    ))
    .await;
    let upstream = pooled(&scripted, Identify::None, |_| {});
    let mut first = upstream.connect(&client()).await.unwrap();
    assert!(!first.is_reused());
    mail(&mut first).await;
    first.release().await;
    let mut second = upstream.connect(&other()).await.unwrap();
    assert!(second.is_reused(), "nothing was answered yet");
    let sender = second.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap();
    assert_eq!(sender.text, "sender", "the answer to RSET is nobody's");
    assert!(!second.is_reused());
    second.command(b"RCPT TO:<x@y.test>\r\n", Wait::Rcpt).await.unwrap();
    second.command(b"DATA\r\n", Wait::Data).await.unwrap();
    second.write(b".\r\n").await.unwrap();
    second.final_reply().await.unwrap();
    second.release().await;
    // A transaction that came to its end leaves nothing to be reset.
    let mut third = upstream.connect(&client()).await.unwrap();
    mail(&mut third).await;
    third.quit().await;
    scripted.played().await;
}

#[tokio::test]
async fn the_next_client_is_told_in_full() {
    let told = "U: 220 mx.test\nP: EHLO client.test\nU: 250-mx.test\nU: 250-PIPELINING\n";
    let scripted = Scripted::new(xclient(&format!(
        "{told}{AGAIN}P: MAIL FROM:<>\nU: 250 ok\n\
         P: RSET\n{OTHER_SAID}U: 250 reset\nU: 220 mx.test\nP: EHLO other.test\nU: 250 mx.test\n\
         P: MAIL FROM:<>\nU: 250 ok\nP: QUIT\n"
    )))
    .await;
    let upstream = pooled(&scripted, Identify::Xclient, |_| {});
    let mut first = upstream.connect(&client()).await.unwrap();
    mail(&mut first).await;
    first.release().await;
    let mut second = upstream.acquire(&other(), Telling::Now).await.unwrap();
    assert!(!second.is_reused(), "it has answered XCLIENT");
    mail(&mut second).await;
    // Told and not to be told again: it serves nobody else.
    second.release().await;
    scripted.played().await;
}

#[tokio::test]
async fn what_was_told_of_one_client_is_not_said_for_another() {
    let told = "U: 220 mx.test\nP: EHLO client.test\nU: 250-mx.test\n";
    let scripted = Scripted::new(leaked(format!("{XCLIENT}{SAID}{told}{AGAIN}---\n{XCLIENT}"))).await;
    let upstream = pooled(&scripted, Identify::Xclient, |_| {});
    upstream.connect(&client()).await.unwrap().release().await;
    // A client whose login is still to come is not asked for in a connection that was told of another.
    let mut second = upstream.acquire(&other(), Telling::Postpone).await.unwrap();
    let error = second.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap_err();
    assert!(matches!(error, UpstreamError::NotIdentified(_)));
    drop((second, upstream));
    // The first one waits still; with its upstream it goes.
    drop(scripted);
}

#[tokio::test]
async fn what_cannot_be_told_anew_would_stay() {
    let script = xclient("U: 220 mx.test\nP: EHLO client.test\nU: 250-mx.test\nU: 250 XCLIENT ADDR HELO\nP: QUIT\n");
    let scripted = Scripted::new(script).await;
    pooled(&scripted, Identify::Xclient, |_| {}).connect(&client()).await.unwrap().release().await;
    scripted.played().await;
}

#[tokio::test]
async fn who_has_logged_in_leaves_no_connection_behind() {
    let script = xclient("");
    let script = script.replace("LOGIN=[UNAVAILABLE]", "LOGIN=bob")
        + &format!("U: 220 mx.test\nP: EHLO client.test\nU: 250-mx.test\n{AGAIN}P: QUIT\n");
    let scripted = Scripted::new(leaked(script)).await;
    let mut who = client();
    who.auth =
        Some(Arc::new(AuthFacts { mechanism: crate::smtp::sasl::Mechanism::Plain.into(), identity: "bob".into() }));
    pooled(&scripted, Identify::Xclient, |_| {}).connect(&who).await.unwrap().release().await;
    scripted.played().await;
}

#[tokio::test]
async fn a_connection_that_is_worn_is_not_handed_on() {
    let refused = "P: RCPT TO:<x@y.test>\nU: 550 no\n".repeat(5);
    for (transactions, script) in [
        (1, "P: MAIL FROM:<>\nU: 250 ok\nP: QUIT\n".to_owned()),
        (100, format!("P: MAIL FROM:<>\nU: 250 ok\n{refused}P: QUIT\n")),
        // It spoke without being asked.
        (100, "P: MAIL FROM:<>\nU: 250 ok\nU: 250 ok\nP: QUIT\n".to_owned()),
    ] {
        let scripted = Scripted::new(after_greeting(&script)).await;
        let upstream = pooled(&scripted, Identify::None, |pool| pool.transactions_per_connection = transactions);
        let mut connection = upstream.connect(&client()).await.unwrap();
        mail(&mut connection).await;
        for _ in 0..script.matches("RCPT").count() {
            connection.command(b"RCPT TO:<x@y.test>\r\n", Wait::Rcpt).await.unwrap();
        }
        connection.release().await;
        scripted.played().await;
    }
}

#[tokio::test]
async fn a_reply_that_is_still_due_is_never_the_next_clients() {
    let scripted = Scripted::new(leaked(format!("{GREET}P: MAIL FROM:<>\n---\n{GREET}"))).await;
    let upstream = pooled(&scripted, Identify::None, |_| {});
    let mut connection = upstream.connect(&client()).await.unwrap();
    connection.send(b"MAIL FROM:<>\r\n", 1, Wait::Mail).await.unwrap();
    connection.release().await;
    let second = upstream.connect(&other()).await.unwrap();
    assert!(!second.is_reused());
    second.abort();
    scripted.played().await;
}

#[tokio::test]
async fn an_idle_connection_that_died_is_passed_over() {
    let scripted = Scripted::new(leaked(format!("{GREET}U: 421 bye\nU! close\n---\n{GREET}"))).await;
    let upstream = pooled(&scripted, Identify::None, |_| {});
    let connection = upstream.connect(&client()).await.unwrap();
    connection.release().await;
    let second = upstream.connect(&other()).await.unwrap();
    // Whether its end had been heard of by then or not, nobody was sent into a dead connection.
    drop(second);
    drop(scripted);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_idle_for_long() {
    let scripted = Scripted::new(after_greeting("P: QUIT\n")).await;
    let upstream = pooled(&scripted, Identify::None, |_| {});
    let began = tokio::time::Instant::now();
    upstream.connect(&client()).await.unwrap().release().await;
    scripted.played().await;
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn none_waits_where_none_may() {
    let scripted = Scripted::new(after_greeting("P: QUIT\n")).await;
    let upstream = pooled(&scripted, Identify::None, |pool| pool.idle_connections = 0);
    upstream.connect(&client()).await.unwrap().release().await;
    scripted.played().await;
}

#[tokio::test]
async fn none_is_left_when_the_generation_is_over() {
    let scripted = Scripted::new(leaked(format!("{GREET}P: QUIT\n---\n{GREET}P: QUIT\n"))).await;
    let upstream = pooled(&scripted, Identify::None, |_| {});
    upstream.connect(&client()).await.unwrap().release().await;
    upstream.shared.retire().await;
    upstream.connect(&client()).await.unwrap().release().await;
    scripted.played().await;
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_waits_in_turn_and_not_for_ever() {
    let scripted = Scripted::new(after_greeting("P: QUIT\n")).await;
    let mut timeouts = patient();
    timeouts.upstream_connect = Duration::from_secs(3);
    let upstream = scripted.upstream_of(
        |settings| {
            settings.identify = Identify::None;
            settings.pool.connections = Some(1);
        },
        timeouts,
    );
    let held = upstream.connect(&client()).await.unwrap();
    let error = upstream.connect(&other()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Busy));
    assert_eq!((error.reply().code, error.reply().enhanced), (451, Some(Enhanced::new(4, 4, 5))));
    let (one, two) = (client(), other());
    let mut second = Box::pin(upstream.acquire(&one, Telling::Now));
    let mut third = Box::pin(upstream.acquire(&two, Telling::Now));
    assert!(look(&mut second).await.is_none(), "there is no place");
    assert!(look(&mut third).await.is_none());
    held.release().await;
    // Whoever came later does not overtake.
    assert!(look(&mut third).await.is_none());
    let second = second.await.unwrap();
    assert!(second.is_reused(), "one place is one connection");
    second.release().await;
    third.await.unwrap().quit().await;
    scripted.played().await;
}

/// One look at a future.
async fn look<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn server(address: std::net::SocketAddr, priority: u16) -> Server {
    Server { host: address.ip().to_string(), port: address.port(), priority, weight: 1 }
}

fn of_servers(list: Vec<Server>, scripted: &Scripted) -> Upstream {
    scripted.upstream_of(
        |settings| {
            settings.identify = Identify::Xclient;
            settings.servers = Servers::Listed(list);
        },
        patient(),
    )
}

#[tokio::test]
async fn where_one_server_gives_no_connection_the_next_one_is_asked() {
    let told = "U: 220 mx.test\nP: EHLO client.test\nU: 250 mx.test\nP: MAIL FROM:<>\nU: 250 ok\n";
    for broken in [
        "U: 554 go away\n",
        "U: 421 busy\nU! close\n",
        "U! close\n",
        "U! reset\n",
        "U: 220 x\nP: EHLO gw.test\nU: 421 busy\nU! close\n",
        "U: 220 x\nP: EHLO gw.test\nU: 250 no XCLIENT here\n",
        leaked(format!("{XCLIENT}{SAID}U! close\n")),
        leaked(format!("{XCLIENT}{SAID}U: 220 mx.test\nP: EHLO client.test\nU! close\n")),
    ] {
        let first = Scripted::new(broken).await;
        let second = Scripted::new(leaked(format!("{XCLIENT}{SAID}{told}"))).await;
        let upstream = of_servers(vec![server(second.address, 10), server(first.address, 0)], &first);
        let mut connection = upstream.connect(&client()).await.unwrap();
        mail(&mut connection).await;
        connection.abort();
        first.played().await;
        second.played().await;
    }
}

#[tokio::test]
async fn what_a_server_has_against_the_client_is_not_asked_of_another() {
    let refusing = leaked(format!("{XCLIENT}{SAID}U: 220 x\nP: EHLO client.test\nU: 450 4.7.1 not you\n"));
    let first = Scripted::new(refusing).await;
    let nobody = Scripted::new("").await;
    let upstream = of_servers(vec![server(first.address, 0), server(nobody.address, 1)], &first);
    let error = upstream.connect(&client()).await.unwrap_err();
    assert_eq!(error.reply().text, "not you");
    first.played().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stalls_has_its_share_of_the_wait() {
    let first = Scripted::new("U! hold\n").await;
    let second = Scripted::new(leaked(format!("{XCLIENT}{SAID}U: 220 x\nP: EHLO client.test\nU: 250 x\n"))).await;
    let upstream = of_servers(vec![server(first.address, 0), server(second.address, 1)], &first);
    let began = tokio::time::Instant::now();
    upstream.connect(&client()).await.unwrap().abort();
    // 60 s are to be had for a connection, and there are two servers.
    assert_eq!(began.elapsed().as_secs(), 30);
    first.played().await;
    second.played().await;
}

#[tokio::test]
async fn who_failed_is_not_asked_first_the_next_time() {
    let first = Scripted::new("U! close\n").await;
    let once = format!("{XCLIENT}{SAID}U: 220 x\nP: EHLO client.test\nU: 250 x\n");
    let second = Scripted::new(leaked(format!("{once}---\n{once}"))).await;
    let upstream = of_servers(vec![server(first.address, 0), server(second.address, 1)], &first);
    upstream.connect(&client()).await.unwrap().abort();
    first.played().await;
    upstream.connect(&client()).await.unwrap().abort();
    second.played().await;
}

#[tokio::test(start_paused = true)]
async fn health_checks_find_out_before_mail_has_to() {
    let sick = Scripted::new("U! close\n---\nU: 554 no\n").await;
    let well = Scripted::new(leaked(format!("{XCLIENT}P: QUIT\n---\n{XCLIENT}P: QUIT\n"))).await;
    let list = vec![server(sick.address, 0), server(well.address, 1)];
    let upstream = sick.upstream_of(
        |settings| {
            settings.identify = Identify::Xclient;
            settings.servers = Servers::Listed(list);
            settings.health_check = Some(Duration::from_secs(30));
        },
        patient(),
    );
    upstream.begin();
    well.played().await;
    sick.played().await;
    let Shared { listed, health, .. } = &*upstream.shared;
    let order = servers::in_order(listed, health, tokio::time::Instant::now(), || 0);
    assert_eq!(order[0].priority, 1, "before any mail was sent");
}
