//! Trees of honest messages and of bombs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;

fn parse(text: &str) -> Tree {
    Tree::parse(text.replace('\n', "\r\n").into_bytes()).unwrap()
}

fn brief(tree: &Tree) -> Vec<String> {
    let name = |part: &Part| part.file_name.as_deref().map(|name| format!(" [{name}]")).unwrap_or_default();
    tree.parts()
        .iter()
        .map(|part| {
            let parent = part.parent.map_or_else(|| "-".into(), |parent| parent.to_string());
            format!("{parent} {}{} {}", part.media_type, name(part), part.octets().len())
        })
        .collect()
}

#[test]
fn a_plain_message_is_one_part() {
    let tree = parse("Subject: x\n\nhello\n");
    assert_eq!(brief(&tree), ["- text/plain 7"]);
    assert_eq!(tree.parts()[0].text(100).as_deref(), Some("hello\r\n"));
    assert_eq!(brief(&parse("")), ["- text/plain 0"]);
    assert_eq!(brief(&parse("\nno header\n")).len(), 1);
}

const MIXED: &str = "MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"b1\"

preamble
--b1
Content-Type: TEXT/Plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9
--b1
Content-Type: application/octet-stream; name*0=inv; name*1=oice
Content-Disposition: Attachment; filename*=utf-8''inv%C3%B6ice.exe
Content-Transfer-Encoding: base64

TVqQ
AAM=
--b1
Content-Type: image/png; name=\"=?utf-8?b?w7YucG5n?=\"
Content-Disposition: inline

raw
--b1--
";

#[test]
fn names_types_and_contents_are_decoded() {
    let tree = parse(MIXED);
    assert_eq!(
        brief(&tree),
        [
            "- multipart/mixed 0",
            "0 text/plain 4",
            "0 application/octet-stream [invöice.exe] 5",
            "0 image/png [ö.png] 3"
        ]
    );
    assert_eq!(tree.parts()[1].text(100).as_deref(), Some("café"));
    assert_eq!(tree.parts()[1].octets(), b"caf\xe9");
    assert_eq!(tree.parts()[2].octets(), b"MZ\x90\x00\x03");
    assert_eq!(tree.parts()[2].disposition.as_deref(), Some("attachment"));
    assert_eq!(tree.parts()[2].text(10), None);
}

#[test]
fn base64_with_junk_is_read_as_clients_read_it() {
    let tree = parse(&MIXED.replace("TVqQ", "T!V*q-Q"));
    assert_eq!(tree.parts()[2].octets(), b"MZ\x90\x00\x03");
}

fn attached(headers: &str, body: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=o\n\n--o\n{headers}\n\n{body}\n--o--\n")
}

#[test]
fn attached_messages_are_opened_encoded_or_not() {
    let plain = parse(&attached("Content-Type: message/rfc822", MIXED));
    assert_eq!(brief(&plain)[1..3], ["0 message/rfc822 476", "1 multipart/mixed 0"]);
    assert_eq!(brief(&plain)[4], "2 application/octet-stream [invöice.exe] 5");
    use base64::Engine;
    let code = base64::engine::general_purpose::STANDARD.encode(MIXED.replace('\n', "\r\n"));
    let encoded = "Content-Type: message/rfc822; name=\"a.eml\"\nContent-Transfer-Encoding: base64";
    let tree = parse(&attached(encoded, &code));
    assert_eq!(brief(&tree)[1], format!("0 message/rfc822 [a.eml] {}", MIXED.replace('\n', "\r\n").len()));
    assert!(brief(&tree)[2..].contains(&"2 application/octet-stream [invöice.exe] 5".to_owned()), "{:?}", brief(&tree));
    // In a digest, where a part without a type is a message.
    let digest =
        attached("Content-Transfer-Encoding: base64", &code).replace("mixed; boundary=o", "digest; boundary=o");
    let tree = parse(&digest);
    assert!(brief(&tree).iter().any(|part| part.contains("[invöice.exe] 5")), "{:?}", brief(&tree));
}

#[test]
fn encoded_messages_within_each_other_end() {
    use base64::Engine;
    let mut message = "Subject: innermost\n\nx\n".to_owned();
    for _ in 0..10 {
        let code = base64::engine::general_purpose::STANDARD.encode(&message);
        message = attached("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64", &code);
    }
    assert_eq!(Tree::parse(message.into_bytes()).unwrap_err(), TooComplex);
}

fn hostile(text: String) -> Result<usize, TooComplex> {
    Tree::parse(text.into_bytes()).map(|tree| tree.parts().len())
}

#[test]
fn bombs_are_too_complex() {
    let top = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    // Many parts, each on a line of its own, all on one line.
    assert_eq!(hostile(format!("{top}{}", "--a\r\n\r\nx\r\n".repeat(5_000))), Err(TooComplex));
    assert_eq!(hostile(format!("{top}{}", "--a\n\n".repeat(500_000))), Err(TooComplex));
    assert!(hostile(format!("{top}{}", "--a\r\n\r\nx\r\n".repeat(900))).is_ok());
    // Deep ones.
    let deep: String =
        (0..100).map(|i| format!("Content-Type: multipart/mixed; boundary=b{i}x\r\n\r\n--b{i}x\r\n")).collect();
    assert_eq!(hostile(deep), Err(TooComplex));
    assert_eq!(hostile("Content-Type: message/rfc822\r\n\r\n".repeat(50)), Err(TooComplex));
    assert_eq!(hostile("Content-Type: message/rfc822\r\n\r\n".repeat(50_000)), Err(TooComplex));
    // Long parameter lists.
    let parameters: String = (0..50_000).map(|i| format!(";\r\n name*{i}=x")).collect();
    assert_eq!(hostile(format!("Content-Type: text/plain{parameters}\r\n\r\nx")), Err(TooComplex));
    // Boundaries that never come.
    let seeks = "Content-Type: multipart/mixed; boundary=never\r\n\r\nx\r\n--a\r\n".repeat(100);
    assert!(hostile(format!("{top}--a\r\n{seeks}{}", "x".repeat(30 << 20))).is_err());
}

#[test]
fn text_full_of_dashes_is_only_text() {
    let patch = "-- old line\r\n---------------------------------\r\n".repeat(50_000);
    assert_eq!(hostile(format!("Content-Type: text/plain\r\n\r\n{patch}")), Ok(1));
}

#[test]
fn fields_behind_a_boundary_are_seen_too() {
    let top = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    let parameters: String = (0..50_000).map(|i| format!("; name*{i}=x")).collect();
    assert_eq!(hostile(format!("{top}x --aContent-Type : text/plain{parameters}\r\n\r\nx")), Err(TooComplex));
    let nested = "--aContent-Type: message/rfc822\r\n\r\n".repeat(50_000);
    assert_eq!(hostile(format!("{top}{nested}")), Err(TooComplex));
}

/// Words a message is made of, in any order: never a panic, never more parts than are allowed.
#[test]
fn any_heap_of_words_is_parsed_or_refused() {
    use proptest::prelude::*;
    let words = prop::sample::select(vec![
        "Content-Type: multipart/mixed; boundary=a\r\n",
        "Content-Type: multipart/digest;\r\n boundary=\"b\"\r\n",
        "content-type: message/rfc822\r\n",
        "Content-Type: text/plain; charset=utf-7\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "Content-Disposition: attachment; filename*0*=utf-8''a%C3; filename*1=b\r\n",
        "\r\n",
        "--a\r\n",
        "--b\r\n",
        "--a--\r\n",
        "--b--",
        "--a",
        "Q29udGVudC1UeXBlOiBtdWx0aXBhcnQvbWl4ZWQ7IGJvdW5kYXJ5PWE=\r\n",
        "=C3=A9=\r\n",
        "text \u{e9}",
        "\u{0}",
        ":",
    ]);
    let heaps = prop::collection::vec(words, 0..60);
    proptest!(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() }, |(heap in heaps)| {
        if let Ok(tree) = Tree::parse(heap.concat().into_bytes()) {
            prop_assert!(!tree.parts().is_empty() && tree.parts().len() <= PARTS_MAX);
            for (number, part) in tree.parts().iter().enumerate() {
                prop_assert!(part.parent.is_none_or(|parent| (parent as usize) < number));
                prop_assert_eq!(part.parent.is_none(), number == 0);
                let _ = (part.octets(), part.text(100));
            }
        }
    });
}
