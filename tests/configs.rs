//! Folders of configurations with what must be said about them.
//!
//! `configs/bad/NAME.toml` is refused with exactly the text of `NAME.err`; `configs/good/NAME.toml` is taken, with
//! exactly the warnings of `NAME.warn` (no such file: no warnings). To write the expected texts anew after a change
//! of wording, run with `UPDATE_EXPECTED=1` and read the difference.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use wasmilter::config;

/// What `${NAME}` is in these files. The value must appear in no expected text.
const SECRET: &str = "hunter2-from-the-environment";

fn environment(name: &str) -> Option<String> {
    (name == "SECRET").then(|| SECRET.to_owned())
}

fn folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no configurations in {name}");
    files
}

/// Compares a text with its file; an empty text wants no file.
fn expect(path: &Path, found: &str) -> Result<(), String> {
    assert!(!found.contains(SECRET), "{}: shows a secret", path.display());
    let wanted = fs::read_to_string(path).unwrap_or_default();
    let found = if found.is_empty() { String::new() } else { format!("{found}\n") };
    if wanted == found {
        return Ok(());
    }
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        if found.is_empty() {
            fs::remove_file(path).unwrap()
        } else {
            fs::write(path, &found).unwrap()
        }
        return Ok(());
    }
    Err(format!("{}:\n--- expected\n{wanted}\n--- found\n{found}", path.display()))
}

/// The file's own name only, so that the expected texts hold anywhere.
fn read(path: &Path) -> (String, String) {
    (fs::read_to_string(path).unwrap(), path.file_name().unwrap().to_str().unwrap().to_owned())
}

#[test]
fn bad_configurations_are_refused_with_the_expected_words() {
    let mut failures = Vec::new();
    for path in folder("bad") {
        let (text, name) = read(&path);
        match config::parse(&text, &name, &environment) {
            Ok(_) => failures.push(format!("{}: is taken", path.display())),
            Err(errors) => failures.extend(expect(&path.with_extension("err"), &errors.to_string()).err()),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn good_configurations_are_taken_with_the_expected_warnings() {
    let mut failures = Vec::new();
    for path in folder("good") {
        let (text, name) = read(&path);
        match config::parse_with_warnings(&text, &name, &environment) {
            Err(errors) => failures.push(format!("{}: is refused\n{errors}", path.display())),
            Ok((config, warnings)) => {
                let warnings = warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n");
                failures.extend(expect(&path.with_extension("warn"), &warnings).err());
                assert!(!format!("{config:?}").contains(SECRET), "{}: shows a secret", path.display());
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_expected_text_has_its_configuration() {
    for (name, end) in [("bad", "err"), ("good", "warn")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let known = path.extension().is_some_and(|found| found == end || found == "toml");
            assert!(known && path.with_extension("toml").exists(), "{} belongs to nothing", path.display());
        }
    }
}

/// Whatever stands in a file, the answer is a configuration or an error: cut and damaged files included.
#[test]
fn damaged_configurations_do_not_panic() {
    for path in folder("good").into_iter().chain(folder("bad")) {
        let (text, name) = read(&path);
        for (cut, _) in text.char_indices().step_by(3) {
            let _ = config::parse_with_warnings(&text[..cut], &name, &environment).map_err(|errors| errors.to_string());
        }
        for (at, c) in text.char_indices().step_by(5) {
            for put in ["", "\"", "[", "\n", "ß", "99999999999999999999"] {
                let damaged = format!("{}{put}{}", &text[..at], &text[at + c.len_utf8()..]);
                let _ = config::parse_with_warnings(&damaged, &name, &environment).map_err(|errors| errors.to_string());
            }
        }
    }
}
