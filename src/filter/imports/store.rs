//! `counters`, `kv`, `tables`: what a filter remembers, and what the operator listed for it.

use std::time::{Duration, Instant};

use wasmtime::Result;

use crate::filter::bindings::wasmilter::filter::{counters, kv, tables};
use crate::filter::guest::Guest;
use crate::state::kv::KvError;
use crate::state::tables::Table;

pub(super) fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

impl Guest {
    /// By the clock that the filter sees, so that what lasts a while lasts it there.
    fn now(&self) -> Instant {
        self.profile.outside.clock.instant()
    }
}

impl counters::Host for Guest {
    fn add(&mut self, key: String, by: i32, ttl_ms: u32) -> Result<i32> {
        Ok(self.profile.memory.counters.add(&key, by, millis(ttl_ms), self.now()))
    }

    fn read(&mut self, key: String) -> Result<i32> {
        Ok(self.profile.memory.counters.read(&key, self.now()))
    }

    fn take(&mut self, key: String, cost: u32, burst: u32, per_second: f32) -> Result<bool> {
        Ok(self.profile.memory.counters.take(&key, cost, burst, per_second, self.now()))
    }
}

pub(super) fn kv_error(error: KvError) -> kv::Error {
    match error {
        KvError::TooLarge => kv::Error::TooLarge,
        KvError::Full => kv::Error::Full,
    }
}

impl kv::Host for Guest {
    fn get(&mut self, key: String) -> Result<Result<Option<Vec<u8>>, kv::Error>> {
        Ok(Ok(self.profile.memory.kv.get(&key, self.now())))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u32>) -> Result<Result<(), kv::Error>> {
        Ok(self.profile.memory.kv.set(&key, value, ttl_ms.map(millis), self.now()).map_err(kv_error))
    }

    fn delete(&mut self, key: String) -> Result<Result<(), kv::Error>> {
        self.profile.memory.kv.delete(&key);
        Ok(Ok(()))
    }

    fn swap(
        &mut self,
        key: String,
        old: Option<Vec<u8>>,
        value: Vec<u8>,
        ttl_ms: Option<u32>,
    ) -> Result<Result<bool, kv::Error>> {
        let kv = &self.profile.memory.kv;
        Ok(kv.swap(&key, old.as_deref(), value, ttl_ms.map(millis), self.now()).map_err(kv_error))
    }
}

impl Guest {
    fn table(&self, name: &str) -> Result<&Table, tables::Error> {
        let found = self.profile.tables.iter().find(|table| table.name() == name);
        found.map(AsRef::as_ref).ok_or(tables::Error::NoSuch)
    }
}

impl tables::Host for Guest {
    fn contains(&mut self, table: String, key: String) -> Result<Result<bool, tables::Error>> {
        Ok(self.table(&table).map(|table| table.contains(&key)))
    }

    fn lookup(&mut self, table: String, key: String) -> Result<Result<Option<String>, tables::Error>> {
        Ok(self.table(&table).map(|table| table.lookup(&key)))
    }
}
