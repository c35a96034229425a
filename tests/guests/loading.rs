//! What loads, what does not, and what is said about it.

use std::fmt::Write;
use std::path::PathBuf;

use crate::support::{
    Filter, SUMMARY, SUMMARY_TYPE, brief, configuration, guest, load, on_quit, on_quit_of, session, told,
};
use wasmilter::chain::{Call, Chain};
use wasmilter::filter::Outside;

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
               kv = { quota = \"1 MiB\" }, dns = true, http = [], facts = true, edit = { headers = [\"X-*\"] }";
    let error = load(&[Filter::puppet("").grants(all)]).map(|_| ()).unwrap_err();
    assert!(error.contains("imports `mime`, which is not granted: write `grants = { mime = true }`"), "{error}");
    let error = load(&[Filter::puppet("").grants(&format!("{all}, mime = true"))]).map(|_| ()).unwrap_err();
    assert!(error.contains("imports `mark`, which is not granted: write `grants = { mark = true }`"), "{error}");
    let all = format!("{all}, mime = true, route = []");
    let error = load(&[Filter::puppet("").grants(&format!("{all}, clock = false"))]).map(|_| ());
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

#[test]
fn large_files_violated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.wasm");
    let octets = |size: u64| {
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        refusal(path.clone())
    };
    assert!(octets((128 << 20) + 1).contains("large.wasm: larger than 128 MiB"));
    assert!(octets(128 << 20).contains("is no Wasm component"));
}

fn write_component(name: &str, text: &str) -> PathBuf {
    file(&format!("{name}.wasm"), &wat::parse_str(text).unwrap())
}

fn component(text: &str) -> String {
    refusal(write_component(&format!("{:x}", text.len()), text))
}

#[test]
fn strangers_violated() {
    assert!(component("(component)").contains("exports none of the stages"));
    let old = r#"(component (import "wasmilter:filter/log@0.0.9" (instance)))"#;
    assert!(component(old).contains("was built for wasmilter:filter 0.0.9"));
    let unknown = r#"(component (import "wasmilter:filter/teleport@0.1.0" (instance)))"#;
    assert!(component(unknown).contains("no interface of wasmilter:filter"));
    let other = r#"(component (import "acme:thing/api@1.0.0" (instance)))"#;
    assert!(component(other).contains("which this gateway does not have"));
    for wasi in ["wasi:sockets/tcp@0.2.0", "wasi:http/outgoing-handler@0.2.0"] {
        let text = format!(r#"(component (import "{wasi}" (instance)))"#);
        assert!(component(&text).contains("filters get no network"), "{wasi}");
    }
}

/// The core functions of the components below.
const QUIT: &str = r#"(core module $m (func (export "quit") (param i32 i32 f64 f64)) (func (export "none")))
    (core instance $i (instantiate $m)) (alias core export $i "quit" (core func $quit))
    (func $none (canon lift (core func $i "none")))"#;

#[test]
fn exports_of_this_contract_obeyed() {
    // What is another package's is nobody's trouble.
    let more = r#"(instance $x (export "x" (func $none))) (export "acme:thing/on-quit@0.2.0" (instance $x))"#;
    let path = write_component("fits", &on_quit(&format!("{QUIT} {more}")));
    assert_eq!(load(&[Filter::new("f", path, "")]).map(|_| ()), Ok(()));
}

/// Each of these would load, and then never be asked, or fail at its first call.
#[test]
fn exports_of_another_contract_violated() {
    let sdk = "build it again with the SDK of wasmilter:filter@0.1.0";
    let refused = |name: &str, text: &str, wanted: &[&str]| {
        let error = refusal(write_component(name, text));
        for part in [&format!("{name}.wasm: exports wasmilter:filter/"), sdk].into_iter().chain(wanted.iter().copied())
        {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
    };
    let more = |interface: &str, function: &str| {
        let more = format!(r#"(instance $x (export "{function}" (func $none))) (export "{interface}" (instance $x))"#);
        on_quit(&format!("{QUIT} {more}"))
    };
    let type_of = SUMMARY_TYPE.replace("octets", "bytes");
    let wanted = ["on-quit@0.1.0: its function is not of the type", "octets", "bytes"];
    refused("other-type", &on_quit_of(QUIT, &type_of, "0.1.0"), &wanted);
    let wanted = ["on-quit@0.2.0: it was built for wasmilter:filter 0.2.0, and this gateway speaks 0.1.0"];
    refused("other-version", &on_quit_of(QUIT, SUMMARY_TYPE, "0.2.0"), &wanted);
    let mail = "wasmilter:filter/on-mail@0.1.0";
    refused("other-parameters", &more(mail, "mail"), &["on-mail@0.1.0: its function is not of the type"]);
    let wanted = ["on-mail@0.1.0: it lacks the function that the contract has there (it has `mail-from`)"];
    refused("other-function", &more(mail, "mail-from"), &wanted);
    for (interface, function) in [("about", "describe"), ("lifecycle", "init")] {
        let name = format!("wasmilter:filter/{interface}@0.1.0");
        let wanted = format!("{interface}@0.1.0: its function is not of the type");
        refused(&format!("other-{interface}"), &more(&name, function), &[&wanted]);
        let wanted = format!("{interface}@0.1.0: it lacks the function");
        refused(&format!("no-{interface}"), &more(&name, "other"), &[&wanted]);
    }
    for unknown in ["on-foo", "kv", "abuot"] {
        let name = format!("wasmilter:filter/{unknown}@0.1.0");
        let wanted = format!("{unknown}@0.1.0: wasmilter:filter@0.1.0 has no such interface");
        refused(&format!("unknown-{unknown}"), &more(&name, "foo"), &[&wanted]);
    }
    refused("no-version", &more("wasmilter:filter/on-mail", "mail"), &["on-mail: it was built for", "of no version"]);
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
    let chain = load(&[Filter::puppet_with_wasi("helo: print hello, say printed")]).unwrap();
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
    let second = std::sync::Arc::new(Chain::reload(Some(&first), &new, &Outside::default()).unwrap());
    let mut after = session(&second);
    // The new one has the new settings and the old one's memory; the old one goes on as it was, with the new table.
    assert_eq!(told(&after.helo().await), "new");
    assert_eq!(told(&after.rcpt().await), "3");
    assert_eq!(told(&before.helo().await), "4");
    assert_eq!(told(&before.mail().await), "Ok(true) Ok(Some(\"3\"))");
    // A bad one changes nothing.
    let mut bad = configuration(&[Filter::puppet("init: panic")]);
    bad.tables.clear();
    bad.filters[0].grants.tables = None;
    assert!(Chain::reload(Some(&second), &bad, &Outside::default()).is_err());
    assert_eq!(told(&before.mail().await), "Ok(true) Ok(Some(\"3\"))");
}

/// A component of several core modules, memories and a large table, as interpreters are.
#[tokio::test]
async fn interpreters_obeyed() {
    let mut modules = String::new();
    for i in 0..4 {
        let _ = write!(
            modules,
            r#"(core module $m{i} (memory (export "memory") 17) (table 60000 funcref)
                 (func (export "quit") (param i32 i32 f64 f64)))
               (core instance $i{i} (instantiate $m{i}))"#
        );
    }
    let text = on_quit(&format!("{modules} (alias core export $i0 \"quit\" (core func $quit))"));
    let path = write_component("interpreter", &text);
    let chain = load(&[Filter::new("interpreter", path, "").with("instances = 10")]).unwrap();
    let free = chain.host().unwrap().slots_free();
    let mut session = session(&chain);
    let outcome = session.ask(Call::Quit(SUMMARY)).await;
    assert_eq!((brief(&outcome.verdict).as_str(), outcome.opinions.len()), ("next", 0));
    assert_eq!(free - chain.host().unwrap().slots_free(), 4, "a slot for each memory");
    drop(session);
    assert_eq!(free, chain.host().unwrap().slots_free());
}

#[test]
fn start_functions_violated() {
    let wat = |start: &str| {
        on_quit(&format!(
            r#"(core module $m (func $s {start}) (start $s) (func (export "quit") (param i32 i32 f64 f64)))
                (core instance $i (instantiate $m)) (alias core export $i "quit" (core func $quit))"#
        ))
    };
    assert!(component(&wat("(loop (br 0))")).contains("interrupt"));
    assert!(component(&wat("unreachable")).contains("unreachable"));
    assert!(component(&wat("(call $s)")).contains("call stack exhausted"));
}

#[test]
fn too_many_instances_violated() {
    let mut config = configuration(&[Filter::puppet("")]);
    config.engine.instances = Some(2_000_000);
    let error = Chain::load(&config).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("2000000 filter instances") && error.contains("instances fit"), "{error}");
}

#[test]
fn bent_components_violated() {
    let good = std::fs::read(guest("idle")).unwrap();
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..15 {
        let mut bent = good.clone();
        for _ in 0..=round % 4 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let place = 8 + usize::try_from(seed >> 8).unwrap_or(0) % (bent.len() - 8);
            bent[place] = u8::try_from(seed & 0xff).unwrap();
        }
        // Some of them still are components. None is anybody's trouble.
        let mut config = configuration(&[Filter::new("bent", file("random.wasm", &bent), "")]);
        config.engine.cache_dir = None;
        if let Err(error) = Chain::load(&config) {
            assert!(error.to_string().contains("random.wasm"), "{error}");
        }
    }
}
