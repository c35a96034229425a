//! `[[limit]]`: what is to be asked of them, and the answers of this process. Another process may answer in its place
//! (`shared`), which is why a question is a value.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use governor::clock::{Clock, DefaultClock, Reference as _};

use super::quota::{Exhausted, Quota};
use super::saved;
use super::seen::Seen;
use crate::config::{Counted, Limit, Most, Rate};
use crate::policy::limits::{Subject, distinct, key};
use crate::state::keyed::HashKey;
use crate::state::snapshot::Part;

/// Clients remembered that reached a limit with `alarm = true`, for each limit.
const ALARMS_KEPT_MAX: usize = 20;

/// All of them, in their order.
pub struct Rules<C: Clock = DefaultClock> {
    rules: Vec<Arc<Rule<C>>>,
}

/// How something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// If it is allowed.
    Charge,
    /// Not at all: would one more be allowed?
    Look,
    /// It has happened.
    Owe,
}

/// One limit asked about one client.
pub struct Check<C: Clock = DefaultClock> {
    rule: Arc<Rule<C>>,
    /// Of the client, within the limit.
    pub key: Vec<u8>,
    /// The client in words.
    pub who: String,
    pub how: How,
    pub amount: NonZeroU32,
    /// What counts only if it is new: the recipient.
    pub distinct: Option<String>,
}

/// What became of it.
pub type Checked = Result<(), Exhausted>;

/// A limit that was reached.
#[derive(Debug, Clone)]
pub struct Hit {
    pub limit: Arc<Limit>,
    /// In words: `address=192.0.2.1`.
    pub who: String,
    /// From when on it would be allowed again, where that can be told.
    pub retry_after: Option<Duration>,
}

pub(super) struct Rule<C: Clock> {
    pub(super) limit: Arc<Limit>,
    pub(super) meter: Arc<Meter<C>>,
    hits: AtomicU64,
    alarms: Mutex<VecDeque<(SystemTime, String)>>,
    names: HashKey,
}

pub(super) enum Meter<C: Clock> {
    Rate { quota: Quota<C>, seen: Option<Seen>, clock: C, start: C::Instant },
    AtOnce { most: u32, open: Arc<OpenCounts> },
}

/// Connections open now, by the hash of their key.
type OpenCounts = Mutex<HashMap<u64, u32>>;

/// Connections that count until this is dropped.
#[derive(Debug, Default)]
pub struct RuleGuard(Vec<(Arc<OpenCounts>, u64)>);

impl<C: Clock> std::fmt::Debug for Rules<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| &rule.limit)).finish()
    }
}

impl<C: Clock> std::fmt::Debug for Check<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} by {:?} {}", self.who, self.rule.limit.name, self.how, self.amount)
    }
}

impl<C: Clock> Check<C> {
    /// The limit that is asked.
    #[must_use]
    pub fn limit(&self) -> &Arc<Limit> {
        &self.rule.limit
    }

    /// Its rate. (Connections at once have none, and are no matter of checks.)
    #[must_use]
    pub fn rate(&self) -> Rate {
        match self.rule.limit.most {
            Most::Rate(rate) => rate,
            Most::AtOnce(most) => Rate { count: most, per: Duration::from_secs(1), burst: most },
        }
    }

    /// The limit was reached: it is counted for the operator, and is what the client's answer is made of.
    #[must_use]
    pub fn hit(self, retry_after: Exhausted) -> Hit {
        self.rule.hits.fetch_add(1, Ordering::Relaxed);
        let limit = Arc::clone(&self.rule.limit);
        if limit.alarm {
            let mut alarms = lock(&self.rule.alarms);
            alarms.retain(|(_, who)| *who != self.who);
            if alarms.len() >= ALARMS_KEPT_MAX {
                alarms.pop_front();
            }
            alarms.push_back((SystemTime::now(), self.who.clone()));
        }
        Hit { limit, who: self.who, retry_after }
    }
}

impl<C: Clock + Clone> Check<C> {
    /// Asks this process.
    pub(super) fn decide(&self) -> Checked {
        self.rule.decide(self)
    }
}

impl<C: Clock + Clone> Rules<C> {
    pub(super) fn new(
        limits: &[Limit],
        keys_max: usize,
        old: Option<&Rules<C>>,
        names: HashKey,
        clock: &C,
    ) -> Rules<C> {
        let rule = |limit: &Limit| {
            // Counts are kept where they mean the same as before, whatever else the limit says now.
            let same = |old: &&Arc<Rule<C>>| {
                let before = &old.limit;
                before.name == limit.name
                    && (before.count, before.most) == (limit.count, limit.most)
                    && before.per == limit.per
            };
            let known = old.and_then(|old| old.rules.iter().find(same));
            let Some(known) = known else { return Arc::new(Rule::new(limit, keys_max, names, clock)) };
            known.meter.set_keys_max(keys_max);
            Arc::new(Rule {
                limit: Arc::new(limit.clone()),
                meter: Arc::clone(&known.meter),
                hits: AtomicU64::new(known.hits.load(Ordering::Relaxed)),
                alarms: Mutex::new(lock(&known.alarms).clone()),
                names,
            })
        };
        Rules { rules: limits.iter().map(rule).collect() }
    }

    /// Whether there is a limit of any of these.
    #[must_use]
    pub fn count_any(&self, counted: &[Counted]) -> bool {
        self.rules.iter().any(|rule| counted.contains(&rule.limit.count))
    }

    /// What is to be asked, in the order of the file.
    #[must_use]
    pub fn checks(&self, asks: &[(Counted, How, NonZeroU32)], subject: &Subject<'_>) -> Vec<Check<C>> {
        let check = |rule: &Arc<Rule<C>>| {
            let &(counted, how, amount) = asks.iter().find(|(counted, ..)| *counted == rule.limit.count)?;
            let (key, who) = key(&rule.limit, subject)?;
            let distinct = match counted {
                Counted::DistinctRecipients => Some(distinct(subject.recipient?)),
                _ => None,
            };
            Some(Check { rule: Arc::clone(rule), key, who, how, amount, distinct })
        };
        self.rules.iter().filter_map(check).collect()
    }

    /// One more connection is open as long as the guard lives, if none of the limits refuses it.
    #[must_use]
    pub fn enter(&self, subject: &Subject<'_>) -> (RuleGuard, Vec<Hit>) {
        let (mut guard, mut hits) = (RuleGuard::default(), Vec::new());
        for check in self.checks(&[(Counted::ConnectionsAtOnce, How::Charge, NonZeroU32::MIN)], subject) {
            let Meter::AtOnce { most, open } = &*check.rule.meter else { continue };
            let (hash, most, open) = (check.rule.hash(&check.key), *most, Arc::clone(open));
            let mut counts = lock(&open);
            let here = counts.entry(hash).or_default();
            let full = *here >= most;
            *here += 1;
            drop(counts);
            guard.0.push((open, hash));
            if full {
                let refuses = check.rule.limit.action.refuses();
                hits.push(check.hit(None));
                if refuses {
                    return (RuleGuard::default(), hits);
                }
            }
        }
        (guard, hits)
    }

    pub(super) fn sweep(&self) {
        for rule in &self.rules {
            if let Meter::Rate { quota, seen, clock, start } = &*rule.meter {
                quota.sweep();
                if let Some(seen) = seen {
                    seen.sweep(clock.now().duration_since(*start).into());
                }
            }
        }
    }

    /// Keys remembered, pairs with recipients included.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.rules.iter().map(|rule| rule.meter.len()).sum()
    }

    /// For the operator: every limit with what it remembers and whom it met.
    #[must_use]
    pub fn shown(&self) -> serde_json::Value {
        let shown = |rule: &Arc<Rule<C>>| {
            let now = SystemTime::now();
            let ago = |at: &SystemTime| now.duration_since(*at).unwrap_or_default().as_secs();
            let alarms: Vec<_> = lock(&rule.alarms)
                .iter()
                .rev()
                .map(|(at, who)| serde_json::json!({ "who": who, "seconds_ago": ago(at) }))
                .collect();
            serde_json::json!({
                "name": rule.limit.name,
                "count": rule.limit.count.name(),
                "action": rule.limit.action.name(),
                "keys": rule.meter.len(),
                "hits": rule.hits.load(Ordering::Relaxed),
                "alarms": alarms,
            })
        };
        self.rules.iter().map(shown).collect()
    }
}

impl Rules<DefaultClock> {
    pub(super) fn parts(&self) -> Vec<Box<dyn Part>> {
        self.rules.iter().flat_map(|rule| saved::of_rule(rule)).collect()
    }
}

impl<C: Clock + Clone> Rule<C> {
    fn new(limit: &Limit, keys_max: usize, names: HashKey, clock: &C) -> Rule<C> {
        let meter = match limit.most {
            Most::AtOnce(most) => Meter::AtOnce { most, open: Arc::default() },
            Most::Rate(rate) => Meter::Rate {
                quota: Quota::new(rate, keys_max, clock),
                seen: (limit.count == Counted::DistinctRecipients).then(|| Seen::new(rate.per, keys_max)),
                clock: clock.clone(),
                start: clock.now(),
            },
        };
        Rule {
            limit: Arc::new(limit.clone()),
            meter: Arc::new(meter),
            hits: AtomicU64::new(0),
            alarms: Mutex::default(),
            names,
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.names.hash(&[key])
    }

    fn decide(&self, check: &Check<C>) -> Checked {
        let Meter::Rate { quota, seen, clock, start } = &*self.meter else { return Ok(()) };
        let key = self.hash(&check.key);
        match check.how {
            How::Look => return quota.look(key),
            How::Owe => {
                quota.owe(key, check.amount);
                return Ok(());
            }
            How::Charge => {}
        }
        let (Some(seen), Some(name)) = (seen, &check.distinct) else { return quota.charge(key, check.amount) };
        let pair = self.names.hash(&[&check.key, name.as_bytes()]);
        let now = clock.now().duration_since(*start).into();
        if seen.again(pair, now) {
            return Ok(());
        }
        quota.charge(key, check.amount)?;
        seen.keep(pair, now);
        Ok(())
    }
}

impl<C: Clock + Clone> Meter<C> {
    fn set_keys_max(&self, keys_max: usize) {
        if let Meter::Rate { quota, seen, .. } = self {
            quota.set_keys_max(keys_max);
            if let Some(seen) = seen {
                seen.set_pairs_max(keys_max);
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Meter::Rate { quota, seen, .. } => quota.len() + seen.as_ref().map_or(0, Seen::len),
            Meter::AtOnce { open, .. } => lock(open).len(),
        }
    }
}

impl Drop for RuleGuard {
    fn drop(&mut self) {
        for (open, hash) in &self.0 {
            let mut counts = lock(open);
            match counts.get_mut(hash) {
                Some(here) if *here > 1 => *here -= 1,
                _ => drop(counts.remove(hash)),
            }
        }
    }
}

/// What a panicking thread left is counts, and counts are always valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
