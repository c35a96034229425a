//! The mail at hand: what the ambient capabilities speak of while one filter is asked. It travels from
//! instance to instance, so that what one filter changed is what the next one sees.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::notes::Notes;
use crate::checks::{Origin, Spf};
use crate::mail::{Edit, Envelope, Marks, Recipient, Sender, SessionFacts, Stage};
use crate::smtp::headers::HeaderBlock;
use crate::state::spool::Spool;

/// What the session of a trial is called.
const TRIAL: &str = "load";

/// What is at hand in one stage.
#[derive(Debug)]
pub struct Work {
    pub session: Arc<SessionFacts>,
    pub envelope: Option<Arc<Envelope>>,
    pub stage: Stage,
    pub notes: Notes,
    /// Those of filters in shadow, which nobody else reads.
    pub shadow_notes: Notes,
    /// At mail, once a filter changed it.
    pub sender: Option<Sender>,
    /// At rcpt, once a filter replaced it.
    pub recipient: Option<Recipient>,
    /// At headers, body (if somebody reads them there) and message.
    pub headers: Option<Arc<HeaderBlock>>,
    /// At message. Its header block is in `headers` meanwhile.
    pub held: Option<Held>,
    /// Of the envelope, in the order in which filters made them.
    pub edits: Vec<Edit>,
    /// Of the transaction; None: nothing was marked.
    pub marks: Option<Arc<Marks>>,
    /// How long the answer to this stage is to be held back: the longest that was asked for.
    pub delay: Duration,
    /// What SPF said, and of whom.
    pub(super) spf: Option<Box<(Origin, Spf)>>,
    undo: Option<Box<Undo>>,
}

/// How it was before the filter at hand changed anything.
#[derive(Debug)]
struct Undo {
    envelope: Option<Arc<Envelope>>,
    sender: Option<Sender>,
    recipient: Option<Recipient>,
    headers: Option<Arc<HeaderBlock>>,
    edits: usize,
    marks: Option<Arc<Marks>>,
    delay: Duration,
    /// A new body was begun; what `Held::replace_body` gave back.
    body: Option<Option<Spool>>,
}

impl Work {
    /// Work in `session`, before any stage.
    #[must_use]
    pub fn new(session: Arc<SessionFacts>) -> Work {
        Work {
            session,
            envelope: None,
            stage: Stage::Connect,
            notes: Notes::default(),
            shadow_notes: Notes::default(),
            sender: None,
            recipient: None,
            headers: None,
            held: None,
            edits: Vec::new(),
            marks: None,
            delay: Duration::ZERO,
            spf: None,
            undo: None,
        }
    }

    /// No session at all: for the trial at load, where only `init` is called.
    #[must_use]
    pub fn trial() -> Work {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Work::new(Arc::new(SessionFacts::new(TRIAL.into(), "".into(), nowhere, nowhere)))
    }

    /// Whether this is the trial of a filter at load.
    pub(super) fn is_trial(&self) -> bool {
        &*self.session.id == TRIAL
    }

    /// Before the first change of the filter at hand: remembers how things were.
    fn remember(&mut self) -> &mut Undo {
        self.undo.get_or_insert_with(|| {
            Box::new(Undo {
                envelope: self.envelope.clone(),
                sender: self.sender.clone(),
                recipient: self.recipient.clone(),
                headers: self.headers.clone(),
                edits: self.edits.len(),
                marks: self.marks.clone(),
                delay: self.delay,
                body: None,
            })
        })
    }

    /// To change anything but the body.
    pub(super) fn change(&mut self) -> &mut Work {
        self.remember();
        self
    }

    /// The new body the filter at hand is writing: begun at its first call.
    pub(super) fn new_body(&mut self) -> Option<&mut Held> {
        self.remember();
        let (held, undo) = (self.held.as_mut()?, self.undo.as_mut()?);
        if undo.body.is_none() {
            undo.body = Some(held.replace_body());
        }
        held.forget_digest();
        Some(held)
    }

    /// Whether the filter at hand has changed anything.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.undo.is_some()
    }

    /// Whether the body, if the filter at hand wrote one, may end where it ends.
    pub(super) fn is_well_formed(&self) -> bool {
        self.undo.as_ref().is_none_or(|undo| undo.body.is_none()) || self.held.as_ref().is_none_or(|h| h.ends.may_end())
    }

    /// The filter at hand has answered: its changes stand.
    pub fn keep_changes(&mut self) {
        self.undo = None;
    }

    /// The filter at hand has failed: its changes never were.
    pub fn drop_changes(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        self.envelope = undo.envelope;
        self.sender = undo.sender;
        self.recipient = undo.recipient;
        self.headers = undo.headers;
        self.edits.truncate(undo.edits);
        self.marks = undo.marks;
        self.delay = undo.delay;
        if let (Some(held), Some(before)) = (&mut self.held, undo.body) {
            held.restore_body(before);
        }
    }
}
