//! Every `tests/dialogs/**/*.dialog`, replayed as written, octet by octet, and in one packet a group.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod components;
mod dialog_files;
mod replay;
mod script;
mod upstream;

use std::path::{Path, PathBuf};

use components::build;
use dialog_files::collect;
use replay::{How, Surroundings, replay as replay_one};
use script::Script;

/// Replays under way at once.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialog_is_heard_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    let around = surroundings(root, scratch.path());
    let mut files = Vec::new();
    collect(&root.join("tests/dialogs"), &mut files);
    files.sort();
    // While one works on a few of them: a part of their path.
    if let Ok(part) = std::env::var("DIALOGS") {
        files.retain(|file| file.strip_prefix(root).unwrap().display().to_string().contains(&part));
        assert!(!files.is_empty(), "no dialog has {part} in its path");
    } else {
        assert!(files.len() >= 20, "the dialogs are gone: {}", files.len());
    }
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut replays = tokio::task::JoinSet::new();
    for file in files {
        let (around, gate) = (around.clone(), std::sync::Arc::clone(&gate));
        let name = file.strip_prefix(root).unwrap().display().to_string();
        replays.spawn(async move {
            let script = match Script::parse(&std::fs::read_to_string(&file).unwrap()) {
                Ok(script) => script,
                Err(why) => return vec![format!("{name}: {why}")],
            };
            let ways = [How::AsWritten, How::OctetByOctet, How::OnePacket];
            let mut failures = Vec::new();
            for how in ways.into_iter().filter(|how| *how == How::AsWritten || !script.as_written) {
                let _turn = gate.acquire().await.unwrap();
                if let Err(why) = Box::pin(replay_one(&script, how, &around)).await {
                    failures.push(format!("{name}: {why}"));
                }
            }
            failures
        });
    }
    let mut failures: Vec<String> = replays.join_all().await.into_iter().flatten().collect();
    failures.sort();
    assert!(failures.is_empty(), "{} replays differ:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// A certificate and the filters, made once for all dialogs.
fn surroundings(root: &Path, scratch: &Path) -> Surroundings {
    let identity = wasmilter::net::tls::self_signed(&["mx.example.org"]).unwrap();
    let (certificate, key) = (scratch.join("certificate.pem"), scratch.join("key.pem"));
    std::fs::write(&certificate, &identity.certificate_pem).unwrap();
    std::fs::write(&key, identity.key_pem.as_bytes()).unwrap();
    // Compiled once for all dialogs; the gateway trusts only a folder nobody else may write.
    let compiled =
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(scratch.join("compiled"));
    compiled.unwrap();
    let filters = build(&root.join("filters"));
    let guests = build(&root.join("tests/guests"));
    let text = |path: PathBuf| path.display().to_string();
    Surroundings {
        filters: text(filters),
        puppet: text(guests.join("puppet.wasm")),
        scratch: text(scratch.to_owned()),
        certificate: text(certificate),
        key: text(key),
        configs: text(root.join("tests/dialogs/configs")),
    }
}
