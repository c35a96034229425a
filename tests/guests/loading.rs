//! What loads, what does not, and what is said about it.

use std::path::PathBuf;

use crate::support::{Filter, configuration, guest, guest_with_wasi, load, session, told};
use wasmilter::chain::Chain;

fn file(name: &str, octets: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, octets).unwrap();
    path
}

fn refusal(path: PathBuf) -> String {
    load(&[Filter::new("f", path, "")]).map(|_| ()).unwrap_err()
}

#[test]
fn imports_without_a_grant_violated() {
    let error = load(&[Filter::puppet("").grants("counters = true")]).map(|_| ()).unwrap_err();
    assert!(error.contains("filter \"puppet\"") && error.contains("is not granted: write `grants = {"), "{error}");
    let all = "headers = true, body = true, metrics = true, counters = true, tables = [\"words\"], \
               kv = { quota = \"1 MiB\" }, edit = { headers = [\"X-*\"] }";
    let error = load(&[Filter::puppet("").grants(all)]).map(|_| ()).unwrap_err();
    assert!(error.contains("imports `mime`, which is not granted: write `grants = { mime = true }`"), "{error}");
    let error = load(&[Filter::puppet("").grants(&format!("{all}, mime = true, clock = false"))]).map(|_| ());
    assert!(error.unwrap_err().contains("`grants = { clock = true }`"));
}

#[test]
fn garbage_violated() {
    let good = std::fs::read(guest("idle")).unwrap();
    assert!(refusal(file("empty.wasm", b"")).contains("is empty"));
    assert!(refusal(file("text.wasm", b"hello, world")).contains("is no Wasm component"));
    assert!(refusal(file("cut.wasm", &good[..good.len() / 2])).contains("is the file complete?"));
    let mut bent = good.clone();
    for (place, octet) in bent.iter_mut().enumerate().skip(8).step_by(97) {
        *octet ^= u8::try_from(place % 255).unwrap() | 1;
    }
    assert!(refusal(file("bent.wasm", &bent)).contains("bent.wasm"));
    let module = wat::parse_str("(module)").unwrap();
    assert!(refusal(file("module.wasm", &module)).contains("wasm-tools component new"));
    assert!(refusal(PathBuf::from("/nonexistent/f.wasm")).contains("cannot read"));
}

fn component(text: &str) -> String {
    refusal(file(&format!("{:x}.wasm", text.len()), &wat::parse_str(text).unwrap()))
}

#[test]
fn strangers_violated() {
    assert!(component("(component)").contains("exports none of the stages"));
    let old = r#"(component (import "wasmilter:filter/log@0.0.9" (instance)))"#;
    assert!(component(old).contains("was built for wasmilter:filter 0.0.9"));
    let unknown = r#"(component (import "wasmilter:filter/teleport@0.1.0-draft" (instance)))"#;
    assert!(component(unknown).contains("no interface of wasmilter:filter"));
    let other = r#"(component (import "acme:thing/api@1.0.0" (instance)))"#;
    assert!(component(other).contains("which this gateway does not have"));
    for wasi in ["wasi:sockets/tcp@0.2.0", "wasi:http/outgoing-handler@0.2.0"] {
        let text = format!(r#"(component (import "{wasi}" (instance)))"#);
        assert!(component(&text).contains("filters get no network"), "{wasi}");
    }
}

#[test]
fn trap_in_init_violated() {
    let error = load(&[Filter::puppet("init: panic")]).map(|_| ()).unwrap_err();
    assert!(error.contains("unreachable"), "{error}");
    let error = load(&[Filter::puppet("init: say the list is empty")]).map(|_| ()).unwrap_err();
    assert!(error.contains("init: the list is empty"), "{error}");
    let error = load(&[Filter::puppet("init: hoard").with("memory = \"4 MiB\"")]).map(|_| ()).unwrap_err();
    assert!(error.contains("puppet"), "{error}");
}

#[tokio::test]
async fn wasi_obeyed() {
    let filter = Filter::new("puppet", guest_with_wasi("puppet"), "helo: print hello, say printed");
    let grants = "headers = true, body = true, mime = true, metrics = true, counters = true, \
                  tables = [\"words\"], kv = { quota = \"1 MiB\" }, edit = { headers = [\"X-*\"] }";
    let chain = load(&[filter.grants(grants)]).unwrap();
    assert_eq!(told(&session(&chain).helo().await), "printed");
}

#[tokio::test]
async fn reload_obeyed() {
    let old = configuration(&[Filter::puppet("helo: counter c; mail: table words=three")]);
    let first = std::sync::Arc::new(Chain::load(&old).unwrap());
    let mut before = session(&first);
    assert_eq!(told(&before.helo().await), "1");
    assert_eq!(told(&before.mail().await), "Ok(false) Ok(None)");
    let mut new = configuration(&[Filter::puppet("helo: counter c, say new; rcpt: counter c")]);
    if let wasmilter::config::TableSource::Inline(entries) = &mut new.tables[0].source {
        entries.insert("three".into(), "3".into());
    }
    let second = std::sync::Arc::new(Chain::reload(Some(&first), &new).unwrap());
    let mut after = session(&second);
    // The new one has the new settings and the old one's memory; the old one goes on as it was, with the new table.
    assert_eq!(told(&after.helo().await), "new");
    assert_eq!(told(&after.rcpt().await), "3");
    assert_eq!(told(&before.helo().await), "4");
    assert_eq!(told(&before.mail().await), "Ok(true) Ok(Some(\"3\"))");
    // A bad one changes nothing.
    let mut bad = configuration(&[Filter::puppet("init: panic")]);
    bad.tables.clear();
    bad.filters[0].grants.tables.clear();
    assert!(Chain::reload(Some(&second), &bad).is_err());
    assert_eq!(told(&before.mail().await), "Ok(true) Ok(Some(\"3\"))");
}
