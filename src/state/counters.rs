//! Numbers in memory with a time to live, and token buckets: what the `counters` capability is made of.
//!
//! Bounded by forgetting: two generations of keys, of which the older goes when the younger is full. A key
//! that is used moves to the younger one, so keys in use survive a flood of others. Time is an argument.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::snapshot::{Malformed, Moment, Part, Reading, Saving, sized};

/// Keys of one filter, both generations together.
pub const COUNTER_KEYS_MAX: usize = 100_000;
/// Octets of one key.
pub const COUNTER_KEY_BYTES_MAX: usize = 256;

/// One filter's numbers.
#[derive(Debug)]
pub struct Counters {
    keys_max: usize,
    inner: Mutex<Generations>,
    /// Where a key begins that is not here.
    below: Option<Arc<Counters>>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, Entry>,
    old: HashMap<Box<str>, Entry>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Sum { value: i32, until: Instant },
    Bucket { tokens: f64, at: Instant },
}

impl Default for Counters {
    fn default() -> Counters {
        Counters::new(COUNTER_KEYS_MAX)
    }
}

impl Counters {
    /// Remembers at most `keys_max` keys.
    #[must_use]
    pub fn new(keys_max: usize) -> Counters {
        Counters { keys_max, inner: Mutex::default(), below: None }
    }

    /// Numbers that begin as those below are, and leave them as they are.
    #[must_use]
    pub fn over(below: Arc<Counters>) -> Counters {
        Counters { below: Some(below), ..Counters::default() }
    }

    fn peek(&self, key: &str) -> Option<Entry> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let here = inner.young.get(key).or_else(|| inner.old.get(key)).copied();
        here.or_else(|| self.below.as_ref()?.peek(key))
    }

    /// Adds and returns the sum, which saturates. It falls to 0 `ttl` after the first addition. Keys beyond
    /// [`COUNTER_KEY_BYTES_MAX`] are counted under their first octets.
    pub fn add(&self, key: &str, by: i32, ttl: Duration, now: Instant) -> i32 {
        self.with(key, |entry| {
            let (value, until) = match *entry {
                Some(Entry::Sum { value, until }) if now < until => (value.saturating_add(by), until),
                _ => (by, now + ttl),
            };
            *entry = Some(Entry::Sum { value, until });
            value
        })
    }

    /// The sum now, 0 when there is none.
    pub fn read(&self, key: &str, now: Instant) -> i32 {
        match self.peek(cut(key)) {
            Some(Entry::Sum { value, until }) if now < until => value,
            _ => 0,
        }
    }

    /// A token bucket of `burst` tokens that gains `per_second`: true when `cost` were there and are taken.
    pub fn take(&self, key: &str, cost: u32, burst: u32, per_second: f32, now: Instant) -> bool {
        let rate = if per_second.is_finite() && per_second > 0.0 { f64::from(per_second) } else { 0.0 };
        self.with(key, |entry| {
            let mut tokens = match *entry {
                Some(Entry::Bucket { tokens, at }) => {
                    (tokens + now.saturating_duration_since(at).as_secs_f64() * rate).min(f64::from(burst))
                }
                _ => f64::from(burst),
            };
            let enough = tokens >= f64::from(cost);
            if enough {
                tokens -= f64::from(cost);
            }
            *entry = Some(Entry::Bucket { tokens, at: now });
            enough
        })
    }

    /// Keys remembered, expired ones included.
    pub fn len(&self) -> usize {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.young.len() + inner.old.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, key: &str, change: impl FnOnce(&mut Option<Entry>) -> R) -> R {
        let key = cut(key);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = inner.young.get_mut(key) {
            let mut slot = Some(*entry);
            let result = change(&mut slot);
            if let Some(new) = slot {
                *entry = new;
            }
            return result;
        }
        let mut slot = inner.old.remove(key).or_else(|| self.below.as_ref()?.peek(key));
        let result = change(&mut slot);
        if let Some(new) = slot {
            if inner.young.len() >= (self.keys_max / 2).max(1) {
                inner.old = std::mem::take(&mut inner.young);
            }
            inner.young.insert(key.into(), new);
        }
        result
    }
}

/// In a snapshot.
const SUM: u8 = 0;
const BUCKET: u8 = 1;

/// A filter's numbers by its name.
#[derive(Debug)]
pub struct CountersPart(pub Arc<str>, pub Arc<Counters>);

impl CountersPart {
    /// The records of one generation.
    fn records(generation: &HashMap<Box<str>, Entry>, moment: Moment) -> Vec<u8> {
        let mut records = Vec::with_capacity(generation.len() * 48);
        for (key, entry) in generation {
            let (kind, value, at) = match *entry {
                Entry::Sum { until, .. } if until <= moment.instant() => continue,
                Entry::Sum { value, until } => (SUM, i64::from(value).to_le_bytes(), until),
                Entry::Bucket { tokens, at } => (BUCKET, tokens.to_le_bytes(), at),
            };
            records.extend_from_slice(&sized(key.as_bytes()));
            records.extend_from_slice(key.as_bytes());
            records.push(kind);
            records.extend_from_slice(&value);
            records.extend_from_slice(&moment.wall_ms_of(at).to_le_bytes());
        }
        records
    }
}

impl Part for CountersPart {
    fn name(&self) -> String {
        format!("counters {}", self.0)
    }

    fn save(&self, saving: &mut Saving<'_>) {
        let inner = self.1.lock();
        let (young, old) = (Self::records(&inner.young, saving.moment()), Self::records(&inner.old, saving.moment()));
        drop(inner);
        // The ones not used for long go first where there is no room.
        for records in [young, old] {
            let mut rest = Reading::new(&records);
            while let (Ok(key), Ok(numbers)) = (rest.sized(), rest.octets::<17>()) {
                saving.record(&[&sized(key), key, &numbers]);
            }
        }
    }

    fn restore(&self, mut page: Reading<'_>, moment: Moment) -> Result<(), Malformed> {
        while !page.is_at_end() {
            let (key, [kind], value, at_ms) = (page.text()?, page.octets()?, page.octets()?, page.number()?);
            let entry = match kind {
                SUM => {
                    let value = i32::try_from(i64::from_le_bytes(value)).map_err(|_| Malformed)?;
                    let until = moment.until(at_ms).and_then(|ttl| moment.instant().checked_add(ttl));
                    until.map(|until| Entry::Sum { value, until })
                }
                BUCKET => {
                    let tokens = Some(f64::from_le_bytes(value)).filter(|tokens| tokens.is_finite());
                    let at = moment.instant().checked_sub(moment.since(at_ms));
                    Some(Entry::Bucket { tokens: tokens.ok_or(Malformed)?, at: at.unwrap_or(moment.instant()) })
                }
                _ => return Err(Malformed),
            };
            if let Some(entry) = entry {
                self.1.with(key, |slot| *slot = Some(entry));
            }
        }
        Ok(())
    }
}

fn cut(key: &str) -> &str {
    let mut end = key.len().min(COUNTER_KEY_BYTES_MAX);
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    key.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn sums_expire_after_the_first_addition() {
        let counters = Counters::default();
        let start = Instant::now();
        assert_eq!(counters.add("a", 2, MINUTE, start), 2);
        assert_eq!(counters.add("a", 3, MINUTE, start + MINUTE / 2), 5);
        assert_eq!(counters.read("a", start + MINUTE / 2), 5);
        assert_eq!(counters.read("a", start + MINUTE), 0);
        assert_eq!(counters.add("a", i32::MAX, MINUTE, start + MINUTE), i32::MAX);
        assert_eq!(counters.add("a", 1, MINUTE, start + MINUTE), i32::MAX);
        assert_eq!(counters.read("b", start), 0);
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let counters = Counters::default();
        let start = Instant::now();
        assert!(counters.take("k", 2, 3, 1.0, start));
        assert!(!counters.take("k", 2, 3, 1.0, start));
        assert!(counters.take("k", 1, 3, 1.0, start));
        assert!(!counters.take("k", 1, 3, f32::NAN, start + MINUTE));
        assert!(!counters.take("k", 4, 3, 1.0, start + MINUTE * 2));
        assert!(counters.take("k", 3, 3, 1.0, start + MINUTE * 3));
    }

    #[test]
    fn a_flood_is_forgotten_and_a_busy_key_is_not() {
        let counters = Counters::new(100);
        let now = Instant::now();
        for i in 0..10_000 {
            counters.add("busy", 1, MINUTE, now);
            counters.add(&format!("flood-{i}"), 1, MINUTE, now);
        }
        assert_eq!(counters.read("busy", now), 10_000);
        assert!(counters.len() <= 100);
    }

    #[test]
    fn long_keys_are_cut_at_a_character() {
        let counters = Counters::default();
        let now = Instant::now();
        let long = "é".repeat(COUNTER_KEY_BYTES_MAX);
        counters.add(&long, 1, MINUTE, now);
        assert_eq!(counters.add(&format!("{long}x"), 1, MINUTE, now), 2);
    }
}
