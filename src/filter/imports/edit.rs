//! `edit`: what a filter changes. Nothing is repaired here: what a client could not have said is `malformed`.

use std::sync::Arc;

use wasmtime::Result;

use crate::config::EditGrant;
use crate::filter::bindings::wasmilter::filter::edit::{Error, Header, Host, Path};
use crate::filter::convert::{recipient_in, sender_in, value_in};
use crate::filter::grant::matches;
use crate::filter::guest::Guest;
use crate::filter::work::Work;
use crate::mail::{Edit, Envelope, Recipient, Stage};
use crate::smtp::ForwardPath;
use crate::smtp::headers::HeaderField;

/// Edits of the envelope at one stage, all filters together.
const ENVELOPE_EDITS_MAX: usize = 200;
/// Recipients a transaction may grow to.
const RECIPIENTS_MAX: usize = 2_000;
/// Fields a header block may grow to, and its octets.
const FIELDS_MAX: usize = 4_000;
const HEADER_BYTES_MAX: usize = 2 << 20;
/// A body may become this much longer than twice what came.
const BODY_GROWTH_BYTES_MAX: u64 = 1 << 20;

type Edited = std::result::Result<(), Error>;

impl Guest {
    fn grant(&self) -> &EditGrant {
        &self.profile.config.grants.edit
    }

    fn at(&mut self, stages: &[Stage]) -> Edited {
        let stage = self.work().map(|work| work.stage).map_err(|_| Error::TooLate)?;
        if stages.contains(&stage) { Ok(()) } else { Err(Error::TooLate) }
    }

    fn desk(&mut self) -> std::result::Result<&mut Work, Error> {
        self.work().map_err(|_| Error::TooLate)
    }

    fn edits_field(&mut self, name: &str) -> Edited {
        self.at(&[Stage::Headers, Stage::Message])?;
        granted(self.grant().headers.iter().any(|pattern| matches(pattern, name)))
    }

    /// True where the operator lets this filter address anybody of that pattern, whatever relay policy says.
    fn is_beyond_relay(&self, recipient: &Recipient) -> bool {
        let ForwardPath::Mailbox(mailbox) = &recipient.path else { return false };
        !mailbox.has_routing_trick()
            && self.grant().recipient_patterns.iter().any(|pattern| matches(pattern, mailbox.as_str()))
    }

    fn set_sender_of(&mut self, path: Path) -> Edited {
        self.at(&[Stage::Mail, Stage::Message])?;
        granted(self.grant().sender)?;
        let sender = sender_in(path).map_err(Error::Malformed)?;
        let work = self.desk()?.change();
        note(work, Edit::SetSender(sender.clone()))?;
        if work.stage == Stage::Mail {
            work.sender = Some(sender);
        } else if let Some(envelope) = envelope(work) {
            envelope.sender = sender;
        }
        Ok(())
    }

    fn replace_recipient_by(&mut self, path: Path) -> Edited {
        self.at(&[Stage::Rcpt])?;
        granted(self.grant().recipients)?;
        let recipient = recipient_in(path).map_err(Error::Malformed)?;
        let beyond_relay = self.is_beyond_relay(&recipient);
        let work = self.desk()?.change();
        note(work, Edit::ReplaceRecipient { recipient: recipient.clone(), beyond_relay })?;
        work.recipient = Some(recipient);
        Ok(())
    }

    fn add_one(&mut self, path: Path) -> Edited {
        self.at(&[Stage::Rcpt, Stage::Message])?;
        granted(self.grant().recipients)?;
        let recipient = recipient_in(path).map_err(Error::Malformed)?;
        let beyond_relay = self.is_beyond_relay(&recipient);
        let work = self.desk()?.change();
        if work.envelope.as_ref().is_some_and(|envelope| envelope.recipients.len() >= RECIPIENTS_MAX) {
            return Err(Error::Limit);
        }
        note(work, Edit::AddRecipient { recipient: recipient.clone(), beyond_relay })?;
        if work.stage == Stage::Message
            && let Some(envelope) = envelope(work)
        {
            envelope.recipients.push(recipient);
        }
        Ok(())
    }

    fn remove_one(&mut self, address: &str) -> Edited {
        self.at(&[Stage::Message])?;
        granted(self.grant().recipients)?;
        let work = self.desk()?.change();
        let envelope = envelope(work).ok_or(Error::NoSuch)?;
        let place = envelope.recipients.iter().position(|r| r.path.as_str() == address).ok_or(Error::NoSuch)?;
        let address = envelope.recipients.remove(place).path.as_str().to_owned();
        note(work, Edit::RemoveRecipient { address })
    }

    fn add_field(&mut self, place: Option<u32>, field: Header) -> Edited {
        self.edits_field(&field.name)?;
        let field =
            HeaderField::new(field.name, value_in(&field.value)).map_err(|e| Error::Malformed(e.to_string()))?;
        let block = self.desk()?.change().headers.as_mut().map(Arc::make_mut).ok_or(Error::TooLate)?;
        if block.len() >= FIELDS_MAX || block.octets() + field.value().len() > HEADER_BYTES_MAX {
            return Err(Error::Limit);
        }
        match place {
            Some(place) => block.insert(usize::try_from(place).unwrap_or(usize::MAX), &field),
            None => block.append(&field),
        }
        Ok(())
    }

    fn change_field(&mut self, name: &str, nth: u32, value: Option<&[u8]>) -> Edited {
        self.edits_field(name)?;
        let block = self.desk()?.change().headers.as_mut().map(Arc::make_mut).ok_or(Error::TooLate)?;
        if value.is_some_and(|value| block.octets() + value.len() > HEADER_BYTES_MAX) {
            return Err(Error::Limit);
        }
        let value = value.map(value_in);
        let nth = usize::try_from(nth).unwrap_or(usize::MAX);
        let changed = block.change(name, nth, value.as_deref()).map_err(|e| Error::Malformed(e.to_string()))?;
        if changed { Ok(()) } else { Err(Error::NoSuch) }
    }

    /// Whether `data` may be appended to the body; the first part of `write-body`.
    fn may_write(&mut self, data: &[u8]) -> Edited {
        self.at(&[Stage::Message])?;
        granted(self.grant().body)?;
        let work = self.desk()?;
        let before = work.held.as_ref().map_or(0, |held| held.came_bytes());
        let held = work.new_body().ok_or(Error::TooLate)?;
        if held.body.len() + data.len() as u64 > before.saturating_mul(2).saturating_add(BODY_GROWTH_BYTES_MAX) {
            return Err(Error::Limit);
        }
        held.ends.feed(data).map_err(|what| Error::Malformed(what.into()))
    }
}

fn granted(is: bool) -> Edited {
    if is { Ok(()) } else { Err(Error::NotGranted) }
}

pub(super) fn note(work: &mut Work, edit: Edit) -> Edited {
    if work.edits.len() >= ENVELOPE_EDITS_MAX {
        return Err(Error::Limit);
    }
    work.edits.push(edit);
    Ok(())
}

/// The envelope, to be changed for the filters that come after.
fn envelope(work: &mut Work) -> Option<&mut Envelope> {
    work.envelope.as_mut().map(Arc::make_mut)
}

impl Host for Guest {
    fn set_sender(&mut self, sender: Path) -> Result<Edited> {
        Ok(self.set_sender_of(sender))
    }

    fn replace_recipient(&mut self, recipient: Path) -> Result<Edited> {
        Ok(self.replace_recipient_by(recipient))
    }

    fn add_recipient(&mut self, recipient: Path) -> Result<Edited> {
        Ok(self.add_one(recipient))
    }

    fn remove_recipient(&mut self, address: String) -> Result<Edited> {
        Ok(self.remove_one(&address))
    }

    fn append_header(&mut self, field: Header) -> Result<Edited> {
        Ok(self.add_field(None, field))
    }

    fn insert_header(&mut self, place: u32, field: Header) -> Result<Edited> {
        Ok(self.add_field(Some(place), field))
    }

    fn change_header(&mut self, name: String, nth: u32, value: Option<Vec<u8>>) -> Result<Edited> {
        Ok(self.change_field(&name, nth, value.as_deref()))
    }

    async fn write_body(&mut self, data: Vec<u8>) -> Result<Edited> {
        let pause = self.pause();
        if let Err(error) = self.may_write(&data) {
            return Ok(Err(error));
        }
        let Some(held) = self.work()?.new_body() else { return Ok(Err(Error::TooLate)) };
        pause.wait(held.body.append(&data)).await??;
        Ok(Ok(()))
    }
}
