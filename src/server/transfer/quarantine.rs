//! A message that a filter wants in quarantine: the whole transaction anew, to where the operator's grant says.

use crate::chain::Held;
use crate::mail::AbortReason;
use crate::session::Purpose;
use crate::session::quarantine::Quarantined;
use crate::smtp::{Reply, replies};
use crate::upstream::Telling;

use super::{Fate, Transfer};

impl Transfer<'_> {
    /// A yes is that upstream's yes to the message. With any other answer the message is nowhere, and the client is to
    /// come again: it has done nothing wrong that a 5xx of this upstream could be about.
    pub(super) async fn deliver_quarantined(&mut self, why: &Quarantined, held: &Held) -> Fate {
        let fate = match self.say_quarantined(why, held).await {
            Ok(()) => self.answer().await,
            Err(fate) => fate,
        };
        match fate.aborted {
            None => fate,
            Some(reason) => Fate { reply: replies::FILTER_DEFERRED, aborted: Some(reason), close: fate.close },
        }
    }

    async fn say_quarantined(&mut self, why: &Quarantined, held: &Held) -> Result<(), Fate> {
        let session = self.with.session;
        let Some(to) = session.quarantine_of(why) else {
            self.with.leg.reset().await;
            return Err(Fate::refused(replies::FILTER_DEFERRED));
        };
        let upstream = if session.is_upstream() && to.upstream == session.upstream() {
            session.upstream_offer()
        } else {
            if session.is_upstream() {
                self.with.leg.reset().await;
            }
            let reached = self.with.leg.reach(session.facts(), to.upstream, Purpose::Transaction, Telling::Now).await;
            reached.map_err(|unreached| Fate::upstream_failed(unreached.reply))?
        };
        let lines = match session.quarantine_lines(&to, &upstream) {
            Ok(lines) => lines,
            Err(reply) => return self.refused_quarantine(reply).await,
        };
        if !self.with.leg.replay(&lines).await.map_err(Fate::upstream_failed)? {
            return self.refused_quarantine(replies::FILTER_DEFERRED).await;
        }
        if let Some(field) = session.quarantine_field(why) {
            self.message.received.insert_str(0, &field);
        }
        self.send_message(held).await
    }

    async fn refused_quarantine(&mut self, reply: Reply) -> Result<(), Fate> {
        self.with.leg.reset().await;
        Err(Fate { reply, aborted: Some(AbortReason::Refused), close: false })
    }
}
