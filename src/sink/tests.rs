//! The sink as a mail server sees it used: by hand, and by our own upstream leg.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

struct Client {
    io: BufReader<TcpStream>,
}

impl Client {
    async fn new(sink: &Sink) -> Client {
        let mut client = Client { io: BufReader::new(TcpStream::connect(sink.local_addr()).await.unwrap()) };
        assert_eq!(client.reply().await, "220 sink.localhost ESMTP");
        client
    }

    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            assert!(self.io.read_line(&mut reply).await.unwrap() > 0, "closed after {reply:?}");
            if reply.as_bytes()[start + 3] == b' ' {
                return reply.replace("\r\n", "\n").trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.raw(&format!("{line}\r\n")).await;
        self.reply().await
    }

    async fn raw(&mut self, octets: &str) {
        self.io.get_mut().write_all(octets.as_bytes()).await.unwrap();
    }

    async fn closed(&mut self) -> bool {
        self.io.read_line(&mut String::new()).await.unwrap() == 0
    }
}

async fn sink() -> Sink {
    Sink::bind("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap()
}

#[tokio::test]
async fn a_message_is_kept_as_it_came() {
    let sink = sink().await;
    let mut client = Client::new(&sink).await;
    let offer = client.say("EHLO client.test").await;
    for keyword in
        ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "XCLIENT NAME ADDR"]
    {
        assert!(offer.contains(keyword), "{keyword} in {offer}");
    }
    client
        .raw("MAIL FROM:<a@b.test> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<x@y.test>\r\nRCPT TO:<Postmaster>\r\nDATA\r\n")
        .await;
    for code in ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354"] {
        assert!(client.reply().await.starts_with(code));
    }
    client.raw("Subject: x\r\n\r\n..dot\r\n..\r\n.\r\nQUIT\r\n").await;
    assert!(client.reply().await.starts_with("250 2.0.0"));
    assert!(client.reply().await.starts_with("221"));
    assert!(client.closed().await);
    let messages = sink.received(1).await;
    assert_eq!(messages[0].sender, "a@b.test");
    assert_eq!(messages[0].recipients, ["x@y.test", "Postmaster"]);
    assert_eq!(messages[0].parameters, " SIZE=10 BODY=8BITMIME");
    assert_eq!(messages[0].hello, "client.test");
    assert_eq!(messages[0].content, b"Subject: x\r\n\r\n.dot\r\n.\r\n");
    sink.shutdown().await;
}

#[tokio::test]
async fn refusals_to_show() {
    let sink = Sink::bind(
        "127.0.0.1:0".parse().unwrap(),
        Options { message_bytes_max: 1_000, xclient: false, ..Options::default() },
    )
    .await
    .unwrap();
    let mut client = Client::new(&sink).await;
    assert!(client.say("MAIL FROM:<a@b.test>").await.starts_with("503"));
    assert!(!client.say("EHLO client.test").await.contains("XCLIENT"));
    assert!(client.say("XCLIENT ADDR=192.0.2.1").await.starts_with("550 5.7.0"));
    assert!(client.say("DATA").await.starts_with("503"));
    assert!(client.say("MAIL FROM:<a@b.test> SIZE=2000").await.starts_with("552"));
    client.say("MAIL FROM:<a@b.test>").await;
    assert!(client.say("RCPT TO:<unknown@y.test>").await.starts_with("550 5.1.1"));
    assert!(client.say("RCPT TO:<full@y.test>").await.starts_with("452 4.2.2"));
    assert!(client.say("DATA").await.starts_with("554"));
    client.say("RCPT TO:<x@y.test>").await;
    assert!(client.say("DATA").await.starts_with("354"));
    client.raw(&"x".repeat(2_000)).await;
    assert!(client.say("\r\n.").await.starts_with("552"));
    client.say("MAIL FROM:<a@b.test>").await;
    client.say("RCPT TO:<x@y.test>").await;
    client.say("DATA").await;
    client.raw("a\nb\r\n").await;
    assert!(client.say(".").await.starts_with("550 5.6.11"));
    assert!(client.say("NOOP\n").await.starts_with("500"), "a bare LF");
    assert!(client.reply().await.starts_with("500"));
    assert!(sink.messages().is_empty());
}

#[tokio::test]
async fn xclient_is_taken_from_loopback_only_and_changes_who_it_is_taken_from() {
    let sink = sink().await;
    let mut client = Client::new(&sink).await;
    client.say("EHLO gw.test").await;
    assert!(client.say("XCLIENT NAME=a..b").await.starts_with("501"));
    assert!(client.say("XCLIENT LOGIN=alice HELO=h.test").await.starts_with("220"));
    assert!(client.say("XCLIENT NAME=c.test ADDR=192.0.2.1 LOGIN=bob").await.starts_with("220"));
    assert!(client.say("MAIL FROM:<>").await.starts_with("503"), "greeted anew");
    assert!(!client.say("EHLO c.test").await.contains("XCLIENT"));
    assert!(client.say("XCLIENT ADDR=127.0.0.1").await.starts_with("550"));
    client.say("MAIL FROM:<>").await;
    client.say("RCPT TO:<x@y.test>").await;
    client.say("DATA").await;
    client.say(".").await;
    assert_eq!(sink.messages()[0].client, "addr=192.0.2.1 login=bob name=c.test");
    assert_eq!(sink.messages()[0].content, b"");
}

#[tokio::test]
async fn xclient_is_taken_again_where_that_was_asked_for() {
    let options = Options { xclient_again: true, ..Options::default() };
    let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let mut client = Client::new(&sink).await;
    for nth in 1..4 {
        assert!(client.say("EHLO c.test").await.contains("XCLIENT"));
        assert!(client.say(&format!("XCLIENT ADDR=192.0.2.{nth}")).await.starts_with("220"));
    }
}

#[tokio::test]
async fn a_maildir_holds_whole_messages_only() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { maildir: Some(folder.path().to_owned()), hostname: "a/b:c".to_owned(), ..Options::default() };
    let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let mut io = BufReader::new(TcpStream::connect(sink.local_addr()).await.unwrap());
    io.read_line(&mut String::new()).await.unwrap();
    let mut client = Client { io };
    client.say("EHLO gw.test").await;
    assert!(client.say("XFORWARD NAME=c.test ADDR=192.0.2.1 SOURCE=REMOTE").await.starts_with("250"));
    for _ in 0..2 {
        client.say("MAIL FROM:<a@b.test>").await;
        client.say("RCPT TO:<x@y.test>").await;
        client.say("RCPT TO:<z@y.test>").await;
        client.say("DATA").await;
        client.raw("Subject: x\r\n\r\nhello\r\n").await;
        assert!(client.say(".").await.starts_with("250"));
    }
    let messages = sink.messages();
    let text = std::fs::read_to_string(messages[0].file.as_ref().unwrap()).unwrap();
    assert_eq!(
        text,
        "Return-Path: <a@b.test>\r\nDelivered-To: x@y.test\r\nDelivered-To: z@y.test\r\n\
         X-Forward: addr=192.0.2.1 name=c.test source=REMOTE\r\nSubject: x\r\n\r\nhello\r\n"
    );
    let text = std::fs::read_to_string(messages[1].file.as_ref().unwrap()).unwrap();
    assert!(!text.contains("X-Forward"), "said for one message");
    // One that is cut off leaves nothing.
    client.say("MAIL FROM:<a@b.test>").await;
    client.say("RCPT TO:<x@y.test>").await;
    client.say("DATA").await;
    client.raw("Subject: x\r\n\r\nhel").await;
    drop(client);
    sink.shutdown().await;
    let files = |name: &str| std::fs::read_dir(folder.path().join(name)).unwrap().count();
    assert_eq!((files("tmp"), files("new"), files("cur")), (0, 2, 0));
}

#[tokio::test]
async fn the_upstream_leg_and_the_sink_understand_each_other() {
    use crate::config;
    use crate::mail::{AfterLogin, AuthFacts, Hello, PeerName, SessionFacts};
    use crate::net::dial::Tcp;
    use crate::net::dns::Resolver;
    use crate::net::hosts::Hosts;
    use crate::upstream::{Upstream, Wait};

    let sink = sink().await;
    let long = Duration::from_secs(60);
    let timeouts = config::Timeouts {
        command: long,
        data: long,
        handshake: long,
        write: long,
        session: long,
        upstream_connect: long,
        upstream_greeting: long,
        upstream_command: long,
        upstream_data: long,
        upstream_write: long,
        upstream_final: long,
        resolve: long,
    };
    let settings = config::Upstream::at(&sink.local_addr().ip().to_string(), sink.local_addr().port());
    let resolver = Resolver::with_hosts(
        &config::Resolver { servers: vec![sink.local_addr()], ..Default::default() },
        Hosts::default(),
    )
    .unwrap();
    let upstream = Upstream::new(&settings, "gw.test", &timeouts, resolver, std::sync::Arc::new(Tcp)).unwrap();
    let mut who = SessionFacts {
        after_login: AfterLogin::No,
        id: "abc".into(),
        listener: "mx".into(),
        peer: "[2001:db8::7]:4321".parse().unwrap(),
        local: "198.51.100.1:25".parse().unwrap(),
        peer_name: PeerName::TemporarilyUnavailable,
        reverse_name: PeerName::Confirmed("reverse.test".into()),
        hello: Some(Hello { name: "client.test".into(), extended: true }),
        tls: None,
        auth: None,
        introduced: None,
    };
    let mut connection = upstream.connect(&who).await.unwrap();
    who.auth =
        Some(Arc::new(AuthFacts { mechanism: crate::smtp::sasl::Mechanism::Plain.into(), identity: "bob".into() }));
    connection.identify(&who).await.unwrap();
    assert!(connection.offer().smtp_utf8);
    connection.command(b"MAIL FROM:<a@b.test> SMTPUTF8\r\n", Wait::Mail).await.unwrap();
    assert_eq!(connection.command(b"RCPT TO:<unknown@y.test>\r\n", Wait::Rcpt).await.unwrap().code, 550);
    connection.command("RCPT TO:<ü@y.test>\r\n".as_bytes(), Wait::Rcpt).await.unwrap();
    connection.command(b"DATA\r\n", Wait::Data).await.unwrap();
    connection.write(b"Subject: x\r\n\r\n..\r\n.\r\n").await.unwrap();
    assert_eq!(connection.final_reply().await.unwrap().code, 250);
    connection.quit().await;
    let message = sink.messages().remove(0);
    assert_eq!(message.recipients, ["ü@y.test"]);
    assert_eq!(
        message.client,
        "addr=IPV6:2001:db8::7 destaddr=198.51.100.1 destport=25 helo=client.test login=bob name=[TEMPUNAVAIL] \
         port=4321 proto=ESMTP reverse_name=reverse.test"
    );
}
