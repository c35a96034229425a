//! A real HAProxy and a real nginx in front of the gateway: Postfix hears of the client and never of the proxy, and who
//! goes past the proxies, or is none of those we named, sends nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use crate::clients::{self, Mail, Told, Way};
use crate::gateway::Gateway;
use crate::mta::Postfix;
use crate::{TRUSTED_BY_THE_GATEWAY, arrived, dotted};

const MAILBOX: &str = "ann@inside.test";

/// Where Debian keeps it.
const NGINX_MAIL_MODULE: &str = "/usr/lib/nginx/modules/ngx_mail_module.so";

/// Moves the sockets to where HAProxy is told to look for them, and the output to a file.
const PASS_SOCKETS: &str = "exec 3<&0 4<&1 5<&2 </dev/null >>\"$1\" 2>&1; shift; exec \"$@\"";

/// A running proxy. HAProxy gets its sockets from us, so that no port is chosen twice and clients may connect at once.
struct Proxy {
    folder: tempfile::TempDir,
    process: Child,
}

impl Proxy {
    /// `program` is followed by the path of the configuration.
    fn start(program: &[&str], configuration: &str, sockets: [Stdio; 3]) -> Proxy {
        let folder = tempfile::Builder::new().prefix("wasmilter-proxy").tempdir().unwrap();
        let path = folder.path().join("configuration");
        std::fs::write(&path, configuration).unwrap();
        let [stdin, stdout, stderr] = sockets;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", PASS_SOCKETS, "sh"])
            .arg(folder.path().join("log"))
            .args(program)
            .arg(&path)
            .current_dir(folder.path())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Proxy { folder, process }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Three ways through HAProxy to the same listener: version 1, version 2 with what it can add, and version 2 from an
/// address that is not among those of the proxies.
fn haproxy(gateway: SocketAddr) -> (Proxy, [SocketAddr; 3]) {
    let ways = [
        "send-proxy",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        "send-proxy-v2 proxy-v2-options crc32c source 127.0.0.44",
    ];
    let mut configuration = "global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n \
                             timeout server 60s\n unique-id-format %{+X}o-%ci-%cp-%rt\n"
        .to_owned();
    for (fd, way) in (3..).zip(ways) {
        configuration += &format!("listen way{fd}\n bind fd@{fd}\n server gateway {gateway} {way}\n");
    }
    let sockets = ways.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
    let sockets = sockets.map(|socket| Stdio::from(OwnedFd::from(socket)));
    (Proxy::start(&["haproxy", "-db", "-f"], &configuration, sockets), addresses)
}

/// nginx as a mail proxy that logs nobody in, and says who the client is by XCLIENT.
fn nginx(gateway: SocketAddr) -> (Proxy, SocketAddr) {
    let address = free_on("127.0.0.85");
    let directory = always(gateway);
    let configuration = format!(
        "load_module {NGINX_MAIL_MODULE};\ndaemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\n\
         events {{ }}\nmail {{\n server_name proxy.inside.test;\n auth_http {directory}/;\n xclient on;\n \
         server {{\n  listen {address};\n  protocol smtp;\n  smtp_auth none;\n  smtp_capabilities 8BITMIME;\n }}\n}}\n"
    );
    let nothing = [Stdio::null(), Stdio::null(), Stdio::null()];
    let mut proxy = Proxy::start(&["nginx", "-e", "stderr", "-p", ".", "-c"], &configuration, nothing);
    // It binds by itself and does not say when; a connection is what says it.
    while TcpStream::connect(address).is_err() {
        assert!(proxy.process.try_wait().unwrap().is_none(), "nginx ended: {}", proxy.log());
        std::thread::yield_now();
    }
    (proxy, address)
}

/// Tells nginx, whatever it asks, that the mail server is there.
fn always(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let (host, port) = (server.ip(), server.port());
            let _ = write!(
                &stream,
                "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {host}\r\nAuth-Port: {port}\r\n\r\n"
            );
        }
    });
    address
}

/// A port on an address that nothing else on this machine uses, so that nobody takes it until it is bound again.
fn free_on(host: &str) -> SocketAddr {
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

/// One listener for HAProxy and one for nginx, each for clients from that one address alone.
fn behind_proxies(postfix: &Postfix, hosts: [&str; 2]) -> (Gateway, SocketAddr, SocketAddr) {
    let [proxied, xclient] = hosts.map(free_on);
    let sections = format!(
        "\n[[listener]]\nname = \"proxied\"\naddress = \"{proxied}\"\nproxy-protocol = \"required\"\n\
         proxy-networks = [\"127.0.0.1\"]\n\n\
         [[listener]]\nname = \"xclient\"\naddress = \"{xclient}\"\nxclient-networks = [\"127.0.0.1\"]\n"
    );
    let gateway = Gateway::start_with(postfix.address, TRUSTED_BY_THE_GATEWAY, "", &sections);
    // The banner of one listener says that all of them are there.
    let mut banner = String::new();
    BufReader::new(TcpStream::connect(gateway.mx).unwrap()).read_line(&mut banner).unwrap();
    assert!(banner.starts_with("220 "), "{banner}");
    (gateway, proxied, xclient)
}

fn send(server: SocketAddr, from_address: &str, sender: &str) -> Told {
    let message = dotted(".");
    clients::smtplib(&Mail { server, way: Way::Plain, from_address, sender, recipient: MAILBOX, message: &message })
}

/// From this very machine, which is a proxy's address, and all in one go.
fn send_without_a_header(server: SocketAddr) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    // It may be closed before we are through.
    let _ = write!(
        stream,
        "EHLO past.client.test\r\nMAIL FROM:<past@client.test>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n\r\n.\r\nQUIT\r\n"
    );
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn behind_haproxy_and_nginx_postfix_hears_of_the_client() {
    let postfix = Postfix::start(&[MAILBOX]);
    let (gateway, proxied, xclient) = behind_proxies(&postfix, ["127.0.0.81", "127.0.0.82"]);
    let (haproxy, [first, second, _]) = haproxy(proxied);
    let (nginx, third) = nginx(xclient);
    let ways = [(first, "127.0.0.41"), (second, "127.0.0.42"), (third, "127.0.0.43")];
    for (count, (server, address)) in (1..).zip(ways) {
        let told = send(server, address, "bob@client.test");
        assert!(told.taken, "{address}: {}\n{}", told.printed, gateway.log());
        postfix.log.wait_for(&["client=", &format!("[{address}]")]);
        postfix.wait_for_messages(MAILBOX, count);
    }
    for message in postfix.messages_of(MAILBOX) {
        arrived(&message, &dotted("."), MAILBOX);
    }
    assert!(!postfix.log.text().contains("client=unknown[127.0.0.1]"), "{}", postfix.log.text());
    drop((haproxy, nginx));
    gateway.stop();
}

#[test]
fn past_the_proxies_nothing_gets_through() {
    let postfix = Postfix::start(&[MAILBOX]);
    let (gateway, proxied, _) = behind_proxies(&postfix, ["127.0.0.83", "127.0.0.84"]);
    let (haproxy, [first, _, stranger]) = haproxy(proxied);

    let answer = send_without_a_header(proxied);
    assert!(!answer.contains("220") && !answer.contains("250"), "{answer}");
    // A header that is in order, from a proxy that is not ours; and somebody who is no proxy at all.
    for (server, address) in [(stranger, "127.0.0.45"), (proxied, "127.0.0.46")] {
        let told = send(server, address, "past@client.test");
        assert!(!told.taken, "{address}: {}", told.printed);
    }

    // While the way through the proxy is open.
    let told = send(first, "127.0.0.41", "bob@client.test");
    assert!(told.taken, "{}\n{}", told.printed, gateway.log());
    postfix.wait_for_messages(MAILBOX, 1);
    let log = postfix.log.text();
    assert!(["past@client.test", "127.0.0.44", "127.0.0.45", "127.0.0.46"].iter().all(|it| !log.contains(it)), "{log}");
    assert!(gateway.log().contains("proxy header refused"), "{}", gateway.log());
    assert!(gateway.log().contains("limit=proxy-networks"), "{}", gateway.log());
    drop(haproxy);
    gateway.stop();
}
