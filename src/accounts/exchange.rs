//! Exchanges that a backend has with the client, through us: the open one, its bounds, and its end.
//!
//! Whoever drops an exchange ends it: the backend is told where its protocol has a word for that. It refuses to outlast
//! `EXCHANGE_SECONDS_MAX`, however slowly the client thinks, and holds one of the backend's places all the while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::remote::Remote;
use super::{Client, dovecot, upstream};
use crate::report::backend::asked;
use crate::smtp::sasl::{Name, Secret};

/// From its beginning to its end, the client's part included. Dovecot itself gives up after 150.
pub const EXCHANGE_SECONDS_MAX: u64 = 120;

/// What a backend says in an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Challenge(Vec<u8>),
    Good { identity: Arc<str>, last: Option<Vec<u8>> },
    Bad,
}

/// What came of the client's message.
#[derive(Debug)]
pub enum Turn {
    /// The client is to answer this; then the exchange goes on.
    Challenge(Vec<u8>, Box<Exchange>),
    /// Whose login it is, and what the client is still to be shown, with some mechanisms.
    Good {
        identity: Arc<str>,
        last: Option<Vec<u8>>,
    },
    Bad,
    /// The backend is away, or in doubt, or the exchange took too long: 454.
    Unavailable,
}

/// One that waits for the client.
pub struct Exchange {
    remote: Arc<Remote>,
    talk: Talk,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

/// With whom.
pub(super) enum Talk {
    Dovecot(dovecot::Talk),
    Upstream(Box<upstream::Talk>),
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Exchange {
    /// Begins one, once there is a place for it.
    pub(super) async fn begin(
        remote: &Arc<Remote>,
        client: &Client<'_>,
        mechanism: Name,
        initial: Option<&Secret>,
    ) -> Turn {
        let until = Instant::now() + Duration::from_secs(EXCHANGE_SECONDS_MAX);
        let begun = async {
            let place = remote.place_for_exchange().await?;
            let (talk, said) = remote.begin(client, mechanism, initial).await?;
            Ok((Box::new(Exchange { remote: Arc::clone(remote), talk, until, _place: place }), said))
        };
        match remote.within(remote.timeout(), begun).await {
            Ok((exchange, said)) => exchange.turn(said),
            Err(()) => unavailable(remote),
        }
    }

    /// The client's answer to the challenge.
    pub async fn go_on(mut self: Box<Self>, message: &Secret) -> Turn {
        let left = self.until.saturating_duration_since(Instant::now());
        let remote = Arc::clone(&self.remote);
        let said = async {
            match &mut self.talk {
                Talk::Dovecot(talk) => talk.go_on(message).await,
                Talk::Upstream(talk) => talk.go_on(message).await,
            }
        };
        match remote.within(left.min(remote.timeout()), said).await {
            Ok(said) => self.turn(said),
            Err(()) => unavailable(&remote),
        }
    }

    /// When it is over, wherever it stands.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    fn turn(self: Box<Self>, said: Said) -> Turn {
        let (word, turn) = match said {
            Said::Challenge(challenge) => return Turn::Challenge(challenge, self),
            Said::Good { identity, last } => ("good", Turn::Good { identity, last }),
            Said::Bad => ("bad", Turn::Bad),
        };
        asked(self.remote.name(), word);
        turn
    }
}

fn unavailable(remote: &Remote) -> Turn {
    asked(remote.name(), "unavailable");
    Turn::Unavailable
}
