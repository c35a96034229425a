//! A real Dovecot with nothing but its auth service.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use wasmilter::accounts::Verification;

use crate::asking::{Asked, good};
use crate::process::{Daemon, folder, run};

pub(crate) const PASSWORDS_ONLY: &str = "plain login";

pub(crate) struct Dovecot {
    folder: tempfile::TempDir,
    pub(crate) daemon: Daemon,
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.folder.path().join("dovecot.log")).unwrap_or_default());
        }
    }
}

impl Dovecot {
    pub(crate) fn start() -> Dovecot {
        Dovecot::start_with(PASSWORDS_ONLY)
    }

    /// The same with these mechanisms.
    pub(crate) fn start_with(mechanisms: &str) -> Dovecot {
        Dovecot::start_more(mechanisms, "")
    }

    /// And with more settings.
    pub(crate) fn start_more(mechanisms: &str, more: &str) -> Dovecot {
        let folder = folder("dovecot");
        let (path, configuration) = (folder.path(), folder.path().join("dovecot.conf"));
        std::fs::write(path.join("users"), users()).unwrap();
        std::fs::write(path.join("deny"), "barred@inside.test\n").unwrap();
        std::fs::write(&configuration, settings(path, mechanisms) + more).unwrap();
        let mut dovecot = Dovecot { daemon: start(path), folder };
        dovecot.wait();
        dovecot
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("run/auth-wasmilter")
    }

    /// When it is started the next time.
    pub(crate) fn set_mechanisms(&self, mechanisms: &str) {
        std::fs::write(self.folder.path().join("dovecot.conf"), settings(self.folder.path(), mechanisms)).unwrap();
    }

    pub(crate) fn again(&mut self) {
        self.daemon = start(self.folder.path());
        self.wait();
    }

    fn wait(&mut self) {
        let socket = self.socket();
        self.daemon.wait_until(|| UnixStream::connect(&socket).is_ok());
    }
}

pub(crate) fn start(folder: &Path) -> Daemon {
    let configuration = folder.join("dovecot.conf");
    Daemon::start(&["/usr/sbin/dovecot", "-F", "-c", configuration.to_str().unwrap()], &folder.join("log"))
}

/// One is somebody else by another name, one may not log in although the password is right; of two the password itself
/// is there, which is what most mechanisms need.
pub(crate) fn users() -> String {
    let hash = run("openssl", &["passwd", "-6", "correct horse"], "");
    let hash = hash.trim();
    format!(
        "anna@inside.test:{{SHA512-CRYPT}}{hash}\n\
         closed@inside.test:{{SHA512-CRYPT}}{hash}::::::nologin=y reason=closed\n\
         alias@inside.test:{{SHA512-CRYPT}}{hash}::::::user=anna@inside.test\n\
         barred@inside.test:{{SHA512-CRYPT}}{hash}\n\
         tim@inside.test:{{PLAIN}}tanstaaf\n\
         ghost@inside.test:{{PLAIN}}tanstaaf::::::nologin=y reason=closed\n"
    )
}

pub(crate) fn settings(folder: &Path, mechanisms: &str) -> String {
    let folder = folder.display();
    // A program that only says yes or no about passwords: asked for a secret it is a temporary failure.
    let yes_or_no = "passdb {\n  driver = checkpassword\n  args = /bin/false\n}\n";
    let more = if mechanisms == PASSWORDS_ONLY { yes_or_no } else { "" };
    format!(
        "base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols =
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = yes
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
default_internal_user = dovecot
default_login_user = nobody
service anvil {{
  chroot =
  # Or several wrong passwords from one address make all of its logins wait.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = passwd-file
  args = {folder}/deny
  deny = yes
}}
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
{more}userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
service auth {{
  unix_listener auth-wasmilter {{
    mode = 0666
  }}
}}
"
    )
}

fn asked(dovecot: &Dovecot) -> Asked {
    Asked::of(&format!("kind = \"dovecot\"\nsocket = \"{}\"", dovecot.socket().display()))
}

#[test]
fn dovecot_decides() {
    let dovecot = Dovecot::start();
    let accounts = asked(&dovecot);
    for (name, password, verdict) in [
        ("anna@inside.test", "correct horse", good("anna@inside.test")),
        ("anna@inside.test", "wrong horse", Verification::Bad),
        ("alias@inside.test", "correct horse", good("anna@inside.test")),
        ("nobody@inside.test", "correct horse", Verification::Bad),
        ("closed@inside.test", "correct horse", Verification::Bad),
        ("barred@inside.test", "correct horse", Verification::Bad),
        ("anna@inside.test\tnologin", "correct horse", Verification::Bad),
    ] {
        assert_eq!(accounts.verify(name, password), verdict, "{name} {password}");
    }
}

#[test]
fn dovecot_away_is_no_verdict_and_comes_back_by_itself() {
    let mut dovecot = Dovecot::start();
    let accounts = asked(&dovecot);
    assert_eq!(accounts.verify("anna@inside.test", "correct horse"), good("anna@inside.test"));
    dovecot.daemon.stop();
    // Its auth process may outlive it for a moment, and answers until then.
    while accounts.verify("anna@inside.test", "correct horse") != Verification::Unavailable {}
    assert_eq!(accounts.verify("anna@inside.test", "wrong horse"), Verification::Unavailable);
    dovecot.again();
    assert_eq!(accounts.verify("anna@inside.test", "correct horse"), good("anna@inside.test"));
    assert_eq!(accounts.verify("anna@inside.test", "wrong horse"), Verification::Bad);
}
