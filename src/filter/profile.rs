//! What the host knows about one filter beside its code: the operator's words, and what outlives its instances.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;

use super::log::LogBudget;
use super::metrics::Series;
use super::outside::{Http, Outside};
use crate::config;
use crate::state::counters::Counters;
use crate::state::kv::Kv;
use crate::state::tables::Table;

/// Shared by all instances of a filter.
#[derive(Debug)]
pub struct Profile {
    pub name: Arc<str>,
    pub config: config::Filter,
    /// Those the filter was granted.
    pub tables: Vec<Arc<Table>>,
    pub memory: Arc<Memory>,
    pub outside: Outside,
    /// Whom the operator lets relay, by the name of the listener.
    pub trusted_networks: BTreeMap<String, Vec<IpNet>>,
    /// Where the filter was granted any address.
    pub http: Option<Arc<dyn Http>>,
}

/// What a filter remembers as a whole. Kept under the filter's name over a reload; of a filter in shadow only what it
/// found is, and what it writes lies over it until the configuration changes.
#[derive(Debug)]
pub struct Memory {
    pub counters: Arc<Counters>,
    pub kv: Arc<Kv>,
    /// What is under the name of a filter that is in shadow.
    below: Option<Arc<Memory>>,
    pub log: LogBudget,
    pub metrics: Series,
    calls: AtomicU64,
    faults: AtomicU64,
}

impl Memory {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(filter: &config::Filter) -> Memory {
        let (quota, value) = kv_bounds(filter);
        Memory {
            counters: Arc::default(),
            kv: Arc::new(Kv::new(quota, value)),
            below: None,
            log: LogBudget::new(filter.bounds.log_lines_per_second),
            metrics: Series::new(&filter.name),
            calls: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// What a filter of a newer configuration remembers; `known` is what one of its name did before.
    #[must_use]
    pub fn for_next(filter: &config::Filter, known: Option<&Arc<Memory>>) -> Arc<Memory> {
        let real = known.map(|known| Arc::clone(known.below.as_ref().unwrap_or(known)));
        let real = real.unwrap_or_else(|| Arc::new(Memory::new(filter)));
        if !filter.shadow {
            return real;
        }
        Arc::new(Memory {
            counters: Arc::new(Counters::over(Arc::clone(&real.counters))),
            kv: Arc::new(Kv::over(Arc::clone(&real.kv))),
            below: Some(real),
            ..Memory::new(filter)
        })
    }

    /// What stays when nobody is in shadow any more.
    #[must_use]
    pub fn kept(&self) -> &Memory {
        self.below.as_deref().unwrap_or(self)
    }

    pub(super) fn was_called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call that ended in a fault.
    pub fn failed(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls and faults since the start.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.faults.load(Ordering::Relaxed))
    }

    /// The bounds of a newer configuration.
    pub fn adopt(&self, filter: &config::Filter) {
        let (quota, value) = kv_bounds(filter);
        self.kv.set_bounds(quota, value);
        self.log.set_rate(filter.bounds.log_lines_per_second);
    }
}

fn kv_bounds(filter: &config::Filter) -> (usize, usize) {
    filter.grants.kv.as_ref().map_or((0, 0), |kv| (kv.quota_bytes, kv.value_bytes_max))
}
