//! A real redis-server on a port of this test's, ended by the kernel when the test is ended without a chance to do it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine. Reaching it is a failure, not a measurement.
pub(crate) const WAIT: Duration = Duration::from_secs(60);
/// Ports that somebody else took meanwhile.
const ATTEMPTS: usize = 20;

pub(crate) struct Redis {
    process: Option<Child>,
    pub(crate) port: u16,
    more: Vec<String>,
    folder: tempfile::TempDir,
    password: Option<String>,
    tls: bool,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        Redis::start_with(&[])
    }

    /// With more words on its command line.
    pub(crate) fn start_with(more: &[&str]) -> Redis {
        let folder = tempfile::tempdir().unwrap();
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        let password = more.iter().position(|word| word == "--requirepass").map(|at| more[at + 1].clone());
        let tls = more.iter().any(|word| word == "--tls-cert-file");
        let mut redis = Redis { process: None, port: 0, more, folder, password, tls };
        for _ in 0..ATTEMPTS {
            redis.port = free_port();
            if redis.run(&[], "PONG") {
                return redis;
            }
        }
        panic!("it does not start:\n{}", redis.log());
    }

    /// Again, on the same port.
    pub(crate) fn start_again(&mut self) {
        assert!(self.run(&[], "PONG"), "it does not start again:\n{}", self.log());
    }

    /// Again, with more words on its command line this time, until it says that it is still loading what it saved.
    pub(crate) fn start_loading(&mut self, more: &[&str]) {
        assert!(self.run(more, "LOADING"), "it does not start again:\n{}", self.log());
    }

    /// Until this is its answer to PING.
    fn run(&mut self, more: &[&str], answer: &str) -> bool {
        let port = self.port.to_string();
        let listening: &[&str] = if self.tls { &["--port", "0", "--tls-port", &port] } else { &["--port", &port] };
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(self.folder.path()).args(listening).args(["--logfile", "log"]).args(&self.more).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process =
            Some(command.spawn().expect("redis-server is missing: `cargo xtask test --only redis` installs it"));
        let began = Instant::now();
        while !self.answers(answer) {
            if self.process.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < WAIT, "it does not answer:\n{}", self.log());
            std::thread::yield_now();
        }
        true
    }

    fn answers(&self, answer: &str) -> bool {
        let mut cli = self.cli();
        cli.arg("PING");
        let said = cli.output().unwrap();
        String::from_utf8_lossy(&said.stdout).starts_with(answer)
    }

    fn cli(&self) -> Command {
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).stdin(Stdio::null());
        if let Some(password) = &self.password {
            cli.env("REDISCLI_AUTH", password);
        }
        if self.tls {
            cli.args(["--tls", "--insecure"]);
        }
        cli
    }

    /// What it answers to a command, line by line.
    pub(crate) fn say(&self, words: &[&str]) -> Vec<String> {
        let said = self.cli().args(words).output().unwrap();
        assert!(said.status.success(), "{words:?}: {said:?}");
        String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// STOP and CONT.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// For `[state] redis`.
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "rediss" } else { "redis" }, self.port)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody had a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.local_addr().unwrap().port()
}

/// Until it holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WAIT, "it never was so: {what}");
        std::thread::yield_now();
    }
}
