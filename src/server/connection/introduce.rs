//! XCLIENT, as far as the driver is concerned: the connection stays, everything of the client's is exchanged.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Connection, Names};
use crate::chain::{Call, SessionChain};
use crate::config::Limits;
use crate::policy::limits::Subject;
use crate::server::accept::{admit_client, no_room};
use crate::server::wait::hold_back;
use crate::session::{Input, Names as Introduction, Step};
use crate::smtp::Reply;
use crate::state::limits::{ConnectionGuard, RuleGuard};

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
        let room = match room {
            Ok(guard) => self.let_in(guard, peer).await,
            Err(reply) => Err(reply),
        };
        self.names = if names == Introduction::Told { Names::Known } else { Names::Unknown };
        self.session.handle(Input::Introduced(room))
    }

    /// Whether `[[limit]]` lets the new client in, too, and what holds for it then.
    async fn let_in(&mut self, guard: ConnectionGuard, peer: IpAddr) -> Result<Arc<Limits>, Reply> {
        let (limits, rates) = self.generation.limits_for(peer);
        let mut rules = RuleGuard::default();
        self.toll.marked.clear();
        self.toll.errors_paid = self.session.errors();
        if rates {
            let listener = Arc::clone(&self.session.facts().listener);
            let ruling;
            (rules, ruling) = self.gateway.enter(&Subject::arriving(peer, &listener)).await;
            if let Some(which) = ruling.limited {
                self.record.limited(&self.session, which);
            }
            if let Some(reply) = ruling.refusal {
                return Err(reply);
            }
            // The speaker waits for its client; should it leave, that is noticed when it is answered.
            let until = self.overdue.min(Instant::now() + ruling.delay);
            hold_back(&mut self.io, &self.gateway.shutdown, until).await;
            self.arrives_marked(ruling.tags);
        }
        self.rates = rates;
        self.room = Some((guard, rules));
        Ok(limits)
    }
}
