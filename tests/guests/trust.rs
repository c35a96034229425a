//! Which file is loaded: pinned, signed, and where a fault points in it.

use std::path::PathBuf;

use wasmilter::chain::Chain;
use wasmilter::config::SigningKey;

use crate::support::{Filter, configuration, on_quit, session, told};

const ONE: &str = "RWTPJ+pVPscCR2d48uaWeOQJs505f+dESulmvjIG9urVHeIfpzAk2D7T";
const TWO: &str = "RWQAlo5kt8YJQoaWVIGpK28Ye9nZ1tPT/jYU6M0G88d3LpYvrDb2v7Mp";

/// A folder of its own with the component and a signature that minisign 0.11 made.
fn signed(signature: Option<&str>) -> (tempfile::TempDir, PathBuf) {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/guests/signed");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quit.wasm");
    std::fs::copy(from.join("quit.wasm"), &path).unwrap();
    if let Some(signature) = signature {
        std::fs::copy(from.join(signature), folder.path().join("quit.wasm.minisig")).unwrap();
    }
    (folder, path)
}

/// The chain of this one filter, where these keys count.
fn load(filter: Filter, keys: &[&str], required: bool) -> Result<Chain, String> {
    let mut config = configuration(&[filter]);
    config.engine.signing_keys = keys.iter().map(|key| SigningKey::parse(key).unwrap()).collect();
    config.engine.require_signed = required;
    Chain::load(&config).map_err(|error| error.to_string())
}

#[test]
fn signature_obeyed() {
    for (file, comment) in [("quit.wasm.minisig", "quit 1.0.0, built by the postmaster"), ("legacy.minisig", "legacy")]
    {
        let (_folder, path) = signed(Some(file));
        let chain = load(Filter::new("f", path, ""), &[TWO, ONE], true).unwrap();
        let found = chain.programs().next().unwrap().signed().cloned().unwrap();
        assert_eq!((&*found.key_id, &*found.comment), ("4702C73E55EA27CF", comment));
    }
    // Not demanded, and not there.
    let (_folder, path) = signed(None);
    assert!(
        load(Filter::new("f", path.clone(), ""), &[ONE], false).unwrap().programs().next().unwrap().signed().is_none()
    );
    assert!(load(Filter::new("f", path, "").with("require-signed = false"), &[ONE], true).is_ok());
    // In another place.
    let (folder, path) = signed(Some("quit.wasm.minisig"));
    std::fs::rename(folder.path().join("quit.wasm.minisig"), folder.path().join("of-quit")).unwrap();
    let line = format!("signature = '{}'", folder.path().join("of-quit").display());
    assert!(load(Filter::new("f", path, "").with(&line), &[ONE], true).is_ok());
}

#[test]
fn signature_violated() {
    let refusal = |path: &PathBuf, keys: &[&str], more: &str| {
        load(Filter::new("f", path.clone(), "").with(more), keys, true).map(|_| ()).unwrap_err()
    };
    let (_folder, path) = signed(None);
    let error = refusal(&path, &[ONE], "");
    assert!(error.contains("has no signature that could be read") && error.contains("minisign -Sm"), "{error}");
    let error = load(Filter::new("f", path.clone(), "").with("require-signed = true"), &[ONE], false).map(|_| ());
    assert!(error.unwrap_err().contains("has to be signed"));
    let (_folder, path) = signed(Some("other.minisig"));
    let error = refusal(&path, &[ONE], "");
    assert!(error.contains("made with the key 4209C6B7648E9600") && error.contains("4702C73E55EA27CF"), "{error}");
    // A signature that is there is looked at, demanded or not.
    assert!(load(Filter::new("f", path, ""), &[ONE], false).is_err());
    let (_folder, path) = signed(Some("quit.wasm.minisig"));
    let mut octets = std::fs::read(&path).unwrap();
    octets.push(0);
    std::fs::write(&path, &octets).unwrap();
    let error = refusal(&path, &[ONE], "");
    assert!(error.contains("was changed after the key 4702C73E55EA27CF signed it"), "{error}");
    std::fs::write(path.with_file_name("quit.wasm.minisig"), vec![b'x'; 10_000]).unwrap();
    assert!(refusal(&path, &[ONE], "").contains("larger than 8192 octets"));
    std::fs::write(path.with_file_name("quit.wasm.minisig"), "no\nsignature\n").unwrap();
    assert!(refusal(&path, &[ONE], "").contains("is none that minisign made"));
}

#[test]
fn digest_obeyed() {
    let (_folder, path) = signed(None);
    let digest =
        load(Filter::new("f", path.clone(), ""), &[], false).unwrap().programs().next().unwrap().digest().to_owned();
    let pinned = Filter::new("f", path, "").with(&format!("digest = \"sha256:{}\"", digest.to_uppercase()));
    assert!(load(pinned, &[], false).is_ok());
}

#[test]
fn digest_violated() {
    let (_folder, path) = signed(None);
    let pinned = Filter::new("f", path, "").with(&format!("digest = \"sha256:{}\"", "0".repeat(64)));
    let error = load(pinned, &[], false).map(|_| ()).unwrap_err();
    assert!(error.contains("another file than the one that is pinned, sha256:0000"), "{error}");
    assert!(error.contains("write `digest = \"sha256:"), "{error}");
}

/// Where the puppet panics.
fn line_of_the_panic() -> usize {
    let text = include_str!("puppet/src/tricks.rs");
    text.lines().position(|line| line.contains("panic!(\"as told\")")).unwrap() + 1
}

#[test]
fn backtraces_name_lines_only_where_asked_obeyed() {
    let mut config = configuration(&[Filter::puppet("init: panic")]);
    let error = Chain::load(&config).map(|_| ()).unwrap_err().to_string();
    assert!(!error.contains("tricks.rs:") && error.contains("tricks::play"), "names of functions: {error}");
    config.engine.backtrace_lines = true;
    let error = Chain::load(&config).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(&format!("tricks.rs:{}", line_of_the_panic())), "{error}");
}

/// Names that a component gives its functions: anything, and as long as it likes.
#[test]
fn backtraces_violated() {
    let name = format!("\\1b[31m\\0a{}", "x".repeat(100_000));
    let text = on_quit(&format!(
        r#"(core module $m (func ${name:?} unreachable) (func (export "quit") (param i32 i32 f64 f64)) (start 0))
            (core instance $i (instantiate $m)) (alias core export $i "quit" (core func $quit))"#
    ));
    let text = text.replace("\\\\", "\\");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("names.wasm");
    std::fs::write(&path, wat::parse_str(&text).unwrap()).unwrap();
    let mut config = configuration(&[Filter::new("f", path, "")]);
    for lines in [false, true] {
        config.engine.backtrace_lines = lines;
        let error = Chain::load(&config).map(|_| ()).unwrap_err().to_string();
        assert!(error.len() < 6_000 && error.contains("unreachable"), "{} octets", error.len());
        assert!(!error.contains(|c: char| c.is_control()), "{error:?}");
    }
}

/// What is in the cache is used, and what is not in order there is not: the filter runs all the same.
#[tokio::test]
async fn a_damaged_cache_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = configuration(&[Filter::puppet("helo: say runs")]);
    config.engine.cache_dir = Some(folder.path().join("cache"));
    let helo = async |config| {
        let chain = std::sync::Arc::new(Chain::load(config).unwrap());
        told(&session(&chain).helo().await).to_owned()
    };
    assert_eq!(helo(&config).await, "runs");
    let cached = std::fs::read_dir(folder.path().join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let cached = cached.into_iter().find(|path| path.extension().is_some_and(|end| end == "cwasm")).unwrap();
    let mut octets = std::fs::read(&cached).unwrap();
    let middle = octets.len() / 2;
    octets[middle] ^= 0x10;
    std::fs::write(&cached, &octets).unwrap();
    assert_eq!(helo(&config).await, "runs");
    octets[middle] ^= 0x10;
    assert_eq!(std::fs::read(&cached).unwrap(), octets, "written anew, and the same");
}
