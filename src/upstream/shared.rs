//! What all connections to one upstream have in common, and how one of them comes to a client: from the pool, or from
//! the first server that gives one.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::Telling;
use super::connection::Connection;
use super::error::UpstreamError;
use super::greet::LogsIn;
use super::pool::{Fit, Pool, Watch};
use super::servers::{self, Change, Health};
use super::wait::Wait;
use crate::config::{Password, Server, Servers, Timeouts, Upstream as Settings, UpstreamProtocol, UpstreamTls};
use crate::mail::SessionFacts;
use crate::net::dial::Dial;
use crate::net::dns::Resolver;
use crate::net::tls::Connector;
use crate::report::upstream as facts;
use crate::smtp::Offer;

/// Different offers kept.
const OFFERS_SEEN_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) hostname: String,
    pub(super) timeouts: Timeouts,
    pub(super) resolver: Resolver,
    pub(super) dialer: Arc<dyn Dial>,
    pub(super) connector: Option<Connector>,
    /// User and password of the gateway.
    pub(super) login: Option<(String, Password)>,
    pub(super) offers: Mutex<Offers>,
    pub(super) pool: Pool,
    pub(super) health: Health,
    /// Empty where the DNS says which there are.
    pub(super) listed: Vec<Arc<Server>>,
    pub(super) chance: Chance,
    pub(super) connected: facts::Connected,
}

/// What the upstream has offered.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// The last one, and when it was made.
    last: Option<(Instant, Arc<Offer>)>,
    /// Different ones (before and after XCLIENT, mostly), so that a thousand idle sessions hold one of each.
    seen: Vec<Arc<Offer>>,
}

/// Numbers that nobody has to be unable to guess.
#[derive(Debug, Default)]
pub(super) struct Chance {
    state: RandomState,
    drawn: AtomicU64,
}

impl Chance {
    fn draw(&self) -> u64 {
        self.state.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

impl Shared {
    /// A connection for this client, from the pool or new, once there is a place for it.
    pub(super) async fn acquire(
        shared: &Arc<Self>,
        who: &SessionFacts,
        telling: Telling,
    ) -> Result<Connection, UpstreamError> {
        let place = shared.pool.place(Wait::Connect.limit(&shared.timeouts)).await?;
        let mut connection = Self::find(shared, Some(who), telling).await?;
        connection.hold(place);
        Ok(connection)
    }

    /// What the upstream offers now: asked in a connection that was told of nobody, and goes (back) to the pool.
    pub(super) async fn ask_offer(shared: &Arc<Self>) -> Result<Arc<Offer>, UpstreamError> {
        let place = shared.pool.place(Wait::Connect.limit(&shared.timeouts)).await?;
        let mut connection = Self::find(shared, None, Telling::Postpone).await?;
        connection.hold(place);
        if connection.is_reused() {
            connection.greet_again().await?;
        }
        let offer = connection.offer();
        connection.release().await;
        Ok(offer)
    }

    /// Servers in their order until one gives a connection that answers. Before a client's transaction has begun
    /// nothing is lost by asking the next one. A server has all the time there is when it is the last; those before
    /// it get their share of the wait for a connection.
    pub(super) async fn find(
        shared: &Arc<Self>,
        who: Option<&SessionFacts>,
        telling: Telling,
    ) -> Result<Connection, UpstreamError> {
        let limit = Wait::Connect.limit(&shared.timeouts);
        let until = Instant::now() + limit;
        let servers =
            timeout_at(until, shared.servers()).await.map_err(|_| UpstreamError::Timeout(Wait::Connect))??;
        let mut failure = UpstreamError::Timeout(Wait::Connect);
        let mut left = u32::try_from(servers.len()).unwrap_or(u32::MAX);
        for server in &servers {
            if let Some(connection) = Self::reuse(shared, server, who, telling).await? {
                shared.connected.count(&shared.settings.name, facts::How::Reused);
                return Ok(connection);
            }
            if let Some(surplus) = shared.pool.make_room() {
                surplus.quit().await;
            }
            let share = until.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            let attempt = Self::open_at(shared, server, who, LogsIn::Gateway);
            let opened = if left == 0 {
                attempt.await
            } else {
                timeout(share, attempt).await.unwrap_or(Err(UpstreamError::Timeout(Wait::Connect)))
            };
            shared.learn(server, opened.as_ref().err());
            failure = match opened {
                Err(error) => error.announced(&shared.settings.name),
                Ok(connection) => match Self::tell(connection, who, telling).await {
                    Ok(connection) => {
                        shared.connected.count(&shared.settings.name, facts::How::New);
                        return Ok(connection);
                    }
                    Err(error) if error.is_the_clients() => return Err(error),
                    Err(error) => error,
                },
            };
            if Instant::now() >= until {
                break;
            }
        }
        Err(failure)
    }

    async fn tell(
        mut connection: Connection,
        who: Option<&SessionFacts>,
        telling: Telling,
    ) -> Result<Connection, UpstreamError> {
        if let Some(who) = who.filter(|_| telling == Telling::Now) {
            connection.identify(who).await?;
        }
        Ok(connection)
    }

    /// A connection that another client has done with. One that has died since is passed over in silence: nothing of
    /// this client was said in it.
    async fn reuse(
        shared: &Arc<Self>,
        server: &Server,
        who: Option<&SessionFacts>,
        telling: Telling,
    ) -> Result<Option<Connection>, UpstreamError> {
        let fit = if who.is_some() && telling == Telling::Now { Fit::Any } else { Fit::Untold };
        while let Some(mut connection) = shared.pool.take(server, fit) {
            if !connection.begin_again() {
                continue;
            }
            match Self::tell(*connection, who, telling).await {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) if error.is_the_clients() => return Err(error),
                Err(error) => tracing::debug!(upstream = %shared.settings.name, %error, "an idle connection was dead"),
            }
        }
        Ok(None)
    }

    /// In the order in which they are to be tried.
    pub(super) async fn servers(&self) -> Result<Vec<Arc<Server>>, UpstreamError> {
        let found;
        let all = match &self.settings.servers {
            Servers::Listed(_) => &self.listed,
            Servers::Service(name) => {
                found = self.resolver.service(name).await?.into_iter().map(Arc::new).collect();
                &found
            }
        };
        Ok(servers::in_order(all, &self.health, Instant::now(), || self.chance.draw()))
    }

    /// Remembers how an attempt at a server came out.
    pub(super) fn learn(&self, server: &Server, failure: Option<&UpstreamError>) {
        let change = match failure {
            Some(_) => self.health.failed(server, Instant::now()),
            None => self.health.well(server),
        };
        // The DNS may name another server every minute; metrics have one for all of them.
        let shown = servers::shown(server);
        let counted = match &self.settings.servers {
            Servers::Listed(_) => &shown,
            Servers::Service(name) => name,
        };
        if let Some(error) = failure {
            facts::server_failed(&self.settings.name, counted, error.kind());
        }
        match (change, failure) {
            (Some(Change::Went), Some(error)) => facts::server_went(&self.settings.name, &shown, counted, error),
            (Some(_), _) => facts::server_came(&self.settings.name, &shown, counted),
            (None, _) => {}
        }
    }

    /// Whether each server answers: banner, EHLO and TLS as configured, then QUIT. Where all connections are in use
    /// the servers are at work, and nobody is asked.
    async fn check_servers(shared: &Arc<Self>) {
        let Ok(servers) = shared.servers().await else { return };
        for server in &servers {
            let Ok(_place) = shared.pool.place_now() else { return };
            let limit = Wait::Connect.limit(&shared.timeouts);
            let opened = timeout(limit, Self::open_at(shared, server, None, LogsIn::Gateway)).await;
            let opened = opened.unwrap_or(Err(UpstreamError::Timeout(Wait::Connect)));
            shared.learn(server, opened.as_ref().err());
            if let Ok(connection) = opened {
                connection.quit().await;
            }
        }
    }

    /// Takes a connection back that may serve the next client.
    pub(super) async fn keep(connection: Connection) {
        let shared = connection.shared().clone();
        match shared.pool.keep(Box::new(connection)) {
            Ok(Watch::Kept) => {}
            Ok(Watch::Wanted) => drop(tokio::spawn(watch(Arc::downgrade(&shared)))),
            Err(surplus) => surplus.quit().await,
        }
    }

    /// Keeps no connection from now on, and says goodbye in those that wait.
    pub(super) async fn retire(&self) {
        for connection in self.pool.retire() {
            connection.quit().await;
        }
    }

    /// Keeps an offer for those who may use it, and one copy for all connections that got the same.
    pub(super) fn remember(&self, mut offer: Offer) -> Arc<Offer> {
        // RFC 8689 4.2.1: a certificate that nobody verified keeps no promise.
        offer.require_tls &= matches!(self.settings.tls, UpstreamTls::Verify { .. });
        if self.settings.protocol == UpstreamProtocol::Lmtp {
            // One final answer for each recipient is counted behind a dot only.
            (offer.chunking, offer.binary_mime) = (false, false);
        }
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = offers.seen.iter().find(|seen| ***seen == offer).cloned();
        let offer = known.unwrap_or_else(|| {
            let offer = Arc::new(offer);
            offers.seen.truncate(OFFERS_SEEN_MAX - 1);
            offers.seen.insert(0, offer.clone());
            offer
        });
        offers.last = Some((Instant::now(), offer.clone()));
        offer
    }

    pub(super) fn last_offer(&self) -> Option<(Instant, Arc<Offer>)> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }
}

/// Closes idle connections in time; ends when none is left. One at a time for each pool.
async fn watch(shared: Weak<Shared>) {
    loop {
        let (over, next) = match shared.upgrade() {
            Some(shared) => shared.pool.look(Instant::now()),
            None => return,
        };
        for connection in over {
            connection.quit().await;
        }
        match next {
            Some(at) => sleep_until(at).await,
            None => return,
        }
    }
}

/// Asks all servers again and again, until the generation is over.
pub(super) async fn check_health(shared: Weak<Shared>, every: Duration) {
    loop {
        match shared.upgrade() {
            Some(shared) if !shared.pool.is_retired() => Box::pin(Shared::check_servers(&shared)).await,
            _ => return,
        }
        sleep(every).await;
    }
}
