//! Against servers of our own behind a UNIX socket, honest and hostile ones. The real one is asked in `tests/accounts`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::sync::mpsc::{Receiver, channel};

use super::super::remote::Remote;
use super::super::tests::{facts, secret};
use super::*;
use crate::config::AuthService;
use crate::state::limits::LoginStanding;

const HELLO: &str =
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t1\nDONE\n";
const LONG: Duration = Duration::from_secs(20);

struct Server {
    folder: tempfile::TempDir,
    /// Every line that came, and "connected" for a connection.
    heard: Receiver<String>,
}

/// Says `hello` to everybody, and to each AUTH what `answer` makes of its number, the first being 1; None hangs up.
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
                let id = line.strip_prefix("AUTH\t").and_then(|rest| rest.split('\t').next()).map(str::to_owned);
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
            "AUTH\t1\tPLAIN\tservice=smtp\tnologin\tsecured\tsession=5f3a\tlip=192.0.2.25\trip=192.0.2.7\tlport=587\
             \trport=4711\tresp=AGFubmEAc3dvcmRmaXNo"
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
