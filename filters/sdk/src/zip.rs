//! What is inside a ZIP archive, by its directory. Refuses what it cannot list whole; unpacks nothing.

/// The record at the end of an archive, with the longest comment there is.
const END_BYTES_MAX: u32 = 22 + 65_535;
/// A directory beyond it is not listed.
const DIRECTORY_BYTES_MAX: u32 = 512 * 1_024;

/// What every ordinary archive begins with.
pub(crate) const BEGINNING: &[u8] = b"PK\x03\x04";

/// The file names in the archive that `read(offset, len)` gives access to.
pub(crate) fn names(size: u32, read: impl Fn(u32, u32) -> Vec<u8>) -> Option<Vec<String>> {
    let tail = read(size.saturating_sub(END_BYTES_MAX), END_BYTES_MAX);
    let end = tail.get(tail.windows(4).rposition(|four| four == b"PK\x05\x06")?..)?;
    let [len, at] = [12, 16].map(|place| Some(u32::from_le_bytes(end.get(place..place + 4)?.try_into().ok()?)));
    let directory = read(at?, len.filter(|len| *len <= DIRECTORY_BYTES_MAX)?);
    let (mut rest, mut names) = (directory.as_slice(), Vec::new());
    while rest.starts_with(b"PK\x01\x02") {
        let [name, extra, comment] =
            [28, 30, 32].map(|at| Some(usize::from(u16::from_le_bytes(rest.get(at..at + 2)?.try_into().ok()?))));
        names.push(String::from_utf8_lossy(rest.get(46..46 + name?)?).into_owned());
        rest = rest.get(46 + name? + extra? + comment?..)?;
    }
    (rest.is_empty() && !names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_zip_archive_is_listed_or_said_to_be_unreadable() {
        let entry =
            |name: &str| [b"PK\x01\x02", [0; 24].as_slice(), &[name.len() as u8], &[0; 17], name.as_bytes()].concat();
        let zip = |directory: &[u8]| {
            let len = (directory.len() as u32).to_le_bytes();
            [b"local", directory, b"PK\x05\x06\0\0\0\0\0\0\0\0", &len, &5u32.to_le_bytes(), b"\0\0"].concat()
        };
        let names = |zip: &[u8]| {
            super::names(zip.len() as u32, |at, len| zip.iter().skip(at as usize).take(len as usize).copied().collect())
        };
        let directory = [entry("a.txt"), entry("b/c.exe")].concat();
        assert_eq!(names(&zip(&directory)), Some(vec!["a.txt".to_owned(), "b/c.exe".to_owned()]));
        for broken in [zip(&[]), zip(b"PK\x01\x02 short"), directory, b"PK\x05\x06".to_vec(), Vec::new()] {
            assert_eq!(names(&broken), None);
        }
    }
}
