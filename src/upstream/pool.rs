//! Connections between two clients: how many there may be, and which of them wait for the next client.
//!
//! It refuses to keep many, or long: an idle connection holds a process of the upstream. What may pass from one
//! client to the next is not decided here but in [`Connection::release`](super::Connection::release).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::error::UpstreamError;
use crate::config::{self, Server};

/// The right to have a connection; given back when it is dropped. `None`: there is no cap.
pub(super) type Place = Option<OwnedSemaphorePermit>;

#[derive(Debug)]
pub(super) struct Pool {
    /// Places of connections in use, idle ones not included. Waiters are served in their order.
    places: Option<Arc<Semaphore>>,
    places_max: usize,
    idle_max: usize,
    idle_time: Duration,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The last to come is the first to go. At most `idle_max`.
    waiting: VecDeque<(Instant, Box<Connection>)>,
    /// Somebody closes them in time.
    watched: bool,
    /// The generation is over: nothing waits any more.
    retired: bool,
}

/// Which of those that wait would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Any,
    /// One that was never told of a client.
    Untold,
}

impl Pool {
    pub(super) fn new(settings: &config::Pool) -> Pool {
        let places_max = settings.connections.and_then(|max| usize::try_from(max).ok());
        Pool {
            places: places_max.map(|max| Arc::new(Semaphore::new(max))),
            places_max: places_max.unwrap_or(usize::MAX),
            idle_max: usize::try_from(settings.idle_connections).unwrap_or(usize::MAX),
            idle_time: settings.idle_time,
            idle: Mutex::default(),
        }
    }

    /// Waits for a place, in turn, at most for `limit`. As many wait as there are sessions.
    pub(super) async fn place(&self, limit: Duration) -> Result<Place, UpstreamError> {
        let Some(places) = &self.places else { return Ok(None) };
        match timeout(limit, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Busy),
        }
    }

    /// A place if there is one now.
    pub(super) fn place_now(&self) -> Result<Place, UpstreamError> {
        let Some(places) = &self.places else { return Ok(None) };
        Arc::clone(places).try_acquire_owned().map(Some).map_err(|_| UpstreamError::Busy)
    }

    /// One that waits for a client of this server. Whether it still lives is for the caller to see.
    pub(super) fn take(&self, server: &Server, fit: Fit) -> Option<Box<Connection>> {
        let mut idle = self.idle();
        let fits =
            |connection: &Connection| *connection.server() == *server && (fit == Fit::Any || connection.is_untold());
        let place = idle.waiting.iter().rposition(|(_, connection)| fits(connection))?;
        idle.waiting.remove(place).map(|(_, connection)| connection)
    }

    /// One that has to go, so that those in use (one more now) and those that wait are not more than there may be.
    pub(super) fn make_room(&self) -> Option<Box<Connection>> {
        let places = self.places.as_ref()?;
        let in_use = self.places_max.saturating_sub(places.available_permits());
        let mut idle = self.idle();
        if in_use + idle.waiting.len() <= self.places_max {
            return None;
        }
        idle.waiting.pop_front().map(|(_, connection)| connection)
    }

    /// Keeps a connection for the next client, or hands it back when there is no room. With it comes whether
    /// somebody has to be found who [`look`](Pool::look)s after those that wait.
    pub(super) fn keep(&self, mut connection: Box<Connection>) -> Result<Watch, Box<Connection>> {
        let mut idle = self.idle();
        if idle.retired || idle.waiting.len() >= self.idle_max {
            return Err(connection);
        }
        let place = connection.give_place_back();
        idle.waiting.push_back((Instant::now(), connection));
        // Whoever has waited for this place finds the connection.
        drop(place);
        Ok(if std::mem::replace(&mut idle.watched, true) { Watch::Kept } else { Watch::Wanted })
    }

    /// Those that have waited for too long, and when to look again; `None` when nothing waits any more.
    pub(super) fn look(&self, now: Instant) -> (Vec<Connection>, Option<Instant>) {
        let mut idle = self.idle();
        let mut over = Vec::new();
        while idle.waiting.front().is_some_and(|(since, _)| *since + self.idle_time <= now) {
            over.extend(idle.waiting.pop_front().map(|(_, connection)| *connection));
        }
        let next = idle.waiting.front().map(|(since, _)| *since + self.idle_time);
        idle.watched = next.is_some();
        (over, next)
    }

    /// Keeps nothing from now on, and hands out what it has.
    pub(super) fn retire(&self) -> Vec<Connection> {
        let mut idle = self.idle();
        idle.retired = true;
        idle.waiting.drain(..).map(|(_, connection)| *connection).collect()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.idle().retired
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody looks after those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Kept,
    Wanted,
}
