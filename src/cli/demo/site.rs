//! The place of the demonstration: a folder, a sink, and the gateway as a process of its own.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::accounts;
use crate::net::tls::self_signed;
use crate::sink::{self, Sink};

/// Account and password: the first may send to anywhere, the second sends too much.
pub(super) const ACCOUNTS: [(&str, &str); 2] = [("ann@example.test", "demo"), ("shop@example.test", "demo")];
/// Messages of one account at once; see the configuration below.
pub(super) const BURST_MAX: usize = 5;

/// Filters, in an unoptimised build, take some seconds to compile.
const START: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
const STOP: Duration = Duration::from_secs(20);

/// Component, and its lines in the configuration. The endless one gets more time than the usual 50 ms, so that
/// somebody else's mail can be seen to pass it.
const FILTERS: [(&str, &str); 3] = [
    ("endless", "cpu = \"200ms\""),
    ("attachment_guard", "grants = { mime = true }"),
    ("add_header", "grants = { edit = { headers = [\"X-Wasmilter\"] } }"),
];

/// All that runs.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) sink: Sink,
    pub(super) mx: SocketAddr,
    pub(super) submission: SocketAddr,
    pub(super) submissions: SocketAddr,
    pub(super) admin: SocketAddr,
    gateway: Child,
    folder: tempfile::TempDir,
}

impl Site {
    /// Starts all of it, and returns once the gateway answers.
    pub(super) async fn open(filters: &Path) -> anyhow::Result<Site> {
        for (name, _) in FILTERS {
            let file = filters.join(name).with_extension("wasm");
            if !file.is_file() {
                bail!("there is no {}: `cargo xtask demo` builds the filters and starts this", file.display());
            }
        }
        let filters = filters.canonicalize()?;
        let folder = tempfile::Builder::new().prefix("wasmilter-demo-").tempdir()?;
        let options = sink::Options { maildir: Some(folder.path().join("mail")), ..sink::Options::default() };
        let sink = Sink::bind((Ipv4Addr::LOCALHOST, 0).into(), options).await?;
        let [mx, submission, submissions, admin] = [free(2525)?, free(2587)?, free(2465)?, free(9925)?];
        let listeners = [mx, submission, submissions, admin];
        write_files(folder.path(), &configuration(&filters, listeners, sink.local_addr()))?;
        let gateway = start(folder.path())?;
        let mut site = Site { sink, mx, submission, submissions, admin, gateway, folder };
        site.wait_until_it_answers().await?;
        Ok(site)
    }

    /// Stops the gateway as an operator does, and removes everything.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        let process = i32::try_from(self.process_id())?;
        // Gone already after Ctrl-C, which the whole group hears.
        let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
        timeout(STOP, self.gateway.wait()).await.context("the gateway did not stop")??;
        self.sink.shutdown().await;
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn process_id(&self) -> u32 {
        self.gateway.id().unwrap_or_default()
    }

    /// What the gateway logged so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("gateway.log")).unwrap_or_default()
    }

    /// The message that lies in the mailbox for this recipient.
    pub(super) fn stored(&self, recipient: &str) -> anyhow::Result<Option<String>> {
        let messages = self.sink.messages();
        let file = messages.iter().find(|m| m.recipients.iter().any(|r| r == recipient)).and_then(|m| m.file.as_ref());
        file.map(|file| std::fs::read_to_string(file).context("a stored message cannot be read")).transpose()
    }

    /// What the mail server was told about who sent the message for this recipient.
    pub(super) fn introduced(&self, recipient: &str) -> Option<String> {
        let messages = self.sink.messages();
        messages.iter().find(|m| m.recipients.iter().any(|r| r == recipient)).map(|m| m.client.clone())
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let answers = async {
            loop {
                if let Some(status) = self.gateway.try_wait()? {
                    bail!("the gateway ended at once ({status}):\n{}", self.log());
                }
                if TcpStream::connect(self.mx).await.is_ok() {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        };
        match timeout(START, answers).await {
            Ok(answered) => answered,
            Err(_) => bail!("the gateway does not answer:\n{}", self.log()),
        }
    }
}

/// A high port of this machine, a familiar one if it is free.
fn free(familiar: u16) -> anyhow::Result<SocketAddr> {
    let bind = |port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    Ok(bind(familiar).or_else(|_| bind(0))?.local_addr()?)
}

fn write_files(folder: &Path, configuration: &str) -> anyhow::Result<()> {
    let identity = self_signed(&["mx.example.test", "127.0.0.1"])?;
    let mut passwords = String::new();
    for (account, password) in ACCOUNTS {
        let hash = accounts::make(accounts::Scheme::Argon2id, password.as_bytes())?;
        passwords.push_str(&format!("{account}:{}\n", hash.reveal()));
    }
    let files = [
        ("certificate.pem", identity.certificate_pem.as_str()),
        ("key.pem", identity.key_pem.as_str()),
        ("passwd", &passwords),
        ("wasmilter.toml", configuration),
        ("message.txt", "Subject: sent with curl\r\n\r\nThis is the text.\r\n"),
    ];
    for (name, text) in files {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(folder.join(name))?;
        file.write_all(text.as_bytes()).with_context(|| format!("{name} cannot be written"))?;
    }
    Ok(())
}

fn start(folder: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::create(folder.join("gateway.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--config"]).arg(folder.join("wasmilter.toml"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().context("the gateway cannot be started")
}

fn configuration(filters: &Path, listeners: [SocketAddr; 4], sink: SocketAddr) -> String {
    let [mx, submission, submissions, admin] = listeners;
    let mut text = format!(
        r#"# The demonstration's gateway. Change it while it runs; SIGHUP brings the change in.
hostname = "mx.example.test"

[[listener]]
name = "mx"
address = "{mx}"

[[listener]]
name = "submission"
address = "{submission}"
auth = "required"

[[listener]]
name = "submissions"
address = "{submissions}"
tls = "implicit"
auth = "required"

[tls]
certificate = "certificate.pem"
key = "key.pem"

[auth]
password-file = "passwd"

[upstream]
address = "{sink}"

[relay]
domains = ["example.test"]

[rates]
messages-per-identity = "{BURST_MAX}/1min"

[timeouts]
resolve = "1s"

[admin]
address = "{admin}"

[shutdown]
drain = "1s"
"#
    );
    for (name, lines) in FILTERS {
        let file = filters.join(name).with_extension("wasm");
        text.push_str(&format!(
            "\n[[filter]]\nname = \"{}\"\npath = \"{}\"\n{lines}\n",
            name.replace('_', "-"),
            file.display()
        ));
    }
    text
}
