//! What a child process says, line by line, and how to wait until it has said something.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow machine. Reaching it is a failure, not a measurement.
const WAIT: Duration = Duration::from_secs(60);

/// Lines that a thread reads from a pipe until the other end is closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Starts to read.
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Log {
        let log = Log::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                writer.change(|lines| lines.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            writer.change(|lines| lines.ended = true);
        });
        log
    }

    /// The first line, said already or yet to come, that has all of `parts`. Panics with the whole log when the
    /// process ends without it or is silent for too long.
    pub(crate) fn wait_for(&self, parts: &[&str]) -> String {
        let until = Instant::now() + WAIT;
        let (lock, news) = &*self.shared;
        let mut lines = lock.lock().unwrap();
        loop {
            if let Some(line) = lines.lines.iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!lines.ended && !left.is_zero(), "nobody said {parts:?} in:\n{}", lines.lines.join("\n"));
            lines = news.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits until so many lines have all of `parts`.
    pub(crate) fn wait_for_count(&self, parts: &[&str], count: usize) {
        let (lock, news) = &*self.shared;
        let mut until = Instant::now() + WAIT;
        let (mut lines, mut seen) = (lock.lock().unwrap(), 0);
        loop {
            let found = lines.lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count();
            if found >= count {
                return;
            }
            // As long as there are more, there is patience.
            if found > seen {
                (seen, until) = (found, Instant::now() + WAIT);
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!lines.ended && !left.is_zero(), "{found} of {count} lines with {parts:?}");
            lines = news.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.shared.0.lock().unwrap().lines.join("\n")
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        let (lock, news) = &*self.shared;
        change(&mut lock.lock().unwrap());
        news.notify_all();
    }
}
