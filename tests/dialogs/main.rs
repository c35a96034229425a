//! Every `tests/dialogs/**/*.dialog`, replayed as written, octet by octet, and in one packet a group.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod components;
mod dovecot;
mod provider;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use components::build;
use wasmilter::config;
use wasmilter::dialog::files::collect;
use wasmilter::dialog::{How, Patience, Script, Setting, replay};
use wasmilter::lookup::{Said, Source, Sources};
use wasmilter::server::Environment;

/// Replays under way at once.
const AT_ONCE: usize = 8;
/// Far longer than anything here takes: a dialog that waits this long has failed.
const WAIT: Duration = Duration::from_secs(20);
const PATIENCE: Patience = Patience { answer: WAIT, otherwise: WAIT };

/// What the configurations of the dialogs may name.
#[derive(Debug, Clone)]
struct Surroundings {
    filters: String,
    puppet: String,
    scratch: String,
    certificate: String,
    key: String,
    configs: String,
    provider: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialog_is_heard_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    let around = surroundings(root, scratch.path(), provider::start().await);
    let mut files = collect(&root.join("tests/dialogs")).unwrap();
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
            let script = Script::parse(&std::fs::read_to_string(&file).unwrap()).and_then(|script| {
                script
                    .knows(&["config", "puppet", "on-fault", "routes", "quarantine", "seen", "asked"])
                    .map(|()| script)
            });
            let script = match script {
                Ok(script) => script,
                Err((line, why)) => return vec![format!("{name}: line {line}: {why}")],
            };
            let set = |upstream| set(&script, &around, upstream);
            let ways = [How::AsWritten, How::OctetByOctet, How::OnePacket];
            let mut failures = Vec::new();
            for how in ways.into_iter().filter(|how| *how == How::AsWritten || !script.as_written) {
                let _turn = gate.acquire().await.unwrap();
                if let Err(why) = Box::pin(replay(&script, how, PATIENCE, &set)).await {
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
fn surroundings(root: &Path, scratch: &Path, provider: String) -> Surroundings {
    let identity = wasmilter::net::tls::self_signed(&["mx.example.org"]).unwrap();
    let (certificate, key) = (scratch.join("certificate.pem"), scratch.join("key.pem"));
    std::fs::write(&certificate, &identity.certificate_pem).unwrap();
    std::fs::write(&key, identity.key_pem.as_bytes()).unwrap();
    // Compiled once for all dialogs; the gateway trusts only a folder nobody else may write.
    dovecot::listen(&scratch.join("dovecot"));
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
        provider,
    }
}

/// The configuration a dialog names, with the puppet when it has lines for it.
fn set(script: &Script, around: &Surroundings, upstream: SocketAddr) -> Result<Setting, String> {
    let name = script.said("config").ok_or("no `config:`")?;
    let path = Path::new(&around.configs).join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = text.replace("{ PUPPET,", &format!("{{ {PUPPET_GRANTS},")) + &puppet_section(script);
    let environment = |name: &str| match name {
        "UPSTREAM" => Some(upstream.to_string()),
        "FILTERS" => Some(around.filters.clone()),
        "PUPPET" => Some(around.puppet.clone()),
        "SCRATCH" => Some(around.scratch.clone()),
        "CERTIFICATE" => Some(around.certificate.clone()),
        "KEY" => Some(around.key.clone()),
        "CONFIGS" => Some(around.configs.clone()),
        "PROVIDER" => Some(around.provider.clone()),
        _ => None,
    };
    let config = config::parse(&text, &path.display().to_string(), &environment).map_err(|e| e.to_string())?;
    let seen = script.said("seen").map(|address| address.parse().map_err(|_| "`seen` is no address")).transpose()?;
    let environment = Environment { sources: asked(script), ..Environment::default() };
    Ok(Setting { config, environment, clock: None, prepare: None, seen })
}

/// `asked: TABLE KEY=yes KEY=away …`: a table that says yes to these keys, nothing to those, and no to all others.
fn asked(script: &Script) -> Sources {
    let lines = script.head.iter().filter(|head| head.key == "asked");
    let source = |said: &str| {
        let mut words = said.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap_or_default();
        (name, Arc::new(Asked(words.collect())) as Arc<dyn Source>)
    };
    lines.map(|head| source(&head.value)).collect()
}

#[derive(Debug)]
struct Asked(Vec<String>);

impl Source for Asked {
    fn ask<'a>(&'a self, key: &'a str) -> Said<'a> {
        let said = |word: &str| self.0.iter().any(|known| known.strip_suffix(word) == Some(key));
        let answer = if said("=away") { Err("away".to_owned()) } else { Ok(said("=yes").then(String::new)) };
        Box::pin(async { answer })
    }
}

/// What the puppet is granted, without tables and routes: also where a configuration says `grants = { PUPPET, … }`.
const PUPPET_GRANTS: &str = "headers = true, body = true, mime = true, metrics = true, counters = true, kv = true, \
     dns = true, http = [], facts = true, mark = true, delay = \"10s\", discard = true, \
     edit = { headers = true, body = true, sender = true, recipients = [\"*@archive.test\"] }";

/// A `[[filter]]` with the puppet (tests/guests/puppet), granted everything, but of upstreams only `routes`, and
/// quarantine only as the dialog says.
fn puppet_section(script: &Script) -> String {
    let Some(lines) = script.said("puppet") else { return String::new() };
    let on_fault = script.said("on-fault").unwrap_or("defer");
    let routes: Vec<&str> = script.said("routes").unwrap_or_default().split_whitespace().collect();
    let quarantine = script.said("quarantine").unwrap_or("false");
    format!(
        "[[filter]]\nname = \"puppet\"\npath = \"${{PUPPET}}\"\non-fault = {on_fault:?}\nsettings = {{ do = '{lines}' }}\n\
         grants = {{ {PUPPET_GRANTS}, tables = [\"words\"], route = {routes:?}, quarantine = {quarantine} }}\n\
         [table.words]\nentries = [\"word\"]\n[engine]\ninstances = 64\ncache = \"${{SCRATCH}}/compiled\"\n"
    )
}
