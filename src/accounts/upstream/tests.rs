//! Against mail servers of our own, honest and hostile ones. The real one is asked in `tests/accounts`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::super::remote::Remote;
use super::super::tests::{facts, secret};
use super::super::{Exchange, Reach, Turn};
use super::*;
use crate::config::{AuthRemote, AuthService, Identify};
use crate::net::dial::{Dial, Tcp};
use crate::net::dns::Resolver;
use crate::state::limits::LoginStanding;
use crate::upstream::Upstreams;

/// Offers `auth`, and answers the lines of each connection after EHLO with `answers`, one after the other; an empty one
/// hangs up.
async fn server(auth: &'static str, answers: &'static [&'static str]) -> Arc<Remote> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (reading, mut writing) = stream.into_split();
                let _ = writing.write_all(b"220 mx\r\n").await;
                let (mut lines, mut answers) = (BufReader::new(reading).lines(), answers.iter());
                while let Ok(Some(line)) = lines.next_line().await {
                    let answer = match line.as_bytes() {
                        [b'E', b'H', ..] => format!("250-mx\r\n250 AUTH {auth}"),
                        [b'Q', b'U', ..] => "221 bye".to_owned(),
                        _ => answers.next().copied().unwrap_or_default().to_owned(),
                    };
                    if answer.is_empty() {
                        return;
                    }
                    let _ = writing.write_all(format!("{answer}\r\n").as_bytes()).await;
                }
            });
        }
    });
    let text = format!(
        "hostname = \"mx.example.org\"\nupstream = {{ address = \"{address}\", tls = \"none\", identify = \"none\" }}\n\
         relay = {{ domains = [\"example.org\"] }}\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n"
    );
    let config = crate::config::parse(&text, "test.toml", &|_| None).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(config.upstreams[0].identify, Identify::None);
    let (resolver, dialer) = (Resolver::new(&config.resolver).unwrap(), Arc::new(Tcp) as Arc<dyn Dial>);
    let upstreams = Upstreams::new(&config, &resolver, &dialer).unwrap();
    let reach = Reach { upstreams: Some(&upstreams), resolver: &resolver, dialer: &dialer };
    let service = AuthService::Upstream { upstream: "default".to_owned() };
    let settings = AuthRemote { timeout: Duration::from_secs(20), concurrent_max: 10, service };
    Arc::new(Remote::new("mta", &settings, &reach).unwrap())
}

async fn verify(remote: &Remote, name: &str) -> Verdict {
    let facts = facts();
    let client = Client { session: &facts, attempt: 1, standing: LoginStanding::Unknown };
    remote.verify_password(&client, name, &secret("swordfish")).await
}

/// All messages of a client, one after the other; the first with AUTH where `initial`.
async fn exchange(remote: &Arc<Remote>, mechanism: &str, messages: &[&str], initial: bool) -> Turn {
    let facts = facts();
    let client = Client { session: &facts, attempt: 1, standing: LoginStanding::Unknown };
    let mut messages = messages.iter().map(|message| secret(message));
    let first = if initial { messages.next() } else { None };
    let mut turn = Exchange::begin(remote, &client, Name::parse(mechanism).unwrap(), first.as_ref()).await;
    loop {
        turn = match turn {
            Turn::Challenge(challenge, exchange) => match messages.next() {
                Some(message) => exchange.go_on(&message).await,
                None => return Turn::Challenge(challenge, exchange),
            },
            over => return over,
        };
    }
}

fn whose(turn: Turn) -> Result<String, &'static str> {
    match turn {
        Turn::Good { identity, last: None } => Ok(identity.to_string()),
        Turn::Good { .. } => Err("more"),
        Turn::Bad => Err("bad"),
        Turn::Unavailable => Err("unavailable"),
        Turn::Challenge(..) => Err("challenge"),
    }
}

const CRAM: &str = "tim b913a602c7eda7a495b4e6e7334d3890";
const SCRAM: [&str; 3] = ["n,,n=user,r=abc", "c=biws,r=abcdef,p=AAAA", ""];

#[tokio::test]
async fn passwords_go_by_plain_else_by_login() {
    let good = || Verdict::Good("anna".into());
    for (auth, answers, verdict) in [
        ("PLAIN LOGIN", &["235 yes"][..], good()),
        ("PLAIN", &["535 no"], Verdict::Bad),
        ("PLAIN", &["334 AAAA"], Verdict::Unavailable),
        ("PLAIN", &["454 later"], Verdict::Unavailable),
        ("PLAIN", &[""], Verdict::Unavailable),
        ("LOGIN", &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 yes"], good()),
        ("LOGIN", &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "535 no"], Verdict::Bad),
        ("LOGIN", &["334 VXNlcm5hbWU6", "535 no"], Verdict::Bad),
        ("LOGIN", &["535 no"], Verdict::Bad),
        // A yes before all was said.
        ("LOGIN", &["235 yes"], Verdict::Unavailable),
        ("LOGIN", &["334 VXNlcm5hbWU6", "235 yes"], Verdict::Unavailable),
        ("LOGIN", &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "334 AAAA"], Verdict::Unavailable),
        ("LOGIN", &["504 no"], Verdict::Unavailable),
    ] {
        assert_eq!(verify(&*server(auth, answers).await, "anna").await, verdict, "{auth} {answers:?}");
    }
}

#[tokio::test]
async fn the_name_is_the_clients_and_a_yes_counts_where_it_was_said() {
    for (mechanism, messages, initial, answers, whose_it_is) in [
        ("CRAM-MD5", &[CRAM][..], false, &["334 PDE+", "235 yes"][..], Ok("tim")),
        ("CRAM-MD5", &[CRAM], false, &["334 PDE+", "535 no"], Err("bad")),
        ("CRAM-MD5", &[CRAM], false, &["334 PDE+", ""], Err("unavailable")),
        ("CRAM-MD5", &["no digest"], false, &["334 PDE+", "235 yes"], Err("bad")),
        // A server that takes no first message: the second one is another's.
        ("CRAM-MD5", &[CRAM, "otto b913a602c7eda7a495b4e6e7334d3890"], true, &["334 PDE+", "235 yes"], Err("bad")),
        ("CRAM-MD5", &[CRAM], false, &["235 yes"], Err("unavailable")),
        ("SCRAM-SHA-1", &SCRAM, true, &["334 AAAA", "334 AAAA", "235 yes"], Ok("user")),
        ("SCRAM-SHA-1", &SCRAM[..2], true, &["334 AAAA", "235 yes"], Ok("user")),
        ("SCRAM-SHA-1", &SCRAM, false, &["334 ", "334 AAAA", "334 AAAA", "235 yes"], Ok("user")),
        ("SCRAM-SHA-1", &SCRAM[..1], true, &["235 yes"], Err("unavailable")),
        ("SCRAM-SHA-1", &["n,a=otto,n=user,r=abc"], true, &["334 AAAA", "235 yes"], Err("bad")),
        ("XOAUTH2", &["user=anna\u{1}auth=Bearer t\u{1}\u{1}"], true, &["235 yes"], Ok("anna")),
        ("XOAUTH2", &["user=anna\u{1}auth=Bearer t\u{1}\u{1}", ""], true, &["334 e30=", "535 no"], Err("bad")),
        ("XOAUTH2", &["user=anna\u{1}auth=Bearer t\u{1}\u{1}", ""], true, &["334 e30=", "235 yes"], Err("unavailable")),
        ("OAUTHBEARER", &["n,,\u{1}auth=Bearer t\u{1}\u{1}"], true, &["235 yes"], Err("unavailable")),
        ("GSSAPI", &["x"], true, &["235 yes"], Err("unavailable")),
        ("NTLM", &["x"], true, &["235 yes"], Err("unavailable")),
    ] {
        let server = server("CRAM-MD5 SCRAM-SHA-1 XOAUTH2 OAUTHBEARER GSSAPI NTLM", answers).await;
        let turn = exchange(&server, mechanism, messages, initial).await;
        assert_eq!(whose(turn).as_deref().map_err(|why| *why), whose_it_is, "{mechanism} {messages:?} {answers:?}");
    }
}

#[tokio::test]
async fn what_it_offers_is_learned_and_what_names_nobody_is_left_out() {
    let server = server("PLAIN GSSAPI DIGEST-MD5 CRAM-MD5 SCRAM-SHA-256 SCRAM-SHA-256-PLUS x/y", &["535 no"]).await;
    assert_eq!(server.offered(), None);
    for (name, could) in [("CRAM-MD5", true), ("GSSAPI", false), ("DIGEST-MD5", false), ("PLAIN", false)] {
        assert_eq!(server.relays(Name::parse(name).unwrap()), could, "until it was seen: {name}");
    }
    assert!(server.learn().await);
    let names: Vec<String> = server.offered().unwrap().iter().map(Name::to_string).collect();
    assert_eq!(names, ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256"]);
    assert!(!server.relays(Name::parse("SCRAM-SHA-1").unwrap()));
    let turn = exchange(&server, "SCRAM-SHA-1", &SCRAM, true).await;
    assert_eq!(whose(turn), Err("unavailable"));
}
