//! A key-value store in memory, one for each filter, with a quota in octets: what the `kv` capability is made of.
//!
//! When the quota is reached, expired entries go; live ones never do: the filter is told `Full`. Time is an argument.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::snapshot::{Malformed, Moment, Part, Reading, Saving, sized};

/// Octets of one key.
pub const KV_KEY_BYTES_MAX: usize = 1_024;
/// What an entry counts beside its key and value: about what the map itself needs for it.
pub const KV_ENTRY_BYTES: usize = 96;
/// Entries that are copied for a snapshot while others wait.
const COPIED_AT_ONCE: usize = 500;
/// In a snapshot: no end.
const FOR_EVER: u64 = u64::MAX;

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
    /// What is found under a key that nothing was done to here.
    below: Option<Arc<Kv>>,
}

#[derive(Debug)]
struct Store {
    quota_bytes: usize,
    value_bytes_max: usize,
    used_bytes: usize,
    /// In order, so that it can be copied a piece at a time.
    map: BTreeMap<Box<str>, Entry>,
    /// Nothing expires before this: a sweep would be in vain.
    sweep_after: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    /// None: deleted, over a store that may have it.
    value: Option<Box<[u8]>>,
    until: Option<Instant>,
}

impl Entry {
    fn cost(&self, key: &str) -> usize {
        key.len() + self.value.as_ref().map_or(0, |value| value.len()) + KV_ENTRY_BYTES
    }

    fn lives(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Kv {
    /// An empty store.
    #[must_use]
    pub fn new(quota_bytes: usize, value_bytes_max: usize) -> Kv {
        let map = BTreeMap::new();
        let store = Store { quota_bytes, value_bytes_max, used_bytes: 0, map, sweep_after: None };
        Kv { inner: Mutex::new(store), below: None }
    }

    /// A store of the same bounds that shows what is below, and leaves it as it is.
    #[must_use]
    pub fn over(below: Arc<Kv>) -> Kv {
        let (quota_bytes, value_bytes_max) = {
            let store = below.lock();
            (store.quota_bytes, store.value_bytes_max)
        };
        Kv { below: Some(below), ..Kv::new(quota_bytes, value_bytes_max) }
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
        self.shown(&store, key, now)
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
        let mut store = self.lock();
        store.remove(key);
        if self.below.is_some() {
            // What is below is not to be seen any more. Where there is no room for that, the quota is full anyway.
            let _ = store.put(key, None, None, None);
        }
    }

    /// What is under a key that something was done to here, expired or not; None: nothing was.
    pub fn own(&self, key: &str, now: Instant) -> Option<Option<Vec<u8>>> {
        let store = self.lock();
        let entry = store.map.get(key)?;
        Some(entry.value.as_ref().filter(|_| entry.lives(now)).map(|value| value.to_vec()))
    }

    /// Octets that a value may have.
    pub fn value_bytes_max(&self) -> usize {
        self.lock().value_bytes_max
    }

    fn shown(&self, store: &Store, key: &str, now: Instant) -> Option<Vec<u8>> {
        match store.map.get(key) {
            Some(entry) if entry.lives(now) => entry.value.as_ref().map(|value| value.to_vec()),
            Some(_) => None,
            None => self.below.as_ref()?.get(key, now),
        }
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
        if self.shown(&store, key, now).as_deref() != old {
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

/// Some of an entry, or all of it.
struct Copied<T> {
    until_ms: u64,
    it: T,
}

impl Kv {
    /// Copies all living entries with a value, a few at a time, each by `copy`.
    fn each<T>(&self, moment: Moment, copy: impl Fn(&str, &[u8]) -> T, mut take: impl FnMut(Copied<T>)) {
        let mut from: Bound<Box<str>> = Bound::Unbounded;
        loop {
            let mut copied = Vec::with_capacity(COPIED_AT_ONCE);
            let store = self.lock();
            let mut last = None;
            for (key, entry) in
                store.map.range::<str, _>((from.as_ref().map(AsRef::as_ref), Bound::Unbounded)).take(COPIED_AT_ONCE)
            {
                last = Some(key);
                if let Some(value) = entry.value.as_ref().filter(|_| entry.lives(moment.instant())) {
                    let until_ms = entry.until.map_or(FOR_EVER, |until| moment.wall_ms_of(until));
                    copied.push(Copied { until_ms, it: copy(key, value) });
                }
            }
            let last = last.cloned();
            drop(store);
            copied.into_iter().for_each(&mut take);
            let Some(last) = last else { return };
            from = Bound::Excluded(last);
        }
    }

    /// What expires before this is left out, so that the rest finds room.
    fn threshold_ms(&self, moment: Moment, room_bytes: u64) -> u64 {
        let mut sizes = Vec::new();
        self.each(moment, record_bytes, |entry| sizes.push((entry.until_ms, entry.it)));
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut room = room_bytes;
        for (until_ms, bytes) in sizes {
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None => return until_ms,
            }
        }
        0
    }
}

fn record_bytes(key: &str, value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len() + 16).unwrap_or(u64::MAX)
}

/// A filter's entries by its name.
#[derive(Debug)]
pub struct KvPart(pub Arc<str>, pub Arc<Kv>);

impl Part for KvPart {
    fn name(&self) -> String {
        format!("kv {}", self.0)
    }

    fn save(&self, saving: &mut Saving<'_>) {
        let moment = saving.moment();
        let tight = self.1.used_bytes() > usize::try_from(saving.room_bytes()).unwrap_or(usize::MAX);
        let least = if tight { self.1.threshold_ms(moment, saving.room_bytes()) } else { 0 };
        let whole = |key: &str, value: &[u8]| [&sized(key.as_bytes()), key.as_bytes(), &sized(value), value].concat();
        let mut record = |entry: Copied<Vec<u8>>| saving.record(&[&entry.it, &entry.until_ms.to_le_bytes()]);
        if !tight {
            return self.1.each(moment, whole, record);
        }
        // Of those that expire at the very moment from which on there is room, as many as there is room for.
        let mut earlier = 0;
        self.1.each(moment, whole, |entry| match entry.until_ms.cmp(&least) {
            Ordering::Greater => record(entry),
            Ordering::Equal => {}
            Ordering::Less => earlier += 1,
        });
        self.1.each(moment, whole, |entry| {
            if entry.until_ms == least {
                record(entry);
            }
        });
        saving.dropped(earlier);
    }

    fn restore(&self, mut page: Reading<'_>, moment: Moment) -> Result<(), Malformed> {
        while !page.is_at_end() {
            let (key, value, until_ms) = (page.text()?, page.sized()?, page.number()?);
            let ttl = (until_ms != FOR_EVER).then(|| moment.until(until_ms));
            // What has expired is not missed, nor what the bounds of now would not have let in.
            if ttl != Some(None) {
                let _ = self.1.set(key, value.to_vec(), ttl.flatten(), moment.instant());
            }
        }
        Ok(())
    }
}

impl Store {
    fn set(&mut self, key: &str, value: Vec<u8>, ttl: Option<Duration>, now: Instant) -> Result<(), KvError> {
        if key.len() > KV_KEY_BYTES_MAX || value.len() > self.value_bytes_max {
            return Err(KvError::TooLarge);
        }
        self.put(key, Some(value.into()), ttl.and_then(|ttl| now.checked_add(ttl)), Some(now))
    }

    /// `now`: what has expired by then may go to make room.
    fn put(
        &mut self,
        key: &str,
        value: Option<Box<[u8]>>,
        until: Option<Instant>,
        now: Option<Instant>,
    ) -> Result<(), KvError> {
        let entry = Entry { value, until };
        let cost = entry.cost(key);
        let freed = self.map.get(key).map_or(0, |entry| entry.cost(key));
        if self.used_bytes - freed + cost > self.quota_bytes {
            now.into_iter().for_each(|now| self.sweep(now));
            // The sweep may have taken this very key.
            let freed = self.map.get(key).map_or(0, |entry| entry.cost(key));
            if self.used_bytes - freed + cost > self.quota_bytes {
                return Err(KvError::Full);
            }
        }
        self.remove(key);
        self.used_bytes += cost;
        if let Some(until) = until {
            self.sweep_after = Some(self.sweep_after.map_or(until, |at| at.min(until)));
        }
        self.map.insert(key.into(), entry);
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.map.remove(key) {
            self.used_bytes -= entry.cost(key);
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
                used += entry.cost(key);
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
    fn what_lies_over_a_store_leaves_it_as_it_is() {
        let below = Arc::new(Kv::new(10_000, 100));
        let now = Instant::now();
        below.set("a", b"1".to_vec(), None, now).unwrap();
        below.set("b", b"2".to_vec(), Some(SECOND), now).unwrap();
        let over = Kv::over(Arc::clone(&below));
        assert_eq!(over.get("a", now), Some(b"1".to_vec()));
        assert_eq!((over.get("b", now + SECOND), over.get("c", now)), (None, None));
        assert_eq!(over.swap("a", Some(b"0"), b"9".to_vec(), None, now), Ok(false));
        assert_eq!(over.swap("a", Some(b"1"), b"9".to_vec(), None, now), Ok(true));
        assert_eq!((over.own("a", now), over.own("b", now)), (Some(Some(b"9".to_vec())), None));
        over.delete("b");
        assert_eq!(over.own("b", now), Some(None), "deleted is not untouched");
        over.set("c", b"3".to_vec(), None, now).unwrap();
        assert_eq!((over.get("a", now), over.get("b", now)), (Some(b"9".to_vec()), None));
        assert_eq!((below.get("a", now), below.get("b", now)), (Some(b"1".to_vec()), Some(b"2".to_vec())));
        assert_eq!(below.get("c", now), None);
        over.delete("a");
        assert_eq!(over.get("a", now), None);
        assert_eq!(over.set("d", vec![0; 101], None, now), Err(KvError::TooLarge));
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
