//! A real Dovecot tells the gateway who has logged in there: the script of examples/dovecot, from IMAP to SMTP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::dovecot;
use crate::process::{Daemon, folder};

/// Where people are; Dovecot and the gateway are at 127.0.0.1.
const AT_HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// The first line that is wanted.
    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection ended");
            if wanted(&line) {
                return line;
            }
        }
    }

    fn smtp(&mut self, line: &str) -> String {
        self.send(line);
        self.until(|line| line.as_bytes().get(3) == Some(&b' '))
    }

    /// The answer to a recipient that is not ours.
    fn relays(from: IpAddr, gateway: SocketAddr) -> String {
        let mut client = Client::connect(from, gateway).unwrap();
        client.until(|line| line.starts_with("220 "));
        client.smtp("EHLO scanner");
        client.smtp("MAIL FROM:<scanner@inside.test>");
        client.smtp("RCPT TO:<somebody@outside.test>")
    }

    fn log_in(from: IpAddr, imap: SocketAddr, password: &str) -> String {
        let mut client = Client::connect(from, imap).unwrap();
        client.until(|line| line.starts_with("* OK"));
        client.send(&format!("a LOGIN anna@inside.test \"{password}\""));
        let said = client.until(|line| line.starts_with("a "));
        if said.starts_with("a OK") {
            client.send("b LOGOUT");
            client.until(|line| line.starts_with("b "));
        }
        said
    }
}

fn imap(folder: &Path, port: u16) -> String {
    let base = dovecot::settings(folder, dovecot::PASSWORDS_ONLY).replace("protocols =\n", "protocols = imap\n");
    let base = base.replace("disable_plaintext_auth = yes", "disable_plaintext_auth = no");
    let folder = folder.display();
    format!(
        "{base}
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service imap {{
  executable = imap wasmilter-seen
}}
service wasmilter-seen {{
  executable = script-login {folder}/wasmilter-seen.sh
  user = $default_internal_user
  unix_listener wasmilter-seen {{
  }}
}}
"
    )
}

/// Its socket is for Dovecot's own group, as examples/dovecot has it.
fn gateway(folder: &Path, smtp: SocketAddr, upstream: SocketAddr) -> Daemon {
    let text = format!(
        "hostname = \"mx.inside.test\"\n[upstream]\naddress = \"{upstream}\"\nidentify = \"none\"\nconnect = \"lazy\"\n\
         [relay]\ndomains = [\"inside.test\"]\n[resolver]\npeer-names = false\n[admin]\nsocket = \"admin.sock\"\n\
         socket-group = \"dovecot\"\n\
         [[listener]]\nname = \"devices\"\naddress = \"{smtp}\"\nafter-login = true\n"
    );
    let path = folder.join("wasmilter.toml");
    std::fs::write(&path, text).unwrap();
    let program = env!("CARGO_BIN_EXE_wasmilter");
    Daemon::start(&[program, "serve", "--config", path.to_str().unwrap()], &folder.join("gateway.log"))
}

#[test]
fn who_has_logged_in_to_fetch_mail_may_send_it() {
    let folder = folder("imap");
    let path = folder.path();
    let (smtp, port, upstream) = (free(), free(), free());
    let (program, address) = (env!("CARGO_BIN_EXE_wasmilter"), upstream.to_string());
    let mut sink = Daemon::start(&[program, "sink", "--listen", &address], &path.join("sink.log"));
    sink.wait_until(|| TcpStream::connect(upstream).is_ok());
    let mut gateway = gateway(path, smtp, upstream);
    gateway.wait_until(|| TcpStream::connect(smtp).is_ok());

    std::fs::write(path.join("users"), dovecot::users()).unwrap();
    std::fs::write(path.join("deny"), "").unwrap();
    std::fs::write(path.join("dovecot.conf"), imap(path, port.port())).unwrap();
    // Dovecot's own user has to reach them.
    std::fs::copy(env!("CARGO_BIN_EXE_wasmilter"), path.join("wasmilter")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dovecot/wasmilter-seen.sh");
    let copy = path.join("wasmilter-seen.sh");
    std::fs::copy(&script, &copy).unwrap();
    let program = path.join("wasmilter").display().to_string();
    let text = std::fs::read_to_string(&script).unwrap();
    let socket = path.join("admin.sock");
    let text = text.replace("/usr/bin/wasmilter", &program);
    let text = text.replace("/run/wasmilter/admin.sock", &socket.display().to_string());
    std::fs::write(&copy, text).unwrap();
    std::fs::create_dir(path.join("mail")).unwrap();
    std::fs::set_permissions(path.join("mail"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut dovecot = dovecot::start(path);
    dovecot.wait_until(|| TcpStream::connect(port).is_ok());

    // Dovecot's group may say who has logged in; another user of the machine may not.
    let group = std::fs::metadata(&socket).unwrap().gid();
    for (gid, status) in [(NOBODY, 69), (group, 0)] {
        let mut command = Command::new(&program);
        command.args(["seen", "192.0.2.1", "--admin"]).arg(&socket).uid(NOBODY).gid(gid);
        let run = command.output().unwrap();
        assert_eq!(run.status.code(), Some(status), "{}", String::from_utf8_lossy(&run.stderr));
    }

    assert!(Client::relays(AT_HOME, smtp).starts_with("550 5.7.1 "));
    assert!(Client::log_in(AT_HOME, port, "wrong horse").starts_with("a NO"));
    assert!(Client::relays(AT_HOME, smtp).starts_with("550 5.7.1 "));
    assert!(Client::log_in(AT_HOME, port, "correct horse").starts_with("a OK"));
    assert!(Client::relays(AT_HOME, smtp).starts_with("250 "));
    assert!(Client::relays(ELSEWHERE, smtp).starts_with("550 5.7.1 "));
    // A webmail at Dovecot's own address is nobody's device.
    assert!(Client::log_in(port.ip(), port, "correct horse").starts_with("a OK"));
    assert!(Client::relays(port.ip(), smtp).starts_with("550 5.7.1 "));
}
