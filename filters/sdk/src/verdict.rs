//! Verdicts: the functions that make one, and the methods that say more about it.
//!
//! The gateway takes a malformed reply for a fault of the filter. What a filter puts into a reply often comes
//! from the client (a file name, an address), so these builders make any text fit to be said: control and
//! direction-changing characters become `?`, and length and number of lines are cut to what the contract allows.

pub use crate::bindings::wasmilter::filter::types::{Action, Reply, Verdict};

/// Lines of a reply, as the contract allows.
pub const REPLY_LINES_MAX: usize = 16;
/// Octets in a line of a reply, as the contract allows.
pub const REPLY_LINE_BYTES_MAX: usize = 400;
/// Octets kept of a reason.
pub const REASON_BYTES_MAX: usize = 1_000;

/// No opinion: the next filter is asked.
#[must_use]
pub fn next() -> Verdict {
    plain(Action::Next)
}

/// Content with it: this filter is not asked again in this transaction (from connect, helo, tls and auth: in
/// this session). Others still are.
#[must_use]
pub fn accept() -> Verdict {
    plain(Action::Accept)
}

/// At `unknown`: this is the answer, with 250 (another one of 211, 214 and 250 to 259 with [`code`](Verdict::code)):
/// `answer("2.1.5", "<user@example.org>")`.
#[must_use]
pub fn answer(enhanced: &str, text: impl AsRef<str>) -> Verdict {
    says(Action::Accept, 250, enhanced, text.as_ref())
}

/// Enough seen: no more chunks of this message for this filter (`headers` and `body` only).
#[must_use]
pub fn skip() -> Verdict {
    plain(Action::Skip)
}

/// Answers success and delivers nothing. Only where the operator granted `discard`.
#[must_use]
pub fn discard() -> Verdict {
    plain(Action::Discard)
}

/// To the upstream or the mailbox that the operator named in the grant, and not to the recipients; only with that grant.
/// At data, headers and message. The client hears 250 when it is there.
#[must_use]
pub fn quarantine() -> Verdict {
    plain(Action::Quarantine)
}

/// Refuses for good, with 550: `reject("5.7.1", "Not here")`. `enhanced` is of class 5 (RFC 3463); each line of
/// `text` is a line of the reply.
#[must_use]
pub fn reject(enhanced: &str, text: impl AsRef<str>) -> Verdict {
    says(Action::Reject, 550, enhanced, text.as_ref())
}

/// Refuses for now, with 451: `defer("4.7.1", "Come back later")`. `enhanced` is of class 4.
#[must_use]
pub fn defer(enhanced: &str, text: impl AsRef<str>) -> Verdict {
    says(Action::Defer, 451, enhanced, text.as_ref())
}

/// Answers and closes the connection: with 421 when `enhanced` is of class 4, with 554 when it is of class 5.
#[must_use]
pub fn disconnect(enhanced: &str, text: impl AsRef<str>) -> Verdict {
    let code = if enhanced.starts_with('5') { 554 } else { 421 };
    says(Action::Disconnect, code, enhanced, text.as_ref())
}

impl Verdict {
    /// Why, for the log; the client never sees it.
    #[must_use]
    pub fn because(mut self, reason: impl AsRef<str>) -> Verdict {
        self.reason = Some(cut(reason.as_ref(), REASON_BYTES_MAX).to_owned());
        self
    }

    /// Another code than the usual one. Its class must fit the action and the enhanced code.
    #[must_use]
    pub fn code(mut self, code: u16) -> Verdict {
        if let Some(reply) = &mut self.reply {
            reply.code = code;
        }
        self
    }
}

fn plain(action: Action) -> Verdict {
    Verdict { action, reply: None, reason: None }
}

fn says(action: Action, code: u16, enhanced: &str, text: &str) -> Verdict {
    let text = text.split('\n').take(REPLY_LINES_MAX).map(printable).collect();
    Verdict { action, reply: Some(Reply { code, enhanced: Some(enhanced.to_owned()), text }), reason: None }
}

/// `line` with `?` for what does not belong into one line of text, at most [`REPLY_LINE_BYTES_MAX`] octets of it.
fn printable(line: &str) -> String {
    let line = line.strip_suffix('\r').unwrap_or(line);
    cut(line, REPLY_LINE_BYTES_MAX).chars().map(|c| if crate::text::is_printable(c) { c } else { '?' }).collect()
}

/// The beginning of `text`, at most `bytes` octets of it, not ending inside a character.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_reply_is_always_fit_to_be_said() {
        let hostile = format!("a\rb\u{202e}c\0\r\nsecond\n{}", "ü".repeat(500));
        let reply = reject("5.7.1", hostile).reply.unwrap();
        assert_eq!(reply.text[0], "a?b?c?");
        assert_eq!(reply.text[1], "second");
        assert_eq!(reply.text[2], "ü".repeat(200));
        assert_eq!(defer("4.0.0", "x\n".repeat(99)).reply.unwrap().text.len(), REPLY_LINES_MAX);
    }

    #[test]
    fn codes_follow_the_action() {
        let code = |verdict: Verdict| verdict.reply.map(|reply| reply.code);
        assert_eq!(code(reject("5.7.1", "")), Some(550));
        assert_eq!(code(reject("5.6.0", "").code(554)), Some(554));
        assert_eq!(code(defer("4.7.1", "")), Some(451));
        assert_eq!(code(answer("2.0.0", "").code(214)), Some(214));
        assert_eq!(code(disconnect("4.7.0", "")), Some(421));
        assert_eq!(code(disconnect("5.7.0", "")), Some(554));
        assert_eq!(code(next().code(550)), None);
    }
}
