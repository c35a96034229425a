//! Small words about text that strangers wrote.

/// Whether `c` may stand in one line that people read: no control character, nothing invisible, nothing that
/// changes the direction of what follows.
#[must_use]
pub fn is_printable(c: char) -> bool {
    !c.is_control() && !is_invisible(c) && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// Characters that take no room or turn the text around: used to hide what a file name ends in.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` in printable ASCII, `?` for everything else: for replies to clients that may not read UTF-8.
#[must_use]
pub fn ascii(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// What a file name may turn out to end in, lower case, without the dot: `a.PDF.exe` gives `exe`.
///
/// Systems differ in what they make of a strange name when they save the file, so a strange name has several
/// endings: one for each piece between `/`, `\`, `:` and NUL (`a.exe::$DATA`, `a.exe\0.txt`). Dots, blanks,
/// quotes and invisible characters at the end of a piece do not count.
pub fn endings(name: &str) -> impl Iterator<Item = String> {
    pieces(name).filter_map(|piece| piece.rsplit_once('.')).map(|(_, ending)| bare(ending))
}

/// All extensions of a file name, in any order: `a.exe.pdf` has `exe` and `pdf`. Strange names as in [`endings`].
pub fn extensions(name: &str) -> impl Iterator<Item = String> {
    pieces(name).flat_map(|piece| piece.split('.').skip(1)).map(bare)
}

fn pieces(name: &str) -> impl Iterator<Item = &str> {
    name.split(['/', '\\', ':', '\0']).map(|piece| piece.trim_end_matches(|c| is_dropped(c) || c == '.'))
}

fn bare(ending: &str) -> String {
    ending.chars().filter(|c| !is_dropped(*c)).map(|c| c.to_ascii_lowercase()).collect()
}

fn is_dropped(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_invisible(c) || matches!(c, '"' | '\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_cannot_be_hidden() {
        for name in [
            "a.exe",
            "A.EXE",
            ".exe",
            "a.pdf.exe",
            "a.exe.",
            "a.exe . .",
            "a.exe\u{200b}",
            "a.e\u{200b}xe",
            "x/y\\a.exe",
            "a.exe/",
            "C:\\a.exe",
            "b:a.exe",
            "a.exe::$DATA",
            "\"a.exe\"",
            "fdp\u{202e}.exe",
            "a.exe\0.txt",
            "a. exe \t",
        ] {
            assert!(endings(name).any(|ending| ending == "exe"), "{name:?}");
        }
        for name in ["", "exe", "..", "a/exe", "a.exe.pdf", "a.exes"] {
            assert!(!endings(name).any(|ending| ending == "exe"), "{name:?}");
        }
    }

    #[test]
    fn extensions_are_all_of_them() {
        assert_eq!(extensions("a.Exe.pdf. ").collect::<Vec<_>>(), ["exe", "pdf"]);
    }
}
