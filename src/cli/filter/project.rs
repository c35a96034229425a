//! A filter's folder: what its `filter.toml` says, and what of ours has to lie in it.
//!
//! ```toml
//! name = "no-exe"
//! lang = "rust"
//!
//! [filter]                       # as its [[filter]] in wasmilter.toml would have it
//! grants = { mime = true }
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::ours;

/// What describes a filter's folder.
const MANIFEST: &str = "filter.toml";
/// A name becomes names of files, of a crate and of a `[[filter]]`.
const NAME_BYTES_MAX: usize = 64;
/// Names that a crate cannot have, or that would hide one that every crate needs.
const NAMES_TAKEN: [&str; 8] = ["test", "core", "std", "alloc", "sdk", "wit", "target", "wasmilter-filter"];

/// The languages with an SDK of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    Rust,
    C,
    #[value(alias = "javascript")]
    Js,
    Python,
}

impl Language {
    pub(super) const ALL: [Language; 4] = [Language::Rust, Language::C, Language::Js, Language::Python];

    /// As it is written in `filter.toml` and after `--lang`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::C => "c",
            Language::Js => "js",
            Language::Python => "python",
        }
    }

    fn parse(word: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.word() == word)
    }
}

/// A filter's folder.
#[derive(Debug)]
pub(super) struct Project {
    pub dir: PathBuf,
    pub name: String,
    pub language: Language,
    /// What a `[[filter]]` would hold beside name and path.
    pub filter: toml::Table,
}

impl Project {
    /// Reads the folder's `filter.toml`.
    ///
    /// # Errors
    /// There is none, or what is wrong with it.
    pub(super) fn load(dir: &Path) -> anyhow::Result<Project> {
        let path = dir.join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "{}: this folder is no filter's (`wasmilter filter new NAME` makes one; in a folder of your own, \
                 write two lines into {MANIFEST}: name = \"my-filter\" and lang = \"rust\", \"c\", \"js\" or \
                 \"python\")",
                path.display()
            )
        })?;
        Project::parse(dir, &text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
    }

    fn parse(dir: &Path, text: &str) -> Result<Project, String> {
        let mut table: toml::Table = text.parse().map_err(|why: toml::de::Error| why.to_string())?;
        let mut word = |key: &str| match table.remove(key) {
            Some(toml::Value::String(word)) => Ok(word),
            Some(_) => Err(format!("`{key}` is no text")),
            None => Err(format!("`{key}` is missing")),
        };
        let (name, lang) = (word("name")?, word("lang")?);
        if let Some(fault) = name_fault(&name) {
            return Err(format!("the name \"{name}\" {fault}"));
        }
        let language = Language::parse(&lang)
            .ok_or_else(|| format!("`lang` is \"{lang}\", and there are \"rust\", \"c\", \"js\" and \"python\""))?;
        let filter = match table.remove("filter") {
            None => toml::Table::new(),
            Some(toml::Value::Table(filter)) => filter,
            Some(_) => return Err("`filter` is no table: write `[filter]`".to_owned()),
        };
        match table.keys().next() {
            Some(unknown) => Err(format!("knows no `{unknown}`, only `name`, `lang` and the table `[filter]`")),
            None => Ok(Project { dir: dir.to_owned(), name, language, filter }),
        }
    }

    /// Where `build` leaves the component.
    pub(super) fn component(&self) -> PathBuf {
        // Without the dot that stands for the folder one is in.
        let dir = if self.dir == Path::new(".") { Path::new("") } else { self.dir.as_path() };
        dir.join("target").join(format!("{}.wasm", self.name))
    }

    /// Writes what of ours is not there: the contract, the SDK. Says what was written.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn complete(&self) -> anyhow::Result<Vec<&'static str>> {
        let mut written = Vec::new();
        for folder in ours::folders(self.language) {
            let place = self.dir.join(folder.place);
            if !place.exists() {
                for (name, text) in folder.files {
                    write_new(&place.join(name), text)?;
                }
                written.push(folder.place);
            }
        }
        Ok(written)
    }
}

/// Writes a file that is not there yet, and the folders it needs.
///
/// # Errors
/// It is there, or it cannot be written.
pub(super) fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut file = fs::File::create_new(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    write().with_context(|| path.display().to_string())
}

/// What is wrong with a filter's name, as the end of a sentence.
pub(super) fn name_fault(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() {
        return Some("is no name".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Some(format!("is longer than {NAME_BYTES_MAX} characters"));
    }
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        let instead: String = name.to_lowercase().chars().map(|c| if allowed(c) { c } else { '-' }).collect::<String>();
        let instead = instead.trim_matches('-').to_owned();
        let hint = if name_fault(&instead).is_none() { format!(": how about {instead}?") } else { String::new() };
        return Some(format!(
            "has the character `{}`; a filter's name has small letters, digits and hyphens, as in no-exe{hint}",
            wrong.escape_default()
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("does not begin with a letter".to_owned());
    }
    if name.ends_with('-') || name.contains("--") {
        return Some("ends with a hyphen, or has two in a row".to_owned());
    }
    if NAMES_TAKEN.contains(&name) {
        return Some("already means something to the tools: take another".to_owned());
    }
    if KEYWORDS.contains(&format!(" {name} ")) {
        return Some("is a word of the language: add another one to it, as in my-filter".to_owned());
    }
    None
}

/// Rust's keywords, which no crate is called by.
const KEYWORDS: &str = " abstract as async await become box break const continue crate do dyn else enum extern false \
    final fn for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super \
    trait true try type typeof unsafe unsized use virtual where while yield ";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_explained() {
        for good in ["no-exe", "a", "spf2-check"] {
            assert_eq!(name_fault(good), None, "{good}");
        }
        for (bad, word) in [
            ("", "no name"),
            ("No Exe", "how about no-exe?"),
            ("no_exe", "how about no-exe?"),
            ("../x", "small letters"),
            ("2fa", "begin with a letter"),
            ("a--b", "hyphen"),
            ("fn", "word of the language"),
            ("test", "means something"),
        ] {
            let fault = name_fault(bad).unwrap();
            assert!(fault.contains(word), "{bad}: {fault}");
        }
        assert!(name_fault(&"a".repeat(65)).unwrap().contains("64"));
    }

    #[test]
    fn a_manifest_says_what_it_lacks() {
        let parse = |text: &str| Project::parse(Path::new("."), text);
        let project = parse("name = 'x'\nlang = 'c'\n[filter]\ngrants = { mime = true }").unwrap();
        assert_eq!((project.name.as_str(), project.language), ("x", Language::C));
        assert!(project.filter.contains_key("grants"));
        for (text, word) in [
            ("lang = 'c'", "`name` is missing"),
            ("name = 'x'", "`lang` is missing"),
            ("name = 'x'\nlang = 'go'", "there are"),
            ("name = 'X'\nlang = 'c'", "how about x?"),
            ("name = 'x'\nlang = 'c'\nfliter = 1", "knows no `fliter`"),
            ("name = ", "TOML parse error"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }
}
