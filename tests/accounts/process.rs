//! A daemon in the foreground, ended by the kernel when this process is ended without a chance to do it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine. Reaching it is a failure, not a measurement.
const WAIT: Duration = Duration::from_secs(60);

pub(crate) struct Daemon {
    child: Child,
    log: std::path::PathBuf,
}

impl Daemon {
    /// Its words go into `log`.
    pub(crate) fn start(program: &[&str], log: &Path) -> Daemon {
        let said = std::fs::File::create(log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).args(program);
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        // Dovecot ends all of its own group.
        command.process_group(0);
        Daemon { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    /// Until something can be had of it.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) {
        let began = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().unwrap();
            let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", said());
            assert!(began.elapsed() < WAIT, "it is not ready:\n{}", said());
            std::thread::yield_now();
        }
    }

    /// SIGTERM, to its children as well: some of Dovecot's outlive it.
    pub(crate) fn stop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = Command::new("kill").args(["--", &format!("-{}", self.child.id())]).status();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
        self.stop();
    }
}

/// A folder of a test that daemons under other users may enter.
pub(crate) fn folder(name: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix(&format!("wasmilter-{name}")).tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What a program prints; it has to end well.
pub(crate) fn run(program: &str, args: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|why| panic!("{program}: {why}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
