//! What a snapshot keeps of limits. The name of a part has the rate in it, and whatever else decides what its keys are: of a
//! limit that is another one now nothing is found.

use std::sync::Arc;

use governor::clock::{Clock, Reference as _};

use super::rules::{Meter, Rule};
use super::standing::Regulars;
use super::{Named, Quota};
use crate::config::{Most, Rate};
use crate::state::snapshot::{Malformed, Moment, Part, Reading, Saving};

struct OfRates<C: Clock>(Arc<Named<C>>);

/// The debts of a limit.
struct OfRule<C: Clock>(Arc<Rule<C>>);

/// Whom it has seen lately.
struct SeenBy<C: Clock>(Arc<Rule<C>>);

/// A quota of `[rates]`.
pub(super) fn of_rates<C>(quota: Arc<Named<C>>) -> Box<dyn Part>
where
    C: Clock + Clone + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    Box::new(OfRates(quota))
}

/// A `[[limit]]`; connections at once end with the process.
pub(super) fn of_rule<C>(rule: &Arc<Rule<C>>) -> Vec<Box<dyn Part>>
where
    C: Clock + Clone + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    let mut parts: Vec<Box<dyn Part>> = Vec::new();
    if let Meter::Rate { seen, .. } = &*rule.meter {
        parts.push(Box::new(OfRule(Arc::clone(rule))));
        if seen.is_some() {
            parts.push(Box::new(SeenBy(Arc::clone(rule))));
        }
    }
    parts
}

/// Who has logged in before, at most so many.
struct OfRegulars(Arc<Regulars>, usize);

pub(super) fn of_regulars(regulars: Arc<Regulars>, pairs_max: usize) -> Box<dyn Part> {
    Box::new(OfRegulars(regulars, pairs_max))
}

impl Part for OfRegulars {
    fn name(&self) -> String {
        "regular logins".to_owned()
    }

    fn save(&self, saving: &mut Saving<'_>) {
        self.0.pairs().iter().for_each(|pair| saving.record(&[&pair.to_le_bytes()]));
    }

    fn restore(&self, mut page: Reading<'_>, _: Moment) -> Result<(), Malformed> {
        while !page.is_at_end() {
            self.0.keep(page.number()?, self.1);
        }
        Ok(())
    }
}

fn in_words(rate: Rate) -> String {
    format!("{}/{}ms burst {}", rate.count, rate.per.as_millis(), rate.burst)
}

impl<C: Clock + Clone + Send + Sync> Part for OfRates<C>
where
    C::Instant: Send + Sync,
{
    fn name(&self) -> String {
        format!("rates {} {}", self.0.which, in_words(self.0.quota.rate))
    }

    fn save(&self, saving: &mut Saving<'_>) {
        self.0.quota.save(saving);
    }

    fn restore(&self, page: Reading<'_>, moment: Moment) -> Result<(), Malformed> {
        self.0.quota.restore(page, moment)
    }
}

impl<C: Clock> Rule<C> {
    fn quota(&self) -> Option<&Quota<C>> {
        match &*self.meter {
            Meter::Rate { quota, .. } => Some(quota),
            Meter::AtOnce { .. } => None,
        }
    }

    fn saved_as(&self, what: &str) -> String {
        let limit = &self.limit;
        let rate = match limit.most {
            Most::Rate(rate) => in_words(rate),
            Most::AtOnce(most) => most.to_string(),
        };
        format!("{what} {} {rate} per {:?} of {}", limit.count.name(), limit.per, limit.name)
    }
}

impl<C: Clock + Clone + Send + Sync> Part for OfRule<C>
where
    C::Instant: Send + Sync,
{
    fn name(&self) -> String {
        self.0.saved_as("limit")
    }

    fn save(&self, saving: &mut Saving<'_>) {
        if let Some(quota) = self.0.quota() {
            quota.save(saving);
        }
    }

    fn restore(&self, page: Reading<'_>, moment: Moment) -> Result<(), Malformed> {
        self.0.quota().map_or(Ok(()), |quota| quota.restore(page, moment))
    }
}

impl<C: Clock + Clone + Send + Sync> Part for SeenBy<C>
where
    C::Instant: Send + Sync,
{
    fn name(&self) -> String {
        self.0.saved_as("seen by limit")
    }

    fn save(&self, saving: &mut Saving<'_>) {
        if let Meter::Rate { seen: Some(seen), clock, start, .. } = &*self.0.meter {
            seen.save(clock.now().duration_since(*start).into(), saving);
        }
    }

    fn restore(&self, page: Reading<'_>, moment: Moment) -> Result<(), Malformed> {
        let Meter::Rate { seen: Some(seen), clock, start, .. } = &*self.0.meter else { return Ok(()) };
        seen.restore(page, moment, clock.now().duration_since(*start).into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::{Duration, Instant};

    use governor::clock::DefaultClock;

    use super::*;
    use crate::config::{Counted, KeyPart, Limit, LimitAction, LimitExcept, Rates};
    use crate::policy::limits::Subject;
    use crate::smtp::ForwardPath;
    use crate::state::keyed::{HASH_KEY_BYTES, HashKey};
    use crate::state::limits::{Group, How, Limits, LoginStanding};
    use crate::state::snapshot::{File, SnapshotError};

    const NAMES: HashKey = HashKey::from_octets([3; HASH_KEY_BYTES]);
    const HOUR: Duration = Duration::from_secs(3_600);
    const ONE: std::num::NonZeroU32 = std::num::NonZeroU32::MIN;

    fn rate(count: u32, burst: u32) -> Rate {
        Rate { count, per: HOUR, burst }
    }

    fn rates(burst: u32) -> Rates {
        Rates { messages_per_identity: Some(rate(60, burst)), ..Rates::default() }
    }

    fn limit(count: Counted, burst: u32) -> Limit {
        Limit {
            name: count.name().into(),
            listeners: Vec::new(),
            count,
            per: vec![KeyPart::Address],
            most: Most::Rate(rate(1, burst)),
            except: LimitExcept::default(),
            action: LimitAction::Defer,
            reply: None,
            alarm: false,
        }
    }

    fn both(burst: u32) -> [Limit; 2] {
        [limit(Counted::Messages, burst), limit(Counted::DistinctRecipients, burst)]
    }

    /// Everything `from` tells at one moment, found by `to` at another.
    fn carry(from: &Limits, to: &Limits, saved: Moment, restored: Moment) {
        for part in from.parts() {
            let mut pages: Vec<Vec<u8>> = Vec::new();
            let mut sink = |page: &[u8]| -> Result<(), SnapshotError> {
                pages.push(page.to_vec());
                Ok(())
            };
            let mut saving = Saving::new(saved, 1 << 30, &mut sink);
            part.save(&mut saving);
            saving.finish().unwrap();
            for same in to.parts().iter().filter(|other| other.name() == part.name()) {
                pages.iter().for_each(|page| same.restore(Reading::new(page), restored).unwrap());
            }
        }
    }

    fn asked(limits: &Limits, counted: Counted, recipient: &str) -> bool {
        let recipient = ForwardPath::parse(recipient).unwrap();
        let subject = Subject { recipient: Some(&recipient), ..Subject::arriving("192.0.2.1".parse().unwrap(), "mx") };
        let checks = limits.rules().checks(&[(counted, How::Charge, ONE)], &subject);
        Group::new(Vec::new(), checks).finish().hits.is_empty()
    }

    #[test]
    fn what_was_used_up_is_used_up_for_the_next_process_until_its_time_is_over() {
        let client = "192.0.2.1".parse().unwrap();
        let (now, wall) = (Instant::now(), Duration::from_secs(1_700_000_000));
        let before = Limits::new(&rates(3), &both(2), NAMES);
        (0..3).for_each(|_| before.message(client, Some("anna")).unwrap());
        for recipient in ["a@example.org", "b@example.org"] {
            assert!(asked(&before, Counted::Messages, recipient));
            assert!(asked(&before, Counted::DistinctRecipients, recipient));
        }
        before.logged_in(client, "anna");
        let after = |wall| {
            let after = Limits::new(&rates(3), &both(2), NAMES);
            carry(&before, &after, Moment::of(Duration::from_secs(1_700_000_000), now), Moment::of(wall, now));
            after
        };
        let at_once = after(wall);
        assert_eq!(at_once.standing(client, "anna"), LoginStanding::Regular);
        assert_eq!(at_once.standing(client, "otto"), LoginStanding::Unknown);
        let refused = at_once.message(client, Some("anna")).unwrap_err();
        let wait = refused.retry_after.unwrap().as_secs();
        assert!((50..=60).contains(&wait), "{wait}");
        assert_eq!(at_once.message(client, Some("otto")), Ok(()));
        assert!(!asked(&at_once, Counted::Messages, "a@example.org"));
        assert!(!asked(&at_once, Counted::DistinctRecipients, "c@example.org"));
        assert!(asked(&at_once, Counted::DistinctRecipients, "b@example.org"), "it is not a new one");

        // Two of three messages an hour's sixtieth each are forgotten, one of two an hour.
        let later = after(wall + Duration::from_secs(120));
        assert_eq!(later.message(client, Some("anna")), Ok(()));
        assert_eq!(later.message(client, Some("anna")), Ok(()));
        assert!(later.message(client, Some("anna")).is_err());
        let much_later = after(wall + 2 * HOUR + HOUR);
        assert_eq!(much_later.tracked(), 1, "that somebody has logged in before");

        // However wrong a clock was: nobody owes more than a used-up limit.
        let long_ago = after(Duration::from_secs(1));
        let refused = long_ago.message(client, Some("anna")).unwrap_err();
        assert!(refused.retry_after.unwrap() <= Duration::from_secs(60));
    }

    #[test]
    fn what_was_counted_by_other_rules_or_with_another_key_is_not_found() {
        let client = "192.0.2.1".parse().unwrap();
        let now = Moment::now();
        let before = Limits::new(&rates(1), &both(1), NAMES);
        before.message(client, Some("anna")).unwrap();
        assert!(asked(&before, Counted::Messages, "a@example.org"));
        for after in [Limits::new(&rates(2), &both(2), NAMES), Limits::new(&rates(1), &both(1), HashKey::random())] {
            carry(&before, &after, now, now);
            assert_eq!(after.message(client, Some("anna")), Ok(()));
            assert!(asked(&after, Counted::Messages, "a@example.org"));
        }
        // What else a limit says makes no difference.
        let mut limits = both(1);
        limits[0].action = LimitAction::Refuse;
        let after = Limits::new(&rates(1), &limits, NAMES);
        carry(&before, &after, now, now);
        assert!(!asked(&after, Counted::Messages, "a@example.org"));
    }

    /// All shards of a table, and many pages.
    #[test]
    fn every_one_of_many_keys_is_written_and_found() {
        const KEYS: u32 = 20_000;
        let keys_max = usize::try_from(KEYS).unwrap() * 2;
        let rates = Rates { keys_max, messages_per_address: Some(rate(1, 1)), ..Rates::default() };
        let limits: Limits<DefaultClock> = Limits::new(&rates, &[], NAMES);
        for address in 0..KEYS {
            limits.message(std::net::Ipv4Addr::from(0x0a00_0000 + address).into(), None).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let mut opened = File::open(&folder.path().join("state.redb")).unwrap();
        let written = opened.file.write(NAMES, &limits.parts(), 1 << 30, Moment::now).unwrap();
        assert_eq!((written.bytes, written.dropped), (u64::from(KEYS) * 16, 0));
        let after = Limits::new(&rates, &[], NAMES);
        opened.file.restore(&after.parts(), Moment::now()).unwrap();
        assert_eq!(after.tracked(), usize::try_from(KEYS).unwrap());
        assert!(after.message("10.0.0.1".parse().unwrap(), None).is_err());
    }
}
