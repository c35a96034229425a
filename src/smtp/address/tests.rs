//! Addresses that other readers got wrong, and those that nobody may accept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn addresses_keep_what_was_said() {
    let cases = [
        ("User@Example.ORG", "User", "Example.ORG"),
        (r#""a@b"@b.example"#, r#""a@b""#, "b.example"),
        (r#""a\"b c>"@x"#, r#""a\"b c>""#, "x"),
        (r#"""@x"#, r#""""#, "x"),
        ("a@[127.0.0.1]", "a", "[127.0.0.1]"),
        ("a@[IPv6:::1]", "a", "[IPv6:::1]"),
        ("a@[x-tag:c=de;o=@]", "a", "[x-tag:c=de;o=@]"),
        ("a..b.@under_score.-x-.example", "a..b.", "under_score.-x-.example"),
        (".a@localhost", ".a", "localhost"),
        ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x"),
        ("pelé@böcher.example", "pelé", "böcher.example"),
    ];
    for (text, local, domain) in cases {
        let parsed = mailbox(text);
        assert_eq!((parsed.as_str(), parsed.local(), parsed.domain().as_str()), (text, local, domain));
    }
}

#[test]
fn what_is_no_address_is_refused_with_its_reason() {
    let long_local = format!("{}@x", "l".repeat(257));
    let long_domain = format!("a@{}x", "d.".repeat(128));
    let long_label = format!("a@{}", "d".repeat(64));
    let long_path = format!("\"{}\"@x", "l".repeat(512));
    let cases = [
        ("", AddressError::Missing),
        ("a", AddressError::NoDomain),
        ("a@", AddressError::NoDomain),
        ("\"a\"", AddressError::NoDomain),
        ("@x", AddressError::LocalPart),
        ("a b@x", AddressError::LocalPart),
        ("a\rb@x", AddressError::LocalPart),
        ("a\0@x", AddressError::LocalPart),
        ("a\u{85}@x", AddressError::LocalPart),
        ("a\u{a0}@x", AddressError::LocalPart),
        ("a\\@x@y", AddressError::LocalPart),
        ("a\"b\"@x", AddressError::LocalPart),
        ("\"a\"b@x", AddressError::LocalPart),
        ("a:b@x", AddressError::LocalPart),
        ("a,b@x", AddressError::LocalPart),
        ("<a@x", AddressError::LocalPart),
        ("\"a\nb\"@x", AddressError::LocalPart),
        ("\"a\\\u{e9}\"@x", AddressError::LocalPart),
        ("\"a@x", AddressError::UnbalancedQuote),
        ("\"a\\\"@x", AddressError::UnbalancedQuote),
        ("a@x@y", AddressError::Domain),
        ("a@x y", AddressError::Domain),
        ("a@x ", AddressError::Domain),
        ("a@x..y", AddressError::Domain),
        ("a@.x", AddressError::Domain),
        ("a@x.", AddressError::Domain),
        ("a@x/y", AddressError::Domain),
        ("a@x\u{3002}y", AddressError::Domain),
        ("a@x>", AddressError::Domain),
        ("a@[127.0.0.1", AddressError::Literal),
        ("a@[127.1]", AddressError::Literal),
        ("a@[127.0.0.01]", AddressError::Literal),
        ("a@[::1]", AddressError::Literal),
        ("a@[IPv6:]", AddressError::Literal),
        ("a@[IPv6:127.0.0.1]", AddressError::Literal),
        ("a@[tag:]", AddressError::Literal),
        ("a@[tag:a]b]", AddressError::Literal),
        ("a@[-:a]", AddressError::Literal),
        ("a@[tag:a>]", AddressError::Literal),
        ("a@[tag:\"]", AddressError::Literal),
        ("a@[]", AddressError::Literal),
        (&long_local, AddressError::TooLong),
        (&long_domain, AddressError::TooLong),
        (&long_path, AddressError::TooLong),
        (&long_label, AddressError::Domain),
    ];
    for (text, error) in cases {
        assert_eq!(Mailbox::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn domains_compare_in_lower_case_and_know_their_literals() {
    assert_eq!(mailbox("a@EXAMPLE.org").domain().canonical(), "example.org");
    assert_eq!(mailbox("a@BÖCHER.example").domain().canonical(), "böcher.example");
    assert_eq!(mailbox("a@[ipV6:::1]").domain().ip(), Some("::1".parse().unwrap()));
    assert_eq!(mailbox("a@[127.0.0.1]").domain().ip(), Some("127.0.0.1".parse().unwrap()));
    let general = mailbox("a@[tag:x]");
    assert!(general.domain().is_literal() && general.domain().ip().is_none());
    assert!(!mailbox("a@127.0.0.1").domain().is_literal());
}

#[test]
fn routing_tricks_are_seen_through_quotes() {
    for trick in ["u%other@ours", "other!u@ours", r#""u@other"@ours"#, r#""u\@other"@ours"#, r#""u\%other"@ours"#] {
        assert!(mailbox(trick).has_routing_trick(), "{trick}");
    }
    for trick in ["u\u{ff05}other@ours", "other\u{ff01}u@ours", "u\u{ff20}other@ours", "u\u{fe6a}other@ours"] {
        assert!(mailbox(trick).has_routing_trick(), "{trick}");
    }
    for plain in ["u@ours", "u+tag@ours", r#""u v"@ours"#, r#""a\"b"@ours"#, "u=x@ours"] {
        assert!(!mailbox(plain).has_routing_trick(), "{plain}");
    }
    assert_eq!(mailbox(r#""a\"b\\"@x"#).local_unquoted(), r#"a"b\"#);
}

#[test]
fn a_source_route_is_stripped_and_must_be_one() {
    for said in ["@a,@b.example:user@x", "@a:user@x", "@[IPv6:::1],@[127.0.0.1]:user@x", "user@x"] {
        assert_eq!(ForwardPath::parse(said).unwrap().as_str(), "user@x", "{said}");
        assert_eq!(ReversePath::parse(said).unwrap().as_str(), "user@x", "{said}");
    }
    for said in ["@a", "@a,user@x", "@a,b:user@x", "@:user@x", "@a, @b:user@x", "@a;user@x", "@[::1]:user@x"] {
        assert_eq!(ForwardPath::parse(said), Err(AddressError::Route), "{said}");
    }
    assert_eq!(ForwardPath::parse("@a:"), Err(AddressError::Missing));
    assert_eq!(ForwardPath::parse("@a:@b:user@x"), Err(AddressError::LocalPart));
    assert_eq!(ForwardPath::parse("@a:postmaster"), Err(AddressError::NoDomain));
}

#[test]
fn postmaster_is_not_the_empty_address() {
    assert_eq!(ForwardPath::parse("PostMaster"), Ok(ForwardPath::Postmaster("PostMaster".into())));
    assert_eq!(ForwardPath::parse(""), Err(AddressError::Missing));
    assert_eq!(ReversePath::parse(""), Ok(ReversePath::Null));
    assert_eq!(ReversePath::parse("postmaster"), Err(AddressError::NoDomain));
    assert_eq!(ReversePath::Null.as_str(), "");
}

#[test]
fn paths_end_where_their_bracket_is() {
    let cases = [
        ("<a@b>", Ok(("a@b", ""))),
        (" <a@b> SIZE=1", Ok(("a@b", " SIZE=1"))),
        ("<\"a>b\"@c>", Ok(("\"a>b\"@c", ""))),
        ("<\"a\\\">b\"@c>", Ok(("\"a\\\">b\"@c", ""))),
        ("<>", Ok(("", ""))),
        ("a@b", Ok(("a@b", ""))),
        ("a@b SIZE=1", Ok(("a@b", " SIZE=1"))),
        ("\"a b\"@c X", Ok(("\"a b\"@c", " X"))),
        ("", Err(AddressError::Missing)),
        ("  ", Err(AddressError::Missing)),
        ("<a@b", Err(AddressError::MissingBracket)),
        ("<\"a>@b", Err(AddressError::UnbalancedQuote)),
        ("<a@b>SIZE=1", Err(AddressError::TrailingText)),
        ("<a@b>>", Err(AddressError::TrailingText)),
        ("<a@b><c@d>", Err(AddressError::TrailingText)),
    ];
    for (text, split) in cases {
        assert_eq!(split_path(text), split, "{text:?}");
    }
    // What was forgotten is not guessed: the bracket stays in the address, which is none then.
    assert_eq!(Mailbox::parse(split_path("a@b>").unwrap().0), Err(AddressError::Domain));
    assert_eq!(Mailbox::parse(split_path("<<a@b>").unwrap().0), Err(AddressError::LocalPart));
}

proptest! {
    #[test]
    fn what_is_parsed_is_what_was_said(
        text in r#"["a@.<>\\ :,\[\]é%!-]{0,12}|"?[a>" ]{1,3}"?@\[a:["<>a@]{1,3}\]"#,
    ) {
        if let Ok(parsed) = Mailbox::parse(&text) {
            prop_assert_eq!(parsed.as_str(), &text);
            prop_assert_eq!(format!("{}@{}", parsed.local(), parsed.domain()), text.clone());
            // Between brackets, on a line, it is found again.
            let line = format!("<{text}> SIZE=1");
            prop_assert_eq!(split_path(&line), Ok((text.as_str(), " SIZE=1")));
        }
    }
}
