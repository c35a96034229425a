//! Which server is tried first, and which are left alone for a while. Pure: time and chance are arguments.
//!
//! A server that failed to give a connection is out for a second, twice as long after each further failure, at most a
//! minute. Being out only means that the others go first: when all are out, each is tried all the same, so that
//! nobody is sent away for what was true a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Server;

/// The first time out.
const OUT_MIN: Duration = Duration::from_secs(1);
/// The longest time out.
const OUT_MAX: Duration = Duration::from_secs(60);
/// Servers remembered; SRV records may name others every hour, and those of yesterday are forgotten.
const REMEMBERED_MAX: usize = 128;

/// `host:port`, as it is dialled, logged and counted.
pub(super) fn shown(server: &Server) -> String {
    if server.host.contains(':') {
        format!("[{}]:{}", server.host, server.port)
    } else {
        format!("{}:{}", server.host, server.port)
    }
}

/// What happened to a server that somebody may want to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Went,
    Came,
}

#[derive(Debug, Clone, Copy)]
struct Out {
    failures: u32,
    until: Instant,
}

/// Which servers failed last time.
#[derive(Debug, Default)]
pub(super) struct Health {
    out: Mutex<HashMap<(String, u16), Out>>,
}

impl Health {
    /// It gave no connection.
    pub(super) fn failed(&self, server: &Server, now: Instant) -> Option<Change> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server.host.clone(), server.port);
        if out.len() >= REMEMBERED_MAX && !out.contains_key(&key) {
            out.retain(|_, known| known.until > now);
            if out.len() >= REMEMBERED_MAX {
                return None;
            }
        }
        let before = out.get(&key).map_or(0, |known| known.failures);
        let time = OUT_MAX.min(OUT_MIN * 2_u32.saturating_pow(before.min(16)));
        out.insert(key, Out { failures: before.saturating_add(1), until: now + time });
        (before == 0).then_some(Change::Went)
    }

    /// It gave one.
    pub(super) fn well(&self, server: &Server) -> Option<Change> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.is_empty() {
            return None;
        }
        out.remove(&(server.host.clone(), server.port)).map(|_| Change::Came)
    }

    fn out_until(&self, server: &Server, now: Instant) -> Option<Instant> {
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.is_empty() {
            return None;
        }
        out.get(&(server.host.clone(), server.port)).map(|known| known.until).filter(|until| *until > now)
    }
}

/// The order in which servers are tried: by priority, and by chance and weight within one (RFC 2782); after them
/// those that are out, the soonest back first.
pub(super) fn in_order(
    servers: &[Arc<Server>],
    health: &Health,
    now: Instant,
    mut chance: impl FnMut() -> u64,
) -> Vec<Arc<Server>> {
    if servers.len() < 2 {
        return servers.to_vec();
    }
    let mut out: Vec<(Instant, Arc<Server>)> = Vec::new();
    let mut left: Vec<Arc<Server>> = Vec::new();
    for server in servers {
        match health.out_until(server, now) {
            Some(until) => out.push((until, server.clone())),
            None => left.push(server.clone()),
        }
    }
    left.sort_by_key(|server| server.priority);
    let mut order = Vec::with_capacity(servers.len());
    while let Some(best) = left.first().map(|server| server.priority) {
        let equals = left.iter().take_while(|server| server.priority == best);
        let total: u64 = equals.clone().map(|server| u64::from(server.weight.max(1))).sum();
        let mut ticket = chance() % total.max(1);
        let mut chosen = 0;
        for (place, server) in equals.enumerate() {
            let share = u64::from(server.weight.max(1));
            chosen = place;
            if ticket < share {
                break;
            }
            ticket -= share;
        }
        order.push(left.remove(chosen));
    }
    out.sort_by_key(|(until, server)| (*until, server.priority));
    order.extend(out.into_iter().map(|(_, server)| server));
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn server(host: &str, priority: u16, weight: u16) -> Arc<Server> {
        Arc::new(Server { host: host.to_owned(), port: 25, priority, weight })
    }

    fn hosts(order: &[Arc<Server>]) -> Vec<&str> {
        order.iter().map(|server| server.host.as_str()).collect()
    }

    #[test]
    fn priority_first_then_weight_by_chance() {
        let servers = [server("backup", 10, 1), server("small", 0, 1), server("large", 0, 3)];
        let (health, now) = (Health::default(), Instant::now());
        let mut first = HashMap::new();
        for ticket in 0..400 {
            let order = in_order(&servers, &health, now, || ticket);
            assert_eq!(order.len(), 3);
            assert_eq!(order[2].host, "backup");
            *first.entry(order[0].host.clone()).or_insert(0) += 1;
        }
        assert_eq!((first["small"], first["large"]), (100, 300));
        let unweighted = [server("a", 0, 0), server("b", 0, 0)];
        assert_eq!(hosts(&in_order(&unweighted, &health, now, || 1)), ["b", "a"], "RFC 2782 allows a weight of 0");
    }

    #[test]
    fn who_fails_is_out_for_a_growing_bounded_while() {
        let servers = [server("one", 0, 1), server("two", 1, 1)];
        let health = Health::default();
        let mut now = Instant::now();
        let order = |now| hosts(&in_order(&servers, &health, now, || 0))[0].to_owned();
        assert_eq!(health.failed(&servers[0], now), Some(Change::Went));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(order(now), "two");
            assert_eq!(order(now + Duration::from_secs(seconds) - Duration::from_millis(1)), "two");
            now += Duration::from_secs(seconds);
            assert_eq!(order(now), "one", "after {seconds} s it is tried again");
            assert_eq!(health.failed(&servers[0], now), None);
        }
        assert_eq!(health.well(&servers[0]), Some(Change::Came));
        assert_eq!(health.well(&servers[0]), None);
        assert_eq!(order(now), "one");
        assert_eq!(health.failed(&servers[0], now), Some(Change::Went));
        assert_eq!(order(now + Duration::from_secs(1)), "one", "it begins with a second again");
    }

    #[test]
    fn when_all_are_out_each_is_tried_all_the_same() {
        let servers = [server("one", 0, 1), server("two", 1, 1)];
        let (health, now) = (Health::default(), Instant::now());
        health.failed(&servers[0], now);
        health.failed(&servers[0], now);
        health.failed(&servers[1], now);
        assert_eq!(hosts(&in_order(&servers, &health, now, || 0)), ["two", "one"]);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (health, now) = (Health::default(), Instant::now());
        for number in 0..2 * REMEMBERED_MAX {
            health.failed(&server(&format!("host{number}"), 0, 1), now);
        }
        assert_eq!(health.out.lock().unwrap().len(), REMEMBERED_MAX);
        health.failed(&server("late", 0, 1), now + OUT_MAX);
        assert_eq!(health.out.lock().unwrap().len(), 1);
    }
}
