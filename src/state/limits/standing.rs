//! What is known of whoever wants to log in: whether the same account did from the same address before, and whether it,
//! or another from there, has failed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Who goes first where logins have to wait for each other. Decides nothing about the login itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginStanding {
    /// This account has logged in from this address, and not failed there since that counts.
    Regular,
    Unknown,
    /// Logins from this address have failed lately.
    Suspect,
}

/// Logins that were good, as hashes of account and address: a set bounded by forgetting. It has two generations, of
/// which the older goes when the younger is full; who comes again is moved to the younger.
#[derive(Debug, Default)]
pub(super) struct Regulars(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Regulars {
    /// Remembers one more, of at most `pairs_max`.
    pub(super) fn keep(&self, pair: u64, pairs_max: usize) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.young.contains(&pair) {
            return;
        }
        if known.young.len() >= (pairs_max / 2).max(1) {
            known.old = std::mem::take(&mut known.young);
        }
        known.old.remove(&pair);
        known.young.insert(pair);
    }

    /// All of them, those first that came last.
    pub(super) fn pairs(&self) -> Vec<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.young.iter().chain(&known.old).copied().collect()
    }

    pub(super) fn knows(&self, pair: u64) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.young.contains(&pair) || known.old.contains(&pair)
    }

    pub(super) fn len(&self) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.young.len() + known.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_come_again_stay_and_the_set_is_bounded() {
        let regulars = Regulars::default();
        for other in 0..10_000 {
            regulars.keep(1 << 40, 100);
            regulars.keep(other, 100);
        }
        assert!(regulars.knows(1 << 40) && regulars.knows(9_999) && !regulars.knows(0));
        assert!(regulars.len() <= 100, "{}", regulars.len());
    }
}
