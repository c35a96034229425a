//! A key-value store in memory, one for each filter, with a quota in octets: what the `kv` capability is made of.
//!
//! When the quota is reached, expired entries go; live ones never do: the filter is told `Full`. Time is an argument.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Octets of one key.
pub const KV_KEY_BYTES_MAX: usize = 1_024;
/// What an entry counts beside its key and value: about what the map itself needs for it.
pub const KV_ENTRY_BYTES: usize = 96;

/// Why nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvError {
    /// The key or the value is over its bound.
    TooLarge,
    /// The quota is used up by entries that have not expired.
    Full,
}

/// One filter's entries.
#[derive(Debug)]
pub struct Kv {
    inner: Mutex<Store>,
}

#[derive(Debug)]
struct Store {
    quota_bytes: usize,
    value_bytes_max: usize,
    used_bytes: usize,
    map: HashMap<Box<str>, Entry>,
    /// Nothing expires before this: a sweep would be in vain.
    sweep_after: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    value: Box<[u8]>,
    until: Option<Instant>,
}

impl Entry {
    fn lives(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Kv {
    /// An empty store.
    #[must_use]
    pub fn new(quota_bytes: usize, value_bytes_max: usize) -> Kv {
        let map = HashMap::new();
        Kv { inner: Mutex::new(Store { quota_bytes, value_bytes_max, used_bytes: 0, map, sweep_after: None }) }
    }

    /// New bounds, as after a reload. What is there stays, even when it is more.
    pub fn set_bounds(&self, quota_bytes: usize, value_bytes_max: usize) {
        let mut store = self.lock();
        store.quota_bytes = quota_bytes;
        store.value_bytes_max = value_bytes_max;
    }

    /// The value, unless it expired.
    pub fn get(&self, key: &str, now: Instant) -> Option<Vec<u8>> {
        let store = self.lock();
        store.map.get(key).filter(|entry| entry.lives(now)).map(|entry| entry.value.to_vec())
    }

    /// Stores, over what was there.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn set(&self, key: &str, value: Vec<u8>, ttl: Option<Duration>, now: Instant) -> Result<(), KvError> {
        self.lock().set(key, value, ttl, now)
    }

    /// Takes the entry away, if there is one.
    pub fn delete(&self, key: &str) {
        self.lock().remove(key);
    }

    /// Stores when what is there is `old` (`None`: nothing). False: it was not.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn swap(
        &self,
        key: &str,
        old: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<bool, KvError> {
        let mut store = self.lock();
        let there = store.map.get(key).filter(|entry| entry.lives(now)).map(|entry| &*entry.value);
        if there != old {
            return Ok(false);
        }
        store.set(key, value, ttl, now).map(|()| true)
    }

    /// Octets counted against the quota.
    pub fn used_bytes(&self) -> usize {
        self.lock().used_bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Store> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn set(&mut self, key: &str, value: Vec<u8>, ttl: Option<Duration>, now: Instant) -> Result<(), KvError> {
        if key.len() > KV_KEY_BYTES_MAX || value.len() > self.value_bytes_max {
            return Err(KvError::TooLarge);
        }
        let cost = key.len() + value.len() + KV_ENTRY_BYTES;
        let freed = self.map.get(key).map_or(0, |entry| key.len() + entry.value.len() + KV_ENTRY_BYTES);
        if self.used_bytes - freed + cost > self.quota_bytes {
            self.sweep(now);
            // The sweep may have taken this very key.
            let freed = self.map.get(key).map_or(0, |entry| key.len() + entry.value.len() + KV_ENTRY_BYTES);
            if self.used_bytes - freed + cost > self.quota_bytes {
                return Err(KvError::Full);
            }
        }
        self.remove(key);
        self.used_bytes += cost;
        let until = ttl.map(|ttl| now + ttl);
        if let Some(until) = until {
            self.sweep_after = Some(self.sweep_after.map_or(until, |at| at.min(until)));
        }
        self.map.insert(key.into(), Entry { value: value.into(), until });
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.map.remove(key) {
            self.used_bytes -= key.len() + entry.value.len() + KV_ENTRY_BYTES;
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.sweep_after.is_none_or(|at| now < at) {
            return;
        }
        let mut used = 0;
        let mut next = None::<Instant>;
        self.map.retain(|key, entry| {
            let lives = entry.lives(now);
            if lives {
                used += key.len() + entry.value.len() + KV_ENTRY_BYTES;
                next = match (next, entry.until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            lives
        });
        self.used_bytes = used;
        self.sweep_after = next;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn entries_live_their_time() {
        let kv = Kv::new(10_000, 100);
        let now = Instant::now();
        kv.set("a", b"1".to_vec(), Some(SECOND), now).unwrap();
        kv.set("b", b"2".to_vec(), None, now).unwrap();
        assert_eq!(kv.get("a", now), Some(b"1".to_vec()));
        assert_eq!(kv.get("a", now + SECOND), None);
        assert_eq!(kv.get("b", now + SECOND), Some(b"2".to_vec()));
        kv.delete("b");
        assert_eq!(kv.get("b", now), None);
    }

    #[test]
    fn the_quota_holds_and_the_expired_make_room() {
        let kv = Kv::new(10 * (KV_ENTRY_BYTES + 11), 100);
        let now = Instant::now();
        for i in 0..10 {
            kv.set(&format!("{i}"), vec![0; 10], Some(SECOND * (i + 1)), now).unwrap();
        }
        assert_eq!(kv.set("x", vec![0; 10], None, now), Err(KvError::Full));
        assert_eq!(kv.set("9", vec![1; 10], None, now), Ok(()));
        assert_eq!(kv.set("x", vec![0; 101], None, now), Err(KvError::TooLarge));
        assert_eq!(kv.set(&"k".repeat(2_000), vec![], None, now), Err(KvError::TooLarge));
        assert_eq!(kv.set("x", vec![0; 10], None, now + SECOND), Ok(()));
        assert_eq!(kv.set("y", vec![0; 10], None, now + SECOND), Err(KvError::Full));
        assert_eq!(kv.used_bytes(), 10 * (KV_ENTRY_BYTES + 11));
    }

    #[test]
    fn swap_compares_first() {
        let kv = Kv::new(10_000, 100);
        let now = Instant::now();
        assert_eq!(kv.swap("a", Some(b"0"), b"1".to_vec(), None, now), Ok(false));
        assert_eq!(kv.swap("a", None, b"1".to_vec(), Some(SECOND), now), Ok(true));
        assert_eq!(kv.swap("a", None, b"2".to_vec(), None, now), Ok(false));
        assert_eq!(kv.swap("a", Some(b"1"), b"2".to_vec(), Some(SECOND), now), Ok(true));
        assert_eq!(kv.swap("a", None, b"3".to_vec(), None, now + SECOND), Ok(true));
    }
}
