//! What filters keep, in common for all gateways: one key of the filter's is one key there.
//!
//! The bound of a value holds as it does in memory. The quota of a filter does not: counting what all gateways keep would
//! cost a question for every write; how much there may be in all is for the server to say (`maxmemory`).

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::Shared;
use super::node::NoAnswer;
use super::script::{Call, Script};
use crate::report::shared::{By, What, answered};

/// What a filter gives no time lives so long, so that nothing stays for ever.
const KEPT_MAX: Duration = Duration::from_hours(366 * 24);

/// Why a key could not be read or written: in words for the filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub &'static str);

/// What filters keep in the shared state.
#[derive(Debug, Clone)]
pub struct Keys(Arc<Shared>);

impl Keys {
    /// None where the shared state has none.
    #[must_use]
    pub fn of(shared: &Arc<Shared>) -> Option<Keys> {
        shared.settings.kv.then(|| Keys(Arc::clone(shared)))
    }

    /// # Errors
    /// The shared state is away.
    pub async fn get(&self, filter: &str, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match self.command(filter, key, "GET", |_| ()).await? {
            Value::Nil => Ok(None),
            Value::BulkString(value) => Ok(Some(value)),
            _ => Err(Unavailable("the shared state does not answer what was asked")),
        }
    }

    /// Stores, over what was there.
    ///
    /// # Errors
    /// The shared state is away.
    pub async fn set(&self, filter: &str, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Unavailable> {
        let set = |command: &mut Cmd| {
            command.arg(value).arg("PX").arg(millis(ttl));
        };
        self.command(filter, key, "SET", set).await.map(drop)
    }

    /// # Errors
    /// The shared state is away.
    pub async fn delete(&self, filter: &str, key: &str) -> Result<(), Unavailable> {
        self.command(filter, key, "DEL", |_| ()).await.map(drop)
    }

    /// Stores when what is there is `old` (`None`: nothing). False: it was not. Of many at the same time one is told that
    /// it was.
    ///
    /// # Errors
    /// The shared state is away.
    pub async fn swap(
        &self,
        filter: &str,
        key: &str,
        old: Option<&[u8]>,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<bool, Unavailable> {
        let there: &[u8] = if old.is_some() { b"1" } else { b"0" };
        let words = [there, old.unwrap_or_default(), value, &millis(ttl).to_string().into_bytes()].map(<[u8]>::to_vec);
        let (key, arguments) = (self.key(filter, key), words.to_vec());
        let call = Call::Script { script: Script::Swap, keys: vec![key.clone()], arguments };
        match self.ask(&key, &call).await? {
            Value::Int(done @ 0..=1) => Ok(done == 1),
            _ => Err(Unavailable("the shared state does not answer what was asked")),
        }
    }

    fn key(&self, filter: &str, key: &str) -> String {
        format!("{}:kv:{filter}:{key}", self.0.settings.prefix)
    }

    async fn command(
        &self,
        filter: &str,
        key: &str,
        name: &str,
        more: impl FnOnce(&mut Cmd),
    ) -> Result<Value, Unavailable> {
        let key = self.key(filter, key);
        let mut command = Cmd::new();
        command.arg(name).arg(&key);
        more(&mut command);
        self.ask(&key, &Call::Plain(command)).await
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    pub(super) async fn ask(&self, key: &str, call: &Call) -> Result<Value, Unavailable> {
        let answer = self.0.ask(key, call).await;
        answered(What::Kv, if answer.is_ok() { By::All } else { By::Here });
        answer.map_err(|why| match why {
            NoAnswer::Away | NoAnswer::Elsewhere { .. } => Unavailable("the shared state is away"),
            NoAnswer::Odd(_) => Unavailable("the shared state says no to this key"),
        })
    }
}

/// A server takes no time of zero.
fn millis(ttl: Option<Duration>) -> u64 {
    u64::try_from(ttl.unwrap_or(KEPT_MAX).min(KEPT_MAX).as_millis()).unwrap_or(u64::MAX).max(1)
}
