//! Lines as clients say them, textbook or not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

fn parse(line: &str) -> Command {
    Command::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// What the client would be told: code and enhanced code.
fn refusal(line: impl AsRef<[u8]>) -> String {
    match Command::parse(line.as_ref()) {
        Ok(command) => format!("{command:?}"),
        Err(error) => format!("{} {}", error.reply().code, error.reply().enhanced.unwrap()),
    }
}

fn mail_of(line: &str) -> (String, String) {
    match parse(line) {
        Command::Mail { path, params } => (path.as_str().to_owned(), params.to_string()),
        other => panic!("{line:?}: {other:?}"),
    }
}

fn rcpt_of(line: &str) -> (String, String) {
    match parse(line) {
        Command::Rcpt { path, params } => (path.as_str().to_owned(), params.to_string()),
        other => panic!("{line:?}: {other:?}"),
    }
}

#[test]
fn verbs_in_any_case_with_white_space_at_the_end() {
    assert_eq!(parse("data"), Command::Data);
    assert_eq!(parse("RSET  \t"), Command::Rset);
    assert_eq!(parse("Quit "), Command::Quit);
    assert_eq!(parse("StartTLS"), Command::StartTls);
    assert_eq!(parse("NOOP whatever it is"), Command::Noop);
    assert_eq!(parse("help MAIL"), Command::Help);
    assert_eq!(parse("helo\tmx.example"), Command::Helo { name: "mx.example".into() });
    assert_eq!(parse("EHLO  [IPv6:::1]"), Command::Ehlo { name: "[IPv6:::1]".into() });
    assert_eq!(parse("EHLO böcher.example"), Command::Ehlo { name: "böcher.example".into() });
    assert_eq!(parse("vrfy user@x"), Command::Vrfy { argument: "user@x".into() });
    assert_eq!(parse("EXPN a list"), Command::Expn { argument: "a list".into() });
    assert_eq!(parse("ETRN x.example"), Command::Etrn { argument: "x.example".into() });
}

#[test]
fn mail_and_rcpt_as_textbooks_and_people_write_them() {
    let said = |path: &str, params: &str| (path.to_owned(), params.to_owned());
    assert_eq!(mail_of("MAIL FROM:<a@b> SIZE=1000 BODY=8BITMIME"), said("a@b", " SIZE=1000 BODY=8BITMIME"));
    assert_eq!(mail_of("mail from:  <a@b>  size=1  X-y "), said("a@b", " size=1 X-y"));
    assert_eq!(mail_of("MAIL FROM:<>"), said("", ""));
    assert_eq!(mail_of("MAIL FROM:a@b SIZE=1"), said("a@b", " SIZE=1"));
    assert_eq!(mail_of("MAIL FROM:<@r:a@b>"), said("a@b", ""));
    assert_eq!(rcpt_of("RCPT TO:<Postmaster>"), said("Postmaster", ""));
    assert_eq!(rcpt_of("rcpt to: postmaster"), said("postmaster", ""));
    assert_eq!(rcpt_of("RCPT TO:<\"a@b\"@b.example> NOTIFY=NEVER"), said("\"a@b\"@b.example", " NOTIFY=NEVER"));
    assert_eq!(rcpt_of("RCPT TO:<pelé@böcher.example>"), said("pelé@böcher.example", ""));
}

#[test]
fn wrong_arguments_have_the_right_reply() {
    let name = "n".repeat(256);
    let cases = [
        ("", "500 5.5.2"),
        ("   ", "500 5.5.2"),
        ("MAIL", "501 5.5.4"),
        ("MAIL TO:<a@b>", "501 5.5.4"),
        ("MAIL FROM <a@b>", "501 5.5.4"),
        ("MAIL FROM:", "501 5.1.7"),
        ("MAIL FROM:<a@b", "501 5.1.7"),
        ("MAIL FROM:<user>", "501 5.1.7"),
        ("MAIL FROM:<a@b>SIZE=1", "501 5.1.7"),
        ("MAIL FROM:<a@b> =1", "501 5.5.4"),
        ("MAIL FROM:<a@b> SIZE=", "501 5.5.4"),
        ("MAIL FROM:<a@b> SIZE=1=2", "501 5.5.4"),
        ("MAIL FROM:<a@b> <c@d>", "501 5.5.4"),
        ("MAIL FROM:<a\rb@x>", "501 5.5.2"),
        ("MAIL FROM:<a\0b@x>", "501 5.5.2"),
        ("MAIL FROM:<a@x>\tSIZE=1\u{85}", "501 5.5.2"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:<user>", "501 5.1.3"),
        ("RCPT TO:", "501 5.1.3"),
        ("RCPT FROM:<a@b>", "501 5.5.4"),
        ("DATA foo", "501 5.5.4"),
        ("RSET foo", "501 5.5.4"),
        ("QUIT foo", "501 5.5.4"),
        ("STARTTLS foo", "501 5.5.4"),
        ("N\rOOP", "500 5.5.2"),
        ("NOOP \u{7}", "501 5.5.2"),
        ("HELO", "501 5.5.4"),
        ("EHLO two words", "501 5.5.4"),
        (&format!("EHLO {name}"), "501 5.5.4"),
        ("VRFY", "501 5.5.4"),
        ("EXPN ", "501 5.5.4"),
        ("AUTH", "501 5.5.4"),
        ("AUTH PLAIN a b", "501 5.5.4"),
        ("AUTH PL+AIN", "501 5.5.4"),
        ("AUTH TWENTY-ONE-CHARACTERS-", "501 5.5.4"),
        ("ÄHLO x", "500 5.5.2"),
        ("<a@b>", "500 5.5.2"),
    ];
    for (line, reply) in cases {
        assert_eq!(refusal(line), reply, "{line:?}");
    }
    assert_eq!(refusal(b"MAIL FROM:<\xe9@x>"), "501 5.1.7");
    assert_eq!(refusal(b"RCPT TO:<a@\xff>"), "501 5.1.3");
    assert_eq!(refusal(b"EHLO \xff"), "501 5.5.2");
    assert_eq!(refusal(b"\xff\xfe"), "500 5.5.2");
}

#[test]
fn chunks_are_counted_or_nothing() {
    let chunk = |octets, last| Ok(Command::Bdat { octets, last });
    assert_eq!(Command::parse(b"BDAT 0"), chunk(0, false));
    assert_eq!(Command::parse(b"bdat  0100  last "), chunk(100, true));
    assert_eq!(Command::parse(b"BDAT 18446744073709551615 LAST"), chunk(u64::MAX, true));
    assert_eq!(Command::parse(b"BDAT 99999999999999999999999"), chunk(u64::MAX, false), "too much is too much");
    for line in [
        "BDAT",
        "BDAT LAST",
        "BDAT -1",
        "BDAT +1",
        "BDAT 1k",
        "BDAT 0x1",
        "BDAT 1 FIRST",
        "BDAT 1 LAST LAST",
        "BDAT 1,LAST",
        "BDAT 1\tLAST",
        "BDAT \u{661}",
        "BDAT 1\u{a0}LAST",
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(CommandError::Bdat), "{line}");
    }
    assert_eq!(Command::parse(b"BDAT \xff"), Err(CommandError::Bdat));
}

#[test]
fn unknown_is_not_the_same_as_not_implemented() {
    for verb in ["TURN", "SEND FROM:<a@b>", "SOML FROM:<a@b>", "SAML FROM:<a@b>", "atrn"] {
        assert!(matches!(parse(verb), Command::NotImplemented { .. }), "{verb}");
    }
    assert_eq!(parse("xshriek NAME=x"), Command::Unknown { verb: "XSHRIEK".into() });
    assert_eq!(parse("DATAX"), Command::Unknown { verb: "DATAX".into() });
    assert_eq!(parse(&"X".repeat(2_000)), Command::Unknown { verb: "X".repeat(32) });
}

#[test]
fn auth_keeps_its_secret_and_knows_the_empty_response() {
    let secret = |text: &str| Some(Secret::new(text.into()));
    let auth = |mechanism: &str, initial| Command::Auth { mechanism: mechanism.into(), initial };
    assert_eq!(parse("AUTH plain AHRpbQB0YW5zdGFhZg=="), auth("PLAIN", secret("AHRpbQB0YW5zdGFhZg==")));
    assert_eq!(parse("auth LOGIN"), auth("LOGIN", None));
    assert_eq!(parse("AUTH EXTERNAL ="), auth("EXTERNAL", secret("")));
    assert_eq!(parse("AUTH SCRAM-SHA-256_X"), auth("SCRAM-SHA-256_X", None));
    assert!(!format!("{:?}", parse("AUTH PLAIN AHRpbQ==")).contains("AHRpbQ"));
}

#[test]
fn other_protocols_are_sent_away() {
    let lines: [&[u8]; 14] = [
        b"GET / HTTP/1.1",
        b"POST /smuggle HTTP/1.0",
        b"HEAD / HTTP/1.1",
        b"PUT /x HTTP/1.1",
        b"CONNECT mx.example:25 HTTP/1.1",
        b"OPTIONS sip:x SIP/2.0",
        b"OPTIONS * RTSP/1.0",
        b"PRI * HTTP/2.0",
        b"M-SEARCH * HTTP/1.1",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2",
        b"SSH-2.0-OpenSSH_9.2",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"\x03\x00\x00\x2b\x26\xe0Cookie: mstshash=x",
        b"\0",
    ];
    for line in lines {
        assert_eq!(Command::parse(line), Ok(Command::Foreign), "{:?}", line.escape_ascii().to_string());
    }
    assert_eq!(parse("NOOP / HTTP/1.1"), Command::Noop);
    // Without a version it is for the operator's list of words to judge, and handed out whatever its line end.
    assert_eq!(parse("GET /"), Command::Unknown { verb: "GET".to_owned() });
    assert!(is_foreign(b"GET /") && is_foreign(b"connect x:25") && !is_foreign(b"GETX"));
    assert!(matches!(parse("HELO HTTP/1.1"), Command::Helo { .. }));
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(line: Vec<u8>) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn nothing_unprintable_is_ever_understood(
        verb in "(MAIL FROM:|RCPT TO:|EHLO |VRFY |NOOP |AUTH )",
        text in r#"[<>"@a.\\ \t\r\n\x00é=]{0,12}"#,
    ) {
        if Command::parse(format!("{verb}{text}").as_bytes()).is_ok() {
            prop_assert!(!text.trim_matches([' ', '\t']).contains(char::is_control));
        }
    }
}
