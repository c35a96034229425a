//! Every place where an upstream can die, fall silent or talk nonsense, and what the client is told then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

#[tokio::test]
async fn xclient_absent_or_refused_is_451_and_an_alarm() {
    for (manner, script) in [
        (Identify::Xclient, GREET),
        (Identify::Xforward, GREET),
        (Identify::Xclient, "U: 220 x\nP: EHLO gw.test\nU: 502 no\nP: HELO gw.test\nU: 250 x\n"),
        (Identify::Xclient, "U: 220 x\nP: EHLO gw.test\nU: 250-x\nU: 250 XCLIENT NAME HELO\n"),
        (Identify::Xclient, xclient("U: 550 5.7.0 Error: insufficient authorization\n")),
        (Identify::Auto, xclient("U: 501 5.5.4 Bad syntax\n")),
    ] {
        let scripted = Scripted::new(script).await;
        let error = scripted.upstream(manner).connect(&client()).await.unwrap_err();
        assert!(error.is_alarm(), "{error}");
        assert_eq!((error.reply().code, error.reply().enhanced), (451, Some(Enhanced::new(4, 3, 5))));
        scripted.played().await;
    }
}

#[tokio::test]
async fn a_refused_banner_or_hello_is_never_the_clients_bounce() {
    for (alarm, script) in [
        (true, "U: 554 5.7.1 we do not talk to you\n"),
        (false, "U: 450 4.7.1 busy\n"),
        (true, "U: 220 x\nP: EHLO gw.test\nU: 550 no\nP: HELO gw.test\nU: 550 no\n"),
        (false, "U: 220 x\nP: EHLO gw.test\nU: 450 not now\n"),
        (false, xclient("U: 220 x\nP: EHLO client.test\nU: 504 5.5.2 not fully qualified\n")),
        (false, xclient("U: 450 4.7.1 Client host rejected: cannot find your hostname\n")),
    ] {
        let scripted = Scripted::new(script).await;
        let error = scripted.upstream(Identify::Auto).connect(&client()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Refused { .. }), "{error}");
        assert_eq!((error.is_alarm(), error.reply().code), (alarm, 451), "{error}");
        scripted.played().await;
    }
}

#[tokio::test]
async fn nonsense_is_a_clean_4xx_wherever_it_comes() {
    let thousands = "U: 250-x\n".repeat(5_000) + "U: 250 x\n";
    let wide = format!("U: 250 {}\n", "x".repeat(20_000));
    for nonsense in [
        "U: 999 what\n",
        "U: 000 what\n",
        "U: 150 go\n",
        "U: 354 go on\n",
        "U: 250-a\nU: 550 b\n",
        "U: HTTP/1.1 400 Bad Request\n",
        "U: \n",
        "U: 25\n",
        "U: 250x\n",
        "U~ \u{0}\u{1}\u{2}\u{3}\u{4}\n",
        &thousands,
        &wide,
    ] {
        for (said, before) in [("", ""), ("EHLO gw.test", "U: 220 x\n"), ("MAIL FROM:<>", GREET)] {
            let asked = if said.is_empty() { String::new() } else { format!("P: {said}\n") };
            let script = format!("{before}{asked}{nonsense}");
            let scripted = Scripted::new(Box::leak(script.into_boxed_str())).await;
            let error = match scripted.upstream(Identify::None).connect(&client()).await {
                Err(error) => error,
                Ok(mut connection) => connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap_err(),
            };
            assert!(matches!(error, UpstreamError::Protocol { .. }), "{nonsense:.20} to {said}: {error}");
            assert_eq!(error.reply().code, 451);
            assert!(!error.is_alarm());
        }
    }
}

#[tokio::test]
async fn a_yes_to_data_is_no_permission() {
    let (scripted, mut connection) = greeted(after_greeting("P: DATA\nU: 250 sure\n")).await;
    let error = connection.command(b"DATA\r\n", Wait::Data).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Protocol { .. }));
    assert!(matches!(connection.write(b"x").await, Err(UpstreamError::Protocol { .. })));
    drop(connection);
    scripted.played().await;
}

#[tokio::test]
async fn an_endless_yes_after_the_dot_stays_a_yes() {
    let endless = "U: 250-queued\n".repeat(3_000);
    let (scripted, mut connection) =
        greeted(after_greeting(&format!("P: DATA\nU: 354 go\nP: .\n{endless}U: 250 ok\nP: QUIT\n"))).await;
    connection.command(b"DATA\r\n", Wait::Data).await.unwrap();
    connection.write(b".\r\n").await.unwrap();
    let reply = connection.final_reply().await.unwrap();
    assert_eq!(reply.code, 250);
    assert!(reply.text.len() < 20_000);
    connection.quit().await;
    scripted.played().await;
}

#[tokio::test]
async fn an_answer_to_nothing_is_taken_for_no_answer() {
    // Behind the banner, behind EHLO, behind an answer, behind the 354.
    for script in [
        "U: 220 x\nU: 250 x\n",
        "U: 220 x\nP: EHLO gw.test\nU: 250 x\nU: 250 ok\nU: 250 ok\n",
        after_greeting("P: MAIL FROM:<>\nU: 250 ok\nU: 250 ok\n"),
        after_greeting("P: MAIL FROM:<>\nU: 250 ok\nP: DATA\nU: 354 go\nU: 250 queued\n"),
    ] {
        let scripted = Scripted::new(script).await;
        let run = async {
            let mut connection = scripted.upstream(Identify::None).connect(&client()).await?;
            connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await?;
            connection.command(b"DATA\r\n", Wait::Data).await?;
            connection.write(b"Subject: x\r\n\r\n.\r\n").await?;
            connection.final_reply().await
        };
        let error = run.await.unwrap_err();
        assert!(matches!(error, UpstreamError::Protocol { .. }), "{error}");
        scripted.played().await;
    }
}

#[tokio::test]
async fn a_final_yes_is_believed_whatever_follows_it() {
    let (scripted, mut connection) =
        greeted(after_greeting("P: DATA\nU: 354 go\nP: .\nU: 250 queued\nU: 250 and more\n")).await;
    connection.command(b"DATA\r\n", Wait::Data).await.unwrap();
    connection.write(b".\r\n").await.unwrap();
    assert_eq!(connection.final_reply().await.unwrap().text, "queued");
    assert!(!connection.is_alive());
    drop(connection);
    scripted.played().await;
}

#[tokio::test]
async fn its_421_is_a_451_in_its_words_at_any_time() {
    for script in [
        "U: 421 4.7.0 too many of you\nU! close\n",
        "U: 220 x\nP: EHLO gw.test\nU: 421 4.7.0 too many of you\nU! close\n",
        after_greeting("P: MAIL FROM:<>\nU: 421 4.7.0 too many of you\nU! close\n"),
        after_greeting("P: MAIL FROM:<>\nU: 250 ok\nP: DATA\nU: 421 4.7.0 too many of you\nU! close\n"),
        after_greeting(
            "P: MAIL FROM:<>\nU: 250 ok\nP: DATA\nU: 354 go\nP: .\nU: 421 4.7.0 too many of you\nU! close\n",
        ),
    ] {
        let scripted = Scripted::new(script).await;
        let run = async {
            let mut connection = scripted.upstream(Identify::None).connect(&client()).await?;
            connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await?;
            connection.command(b"DATA\r\n", Wait::Data).await?;
            connection.write(b".\r\n").await?;
            connection.final_reply().await
        };
        let reply = run.await.unwrap_err().reply();
        assert_eq!(reply, Reply::new(451, Some(Enhanced::new(4, 7, 0)), "too many of you"));
        scripted.played().await;
    }
}

#[tokio::test]
async fn an_idle_upstream_that_left_is_noticed() {
    let (scripted, mut connection) = greeted(after_greeting("U: 421 4.4.2 idle for too long\nU! close\n")).await;
    scripted.played().await;
    // What has arrived is known once the runtime has looked.
    while connection.is_alive() {
        tokio::task::yield_now().await;
    }
    let error = connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await.unwrap_err();
    assert_eq!(error.reply().code, 451);
}

#[tokio::test]
async fn death_at_any_point_is_an_error_and_no_hang() {
    for end in ["U! close\n", "U! reset\n", "U~ 25\nU! close\n", "U~ 250-x\r\nU! close\n"] {
        for before in [
            "",
            "U: 220 x\nP: EHLO gw.test\n",
            after_greeting("P: MAIL FROM:<>\n"),
            after_greeting("P: MAIL FROM:<>\nU: 250 ok\nP: DATA\n"),
            after_greeting("P: MAIL FROM:<>\nU: 250 ok\nP: DATA\nU: 354 go\nP: .\n"),
        ] {
            let scripted = Scripted::new(Box::leak(format!("{before}{end}").into_boxed_str())).await;
            let run = async {
                let mut connection = scripted.upstream(Identify::None).connect(&client()).await?;
                connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await?;
                connection.command(b"DATA\r\n", Wait::Data).await?;
                connection.write(b".\r\n").await?;
                connection.final_reply().await
            };
            let error = run.await.unwrap_err();
            assert!(matches!(error, UpstreamError::Closed(_)), "{before:?} {end:?}: {error}");
            assert_eq!(error.reply().code, 451);
            scripted.played().await;
        }
    }
}

#[tokio::test]
async fn death_while_content_flows_is_an_error() {
    for end in ["U! close\n", "U! reset\n", "U: 552 5.3.4 enough\nU! close\n"] {
        let script = format!("{GREET}P: DATA\nU: 354 go\nP: first\n{end}");
        let (scripted, mut connection) = greeted(Box::leak(script.into_boxed_str())).await;
        connection.command(b"DATA\r\n", Wait::Data).await.unwrap();
        connection.write(b"first\r\n").await.unwrap();
        scripted.played().await;
        let chunk = [b'x'; 1_000];
        let error = loop {
            if let Err(error) = connection.write(&chunk).await {
                break error;
            }
            tokio::task::yield_now().await;
        };
        assert!(matches!(error, UpstreamError::Closed(_) | UpstreamError::Protocol { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_silence_ends_at_its_own_bound() {
    let mut timeouts = patient();
    timeouts.upstream_greeting = Duration::from_secs(1);
    timeouts.upstream_command = Duration::from_secs(2);
    timeouts.upstream_data = Duration::from_secs(3);
    timeouts.upstream_final = Duration::from_secs(4);
    for (wait, script) in [
        (Wait::Greeting, "U! hold\n"),
        (Wait::Hello, "U: 220 x\nP: EHLO gw.test\nU! hold\n"),
        (Wait::Mail, after_greeting("P: MAIL FROM:<>\nU! hold\n")),
        (Wait::Data, after_greeting("P: MAIL FROM:<>\nU: 250 ok\nP: DATA\nU~ 354-\r\nU! hold\n")),
        (Wait::Final, after_greeting("P: MAIL FROM:<>\nU: 250 ok\nP: DATA\nU: 354 go\nP: .\nU! hold\n")),
    ] {
        let scripted = Scripted::new(script).await;
        let run = async {
            let upstream = scripted.upstream_with(Identify::None, UpstreamTls::Off, timeouts.clone());
            let mut connection = upstream.connect(&client()).await?;
            connection.command(b"MAIL FROM:<>\r\n", Wait::Mail).await?;
            connection.command(b"DATA\r\n", Wait::Data).await?;
            connection.write(b".\r\n").await?;
            connection.final_reply().await
        };
        let error = run.await.unwrap_err();
        assert!(matches!(error, UpstreamError::Timeout(during) if during == wait), "{error}");
        assert_eq!(error.reply().code, 451);
    }
}

#[tokio::test]
async fn nobody_there_is_451_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut scripted = Scripted::new("U: 220 x\n").await;
    scripted.address = address;
    let error = scripted.upstream(Identify::None).connect(&client()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect(_)));
    assert_eq!(error.reply().enhanced, Some(Enhanced::new(4, 4, 1)));
}

#[tokio::test]
async fn a_reply_that_was_not_waited_for_is_not_taken_for_the_next() {
    let (scripted, mut connection) = greeted(after_greeting("P: MAIL FROM:<>\n")).await;
    let dropped = tokio::time::timeout(Duration::ZERO, connection.command(b"MAIL FROM:<>\r\n", Wait::Mail)).await;
    assert!(dropped.is_err());
    assert!(!connection.is_alive());
    assert!(connection.identify(&SessionFacts { id: "other".into(), ..client() }).await.is_err());
    connection.quit().await;
    scripted.played().await;
}
