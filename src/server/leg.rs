//! The upstream side of one session: at most one connection, made when it is needed, dropped when in doubt.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::mail::SessionFacts;
use crate::report::Metrics;
use crate::session::{Errand, Unreached};
use crate::smtp::Reply;
use crate::smtp::ehlo::Offer;
use crate::upstream::{Connection, Upstream, UpstreamError, Wait};

#[derive(Debug)]
pub(super) struct Leg {
    upstream: Arc<Upstream>,
    connection: Option<Box<Connection>>,
    metrics: Metrics,
    account: Account,
}

/// For the line about the transaction.
#[derive(Debug, Default)]
struct Account {
    /// Spent waiting for the upstream.
    waited: Duration,
    /// Its last answer that matters: a refusal, or the one to the message.
    last: Option<Box<Reply>>,
}

/// Whether the upstream is to learn who the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    Now,
    Postpone,
}

impl Leg {
    pub(super) fn new(upstream: Arc<Upstream>, metrics: Metrics) -> Leg {
        Leg { upstream, connection: None, metrics, account: Account::default() }
    }

    /// A transaction begins: what was said and waited for before is not its.
    pub(super) fn begin_account(&mut self) {
        self.account = Account::default();
    }

    /// The upstream's last answer that matters and the time it took altogether, since the last account.
    pub(super) fn take_account(&mut self) -> (Option<Reply>, Duration) {
        let Account { waited, last } = std::mem::take(&mut self.account);
        (last.map(|reply| *reply), waited)
    }

    /// What the upstream offers, without a connection where an answer is young enough. Before a login that is still
    /// to come (`Postpone`) the upstream is only asked, not yet told who the client is: a Postfix that has been told
    /// cannot be told again, and the connection would be lost to the login.
    pub(super) async fn offer(&mut self, who: &SessionFacts, telling: Telling) -> Result<Arc<Offer>, Unreached> {
        match self.upstream.fresh_offer() {
            Some(offer) if self.connection.is_none() => Ok(offer),
            _ => self.reach(who, telling).await,
        }
    }

    /// A connection (that knows who the client is now). One that has died while idle is replaced: nothing of this
    /// transaction was said in it.
    pub(super) async fn reach(&mut self, who: &SessionFacts, telling: Telling) -> Result<Arc<Offer>, Unreached> {
        let began = Instant::now();
        let result = self.try_reach(who, telling).await;
        self.account.waited += began.elapsed();
        result.map_err(|error| {
            self.note(&error);
            Unreached { reply: error.reply(), last_known: self.upstream.last_offer() }
        })
    }

    async fn try_reach(&mut self, who: &SessionFacts, telling: Telling) -> Result<Arc<Offer>, UpstreamError> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_alive()
            && (telling == Telling::Postpone || connection.identify(who).await.is_ok())
        {
            let offer = connection.offer();
            self.connection = Some(connection);
            return Ok(offer);
        }
        let mut connection = Box::new(self.upstream.open().await?);
        if telling == Telling::Now {
            connection.identify(who).await?;
        }
        let offer = connection.offer();
        self.connection = Some(connection);
        Ok(offer)
    }

    /// One line and its answer. After a failure the connection is gone.
    pub(super) async fn forward(&mut self, errand: Errand, line: &[u8]) -> Result<Reply, Reply> {
        let wait = match errand {
            Errand::Mail => Wait::Mail,
            Errand::Rcpt => Wait::Rcpt,
            Errand::Data => Wait::Data,
            Errand::Rset => Wait::Rset,
        };
        let Some(connection) = &mut self.connection else { return Err(crate::smtp::replies::UPSTREAM_LOST) };
        let began = Instant::now();
        let result = connection.command(line, wait).await;
        self.account.waited += began.elapsed();
        match result {
            Ok(reply) => {
                if reply.code >= 400 {
                    self.account.last = Some(Box::new(reply.clone()));
                }
                Ok(reply)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Content octets in wire form.
    pub(super) async fn content(&mut self, octets: &[u8]) -> Result<(), Reply> {
        let Some(connection) = &mut self.connection else { return Err(crate::smtp::replies::UPSTREAM_LOST) };
        match connection.write(octets).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The answer to the final dot.
    pub(super) async fn final_reply(&mut self) -> Result<Reply, Reply> {
        let Some(connection) = &mut self.connection else { return Err(crate::smtp::replies::UPSTREAM_LOST) };
        let began = Instant::now();
        let result = connection.final_reply().await;
        self.account.waited += began.elapsed();
        match result {
            Ok(reply) => {
                self.account.last = Some(Box::new(reply.clone()));
                Ok(reply)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&mut self, error: &UpstreamError) -> Reply {
        self.note(error);
        self.abort();
        error.reply()
    }

    fn note(&mut self, error: &UpstreamError) {
        self.metrics.upstream_error(error.kind());
        tracing::debug!(%error, "the upstream failed");
    }

    /// Has the upstream forget the transaction; a connection that will not is dropped.
    pub(super) async fn reset(&mut self) {
        if self.connection.is_none() {
            return;
        }
        match self.forward(Errand::Rset, b"RSET\r\n").await {
            Ok(reply) if reply.class() == 2 => {}
            Ok(_) | Err(_) => self.abort(),
        }
    }

    /// Closes without a word: inside DATA the upstream must never see a dot.
    pub(super) fn abort(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.abort();
        }
    }

    /// The session is over.
    pub(super) async fn quit(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.quit().await;
        }
    }
}
