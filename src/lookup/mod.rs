//! Floor 8: tables that somebody elsewhere is asked for. What is kept of the answers, how many questions there are at once,
//! and how long they are waited for.
//!
//! It refuses to guess: what is neither a clear yes nor a clear no is doubt, and a recipient in doubt is to come again.

mod http;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use self::http::Http;
use crate::accounts::{BackendError, Directory, Reach};
use crate::config::{self, AskedService, AskedTable, TableSource};
use crate::net::tls::TlsError;
use crate::policy::tables::{Found, Wanted};
use crate::report::{Metrics, Seldom};
use crate::shared::{Entries, Shared};
use crate::state::answers::Answers;

/// Octets of a key that is asked for; a longer one is in no table.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Octets of what stands beside a key.
pub const VALUE_BYTES_MAX: usize = 1_024;

/// What a source says: what is beside the key, nothing where it is not there, or why there is no answer.
pub type Said<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send + 'a>>;

/// Who is asked.
pub trait Source: fmt::Debug + Send + Sync {
    fn ask<'a>(&'a self, key: &'a str) -> Said<'a>;
}

/// Others in place of those that the configuration names, by the name of the table.
pub type Sources = BTreeMap<String, Arc<dyn Source>>;

/// Who is to be asked cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the table \"{table}\" cannot be asked: {why}")]
pub struct LookupError {
    table: String,
    why: String,
}

/// All tables of a configuration that have to be asked.
#[derive(Debug, Default)]
pub struct Lookups(BTreeMap<String, Table>);

#[derive(Debug)]
struct Table {
    settings: AskedTable,
    source: Arc<dyn Source>,
    places: Semaphore,
    kept: Answers<String, Found>,
    said: Seldom,
}

impl Lookups {
    /// `shared`: where tables are that are in Redis.
    ///
    /// # Errors
    /// A file that one of them names cannot be read or used.
    pub fn new(
        tables: &[config::Table],
        reach: &Reach<'_>,
        shared: Option<&Arc<Shared>>,
        instead: &Sources,
    ) -> Result<Lookups, LookupError> {
        let mut all = BTreeMap::new();
        for table in tables {
            let TableSource::Asked(settings) = &table.source else { continue };
            let source = match instead.get(&table.name) {
                Some(source) => Arc::clone(source),
                None => source(table, settings, reach, shared)
                    .map_err(|why| LookupError { table: table.name.clone(), why: why.to_string() })?,
            };
            let places = Semaphore::new(usize::try_from(settings.concurrent_max).unwrap_or(1));
            let settings = (**settings).clone();
            let known = Table { settings, source, places, kept: Answers::default(), said: Seldom::new() };
            all.insert(table.name.clone(), known);
        }
        Ok(Lookups(all))
    }

    /// The answer, kept or asked for; within the table's timeout.
    pub async fn ask(&self, wanted: &Wanted, metrics: &Metrics) -> Found {
        let Some(table) = self.0.get(&wanted.table) else { return Found::Doubt };
        let (found, how) = table.ask(&wanted.table, &wanted.key).await;
        metrics.looked_up(&wanted.table, how);
        found
    }
}

fn source(
    table: &config::Table,
    settings: &AskedTable,
    reach: &Reach<'_>,
    shared: Option<&Arc<Shared>>,
) -> Result<Arc<dyn Source>, Box<dyn std::error::Error>> {
    Ok(match &settings.service {
        AskedService::Http { url, base, ca } => {
            let asked: Result<Http, TlsError> = Http::new(url, base, ca.clone(), settings.timeout, reach);
            Arc::new(asked?)
        }
        AskedService::Ldap(ldap) => {
            let directory: Result<Directory, BackendError> = Directory::new(&table.name, ldap, reach);
            Arc::new(directory?)
        }
        AskedService::Redis(place) => Arc::new(Entries::of(shared.ok_or("there is no [state] redis")?, place)),
    })
}

impl Source for Directory {
    fn ask<'a>(&'a self, key: &'a str) -> Said<'a> {
        Box::pin(async { Ok(self.holds(key).await?.then(String::new)) })
    }
}

impl Source for Entries {
    fn ask<'a>(&'a self, key: &'a str) -> Said<'a> {
        Box::pin(self.find(key))
    }
}

impl Table {
    /// And how it was found, for the metrics.
    async fn ask(&self, name: &str, key: &str) -> (Found, &'static str) {
        if key.len() > KEY_BYTES_MAX {
            return (Found::Absent, "missing");
        }
        let key = key.to_owned();
        if let Some(kept) = self.kept.get(&key) {
            return (kept, "remembered");
        }
        let asked = async {
            let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
            self.source.ask(&key).await
        };
        let timeout = self.settings.timeout;
        let said = tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(in_vain(timeout)));
        let (found, keep, how) = match said {
            Ok(Some(value)) if value.len() <= VALUE_BYTES_MAX => (Found::Held(value), self.settings.keep, "found"),
            Ok(Some(_)) => (Found::Held(String::new()), self.settings.keep, "found"),
            Ok(None) => (Found::Absent, self.settings.keep_missing, "missing"),
            Err(why) => {
                if let Some(kept_back) = self.said.may_say(&why, Instant::now()) {
                    tracing::warn!(table = name, why, kept_back, "a table cannot be asked: its recipients hear 451");
                }
                return (Found::Doubt, "unavailable");
            }
        };
        self.kept.put(key, found.clone(), keep);
        (found, how)
    }
}

fn in_vain(timeout: Duration) -> String {
    format!("no answer in {}", config::show_duration(timeout))
}

#[cfg(test)]
mod tests;
