//! The laws of ARCHITECTURE.md that text can check, and for each a proof that it can fail.
//!
//! A law is a function over the tree. It carries made-up files that break it and made-up files that only look as
//! if they did; a law that stays silent about the former, or speaks about the latter, fails here before it can
//! mislead anybody. This test knows nothing about the gateway and builds without it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod floors;
mod shape;
mod source;
mod words;

use std::path::Path;

use source::{Findings, Tree};

/// A made-up file: path and text.
type Sample = (&'static str, &'static str);

/// One law.
pub(crate) struct Law {
    name: &'static str,
    check: fn(&Tree) -> Findings,
    /// Trees of a few files that break it.
    broken_by: &'static [&'static [Sample]],
    /// Trees that it has to leave alone.
    kept_by: &'static [&'static [Sample]],
}

fn laws() -> impl Iterator<Item = &'static Law> {
    [floors::LAWS, shape::LAWS, words::LAWS].into_iter().flatten()
}

#[test]
fn the_house_keeps_its_laws() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.has("src/lib.rs") && tree.has("tests/tidy/main.rs"), "this is not the repository");
    let findings: Vec<String> = laws()
        .flat_map(|law| (law.check)(&tree).into_iter().map(move |finding| format!("  {}: {finding}", law.name)))
        .collect();
    assert!(findings.is_empty(), "{} broken:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn each_law_can_fail() {
    for law in laws() {
        assert!(!law.broken_by.is_empty(), "{} has no example that breaks it", law.name);
        for sample in law.broken_by {
            assert!(!(law.check)(&Tree::of(sample)).is_empty(), "{} is silent about {sample:?}", law.name);
        }
    }
}

#[test]
fn no_law_cries_wolf() {
    for law in laws() {
        for sample in law.kept_by {
            let findings = (law.check)(&Tree::of(sample));
            assert!(findings.is_empty(), "{} is wrong about {sample:?}: {findings:?}", law.name);
        }
    }
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a /* b /* c */ d */ e // f\n\"g \\\" h\" r#\"i \" j\"# 'k' '\\'' &'l m b\"n\" é o\n";
    let file = source::File::new("x.rs".into(), text.into());
    for word in ["a", "e", "l", "m", "o"] {
        assert_eq!(source::words(&file.code, word).count(), 1, "{word} is code: {}", file.code);
    }
    for word in ["b", "c", "d", "f", "g", "h", "i", "j", "k", "n"] {
        // `b"n"` keeps its prefix, everything else is gone.
        let left = source::words(&file.code, word).count();
        assert_eq!(left, usize::from(word == "b"), "{word} is not code: {}", file.code);
    }
    assert_eq!(file.code.len(), text.len());
    assert_eq!(file.comments.len(), text.len());
    assert!(file.comments.contains("// f") && !file.comments.contains('o'));
}

#[test]
fn tests_are_not_shipped() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { y } }\n}\nfn c() {}\n";
    let file = source::File::new("x.rs".into(), text.into());
    assert!(file.shipped.contains("fn a") && file.shipped.contains("fn c") && !file.shipped.contains("fn b"));
    assert_eq!(file.at(file.code.find("fn c").unwrap()), "x.rs:6");
}
