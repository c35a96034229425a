//! Envelope edits made at the `message` stage: what must be said upstream before DATA so that the transaction is
//! what the filters made of it.

use crate::mail::{Edit, Recipient, Sender};
use crate::smtp::ehlo::Offer;
use crate::smtp::{Reply, replies};

use super::Session;
use super::phase::Phase;
use super::{mail, rcpt};

impl Session {
    /// The lines to send upstream, each of which must be answered 2xx: an added recipient is one more RCPT, a
    /// changed sender or a removed recipient is RSET and the transaction anew; a deferred transaction is said whole.
    /// Empty when nothing changed. `upstream` is what the upstream offers.
    ///
    /// # Errors
    /// The client's answer when the edits cannot be carried out: an added recipient beyond what the client may
    /// do, an address the transaction has no SMTPUTF8 for, or nobody left.
    pub fn late_edits(&self, edits: Vec<Edit>, upstream: &Offer) -> Result<Vec<Vec<u8>>, Reply> {
        let Phase::Addressed(transaction) = &self.phase else { return Err(replies::INTERNAL_ERROR) };
        let standing = transaction.to.said;
        let mut sender: Sender = transaction.envelope.sender.clone();
        let before = transaction.envelope.recipients.iter().chain(&transaction.added);
        let mut recipients: Vec<Recipient> = before.cloned().collect();
        let mut added: Vec<Recipient> = Vec::new();
        let mut anew = !standing;
        for edit in edits {
            match edit {
                Edit::SetSender(changed) => (sender, anew) = (changed, true),
                // Too late: where it goes was decided with the first recipient.
                Edit::Route(_) => {}
                Edit::RemoveRecipient { address } => {
                    let count = recipients.len() + added.len();
                    recipients.retain(|recipient| recipient.path.as_str() != address);
                    added.retain(|recipient| recipient.path.as_str() != address);
                    anew |= recipients.len() + added.len() != count;
                }
                Edit::AddRecipient { recipient, beyond_relay } | Edit::ReplaceRecipient { recipient, beyond_relay } => {
                    match self.permitted(self.standing(), &recipient.path) {
                        Err(doubt) if !beyond_relay && doubt.code < 500 => return Err(doubt),
                        Err(_) if !beyond_relay => return Err(replies::RELAY_DENIED),
                        _ => {}
                    }
                    if !recipients.contains(&recipient) && !added.contains(&recipient) {
                        added.push(recipient);
                    }
                }
            }
        }
        if recipients.is_empty() && added.is_empty() {
            return Err(replies::NO_VALID_RECIPIENTS);
        }
        let mut lines = Vec::new();
        if anew {
            if standing {
                lines.push(b"RSET\r\n".to_vec());
            }
            lines.push(mail::line(&sender, transaction.smtp_utf8, upstream)?);
        } else {
            recipients.clear();
        }
        for recipient in recipients.iter().chain(&added) {
            lines.push(rcpt::line(transaction, upstream, recipient)?);
        }
        Ok(lines)
    }
}
