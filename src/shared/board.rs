//! What is known of the servers, for the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::RedisServer;
use crate::report::Seldom;
use crate::report::shared as told;

/// All servers of one configuration.
#[derive(Debug, Default)]
pub(super) struct Board {
    servers: Mutex<BTreeMap<String, Seen>>,
    /// Of a cluster: those that have a part of it, and whether that is all of it.
    needed: Mutex<Option<(BTreeSet<String>, bool)>>,
    /// Whether it was ever known of all of them how they are, or waited for in vain.
    first_known: watch::Sender<bool>,
    went: Seldom,
    came: Seldom,
    odd: Seldom,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    state: Known,
}

#[derive(Debug)]
enum Known {
    /// Nobody has asked it yet.
    Unknown,
    There(RedisServer),
    Away(String),
}

impl Board {
    pub(super) fn listed(&self, name: &str) {
        let seen = || Seen { since: Instant::now(), state: Known::Unknown };
        self.lock().entry(name.to_owned()).or_insert_with(seen);
        self.tell();
    }

    /// It belongs to the cluster no more.
    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
        self.tell();
    }

    pub(super) fn there(&self, name: &str, server: &RedisServer) {
        self.note(name, Known::There(server.clone()));
        told::there(&self.came, name, Instant::now());
    }

    pub(super) fn away(&self, name: &str, why: &str) {
        self.note(name, Known::Away(why.to_owned()));
        told::away(&self.went, name, why, Instant::now());
    }

    pub(super) fn odd(&self, name: &str, why: &str) {
        told::odd(&self.odd, name, why, Instant::now());
    }

    /// Of a cluster: who has a part of it, and whether every part has somebody.
    pub(super) fn needed(&self, names: BTreeSet<String>, whole: bool) {
        *self.needed.lock().unwrap_or_else(PoisonError::into_inner) = Some((names, whole));
        self.tell();
    }

    /// Whether every server is there that anything is kept on.
    pub(super) fn all_up(&self) -> bool {
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = self.lock();
        let up = |name: &String| matches!(servers.get(name).map(|seen| &seen.state), Some(Known::There(_)));
        match &*needed {
            Some((names, whole)) => *whole && names.iter().all(up),
            None => !servers.is_empty() && servers.keys().all(up),
        }
    }

    /// Waits until that is known for the first time: at the start, and after a reload that names others. Nobody does so
    /// again when it took too long. False: there was nothing to wait for, or it was in vain.
    pub(super) async fn becomes_known(&self, wait_max: Duration) -> bool {
        let mut known = self.first_known.subscribe();
        if *known.borrow() {
            return false;
        }
        let became = timeout(wait_max, known.wait_for(|known| *known)).await.is_ok();
        self.first_known.send_replace(true);
        became
    }

    /// Of a cluster: of all that have a part of it; while nobody knows who they are, that nobody can tell.
    fn all_known(&self) -> bool {
        let needed = self.needed.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = self.lock();
        let known = |name: &String| !matches!(servers.get(name).map(|seen| &seen.state), None | Some(Known::Unknown));
        match &*needed {
            None => servers.keys().all(known),
            Some((names, _)) if names.is_empty() => servers.values().all(|seen| matches!(seen.state, Known::Away(_))),
            Some((names, _)) => names.iter().all(known),
        }
    }

    pub(super) fn shown(&self) -> Vec<serde_json::Value> {
        let shown = |(name, seen): (&String, &Seen)| {
            let (state, used, why) = match &seen.state {
                Known::Unknown => ("unknown", None, None),
                Known::There(server) => ("up", Some(server.to_string()), None),
                Known::Away(why) => ("away", None, Some(why)),
            };
            serde_json::json!({
                "server": name,
                "state": state,
                "used": used,
                "error": why,
                "seconds": seen.since.elapsed().as_secs(),
            })
        };
        self.lock().iter().map(shown).collect()
    }

    fn note(&self, name: &str, state: Known) {
        if let Some(seen) = self.lock().get_mut(name) {
            let same =
                matches!((&seen.state, &state), (Known::Away(_), Known::Away(_)) | (Known::There(_), Known::There(_)));
            if !same {
                seen.since = Instant::now();
            }
            seen.state = state;
        }
        self.tell();
    }

    fn tell(&self) {
        told::up(self.all_up());
        if !*self.first_known.borrow() && self.all_known() {
            self.first_known.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
