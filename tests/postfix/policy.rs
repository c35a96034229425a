//! A real policy daemon: postfwd, started for each connection as Postfix's spawn(8) would start it, asked by the gateway
//! before its filters.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::clients::{self, Mail, Way};
use crate::gateway::Gateway;
use crate::mta::Postfix;

const RULES: &str = "\
id=NO; protocol_state==RCPT; recipient=~^refused@; action=REJECT Go away
id=LATER; protocol_state==RCPT; recipient=~^later@; action=DEFER_IF_PERMIT 4.2.0 Greylisted
id=MARK; protocol_state==RCPT; recipient=~^marked@; action=PREPEND X-Policy: seen by postfwd
id=LARGE; protocol_state==END-OF-MESSAGE; size>=5000; action=552 5.3.4 Too large for you
";

/// Runs postfwd for each connection to this address, until the test's process ends.
fn postfwd(folder: &std::path::Path) -> SocketAddr {
    let rules = folder.join("rules.cf");
    std::fs::write(&rules, RULES).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let answers = OwnedFd::from(stream.try_clone().unwrap());
            let mut daemon = Command::new("setpriv");
            daemon.args(["--pdeathsig", "KILL", "postfwd1", "-n", "-f"]).arg(&rules).stdin(OwnedFd::from(stream));
            let mut daemon = daemon.stdout(answers).stderr(Stdio::null()).spawn().unwrap();
            std::thread::spawn(move || daemon.wait());
        }
    });
    address
}

#[test]
fn a_policy_daemon_has_its_say() {
    let folder = tempfile::tempdir().unwrap();
    let service = format!(
        "[[policy-service]]\nname = \"postfwd\"\naddress = \"{}\"\nat = [\"rcpt\", \"end-of-message\"]\n",
        postfwd(folder.path())
    );
    let names = ["refused", "later", "marked", "plain", "large"].map(|name| format!("{name}@inside.test"));
    let postfix = Postfix::start(&names.each_ref().map(String::as_str));
    let gateway = Gateway::start_with(postfix.address, "127.0.0.8", "", &service);
    let large = [b"Subject: x\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(500)].concat();
    let small = b"Subject: x\r\n\r\nHello\r\n".as_slice();
    for (name, message, refusal) in [
        ("refused", small, "554 5.7.1 <refused@inside.test>: Recipient address rejected: Go away"),
        ("later", small, "450 4.2.0 <later@inside.test>: Recipient address rejected: Greylisted"),
        ("large", &large, "552 5.3.4 <END-OF-MESSAGE>: End-of-data rejected: Too large for you"),
        ("marked", small, ""),
        ("plain", small, ""),
    ] {
        let recipient = format!("{name}@inside.test");
        let mail = Mail {
            server: gateway.mx,
            way: Way::Plain,
            from_address: "127.0.0.9",
            sender: "ann@client.test",
            recipient: &recipient,
            message,
        };
        let told = clients::swaks(&mail);
        assert_eq!(told.taken, refusal.is_empty(), "{name}: {}\n{}", told.printed, gateway.log());
        assert!(told.printed.contains(refusal), "{name}: {}", told.printed);
    }
    let marked = String::from_utf8(postfix.message_of("marked@inside.test")).unwrap();
    // Above the gateway's own trace field, below Postfix's.
    let places = ["by mx.inside.test", "X-Policy: seen by postfwd"].map(|text| marked.find(text).unwrap());
    assert!(places[1] < places[0], "{marked}");
    assert!(!String::from_utf8(postfix.message_of("plain@inside.test")).unwrap().contains("X-Policy"));
    gateway.stop();
}

#[test]
fn a_policy_daemon_that_is_away_defers_or_is_left_out() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service =
        |name: &str, more: &str| format!("[[policy-service]]\nname = \"{name}\"\naddress = \"{nobody}\"\n{more}\n");
    let postfix = Postfix::start(&["bob@inside.test"]);
    for (sections, taken) in [
        (service("strict", ""), false),
        (service("lax", "on-failure = \"next\""), true),
        (service("would", "would = true"), true),
    ] {
        let gateway = Gateway::start_with(postfix.address, "127.0.0.8", "", &sections);
        let mail = Mail {
            server: gateway.mx,
            way: Way::Plain,
            from_address: "127.0.0.9",
            sender: "ann@client.test",
            recipient: "bob@inside.test",
            message: b"Subject: x\r\n\r\nHello\r\n",
        };
        let told = clients::swaks(&mail);
        assert_eq!(told.taken, taken, "{}\n{}", told.printed, gateway.log());
        assert!(taken || told.printed.contains("451 4.3.5 Server configuration problem"), "{}", told.printed);
        assert!(gateway.log().contains("a policy service cannot be asked"), "{}", gateway.log());
        gateway.stop();
    }
}
