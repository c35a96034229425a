//! Whether `CONFORMANCE.md` is whole: every requirement word of every section is answered for, every row says how the
//! gateway stands to it, and what is named as proof is there.
//!
//! What the proofs prove is not looked at here: the dialogs and tests that are named run by themselves.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../src/dialog/files.rs"]
#[allow(unreachable_pub, reason = "it is the library's, which is not built for this test")]
mod dialog_files;

use std::collections::BTreeMap;
use std::path::Path;

use dialog_files::collect;

/// How many requirement words (MUST, SHOULD, SHALL, with and without NOT, and REQUIRED) each section has, counted in the
/// RFCs' own text; where they are explained they are not counted. RFC 5321: chapters 3 and 4.
const COUNTED: [(&str, &[(&str, u32)]); 9] = [
    (
        "5321",
        &[
            ("3.1", 3),
            ("3.2", 2),
            ("3.3", 13),
            ("3.4", 3),
            ("3.5.1", 9),
            ("3.5.2", 7),
            ("3.5.3", 5),
            ("3.5.4", 1),
            ("3.6.1", 3),
            ("3.6.2", 1),
            ("3.6.3", 5),
            ("3.7.2", 5),
            ("3.7.3", 2),
            ("3.7.4", 5),
            ("3.7.5", 1),
            ("3.8", 3),
            ("3.9", 4),
            ("4.1.1", 4),
            ("4.1.1.1", 7),
            ("4.1.1.3", 6),
            ("4.1.1.4", 8),
            ("4.1.1.5", 5),
            ("4.1.1.8", 1),
            ("4.1.1.9", 1),
            ("4.1.1.10", 6),
            ("4.1.2", 11),
            ("4.1.3", 1),
            ("4.1.4", 17),
            ("4.1.5", 1),
            ("4.2", 13),
            ("4.2.1", 5),
            ("4.2.4", 4),
            ("4.2.5", 4),
            ("4.3.1", 4),
            ("4.3.2", 5),
            ("4.4", 29),
            ("4.5.1", 5),
            ("4.5.2", 1),
            ("4.5.3.1", 3),
            ("4.5.3.1.7", 3),
            ("4.5.3.1.8", 6),
            ("4.5.3.1.10", 3),
            ("4.5.3.2", 4),
            ("4.5.3.2.7", 1),
            ("4.5.4", 2),
            ("4.5.4.1", 10),
            ("4.5.4.2", 1),
            ("4.5.5", 3),
        ],
    ),
    ("2920", &[("3.1", 5), ("3.2", 10)]),
    ("3030", &[("2", 12), ("3", 14)]),
    ("1870", &[("6", 2), ("6.1", 1), ("6.2", 5), ("6.3", 1), ("7", 2)]),
    ("6152", &[("3", 7)]),
    (
        "6531",
        &[
            ("3.1", 5),
            ("3.2", 8),
            ("3.3", 1),
            ("3.4", 3),
            ("3.5", 1),
            ("3.7", 2),
            ("3.7.1", 2),
            ("3.7.2", 1),
            ("3.7.3", 1),
            ("3.7.4.1", 3),
            ("3.7.4.2", 7),
            ("5", 1),
        ],
    ),
    (
        "3461",
        &[
            ("4.1", 2),
            ("4.2", 6),
            ("4.3", 1),
            ("4.4", 2),
            ("4.5", 4),
            ("5", 1),
            ("5.1", 6),
            ("5.2", 2),
            ("5.2.1", 9),
            ("5.2.2", 6),
            ("5.2.3", 3),
            ("5.2.4", 7),
            ("5.2.5", 1),
            ("5.2.6", 4),
            ("5.2.7.1", 4),
            ("5.2.7.2", 2),
            ("5.2.8", 1),
            ("5.3", 3),
            ("5.4", 4),
            ("6.1", 3),
            ("6.2", 2),
            ("6.3", 15),
            ("9.1", 1),
            ("9.2", 1),
            ("9.3", 1),
        ],
    ),
    ("3207", &[("4", 5), ("4.1", 3), ("4.2", 6), ("6", 3)]),
    ("4954", &[("4", 30), ("5", 7), ("6", 8), ("7", 2), ("8", 2), ("9", 3), ("14", 6), ("15", 1)]),
];

/// One line of a table.
#[derive(Debug)]
struct Row {
    rfc: String,
    section: String,
    words: u32,
    standing: String,
    proofs: Vec<String>,
}

#[test]
fn every_requirement_is_answered_for_and_every_proof_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (rows, mut findings) = parse(&std::fs::read_to_string(root.join("tests/CONFORMANCE.md")).unwrap());
    findings.extend(missing_words(&rows));
    findings.extend(rows.iter().filter_map(bad_standing));
    for proof in rows.iter().flat_map(|row| &row.proofs) {
        findings.extend(missing_proof(root, proof));
    }
    for path in collect(&root.join("tests/dialogs/conformance")).unwrap() {
        let name = format!("conformance/{}", path.file_stem().unwrap().to_str().unwrap());
        if !rows.iter().any(|row| row.proofs.contains(&name)) {
            findings.push(format!("the dialog {name} proves nothing"));
        }
    }
    assert!(findings.is_empty(), "{} flaws:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn every_dialog_says_what_it_shows_and_what_runs() {
    let dialogs = collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs")).unwrap();
    assert!(dialogs.len() > 100, "the dialogs are gone: {}", dialogs.len());
    for path in dialogs {
        let text = std::fs::read_to_string(&path).unwrap();
        let said = text.lines().any(|line| line.starts_with("config: "));
        assert!(text.starts_with("# ") && said && text.ends_with('\n'), "{}", path.display());
    }
}

#[test]
fn a_flawed_table_is_noticed() {
    let table = |row: &str| format!("## RFC 6152, x\n\n| section | n | r | s | p |\n|---|---:|---|---|---|\n{row}\n");
    let whole = "| 3 | 7 | all bits | kept | `session/deliver` |";
    let flaws = |text: &str| {
        let (rows, mut findings) = parse(text);
        findings.extend(rows.iter().filter_map(bad_standing));
        findings.extend(missing_words(&rows).into_iter().filter(|finding| finding.contains("6152")));
        findings.len()
    };
    assert_eq!(flaws(&table(whole)), 0);
    for broken in [
        "| 3 | 6 | all bits | kept | `session/deliver` |",
        "| 3 | 7 | all bits | kept | — |",
        "| 3 | 7 | all bits | deviates | `session/deliver` |",
        "| 3 | 7 | all bits | other | — |",
        "| 3 | 7 | all bits | perhaps | `session/deliver` |",
        "| 3 | 7 |  | kept | `session/deliver` |",
        "| 3 | 7 | all bits | kept |",
        "| 3 | x | all bits | kept | `session/deliver` |",
        "| 2 | 7 | all bits | kept | `session/deliver` |",
    ] {
        assert_ne!(flaws(&table(broken)), 0, "{broken}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(missing_proof(root, "session/deliver"), None);
    assert_eq!(missing_proof(root, "tests/conformance.rs::a_flawed_table_is_noticed"), None);
    for gone in
        ["session/nowhere", "tests/conformance.rs::nothing", "tests/nowhere.rs::x", "tests/conformance.rs::parse"]
    {
        assert!(missing_proof(root, gone).is_some(), "{gone}");
    }
}

fn parse(text: &str) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut findings, mut rfc) = (Vec::new(), Vec::new(), String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## RFC ") {
            rfc = title.chars().take_while(char::is_ascii_digit).collect();
        }
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else { continue };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        if matches!(cells[0], "section" | "---") {
            continue;
        }
        match cells[..] {
            [section, words, requirement, standing, proofs] if !requirement.is_empty() => match words.parse() {
                Ok(words) => rows.push(Row {
                    rfc: rfc.clone(),
                    section: section.into(),
                    words,
                    standing: standing.into(),
                    proofs: proofs.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
                }),
                Err(_) => findings.push(format!("{line}: {words} is no number")),
            },
            _ => findings.push(format!("not five cells, or an empty one: {line}")),
        }
    }
    (rows, findings)
}

fn missing_words(rows: &[Row]) -> Vec<String> {
    let mut answered: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for row in rows {
        *answered.entry((&row.rfc, &row.section)).or_default() += row.words;
    }
    let mut findings = Vec::new();
    for (rfc, sections) in COUNTED {
        for (section, counted) in sections {
            let here = answered.remove(&(rfc, section)).unwrap_or(0);
            if here != *counted {
                findings.push(format!("RFC {rfc}, {section}: {here} of {counted} requirements"));
            }
        }
    }
    findings.extend(answered.keys().map(|(rfc, section)| format!("RFC {rfc} has no requirements in {section}")));
    findings
}

fn bad_standing(row: &Row) -> Option<String> {
    let (standing, why) = row.standing.split_once(": ").unwrap_or((&row.standing, ""));
    let good = match standing {
        "kept" | "upstream" => !row.proofs.is_empty(),
        "deviates" => !row.proofs.is_empty() && !why.is_empty(),
        "other" => !why.is_empty(),
        _ => false,
    };
    (!good).then(|| format!("RFC {}, {}: standing or proof is missing: {}", row.rfc, row.section, row.standing))
}

/// A dialog by its name, or a test as `file::name`.
fn missing_proof(root: &Path, proof: &str) -> Option<String> {
    let found = match proof.split_once("::") {
        None => root.join("tests/dialogs").join(proof).with_extension("dialog").is_file(),
        Some((file, name)) => std::fs::read_to_string(root.join(file)).is_ok_and(|text| is_test(&text, name)),
    };
    (!found).then(|| format!("there is no {proof}"))
}

/// Whether the function is there and one of the three lines before it makes it a test.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains(&format!("fn {name}(")));
    at.is_some_and(|at| {
        lines[at.saturating_sub(3)..at].iter().any(|line| line.contains("test]") || line.contains("test("))
    })
}
