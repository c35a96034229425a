//! A real Postfix of our own: its own configuration, queue, log and mailboxes in a folder that goes away with it.
//!
//! The installed Postfix is not touched: not its configuration, not its queue, not its ports. It has to be root who
//! starts it, because Postfix's master refuses everybody else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::log::Log;

/// What the operator adds, as shipped; `10025` becomes the port of this test.
const SHIPPED_MASTER_CF: &str = include_str!("../../packaging/postfix/master.cf");

const MASTER_CF: &str = "
postlog   unix-dgram n - n - 1 postlogd
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
anvil     unix  - - n - 1 anvil
proxymap  unix  - - n - - proxymap
virtual   unix  - n n - - virtual
discard   unix  - - n - - discard
error     unix  - - n - - error
retry     unix  - - n - - error
";

/// A running Postfix.
pub(crate) struct Postfix {
    pub(crate) log: Log,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    master: Child,
}

impl Postfix {
    /// Starts one that has a Maildir for each of `mailboxes` and discards what is allowed to go elsewhere.
    pub(crate) fn start(mailboxes: &[&str]) -> Postfix {
        Postfix::start_with_processes(mailboxes, 0)
    }

    /// The same with at most so many processes that talk to the gateway; 0 is as many as Postfix likes.
    pub(crate) fn start_with_processes(mailboxes: &[&str], processes: u32) -> Postfix {
        let most = if processes == 0 { "-".to_owned() } else { processes.to_string() };
        Postfix::start_with(mailboxes, |listener| listener.replace("-       smtpd\n", &format!("{most}       smtpd\n")))
    }

    /// The same with the shipped listener changed.
    pub(crate) fn start_with(mailboxes: &[&str], change: impl FnOnce(String) -> String) -> Postfix {
        let folder = tempfile::Builder::new().prefix("wasmilter-postfix").tempdir().unwrap();
        let path = folder.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["conf", "queue", "data", "mail"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        own(&path.join("data"), "postfix");
        own(&path.join("mail"), "nobody");
        let address = free_address();
        let maps: Vec<String> =
            mailboxes.iter().map(|address| format!("{address} {}/\n", folder_of(address))).collect();
        std::fs::write(path.join("conf/mailboxes"), maps.concat()).unwrap();
        std::fs::write(path.join("conf/main.cf"), main_cf(path)).unwrap();
        let listener = SHIPPED_MASTER_CF.replace("127.0.0.1:10025", &address.to_string());
        assert_ne!(listener, SHIPPED_MASTER_CF, "the shipped master.cf names another port");
        std::fs::write(path.join("conf/master.cf"), change(listener) + MASTER_CF).unwrap();
        run(Command::new("postfix").arg("-c").arg(path.join("conf")).arg("check"));
        offer_sasl(&path.join("queue/private/auth"));
        let (master, log) = start_master(&path.join("conf"));
        let postfix = Postfix { log, address, folder, master };
        postfix.log.wait_for(&["daemon started"]);
        postfix
    }

    /// The one message in a mailbox, once Postfix says that it is there; Postfix's own lines end in LF.
    pub(crate) fn message_of(&self, mailbox: &str) -> Vec<u8> {
        self.log.wait_for(&[&format!("to=<{mailbox}>"), "status=sent (delivered to maildir)"]);
        let mut messages = self.messages_of(mailbox);
        assert_eq!(messages.len(), 1, "messages for {mailbox}");
        messages.remove(0)
    }

    /// How many processes of this name its master runs at this moment.
    pub(crate) fn processes(&self, name: &str) -> usize {
        let of_master = |status: &str| {
            let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            value("Name:") == Some(name) && value("PPid:") == Some(&self.master.id().to_string())
        };
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        processes
            .filter(|entry| std::fs::read_to_string(entry.path().join("status")).is_ok_and(|s| of_master(&s)))
            .count()
    }

    /// Waits until Postfix has said so often that it delivered something to this mailbox, and looks.
    pub(crate) fn wait_for_messages(&self, mailbox: &str, count: usize) {
        self.log.wait_for_count(&[&format!("to=<{mailbox}>"), "status=sent (delivered to maildir)"], count);
        assert_eq!(self.messages_of(mailbox).len(), count, "messages for {mailbox}");
    }

    /// All messages in a mailbox at this moment.
    pub(crate) fn messages_of(&self, mailbox: &str) -> Vec<Vec<u8>> {
        messages_in(&self.folder.path().join("mail").join(folder_of(mailbox)))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // SIGTERM: master takes its children along.
        let _ = Command::new("kill").arg(self.master.id().to_string()).status();
        let _ = self.master.wait();
    }
}

fn main_cf(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = /dev/stdout
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mta.inside.test
mydestination =
local_transport = error:there is no local mail here
alias_maps =
alias_database =
# The gateway's address is not in it.
mynetworks = 192.0.2.1/32
message_size_limit = 30000000
# Clients that make mistakes on purpose need not wait.
smtpd_error_sleep_time = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = inside.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/conf/mailboxes
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
default_transport = discard:
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
"
    )
}

/// An address of ours that nobody listens on. Postfix binds by itself, so that there is a moment in which somebody
/// else could take it; the test would then say so and fail.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What is in a Maildir.
pub(crate) fn messages_in(maildir: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(maildir.join("new")) else { return Vec::new() };
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn folder_of(mailbox: &str) -> String {
    mailbox.split('@').next().unwrap_or(mailbox).to_owned()
}

/// Postfix's smtpd counts a login only where SASL is on, and SASL is on only where an authentication service says
/// which mechanisms it has. This one says it and is never asked more: logins are the gateway's business.
fn offer_sasl(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let _ = stream.write_all(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t1\nDONE\n");
                // Held open until smtpd goes.
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
}

/// Postfix's master in the foreground, ended by the kernel when this process is ended without a chance to do it.
fn start_master(configuration: &Path) -> (Child, Log) {
    let daemons = output(Command::new("postconf").arg("-c").arg(configuration).args(["-h", "daemon_directory"]));
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(Path::new(daemons.trim()).join("master"));
    command.arg("-c").arg(configuration).arg("-s");
    let mut master = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let log = Log::of(master.stdout.take().unwrap());
    (master, log)
}

pub(crate) fn own(path: &Path, user: &str) {
    run(Command::new("chown").arg(user).arg(path));
}

pub(crate) fn run(command: &mut Command) {
    output(command);
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
