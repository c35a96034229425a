//! The gateway as an operator runs it: the real program, a configuration file, and sockets passed to it the way
//! systemd passes them, so that no port is chosen twice and clients may connect before it is ready.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The names of the listeners in the order in which their sockets are passed.
const LISTENERS: [&str; 3] = ["mx", "submission", "submissions"];

/// Moves the three sockets from where a child gets its standard streams to where socket activation expects them.
const ACTIVATE: &str = "exec 3<&0 4<&1 5<&2 </dev/null >>\"$1\" 2>&1; \
    LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=mx:submission:submissions exec \"$2\" serve --config \"$3\"";

pub(crate) const ACCOUNT: &str = "ann@inside.test";
pub(crate) const PASSWORD: &str = "correct horse";

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) mx: SocketAddr,
    /// STARTTLS, then AUTH.
    pub(crate) submission: SocketAddr,
    /// TLS from the first octet, then AUTH.
    pub(crate) submissions: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Gateway {
    /// Starts one in front of `upstream`. Clients from `trusted` may relay as far as the gateway is concerned.
    pub(crate) fn start(upstream: SocketAddr, trusted: &str) -> Gateway {
        Gateway::start_with(upstream, trusted, "", "")
    }

    /// The same with more keys of `[upstream]`, and more sections.
    pub(crate) fn start_with(upstream: SocketAddr, trusted: &str, upstream_keys: &str, sections: &str) -> Gateway {
        let folder = tempfile::Builder::new().prefix("wasmilter-gateway").tempdir().unwrap();
        let path = folder.path();
        make_certificate(path);
        let hash = openssl(&["passwd", "-6", PASSWORD]);
        write_secret(&path.join("passwords"), &format!("{ACCOUNT}:{}\n", hash.trim()));
        let configuration = path.join("wasmilter.toml");
        std::fs::write(&configuration, configuration_text(path, upstream, trusted, upstream_keys) + sections).unwrap();
        let sockets = LISTENERS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [mx, submission, submissions] = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
        let [stdin, stdout, stderr] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket)));
        // Ended by the kernel when this process is ended without a chance to do it.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", ACTIVATE, "sh"])
            .arg(path.join("log"))
            .arg(env!("CARGO_BIN_EXE_wasmilter"))
            .arg(&configuration)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Gateway { mx, submission, submissions, folder, process }
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Stops it with SIGTERM and waits; it has to end well.
    pub(crate) fn stop(mut self) {
        assert!(Command::new("kill").arg(self.process.id().to_string()).status().unwrap().success());
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the gateway ended with {status}:\n{}", self.log());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration_text(folder: &Path, upstream: SocketAddr, trusted: &str, upstream_keys: &str) -> String {
    let folder = folder.display();
    format!(
        r#"
hostname = "mx.inside.test"

[[listener]]
name = "mx"
address = "systemd"

[[listener]]
name = "submission"
address = "systemd"
auth = "required"

[[listener]]
name = "submissions"
address = "systemd"
tls = "implicit"
auth = "required"

[tls]
certificate = "{folder}/certificate.pem"
key = "{folder}/key.pem"

[auth]
password-file = "{folder}/passwords"

[upstream]
address = "{upstream}"
{upstream_keys}

[relay]
domains = ["inside.test"]
trusted-networks = ["{trusted}"]

[resolver]
# Nobody answers there: every client is one without a name, on every machine.
servers = ["127.0.0.1:9"]

[timeouts]
resolve = "100ms"

[spool]
directory = "{folder}"
"#
    )
}

fn make_certificate(folder: &Path) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let names = "subjectAltName=DNS:mx.inside.test,IP:127.0.0.1";
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
    let what = ["-subj", "/CN=mx.inside.test", "-addext", names, "-keyout", key, "-out", certificate];
    openssl(&[kind.as_slice(), what.as_slice()].concat());
}

fn write_secret(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?} ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
