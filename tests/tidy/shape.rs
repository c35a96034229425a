//! The shape of files: how long, how they open, and that each of them is part of the house.

use crate::Law;
use crate::source::{File, Findings, Tree, end_of_item, identifier, line_of, words};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Seventy-one lines, as an example.
const LONG_FUNCTION: &str = concat!(
    "fn long() {\n",
    "1;\n2;\n3;\n4;\n5;\n6;\n7;\n8;\n9;\n10;\n1;\n2;\n3;\n4;\n5;\n6;\n7;\n8;\n9;\n10;\n1;\n2;\n3;\n4;\n5;\n",
    "6;\n7;\n8;\n9;\n10;\n1;\n2;\n3;\n4;\n5;\n6;\n7;\n8;\n9;\n10;\n1;\n2;\n3;\n4;\n5;\n6;\n7;\n8;\n9;\n10;\n",
    "1;\n2;\n3;\n4;\n5;\n6;\n7;\n8;\n9;\n10;\n1;\n2;\n3;\n4;\n5;\n6;\n7;\n8;\n9;\n",
    "}\n"
);

pub(crate) const LAWS: &[Law] = &[
    Law {
        name: "a file has at most 500 lines",
        check: file_lines,
        broken_by: &[&[("src/smtp/long.rs", LINES_501)]],
        kept_by: &[&[("src/smtp/short.rs", LONG_FUNCTION)], &[("docs/manual.md", LINES_501)]],
    },
    Law {
        name: "a function has at most 70 lines",
        check: function_lines,
        broken_by: &[&[("src/smtp/long.rs", LONG_FUNCTION)]],
        kept_by: &[&[("src/smtp/short.rs", "fn f(a: [u8; 4]) -> fn(u8) {\n // fn }\n g('}')\n}\nfn h() {}")]],
    },
    Law {
        name: "a file opens with what the room is (//!)",
        check: opening,
        broken_by: &[&[("src/smtp/line.rs", "use std::fmt;\n//! late\n")]],
        kept_by: &[&[("src/smtp/line.rs", "//! Lines, and no more than that.\nuse std::fmt;\n")]],
    },
    Law {
        name: "every file belongs to a module",
        check: belongs,
        broken_by: &[
            &[("src/lib.rs", "mod smtp;"), ("src/smtp/mod.rs", "mod line;"), ("src/smtp/old.rs", "")],
            &[("src/lib.rs", "// mod smtp;"), ("src/smtp/mod.rs", "")],
        ],
        kept_by: &[
            &[("src/lib.rs", "pub mod smtp;"), ("src/smtp/mod.rs", "pub(crate) mod line;"), ("src/smtp/line.rs", "")],
            &[("src/lib.rs", "mod a;"), ("src/a.rs", "mod b;"), ("src/a/b.rs", "")],
            &[("tests/relay.rs", "mod support;"), ("tests/support/mod.rs", "")],
            &[("src/bin/tool.rs", ""), ("build.rs", ""), ("benches/codec.rs", "")],
        ],
    },
    Law {
        name: "every dialog says what it shows, and speaks",
        check: dialogs,
        broken_by: &[
            &[("tests/dialogs/relay/a.dialog", "S: 220 hi\nC: QUIT\n")],
            &[("tests/dialogs/relay/a.dialog", "# Nothing is said.\n")],
            &[("tests/dialogs/relay/a.dialogue", "# Says something.\nS: 220 hi\n"), ("tests/dialogs/a.txt", "")],
        ],
        kept_by: &[&[("tests/dialogs/relay/a.dialog", "# Relaying is refused.\nconfig: x\n\nS: 220 hi\nC: QUIT\n")]],
    },
];

/// One line too many.
const LINES_501: &str = match core::str::from_utf8(&[b'\n'; 501]) {
    Ok(text) => text,
    Err(_) => "",
};

fn file_lines(tree: &Tree) -> Findings {
    tree.rust()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect()
}

fn function_lines(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for file in tree.rust() {
        for at in words(&file.code, "fn ") {
            let name = identifier(&file.code[at + "fn ".len()..]);
            let end = end_of_item(&file.code, at);
            let lines = line_of(&file.code, end) - line_of(&file.code, at) + 1;
            if !name.is_empty() && lines > FUNCTION_LINES_MAX {
                findings.push(format!("{}: {name} has {lines} lines", file.at(at)));
            }
        }
    }
    findings
}

fn opening(tree: &Tree) -> Findings {
    tree.rust()
        .filter(|file| !file.text.starts_with("//!") && file.text.lines().count() > 1)
        .map(|file| format!("{}:1", file.path))
        .collect()
}

fn belongs(tree: &Tree) -> Findings {
    tree.rust().filter(|file| !is_a_root(&file.path) && !is_declared(tree, file)).map(|f| f.path.clone()).collect()
}

/// Files that cargo finds by itself.
fn is_a_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "build.rs"] | [.., "src", "lib.rs" | "main.rs"] | [.., "bin", _] => true,
        [.., "tests" | "benches" | "examples" | "fuzz_targets", file] => *file != "mod.rs",
        [.., "tests" | "benches" | "examples", _, "main.rs"] => true,
        _ => false,
    }
}

fn is_declared(tree: &Tree, file: &File) -> bool {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let (folder, module) = match name {
        "mod.rs" => folder.rsplit_once('/').unwrap_or(("", folder)),
        _ => (folder, name.trim_end_matches(".rs")),
    };
    let parents =
        [format!("{folder}/mod.rs"), format!("{folder}/lib.rs"), format!("{folder}/main.rs"), format!("{folder}.rs")];
    let declares = |parent: &File| words(&parent.code, &format!("mod {module};")).next().is_some();
    let named = tree.rust().any(|parent| parents.contains(&parent.path) && declares(parent));
    // Each test beside `tests/support` declares what it uses of it.
    let shared = tree.rust().any(|other| is_a_root(&other.path) && sits_in(&other.path, folder) && declares(other));
    let by_path = tree.rust().any(|other| other.text.contains(&format!("#[path = \"{name}\"]")));
    named || shared || by_path
}

fn sits_in(path: &str, folder: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder)
}

fn dialogs(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for file in tree.files.iter().filter(|file| file.path.contains("/dialogs/")) {
        let is_dialog = file.path.ends_with(".dialog");
        if !is_dialog && !file.path.ends_with(".toml") && !file.path.ends_with(".md") && !file.path.ends_with(".rs") {
            findings.push(format!("{}: nobody replays this", file.path));
        }
        if is_dialog && !file.text.starts_with("# ") {
            findings.push(format!("{}:1: the first line is a sentence", file.path));
        }
        let answers = |line: &str| line.starts_with("S: ") || line.starts_with("S! ");
        if is_dialog && !file.text.lines().any(|line| answers(line.trim_start())) {
            findings.push(format!("{}: we never speak", file.path));
        }
    }
    findings
}
