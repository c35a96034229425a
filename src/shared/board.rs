//! What is known of the servers, for the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::RedisServer;
use crate::report::Seldom;
use crate::report::shared as told;

/// All servers of one configuration.
#[derive(Debug, Default)]
pub(super) struct Board {
    servers: Mutex<BTreeMap<String, Seen>>,
    /// Of a cluster: those that have a part of it, and whether that is all of it.
    needed: Mutex<Option<(BTreeSet<String>, bool)>>,
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
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
