//! Who a message is from and for, when only the message is there.

use mail_parser::{Address, MessageParser};

use super::mails::Mail;
use crate::mail::{Recipient, Sender};
use crate::smtp::headers::HeaderBlock;
use crate::smtp::{ForwardPath, Params, ReversePath};

/// Recipients taken from a message.
const RECIPIENTS_MAX: usize = 100;
/// For messages that name nobody.
const RECIPIENT_OF_LAST_RESORT: &str = "postmaster@example.org";

/// An envelope, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guessed {
    pub sender: Sender,
    pub recipients: Vec<Recipient>,
    /// "Return-Path", "the command line".
    pub sender_from: &'static str,
    pub recipients_from: &'static str,
}

/// What the command line says, and for the rest the message.
pub(super) fn guess(mail: &Mail, from: Option<&ReversePath>, to: &[ForwardPath]) -> Guessed {
    let (block, _) = HeaderBlock::parse(&mail.content);
    let parsed = MessageParser::default().parse_headers(&mail.content);
    let (sender, sender_from) = match from {
        Some(path) => (path.clone(), "the command line"),
        None => sender(&block, mail, parsed.as_ref().and_then(|message| message.from())),
    };
    let (recipients, recipients_from) = if to.is_empty() {
        let shown = parsed.as_ref().map(|message| [message.to(), message.cc()]);
        recipients(&block, shown.into_iter().flatten().flatten())
    } else {
        (to.to_vec(), "the command line")
    };
    let recipients = recipients.into_iter().map(|path| Recipient { path, params: Params::default() }).collect();
    Guessed { sender: Sender { path: sender, params: Params::default() }, recipients, sender_from, recipients_from }
}

fn sender(block: &HeaderBlock, mail: &Mail, from: Option<&Address<'_>>) -> (ReversePath, &'static str) {
    let returned = value(block, "Return-Path").and_then(|path| ReversePath::parse(&path).ok());
    let mbox = || mail.mbox_sender.as_deref().and_then(|sender| ReversePath::parse(sender).ok());
    let shown = || addresses(from).find_map(|address| ReversePath::parse(address).ok());
    returned
        .map(|path| (path, "Return-Path"))
        .or_else(|| mbox().map(|path| (path, "the mbox")))
        .or_else(|| shown().map(|path| (path, "From")))
        .unwrap_or((ReversePath::Null, "nowhere: the null sender"))
}

fn recipients<'a>(
    block: &HeaderBlock,
    shown: impl Iterator<Item = &'a Address<'a>>,
) -> (Vec<ForwardPath>, &'static str) {
    for (field, name) in [("Delivered-To", "Delivered-To"), ("X-Original-To", "X-Original-To")] {
        if let Some(path) = value(block, field).and_then(|path| ForwardPath::parse(&path).ok()) {
            return (vec![path], name);
        }
    }
    let mut found: Vec<ForwardPath> = Vec::new();
    for path in shown.flat_map(|address| addresses(Some(address))).filter_map(|text| ForwardPath::parse(text).ok()) {
        if found.len() < RECIPIENTS_MAX && !found.contains(&path) {
            found.push(path);
        }
    }
    if found.is_empty() {
        found.extend(ForwardPath::parse(RECIPIENT_OF_LAST_RESORT).ok());
        return (found, "nowhere: somebody");
    }
    (found, "To and Cc")
}

fn addresses<'a>(list: Option<&'a Address<'a>>) -> impl Iterator<Item = &'a str> {
    list.into_iter().flat_map(Address::iter).filter_map(|addr| addr.address.as_deref())
}

/// Of the topmost field, without angle brackets.
fn value(block: &HeaderBlock, name: &str) -> Option<String> {
    let field = block.get(name, 0)?;
    let text = String::from_utf8_lossy(field.value()).trim().to_owned();
    Some(text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(text: &str, mbox: Option<&str>) -> (String, Vec<String>, &'static str, &'static str) {
        let mail = Mail { name: String::new(), content: text.into(), mbox_sender: mbox.map(str::to_owned) };
        let guessed = guess(&mail, None, &[]);
        let to = guessed.recipients.iter().map(|to| to.path.as_str().to_owned()).collect();
        (guessed.sender.path.as_str().to_owned(), to, guessed.sender_from, guessed.recipients_from)
    }

    #[test]
    fn the_message_tells_as_well_as_it_can() {
        let text =
            "Return-Path: <bounce@x.test>\r\nDelivered-To: b@example.org\r\nFrom: a@x.test\r\nTo: c@y.test\r\n\r\n";
        let wanted = ("bounce@x.test".into(), vec!["b@example.org".into()], "Return-Path", "Delivered-To");
        assert_eq!(guessed(text, Some("m@x.test")), wanted);
        let text = "From: \"A, B\" <a@x.test>\r\nTo: c@y.test, C <c@y.test>\r\nCc: d@y.test\r\n\r\n";
        let to = || vec!["c@y.test".to_owned(), "d@y.test".to_owned()];
        assert_eq!(guessed(text, None), ("a@x.test".into(), to(), "From", "To and Cc"));
        assert_eq!(guessed(text, Some("m@x.test")), ("m@x.test".into(), to(), "the mbox", "To and Cc"));
        let nobody = (String::new(), vec![RECIPIENT_OF_LAST_RESORT.to_owned()]);
        let (sender, to, ..) = guessed("Return-Path: <>\r\n\r\n", None);
        assert_eq!((sender, to), nobody);
        let (sender, to, ..) = guessed("Subject: x\r\n\r\n", None);
        assert_eq!((sender, to), nobody);
    }
}
