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

/// "25", "16 * 1_024", "64 << 10", "Duration::from_secs(10)".
fn amount(value: &str) -> u64 {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().unwrap();
    let value = value.strip_prefix("Duration::from_secs(").map_or(value, |seconds| seconds.trim_end_matches(')'));
    match value.split_once("<<") {
        Some((number_of, by)) => number(number_of) << number(by),
        None => value.split('*').map(number).product(),
    }
}

/// `NAME` in `path`, with its value as the table has it.
#[test]
fn fixed_limits_have_the_values_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for row in rows("Fixed") {
        let (name, path) = row.get(1).unwrap().split_once("` in `").unwrap();
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        let line = text.lines().find(|line| line.contains(&format!("const {name}:"))).unwrap_or_default();
        let value = line.split_once(" = ").map(|(_, value)| value.trim_end_matches(';')).unwrap_or_default();
        let octets = amount(value);
        let (number, unit) = row.get(2).unwrap().split_once(' ').unwrap();
        let factor = match unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            _ => 1,
        };
        assert_eq!(number.replace(',', "").parse::<u64>().unwrap() * factor, octets, "{name}");
    }
}
