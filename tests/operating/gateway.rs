//! The real program as an operator runs it, its log read line by line: whoever waits, waits for what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Gateway {
    process: Child,
    log: BufReader<ChildStderr>,
    /// Everything read of the log so far.
    pub(crate) seen: Vec<String>,
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) mx: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Starts one on ports the system chooses; `more` is added to its configuration.
    pub(crate) fn start(upstream: SocketAddr, more: &str) -> Gateway {
        Gateway::start_by(Command::new(env!("CARGO_BIN_EXE_wasmilter")), upstream, more)
    }

    /// The same where a process may have so many files open.
    pub(crate) fn start_with_files(files_max: u32, upstream: SocketAddr, more: &str) -> Gateway {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files_max}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_wasmilter")]);
        Gateway::start_by(shell, upstream, more)
    }

    /// The same where no file may have more than so many blocks of 512 octets: a write beyond it fails.
    pub(crate) fn start_with_file_size(blocks_max: u32, upstream: SocketAddr, more: &str) -> Gateway {
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks_max}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_wasmilter")]);
        Gateway::start_by(shell, upstream, more)
    }

    /// One with this in its `[relay]`, too.
    pub(crate) fn start_with(upstream: SocketAddr, relay: &str, more: &str) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let text = configuration(upstream, "example.org", more).replace("[admin]", &format!("{relay}[admin]"));
        std::fs::write(folder.path().join("w.toml"), text).unwrap();
        Gateway::start_in(Arc::new(folder), Command::new(env!("CARGO_BIN_EXE_wasmilter")))
    }

    pub(crate) fn start_by(program: Command, upstream: SocketAddr, more: &str) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.toml"), configuration(upstream, "example.org", more)).unwrap();
        Gateway::start_in(Arc::new(folder), program)
    }

    /// Ends by this signal, and begins again with what is in its folder.
    pub(crate) fn again(self, signal: &str) -> Gateway {
        let folder = Arc::clone(&self.folder);
        self.signal(signal);
        self.wait();
        Gateway::start_in(folder, Command::new(env!("CARGO_BIN_EXE_wasmilter")))
    }

    pub(crate) fn start_in(folder: Arc<tempfile::TempDir>, mut program: Command) -> Gateway {
        let mut process = program
            .args(["serve", "--config"])
            .arg(folder.path().join("w.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Gateway { process, log, seen: Vec::new(), folder, mx: nowhere, admin: nowhere };
        gateway.admin = address(&gateway.wait_for("metrics and health"));
        gateway.mx = address(&gateway.wait_for("listening"));
        gateway.wait_for("serving");
        gateway
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.path().join("w.toml")
    }

    /// Reads the log up to the next line with these words in it.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "the log ended before {words:?}:\n{}", self.seen.join(""));
            self.seen.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap(), self.seen.concat() + &rest)
    }

    /// The status line and body of a GET on the admin address.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut http = TcpStream::connect(self.admin).unwrap();
        http.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(http, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in a log line, text or JSON.
fn address(line: &str) -> SocketAddr {
    let rest = line.split_once("address").unwrap_or_else(|| panic!("no address in {line}")).1;
    rest.split(|c: char| c.is_whitespace() || "\"=,}".contains(c)).find_map(|word| word.parse().ok()).unwrap()
}

pub(crate) fn configuration(upstream: SocketAddr, domain: &str, more: &str) -> String {
    format!(
        "hostname = \"mx.example.org\"\n[upstream]\naddress = \"{upstream}\"\nidentify = \"none\"\n\
         [relay]\ndomains = [\"{domain}\"]\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n{more}\n"
    )
}

/// A client that says a line and reads a reply.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client(BufReader::new(stream));
        assert!(client.reply().starts_with("220 "));
        client
    }

    pub(crate) fn say(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// The last line of a reply; empty at the end of the connection.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 || line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    /// MAIL, RCPT and a short message up to its dot.
    pub(crate) fn hand_in(&mut self, recipient: &str) {
        assert!(self.say("EHLO client.test").starts_with("250 "));
        assert!(self.say("MAIL FROM:<a@client.test>").starts_with("250 "));
        assert!(self.say(&format!("RCPT TO:<{recipient}>")).starts_with("250 "));
        assert!(self.say("DATA").starts_with("354 "));
        self.send("Subject: x\r\n\r\nbody\r\n.");
    }
}
