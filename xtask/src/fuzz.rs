//! `cargo xtask fuzz`: every target for a bounded time, from the committed seeds and from what the dialogs say.
//!
//! Needs nightly Rust and `cargo-fuzz`; says so, and installs neither. What is found stays under `fuzz/artifacts`
//! until it is a dialog.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{Outcome, cargo, command, root, run, succeeds};

const SECONDS: u32 = 60;
/// One input takes longer than this only where something hangs.
const INPUT_SECONDS_MAX: u32 = 20;

/// In the order of `Mechanism::ALL`, by which the target `sasl` counts.
const MECHANISMS: [&str; 7] =
    ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"];
/// A bit of the octet that such an input begins with.
const FIRST_WITH_COMMAND: u8 = 0x40;

/// The words behind `fuzz`.
pub(crate) fn run_targets(words: &[&str]) -> Outcome {
    let (mut seconds, mut wanted) = (SECONDS, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--seconds" {
            seconds = words.next().and_then(|n| n.parse().ok()).ok_or("--seconds wants a number")?;
        } else {
            wanted.push(*word);
        }
    }
    if !succeeds(cargo(&["fuzz", "--version"])) {
        return Err("cargo-fuzz is missing: `cargo install cargo-fuzz`, and `rustup toolchain install nightly`".into());
    }
    let targets = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !targets.iter().any(|target| target == **name)) {
        return Err(format!("there is no fuzz target {unknown}; there are {}", targets.join(", ")));
    }
    let dialogs = dialogs(&root().join("tests/dialogs"))?;
    for target in targets.iter().filter(|target| wanted.is_empty() || wanted.contains(&target.as_str())) {
        let corpus = root().join("fuzz/corpus").join(target);
        plant(target, &corpus, &dialogs)?;
        let mut fuzz = command("cargo", &["+nightly", "fuzz", "run", target]);
        // The toolchain this chore was started with would speak for nightly.
        fuzz.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        if ["session", "loader"].contains(&target.as_str()) {
            fuzz.args(["--features", target]);
        }
        fuzz.arg(&corpus).arg(root().join("fuzz/seeds").join(target)).arg("--");
        fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        run(fuzz)?;
    }
    Ok(())
}

fn targets() -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for file in files(&root().join("fuzz/fuzz_targets"))? {
        names.extend(file.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    Ok(names)
}

/// What a dialog's client and upstream say, line by line.
struct Dialog {
    name: String,
    client: Vec<String>,
    upstream: Vec<String>,
}

fn dialogs(folder: &Path) -> Outcome<Vec<Dialog>> {
    let mut found = Vec::new();
    for file in files(folder)? {
        if file.is_dir() {
            found.extend(dialogs(&file)?);
        } else if file.extension().is_some_and(|extension| extension == "dialog") {
            let text = fs::read_to_string(&file).map_err(|why| format!("{}: {why}", file.display()))?;
            let said = |mark: &str| {
                text.lines().filter_map(|line| line.trim_start().strip_prefix(mark)).map(str::to_owned).collect()
            };
            let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string().replace('/', "-");
            found.push(Dialog { name, client: said("C: "), upstream: said("U: ") });
        }
    }
    Ok(found)
}

/// Dialogs as seeds: as this target reads its input.
fn plant(target: &str, corpus: &Path, dialogs: &[Dialog]) -> Outcome {
    fs::create_dir_all(corpus).map_err(|why| format!("{}: {why}", corpus.display()))?;
    let joined = |lines: &[String]| lines.iter().map(|line| format!("{line}\r\n")).collect::<String>().into_bytes();
    for dialog in dialogs {
        let seeds: Vec<Vec<u8>> = match target {
            "command" | "bdat" => dialog.client.iter().map(|line| line.clone().into_bytes()).collect(),
            "params" => dialog
                .client
                .iter()
                .filter_map(|line| line.split_once("> "))
                .map(|(_, params)| params.to_owned().into_bytes())
                .collect(),
            "sasl" => exchanges(&dialog.client),
            "line" | "headers" | "body_round_trip" => vec![joined(&dialog.client)],
            "reply" => vec![joined(&dialog.upstream)],
            // Raw octets of a client, and an upstream that offers everything and takes everything.
            "session" => vec![[&[0x8f, 0][..], &joined(&dialog.client)].concat()],
            _ => Vec::new(),
        };
        for (number, seed) in seeds.iter().enumerate() {
            let file = corpus.join(format!("{}-{number}", dialog.name));
            fs::write(&file, seed).map_err(|why| format!("{}: {why}", file.display()))?;
        }
    }
    Ok(())
}

/// What follows an AUTH, as the target `sasl` reads it: an octet that says the mechanism and whether its first message
/// came with the command, and lines that go as they stand.
fn exchanges(client: &[String]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (place, line) in client.iter().enumerate() {
        let Some(rest) = line.strip_prefix("AUTH ") else { continue };
        let (name, initial) = rest.split_once(' ').map_or((rest, None), |(name, initial)| (name, Some(initial)));
        let known = MECHANISMS.iter().position(|known| known.eq_ignore_ascii_case(name));
        let Some(mechanism) = known.and_then(|known| u8::try_from(known).ok()) else { continue };
        let more = client.iter().skip(place + 1).map(String::as_str).take_while(|line| is_answer(line));
        let said: Vec<String> = initial.into_iter().chain(more).map(|line| format!("!{line}")).collect();
        let choice = mechanism | if initial.is_some() { FIRST_WITH_COMMAND } else { 0 };
        // Once as it is, once with all that a TLS connection can have to tell.
        seeds.extend([choice, choice | 0xb0].map(|choice| [&[choice][..], said.join("\n").as_bytes()].concat()));
    }
    seeds
}

/// Whether a client's line could be part of an exchange; a command of one word among seeds does no harm.
fn is_answer(line: &str) -> bool {
    line.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+/=*!".contains(&octet)) && line != "QUIT"
}

/// What a folder holds, in the order of names.
fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |why| format!("{}: {why}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?;
    files.sort();
    Ok(files)
}
