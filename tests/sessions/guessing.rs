//! `auth-failure-delay` from end to end: a client that guesses, the gateway, and a clock that jumps, so that the time is
//! that of the wait and of nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use wasmilter::config;
use wasmilter::net::Stream;
use wasmilter::net::dial::{Dial, Dialing};
use wasmilter::net::tls::{self, Connector, Expect};
use wasmilter::report::Metrics;
use wasmilter::server::{Environment, Gateway, Generation};

/// What a pipe holds before its writer waits.
const PIPE_BYTES: usize = 64 * 1_024;
/// Steps in which the clock goes.
const GRAIN: Duration = Duration::from_millis(2);
const READ_BYTES_MAX: usize = 4_096;
/// `user@example.org`, with the password of `tests/dialogs/configs/passwords` and with others.
const RIGHT: &str = "AHVzZXJAZXhhbXBsZS5vcmcAc2VjcmV0";
const WRONG: &str = "AHVzZXJAZXhhbXBsZS5vcmcAd3Jvbmc=";
const NOBODY: &str = "AG5vYm9keUBleGFtcGxlLm9yZwB3cm9uZw==";

/// No mail server is needed for a login.
#[derive(Debug)]
struct Away;

impl Dial for Away {
    fn dial(&self, _: SocketAddr) -> Dialing<'_> {
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

fn gateway(delay: &str) -> Arc<Gateway> {
    let made = tls::self_signed(&["mx.example.org"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, &made.certificate_pem).unwrap();
    std::fs::write(&key, made.key_pem.as_bytes()).unwrap();
    let passwords = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs/configs/passwords");
    let text = format!(
        "hostname = \"mx.example.org\"\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [upstream]\naddress = \"192.0.2.1:25\"\n[relay]\ndomains = [\"example.org\"]\n\
         [resolver]\npeer-names = false\nservers = [\"127.0.0.1\"]\n[auth]\npassword-file = {passwords:?}\n\
         [rates]\nauth-failure-delay = \"{delay}\"\nauth-failures-per-address = \"1/1h burst 30\"\n\
         [[listener]]\nname = \"submissions\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\nauth = \"required\"\n"
    );
    let config = config::parse(&text, "guessing.toml", &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let environment = Environment { dialer: Arc::new(Away), ..Environment::default() };
    Gateway::new(Generation::build_with(config, None, environment).unwrap(), Metrics::detached().unwrap())
}

struct Client(Stream);

impl Client {
    async fn connect(gateway: &Arc<Gateway>, from: &str) -> Client {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (here, there): (SocketAddr, _) = (format!("{from}:4321").parse().unwrap(), ([192, 0, 2, 2], 465).into());
        gateway.welcome(&Arc::from("submissions"), Stream::over(far, there, here), here);
        let mut stream = Stream::over(near, here, there);
        let connector = Connector::new(&Expect::Any { host: "mx.example.org" }).unwrap();
        stream.start_tls_client(&connector).await.unwrap();
        let mut client = Client(stream);
        assert!(client.hear().await.starts_with("220 "));
        assert!(client.ask("EHLO client.test").await.0.contains("250-AUTH "));
        client
    }

    async fn hear(&mut self) -> String {
        let mut heard = Vec::new();
        loop {
            let last = heard.rsplit(|octet| *octet == b'\n').nth(1);
            if heard.ends_with(b"\r\n") && last.is_some_and(|line: &[u8]| line.get(3) == Some(&b' ')) {
                return String::from_utf8(heard).unwrap();
            }
            assert_ne!(self.0.read_more(&mut heard, READ_BYTES_MAX).await.unwrap(), 0, "the session ended");
        }
    }

    /// The reply, and how long it took.
    async fn ask(&mut self, line: &str) -> (String, Duration) {
        let asked = Instant::now();
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
        let reply = self.hear().await;
        (reply, asked.elapsed())
    }

    /// A login that is answered with this code after so long, not sooner and not later.
    async fn log_in(&mut self, credentials: &str, code: &str, after: Duration) {
        let (reply, took) = self.ask(&format!("AUTH PLAIN {credentials}")).await;
        assert!(reply.starts_with(code), "{reply}");
        assert!(took >= after && took < after + GRAIN, "{code} after {took:?} instead of {after:?}");
    }
}

fn played<F: Future<Output = ()>>(play: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play());
}

#[test]
fn each_wrong_login_of_an_address_is_answered_later_than_the_one_before() {
    played(|| async {
        let gateway = gateway("500ms");
        let half = Duration::from_millis(500);
        let mut guesser = Client::connect(&gateway, "192.0.2.7").await;
        guesser.log_in(WRONG, "535 ", half).await;
        // Whether there is such an account makes no difference.
        guesser.log_in(NOBODY, "535 ", 2 * half).await;
        // Nor does a new connection.
        let mut again = Client::connect(&gateway, "192.0.2.7").await;
        again.log_in(WRONG, "535 ", 4 * half).await;
        again.log_in(WRONG, "535 ", 8 * half).await;
        // Others, and who is right, wait for nothing of this.
        let mut other = Client::connect(&gateway, "198.51.100.7").await;
        other.log_in(WRONG, "535 ", half).await;
        other.log_in(RIGHT, "235 ", Duration::ZERO).await;
        guesser.log_in(RIGHT, "235 ", Duration::ZERO).await;
        again.log_in(WRONG, "535 ", Duration::from_secs(8)).await;
        again.log_in(WRONG, "535 ", Duration::from_secs(15)).await;
    });
}

/// Who does not wait for the answer gets nothing out of it: the next attempt on the same connection comes after it.
#[test]
fn attempts_that_are_sent_ahead_wait_one_after_the_other() {
    played(|| async {
        let gateway = gateway("1s");
        let mut client = Client::connect(&gateway, "192.0.2.7").await;
        let began = Instant::now();
        let both = format!("AUTH PLAIN {WRONG}\r\nAUTH PLAIN {WRONG}\r\n");
        client.0.write_all(both.as_bytes()).await.unwrap();
        client.0.flush().await.unwrap();
        let (mut heard, mut moments) = (0, Vec::new());
        while heard < 2 {
            heard += client.hear().await.matches("535 ").count();
            moments.push(began.elapsed().as_secs());
        }
        assert_eq!(moments, [1, 3]);
    });
}

#[test]
fn without_it_nobody_waits() {
    played(|| async {
        let gateway = gateway("off");
        let mut client = Client::connect(&gateway, "192.0.2.7").await;
        for _ in 0..3 {
            client.log_in(WRONG, "535 ", Duration::ZERO).await;
        }
    });
}
