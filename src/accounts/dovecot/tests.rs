//! Against servers of our own behind a UNIX socket, honest and hostile ones. The real one is asked in `tests/accounts`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::sync::mpsc::{Receiver, channel};

use super::super::remote::Remote;
use super::super::tests::{facts, secret};
use super::super::{Accounts, Backends, Exchange, Reach, Turn};
use super::*;
use crate::config::{self, AuthService};
use crate::state::limits::LoginStanding;

const HELLO: &str =
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t1\nDONE\n";
const LONG: Duration = Duration::from_secs(20);

struct Server {
    folder: tempfile::TempDir,
    /// Every line that came, and "connected" for a connection.
    heard: Receiver<String>,
}

/// Says `hello` to everybody, and to each AUTH and CONT what `answer` makes of its number, the first being 1; None hangs up.
fn serve(hello: &'static str, answer: impl Fn(u32, &str) -> Option<String> + Send + Sync + 'static) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("auth")).unwrap();
    let (tell, heard) = channel(100);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let _ = tell.try_send("connected".to_owned());
            let (reading, mut writing) = stream.into_split();
            let _ = writing.write_all(hello.as_bytes()).await;
            let mut lines = BufReader::new(reading).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let said = line.strip_prefix("AUTH\t").or_else(|| line.strip_prefix("CONT\t"));
                let id = said.and_then(|rest| rest.split('\t').next()).map(str::to_owned);
                let _ = tell.try_send(line);
                let Some(id) = id else { continue };
                number += 1;
                let Some(text) = answer(number, &id) else { break };
                let _ = writing.write_all(text.as_bytes()).await;
            }
        }
    });
    Server { folder, heard }
}

fn remote(server: &Server, timeout: Duration) -> Remote {
    super::super::tests::remote(AuthService::Dovecot { socket: server.folder.path().join("auth") }, timeout)
}

async fn verify(remote: &Remote) -> Verdict {
    let facts = facts();
    let client = Client { session: &facts, attempt: 1, standing: LoginStanding::Unknown };
    remote.verify_password(&client, "anna", &secret("swordfish")).await
}

fn good(name: &str) -> Verdict {
    Verdict::Good(name.into())
}

#[tokio::test]
async fn answers_obeyed() {
    for (fields, verdict) in [
        ("OK\t{}\tuser=anna@example.org\n", good("anna@example.org")),
        ("OK\t{}\n", good("anna")),
        ("FAIL\t{}\tuser=anna\n", Verdict::Bad),
        ("FAIL\t{}\tuser=anna\tuser_disabled\n", Verdict::Bad),
        ("OK\t{}\tuser=anna\tnologin\n", Verdict::Bad),
        ("FAIL\t{}\tuser=anna\ttemp\n", Verdict::Unavailable),
        ("CONT\t{}\t\n", Verdict::Unavailable),
        ("OK\t{}\tuser=a\u{1}nb\n", Verdict::Unavailable),
        ("OK\t{}\tuser=\n", Verdict::Unavailable),
        // Somebody else's, and what is newer than this.
        ("OK\t77\tuser=otto\nNEWS\t1\nFAIL\t{}\n", Verdict::Bad),
    ] {
        let mut server = serve(HELLO, move |_, id| Some(fields.replace("{}", id)));
        assert_eq!(verify(&remote(&server, LONG)).await, verdict, "{fields}");
        assert_eq!(server.heard.recv().await.unwrap(), "connected");
        assert_eq!(server.heard.recv().await.unwrap(), "VERSION\t1\t1");
        assert!(server.heard.recv().await.unwrap().starts_with("CPID\t"));
        assert_eq!(
            server.heard.recv().await.unwrap(),
            "AUTH\t1\tPLAIN\tservice=smtp\tnologin\tsession=5f3a\tlip=192.0.2.25\trip=192.0.2.7\tlport=587\trport=4711\
             \tsecured=tls\tresp=AGFubmEAc3dvcmRmaXNo"
        );
    }
}

#[tokio::test]
async fn one_connection_and_answers_in_any_order_obeyed() {
    // The first waits for the second.
    let mut server = serve(HELLO, |number, id| {
        let second = || format!("OK\t{id}\tuser=second\nOK\t{}\tuser=first\n", id.parse::<u32>().unwrap() - 1);
        Some(if number == 1 { String::new() } else { second() })
    });
    let remote = remote(&server, LONG);
    let (one, two) = tokio::join!(verify(&remote), verify(&remote));
    assert_eq!((one, two), (good("first"), good("second")));
    let mut connections = 0;
    while let Ok(line) = server.heard.try_recv() {
        connections += u32::from(line == "connected");
    }
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn a_connection_that_ends_is_made_anew_once() {
    let server = serve(HELLO, |number, id| (number > 1).then(|| format!("OK\t{id}\tuser=anna\n")));
    let known = remote(&server, LONG);
    assert_eq!(verify(&known).await, good("anna"));
    assert_eq!(verify(&known).await, good("anna"));
    let never = serve(HELLO, |_, _| None);
    assert_eq!(verify(&remote(&never, LONG)).await, Verdict::Unavailable);
}

#[tokio::test]
async fn handshakes_violated() {
    for hello in [
        "VERSION\t2\t0\nMECH\tPLAIN\nDONE\n",
        "VERSION\t1\t2\nMECH\tCRAM-MD5\nDONE\n",
        "VERSION\t1\t2\nOK\t1\tuser=anna\n",
        "220 mx.example.org ESMTP\nVERSION\tx\n",
        "MECH\n",
    ] {
        let server = serve(hello, |_, id| Some(format!("OK\t{id}\n")));
        assert_eq!(verify(&remote(&server, LONG)).await, Verdict::Unavailable, "{hello}");
    }
    let endless: &'static str = Box::leak("x".repeat(200_000).into_boxed_str());
    let server = serve(endless, |_, id| Some(format!("OK\t{id}\n")));
    assert_eq!(verify(&remote(&server, LONG)).await, Verdict::Unavailable);
    for (lines, verdict) in [(150, good("anna")), (250, Verdict::Unavailable)] {
        let long = format!("VERSION\t1\t2\nMECH\tPLAIN\n{}DONE\n", "COOKIE\tx\n".repeat(lines));
        let server = serve(Box::leak(long.into_boxed_str()), |_, id| Some(format!("OK\t{id}\tuser=anna\n")));
        assert_eq!(verify(&remote(&server, LONG)).await, verdict, "{lines}");
    }
    let folder = tempfile::tempdir().unwrap();
    let nobody = Server { folder, heard: channel(1).1 };
    assert_eq!(verify(&remote(&nobody, LONG)).await, Verdict::Unavailable);
}

#[tokio::test]
async fn answers_violated() {
    // What is not of the protocol ends the connection, also for whoever waits in it.
    let server = serve(HELLO, |_, _| Some("OK\tanna\n".to_owned()));
    assert_eq!(verify(&remote(&server, LONG)).await, Verdict::Unavailable);
    // Silence: Dovecot is told that nobody waits any more.
    let mut server = serve(HELLO, |_, _| Some(String::new()));
    assert_eq!(verify(&remote(&server, Duration::from_millis(100))).await, Verdict::Unavailable);
    loop {
        let line = server.heard.recv().await.unwrap();
        if line.starts_with("CANCEL") {
            break assert_eq!(line, "CANCEL\t1");
        }
    }
}

const RELAYING: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\nMECH\tX-ONE\n\
                        MECH\tANONYMOUS\tanonymous\nMECH\tAPOP\tprivate\nMECH\tSCRAM-SHA-1-PLUS\nMECH\tno name\nDONE\n";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

async fn begin(remote: &Arc<Remote>, mechanism: &str, initial: Option<&str>) -> Turn {
    let facts = facts();
    let client = Client { session: &facts, attempt: 1, standing: LoginStanding::Unknown };
    Exchange::begin(remote, &client, name(mechanism), initial.map(secret).as_ref()).await
}

fn challenge(turn: Turn) -> (Vec<u8>, Box<Exchange>) {
    match turn {
        Turn::Challenge(challenge, exchange) => (challenge, exchange),
        other => panic!("{other:?}"),
    }
}

async fn heard(server: &mut Server, what: &str) -> String {
    loop {
        let line = server.heard.recv().await.unwrap();
        if line.starts_with(what) {
            return line;
        }
    }
}

#[tokio::test]
async fn an_exchange_goes_to_and_fro_and_dovecot_says_whose_it_is() {
    let mut server = serve(RELAYING, |number, id| {
        Some(match number {
            1 => format!("CONT\t{id}\tPDE+\n"),
            2 => format!("CONT\t{id}\t\n"),
            _ => format!("OK\t{id}\tuser=tim\tresp=dj0x\n"),
        })
    });
    let remote = Arc::new(remote(&server, LONG));
    assert_eq!(remote.offered(), None);
    let (said, exchange) = challenge(begin(&remote, "CRAM-MD5", None).await);
    assert_eq!(said, b"<1>");
    assert_eq!(
        heard(&mut server, "AUTH").await,
        "AUTH\t1\tCRAM-MD5\tservice=smtp\tnologin\tsession=5f3a\tlip=192.0.2.25\trip=192.0.2.7\tlport=587\
         \trport=4711\tsecured=tls"
    );
    let (said, exchange) = challenge(exchange.go_on(&secret("tim 00")).await);
    assert_eq!((said, heard(&mut server, "CONT").await), (Vec::new(), "CONT\t1\tdGltIDAw".to_owned()));
    let turn = exchange.go_on(&secret("")).await;
    assert_eq!(heard(&mut server, "CONT").await, "CONT\t1\t");
    assert!(
        matches!(&turn, Turn::Good { identity, last: Some(last) } if &**identity == "tim" && last == b"v=1"),
        "{turn:?}"
    );
    let offered = remote.offered().unwrap();
    assert_eq!(*offered, ["PLAIN", "CRAM-MD5", "X-ONE", "SCRAM-SHA-1-PLUS"].map(name));
}

#[tokio::test]
async fn a_client_that_leaves_cancels() {
    let mut server = serve(RELAYING, |_, id| Some(format!("CONT\t{id}\tAAAA\n")));
    let remote = Arc::new(remote(&server, LONG));
    let (_, exchange) = challenge(begin(&remote, "X-ONE", Some("hello")).await);
    drop(exchange);
    assert_eq!(heard(&mut server, "CANCEL").await, "CANCEL\t1");
    // The place is free again: there are ten.
    for _ in 0..30 {
        challenge(begin(&remote, "X-ONE", None).await);
    }
}

#[tokio::test(start_paused = true)]
async fn exchanges_have_a_bound_in_number_and_in_time() {
    let server = serve(RELAYING, |_, id| Some(format!("CONT\t{id}\tAAAA\n")));
    let remote = Arc::new(remote(&server, LONG));
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(challenge(begin(&remote, "X-ONE", None).await).1);
    }
    assert!(matches!(begin(&remote, "X-ONE", None).await, Turn::Unavailable));
    open.pop();
    let (_, slow) = challenge(begin(&remote, "X-ONE", None).await);
    tokio::time::advance(Duration::from_secs(super::super::EXCHANGE_SECONDS_MAX)).await;
    assert!(matches!(slow.go_on(&secret("late")).await, Turn::Unavailable));
}

#[tokio::test]
async fn words_in_an_exchange_violated() {
    for answer in [
        "OK\t{}\n",
        "OK\t{}\tuser=\n",
        "OK\t{}\tuser=a\u{1}nb\n",
        "OK\t{}\tuser=tim\tresp=!\n",
        "CONT\t{}\t!\n",
        "CONT\n",
        "FAIL\t{}\tuser=tim\ttemp\n",
        "FAIL\t{}\tcode=temp_fail\n",
        "OK\t{}0\tuser=tim\nOK\n",
    ] {
        for at in [1, 2] {
            let server = serve(RELAYING, move |number, id| {
                let answer = answer.replace("{}", id);
                Some(if number < at { format!("CONT\t{id}\t\n") } else { answer })
            });
            let remote = Arc::new(remote(&server, LONG));
            let mut turn = begin(&remote, "CRAM-MD5", None).await;
            if at == 2 {
                turn = challenge(turn).1.go_on(&secret("tim 00")).await;
            }
            assert!(matches!(turn, Turn::Unavailable), "{answer} {turn:?}");
        }
    }
    // A yes that comes before the question is nobody's.
    let server = serve(RELAYING, |number, id| (number == 1).then(|| format!("CONT\t{id}\t\nOK\t{id}\tuser=tim\n")));
    let remote = Arc::new(remote(&server, LONG));
    let turn = challenge(begin(&remote, "CRAM-MD5", None).await).1.go_on(&secret("tim 00")).await;
    assert!(matches!(turn, Turn::Unavailable), "{turn:?}");
}

#[tokio::test]
async fn what_dovecot_refuses_is_bad_and_what_it_does_not_offer_is_not_asked() {
    let mut server = serve(RELAYING, |_, id| Some(format!("FAIL\t{id}\tuser=tim\n")));
    let remote = Arc::new(remote(&server, LONG));
    let turn = begin(&remote, "CRAM-MD5", None).await;
    assert!(matches!(turn, Turn::Bad), "{turn:?}");
    for other in ["NTLM", "ANONYMOUS", "APOP"] {
        let turn = begin(&remote, other, None).await;
        assert!(matches!(turn, Turn::Unavailable), "{other} {turn:?}");
    }
    heard(&mut server, "AUTH").await;
    assert!(server.heard.try_recv().is_err());
}

/// In the end, and until then not for long.
async fn offers(accounts: &Accounts, mechanisms: &str) {
    let learned = async {
        while accounts.mechanisms().to_string() != mechanisms {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, learned).await.unwrap_or_else(|_| panic!("{}", accounts.mechanisms()));
}

#[tokio::test]
async fn what_is_offered_is_learned_again_after_a_change() {
    let server = serve(RELAYING, |_, _| None);
    let backend = |socket: std::path::PathBuf| config::AuthBackend {
        name: "dovecot".to_owned(),
        cache: None,
        kind: config::AuthBackendKind::Remote(config::AuthRemote {
            timeout: LONG,
            concurrent_max: 10,
            service: AuthService::Dovecot { socket },
        }),
    };
    let socket = server.folder.path().join("auth");
    let accounts = |mechanisms: Option<&[&str]>| {
        let settings = config::Auth {
            backends: vec![backend(socket.clone())],
            mechanisms: mechanisms.map(|names| names.iter().map(|one| name(one)).collect()),
            hashing_concurrent_max: 1,
            cache_entries_max: 1,
        };
        let resolver = crate::net::dns::Resolver::new(&config::Resolver::default()).unwrap();
        let dialer = Arc::new(crate::net::dial::Tcp) as Arc<dyn crate::net::dial::Dial>;
        Accounts::new(
            Backends::load(&settings, &Reach { upstreams: None, resolver: &resolver, dialer: &dialer }).unwrap(),
        )
    };
    let unasked = accounts(None);
    assert_eq!(unasked.mechanisms().to_string(), "PLAIN LOGIN", "until it is reached");
    unasked.begin();
    offers(&unasked, "CRAM-MD5 X-ONE PLAIN LOGIN").await;
    // This one serves one connection after the other.
    drop(unasked);
    let named = accounts(Some(&["NTLM", "CRAM-MD5", "PLAIN"]));
    assert_eq!(named.mechanisms().to_string(), "CRAM-MD5 NTLM PLAIN", "until it is reached");
    named.begin();
    offers(&named, "CRAM-MD5 PLAIN").await;
}
