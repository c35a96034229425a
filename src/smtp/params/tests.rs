//! Parameters that other readers misread.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

static ALL: std::sync::LazyLock<ClientOffer> = std::sync::LazyLock::new(|| ClientOffer {
    size: Some(1_000),
    start_tls: true,
    auth: true,
    eight_bit_mime: true,
    smtp_utf8: true,
    dsn: true,
    chunking: true,
    binary_mime: true,
    require_tls: true,
    deliver_by: Some(0),
    mt_priority: extensions::PriorityPolicy::parse(None),
    future_release: extensions::FutureRelease::parse("86400 2030-01-31T12:00:00Z".split(' ')),
    ..ClientOffer::default()
});
static LEAST: std::sync::LazyLock<ClientOffer> = std::sync::LazyLock::new(ClientOffer::default);

fn mail(text: &str) -> Result<MailParams, u16> {
    MailParams::check(&Params::parse(text).unwrap(), &ALL).map_err(|reply| reply.code)
}

fn rcpt(text: &str) -> Result<RcptParams, u16> {
    RcptParams::check(&Params::parse(text).unwrap(), &ALL).map_err(|reply| reply.code)
}

#[test]
fn parameters_keep_their_order_and_spelling() {
    let params = Params::parse(" size=10  Body=8bitmime  X-Flag").unwrap();
    assert_eq!(params.to_string(), " size=10 Body=8bitmime X-Flag");
    assert_eq!(params.get("SIZE").unwrap().value.as_deref(), Some("10"));
    assert_eq!(params.get("x-flag").unwrap().value, None);
    let mut without = params.clone();
    without.remove("BODY");
    assert_eq!(without.to_string(), " size=10 X-Flag");
    assert!(Params::parse("").unwrap().is_empty());
    for text in ["=1", "A=", "A=b=c", "-A", "A_B=1", "A=\u{7}", "A=\u{85}", "é=1", "<a@b>", &"A ".repeat(33)] {
        assert_eq!(Params::parse(text), None, "{text:?}");
    }
}

#[test]
fn mail_parameters_are_understood() {
    let all = mail("SIZE=1000 body=8BITMIME SMTPUTF8 RET=hdrs ENVID=a+2Bb AUTH=e+3Dmc2@example.com").unwrap();
    let expected = MailParams {
        size: Some(1_000),
        body: Some(BodyKind::EightBitMime),
        smtp_utf8: true,
        ret: Some(Ret::Headers),
        envid: Some("a+b".into()),
        submitter: Some(Submitter::Mailbox(Mailbox::parse("e=mc2@example.com").unwrap())),
        ..MailParams::default()
    };
    assert_eq!(all, expected);
    assert_eq!(mail("AUTH=<>").unwrap().submitter, Some(Submitter::Unknown));
    assert_eq!(mail("BODY=7bit RET=FULL").unwrap().ret, Some(Ret::Full));
    assert_eq!(mail("").unwrap(), MailParams::default());
    let rare = mail("REQUIRETLS mt-priority=-3 By=120;RT HOLDFOR=60").unwrap();
    assert!(rare.require_tls && rare.deliver_by && rare.held && rare.priority == Some(-3));
    assert!(mail("HOLDUNTIL=2030-01-31T12:00:00Z").unwrap().held);
    assert_eq!(mail("BODY=BINARYMIME").unwrap().body, Some(BodyKind::BinaryMime));
}

#[test]
fn bad_mail_parameters_have_the_right_reply() {
    let long = format!("ENVID={}", "x".repeat(101));
    let cases = [
        ("SIZE=1001", 552),
        ("SIZE=18446744073709551615", 552),
        ("SIZE=18446744073709551616", 552),
        ("SIZE=99999999999999999999999", 552),
        ("SIZE=000000000000000000000", 552),
        ("SIZE", 501),
        ("SIZE=-1", 501),
        ("SIZE=+1", 501),
        ("SIZE=1k", 501),
        ("SIZE=1 size=1", 501),
        ("BODY=BINARY", 501),
        ("BODY", 501),
        ("SMTPUTF8=yes", 501),
        ("RET=BODY", 501),
        ("ENVID=a+2", 501),
        ("ENVID=a+0D", 501),
        (&long, 501),
        ("AUTH=nobody", 501),
        ("AUTH=+3C+3E", 501),
        ("REQUIRETLS=1", 501),
        ("MT-PRIORITY", 501),
        ("MT-PRIORITY=10", 501),
        ("BY", 501),
        ("BY=0;R", 501),
        ("HOLDFOR=0", 501),
        ("HOLDUNTIL=tomorrow", 501),
        ("HOLDFOR=1 HOLDUNTIL=2030-01-31T12:00:00Z", 501),
        ("HOLDFOR=1 HOLDFOR=1", 501),
        ("X-UNKNOWN=1", 555),
        ("NOTIFY=NEVER", 555),
    ];
    for (text, code) in cases {
        assert_eq!(mail(text), Err(code), "{text}");
    }
    let rare = ["REQUIRETLS", "MT-PRIORITY=1", "BY=9;R", "HOLDFOR=1", "HOLDUNTIL=2030-01-31T12:00:00Z"];
    for text in rare.into_iter().chain(["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "ENVID=x", "AUTH=<>"]) {
        let refused = MailParams::check(&Params::parse(text).unwrap(), &LEAST).unwrap_err();
        assert_eq!((refused.code, refused.enhanced.unwrap().to_string().as_str()), (555, "5.5.4"), "{text}");
    }
    let unlimited = ClientOffer { size: Some(0), ..*ALL };
    let huge = Params::parse("SIZE=18446744073709551615").unwrap();
    assert_eq!(MailParams::check(&huge, &unlimited).unwrap().size, Some(u64::MAX));
}

#[test]
fn rcpt_parameters_are_understood() {
    let some = rcpt("NOTIFY=success,DELAY ORCPT=rfc822;Bob+2Bx@example.com").unwrap();
    assert_eq!(some.notify, Some(Notify::On { success: true, failure: false, delay: true }));
    assert_eq!(some.orcpt.as_deref(), Some("rfc822;Bob+2Bx@example.com"));
    assert_eq!(rcpt("notify=never").unwrap().notify, Some(Notify::Never));
    assert_eq!(rcpt(r"ORCPT=utf-8;pel\x{E9}@x").unwrap().orcpt.as_deref(), Some(r"utf-8;pel\x{E9}@x"));
    assert!(rcpt("ORCPT=UTF-8;pelé@x").is_ok());
    let ascii_only = ClientOffer { smtp_utf8: false, ..*ALL };
    let params = Params::parse("ORCPT=utf-8;pelé@x").unwrap();
    assert_eq!(RcptParams::check(&params, &ascii_only).unwrap_err().code, 501);

    let long = format!("ORCPT=rfc822;{}", "x".repeat(500));
    let cases = [
        ("NOTIFY=NEVER,SUCCESS", 501),
        ("NOTIFY=SUCCESS,NEVER", 501),
        ("NOTIFY=SUCCESS,", 501),
        ("NOTIFY", 501),
        ("NOTIFY=DELAY NOTIFY=DELAY", 501),
        ("ORCPT=rfc822", 501),
        ("ORCPT=;x", 501),
        ("ORCPT=rfc822;", 501),
        ("ORCPT=rfc822;a+zz", 501),
        ("ORCPT=rfc822;pelé@x", 501),
        (&long, 501),
        ("SIZE=1", 555),
    ];
    for (text, code) in cases {
        assert_eq!(rcpt(text), Err(code), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_parsed_is_said_again(text in "( [A-Za-z0-9][A-Za-z0-9-]{0,4}(=[!-<>-~é]{1,6})?){0,5}") {
        let params = Params::parse(&text).unwrap();
        prop_assert_eq!(params.to_string(), text);
        let _ = MailParams::check(&params, &ALL);
        let _ = RcptParams::check(&params, &ALL);
    }
}
