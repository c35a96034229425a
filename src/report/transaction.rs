//! One transaction in one line: who sent what to whom, what the filters said, what became of it, how long it took.
//!
//! Nothing is formatted or allocated unless the line will be written.

use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;
use std::time::Duration;

use super::escape::{Escaped, Style, quoted};
use crate::mail::{AbortReason, AfterLogin, Marks, PeerName, Recipient, SessionFacts, Stage, Symbol};
use crate::smtp::Reply;

/// `log.level` can name it: `info,wasmilter::transaction=off`.
pub(super) const TARGET: &str = "wasmilter::transaction";
/// Fields of the line that bring their own JSON for a JSON log.
pub(super) const OWN_JSON: [&str; 6] = ["sender", "recipients", "filters", "shadow", "symbols", "tags"];

/// Recipients named in the line; `recipient_count` has all.
const RECIPIENTS_SHOWN_MAX: usize = 20;
/// Answers of filters named in the line.
const FILTERS_SHOWN_MAX: usize = 32;
/// Symbols named in the line; `score` is the sum of all.
const SYMBOLS_SHOWN_MAX: usize = 32;

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream has it.
    Accepted,
    /// A filter was granted to let it vanish, and did.
    Discarded,
    /// The upstream that a filter's grant names has it.
    Quarantined,
    /// 5xx.
    Refused,
    /// 4xx.
    Deferred,
    /// It ended before there was an answer to it.
    Aborted(AbortReason),
}

impl Outcome {
    /// Without `Aborted`'s reason.
    pub const NAMES: [&'static str; 6] = ["accepted", "discarded", "quarantined", "refused", "deferred", "aborted"];

    /// As in the log line and in `wasmilter_transactions_total`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Discarded => "discarded",
            Outcome::Quarantined => "quarantined",
            Outcome::Refused => "refused",
            Outcome::Deferred => "deferred",
            Outcome::Aborted(_) => "aborted",
        }
    }
}

/// What one filter said at one stage, where it said more than "go on".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSaid {
    pub filter: Arc<str>,
    /// As the filter says itself.
    pub version: Option<Arc<str>>,
    pub stage: Stage,
    /// `reject`, `defer`, `accept`, `fault` …
    pub action: &'static str,
    pub reason: Option<String>,
}

/// All there is to say about one transaction.
#[derive(Debug, Clone)]
pub struct Transaction<'a> {
    /// Of the transaction: the session's id and a number.
    pub id: &'a str,
    pub session: &'a SessionFacts,
    /// As the client said it, without brackets; empty for the null sender.
    pub sender: &'a str,
    /// Those accepted.
    pub recipients: &'a [Recipient],
    pub recipients_refused: u32,
    /// Octets of the message that were received.
    pub size: u64,
    pub filters: &'a [FilterSaid],
    /// What filters said beside their verdicts.
    pub marks: Option<&'a Marks>,
    /// What filters in shadow would have said.
    pub shadow: &'a [FilterSaid],
    pub outcome: Outcome,
    /// The last thing the client was told about it.
    pub reply: Option<&'a Reply>,
    /// What the upstream said last.
    pub upstream: Option<&'a Reply>,
    pub total: Duration,
    /// Of it, in filters.
    pub in_filters: Duration,
    /// Of it, waiting for the upstream.
    pub in_upstream: Duration,
}

impl Transaction<'_> {
    /// Writes the line, if that level is on.
    pub fn log(&self) {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return;
        }
        let facts = self.session;
        let (tls, introduced) = (facts.tls.as_deref(), facts.introduced.as_deref());
        let name = match &facts.peer_name {
            PeerName::Confirmed(name) => Some(&**name),
            PeerName::Unavailable | PeerName::TemporarilyUnavailable => None,
        };
        let aborted = match self.outcome {
            Outcome::Aborted(reason) => Some(abort_name(reason)),
            _ => None,
        };
        let symbols = self.marks.map(Marks::symbols).unwrap_or_default();
        let tags = self.marks.map(Marks::tags).unwrap_or_default();
        tracing::info!(
            target: TARGET,
            outcome = self.outcome.name(),
            aborted,
            id = self.id,
            listener = &*facts.listener,
            peer = %facts.peer.ip(),
            port = facts.peer.port(),
            peer_name = name,
            proxy = facts.proxy().map(|proxy| tracing::field::display(proxy.peer)),
            proxy_tls = facts.proxy().and_then(|proxy| proxy.tls.as_ref()).map(|tls| tls.version),
            proxy_id = facts.proxy().and_then(|proxy| proxy.unique_id.as_deref()),
            xclient = introduced.and_then(|said| said.xclient).map(tracing::field::display),
            forwarded = introduced.and_then(|said| said.forwarded.as_ref()).map(tracing::field::display),
            helo = facts.hello.as_ref().map(|hello| &*hello.name),
            tls = tls.map(|tls| tls.version),
            cipher = tls.map(|tls| &*tls.cipher),
            client_certificate = tls.and_then(|tls| tls.client_subject.as_deref()),
            client_fingerprint = tls.and_then(|tls| tls.client_fingerprint.as_deref()),
            identity = facts.auth.as_ref().map(|auth| &*auth.identity),
            after_login = (facts.after_login == AfterLogin::Yes && facts.auth.is_none()).then_some(true),
            sender = ?Sender(self.sender),
            recipients = ?Recipients(self.recipients),
            recipient_count = self.recipients.len(),
            recipients_refused = self.recipients_refused,
            size = self.size,
            filters = (!self.filters.is_empty()).then(|| tracing::field::debug(Filters(self.filters))),
            score = (!symbols.is_empty()).then(|| points(self.marks.map_or(0.0, Marks::total))),
            symbols = (!symbols.is_empty()).then(|| tracing::field::debug(Symbols(symbols))),
            tags = (!tags.is_empty()).then(|| tracing::field::debug(Tags(tags))),
            shadow = (!self.shadow.is_empty()).then(|| tracing::field::debug(Filters(self.shadow))),
            reply = self.reply.map(|reply| tracing::field::display(Said(reply))),
            upstream = self.upstream.map(|reply| tracing::field::display(Said(reply))),
            total_ms = millis(self.total),
            filters_ms = millis(self.in_filters),
            upstream_ms = millis(self.in_upstream),
            "transaction"
        );
    }
}

/// With one decimal.
#[allow(clippy::cast_precision_loss, reason = "a duration whose tenths of milliseconds do not fit in 52 bits is none")]
fn millis(duration: Duration) -> f64 {
    (duration.as_micros() / 100) as f64 / 10.0
}

/// With three decimals: as many as a score can mean, and few enough for a line.
fn points(points: f64) -> f64 {
    (points * 1_000.0).round() / 1_000.0
}

fn abort_name(reason: AbortReason) -> &'static str {
    match reason {
        AbortReason::Reset => "reset",
        AbortReason::ClientGone => "client-gone",
        AbortReason::Timeout => "timeout",
        AbortReason::Refused => "refused",
        AbortReason::UpstreamFailed => "upstream-failed",
        AbortReason::Shutdown => "shutdown",
    }
}

/// `<a@b>`; in JSON (the alternate form, see [`super::log`]) the address alone.
struct Sender<'a>(&'a str);

impl Debug for Sender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { quoted(f, self.0, Style::Json) } else { write!(f, "<{}>", self.0) }
    }
}

/// A reply on one line.
struct Said<'a>(&'a Reply);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code)?;
        if let Some(enhanced) = self.0.enhanced {
            write!(f, " {enhanced}")?;
        }
        let mut between = " ";
        for line in self.0.lines() {
            write!(f, "{between}{line}")?;
            between = " / ";
        }
        Ok(())
    }
}

/// `<a@b>,<c@d>,…`; in JSON an array.
struct Recipients<'a>(&'a [Recipient]);

impl Debug for Recipients<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().take(RECIPIENTS_SHOWN_MAX);
        if f.alternate() {
            return array(f, shown, |f, recipient| quoted(f, recipient.path.as_str(), Style::Json));
        }
        for (index, recipient) in shown.enumerate() {
            write!(f, "{}<{}>", if index == 0 { "" } else { "," }, recipient.path.as_str())?;
        }
        if self.0.len() > RECIPIENTS_SHOWN_MAX { f.write_str(",…") } else { Ok(()) }
    }
}

/// `blocklist/1.4.0:rcpt=reject(listed); other:rcpt=defer`; in JSON an array of objects.
struct Filters<'a>(&'a [FilterSaid]);

impl Debug for Filters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().take(FILTERS_SHOWN_MAX);
        if f.alternate() {
            return array(f, shown, |f, said| {
                f.write_str("{\"filter\":")?;
                quoted(f, &said.filter, Style::Json)?;
                if let Some(version) = &said.version {
                    f.write_str(",\"version\":")?;
                    quoted(f, version, Style::Json)?;
                }
                write!(f, ",\"stage\":\"{}\",\"action\":\"", said.stage.name())?;
                Escaped::new(f, Style::Json).write_str(said.action)?;
                f.write_char('"')?;
                if let Some(reason) = &said.reason {
                    f.write_str(",\"reason\":")?;
                    quoted(f, reason, Style::Json)?;
                }
                f.write_char('}')
            });
        }
        for (index, said) in shown.enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{}", said.filter)?;
            if let Some(version) = &said.version {
                write!(f, "/{version}")?;
            }
            write!(f, ":{}={}", said.stage.name(), said.action)?;
            if let Some(reason) = &said.reason {
                write!(f, "({reason})")?;
            }
        }
        if self.0.len() > FILTERS_SHOWN_MAX { f.write_str("; …") } else { Ok(()) }
    }
}

/// `rules:SUSPICIOUS=2.5(why); greylist:KNOWN=-1`; in JSON an array of objects.
struct Symbols<'a>(&'a [Symbol]);

impl Debug for Symbols<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().take(SYMBOLS_SHOWN_MAX);
        if f.alternate() {
            return array(f, shown, |f, symbol| {
                f.write_str("{\"filter\":")?;
                quoted(f, &symbol.filter, Style::Json)?;
                f.write_str(",\"name\":")?;
                quoted(f, &symbol.name, Style::Json)?;
                write!(f, ",\"points\":{}", points(symbol.points))?;
                if let Some(detail) = &symbol.detail {
                    f.write_str(",\"detail\":")?;
                    quoted(f, detail, Style::Json)?;
                }
                f.write_char('}')
            });
        }
        for (index, symbol) in shown.enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{}:{}={}", symbol.filter, symbol.name, points(symbol.points))?;
            if let Some(detail) = &symbol.detail {
                write!(f, "({detail})")?;
            }
        }
        if self.0.len() > SYMBOLS_SHOWN_MAX { f.write_str("; …") } else { Ok(()) }
    }
}

/// `a,b`; in JSON an array.
struct Tags<'a>(&'a [Box<str>]);

impl Debug for Tags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return array(f, self.0.iter(), |f, tag| quoted(f, tag, Style::Json));
        }
        for (index, tag) in self.0.iter().enumerate() {
            write!(f, "{}{tag}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn array<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    each: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    f.write_char('[')?;
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        each(f, item)?;
    }
    f.write_char(']')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::super::log::tests::{logged, timeless};
    use super::*;
    use crate::config::LogFormat;
    use crate::mail::{AuthFacts, Hello, TlsFacts};
    use crate::smtp::{Enhanced, ForwardPath, Mailbox, Params};

    fn facts() -> SessionFacts {
        SessionFacts {
            after_login: AfterLogin::No,
            id: "5f3a".into(),
            listener: "submission".into(),
            peer: "192.0.2.1:4711".parse().unwrap(),
            local: "192.0.2.25:587".parse().unwrap(),
            peer_name: PeerName::Confirmed("client.example.net".into()),
            reverse_name: PeerName::Unavailable,
            hello: Some(Hello { name: "client.test".into(), extended: true }),
            tls: Some(Arc::new(TlsFacts::new("TLSv1.3", "TLS_AES_256_GCM_SHA384".into(), 256))),
            auth: Some(Arc::new(AuthFacts {
                mechanism: crate::smtp::sasl::Mechanism::Plain.into(),
                identity: "anna".into(),
            })),
            introduced: None,
        }
    }

    fn recipient(address: &str) -> Recipient {
        Recipient { path: ForwardPath::Mailbox(Mailbox::parse(address).unwrap()), params: Params::default() }
    }

    fn said(reason: Option<&str>) -> FilterSaid {
        FilterSaid {
            filter: "blocklist".into(),
            version: reason.map(|_| "1.4.0".into()),
            stage: Stage::Rcpt,
            action: "reject",
            reason: reason.map(str::to_owned),
        }
    }

    /// A transaction as many are, for `act` to change and write.
    fn with(act: impl FnOnce(Transaction<'_>) -> String) -> String {
        let (facts, recipients) = (facts(), [recipient("a@example.org"), recipient("\"b c\"@example.org")]);
        let upstream = Reply::new(250, Some(Enhanced::new(2, 0, 0)), "Ok: queued as 4F\nthanks");
        act(Transaction {
            id: "5f3a-1",
            session: &facts,
            sender: "anna@example.org",
            recipients: &recipients,
            recipients_refused: 1,
            size: 4096,
            filters: &[],
            marks: None,
            shadow: &[],
            outcome: Outcome::Accepted,
            reply: Some(&upstream),
            upstream: Some(&upstream),
            total: Duration::from_micros(12_345),
            in_filters: Duration::from_micros(400),
            in_upstream: Duration::from_millis(10),
        })
    }

    fn text(transaction: &Transaction<'_>) -> String {
        logged(LogFormat::Text, "info", || transaction.log())
    }

    fn json(transaction: &Transaction<'_>) -> String {
        logged(LogFormat::Json, "info", || transaction.log())
    }

    #[test]
    fn one_line_of_text() {
        let text = with(|usual| text(&usual));
        assert_eq!(
            timeless(text.trim_end()),
            " INFO transaction outcome=accepted id=5f3a-1 listener=submission peer=192.0.2.1 port=4711 \
             peer_name=client.example.net helo=client.test tls=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 identity=anna \
             sender=<anna@example.org> recipients=\"<a@example.org>,<\\\"b c\\\"@example.org>\" recipient_count=2 \
             recipients_refused=1 size=4096 reply=\"250 2.0.0 Ok: queued as 4F / thanks\" \
             upstream=\"250 2.0.0 Ok: queued as 4F / thanks\" total_ms=12.3 filters_ms=0.4 upstream_ms=10"
        );
    }

    #[test]
    fn one_object_of_json() {
        let filters = [said(Some("listed \"x\"\n")), said(None)];
        let outcome = Outcome::Aborted(AbortReason::ClientGone);
        let text = with(|usual| json(&Transaction { filters: &filters, outcome, reply: None, ..usual }));
        assert_eq!(text.lines().count(), 1);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&object["outcome"], &object["aborted"]), (&"aborted".into(), &"client-gone".into()));
        assert_eq!(object["recipients"], serde_json::json!(["a@example.org", "\"b c\"@example.org"]));
        assert_eq!(
            object["filters"],
            serde_json::json!([
                { "filter": "blocklist", "version": "1.4.0", "stage": "rcpt", "action": "reject", "reason": "listed \"x\"\n" },
                { "filter": "blocklist", "stage": "rcpt", "action": "reject" },
            ])
        );
        assert_eq!((&object["sender"], &object["size"]), (&"anna@example.org".into(), &4096.into()));
        assert!(object.get("reply").is_none() && object["total_ms"] == 12.3);
    }

    #[test]
    fn marks_are_in_the_line() {
        let mut marks = Marks::default();
        let rules = "rules".into();
        marks.score(&rules, 0.1 + 0.2, "ODD", Some("a \"b\"\n outcome=accepted")).unwrap();
        marks.score(&rules, 2.0, "BAD", None).unwrap();
        marks.tag("bulk").unwrap();
        marks.tag("list").unwrap();
        let line = with(|usual| text(&Transaction { marks: Some(&marks), ..usual }));
        let said =
            r#"score=2.3 symbols="rules:ODD=0.3(a \"b\"\n outcome=accepted); rules:BAD=2" tags=bulk,list reply="#;
        assert!(line.contains(said) && line.lines().count() == 1, "{line}");
        let line = with(|usual| json(&Transaction { marks: Some(&marks), ..usual }));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&object["score"], &object["tags"]), (&2.3.into(), &serde_json::json!(["bulk", "list"])));
        assert_eq!(
            object["symbols"],
            serde_json::json!([
                { "filter": "rules", "name": "ODD", "points": 0.3, "detail": "a \"b\"\n outcome=accepted" },
                { "filter": "rules", "name": "BAD", "points": 2 },
            ])
        );
    }

    #[test]
    fn what_shadows_would_have_said_stands_apart() {
        let said =
            |action| FilterSaid { filter: "strict".into(), version: None, stage: Stage::Message, action, reason: None };
        let shadow = [said("reject"), said("edit")];
        let line = with(|usual| text(&Transaction { shadow: &shadow, ..usual }));
        assert!(line.contains(r#" shadow="strict:message=reject; strict:message=edit" "#), "{line}");
        let line = with(|usual| json(&Transaction { shadow: &shadow, ..usual }));
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["shadow"][1]["action"], "edit");
        assert!(object.get("filters").is_none());
    }

    #[test]
    fn lists_are_bounded() {
        let (recipients, filters) =
            (vec![recipient("a@example.org"); 1_000], vec![said(Some(&"z".repeat(500))); 1_000]);
        for write in [text, json] {
            let line = with(|usual| write(&Transaction { recipients: &recipients, filters: &filters, ..usual }));
            assert_eq!(line.matches("a@example.org").count(), RECIPIENTS_SHOWN_MAX + 1, "and the sender");
            assert!(line.contains("1000") && line.len() < 40_000, "{}", line.len());
        }
    }

    #[test]
    fn what_filters_and_clients_say_forges_nothing() {
        let filters = [said(Some("x)\n\u{1b}[0m outcome=accepted"))];
        let (outcome, sender) = (Outcome::Refused, "a\r\n outcome=accepted@x");
        let line = with(|usual| text(&Transaction { filters: &filters, outcome, sender, ..usual }));
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r#"sender="<a\r\n outcome=accepted@x>""#), "{line}");
        assert!(line.contains(r#"filters="blocklist/1.4.0:rcpt=reject(x)\n\u{1b}[0m outcome=accepted)""#), "{line}");
    }

    #[test]
    fn it_can_be_switched_off() {
        let off = "info,wasmilter::transaction=off";
        assert_eq!(with(|usual| logged(LogFormat::Text, off, || usual.log())), "");
        assert!(with(|usual| text(&Transaction { sender: "", ..usual })).contains("sender=<> "));
    }
}
