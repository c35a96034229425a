//! Which of the upstream's replies are the client's answers, and which are none. Pure.
//!
//! A reply that makes no sense where it stands is refused: it may belong to something else, and a reply to
//! one command must never be taken for the reply to another.

use super::error::UpstreamError;
use super::wait::Wait;
use crate::smtp::{Enhanced, ParsedReply, Reply};

/// The upstream speaks of our own standing with it: authentication and encryption are between it and us
/// (RFC 4954 6, RFC 3207 4).
const ABOUT_US: [u16; 4] = [530, 534, 535, 538];

/// The reply as it may be used, with an enhanced code of its class, or why it may not.
///
/// To MAIL, RCPT, DATA, BDAT and the final dot a 4xx or 5xx is an answer; everywhere else it is an error.
pub fn judge(during: Wait, parsed: ParsedReply) -> Result<Reply, UpstreamError> {
    let ParsedReply { reply, cut } = parsed;
    let class = reply.class();
    if reply.code == 421 {
        return Err(UpstreamError::Closing { during, reply: reply.with_enhanced_default() });
    }
    if cut && !(during == Wait::Final && class == 2) {
        return Err(UpstreamError::protocol(during, format!("an endless {} reply", reply.code)));
    }
    if ABOUT_US.contains(&reply.code) {
        return Err(UpstreamError::Refused { during, reply });
    }
    match (during, reply.code) {
        (Wait::Greeting | Wait::StartTls, 220) | (Wait::Data, 354) | (Wait::Login, 235 | 334) => return Ok(reply),
        // Their 2xx mean something else.
        (Wait::Greeting | Wait::StartTls | Wait::Login | Wait::Data, 200..=299) => {}
        (Wait::Hello | Wait::ClientHello, 250) => return Ok(reply),
        (Wait::Hello | Wait::ClientHello, 200..=299) => {}
        (_, 200..=299) => return Ok(accepted(during, reply)),
        (Wait::Mail | Wait::Rcpt | Wait::Data | Wait::Chunk | Wait::Final, 400..=599) => return Ok(dressed(reply)),
        (_, 400..=599) => return Err(UpstreamError::Refused { during, reply: dressed(reply) }),
        _ => {}
    }
    Err(UpstreamError::protocol(during, format!("{} does not belong here", reply.code)))
}

/// The first digit decides (RFC 5321 4.3.2); the client gets a code that it knows at this place.
fn accepted(during: Wait, reply: Reply) -> Reply {
    let usual = match during {
        Wait::Rcpt => matches!(reply.code, 250..=252),
        Wait::Identify => reply.code == 220 || reply.code == 250,
        _ => reply.code == 250,
    };
    let code = if usual { reply.code } else { 250 };
    dressed(Reply { code, ..reply })
}

/// With an enhanced code of the reply's own class: X.0.0 where the upstream gave none or one that contradicts.
fn dressed(mut reply: Reply) -> Reply {
    let class = reply.class();
    if reply.enhanced.is_none_or(|enhanced| enhanced.class != class) {
        reply.enhanced = Some(Enhanced::new(class, 0, 0));
    }
    reply
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn said(code: u16, text: &'static str) -> ParsedReply {
        ParsedReply { reply: Reply::fixed(code, None, text), cut: false }
    }

    fn verdict(during: Wait, code: u16) -> Result<u16, &'static str> {
        match judge(during, said(code, "x")) {
            Ok(reply) => Ok(reply.code),
            Err(UpstreamError::Refused { .. }) => Err("refused"),
            Err(UpstreamError::Closing { .. }) => Err("closing"),
            Err(UpstreamError::Protocol { .. }) => Err("protocol"),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn answers_of_a_transaction_are_the_clients() {
        for during in [Wait::Mail, Wait::Rcpt, Wait::Data, Wait::Final] {
            for code in [450, 451, 452, 500, 501, 503, 550, 552, 554, 555] {
                assert_eq!(verdict(during, code), Ok(code), "{during} {code}");
            }
        }
        for during in [Wait::Mail, Wait::Rcpt, Wait::Final, Wait::Rset] {
            assert_eq!(verdict(during, 250), Ok(250));
            assert_eq!(verdict(during, 299), Ok(250), "the first digit decides");
            assert_eq!(verdict(during, 354), Err("protocol"), "{during}");
            assert_eq!(verdict(during, 334), Err("protocol"), "{during}");
        }
        assert_eq!(verdict(Wait::Rcpt, 251), Ok(251));
        assert_eq!(verdict(Wait::Mail, 251), Ok(250));
        assert_eq!(verdict(Wait::Data, 354), Ok(354));
        assert_eq!(verdict(Wait::Data, 250), Err("protocol"), "a yes to DATA is not permission to send");
        assert_eq!(verdict(Wait::Data, 334), Err("protocol"));
    }

    #[test]
    fn what_is_about_us_is_never_the_clients() {
        for during in [Wait::Mail, Wait::Rcpt, Wait::Data, Wait::Final, Wait::Rset, Wait::Hello, Wait::Greeting] {
            for code in ABOUT_US {
                let error = judge(during, said(code, "5.7.0 Must issue a STARTTLS command first")).unwrap_err();
                assert!(error.is_alarm());
                assert_eq!(error.reply().code, 451);
            }
        }
        for during in [Wait::Greeting, Wait::Hello, Wait::StartTls, Wait::Identify] {
            let refused = judge(during, said(554, "no")).unwrap_err();
            assert!(refused.is_alarm(), "{during}");
            assert_eq!(refused.reply().code, 451);
            let later = judge(during, said(450, "no")).unwrap_err();
            assert!(!later.is_alarm(), "{during}");
            assert_eq!(later.reply().code, 451);
        }
        let clients = judge(Wait::ClientHello, said(504, "<x>: need fully-qualified hostname")).unwrap_err();
        assert!(!clients.is_alarm(), "no client rings our bell");
        assert_eq!(clients.reply().text, "<x>: need fully-qualified hostname");
    }

    #[test]
    fn greetings_have_one_code_each() {
        assert_eq!(verdict(Wait::Greeting, 220), Ok(220));
        assert_eq!(verdict(Wait::Greeting, 250), Err("protocol"));
        assert_eq!(verdict(Wait::Greeting, 354), Err("protocol"));
        assert_eq!(verdict(Wait::Hello, 250), Ok(250));
        assert_eq!(verdict(Wait::Hello, 220), Err("protocol"));
        assert_eq!(verdict(Wait::StartTls, 220), Ok(220));
        assert_eq!(verdict(Wait::StartTls, 250), Err("protocol"));
        assert_eq!(verdict(Wait::Identify, 220), Ok(220));
        assert_eq!(verdict(Wait::Identify, 250), Ok(250));
    }

    #[test]
    fn its_421_is_our_451_in_its_words() {
        for during in [Wait::Greeting, Wait::Hello, Wait::Mail, Wait::Rcpt, Wait::Data, Wait::Final] {
            let error = judge(during, said(421, "Too many of you\ncome back later")).unwrap_err();
            let reply = error.reply();
            assert_eq!((reply.code, reply.text.as_ref()), (451, "Too many of you\ncome back later"));
            assert_eq!(reply.enhanced.unwrap().class, 4);
            assert!(!error.is_alarm());
        }
    }

    #[test]
    fn an_enhanced_code_of_the_class_is_always_there() {
        assert_eq!(judge(Wait::Rcpt, said(550, "no")).unwrap().enhanced, Some(Enhanced::new(5, 0, 0)));
        assert_eq!(judge(Wait::Mail, said(250, "ok")).unwrap().enhanced, Some(Enhanced::new(2, 0, 0)));
        assert_eq!(judge(Wait::Data, said(354, "go")).unwrap().enhanced, None);
        let contradicts = Reply::fixed(250, Some(Enhanced::new(5, 1, 1)), "ok?");
        let reply = judge(Wait::Final, ParsedReply { reply: contradicts, cut: false }).unwrap();
        assert_eq!(reply.enhanced, Some(Enhanced::new(2, 0, 0)));
        let kept = Reply::fixed(450, Some(Enhanced::new(4, 2, 1)), "later");
        let reply = judge(Wait::Rcpt, ParsedReply { reply: kept.clone(), cut: false }).unwrap();
        assert_eq!(reply, kept);
    }

    #[test]
    fn an_endless_reply_is_a_yes_only_after_the_dot() {
        let endless = |code| ParsedReply { reply: Reply::fixed(code, None, "so much"), cut: true };
        assert_eq!(judge(Wait::Final, endless(250)).unwrap().code, 250);
        for (during, code) in
            [(Wait::Final, 554), (Wait::Mail, 250), (Wait::Rcpt, 550), (Wait::Hello, 250), (Wait::Data, 354)]
        {
            assert!(matches!(judge(during, endless(code)), Err(UpstreamError::Protocol { .. })), "{during} {code}");
        }
    }
}
