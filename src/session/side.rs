//! RSET and QUIT.

use crate::mail::AbortReason;
use crate::smtp::replies;

use super::group::{AfterReset, Awaited};
use super::phase::Phase;
use super::{Session, Step};

impl Session {
    pub(super) fn check_rset(&mut self) -> Step {
        self.forwarded_used = true;
        match &self.phase {
            Phase::Addressed(transaction) if transaction.lost.is_none() && transaction.to.said => {
                let reset = self.forward(Awaited::Reset(AfterReset::Ok), b"RSET\r\n".to_vec());
                self.ended(AbortReason::Reset, reset)
            }
            Phase::Addressed(_) => {
                let then = self.idle(replies::OK);
                self.ended(AbortReason::Reset, then)
            }
            _ => self.idle(replies::OK),
        }
    }

    /// Whatever the upstream said: the transaction is gone here, and a connection that will not reset is dropped
    /// by the driver.
    pub(super) fn settle_rset(&mut self) -> Step {
        self.idle(replies::OK)
    }

    pub(super) fn quit(&mut self) -> Step {
        let bye = replies::BYE;
        self.ended(AbortReason::Reset, Step::Close(vec![bye]))
    }
}
