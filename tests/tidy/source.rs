//! The tree as the laws see it: every text file once, Rust files also without comments and without literals.
//!
//! This is a lexer's first half and nothing more: it knows where a comment, a string or a character literal ends,
//! so that a law about code is not fooled by a sentence about code.

use std::path::Path;

/// The repository, or a made-up one in a self-test.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One text file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the repository's top, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Rust only: `text` with comments and the inside of literals blanked; same length, same lines.
    pub(crate) code: String,
    /// `code` with every item under `#[cfg(test)]` blanked as well.
    pub(crate) shipped: String,
    /// Rust only: `text` with everything but comments blanked. Other files: all of it.
    pub(crate) comments: String,
}

/// A broken law: where and how.
pub(crate) type Findings = Vec<String>;

const TEXT_ENDINGS: [&str; 13] =
    ["rs", "toml", "md", "wit", "dialog", "py", "sh", "service", "socket", "cf", "txt", "json", "yml"];

impl Tree {
    /// Everything under `root` but build output and hidden folders other than `.ci` and `.cargo`.
    pub(crate) fn read(root: &Path) -> Tree {
        let mut tree = Tree::default();
        tree.enter(root, "");
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    /// A made-up tree, for the laws' own tests.
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| File::new((*path).into(), (*text).into())).collect() }
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The Rust files of the host itself.
    pub(crate) fn host(&self) -> impl Iterator<Item = &File> {
        self.rust().filter(|file| file.path.starts_with("src/"))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    fn enter(&mut self, root: &Path, inside: &str) {
        let folder = root.join(inside);
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display())) {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().expect("file names are UTF-8");
            let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
            let kind = entry.file_type().unwrap();
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if kind.is_dir() && name != "target" && name != "corpus" && !hidden {
                self.enter(root, &path);
            } else if kind.is_file() && TEXT_ENDINGS.iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
                // Dialogs and bad configurations may hold any octets on purpose.
                let text = std::fs::read(entry.path()).unwrap();
                self.files.push(File::new(path, String::from_utf8_lossy(&text).into_owned()));
            }
        }
    }
}

impl File {
    pub(crate) fn new(path: String, text: String) -> File {
        let (code, comments) = if path.ends_with(".rs") { split(&text) } else { (String::new(), text.clone()) };
        let shipped = if is_test(&path) { blank(&code) } else { without_tests(&code) };
        File { path, text, code, shipped, comments }
    }

    /// `path:line` of an offset into any of the views.
    pub(crate) fn at(&self, offset: usize) -> String {
        format!("{}:{}", self.path, line_of(&self.text, offset))
    }
}

/// The line number, from 1, of an offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}

/// Offsets where `needle` stands as a whole word (its ends touch no letter, digit or underscore).
pub(crate) fn words<'a>(hay: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    hay.match_indices(needle).map(|(at, _)| at).filter(move |at| {
        let bytes = hay.as_bytes();
        let before = at.checked_sub(1).and_then(|i| bytes.get(i));
        let starts_word = part(needle.as_bytes().first());
        let ends_word = part(needle.as_bytes().last());
        !(starts_word && part(before) || ends_word && part(bytes.get(at + needle.len())))
    })
}

/// The identifier at the start of `text`, possibly empty.
pub(crate) fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// The offset just after the block that opens at or after `from` (`{ … }`), or after the `;` that comes first.
/// `code` must be free of comments and literals.
pub(crate) fn end_of_item(code: &str, from: usize) -> usize {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b'{' => curly += 1,
            b'}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return at + 1;
                }
            }
            b';' if curly == 0 && round == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Files whose module stands under `#[cfg(test)]`, known by their names, and everything under `tests/`.
fn is_test(path: &str) -> bool {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    folders.split('/').any(|folder| folder == "tests") || file == "tests.rs" || file.ends_with("_tests.rs")
}

fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    for (at, _) in code.match_indices(MARK) {
        let end = end_of_item(code, at + MARK.len());
        out.replace_range(at..end, &blank(&code[at..end]));
    }
    out
}

/// Spaces of the same length, with the line ends kept.
fn blank(text: &str) -> String {
    text.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect()
}

/// Splits Rust text into (code, comments), both as long as `text`.
fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (length, kind) = token(rest, code.as_bytes().last().copied());
        let (piece, tail) = rest.split_at(length);
        match kind {
            Kind::Code => {
                // Offsets must stay the same where a letter is longer than one octet.
                code.push_str(&if piece.is_ascii() { piece.to_owned() } else { "_".repeat(piece.len()) });
                comments.push_str(&blank(piece));
            }
            Kind::Comment => {
                code.push_str(&blank(piece));
                comments.push_str(piece);
            }
            Kind::Literal => {
                // The quotes stay, so that `f("x")` still looks like a call with an argument.
                let mut inside = blank(piece);
                inside.replace_range(..1, "\"");
                inside.replace_range(inside.len() - 1.., "\"");
                code.push_str(&inside);
                comments.push_str(&blank(piece));
            }
        }
        rest = tail;
    }
    (code, comments)
}

#[derive(Clone, Copy)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Length and kind of the next piece; `before` is the octet in front of it.
fn token(rest: &str, before: Option<u8>) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Comment);
    }
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !in_word && let Some(length) = raw_string(rest) {
        return (length, Kind::Literal);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), Kind::Literal);
    }
    if rest.starts_with('\'') && is_char_literal(rest) {
        return (quoted(rest, '\''), Kind::Literal);
    }
    (rest.chars().next().map_or(1, char::len_utf8), Kind::Code)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(next) = rest.get(at..) {
        if next.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if next.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match next.chars().next() {
                Some(c) => at += c.len_utf8(),
                None => break,
            }
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, also with `b` or `c` in front.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"]
        .into_iter()
        .find(|p| rest.strip_prefix(p).is_some_and(|tail| tail.trim_start_matches('#').starts_with('"')))?;
    let tail = &rest[prefix.len()..];
    let hashes = tail.len() - tail.trim_start_matches('#').len();
    let closing = format!("\"{}", "#".repeat(hashes));
    let start = prefix.len() + hashes + 1;
    let end = rest[start..].find(&closing)?;
    Some(start + end + closing.len())
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'a'` and `'\n'`, but not the lifetime `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}
