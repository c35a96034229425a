//! A real Exim, each of whose processes serves one connection: started as inetd would, so that no port is chosen and
//! nothing has to be stopped.
//!
//! Debian has one mail server at a time, so its package is not installed: `cargo xtask test` unpacks it beside the
//! build and names the program in `EXIM`.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::mta::{messages_in, own, run};

/// Who Debian's Exim is.
const USER: &str = "Debian-exim";

pub(crate) struct Exim {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Exim {
    pub(crate) fn start() -> Exim {
        let folder = tempfile::Builder::new().prefix("wasmilter-exim").tempdir().unwrap();
        let path = folder.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["spool", "log", "mail"] {
            std::fs::create_dir(path.join(name)).unwrap();
            own(&path.join(name), USER);
        }
        std::fs::write(path.join("conf"), configuration(path)).unwrap();
        std::fs::set_permissions(path.join("conf"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let conf = path.join("conf");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let copy = stream.try_clone().unwrap();
                let mut exim = exim(&conf, "-bs");
                exim.stdin(Stdio::from(OwnedFd::from(stream))).stdout(Stdio::from(OwnedFd::from(copy)));
                let mut child = exim.stderr(Stdio::null()).spawn().unwrap();
                std::thread::spawn(move || child.wait());
            }
        });
        Exim { address, folder }
    }

    /// Has everything delivered that was accepted so far, and says what there is.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        run(&mut exim(&self.folder.path().join("conf"), "-qf"));
        messages_in(&self.folder.path().join("mail"))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log/main")).unwrap_or_default()
    }
}

fn program() -> PathBuf {
    let program = std::env::var_os("EXIM").expect("EXIM names Exim's program: cargo xtask test --only postfix");
    PathBuf::from(program)
}

fn exim(configuration: &Path, mode: &str) -> Command {
    let mut command = Command::new(program());
    command.arg("-C").arg(configuration).arg(mode);
    command
}

/// Every message of every recipient goes into one Maildir, when it is told to deliver.
fn configuration(folder: &Path) -> String {
    let (folder, program) = (folder.display(), program());
    format!(
        "exim_path = {}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
primary_hostname = exim.inside.test
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
keep_environment =
never_users =
queue_only
deliver_drop_privilege
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  user = {USER}
",
        program.display()
    )
}
