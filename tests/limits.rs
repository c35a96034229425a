//! docs/limits.md against the configuration: every limit there is stands there with its default and with something
//! that shows it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

const DOCUMENT: &str = include_str!("../docs/limits.md");
const REFERENCE: &str = include_str!("../config/wasmilter.toml");
const SECTIONS: [&str; 3] = ["limits", "rates", "timeouts"];

/// Keys of a section of the reference with their defaults.
fn keys(section: &str) -> Vec<(&str, &str)> {
    let (_, rest) = REFERENCE.split_once(&format!("\n[{section}]\n")).unwrap();
    let setting = |line: &'static str| line.strip_prefix('#').filter(|line| !line.starts_with(' '))?.split_once(" = ");
    let keys: Vec<_> = rest.lines().take_while(|line| !line.starts_with('[')).filter_map(setting).collect();
    assert!(keys.len() > 5, "[{section}] has no keys");
    keys
}

/// The cells of each row below a heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    let rows = rest.lines().take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| "));
    rows.skip(1)
        .map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '`'])).collect())
        .collect()
}

#[test]
fn every_limit_stands_there_with_its_default() {
    let mut missing = Vec::new();
    for section in SECTIONS {
        let heading = format!("[{section}]");
        let rows = rows(&heading);
        for (key, default) in keys(section) {
            match rows.iter().find(|row| row.first() == Some(&key)) {
                None => missing.push(format!("no row for `{key}` of [{section}]")),
                Some(row) if row.get(1) != Some(&default) => missing.push(format!("`{key}`: the default is {default}")),
                Some(_) => {}
            }
        }
        for row in rows {
            let known = keys(section).iter().any(|(key, _)| row.first() == Some(key));
            if !known {
                missing.push(format!("{row:?} is no key of [{section}]"));
            }
        }
    }
    assert!(missing.is_empty(), "docs/limits.md:\n{}", missing.join("\n"));
}

/// `path` or `path::test`.
#[test]
fn what_shows_a_limit_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for heading in SECTIONS.map(|section| format!("[{section}]")).iter().map(String::as_str).chain(["Fixed"]) {
        for row in rows(heading) {
            let shown = row.last().unwrap();
            let (path, test) = shown.split_once("::").map_or((*shown, None), |(path, test)| (path, Some(test)));
            let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
            let found = if path.ends_with(".rs") {
                text.contains("#[cfg(test)]") || text.contains("#[test]") || text.contains("#[tokio::test")
            } else {
                text.contains("S: ") || text.contains("S! ")
            };
            let named = test.is_none_or(|test| text.contains(&format!("fn {test}()")));
            if !found || !named {
                missing.push(format!("{}: {shown}", row.first().unwrap()));
            }
        }
    }
    assert!(missing.is_empty(), "docs/limits.md points at what is not there:\n{}", missing.join("\n"));
}

/// "25", "16 * 1_024", "64 << 10"; "Duration::from_secs(10)" in milliseconds.
fn amount(value: &str) -> u64 {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().unwrap();
    let time = value.strip_prefix("Duration::from_").and_then(|time| time.strip_suffix(')')?.split_once('('));
    let (factor, value) = match time {
        Some((unit, value)) => (milliseconds(unit).unwrap(), value),
        None => (1, value),
    };
    factor
        * match value.split_once("<<") {
            Some((number_of, by)) => number(number_of) << number(by),
            None => value.split('*').map(number).product(),
        }
}

/// Of a unit of time, as the table or the standard library calls it.
fn milliseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "millis" | "milliseconds" => 1,
        "secs" | "second" | "seconds" => 1_000,
        "mins" => 60_000,
        "hours" => 3_600_000,
        _ => return None,
    })
}

/// `const NAME: TYPE = VALUE;` with its value, or nothing.
fn value<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find(|line| line.contains(&format!("const {name}:"))).unwrap_or_default();
    line.split_once(" = ").map(|(_, value)| value.trim_end_matches(';')).unwrap_or_default()
}

/// `NAME` in `path`, with its value as the table has it.
#[test]
fn fixed_limits_have_the_values_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for row in rows("Fixed") {
        let (name, path) = row.get(1).unwrap().split_once("` in `").unwrap();
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        let value = value(&text, name);
        let (number, unit) = row.get(2).unwrap().split_once(' ').unwrap();
        let factor = match unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            // Some times are numbers of seconds.
            unit if value.starts_with("Duration") => milliseconds(unit).unwrap(),
            _ => 1,
        };
        assert_eq!(number.replace(',', "").parse::<u64>().unwrap() * factor, amount(value), "{name}");
    }
}

/// Where every limit that is no key of the configuration has its row.
const WHOLE: [&str; 4] = ["src/shared", "src/lookup", "src/accounts", "src/state/addresses.rs"];
/// Bounds that nobody outside can meet, or that follow from another one.
const INNER: [(&str, &str); 5] = [
    ("RANGES_MAX", "the slots of a cluster"),
    ("QUEUE_MAX", "of QUESTIONS_MAX, those that are not written yet"),
    ("MECHANISMS_MAX", "RELAYED_MECHANISMS_MAX"),
    ("UNWRITTEN_MAX", "of the places of a backend, those that are not written yet"),
    ("IDLE_MAX", "of the places of a backend, those whose connection is kept"),
];

#[test]
fn every_fixed_limit_of_some_folders_stands_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = rows("Fixed");
    let mut files: Vec<_> = WHOLE.iter().map(|place| root.join(place)).collect();
    let (mut missing, mut found) = (Vec::new(), 0);
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let place = path.strip_prefix(root).unwrap().display().to_string();
        if !place.ends_with(".rs") || place.contains("tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let constants =
            text.lines().filter_map(|line| line.trim_start_matches("pub").split_once("const ")?.1.split_once(": "));
        for (name, _) in constants.filter(|(name, _)| name.ends_with("_MAX")) {
            found += 1;
            let shown = rows.iter().any(|row| row.get(1) == Some(&&*format!("{name}` in `{place}")));
            if !shown && INNER.iter().all(|(inner, _)| *inner != name) {
                missing.push(format!("{name} in {place}"));
            }
        }
    }
    assert!(found > 30, "the limits are gone: {found}");
    assert!(missing.is_empty(), "no row below \"Fixed\" of docs/limits.md:\n{}", missing.join("\n"));
}
