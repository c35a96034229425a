//! `wasmilter seen`: who has logged in elsewhere may send.

use std::process::Command;

use crate::gateway::{Client, Gateway};
use crate::upstream::Upstream;

/// Its status, and what it said.
fn seen(gateway: &Gateway, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmilter"));
    let run = command.arg("seen").args(words).args(["--admin", &gateway.admin.to_string()]).output().unwrap();
    (run.status.code(), String::from_utf8([run.stdout, run.stderr].concat()).unwrap())
}

/// What is answered to a recipient in a domain that is not the gateway's.
pub(crate) fn elsewhere(client: &mut Client) -> String {
    assert!(client.say("MAIL FROM:<scanner@client.test>").starts_with("250 "));
    let answer = client.say("RCPT TO:<b@elsewhere.test>");
    client.say("RSET");
    answer
}

#[test]
fn an_address_that_was_seen_may_send_for_a_while_and_over_a_restart() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(upstream.address, "after-login = true\n[state]\nsnapshot = \"state.redb\"\n");
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO scanner");
    assert!(elsewhere(&mut client).starts_with("550 5.7.1 "));

    let (status, said) = seen(&gateway, &["192.0.2.1"]);
    assert_eq!((status, said.as_str()), (Some(0), "192.0.2.1 may send for 30min at mx\n"));
    assert!(elsewhere(&mut client).starts_with("550 5.7.1 "), "another address");
    let (status, said) = seen(&gateway, &["127.0.0.1", "--for", "90d"]);
    assert_eq!((status, said.as_str()), (Some(0), "127.0.0.1 may send for 1d at mx\n"));
    gateway.wait_for("somebody has logged in from there elsewhere address=127.0.0.1 seconds=86400");
    // A session that is open already has it with its next transaction.
    assert!(elsewhere(&mut client).starts_with("250 "));
    drop(client);

    let gateway = gateway.again("TERM");
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO scanner");
    assert!(elsewhere(&mut client).starts_with("250 "));
    upstream.answer.send(()).unwrap();
    client.hand_in("b@elsewhere.test");
    assert!(client.reply().starts_with("250 "));
    let mut gateway = gateway;
    assert!(gateway.wait_for("b@elsewhere.test").contains("after_login=true"));
}

#[test]
fn what_is_wrong_with_it_is_said() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(upstream.address, "");
    let (status, said) = seen(&gateway, &["192.0.2.1"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("no listener has after-login = true"), "{said}");
    for words in [&["mx.example.org"][..], &["192.0.2.1", "--for", "5m"], &["192.0.2.0/24"], &[]] {
        assert_eq!(seen(&gateway, words).0, Some(64), "{words:?}");
    }
    let gateway = Gateway::start(upstream.address, "after-login = true\n");
    let (status, said) = seen(&gateway, &["0.0.0.0"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("nobody logs in from this address"), "{said}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmilter"));
    let run = command.args(["seen", "192.0.2.1", "--admin", &nobody.to_string()]).output().unwrap();
    assert_eq!(run.status.code(), Some(69));
}
