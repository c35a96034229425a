//! A message that a filter wants in quarantine: to which upstream, with which envelope, and the field that says why.
//! Only the operator's grant decides an address here; no text of a filter does.

use std::sync::Arc;

use crate::config::QuarantineGrant;
use crate::mail::{Envelope, Recipient};
use crate::smtp::ehlo::Offer;
use crate::smtp::{Params, Reply, replies};

use super::Session;
use super::phase::Phase;
use super::{mail, rcpt};

/// The name of our field, on top of the message.
const FIELD: &str = "X-Wasmilter-Quarantine";
/// Octets of one value of the field, escapes included; so no line is longer than RFC 5322 allows.
const VALUE_BYTES_MAX: usize = 700;
/// Recipients named in the field; the others are counted.
const RECIPIENTS_MAX: usize = 20;

/// Who wanted it there, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    pub filter: Arc<str>,
    /// Printable.
    pub reason: Option<String>,
}

/// Where it goes.
#[derive(Debug)]
pub struct Place<'a> {
    /// Of `Config::upstreams`.
    pub upstream: usize,
    grant: &'a QuarantineGrant,
}

impl Session {
    /// The filters at DATA wanted the message elsewhere.
    pub(super) fn quarantine(&mut self, why: Quarantined) {
        if let Phase::Addressed(transaction) = &mut self.phase {
            transaction.quarantined = Some(Box::new(why));
        }
    }

    /// What the filters at DATA wanted.
    #[must_use]
    pub fn quarantined(&self) -> Option<&Quarantined> {
        match &self.phase {
            Phase::Addressed(transaction) => transaction.quarantined.as_deref(),
            _ => None,
        }
    }

    /// Where the grant of this filter sends its messages: without an upstream of its own, where this one was to go.
    #[must_use]
    pub fn quarantine_of(&self, why: &Quarantined) -> Option<Place<'_>> {
        let config = self.config();
        let filter = config.filters.iter().find(|filter| *filter.name == *why.filter)?;
        let grant = filter.grants.quarantine.as_ref()?;
        let upstream = match &grant.upstream {
            Some(name) => config.upstreams.iter().position(|upstream| upstream.name == *name)?,
            None => self.upstream(),
        };
        Some(Place { upstream, grant })
    }

    /// The lines to say to that upstream, each of which must be answered 2xx. A transaction that stands in the same
    /// upstream is taken back first.
    ///
    /// # Errors
    /// What was said of the message cannot be said there.
    pub fn quarantine_lines(&self, to: &Place<'_>, upstream: &Offer) -> Result<Vec<Vec<u8>>, Reply> {
        let Phase::Addressed(transaction) = &self.phase else { return Err(replies::INTERNAL_ERROR) };
        let mut lines = Vec::new();
        if transaction.to.said && to.upstream == self.upstream() {
            lines.push(b"RSET\r\n".to_vec());
        }
        let envelope = &transaction.envelope;
        lines.push(mail::line(&envelope.sender, transaction.smtp_utf8, upstream)?);
        if let Some(path) = &to.grant.recipient {
            let mailbox = Recipient { path: path.clone(), params: Params::default() };
            lines.push(rcpt::line(transaction, upstream, &mailbox)?);
        } else {
            for recipient in envelope.recipients.iter().chain(&transaction.added) {
                lines.push(rcpt::line(transaction, upstream, recipient)?);
            }
        }
        Ok(lines)
    }

    /// The field that stands on top of the message, with its final CRLF.
    #[must_use]
    pub fn quarantine_field(&self, why: &Quarantined) -> Option<String> {
        self.envelope().map(|envelope| field(why, envelope))
    }
}

fn field(why: &Quarantined, envelope: &Envelope) -> String {
    let mut out = format!("{FIELD}: filter={}", quoted(&why.filter));
    if let Some(reason) = &why.reason {
        out.push_str(&format!(";\r\n\treason={}", quoted(reason)));
    }
    out.push_str(&format!(";\r\n\tfrom={}", quoted(envelope.sender.path.as_str())));
    for recipient in envelope.recipients.iter().take(RECIPIENTS_MAX) {
        out.push_str(&format!(";\r\n\tto={}", quoted(recipient.path.as_str())));
    }
    let more = envelope.recipients.len().saturating_sub(RECIPIENTS_MAX);
    if more > 0 {
        out.push_str(&format!(";\r\n\tmore={more}"));
    }
    out.push_str("\r\n");
    out
}

/// In quotes, in ASCII: whatever it holds, it ends where the quotes end.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let escaped = c.escape_default();
        if out.len() + escaped.len() > VALUE_BYTES_MAX {
            out.push_str("...");
            break;
        }
        // An apostrophe ends nothing here.
        if c == '\'' { out.push(c) } else { out.extend(escaped) }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mail::Sender;
    use crate::smtp::{ForwardPath, ReversePath};

    fn envelope(recipients: usize) -> Envelope {
        let recipient = |n| Recipient {
            path: ForwardPath::parse(&format!("r{n}@example.org")).unwrap(),
            params: Params::default(),
        };
        let sender = Sender { path: ReversePath::parse("a@client.test").unwrap(), params: Params::default() };
        Envelope { id: "1.1".into(), sender, recipients: (0..recipients).map(recipient).collect() }
    }

    #[test]
    fn the_field_says_who_and_why_and_for_whom() {
        let why = Quarantined { filter: "guard".into(), reason: Some("a \"macro\"\r\nX: y \u{e9}".to_owned()) };
        assert_eq!(
            field(&why, &envelope(1)),
            "X-Wasmilter-Quarantine: filter=\"guard\";\r\n\treason=\"a \\\"macro\\\"\\r\\nX: y \\u{e9}\";\r\n\
             \tfrom=\"a@client.test\";\r\n\tto=\"r0@example.org\"\r\n"
        );
    }

    #[test]
    fn the_field_is_bounded() {
        let why = Quarantined { filter: "guard".into(), reason: Some("\u{1f600}".repeat(10_000)) };
        let text = field(&why, &envelope(2_000));
        assert!(text.ends_with(";\r\n\tmore=1980\r\n"), "{text}");
        assert!(text.lines().all(|line| line.len() < 998 && line.is_ascii()), "{text}");
    }
}
