//! `[admin] socket`: orders from those whom its permissions let in.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::after_login::elsewhere;
use crate::gateway::{Client, Gateway, configuration};
use crate::upstream::Upstream;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wasmilter");
const DEVICES: &str = "after-login = true\n";

fn with(upstream: &Upstream, admin: &str) -> String {
    configuration(upstream.address, "example.org", DEVICES).replace("[admin]\n", &format!("[admin]\n{admin}\n"))
}

/// A gateway with this in its `[admin]`, in a shell that would let everybody do everything.
fn start(upstream: &Upstream, admin: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.toml"), with(upstream, admin)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\"", PROGRAM]);
    Gateway::start_in(Arc::new(folder), shell)
}

fn socket(gateway: &Gateway) -> PathBuf {
    gateway.folder.path().join("admin.sock")
}

/// The status of this command at that door, and what it said.
fn order(words: &[&str], door: &str) -> (Option<i32>, String) {
    let run = Command::new(PROGRAM).args(words).args(["--admin", door]).output().unwrap();
    (run.status.code(), String::from_utf8([run.stdout, run.stderr].concat()).unwrap())
}

/// A gateway that cannot start because of what is at this path.
fn refused(upstream: &Upstream, socket: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    std::fs::write(&path, with(upstream, &format!("socket = '{}'", socket.display()))).unwrap();
    let run = Command::new(PROGRAM).args(["serve", "--config"]).arg(&path).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    String::from_utf8(run.stderr).unwrap()
}

#[test]
fn who_may_connect_there_may_say_who_has_logged_in_and_nobody_else() {
    let upstream = Upstream::start();
    let mut gateway = start(&upstream, "socket = \"admin.sock\"");
    let path = socket(&gateway);
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o660);
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO scanner");

    let (status, said) = order(&["seen", "127.0.0.1"], &gateway.admin.to_string());
    assert!(status == Some(1) && said.contains("orders are taken at the socket"), "{said}");
    let (status, said) = order(&["filter", "reload", "f"], &gateway.admin.to_string());
    assert!(status == Some(1) && said.contains("orders are taken at the socket"), "{said}");
    assert!(gateway.get("/healthz").0.contains(" 200 "));
    assert!(elsewhere(&mut client).starts_with("550 5.7.1 "));

    let there = path.display().to_string();
    let (status, said) = order(&["filter", "reload", "f"], &there);
    assert!(status == Some(1) && said.contains("there is no filter \"f\""), "{said}");
    let (status, said) = order(&["seen", "127.0.0.1"], &format!("unix:{there}"));
    assert_eq!((status, said.as_str()), (Some(0), "127.0.0.1 may send for 30min at mx\n"));
    gateway.wait_for("somebody has logged in from there elsewhere address=127.0.0.1");
    assert!(elsewhere(&mut client).starts_with("250 "));

    let (status, said) = order(&["seen", "127.0.0.1"], "admin.sock");
    assert!(status == Some(64) && said.contains("no whole path of a socket"), "{said}");
    gateway.signal("TERM");
    drop(client);
    let folder = Arc::clone(&gateway.folder);
    let (ended, log) = gateway.wait();
    assert!(ended.success(), "{log}");
    assert!(!path.exists());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["w.toml"]);
    let (status, said) = order(&["seen", "127.0.0.1"], &there);
    assert!(status == Some(69) && said.contains(&there), "{said}");
}

#[test]
fn the_socket_of_a_dead_gateway_is_replaced_and_nothing_else_is() {
    let upstream = Upstream::start();
    let gateway = start(&upstream, "socket = \"admin.sock\"");
    let path = socket(&gateway);
    // A gateway that lives keeps it, and goes on.
    assert!(refused(&upstream, &path).contains("another gateway is listening there"));
    assert_eq!(order(&["seen", "192.0.2.1"], path.to_str().unwrap()).0, Some(0));

    let gateway = gateway.again("KILL");
    assert!(gateway.seen.iter().any(|line| line.contains("of a gateway that is gone is replaced")));
    assert_eq!(order(&["seen", "192.0.2.1"], path.to_str().unwrap()).0, Some(0));

    let precious = gateway.folder.path().join("precious");
    std::fs::write(&precious, "mail").unwrap();
    assert!(refused(&upstream, &precious).contains("something is there that is no socket"));
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mail");
    let said = refused(&upstream, &gateway.folder.path().join("nowhere/admin.sock"));
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[test]
fn a_reload_keeps_moves_and_closes_it() {
    let upstream = Upstream::start();
    let mut gateway = start(&upstream, "socket = \"admin.sock\"");
    let path = socket(&gateway);
    let reloaded = |gateway: &mut Gateway, text: String| {
        std::fs::write(gateway.configuration(), text).unwrap();
        gateway.signal("HUP");
        gateway.wait_for("reloaded");
    };
    let open = UnixStream::connect(&path).unwrap();
    reloaded(&mut gateway, with(&upstream, "socket = \"admin.sock\""));
    assert_eq!(order(&["seen", "192.0.2.1"], path.to_str().unwrap()).0, Some(0));
    drop(open);

    let moved = gateway.folder.path().join("moved.sock");
    let text = with(&upstream, "socket = \"moved.sock\"\nsocket-mode = \"0600\"");
    reloaded(&mut gateway, text.replace("address = \"127.0.0.1:0\"\n[[listener]]", "[[listener]]"));
    assert!(!path.exists());
    assert_eq!(std::fs::metadata(&moved).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(order(&["seen", "192.0.2.1"], moved.to_str().unwrap()).0, Some(0));
    assert_eq!(order(&["seen", "192.0.2.1"], &gateway.admin.to_string()).0, Some(69), "no address any more");

    // What cannot be had is refused, and changes nothing.
    std::fs::write(gateway.configuration(), with(&upstream, "socket = \"w.toml\"")).unwrap();
    gateway.signal("HUP");
    assert!(gateway.wait_for("reload refused").contains("no socket"));
    assert_eq!(order(&["seen", "192.0.2.1"], moved.to_str().unwrap()).0, Some(0));

    reloaded(&mut gateway, configuration(upstream.address, "example.org", DEVICES));
    assert!(!moved.exists());
}
