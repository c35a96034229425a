//! Ways towards the server that only a real one can show: XCLIENT said again in a connection that another client had,
//! the PROXY protocol, LMTP.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::clients::{self, Mail, Way};
use crate::gateway::{ACCOUNT, Gateway};
use crate::mta::{Postfix, free_address};
use crate::{TRUSTED_BY_THE_GATEWAY, dotted};

const MAILBOX: &str = "ann@inside.test";

fn mail<'a>(server: SocketAddr, way: Way, from_address: &'a str, recipient: &'a str, message: &'a [u8]) -> Mail<'a> {
    Mail { server, way, from_address, sender: "bob@client.test", recipient, message }
}

/// With `smtpd_authorized_xclient_hosts=static:all`, as docs/operating.md says: one connection, client after client,
/// and each is judged as itself.
#[test]
fn one_connection_serves_client_after_client_and_none_is_taken_for_another() {
    let postfix = Postfix::start_with(&[MAILBOX], |listener| {
        let changed =
            listener.replace("smtpd_authorized_xclient_hosts=127.0.0.1", "smtpd_authorized_xclient_hosts=static:all");
        assert_ne!(changed, listener);
        changed
    });
    // Longer than a client of this test takes to start, so that the next one finds the connection.
    let gateway = Gateway::start_with(postfix.address, TRUSTED_BY_THE_GATEWAY, "idle-time = \"1min\"", "");
    let message = dotted("bye");
    let clients = ["127.0.0.51", "127.0.0.52", "127.0.0.53", "127.0.0.54", "127.0.0.55", "127.0.0.56"];
    for address in clients {
        let told = clients::swaks(&mail(gateway.mx, Way::Plain, address, MAILBOX, &message));
        assert!(told.taken, "{}\n{}", told.printed, gateway.log());
        postfix.log.wait_for(&["client=", &format!("[{address}]")]);
    }
    let connections = postfix.log.text().matches(": connect from ").count();
    assert_eq!(connections, 1, "{}", postfix.log.text());

    // Who has logged in may relay; who comes next may not, and is not logged under that name.
    let relayed = "friend@outside.test";
    let told = clients::smtplib(&mail(gateway.submission, Way::StartTls, "127.0.0.57", relayed, &message));
    assert!(told.taken, "{}", told.printed);
    postfix.log.wait_for(&["[127.0.0.57]", &format!("sasl_username={ACCOUNT}")]);
    let told = clients::swaks(&mail(gateway.mx, Way::Plain, TRUSTED_BY_THE_GATEWAY, "guest@outside.test", &message));
    assert!(!told.taken && told.printed.contains("Relay access denied"), "{}", told.printed);
    let told = clients::swaks(&mail(gateway.mx, Way::Plain, "127.0.0.58", MAILBOX, &message));
    assert!(told.taken, "{}", told.printed);
    let line = postfix.log.wait_for(&["client=", "[127.0.0.58]"]);
    assert!(!line.contains("sasl_"), "{line}");
    gateway.stop();
}

#[test]
fn the_proxy_protocol_tells_postfix_who_the_client_is() {
    for version in ["v1", "v2"] {
        let postfix = Postfix::start_with(&[MAILBOX], |listener| {
            listener.replace("smtpd_authorized_xclient_hosts=127.0.0.1", "smtpd_upstream_proxy_protocol=haproxy")
        });
        // The health check is the gateway's own question, and must not be an error in Postfix's log.
        let keys = format!("proxy-protocol = \"{version}\"\nhealth-check = \"1s\"\n");
        let gateway = Gateway::start_with(postfix.address, TRUSTED_BY_THE_GATEWAY, &keys, "");
        let message = dotted("bye");
        let told = clients::swaks(&mail(gateway.mx, Way::Plain, "127.0.0.61", MAILBOX, &message));
        assert!(told.taken, "{}\n{}", told.printed, gateway.log());
        postfix.log.wait_for(&["client=", "[127.0.0.61]"]);
        let told =
            clients::swaks(&mail(gateway.mx, Way::Plain, TRUSTED_BY_THE_GATEWAY, "guest@outside.test", &message));
        assert!(!told.taken && told.printed.contains("Relay access denied"), "{}", told.printed);
        assert!(!postfix.log.text().contains("haproxy"), "{}", postfix.log.text());
        gateway.stop();
    }
}

/// Postfix's own LMTP sink, which keeps what it gets.
struct Sink {
    address: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Sink {
    fn start() -> Sink {
        let folder = tempfile::Builder::new().prefix("wasmilter-lmtp").tempdir().unwrap();
        let address = free_address();
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "smtp-sink", "-L", "-u", "root", "-d", "message."])
            .args([&address.to_string(), "10"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        // It says nothing when it is ready; a connection is what says it.
        while std::net::TcpStream::connect(address).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "smtp-sink ended");
            std::thread::yield_now();
        }
        Sink { address, folder, process }
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let read = |path: &Path| std::fs::read(path).unwrap();
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| read(&entry.unwrap().path()));
        files.filter(|message| !message.is_empty()).collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_lmtp_server_gets_what_clients_of_smtp_send() {
    let sink = Sink::start();
    let gateway = Gateway::start_with(sink.address, TRUSTED_BY_THE_GATEWAY, "protocol = \"lmtp\"", "");
    let message = dotted("bye");
    for address in ["127.0.0.71", "127.0.0.72"] {
        let told = clients::swaks(&mail(gateway.mx, Way::Plain, address, MAILBOX, &message));
        assert!(told.taken, "{}\n{}", told.printed, gateway.log());
    }
    let messages = sink.messages();
    assert_eq!(messages.len(), 2);
    for message in messages {
        let text = String::from_utf8_lossy(&message).into_owned();
        assert!(text.contains("bob@client.test") && text.contains(MAILBOX), "{text}");
    }
    gateway.stop();
}
