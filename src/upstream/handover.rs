//! A connection between two clients: whether it may go from one to the next, and what has to happen then.
//!
//! **No fact about one client (address, login, HELO name, envelope, a reply still on its way) reaches the transaction of
//! another.** What could carry one over ends the connection instead.

use std::sync::Arc;

use super::connection::{Connection, Manner};
use super::error::UpstreamError;
use super::pool::Place;
use super::shared::Shared;
use super::wait::Wait;
use crate::config::Server;
use crate::smtp::{Offer, Reply};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftover {
    None,
    /// RSET is still to be said.
    Open,
    /// It was said; its answer comes before the one that is asked for.
    Reset,
}

/// What a connection has been through.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wear {
    pub(super) transactions: u32,
    /// A transaction was begun and is not known to be over.
    pub(super) open: bool,
    /// Since the last message that was taken. Postfix counts them, too, and becomes slow.
    refusals: u16,
    pub(super) resets: u16,
    /// Accepted since MAIL.
    pub(super) recipients: u16,
}

/// Postfix slows a client down after 10 (smtpd_soft_error_limit), counted as we count.
const REFUSALS_MAX: u16 = 5;
/// Postfix takes 100 commands that move nothing (smtpd_junk_command_limit); the next client needs some, too.
const RESETS_MAX: u16 = 50;

impl Wear {
    /// An answer came.
    pub(super) fn note(&mut self, wait: Wait, reply: &Reply) {
        match (wait, reply.class()) {
            (Wait::Final, 2) => (self.open, self.refusals, self.resets) = (false, 0, 0),
            (Wait::Rset, _) => {
                self.open = false;
                self.resets = self.resets.saturating_add(1);
            }
            (Wait::Rcpt, 2) => self.recipients = self.recipients.saturating_add(1),
            (_, 4..) => {
                // After a refused MAIL, or at its end, no transaction is open.
                self.open &= !matches!(wait, Wait::Mail | Wait::Final);
                self.refusals = self.refusals.saturating_add(1);
            }
            _ => {}
        }
    }
}

impl Connection {
    /// The client needs it no more: back to the pool where it can serve the next one, else QUIT.
    ///
    /// Nothing of this client reaches the next: no reply of its is still due, a transaction it left open is reset
    /// before anything else is said, and where the upstream was told who it is, all of it will be told anew. So a
    /// connection is kept only where XCLIENT still offers all that was said, and never when a login was told.
    pub async fn release(mut self) {
        if self.may_serve_another() { Shared::keep(self).await } else { self.quit().await }
    }

    fn may_serve_another(&mut self) -> bool {
        let Wear { transactions, open, refusals, resets, .. } = self.wear;
        let fresh = transactions < self.shared.settings.pool.transactions_per_connection
            && refusals < REFUSALS_MAX
            && resets < RESETS_MAX;
        // Without PIPELINING the reset would cost the next client a wait.
        let closed = self.pipelines() || !(open || self.leftover != Leftover::None);
        fresh && self.is_shareable() && closed && self.is_alive()
    }

    /// Whether another client's transactions may follow this client's in it: everything that was told of this client
    /// can be told anew.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        if self.shared.settings.proxy_protocol.is_some() {
            // The address in front of the banner cannot be taken back.
            return false;
        }
        match (self.manner, &self.told) {
            (Manner::Silent | Manner::Xforward, _) | (Manner::Xclient, None) => true,
            (Manner::Xclient, Some(told)) => self.said.are_in(&self.offer.xclient) && !told.has_login(),
        }
    }

    /// Out of the pool, for the next client; whether it still lives.
    pub(super) fn begin_again(&mut self) -> bool {
        self.introduced = false;
        if self.manner != Manner::Xclient {
            self.told = None;
        }
        if self.wear.open {
            self.leftover = Leftover::Open;
            self.wear.open = false;
        }
        self.reused = true;
        self.is_alive()
    }

    /// EHLO or LHLO once more, in our own name.
    pub(super) async fn greet_again(&mut self) -> Result<(), UpstreamError> {
        let hello = self.shared.hello_line();
        let answer = self.exchange(hello.as_bytes(), Wait::Hello).await;
        let reply = self.checked(answer)?;
        self.offer = self.shared.remember(Offer::parse(&reply));
        Ok(())
    }

    /// Takes the place that this connection has.
    pub(super) fn hold(&mut self, place: Place) {
        self.place = place;
    }

    pub(super) fn give_place_back(&mut self) -> Place {
        self.place.take()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// The upstream was never told of a client in it.
    pub(super) fn is_untold(&self) -> bool {
        self.told.is_none()
    }
}
