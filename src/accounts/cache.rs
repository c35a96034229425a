//! Passwords that a backend called right a moment ago, so that a mail program that logs in for every message does not
//! ask a slow backend each time.
//!
//! Only right ones are remembered, and not themselves: the key is an HMAC over backend, name and password under a key
//! that this process drew at random, so what is in memory is of no use elsewhere. Every reload begins with an empty one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use tokio::time::Instant;

type Key = [u8; 32];

/// Answers of all backends together.
pub(super) struct Cache {
    key: hmac::Key,
    entries_max: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    answers: HashMap<Key, Answer>,
    /// In the order in which they came; what was put twice stands there twice, and counts by its `serial`.
    order: VecDeque<(Key, u64)>,
    serial: u64,
}

struct Answer {
    identity: Arc<str>,
    until: Instant,
    serial: u64,
}

impl Cache {
    /// None: the machine has no randomness. Then nothing is remembered.
    pub(super) fn new(entries_max: usize) -> Option<Cache> {
        let mut octets = [0; 32];
        rand::fill(&mut octets).ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &octets);
        Some(Cache { key, entries_max: entries_max.max(1), known: Mutex::default() })
    }

    /// What stands for this password in the cache.
    pub(super) fn key(&self, backend: &str, name: &str, password: &[u8]) -> Key {
        let mut context = hmac::Context::with_key(&self.key);
        // Each with its length, or "ab" and "c" would be "a" and "bc".
        for part in [backend.as_bytes(), name.as_bytes(), password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        key
    }

    /// Whose it is, if that is still believed.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<str>> {
        let known = self.known();
        let answer = known.answers.get(key).filter(|answer| answer.until > Instant::now())?;
        Some(Arc::clone(&answer.identity))
    }

    pub(super) fn put(&self, key: Key, identity: Arc<str>, for_how_long: Duration) {
        let mut known = self.known();
        let until = Instant::now() + for_how_long;
        known.serial += 1;
        let serial = known.serial;
        known.answers.insert(key, Answer { identity, until, serial });
        known.order.push_back((key, serial));
        // The oldest go first; and what was put again since does not hold its first place.
        while known.order.len() > self.entries_max {
            let Some((oldest, serial)) = known.order.pop_front() else { break };
            if known.answers.get(&oldest).is_some_and(|answer| answer.serial == serial) {
                known.answers.remove(&oldest);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_its_time_and_for_its_password() {
        let cache = Cache::new(10).unwrap();
        let key = cache.key("ldap", "anna", b"swordfish");
        cache.put(key, "anna".into(), MINUTE);
        assert_eq!(cache.get(&key).as_deref(), Some("anna"));
        for other in [
            cache.key("ldap", "anna", b"swordfisch"),
            cache.key("ldap", "otto", b"swordfish"),
            cache.key("file", "anna", b"swordfish"),
            cache.key("ldap", "annas", b"wordfish"),
        ] {
            assert_eq!(cache.get(&other), None);
        }
        // Another process has another key.
        assert_ne!(Cache::new(10).unwrap().key("ldap", "anna", b"swordfish"), key);
        tokio::time::advance(MINUTE).await;
        assert_eq!(cache.get(&key), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_make_room_and_the_bound_holds() {
        let cache = Cache::new(3).unwrap();
        let keys: Vec<Key> = (0_u8..5).map(|n| cache.key("b", "name", &[n])).collect();
        for key in &keys {
            cache.put(*key, "name".into(), MINUTE);
        }
        let kept: Vec<bool> = keys.iter().map(|key| cache.get(key).is_some()).collect();
        assert_eq!(kept, [false, false, true, true, true]);
        for _ in 0..100 {
            cache.put(keys[4], "name".into(), MINUTE);
        }
        assert!(cache.get(&keys[4]).is_some());
        let known = cache.known();
        assert!(known.order.len() <= 3 && known.answers.len() <= 3);
    }
}
