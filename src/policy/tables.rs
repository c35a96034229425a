//! Lists that policy looks into by name. What they are made of and when they are read again is nobody's business here:
//! those in memory answer at once. Those that have to be asked answer what was [`Told`] before; what policy would have
//! needed beside that stands in the [`Gaps`], and is asked before anybody relies on its answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::TableKind;

/// One list.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// What stands beside the entry that matches, "" when only listed.
    fn find(&self, key: &str) -> Option<String>;

    /// How.
    fn kind(&self) -> TableKind;

    /// Some of its keys with what stands beside them, at most so many, always the same; none where it has no list of keys.
    fn some(&self, max: usize) -> Vec<(String, String)> {
        let _ = max;
        Vec::new()
    }

    /// Whether its answers have to be waited for. It finds nothing by itself then.
    fn is_asked(&self) -> bool {
        false
    }
}

/// What somebody elsewhere says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there, with this beside it.
    Held(String),
    Absent,
    /// There is no answer that counts.
    Doubt,
}

/// A question to a table that has to be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    pub table: String,
    pub key: String,
}

/// What was answered.
#[derive(Debug, Clone, Default)]
pub struct Told(Option<Arc<BTreeMap<Wanted, Found>>>);

impl Told {
    pub fn hear(&mut self, wanted: Wanted, found: Found) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(wanted, found);
    }

    fn get(&self, wanted: &Wanted) -> Option<&Found> {
        self.0.as_ref()?.get(wanted)
    }
}

/// What was not known while policy was asked.
#[derive(Debug, Default)]
pub struct Gaps {
    missing: OnceLock<Wanted>,
    doubt: AtomicBool,
}

/// What policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged<T> {
    Clear(T),
    /// This has to be asked first.
    Ask(Wanted),
    /// Nobody can say for now.
    Doubt,
}

/// A table that has to be asked, as far as it was.
#[derive(Debug)]
struct Asked {
    name: String,
    kind: TableKind,
    told: Told,
    gaps: Arc<Gaps>,
}

impl Lookup for Asked {
    fn find(&self, key: &str) -> Option<String> {
        let wanted = Wanted { table: self.name.clone(), key: key.to_owned() };
        match self.told.get(&wanted) {
            Some(Found::Held(value)) => Some(value.clone()),
            Some(Found::Absent) => None,
            Some(Found::Doubt) => {
                self.gaps.doubt.store(true, Ordering::Relaxed);
                None
            }
            None => {
                // The first is enough: with its answer the others may be of no interest.
                let _ = self.gaps.missing.set(wanted);
                None
            }
        }
    }

    fn kind(&self) -> TableKind {
        self.kind
    }

    fn is_asked(&self) -> bool {
        true
    }
}

/// All that a configuration has, by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tables(Arc<BTreeMap<String, Arc<dyn Lookup>>>);

impl FromIterator<(String, Arc<dyn Lookup>)> for Tables {
    fn from_iter<I: IntoIterator<Item = (String, Arc<dyn Lookup>)>>(tables: I) -> Tables {
        Tables(Arc::new(tables.into_iter().collect()))
    }
}

impl Tables {
    /// What policy says with what was told. It may not depend on anything that is in doubt or was not asked.
    pub fn judge<T>(&self, told: &Told, policy: impl FnOnce(&Tables) -> T) -> Judged<T> {
        if !self.0.values().any(|table| table.is_asked()) {
            return Judged::Clear(policy(self));
        }
        let gaps = Arc::new(Gaps::default());
        let knowing = |(name, table): (&String, &Arc<dyn Lookup>)| {
            let asked =
                || Asked { name: name.clone(), kind: table.kind(), told: told.clone(), gaps: Arc::clone(&gaps) };
            (name.clone(), if table.is_asked() { Arc::new(asked()) as Arc<dyn Lookup> } else { Arc::clone(table) })
        };
        let said = policy(&self.0.iter().map(knowing).collect());
        match gaps.missing.get() {
            Some(wanted) => Judged::Ask(wanted.clone()),
            None if gaps.doubt.load(Ordering::Relaxed) => Judged::Doubt,
            None => Judged::Clear(said),
        }
    }

    /// What stands beside the entry that matches. A table that there is not holds nothing.
    #[must_use]
    pub fn find(&self, table: &str, key: &str) -> Option<String> {
        self.0.get(table)?.find(key)
    }

    #[must_use]
    pub fn contains(&self, table: &str, key: &str) -> bool {
        self.find(table, key).is_some()
    }

    /// Some of its keys with what stands beside them, at most so many, always the same.
    #[must_use]
    pub fn some_of(&self, table: &str, max: usize) -> Vec<(String, String)> {
        self.0.get(table).map(|list| list.some(max)).unwrap_or_default()
    }

    /// Whether an address is listed. Where whole keys are compared, `@example.org` stands for all of its domain; of
    /// the other kinds each has a way of its own to say that.
    #[must_use]
    pub fn has_address(&self, table: &str, address: &str) -> bool {
        let Some(list) = self.0.get(table) else { return false };
        let domain = || address.rsplit_once('@').is_some_and(|(_, domain)| list.find(&format!("@{domain}")).is_some());
        list.find(address).is_some() || (list.kind() == TableKind::Exact && domain())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::config::Relay;
    use crate::policy::relay::{self, Standing};
    use crate::smtp::ForwardPath;

    #[derive(Debug)]
    struct Elsewhere;

    impl Lookup for Elsewhere {
        fn find(&self, _: &str) -> Option<String> {
            None
        }

        fn kind(&self) -> TableKind {
            TableKind::Exact
        }

        fn is_asked(&self) -> bool {
            true
        }
    }

    fn site() -> (Relay, Tables) {
        let names = ["domains", "people"];
        let tables = names.map(|name| (name.to_owned(), Arc::new(Elsewhere) as Arc<dyn Lookup>));
        let relay = Relay {
            domains_table: Some("domains".into()),
            recipients: Some("people".into()),
            domains: vec!["inside.test".into()],
            ..Relay::default()
        };
        (relay, tables.into_iter().collect())
    }

    /// Asks until it is clear, and says how often.
    fn settled(standing: Standing, to: &str, answer: impl Fn(&Wanted) -> Found) -> (Judged<(bool, bool)>, Vec<Wanted>) {
        let (relay, tables) = site();
        let recipient = ForwardPath::parse(to).unwrap();
        let (mut told, mut asked) = (Told::default(), Vec::new());
        loop {
            let judged = tables.judge(&told, |tables| {
                let permitted = relay::permits(&relay, tables, standing, &recipient).is_ok();
                (permitted, permitted && relay::is_known(&relay, tables, &recipient))
            });
            let Judged::Ask(wanted) = judged else { return (judged, asked) };
            assert!(asked.len() < 10 && !asked.contains(&wanted), "{wanted:?} after {asked:?}");
            told.hear(wanted.clone(), answer(&wanted));
            asked.push(wanted);
        }
    }

    #[test]
    fn no_more_is_asked_than_has_to_be_known() {
        let absent = |_: &Wanted| Found::Absent;
        let held = |_: &Wanted| Found::Held(String::new());
        let keys = |asked: Vec<Wanted>| asked.into_iter().map(|wanted| wanted.key).collect::<Vec<_>>();
        let (judged, asked) = settled(Standing::Stranger, "a@elsewhere.test", absent);
        assert_eq!((judged, keys(asked)), (Judged::Clear((false, false)), vec!["elsewhere.test".to_owned()]));
        let (judged, asked) = settled(Standing::Stranger, "A+x@Inside.test", absent);
        assert_eq!(judged, Judged::Clear((true, false)));
        assert_eq!(keys(asked), ["a+x@inside.test", "@inside.test", "a@inside.test"]);
        let (judged, asked) = settled(Standing::Stranger, "a@inside.test", held);
        assert_eq!((judged, keys(asked)), (Judged::Clear((true, true)), vec!["a@inside.test".to_owned()]));
        assert_eq!(settled(Standing::Stranger, "postmaster", absent).1, []);
        assert_eq!(settled(Standing::Stranger, "a%b@elsewhere.test", absent).1, []);
        let away = settled(Standing::Stranger, "a@elsewhere.test", |_| Found::Doubt);
        assert_eq!(away.0, Judged::Doubt);
    }

    proptest! {
        /// Whoever is away: a yes is one that was said, and a no is one that was said.
        #[test]
        fn doubt_is_neither_yes_nor_no(answers in prop::collection::vec(0..3_u8, 10), who in 0..4_usize, trusted: bool) {
            let to = ["a@inside.test", "a+b@inside.test", "a@elsewhere.test", "a+b@elsewhere.test"];
            let answer = |wanted: &Wanted| match answers.get(wanted.key.len() % 10) {
                Some(0) => Found::Doubt,
                Some(1) => Found::Absent,
                _ => Found::Held(String::new()),
            };
            let standing = if trusted { Standing::MayRelay } else { Standing::Stranger };
            let (judged, asked) = settled(standing, to.get(who).unwrap(), answer);
            let said = |found: &Found| asked.iter().any(|wanted| answer(wanted) == *found);
            match judged {
                Judged::Clear(..) => prop_assert!(!said(&Found::Doubt)),
                Judged::Doubt => prop_assert!(said(&Found::Doubt)),
                Judged::Ask(_) => unreachable!(),
            }
            // With everybody away nobody hears yes or no, unless nobody had to be asked.
            let (judged, asked) = settled(standing, to.get(who).unwrap(), |_| Found::Doubt);
            prop_assert_eq!(judged == Judged::Doubt, !asked.is_empty());
        }
    }
}
