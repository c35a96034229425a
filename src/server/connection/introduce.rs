//! XCLIENT, as far as the driver is concerned: the connection stays, everything of the client's is exchanged.

use std::net::IpAddr;

use super::{Connection, Names};
use crate::chain::{Call, SessionChain};
use crate::server::accept::{admit_client, no_room};
use crate::session::{Input, Names as Introduction, Step};

impl Connection {
    /// XCLIENT: room is the new client's, and so are bounds and names. For filters the session before is over.
    pub(super) async fn introduce(&mut self, peer: IpAddr, names: Introduction) -> Step {
        let summary = self.record.summary(self.io.came());
        self.chain.consult(Call::Quit(summary), &self.context()).await;
        self.record.begins_anew(summary);
        self.chain = SessionChain::new(self.generation.chain.load_full(), &self.session.facts().listener);
        // The speaker's goes first: it may be introducing a client at its own address.
        self.room = None;
        let room = admit_client(&self.gateway, &self.generation, peer).map_err(|refused| {
            self.record.limited(&self.session, refused.which);
            no_room(refused.which)
        });
        let room = room.map(|guard| {
            self.room = Some(guard);
            let (limits, rates) = self.generation.limits_for(peer);
            self.rates = rates;
            limits
        });
        self.names = if names == Introduction::Told { Names::Known } else { Names::Unknown };
        self.session.handle(Input::Introduced(room))
    }
}
