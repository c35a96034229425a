//! Messages from files: one in a file, an mbox, a Maildir, folders of these. One after the other, so that a large mailbox
//! is never in memory as a whole.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Octets of one message; what is larger is said to be, and left out.
pub(super) const MESSAGE_BYTES_MAX: usize = 128 << 20;
/// Folders inside of one another.
const DEPTH_MAX: u32 = 32;

/// A message as it lay there, with lines that end in CRLF.
#[derive(Debug)]
pub(super) struct Mail {
    /// The file, and the number of the message in an mbox.
    pub name: String,
    pub content: Vec<u8>,
    /// Who sent it, according to the line that an mbox has before it.
    pub mbox_sender: Option<String>,
}

/// The messages of some files and folders.
#[derive(Debug)]
pub(super) struct Mails {
    files: VecDeque<PathBuf>,
    mbox: Option<Mbox>,
    /// Octets of all files, and of those that were read.
    pub octets: u64,
    pub octets_read: u64,
}

impl Mails {
    /// Finds the files; none is read yet.
    ///
    /// # Errors
    /// What is not there, with its path.
    pub(super) fn find(paths: &[PathBuf]) -> Result<Mails, (PathBuf, io::Error)> {
        let mut files = Vec::new();
        for path in paths {
            find(path, 0, &mut files).map_err(|why| (path.clone(), why))?;
        }
        let octets = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        Ok(Mails { files: files.into(), mbox: None, octets, octets_read: 0 })
    }

    /// None: that was all.
    pub(super) fn next(&mut self) -> Option<Result<Mail, (PathBuf, io::Error)>> {
        loop {
            if let Some(mbox) = &mut self.mbox {
                match mbox.next() {
                    Ok(Some((mail, octets))) => {
                        self.octets_read += octets;
                        return Some(Ok(mail));
                    }
                    Ok(None) => self.mbox = None,
                    Err(why) => {
                        let path = mbox.path.clone();
                        self.mbox = None;
                        return Some(Err((path, why)));
                    }
                }
                continue;
            }
            let path = self.files.pop_front()?;
            match open(&path) {
                Ok(Opened::Mbox(mbox)) => self.mbox = Some(mbox),
                Ok(Opened::Message(content)) => {
                    self.octets_read += content.len() as u64;
                    let name = path.display().to_string();
                    return Some(Ok(Mail { name, content: with_crlf(&content), mbox_sender: None }));
                }
                Err(why) => return Some(Err((path, why))),
            }
        }
    }
}

/// A file; the messages of a Maildir; every file below a folder.
fn find(path: &Path, depth: u32, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.metadata()?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth > DEPTH_MAX {
        return Err(io::Error::other("folders are nested too deep"));
    }
    let mut inside = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    inside.sort();
    let is_maildir = path.join("cur").is_dir() && path.join("new").is_dir();
    for entry in inside {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        // A Maildir's folders begin with a dot; its `tmp` holds what is not complete.
        let skipped = if is_maildir { name == "tmp" } else { name.starts_with('.') };
        let indexes = is_maildir && entry.is_file();
        if !skipped && !indexes {
            find(&entry, depth + 1, files)?;
        }
    }
    Ok(())
}

enum Opened {
    Message(Vec<u8>),
    Mbox(Mbox),
}

fn open(path: &Path) -> io::Result<Opened> {
    let mut reader = BufReader::new(File::open(path)?);
    if reader.fill_buf()?.starts_with(b"From ") {
        return Ok(Opened::Mbox(Mbox { path: path.to_owned(), reader, line: Vec::new(), number: 0 }));
    }
    let mut content = Vec::new();
    reader.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MESSAGE_BYTES_MAX { Err(too_large()) } else { Ok(Opened::Message(content)) }
}

fn too_large() -> io::Error {
    io::Error::other(format!("a message of more than {} MiB", MESSAGE_BYTES_MAX >> 20))
}

#[derive(Debug)]
struct Mbox {
    path: PathBuf,
    reader: BufReader<File>,
    /// The line `From …` that was read already.
    line: Vec<u8>,
    number: u64,
}

impl Mbox {
    /// The next message, and how many octets of the file it was.
    fn next(&mut self) -> io::Result<Option<(Mail, u64)>> {
        if self.line.is_empty() && self.read_line()? == 0 {
            return Ok(None);
        }
        let first = std::mem::take(&mut self.line);
        let mut octets = first.len() as u64;
        let mut content = Vec::new();
        let mut after_empty = true;
        loop {
            self.line.clear();
            let read = self.read_line()?;
            octets += read as u64;
            if read == 0 {
                break;
            }
            if after_empty && self.line.starts_with(b"From ") {
                octets -= read as u64;
                break;
            }
            let line = unquoted(self.line.trim_ascii_end_of_line());
            after_empty = line.is_empty();
            content.extend_from_slice(line);
            content.extend_from_slice(b"\r\n");
            if content.len() > MESSAGE_BYTES_MAX {
                return Err(too_large());
            }
        }
        // The empty line before the next message is the mbox's.
        if content.ends_with(b"\r\n\r\n") {
            content.truncate(content.len() - 2);
        }
        self.number += 1;
        let name = format!("{}:{}", self.path.display(), self.number);
        Ok(Some((Mail { name, content, mbox_sender: sender_of(&first) }, octets)))
    }

    fn read_line(&mut self) -> io::Result<usize> {
        let read = (&mut self.reader).take(MESSAGE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut self.line)?;
        if read > MESSAGE_BYTES_MAX { Err(too_large()) } else { Ok(read) }
    }
}

trait Line {
    fn trim_ascii_end_of_line(&self) -> &[u8];
}

impl Line for Vec<u8> {
    fn trim_ascii_end_of_line(&self) -> &[u8] {
        let line = self.strip_suffix(b"\n").unwrap_or(self);
        line.strip_suffix(b"\r").unwrap_or(line)
    }
}

/// `>From ` was `From ` (and `>>From ` was `>From `).
fn unquoted(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|octet| **octet == b'>').count();
    let rest = line.get(quotes..).unwrap_or_default();
    if quotes > 0 && rest.starts_with(b"From ") { line.get(1..).unwrap_or_default() } else { line }
}

/// `From a@example.org Sat Jan  3 …`.
fn sender_of(line: &[u8]) -> Option<String> {
    let sender = line.split(u8::is_ascii_whitespace).nth(1).and_then(|word| std::str::from_utf8(word).ok())?;
    (sender.contains('@')).then(|| sender.trim_matches(['<', '>']).to_owned())
}

/// A lone LF becomes CRLF, as it does when a message is handed in.
fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 32);
    let mut after_cr = false;
    for octet in content {
        if *octet == b'\n' && !after_cr {
            out.push(b'\r');
        }
        out.push(*octet);
        after_cr = *octet == b'\r';
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(paths: &[PathBuf]) -> Vec<Mail> {
        let mut mails = Mails::find(paths).unwrap();
        let found = std::iter::from_fn(|| mails.next()).map(Result::unwrap).collect();
        assert_eq!(mails.octets, mails.octets_read);
        found
    }

    #[test]
    fn an_mbox_comes_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("box");
        let text = "From a@x.test Sat Jan  3 01:05:34 1996\nSubject: one\n\n>From here\n>>From there\nFrom inside\n\nFrom - \
                    Sat\nSubject: two\n\nx\r\n";
        std::fs::write(&path, text).unwrap();
        let found = all(&[path]);
        let texts: Vec<_> = found.iter().map(|mail| String::from_utf8_lossy(&mail.content).into_owned()).collect();
        assert_eq!(
            texts,
            ["Subject: one\r\n\r\nFrom here\r\n>From there\r\nFrom inside\r\n", "Subject: two\r\n\r\nx\r\n"]
        );
        assert_eq!(found.iter().map(|mail| mail.mbox_sender.as_deref()).collect::<Vec<_>>(), [Some("a@x.test"), None]);
        assert!(found.iter().all(|mail| mail.name.contains("box:")));
    }

    #[test]
    fn a_maildir_is_its_messages_and_a_folder_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("mail/cur/1:2,S", "A: b\n\n1"),
            ("mail/new/2", "A: b\r\n\r\n2\r\n"),
            ("mail/tmp/3", "half"),
            ("mail/dovecot.index", "no mail"),
            ("mail/.Sent/cur/4", "A: b\n\n4\n"),
            ("other/deep/5.eml", "A: b\n\n5\n"),
            ("other/.hidden", "no"),
        ] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("mail/.Sent/new")).unwrap();
        let found = all(&[folder.path().join("mail"), folder.path().join("other")]);
        let last: Vec<_> =
            found.iter().map(|mail| mail.content.get(mail.content.len() - 3).copied().unwrap()).collect();
        assert_eq!(last, *b"4125");
        assert!(found.iter().all(|mail| mail.content.ends_with(b"\r\n")));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let (path, _) = Mails::find(&[PathBuf::from("nowhere")]).unwrap_err();
        assert_eq!(path, PathBuf::from("nowhere"));
    }
}
