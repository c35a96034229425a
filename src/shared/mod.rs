//! Floor 6: what several gateways hold in common, in Redis or Valkey: rate limits, and what filters keep. And tables of
//! the operator's that are there.
//!
//! This folder is the only place that names redis. It refuses to be needed: when the servers are away, slow or not as they
//! should be, limits are decided by this process, filters are told that their keys are not there, and what a table holds is in doubt. No session ever
//! waits for longer than `[state] timeout` for an answer, and none once it is known that there will be none.

mod addresses;
mod board;
mod cluster;
mod connect;
mod kv;
mod limits;
mod node;
mod password;
mod script;
mod slots;
mod tables;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use redis::Value;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::board::Board;
use self::cluster::{Cluster, Kept};
use self::connect::Reach;
pub use self::kv::{Keys, Unavailable};
use self::node::{NoAnswer, Node};
use self::script::Call;
pub use self::tables::Entries;
use crate::config::SharedState;
use crate::net::dial::Dial;
use crate::net::dns::Resolver;
use crate::net::tls::TlsError;

/// Why the shared state cannot be set up. (That its servers are away is no reason.)
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    #[error("the password of [state] cannot be read from {}: {error}", path.display())]
    Password { path: PathBuf, error: std::io::Error },
    #[error("[state]: {0}")]
    Tls(#[from] TlsError),
}

/// The shared state of one configuration.
#[derive(Debug)]
pub struct Shared {
    settings: SharedState,
    reach: Arc<Reach>,
    board: Arc<Board>,
    servers: OnceLock<Servers>,
}

#[derive(Debug)]
enum Servers {
    One(Kept),
    Cluster { cluster: Arc<Cluster>, _watcher: AbortOnDropHandle<()> },
}

impl Shared {
    /// Reads what has to be read, and connects to nobody yet. `before`: taken instead if it is the same.
    ///
    /// # Errors
    /// See [`SharedError`].
    pub fn new(
        settings: &SharedState,
        resolver: &Resolver,
        dialer: &Arc<dyn Dial>,
        before: Option<&Arc<Shared>>,
    ) -> Result<Arc<Shared>, SharedError> {
        let reach = Reach::new(settings, resolver, dialer)?;
        if let Some(before) = before.filter(|before| before.settings == *settings && before.reach.is_as(&reach)) {
            return Ok(Arc::clone(before));
        }
        Ok(Arc::new(Shared {
            settings: settings.clone(),
            reach: Arc::new(reach),
            board: Arc::default(),
            servers: OnceLock::new(),
        }))
    }

    /// Connects, and keeps connected for as long as this lives. To be called within the runtime; again is no harm.
    pub fn begin(&self) {
        self.servers.get_or_init(|| {
            let (servers, wait) = (self.settings.servers.clone(), self.settings.timeout);
            if !self.settings.cluster {
                let node = Node::new(servers, &self.board);
                return Servers::One(Kept::new(node, &self.reach, wait, &Arc::default()));
            }
            let cluster = Arc::new(Cluster::new(servers, Arc::clone(&self.reach), wait, &self.board));
            let watcher = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&cluster).watch()));
            Servers::Cluster { cluster, _watcher: watcher }
        });
    }

    /// Whether `[rates]` and `[[limit]]` are shared.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.settings.limits
    }

    /// Whether all of it is there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.board.all_up()
    }

    /// For the operator: every server, and how it is.
    #[must_use]
    pub fn shown(&self) -> serde_json::Value {
        serde_json::json!({
            "up": self.is_up(),
            "limits": self.settings.limits,
            "kv": self.settings.kv,
            "servers": self.board.shown(),
        })
    }

    /// One question about keys that lie in one slot.
    async fn ask(&self, key: &str, call: &Call) -> Result<Value, NoAnswer> {
        let deadline = Instant::now() + self.settings.timeout;
        match self.servers.get() {
            None => Err(NoAnswer::Away),
            Some(Servers::Cluster { cluster, .. }) => cluster.ask(slots::slot(key.as_bytes()), call, deadline).await,
            Some(Servers::One(kept)) => {
                let answer = kept.node.ask(call, false, deadline).await;
                match &answer {
                    Err(NoAnswer::Odd(why)) => self.board.odd(kept.node.name(), why),
                    Err(NoAnswer::Elsewhere { .. }) => {
                        self.board.odd(kept.node.name(), "it is part of a cluster: write cluster = true in [state]");
                    }
                    _ => {}
                }
                answer
            }
        }
    }
}
