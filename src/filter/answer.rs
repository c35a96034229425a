//! What a guest answered becomes a verdict, or a fault: nothing a client could not be shown gets past here.

use super::bindings::wasmilter::filter::types as wit;
use crate::config::Grants;
use crate::mail::Stage;
use crate::smtp::{Enhanced, Reply};

/// Lines of a reply.
pub(super) const REPLY_LINES_MAX: usize = 16;
/// Octets of one line, without code and line end (RFC 5321 4.5.3.1.5 allows 512 with them).
pub(super) const REPLY_LINE_BYTES_MAX: usize = 400;
/// Octets of a reason; the rest is cut.
pub(super) const REASON_BYTES_MAX: usize = 512;

/// A checked verdict of one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub action: Said,
    /// Only with reject, defer and disconnect.
    pub reply: Option<Reply>,
    /// For the log, control characters escaped.
    pub reason: Option<String>,
}

/// The actions of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Next,
    Accept,
    Reject,
    Defer,
    Discard,
    Quarantine,
    Disconnect,
    Skip,
}

impl Said {
    /// As in the contract and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Said::Next => "next",
            Said::Accept => "accept",
            Said::Reject => "reject",
            Said::Defer => "defer",
            Said::Discard => "discard",
            Said::Quarantine => "quarantine",
            Said::Disconnect => "disconnect",
            Said::Skip => "skip",
        }
    }
}

fn said(action: wit::Action) -> Said {
    match action {
        wit::Action::Next => Said::Next,
        wit::Action::Accept => Said::Accept,
        wit::Action::Reject => Said::Reject,
        wit::Action::Defer => Said::Defer,
        wit::Action::Discard => Said::Discard,
        wit::Action::Disconnect => Said::Disconnect,
        wit::Action::Skip => Said::Skip,
        wit::Action::Quarantine => Said::Quarantine,
    }
}

/// Checks a verdict against the contract.
///
/// # Errors
/// A sentence that says what the filter may not say.
pub(super) fn check(verdict: wit::Verdict, stage: Stage, grants: &Grants) -> Result<Answer, String> {
    let action = said(verdict.action);
    match action {
        Said::Discard if !grants.discard => return Err("discard is not granted".into()),
        Said::Quarantine if grants.quarantine.is_none() => return Err("quarantine is not granted".into()),
        Said::Discard | Said::Quarantine if !matches!(stage, Stage::Data | Stage::Headers | Stage::Message) => {
            return Err(format!("{} means nothing at {}", action.name(), stage.name()));
        }
        Said::Skip if !matches!(stage, Stage::Headers | Stage::Body) => {
            return Err(format!("skip means nothing at {}", stage.name()));
        }
        _ => {}
    }
    let reply = match verdict.reply {
        None => None,
        Some(reply) => match action {
            Said::Reject | Said::Defer | Said::Disconnect => Some(check_reply(&reply, action)?),
            Said::Accept if stage == Stage::Unknown => Some(check_reply(&reply, action)?),
            _ => return Err(format!("a reply beside {}", action.name())),
        },
    };
    Ok(Answer { action, reply, reason: verdict.reason.map(tidy_reason) })
}

fn check_reply(reply: &wit::ReplyResult, action: Said) -> Result<Reply, String> {
    let code = reply.code;
    let fits = match action {
        Said::Reject => (500..600).contains(&code),
        // 421 says that the connection closes.
        Said::Defer => (400..500).contains(&code) && code != 421,
        // What says that a command was carried out, or what there is to know, and moves no session on.
        Said::Accept => matches!(code, 211 | 214 | 250..=259),
        _ => (400..600).contains(&code),
    };
    if !fits || (code / 10) % 10 > 5 {
        return Err(format!("code {code} in a {}", action.name()));
    }
    let class = u8::try_from(code / 100).unwrap_or(5);
    let enhanced = match reply.enhanced.as_deref() {
        None if action == Said::Accept => Enhanced::new(class, 0, 0),
        None => Enhanced::new(class, 7, 1),
        Some(text) => Enhanced::parse(text)
            .filter(|e| e.class == class)
            .ok_or_else(|| format!("enhanced code {} beside code {code}", excerpt(text)))?,
    };
    if reply.text.is_empty() {
        return Err("a reply without text".into());
    }
    if reply.text.len() > REPLY_LINES_MAX {
        return Err(format!("a reply of {} lines; at most {REPLY_LINES_MAX} are allowed", reply.text.len()));
    }
    for line in &reply.text {
        if line.len() > REPLY_LINE_BYTES_MAX {
            return Err(format!("a reply line of {} octets; at most {REPLY_LINE_BYTES_MAX} are allowed", line.len()));
        }
        if let Some(c) = line.chars().find(|c| unprintable(*c)) {
            return Err(format!("a reply with the control character U+{:04X}", u32::from(c)));
        }
    }
    Ok(Reply::new(code, Some(enhanced), reply.text.join("\n")))
}

/// Control characters, and the line and paragraph separators some terminals break at.
fn unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn tidy_reason(reason: String) -> String {
    if reason.len() <= REASON_BYTES_MAX && !reason.contains(unprintable) {
        return reason;
    }
    excerpt_of(&reason, REASON_BYTES_MAX)
}

/// A short, printable piece of what a guest said, for an error.
pub(super) fn excerpt(text: &str) -> String {
    excerpt_of(text, 40)
}

/// At most `bytes_max` octets of `text` (a little more where characters are escaped), printable.
pub(super) fn excerpt_of(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max) + 4);
    for c in text.chars() {
        if out.len() + c.len_utf8() > bytes_max {
            out.push('…');
            break;
        }
        if unprintable(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::config::QuarantineGrant;

    fn none() -> Grants {
        Grants::default()
    }

    fn all() -> Grants {
        Grants { discard: true, quarantine: Some(QuarantineGrant::default()), ..Grants::default() }
    }

    fn verdict(action: wit::Action, code: u16, enhanced: Option<&str>, text: &[&str]) -> wit::Verdict {
        let text = text.iter().map(|s| (*s).to_owned()).collect();
        let reply = Some(wit::ReplyResult { code, enhanced: enhanced.map(str::to_owned), text });
        wit::Verdict { action, reply, reason: None }
    }

    fn plain(action: wit::Action) -> wit::Verdict {
        wit::Verdict { action, reply: None, reason: None }
    }

    #[test]
    fn an_honest_refusal_passes() {
        let v = verdict(wit::Action::Reject, 550, Some("5.7.1"), &["No", "Really, nö"]);
        let answer = check(v, Stage::Rcpt, &none()).unwrap();
        let reply = answer.reply.unwrap();
        assert_eq!((reply.code, reply.text.as_ref()), (550, "No\nReally, nö"));
        assert_eq!(reply.enhanced, Some(Enhanced::new(5, 7, 1)));
    }

    #[test]
    fn the_class_of_the_code_must_fit_the_action() {
        for (action, code) in [
            (wit::Action::Reject, 250),
            (wit::Action::Reject, 450),
            (wit::Action::Reject, 600),
            (wit::Action::Reject, 0),
            (wit::Action::Reject, 565),
            (wit::Action::Defer, 550),
            (wit::Action::Defer, 421),
            (wit::Action::Disconnect, 221),
            (wit::Action::Next, 550),
            (wit::Action::Accept, 250),
        ] {
            assert!(check(verdict(action, code, None, &["x"]), Stage::Mail, &all()).is_err(), "{action:?} {code}");
        }
        assert!(check(verdict(wit::Action::Disconnect, 421, None, &["x"]), Stage::Mail, &all()).is_ok());
    }

    #[test]
    fn enhanced_codes_are_checked() {
        for bad in ["4.7.1", "5.7", "5.7.1.1", "5.7.1000", "5..1", "+5.7.1", "55.7.1", "", "5.7.1\r\n"] {
            assert!(
                check(verdict(wit::Action::Reject, 550, Some(bad), &["x"]), Stage::Mail, &all()).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn texts_are_checked() {
        let long = "x".repeat(REPLY_LINE_BYTES_MAX + 1);
        let many = ["x"; REPLY_LINES_MAX + 1];
        for bad in [&["a\r\n250 ok"][..], &["a\nb"], &["\u{0}"], &["\u{85}"], &["\u{2028}"], &[&long], &many, &[]] {
            assert!(check(verdict(wit::Action::Reject, 550, None, bad), Stage::Mail, &all()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn discard_quarantine_and_skip_have_their_places() {
        assert!(check(plain(wit::Action::Discard), Stage::Message, &none()).is_err());
        assert!(check(plain(wit::Action::Discard), Stage::Mail, &all()).is_err());
        assert!(check(plain(wit::Action::Discard), Stage::Message, &all()).is_ok());
        for stage in [Stage::Data, Stage::Headers, Stage::Message] {
            assert!(check(plain(wit::Action::Quarantine), stage, &none()).is_err());
            assert!(check(plain(wit::Action::Quarantine), stage, &all()).is_ok());
        }
        for stage in [Stage::Connect, Stage::Mail, Stage::Rcpt, Stage::Body] {
            assert!(check(plain(wit::Action::Quarantine), stage, &all()).is_err(), "{}", stage.name());
        }
        assert!(check(plain(wit::Action::Skip), Stage::Mail, &all()).is_err());
        assert!(check(plain(wit::Action::Skip), Stage::Body, &all()).is_ok());
    }

    #[test]
    fn reasons_are_made_printable_and_short() {
        let reason = Some(format!("a\r\nb{}", "é".repeat(1000)));
        let answer =
            check(wit::Verdict { action: wit::Action::Next, reply: None, reason }, Stage::Mail, &none()).unwrap();
        let reason = answer.reason.unwrap();
        assert!(reason.starts_with("a\\r\\nb"));
        assert!(reason.len() <= REASON_BYTES_MAX + 16);
    }
}
