//! The processes of a measurement, each ended and forgotten when its value goes.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::shell::{Outcome, output, root};
use crate::tools;

/// The time a process gets until it answers at its port.
const START: Duration = Duration::from_secs(60);
/// Between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// Runs the words after it with as many descriptors as the machine grants anybody.
const WITH_ALL_DESCRIPTORS: &str = "ulimit -n \"$(ulimit -Hn)\" && exec \"$@\"";

/// A folder that is removed at the end.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Outcome<Scratch> {
        let path = std::env::temp_dir().join(format!("wasmilter-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A child that ends with its value.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Outcome<Running> {
        let started = command.spawn().map_err(|why| format!("cannot start {command:?}: {why}"));
        started.map(Running)
    }

    /// Waits until something accepts connections at the port.
    fn answers_at(mut self, port: u16) -> Outcome<Running> {
        let until = Instant::now() + START;
        loop {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(self);
            }
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(format!("the process ended before it listened at port {port}: {status}"));
            }
            if Instant::now() > until {
                return Err(format!("nobody listens at port {port}"));
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The upstream of everybody: takes all mail and forgets it.
pub(crate) struct Sink {
    pub(crate) port: u16,
    _process: Running,
}

impl Sink {
    pub(crate) fn start(scratch: &Scratch) -> Outcome<Sink> {
        let port = free_port()?;
        let program = tools::find("smtp-sink").ok_or("smtp-sink is missing (Debian: postfix)")?;
        let mut command = Command::new(program);
        command.current_dir(&scratch.path).stdin(Stdio::null()).stdout(Stdio::null());
        // As root it wants to be told whom to become. The XCLIENT that it would offer has no ADDR.
        command.args(["-C", "-F", "-u", "nobody", "-m", "10000", "-t", "3000", "-h", "sink.test"]);
        command.args([&format!("127.0.0.1:{port}"), "1024"]);
        let process = Running::start(&mut command)?.answers_at(port)?;
        Ok(Sink { port, _process: process })
    }

    /// The project's own, which takes XCLIENT as often as it is said.
    pub(crate) fn told(program: &Path) -> Outcome<Sink> {
        let port = free_port()?;
        let mut command = with_all_descriptors(program);
        command.args(["sink", "--xclient-again", "--listen", &format!("127.0.0.1:{port}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Running::start(&mut command)?.answers_at(port)?;
        Ok(Sink { port, _process: process })
    }
}

/// A certificate and its key, made for the measurement.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn make(scratch: &Scratch) -> Outcome<Certificate> {
        let made = Certificate { certificate: scratch.path.join("cert.pem"), key: scratch.path.join("key.pem") };
        let mut command = Command::new(tools::find("openssl").ok_or("openssl is missing")?);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-subj", "/CN=mx.inside.test", "-addext", "subjectAltName=DNS:mx.inside.test"]);
        command.arg("-keyout").arg(&made.key).arg("-out").arg(&made.certificate);
        output(command)?;
        Ok(made)
    }
}

/// HAProxy between the client and the sink: octets in, octets out, TLS if it is given a certificate.
pub(crate) struct Haproxy {
    pub(crate) port: u16,
    process: Running,
}

impl Haproxy {
    pub(crate) fn start(
        program: &Path,
        scratch: &Scratch,
        sink: u16,
        certificate: Option<&Certificate>,
    ) -> Outcome<Haproxy> {
        let port = free_port()?;
        let cannot = |why: std::io::Error| format!("HAProxy's files: {why}");
        let mut bind = String::new();
        if let Some(Certificate { certificate, key }) = certificate {
            let both = scratch.path.join("both.pem");
            let mut pem = std::fs::read(certificate).map_err(cannot)?;
            pem.extend(std::fs::read(key).map_err(cannot)?);
            std::fs::write(&both, pem).map_err(cannot)?;
            bind = format!(" ssl crt {} ssl-min-ver TLSv1.3", both.display());
        }
        let file = scratch.path.join(format!("haproxy-{port}.cfg"));
        let text = format!(
            "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 600s\n  \
             timeout server 600s\nlisten l\n  bind 127.0.0.1:{port} backlog 4096{bind}\n  \
             server s 127.0.0.1:{sink}\n"
        );
        std::fs::write(&file, text).map_err(cannot)?;
        let mut command = with_all_descriptors(program);
        command.args(["-db", "-q", "-f"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Running::start(&mut command)?.answers_at(port)?;
        Ok(Haproxy { port, process })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.0.id()
    }
}

/// What is special about a gateway.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) sink: u16,
    pub(crate) certificate: &'a Certificate,
    /// Tells the sink who the client is.
    pub(crate) xclient: bool,
    pub(crate) filters: Filters,
}

/// What runs in a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    None,
    /// Three of the filters that come along.
    Standard,
    /// So many of one of the guests of the tests: `mute` sees every stage of a message and has no opinion, `idle` sees
    /// HELO alone.
    Guests(&'static str, usize),
    /// So many that are first asked when a message is there.
    AtMessage(usize),
}

pub(crate) struct Gateway {
    pub(crate) port: u16,
    process: Running,
}

impl Gateway {
    pub(crate) fn start(program: &Path, scratch: &Scratch, setup: &Setup<'_>) -> Outcome<Gateway> {
        let port = free_port()?;
        Gateway::of(program, scratch, port, &configuration(scratch, port, setup))
    }

    /// With this configuration, in which it listens at this port.
    pub(crate) fn of(program: &Path, scratch: &Scratch, port: u16, text: &str) -> Outcome<Gateway> {
        let file = scratch.path.join(format!("{port}.toml"));
        std::fs::write(&file, text).map_err(|why| format!("{}: {why}", file.display()))?;
        let log = std::fs::File::create(scratch.path.join(format!("{port}.log"))).map_err(|why| why.to_string())?;
        let said = log.try_clone().map_err(|why| why.to_string())?;
        let mut command = with_all_descriptors(program);
        command.args(["serve", "--config"]).arg(&file);
        command.stdin(Stdio::null()).stdout(log).stderr(said);
        let process = Running::start(&mut command)?.answers_at(port).map_err(|why| {
            let log = std::fs::read_to_string(scratch.path.join(format!("{port}.log"))).unwrap_or_default();
            format!("the gateway does not start: {why}\n{log}")
        })?;
        Ok(Gateway { port, process })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.0.id()
    }
}

/// Name, grants and settings of the filters, in the order in which they are added: one that edits headers, one that
/// looks into tables at three stages, one that reads the whole message.
const FILTERS: [(&str, &str, &str); 3] = [
    ("add-header", "edit = { headers = [\"X-Wasmilter\"] }", ""),
    (
        "blocklist",
        "tables = [\"networks\", \"names\", \"senders\"]",
        "networks = [\"networks\"], helo = [\"names\"], senders = [\"senders\"]",
    ),
    ("attachment-guard", "mime = true", ""),
];

const TABLES: &str = r#"
[table.networks]
kind = "cidr"
entries = ["192.0.2.0/24"]

[table.names]
kind = "domain"
entries = ["blocked.test"]

[table.senders]
kind = "exact"
entries = ["nobody@blocked.test"]
"#;

/// Nothing is switched off but the limits that would stop a load from one address; the log is written in full.
fn configuration(scratch: &Scratch, port: u16, setup: &Setup<'_>) -> String {
    let Setup { sink, certificate: Certificate { certificate, key }, xclient, filters } = *setup;
    let identify = if xclient { "xclient" } else { "none" };
    let built = root().join("filters/target/wasm32-unknown-unknown/release");
    let mut text = format!(
        r#"
hostname = "mx.inside.test"

[[listener]]
name = "mx"
address = "127.0.0.1:{port}"
tls = "starttls"

[tls]
certificate = "{}"
key = "{}"

[upstream]
address = "127.0.0.1:{sink}"
identify = "{identify}"
connect = "lazy"
idle-connections = 64

[relay]
domains = ["inside.test"]

[rates]
connections-at-once = 20000

[[network]]
networks = ["127.0.0.1/32"]
rates = false
limits = {{ messages = "off" }}

[resolver]
servers = ["127.0.0.1:9"]

[timeouts]
resolve = "100ms"

[spool]
directory = "{}"
"#,
        certificate.display(),
        key.display(),
        scratch.path.display()
    );
    let mut filter = |name: &str, file: &Path, more: &str| {
        text.push_str(&format!("\n[[filter]]\nname = \"{name}\"\npath = \"{}\"\n{more}\n", file.display()));
    };
    match filters {
        Filters::None => {}
        Filters::Standard => {
            for (name, grants, settings) in FILTERS {
                let file = built.join(format!("{}.wasm", name.replace('-', "_")));
                filter(name, &file, &format!("grants = {{ {grants} }}\nsettings = {{ {settings} }}"));
            }
            text.push_str(TABLES);
        }
        Filters::Guests(name, number) => {
            let file = tools::guests_folder().join(format!("{name}.wasm"));
            (0..number).for_each(|place| filter(&format!("{name}-{place}"), &file, ""));
        }
        Filters::AtMessage(number) => {
            let file = built.join("no_exe.wasm");
            (0..number).for_each(|place| filter(&format!("no-exe-{place}"), &file, "grants = { mime = true }"));
        }
    }
    text
}

/// A program that may hold thousands of connections.
pub(crate) fn with_all_descriptors(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WITH_ALL_DESCRIPTORS, "sh"]).arg(program);
    command
}

pub(crate) fn free_port() -> Outcome<u16> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    address.map(|address| address.port()).map_err(|why| format!("no port is free: {why}"))
}
