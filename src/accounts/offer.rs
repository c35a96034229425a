//! Which mechanisms are offered, as far as backends say themselves what they have: it changes when one of them is
//! reached, and when it came back as another one.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Current;
use super::backend::Backend;
use super::remote::Remote;
use crate::smtp::sasl::{Mechanism, Mechanisms, Name, Served, Way};

/// How often backends that could not be reached, or are gone, are looked for.
const LEARN_EVERY: Duration = Duration::from_secs(15);

/// What each backend that is asked over a connection said it has. None: it was never reached.
type Known = Vec<Option<Arc<Vec<Name>>>>;

pub(super) struct Offer {
    /// As `[auth] mechanisms` names them.
    named: Option<Vec<Name>>,
    last: Mutex<Option<(Known, Arc<Served>)>>,
}

impl Offer {
    pub(super) fn of(named: Option<Vec<Name>>) -> Offer {
        Offer { named, last: Mutex::default() }
    }

    /// What can be offered now.
    pub(super) fn now(&self, backends: &[Backend]) -> Arc<Served> {
        let known: Known = backends.iter().filter_map(Backend::remote).map(|remote| remote.offered()).collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, served)) = last.as_ref().filter(|(before, _)| *before == known) {
            return Arc::clone(served);
        }
        let served = match &self.named {
            Some(named) => named.iter().filter_map(|name| way(backends, *name)).fold(Served::default(), Served::and),
            None => unasked(backends),
        };
        let served = Arc::new(served);
        *last = Some((known, Arc::clone(&served)));
        served
    }
}

/// Who serves a mechanism.
pub(super) fn way(backends: &[Backend], name: Name) -> Option<Way> {
    Way::of(name, backends.iter().map(|backend| (backend.serves(), backend.relays(name))))
}

/// What is offered where the file does not say. Programs use what they know best, and fail where the account is in
/// another backend: so SCRAM only where everybody has keys for it, and what is relayed only where no other backend takes
/// passwords. Those who have tokens have no password, and their programs know it.
fn unasked(backends: &[Backend]) -> Served {
    let served = backends.iter().fold(Mechanisms::NONE, |all, backend| all.or(backend.serves()));
    let takes_more =
        |backend: &&Backend| backend.serves().is_empty() || !backend.serves().without(Mechanisms::TOKENS).is_empty();
    let with_passwords: Vec<&Backend> = backends.iter().filter(takes_more).collect();
    let scram = with_passwords.iter().fold(Mechanisms::SCRAM.and(served), |all, backend| all.and(backend.serves_all()));
    let here = Served::here(served.without(Mechanisms::SCRAM).or(scram));
    let only = match with_passwords.as_slice() {
        [only] => only.remote().and_then(|remote| remote.offered()).unwrap_or_default(),
        _ => Arc::default(),
    };
    let relayed = only.iter().filter(|name| name.can_be_relayed());
    relayed.filter_map(|name| way(backends, *name)).fold(here, Served::and)
}

/// Whether somebody could use it, as far as the file can tell.
pub(super) fn in_vain(backends: &[Backend], named: &[Name]) -> Vec<Name> {
    let external = Name::from(Mechanism::External);
    named.iter().copied().filter(|name| *name != external && way(backends, *name).is_none()).collect()
}

/// Looks for those that are not reached, again and again, until these accounts are those of the past.
pub(super) async fn learn(current: Weak<Current>) {
    loop {
        let remotes: Vec<Arc<Remote>> = match current.upgrade() {
            Some(current) => current.backends.iter().filter_map(Backend::remote).cloned().collect(),
            None => return,
        };
        let mut all = true;
        for remote in remotes {
            all &= remote.learn().await;
        }
        if all {
            return;
        }
        tokio::time::sleep(LEARN_EVERY).await;
    }
}
