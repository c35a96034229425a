//! One filter read again while its sessions go on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::components;
use crate::gateway::{Client, Gateway};
use crate::upstream::Upstream;

/// A gateway whose one filter is a copy of `component`, and the place of the copy.
fn filtered(upstream: &Upstream, component: &Path) -> (Gateway, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.wasm");
    std::fs::copy(component, &path).unwrap();
    let more =
        format!("[[filter]]\nname = \"f\"\npath = '{}'\ngrants = {{ kv = true, tables = [] }}\n", path.display());
    (Gateway::start(upstream.address, &more), path, folder)
}

fn greeted(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway.mx);
    client.say("EHLO client.test");
    assert!(client.say("MAIL FROM:<a@client.test>").starts_with("250 "));
    client
}

/// `wasmilter filter reload f`: its status, and what it said.
fn reload(gateway: &Gateway, name: &str) -> (Option<i32>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_wasmilter"))
        .args(["filter", "reload", name, "--admin", &gateway.admin.to_string()])
        .output()
        .unwrap();
    let said = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn sessions_keep_their_filter_while_it_is_exchanged() {
    let built = components::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filters"));
    let upstream = Upstream::start();
    let (mut gateway, path, _folder) = filtered(&upstream, &built.join("greylist.wasm"));
    let mut before = greeted(&gateway);
    assert!(before.say("RCPT TO:<b@example.org>").starts_with("451 4.7.1 Greylisted"));

    std::fs::copy(built.join("endless.wasm"), &path).unwrap();
    let (status, said) = reload(&gateway, "f");
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("f: 0.1.0 -> 1.0.0\nsha256:"), "{said}");
    gateway.wait_for("a filter was reloaded");
    // A session held open has the old one, a new one the new.
    assert!(before.say("RCPT TO:<c@example.org>").starts_with("451 4.7.1 Greylisted"));
    let mut after = greeted(&gateway);
    assert!(after.say("RCPT TO:<b@example.org>").starts_with("250 "));

    // A bad file changes nothing, and says why: to who asked, and in the log.
    for (octets, words) in [(&b"garbage"[..], "is no Wasm component"), (b"", "is empty")] {
        std::fs::write(&path, octets).unwrap();
        let (status, said) = reload(&gateway, "f");
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(words) && said.contains("goes on"), "{said}");
        assert!(gateway.wait_for("reload of a filter refused").contains(words));
        assert!(greeted(&gateway).say("RCPT TO:<d@example.org>").starts_with("250 "));
    }
    let (status, said) = reload(&gateway, "other");
    assert!(status == Some(1) && said.contains("there is no filter \"other\""), "{said}");

    let list: serde_json::Value = serde_json::from_str(&gateway.get("/filters").1).unwrap();
    let shown = &list[0];
    assert_eq!((&shown["name"], &shown["version"], &shown["phase"]), (&"f".into(), &"1.0.0".into(), &"decide".into()));
    assert_eq!(shown["stages"], serde_json::json!(["rcpt"]));
    assert!(shown["calls"].as_u64().unwrap() >= 5 && shown["faults"] == 0, "{shown}");
    assert!(shown["digest"].as_str().unwrap().starts_with("sha256:"), "{shown}");
    let metrics = gateway.get("/metrics").1;
    assert!(
        metrics.contains(r#"wasmilter_loaded_filter_info{filter="f",version="1.0.0",phase="decide"} 1"#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"wasmilter_loaded_filter_info{filter="f",version="0.1.0",phase="decide"} 0"#),
        "{metrics}"
    );

    // And a whole reload takes the file that is there by then.
    std::fs::copy(built.join("greylist.wasm"), &path).unwrap();
    gateway.signal("HUP");
    gateway.wait_for("reloaded config");
    assert!(greeted(&gateway).say("RCPT TO:<new@example.org>").starts_with("451 4.7.1 Greylisted"));
}

/// What a page in a browser could send by itself is not enough.
#[test]
fn nothing_is_exchanged_by_accident() {
    let built = components::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filters"));
    let upstream = Upstream::start();
    let (gateway, _, _folder) = filtered(&upstream, &built.join("endless.wasm"));
    for header in ["Content-Type: text/plain", "Origin: http://evil.example"] {
        let mut http = TcpStream::connect(gateway.admin).unwrap();
        let request =
            "POST /filters/f/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n";
        write!(http, "{request}{header}\r\n\r\n").unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_wasmilter"))
        .args(["filter", "reload", "f", "--admin", &nowhere.to_string()])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(69));
}
