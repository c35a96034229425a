//! The same alarm, told once a minute: what every session meets would fill the log with one sentence.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a sentence is not said again.
const QUIET: Duration = Duration::from_secs(60);
/// Different sentences remembered; beyond it the oldest is forgotten, and may be said again.
const SENTENCES_MAX: usize = 32;

/// Sentences said lately.
#[derive(Debug)]
pub struct Seldom(Mutex<Vec<Said>>);

#[derive(Debug)]
struct Said {
    sentence: u64,
    at: Instant,
    /// How often it was not said since.
    kept_back: u32,
}

impl Seldom {
    #[must_use]
    pub const fn new() -> Seldom {
        Seldom(Mutex::new(Vec::new()))
    }

    /// Whether to say it now, and if so how often it was kept back before.
    #[must_use]
    pub fn may_say(&self, sentence: &str, now: Instant) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        sentence.hash(&mut hasher);
        let sentence = hasher.finish();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = said.iter_mut().find(|known| known.sentence == sentence) {
            if now.duration_since(known.at) < QUIET {
                known.kept_back = known.kept_back.saturating_add(1);
                return None;
            }
            known.at = now;
            return Some(std::mem::take(&mut known.kept_back));
        }
        if said.len() >= SENTENCES_MAX {
            said.remove(0);
        }
        said.push(Said { sentence, at: now, kept_back: 0 });
        Some(0)
    }
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_with_the_number_of_the_others() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        assert_eq!(seldom.may_say("no XCLIENT", start), Some(0));
        assert_eq!(seldom.may_say("no XCLIENT", start + QUIET / 2), None);
        assert_eq!(seldom.may_say("no TLS", start + QUIET / 2), Some(0), "another sentence");
        assert_eq!(seldom.may_say("no XCLIENT", start + QUIET / 2), None);
        assert_eq!(seldom.may_say("no XCLIENT", start + QUIET), Some(2));
        assert_eq!(seldom.may_say("no XCLIENT", start + QUIET), None);
        for sentence in 0..100 {
            assert_eq!(seldom.may_say(&sentence.to_string(), start), Some(0));
        }
        assert!(seldom.0.lock().is_ok_and(|said| said.len() == SENTENCES_MAX));
    }
}
