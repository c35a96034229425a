//! AUTH by a mechanism that a backend serves by itself: what client and backend say is passed on, and the backend says
//! how it ends. Base64 and the bounds of an exchange are the gateway's; of what is in it only the account's name is
//! read, for the limits on logins, and where that cannot be read they count it as nobody's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mail::AbortReason;
use crate::smtp::line::AUTH_LINE_OCTETS_MAX;
use crate::smtp::sasl::{Name, Secret, Witness};
use crate::smtp::{Reply, replies};

use super::phase::Pending;
use super::{Charge, Relayed, Session, Step};

/// Messages of the client's in one exchange. Four are the most that a mechanism in use has (GSSAPI).
pub(super) const RELAYED_MESSAGES_MAX: u8 = 10;
/// Octets of a challenge before base64: with its code it is a line of `AUTH_LINE_OCTETS_MAX` (RFC 4954 section 4).
const CHALLENGE_OCTETS_MAX: usize = (AUTH_LINE_OCTETS_MAX - "334 \r\n".len()) / 4 * 3;

/// One such exchange.
#[derive(Debug)]
pub(super) struct Relay {
    mechanism: Name,
    witness: Option<Witness>,
    /// As it was last asked about.
    account: Arc<str>,
    messages: u8,
    /// There is something to be ended at the backend.
    begun: bool,
}

impl Session {
    /// `initial` is still in base64.
    pub(super) fn begin_relay(&mut self, mechanism: Name, initial: Option<&Secret>) -> Step {
        let mut relay =
            Relay { mechanism, witness: Witness::of(mechanism), account: Arc::default(), messages: 0, begun: false };
        let initial = match initial.map(|said| STANDARD.decode(said.reveal())) {
            None => None,
            Some(Ok(message)) => Some(Secret::new(message)),
            Some(Err(_)) => return self.refuse(replies::AUTH_NOT_BASE64),
        };
        if let Some(message) = &initial {
            relay.hears(message);
        }
        let account = Arc::clone(&relay.account);
        self.pending = Pending::RelayGate(Box::new(relay), initial);
        Step::Charge(Charge::AuthAttempt { account })
    }

    /// This network may still try (this account). Before the backend hears anything that depends on it.
    pub(super) fn relay_gate(
        &mut self,
        mut relay: Box<Relay>,
        message: Option<Secret>,
        room: Result<(), &'static str>,
    ) -> Step {
        if room.is_err() {
            let parting = self.part(replies::TOO_MANY_LOGINS_NOW, AbortReason::Refused);
            return relay.end(parting);
        }
        let (mechanism, begun) = (relay.mechanism, relay.begun);
        relay.begun = true;
        self.pending = Pending::RelayAnswer(relay);
        match message {
            Some(message) if begun => Step::RelayOn(message),
            initial => Step::Relay { mechanism, initial },
        }
    }

    /// A limit over sessions refuses it.
    pub(super) fn relay_limited(&mut self, relay: &Relay, reply: Reply) -> Step {
        let step = match reply.code {
            421 => self.part(reply, AbortReason::Refused),
            _ => self.relay_reply(reply),
        };
        relay.end(step)
    }

    pub(super) fn settle_relayed(&mut self, relay: Box<Relay>, said: Relayed) -> Step {
        match said {
            Relayed::Challenge(octets)
                if octets.len() <= CHALLENGE_OCTETS_MAX && relay.messages < RELAYED_MESSAGES_MAX =>
            {
                self.pending = Pending::RelayLine(relay);
                Step::Challenge(challenge(&octets))
            }
            // No end in sight.
            Relayed::Challenge(_) => Step::RelayEnd(Box::new(self.say(replies::AUTH_TRY_LATER))),
            Relayed::Unavailable => self.say(replies::AUTH_TRY_LATER),
            Relayed::Bad => self.auth_bad(relay.mechanism, None, relay.account),
            Relayed::Good { last: Some(octets), .. } if octets.len() > CHALLENGE_OCTETS_MAX => {
                self.say(replies::AUTH_TRY_LATER)
            }
            Relayed::Good { identity, last } => {
                self.auth_good(relay.mechanism, identity, last.as_deref().map(challenge))
            }
        }
    }

    /// The client's answer to a challenge, without its line end.
    pub(super) fn relay_line(&mut self, mut relay: Box<Relay>, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::RelayEnd(Box::new(self.refuse(replies::AUTH_CANCELLED)));
        }
        let Ok(message) = STANDARD.decode(line).map(Secret::new) else {
            return Step::RelayEnd(Box::new(self.refuse(replies::AUTH_NOT_BASE64)));
        };
        let before = Arc::clone(&relay.account);
        relay.hears(&message);
        if relay.account == before {
            return self.relay_gate(relay, Some(message), Ok(()));
        }
        let account = Arc::clone(&relay.account);
        self.pending = Pending::RelayGate(relay, Some(message));
        Step::Charge(Charge::AuthAttempt { account })
    }
}

impl Relay {
    fn hears(&mut self, message: &Secret) {
        self.messages = self.messages.saturating_add(1);
        // Whether it makes sense is the backend's business.
        let _ = self.witness.as_mut().map(|witness| witness.hear(message.reveal()));
        if let Some(account) = self.witness.as_ref().and_then(Witness::account)
            && *self.account != *account
        {
            self.account = account.into();
        }
    }

    fn end(&self, step: Step) -> Step {
        if self.begun { Step::RelayEnd(Box::new(step)) } else { step }
    }
}

fn challenge(message: &[u8]) -> Reply {
    Reply::new(334, None, STANDARD.encode(message))
}
