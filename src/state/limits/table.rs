//! Where a quota's counts are kept: at most so many keys, each 16 octets, whatever strangers do.
//!
//! governor brings the arithmetic (GCRA: one moment per key, the "theoretical arrival time") and asks for a store;
//! its own grow with every address that ever called. This one has an upper bound. When it is full it forgets an
//! eighth of a shard: those with the least debt, which are the quiet ones. So somebody with very many addresses
//! makes us forget clients that had hardly done anything, and never those that are being refused; and a client not
//! seen before is served.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// Locks of one table. A power of two.
const SHARDS: usize = 16;
/// A table smaller than this has one shard, so that its bound is exact.
const SHARDED_KEYS_MIN: usize = 1024;
/// One part in this many of a full shard is forgotten at once, so that the search is paid for by many insertions.
const FORGET_DIVISOR: usize = 8;

type Shard = HashMap<u64, Nanos>;

/// See the module. Keys are numbers of addresses and keyed hashes of names.
#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    keys_max: AtomicUsize,
}

impl Table {
    pub(super) fn new(keys_max: usize) -> Table {
        let shards = if keys_max < SHARDED_KEYS_MIN { 1 } else { SHARDS };
        Table {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            keys_max: AtomicUsize::new(keys_max),
        }
    }

    /// Takes effect with the next insertions.
    pub(super) fn set_keys_max(&self, keys_max: usize) {
        self.keys_max.store(keys_max, Ordering::Relaxed);
    }

    /// What `measure` says about a key, without changing anything.
    fn look<T, E>(&self, key: u64, measure: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
        measure(self.get(key)).map(|(outcome, _)| outcome)
    }

    pub(super) fn get(&self, key: u64) -> Option<Nanos> {
        self.shard(key).and_then(|shard| shard.get(&key).copied())
    }

    fn shard(&self, key: u64) -> Option<MutexGuard<'_, Shard>> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % u64::try_from(self.shards.len()).ok()?).ok()?;
        Some(lock(self.shards.get(index)?))
    }

    /// Copies of what lies above this moment, a shard at a time; only for that are others kept waiting. At most
    /// `entries_max`: those with the most debt.
    pub(super) fn copies(&self, above: u64, entries_max: usize, mut take: impl FnMut(Copies<'_>)) {
        let (mut left, mut room) = (self.shards.len(), entries_max);
        let mut entries: Vec<(u64, u64)> = Vec::new();
        for shard in &self.shards {
            // Memory that was never touched costs more than the copy itself, so it is had before the lock.
            let expected = lock(shard).len();
            entries.resize(entries.len().max(expected), (0, 0));
            entries.clear();
            let shard = lock(shard);
            entries.extend(shard.iter().map(|(key, moment)| (*key, moment.as_u64())));
            drop(shard);
            entries.retain(|(_, moment)| *moment > above);
            let share = room / left.max(1);
            let dropped = entries.len().saturating_sub(share);
            if dropped > 0 {
                entries.sort_unstable_by_key(|(_, moment)| std::cmp::Reverse(*moment));
                entries.truncate(share);
            }
            (left, room) = (left - 1, room - entries.len());
            take(Copies { entries: &entries, dropped });
        }
    }

    /// An entry as another process had it, if there is none with more debt.
    pub(super) fn put_back(&self, key: u64, moment: u64) {
        let _: Result<(), ()> = self.measure_and_replace(&key, |known| {
            Ok(((), known.map_or(Nanos::new(moment), |known| known.max(Nanos::new(moment)))))
        });
    }

    fn each_shard(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }
}

/// What a panicking thread left is counts, and counts are always valid.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A shard's entries: key and moment.
pub(super) struct Copies<'a> {
    pub(super) entries: &'a [(u64, u64)],
    /// For which there was no room.
    pub(super) dropped: usize,
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(mut shard) = self.shard(*key) else {
            return measure(None).map(|(outcome, _)| outcome);
        };
        if let Some(moment) = shard.get_mut(key) {
            let (outcome, next) = measure(Some(*moment))?;
            *moment = next;
            return Ok(outcome);
        }
        let (outcome, next) = measure(None)?;
        let room = (self.keys_max.load(Ordering::Relaxed) / self.shards.len()).max(1);
        if shard.len() >= room {
            forget_quiet(&mut shard, room);
        }
        shard.insert(*key, next);
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<u64> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        for mut shard in self.each_shard() {
            shard.retain(|_, moment| *moment > drop_below);
            let live = shard.len();
            shard.shrink_to(live * 2);
        }
    }

    fn len(&self) -> usize {
        self.each_shard().map(|shard| shard.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes room in a full shard: the keys with the least debt go.
fn forget_quiet(shard: &mut Shard, room: usize) {
    let mut surplus = (shard.len() + 1).saturating_sub(room).max(room / FORGET_DIVISOR).min(shard.len());
    let Some(last) = surplus.checked_sub(1) else { return };
    let mut moments: Vec<u64> = shard.values().map(|moment| moment.as_u64()).collect();
    let (_, &mut limit, _) = moments.select_nth_unstable(last);
    shard.retain(|_, moment| {
        let goes = surplus > 0 && moment.as_u64() <= limit;
        surplus -= usize::from(goes);
        !goes
    });
}

/// A table that is only looked into: what governor decides is told and not written down.
#[derive(Debug)]
pub(super) struct Look(pub(super) std::sync::Arc<Table>);

impl StateStore for Look {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.look(*key, measure)
    }
}

/// The table behind a limiter that counts. (governor owns its store; two limiters share this one.)
#[derive(Debug)]
pub(super) struct Charge(pub(super) std::sync::Arc<Table>);

impl StateStore for Charge {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, measure)
    }
}

impl ShrinkableKeyedStateStore<u64> for Charge {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.retain_recent(drop_below);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn put(table: &Table, key: u64, moment: u64) {
        table.measure_and_replace::<_, _, ()>(&key, |_| Ok(((), Nanos::new(moment)))).unwrap();
    }

    fn get(table: &Table, key: u64) -> Option<u64> {
        table.get(key).map(Nanos::as_u64)
    }

    #[test]
    fn a_full_table_forgets_the_quiet_and_keeps_the_indebted() {
        let table = Table::new(100);
        for key in 0..100 {
            put(&table, key, 1_000 + key);
        }
        put(&table, 200, 5_000);
        assert!(table.len() <= 100);
        assert_eq!(get(&table, 200), Some(5_000));
        assert_eq!(get(&table, 0), None);
        assert_eq!(get(&table, 99), Some(1_099));
    }

    #[test]
    fn the_bound_holds_whatever_comes() {
        for keys_max in [0, 1, 2, 7, 1_000, 10_000] {
            let table = Table::new(keys_max);
            for key in 0..30_000 {
                put(&table, key, 7);
            }
            assert!(table.len() <= keys_max.max(1), "{keys_max}: {}", table.len());
        }
    }

    #[test]
    fn a_lower_bound_is_reached_by_insertions() {
        let table = Table::new(1_000);
        for key in 0..1_000 {
            put(&table, key, key);
        }
        table.set_keys_max(10);
        put(&table, 5_000, 5_000);
        assert!(table.len() <= 10);
        assert_eq!(get(&table, 5_000), Some(5_000));
    }

    #[test]
    fn sweeping_drops_what_is_as_good_as_new() {
        let table = Table::new(2_000);
        for key in 0..2_000 {
            put(&table, key, key);
        }
        // Sharding is by hash, so a shard may have been full before the last key came.
        let before = table.len();
        table.retain_recent(Nanos::new(1_499));
        assert!(before > 1_500 && table.len() <= 500);
        assert_eq!(get(&table, 1_999), Some(1_999));
    }
}
