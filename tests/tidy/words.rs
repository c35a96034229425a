//! Words that have no place here, and documents that must exist when somebody points at them.

use crate::Law;
use crate::source::{File, Findings, Tree, words};

pub(crate) const LAWS: &[Law] = &[
    Law {
        name: "nothing is left for later",
        check: unfinished,
        broken_by: &[
            &[("src/smtp/line.rs", concat!("fn f() { to", "do!() }"))],
            &[("src/smtp/line.rs", concat!("fn f() { unimple", "mented!() }"))],
            &[("src/smtp/line.rs", concat!("// FIX", "ME: later"))],
            &[("docs/manual.md", concat!("X", "XX"))],
            &[("config/minimal.toml", concat!("# TO", "DO say why"))],
        ],
        kept_by: &[&[("src/smtp/line.rs", "fn f() { method!(); todos.push(1) } // mktemp XXXXXX")]],
    },
    Law {
        name: "no test is switched off",
        check: |tree| code_words(tree.rust(), &["#[ignore", "ignore ="]),
        broken_by: &[&[("tests/relay.rs", concat!("#[test]\n#[ign", "ore]\nfn f() {}"))]],
        kept_by: &[&[("tests/relay.rs", "// #[ignore] is not used\n#[test]\nfn f() {}")]],
    },
    Law {
        name: "a test waits for a condition, never for a time",
        check: sleeps,
        broken_by: &[
            &[("tests/relay.rs", "fn f() { std::thread::sleep(d); }")],
            &[("src/net/lines_tests.rs", "async fn f() { tokio::time::sleep(d).await; }")],
            &[("src/net/lines.rs", "#[cfg(test)]\nmod tests { async fn f() { tokio::time::sleep(d).await; } }")],
        ],
        kept_by: &[&[("src/server/mod.rs", "async fn f() { tokio::time::sleep(pause).await; }")]],
    },
    Law {
        name: "nothing knows the machine it was written on",
        check: machine_paths,
        broken_by: &[
            &[("src/cli/mod.rs", concat!("const P: &str = \"/ho", "me/ann/mail\";"))],
            &[("README.md", concat!("see /ro", "ot/x"))],
            &[("xtask/src/main.rs", concat!("// /wo", "rk/x"))],
            &[("config/minimal.toml", concat!("path = \"/tm", "p/wt/x\""))],
        ],
        kept_by: &[&[("README.md", "put it in /etc/wasmilter, /var/lib/wasmilter or http://mx.example/homework/x")]],
    },
    Law {
        name: "a document that is pointed at exists",
        check: documents,
        broken_by: &[&[("src/lib.rs", "//! See PLANS.md for more.")], &[("README.md", "as docs/manual.md says")]],
        kept_by: &[
            &[("tests/dialogs/a.dialog", "C: name=a.exe.md")],
            &[("src/lib.rs", "//! See ARCHITECTURE.md."), ("ARCHITECTURE.md", "")],
            &[
                ("README.md", "read docs/manual.md, or [it](manual.md)"),
                ("docs/manual.md", "see https://x.example/a.md, or [the other](../README.md)"),
            ],
        ],
    },
    Law {
        name: "the README shows the lines for Postfix that are shipped and tested",
        check: shown_lines,
        broken_by: &[&[
            ("packaging/postfix/master.cf", "# why\na inet smtpd\n  -o b=c\n"),
            ("README.md", "a inet smtpd\n"),
        ]],
        kept_by: &[&[("packaging/postfix/master.cf", "# why\n  -o b=c\n"), ("README.md", "x\n  -o b=c\ny\n")]],
    },
];

fn shown_lines(tree: &Tree) -> Findings {
    let text = |path: &str| tree.files.iter().find(|file| file.path == path).map_or("", |file| file.text.as_str());
    let shown: Vec<&str> = text("README.md").lines().collect();
    let shipped = text("packaging/postfix/master.cf").lines().filter(|line| !line.starts_with('#'));
    shipped.filter(|line| !shown.contains(line)).map(|line| format!("README.md lacks: {line}")).collect()
}

fn unfinished(tree: &Tree) -> Findings {
    const MACROS: [&str; 2] = [concat!("to", "do!"), concat!("unimple", "mented!")];
    const NOTES: [&str; 5] = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO"), "TBD", "WIP"];
    let mut findings = code_words(tree.rust(), &MACROS);
    for file in tree.files.iter().filter(|file| !file.path.starts_with("tests/tidy/")) {
        for note in NOTES {
            findings.extend(words(&file.comments, note).map(|at| format!("{}: {note}", file.at(at))));
        }
    }
    findings
}

fn sleeps(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    // A hostile guest may sleep: that is what it is tested for.
    let guest = |path: &str| path.starts_with("tests/guests/") && path.contains("/src/");
    for file in tree.rust().filter(|file| !guest(&file.path)) {
        let shipped = |at: &usize| file.shipped.get(*at..).is_some_and(|rest| rest.starts_with("sleep("));
        findings.extend(words(&file.code, "sleep(").filter(|at| !shipped(at)).map(|at| file.at(at)));
    }
    findings
}

fn machine_paths(tree: &Tree) -> Findings {
    const ROOTS: [&str; 6] = [
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/wt"),
        concat!("/tm", "p/plan"),
    ];
    let mut findings = Findings::new();
    for file in &tree.files {
        for root in ROOTS {
            // A path starts here: `a/home/` is somebody's folder inside something else.
            let starts = |at: &usize| {
                let before = file.text[..*at].bytes().last();
                !before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'}' || b == b'_')
            };
            let hits = file.text.match_indices(root).map(|(at, _)| at).filter(starts);
            findings.extend(hits.map(|at| format!("{}: {root}…", file.at(at))));
        }
    }
    findings
}

fn documents(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    // Dialogs hold mail, and mail may name anything.
    let written_by_us = |file: &&File| !file.path.starts_with("tests/tidy/") && !file.path.ends_with(".dialog");
    for file in tree.files.iter().filter(written_by_us) {
        for (at, name) in named_documents(&file.comments) {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let base = name.rsplit('/').next().unwrap_or(name);
            let exists = tree.has(name)
                || tree.has(&joined(folder, name))
                || (base == name && tree.files.iter().any(|f| f.path.rsplit('/').next() == Some(name)));
            if !exists {
                findings.push(format!("{}: {name}", file.at(at)));
            }
        }
    }
    findings
}

/// `name` as seen from `folder`, with its `..` walked.
fn joined(folder: &str, name: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every `some/name.md` that is not part of an address on the web.
fn named_documents(text: &str) -> Vec<(usize, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    let mut found = Vec::new();
    for (end, _) in text.match_indices(".md").map(|(at, ending)| (at + ending.len(), ending)) {
        if text[end..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let start = text[..end].rfind(|c: char| !inside(c)).map_or(0, |at| at + 1);
        if let Some(name) = text.get(start..end)
            && !name.contains("//")
            && name.len() > ".md".len()
        {
            found.push((start, name.trim_start_matches("./")));
        }
    }
    found
}

fn code_words<'a>(files: impl Iterator<Item = &'a File>, wanted: &[&str]) -> Findings {
    files
        .flat_map(|file| {
            let hits = wanted.iter().flat_map(|word| words(&file.code, word).map(move |at| (at, *word)));
            hits.map(|(at, word)| format!("{}: {word}", file.at(at))).collect::<Vec<_>>()
        })
        .collect()
}
