//! A whole gateway with one listener of implicit TLS and with these accounts, and mail programs of other people that log
//! in at it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use wasmilter::config::parse;
use wasmilter::net::inherit::Inherited;
use wasmilter::net::tls::self_signed;
use wasmilter::report::Metrics;
use wasmilter::server::{Gateway, Generation, Listeners};
use wasmilter::sink::{Options, Sink};

use crate::client::{Client, Credentials, NEW};

/// Says AUTH as smtplib does, from 127.0.0.2, and prints the answer.
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
way, port, mechanism, user, password = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
to = {"host": "127.0.0.1", "port": int(port), "source_address": ("127.0.0.2", 0)}
with smtplib.SMTP_SSL(**to, context=context) if way == "tls" else smtplib.SMTP(**to) as smtp:
    smtp.ehlo("client.test")
    smtp.user, smtp.password = user, password
    try:
        print(*smtp.auth(mechanism, getattr(smtp, "auth_" + mechanism.lower().replace("-", "_"))))
    except smtplib.SMTPAuthenticationError as refused:
        print(refused.smtp_code, refused.smtp_error)
"#;

pub(crate) struct Running {
    address: SocketAddr,
    authority: String,
    folder: tempfile::TempDir,
    gateway: Arc<Gateway>,
    _listeners: Listeners,
    /// It takes everything.
    sink: Option<Sink>,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    /// With these `[[auth.backend]]` sections, or a whole `[auth]`, in front of a server that takes everything.
    pub(crate) fn start(accounts: &str) -> Running {
        let runtime = runtime();
        let sink = runtime.block_on(Sink::bind("127.0.0.1:0".parse().unwrap(), Options::default())).unwrap();
        let upstream = format!("upstream = {{ address = \"{}\" }}", sink.local_addr());
        Running::start_in(runtime, Some(sink), &upstream, accounts)
    }

    /// In front of this `upstream`.
    pub(crate) fn start_before(upstream: &str, accounts: &str) -> Running {
        Running::start_in(runtime(), None, upstream, accounts)
    }

    fn start_in(runtime: tokio::runtime::Runtime, sink: Option<Sink>, upstream: &str, accounts: &str) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let made = self_signed(&["localhost", "mx.example.org"]).unwrap();
        std::fs::write(folder.path().join("certificate.pem"), &made.certificate_pem).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.key_pem.as_bytes()).unwrap();
        std::fs::write(folder.path().join("message"), "Subject: hello\r\n\r\nhello\r\n").unwrap();
        let text = format!(
            "hostname = \"localhost\"\n{upstream}\n\
             tls = {{ certificate = \"certificate.pem\", key = \"key.pem\" }}\n\
             rates = {{ auth-failure-delay = \"off\", auth-failures-per-address = \"off\", \
             auth-failures-per-account-and-address = \"off\", connections-per-address = \"off\" }}\n\
             timeouts = {{ resolve = \"100ms\" }}\nresolver = {{ servers = [\"127.0.0.1:9\"] }}\n\
             [[listener]]\nname = \"submissions\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n\
             auth = \"required\"\n{accounts}\n"
        );
        let file = folder.path().join("wasmilter.toml").display().to_string();
        let config = parse(&text, &file, &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
        let (gateway, listeners) = runtime.block_on(async {
            let generation = Generation::build(config, None).unwrap();
            let config = Arc::clone(generation.config());
            let gateway = Gateway::new(generation, Metrics::detached().unwrap());
            let mut listeners = Listeners::new(Inherited::none());
            let sockets = listeners.bind(&config).unwrap();
            listeners.accept(&gateway, sockets);
            (gateway, listeners)
        });
        let address = listeners.bound().next().unwrap().1;
        Running { address, authority: made.certificate_pem, folder, gateway, _listeners: listeners, sink, runtime }
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(async {
            self.gateway.shutdown.begin();
            self.gateway.shutdown.finish(Duration::ZERO, Duration::ZERO).await;
            if let Some(sink) = self.sink {
                sink.shutdown().await;
            }
        });
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What a new client is offered after AUTH.
    pub(crate) fn offer(&self) -> String {
        self.runtime.block_on(async { Client::connect(self.address, &self.authority, NEW, None).await.offer })
    }

    /// Until that is what a new client is offered: a backend has to be reached first.
    pub(crate) fn wait_for_offer(&self, mechanisms: &str) {
        let began = std::time::Instant::now();
        loop {
            let offer = self.offer();
            if offer == mechanisms {
                return;
            }
            assert!(began.elapsed() < std::time::Duration::from_secs(20), "{offer} is offered");
            std::thread::yield_now();
        }
    }

    /// rsasl's word; the reply that ends it.
    pub(crate) fn rsasl(&self, mechanism: &str, name: &'static str, password: &'static str, initial: bool) -> String {
        let credentials = Credentials { name, password, ..Credentials::default() };
        self.runtime.block_on(async {
            let mut client = Client::connect(self.address, &self.authority, NEW, None).await;
            client.log_in(mechanism, credentials, initial).await
        })
    }

    /// These lines, said as they are after EHLO; the last reply.
    pub(crate) fn say(&self, lines: &[&str]) -> String {
        self.runtime.block_on(async {
            let mut client = Client::connect(self.address, &self.authority, NEW, None).await;
            let mut reply = String::new();
            for line in lines {
                reply = client.say(line).await;
            }
            reply
        })
    }

    /// smtplib's word: the answer to AUTH.
    pub(crate) fn smtplib(&self, mechanism: &str, name: &str, password: &str) -> String {
        smtplib("tls", self.address, mechanism, name, password)
    }

    /// All that was said, by swaks' account.
    pub(crate) fn swaks(&self, mechanism: &str, name: &str, password: &str) -> String {
        let mut command = Command::new("swaks");
        command.args(["--server", "127.0.0.1", "--port", &self.address.port().to_string(), "--tls-on-connect"]);
        command.args(["--auth", mechanism, "--auth-user", name, "--auth-password", password]);
        command.args(["--quit-after", "AUTH", "--to", "nobody@inside.test"]).stdin(Stdio::null());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    /// What curl and the gateway say to each other, without TLS; and whether the message was taken.
    pub(crate) fn submit(&self, user: &str, mechanism: &str, token: &str) -> (bool, String) {
        self.curl(user, mechanism, &["--oauth2-bearer", token])
    }

    /// The same with a password behind the user and a colon.
    pub(crate) fn curl(&self, user: &str, mechanism: &str, more: &[&str]) -> (bool, String) {
        self.curl_in(&[], user, mechanism, more)
    }

    /// With this in its environment.
    pub(crate) fn curl_in(
        &self,
        environment: &[(&str, String)],
        user: &str,
        mechanism: &str,
        more: &[&str],
    ) -> (bool, String) {
        let folder = self.folder.path().display();
        let mut curl = Command::new("curl");
        curl.envs(environment.iter().map(|(name, value)| (*name, value)));
        curl.args(["--silent", "--show-error", "--verbose", "--max-time", "60"]);
        curl.arg(format!("smtps://localhost:{}/client.test", self.address.port()));
        curl.arg("--resolve").arg(format!("localhost:{}:127.0.0.1", self.address.port()));
        curl.arg("--cacert").arg(format!("{folder}/certificate.pem"));
        curl.args(["--mail-from", "anna@inside.test", "--mail-rcpt", "b@elsewhere.test"]);
        curl.args(["--user", user, "--login-options", &format!("AUTH={mechanism}")]).args(more);
        curl.arg("--upload-file").arg(format!("{folder}/message"));
        let done = curl.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        let lines = said.lines().filter(|line| line.starts_with("< ") || line.starts_with("> ")).map(str::trim_end);
        (done.status.success(), lines.collect::<Vec<_>>().join("\n"))
    }

    /// The code of the reply that ended AUTH, which decides whether the message is taken.
    pub(crate) fn log_in(&self, user: &str, mechanism: &str, token: &str) -> String {
        let (taken, said) = self.submit(user, mechanism, token);
        let ends = |line: &&str| ["< 235", "< 454", "< 5"].iter().any(|code| line.starts_with(code));
        let reply = said.lines().find(ends).unwrap_or_else(|| panic!("AUTH has no end:\n{said}"));
        assert_eq!(taken, reply.starts_with("< 235"), "{said}");
        reply[2..5].to_owned()
    }
}

/// The same at any server; `way` is "tls" or "clear".
pub(crate) fn smtplib(way: &str, server: SocketAddr, mechanism: &str, name: &str, password: &str) -> String {
    crate::process::run("python3", &["-c", SMTPLIB, way, &server.port().to_string(), mechanism, name, password], "")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
