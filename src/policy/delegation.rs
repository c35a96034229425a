//! Postfix's policy delegation protocol (SMTPD_POLICY_README): what a daemon is asked, and what its answer means here.
//!
//! It decides nothing by itself and widens nothing: a daemon's `OK` ends the questions to daemons at this stage, and
//! relay policy was asked before it.

use std::fmt::Write as _;

use crate::config::PolicyStage;
use crate::mail::{Envelope, PeerName, Recipient, Sender, SessionFacts};
use crate::smtp::{Enhanced, Reply};

/// Octets of one answer, as far as they are read.
pub const ANSWER_BYTES_MAX: usize = 4 << 10;
/// Octets of a value that is asked about; the rest is cut.
const VALUE_BYTES_MAX: usize = 1 << 10;

/// What there is to ask about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub stage: PolicyStage,
    pub facts: &'a SessionFacts,
    pub envelope: Option<&'a Envelope>,
    /// At HELO: what was said just now.
    pub helo: Option<&'a str>,
    /// At MAIL.
    pub sender: Option<&'a Sender>,
    /// At RCPT.
    pub recipient: Option<&'a Recipient>,
    /// Octets of the message: what came, or what SIZE announced.
    pub size: u64,
    pub context: &'a str,
    /// The gateway is under load (`stress`).
    pub stress: bool,
}

/// What a daemon's answer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `DUNNO`: the next daemon is asked.
    Next,
    /// `OK`: no further daemon is asked at this stage.
    Permit,
    Refuse(Reply),
    Disconnect(Reply),
    /// Refused for now, unless somebody else refuses for good.
    DeferIfPermit(Reply),
    /// What is refused for good later is refused for now.
    DeferIfReject(Reply),
    /// A header field, to stand before the message.
    Prepend(String),
    /// For the log.
    Warn(String),
    /// Not possible here, or no answer at all: in words for the operator.
    Unusable(String),
}

impl Question<'_> {
    /// The request, with the empty line at its end.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let mut out = Attributes(String::with_capacity(1 << 10));
        let facts = self.facts;
        let hello = facts.hello.as_ref();
        let extended = hello.is_some_and(|hello| hello.extended);
        out.put("request", "smtpd_access_policy");
        out.put("protocol_state", self.stage.state(extended));
        out.put("protocol_name", if extended { "ESMTP" } else { "SMTP" });
        out.put("client_address", &facts.peer.ip().to_canonical().to_string());
        out.put("client_name", name(&facts.peer_name));
        out.put("client_port", &facts.peer.port().to_string());
        out.put("reverse_client_name", name(&facts.reverse_name));
        out.put("server_address", &facts.local.ip().to_canonical().to_string());
        out.put("server_port", &facts.local.port().to_string());
        out.put("helo_name", self.helo.or(hello.map(|hello| &*hello.name)).unwrap_or_default());
        self.envelope(&mut out);
        self.login(&mut out);
        self.encryption(&mut out);
        out.put("etrn_domain", "");
        out.put("stress", if self.stress { "yes" } else { "" });
        out.put("policy_context", self.context);
        out.0.push('\n');
        out.0.into_bytes()
    }

    fn envelope(&self, out: &mut Attributes) {
        let sender = self.sender.or(self.envelope.map(|envelope| &envelope.sender));
        let recipients = self.envelope.map_or(&[][..], |envelope| &envelope.recipients);
        // As Postfix does: of several recipients none is named at DATA and END-OF-MESSAGE.
        let only = match (self.stage, recipients) {
            (PolicyStage::Data | PolicyStage::EndOfMessage, [only]) => Some(only),
            _ => None,
        };
        let counts = matches!(self.stage, PolicyStage::Data | PolicyStage::EndOfMessage);
        out.put("sender", sender.map_or("", |sender| sender.path.as_str()));
        out.put("recipient", self.recipient.or(only).map_or("", |recipient| recipient.path.as_str()));
        out.put("recipient_count", &if counts { recipients.len() } else { 0 }.to_string());
        // The same for all questions about one message.
        out.put("instance", self.envelope.map_or(&*self.facts.id, |envelope| &*envelope.id));
        out.put("queue_id", self.envelope.filter(|_| counts).map_or("", |envelope| &*envelope.id));
        out.put("size", &self.size.to_string());
    }

    fn login(&self, out: &mut Attributes) {
        let auth = self.facts.auth.as_deref();
        let sender = self.sender.or(self.envelope.map(|envelope| &envelope.sender));
        let claimed = sender.and_then(|sender| sender.params.get("AUTH")).and_then(|param| param.value.as_deref());
        out.put("sasl_method", auth.map_or("", |auth| auth.mechanism.as_str()));
        out.put("sasl_username", auth.map_or("", |auth| &auth.identity));
        out.put("sasl_sender", claimed.filter(|_| auth.is_some()).unwrap_or_default());
    }

    fn encryption(&self, out: &mut Attributes) {
        let tls = self.facts.tls.as_deref();
        out.put("encryption_protocol", tls.map_or("", |tls| tls.version));
        out.put("encryption_cipher", tls.map_or("", |tls| &tls.cipher));
        out.put("encryption_keysize", &tls.map_or(0, |tls| tls.bits).to_string());
        out.put("ccert_subject", tls.and_then(|tls| tls.client_subject.as_deref()).unwrap_or_default());
        out.put("ccert_issuer", "");
        out.put("ccert_fingerprint", tls.and_then(|tls| tls.client_fingerprint.as_deref()).unwrap_or_default());
        out.put("ccert_pubkey_fingerprint", "");
    }

    /// What a refusal is about, as Postfix says it.
    #[must_use]
    pub fn subject(&self) -> String {
        match self.stage {
            PolicyStage::Connect => {
                let (name, address) = (name(&self.facts.peer_name), self.facts.peer.ip().to_canonical());
                format!("<{name}[{address}]>: Client host")
            }
            PolicyStage::Helo => format!("<{}>: Helo command", self.helo.unwrap_or_default()),
            PolicyStage::Mail => {
                format!("<{}>: Sender address", self.sender.map_or("", |sender| sender.path.as_str()))
            }
            PolicyStage::Rcpt => {
                let recipient = self.recipient.map_or("", |recipient| recipient.path.as_str());
                format!("<{recipient}>: Recipient address")
            }
            PolicyStage::Data => "<DATA>: Data command".to_owned(),
            PolicyStage::EndOfMessage => "<END-OF-MESSAGE>: End-of-data".to_owned(),
        }
    }

    /// What the daemon's answer means. `text` is all of it, up to its empty line.
    #[must_use]
    pub fn understand(&self, text: &str) -> Answer {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let Some((_, action)) = lines.find(|(name, _)| name.trim() == "action") else {
            return Answer::Unusable("its answer has no action".to_owned());
        };
        let action = action.trim();
        let (verb, rest) = action.split_once([' ', '\t']).map_or((action, ""), |(verb, rest)| (verb, rest.trim()));
        let refuse = |code, rest| Answer::Refuse(self.reply(code, rest));
        match verb.to_ascii_uppercase().as_str() {
            "DUNNO" | "" => Answer::Next,
            "OK" => Answer::Permit,
            "REJECT" => refuse(554, rest),
            "DEFER" => refuse(450, rest),
            "DEFER_IF_PERMIT" => Answer::DeferIfPermit(self.reply(450, rest)),
            "DEFER_IF_REJECT" => Answer::DeferIfReject(self.reply(450, rest)),
            "PREPEND" if self.stage == PolicyStage::EndOfMessage => {
                Answer::Unusable("PREPEND comes too late at the end of the message".to_owned())
            }
            "PREPEND" if is_field(rest) => Answer::Prepend(rest.to_owned()),
            "WARN" | "INFO" => Answer::Warn(rest.to_owned()),
            // All digits: "permit" in Postfix's tables.
            number if number.bytes().all(|b| b.is_ascii_digit()) => match number.parse::<u16>() {
                Ok(code @ (421 | 521)) => Answer::Disconnect(self.reply(code, rest)),
                Ok(code @ 400..=559) => refuse(code, rest),
                _ => Answer::Permit,
            },
            _ => Answer::Unusable(format!("it says {:?}, which is not possible here", cut(action, 100))),
        }
    }

    /// `554 5.7.1 <who>: Recipient address rejected: text`.
    fn reply(&self, code: u16, rest: &str) -> Reply {
        let class = if code < 500 { 4 } else { 5 };
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (enhanced, text) = match Enhanced::parse(word) {
            // A daemon's 5.7.1 beside a 450 is the daemon's mistake.
            Some(said) => (Enhanced { class, ..said }, after.trim()),
            None => (Enhanced::new(class, 7, 1), rest),
        };
        let text = if text.is_empty() { "Access denied" } else { text };
        Reply::new(code, Some(enhanced), cut(&format!("{} rejected: {text}", self.subject()), 400))
    }
}

fn name(name: &PeerName) -> &str {
    match name {
        PeerName::Confirmed(name) => name,
        PeerName::Unavailable | PeerName::TemporarilyUnavailable => "unknown",
    }
}

/// `Name: value` on one line, which cannot break out of a header block.
fn is_field(text: &str) -> bool {
    let Some((name, value)) = text.split_once(':') else { return false };
    let name_fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    name_fits && text.len() <= 900 && !value.contains(char::is_control)
}

/// Printable, and at most so many octets.
fn cut(text: &str, bytes_max: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default().to_owned()
}

struct Attributes(String);

impl Attributes {
    fn put(&mut self, name: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name}={}", cut(value, VALUE_BYTES_MAX));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::mail::Hello;
    use crate::smtp::{ForwardPath, Params, ReversePath};

    fn facts() -> SessionFacts {
        let (peer, local) = ("192.0.2.7:4321".parse().unwrap(), "192.0.2.1:25".parse().unwrap());
        SessionFacts {
            reverse_name: PeerName::Confirmed("not.confirmed.test".into()),
            hello: Some(Hello { name: "client.test".into(), extended: true }),
            ..SessionFacts::new("ID".into(), "mx".into(), peer, local)
        }
    }

    fn recipient(address: &str) -> Recipient {
        Recipient { path: ForwardPath::parse(address).unwrap(), params: Params::default() }
    }

    fn question<'a>(stage: PolicyStage, facts: &'a SessionFacts, recipient: Option<&'a Recipient>) -> Question<'a> {
        let (envelope, helo, sender) = (None, None, None);
        Question { stage, facts, envelope, helo, sender, recipient, size: 0, context: "inbound", stress: false }
    }

    #[test]
    fn a_request_has_what_daemons_look_at() {
        let (facts, rcpt) = (facts(), recipient("b@example.org"));
        let sender = Sender { path: ReversePath::parse("a@client.test").unwrap(), params: Params::default() };
        let envelope = Envelope { id: Arc::from("ID.1"), sender, recipients: vec![recipient("c@example.org")] };
        let at_rcpt = Question { envelope: Some(&envelope), ..question(PolicyStage::Rcpt, &facts, Some(&rcpt)) };
        let text = String::from_utf8(at_rcpt.request()).unwrap();
        for line in [
            "request=smtpd_access_policy",
            "protocol_state=RCPT",
            "protocol_name=ESMTP",
            "client_address=192.0.2.7",
            "client_name=unknown",
            "reverse_client_name=not.confirmed.test",
            "helo_name=client.test",
            "sender=a@client.test",
            "recipient=b@example.org",
            "recipient_count=0",
            "instance=ID.1",
            "queue_id=",
            "sasl_username=",
            "policy_context=inbound",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in {text}");
        }
        assert!(text.starts_with("request=") && text.ends_with("\n\n"));
        assert_eq!(text.matches("\n\n").count(), 1);
        let last = Question { envelope: Some(&envelope), size: 9, ..question(PolicyStage::EndOfMessage, &facts, None) };
        let text = String::from_utf8(last.request()).unwrap();
        let expected =
            "sender=a@client.test\nrecipient=c@example.org\nrecipient_count=1\ninstance=ID.1\nqueue_id=ID.1\nsize=9";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn answers_mean_what_they_mean_to_postfix() {
        let (facts, rcpt) = (facts(), recipient("b@example.org"));
        let at_rcpt = question(PolicyStage::Rcpt, &facts, Some(&rcpt));
        let refused = |code, enhanced: &str, text: &str| {
            let text = format!("<b@example.org>: Recipient address rejected: {text}");
            Reply::new(code, Enhanced::parse(enhanced), text)
        };
        for (said, meant) in [
            ("action=DUNNO", Answer::Next),
            ("action=", Answer::Next),
            ("action=ok", Answer::Permit),
            ("action=250 fine", Answer::Permit),
            ("foo=bar\naction=REJECT go away", Answer::Refuse(refused(554, "5.7.1", "go away"))),
            ("action=reject", Answer::Refuse(refused(554, "5.7.1", "Access denied"))),
            ("action=550 5.1.1 nobody", Answer::Refuse(refused(550, "5.1.1", "nobody"))),
            ("action=451 5.7.1 later", Answer::Refuse(refused(451, "4.7.1", "later"))),
            ("action=DEFER", Answer::Refuse(refused(450, "4.7.1", "Access denied"))),
            ("action=DEFER_IF_PERMIT 4.2.0 Greylisted", Answer::DeferIfPermit(refused(450, "4.2.0", "Greylisted"))),
            ("action=421 4.7.0 bye", Answer::Disconnect(refused(421, "4.7.0", "bye"))),
            ("action=521 bye", Answer::Disconnect(refused(521, "5.7.1", "bye"))),
            ("action=PREPEND X-A: b", Answer::Prepend("X-A: b".into())),
            ("action=WARN odd", Answer::Warn("odd".into())),
        ] {
            assert_eq!(at_rcpt.understand(said), meant, "{said}");
        }
        for said in
            ["", "action", "result=ok", "action=HOLD", "action=FILTER x:y", "action=PREPEND no field", "action=é"]
        {
            assert!(matches!(at_rcpt.understand(said), Answer::Unusable(_)), "{said}");
        }
        let late = question(PolicyStage::EndOfMessage, &facts, None);
        assert!(matches!(late.understand("action=PREPEND X-A: b"), Answer::Unusable(_)));
        let first = question(PolicyStage::Connect, &facts, None);
        let Answer::Refuse(reply) = first.understand("action=REJECT") else { panic!("no refusal") };
        assert_eq!(reply.text, "<unknown[192.0.2.7]>: Client host rejected: Access denied");
    }
}
