//! A whole gateway with one listener of implicit TLS, a server behind it that takes everything, and curl as the mail
//! program before it.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use wasmilter::net::inherit::Inherited;
use wasmilter::net::tls::self_signed;
use wasmilter::report::Metrics;
use wasmilter::server::{Gateway, Generation, Listeners};
use wasmilter::sink::{Options, Sink};

pub(crate) struct Running {
    address: SocketAddr,
    folder: tempfile::TempDir,
    gateway: Arc<Gateway>,
    _listeners: Listeners,
    sink: Sink,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    /// With these `[[auth.backend]]` sections.
    pub(crate) fn start(backends: &str) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let made = self_signed(&["localhost"]).unwrap();
        std::fs::write(folder.path().join("certificate.pem"), &made.certificate_pem).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.key_pem.as_bytes()).unwrap();
        std::fs::write(folder.path().join("message"), "Subject: hello\r\n\r\nhello\r\n").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (sink, gateway, listeners) = runtime.block_on(async {
            let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap();
            let text = format!(
                "hostname = \"localhost\"\nupstream = {{ address = \"{}\" }}\n\
                 tls = {{ certificate = \"certificate.pem\", key = \"key.pem\" }}\n\
                 rates = {{ auth-failure-delay = \"off\" }}\n[[listener]]\nname = \"submissions\"\n\
                 address = \"127.0.0.1:0\"\ntls = \"implicit\"\nauth = \"required\"\n{backends}\n",
                sink.local_addr()
            );
            let file = folder.path().join("wasmilter.toml").display().to_string();
            let config = wasmilter::config::parse(&text, &file, &|_| None).unwrap_or_else(|why| panic!("{why}"));
            let generation = Generation::build(config, None).unwrap();
            let config = Arc::clone(generation.config());
            let gateway = Gateway::new(generation, Metrics::detached().unwrap());
            let mut listeners = Listeners::new(Inherited::none());
            let sockets = listeners.bind(&config).unwrap();
            listeners.accept(&gateway, sockets);
            (sink, gateway, listeners)
        });
        let address = listeners.bound().next().unwrap().1;
        Running { address, folder, gateway, _listeners: listeners, sink, runtime }
    }

    /// What curl and the gateway say to each other, without TLS; and whether the message was taken.
    pub(crate) fn submit(&self, user: &str, mechanism: &str, token: &str) -> (bool, String) {
        let folder = self.folder.path().display();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--verbose", "--max-time", "60"]);
        curl.arg(format!("smtps://localhost:{}/client.test", self.address.port()));
        curl.arg("--resolve").arg(format!("localhost:{}:127.0.0.1", self.address.port()));
        curl.arg("--cacert").arg(format!("{folder}/certificate.pem"));
        curl.args(["--mail-from", "anna@inside.test", "--mail-rcpt", "b@elsewhere.test"]);
        curl.args(["--user", user, "--oauth2-bearer", token, "--login-options", &format!("AUTH={mechanism}")]);
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

    pub(crate) fn stop(self) {
        self.runtime.block_on(async {
            self.gateway.shutdown.begin();
            self.gateway.shutdown.finish(Duration::ZERO, Duration::ZERO).await;
            self.sink.shutdown().await;
        });
    }
}
