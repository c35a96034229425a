//! Many messages, several at once, reported in their order, with a bar that says how far it is.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::mails::{Mail, Mails};
use super::super::trouble::{EXIT_SOFTWARE, Trouble};
use super::has_terminal;

/// How often the bar is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// Columns of it.
const BAR_COLUMNS: usize = 30;
/// Results on their way for each job.
const AHEAD: usize = 4;

/// What could not be read.
pub(super) type Unread = Vec<(PathBuf, io::Error)>;

/// How many jobs are meant: 0 is one for each processor.
pub(super) fn jobs(said: u16) -> u32 {
    match said {
        0 => std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        said => u32::from(said),
    }
}

struct Queue {
    mails: Mails,
    number: u64,
}

enum Item<T> {
    Done(T),
    Unread(PathBuf, io::Error),
}

/// A result with the place of its message, and how many octets of how many were read by then.
type Arrived<T> = (u64, Item<T>, (u64, u64));

/// Has each message worked on, and takes the results in the order of the messages.
pub(super) fn each<T: Send>(
    mails: Mails,
    jobs: u32,
    work: &(impl AsyncFn(String, Mail) -> T + Sync),
    mut take: impl FnMut(T) -> Result<(), Trouble>,
) -> Result<Unread, Trouble> {
    let queue = Mutex::new(Queue { mails, number: 0 });
    let (tell, results) = sync_channel(AHEAD * jobs as usize);
    let mut unread = Unread::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (queue, tell) = (&queue, tell.clone());
            scope.spawn(move || job(queue, work, &tell));
        }
        drop(tell);
        let mut bar = Bar::new();
        let (mut due, mut early) = (0, BTreeMap::new());
        // Taken by value: when it is left, the jobs find nobody to tell and end.
        for (place, item, read) in results {
            early.insert(place, item);
            while let Some(item) = early.remove(&due) {
                due += 1;
                match item {
                    Item::Done(result) => {
                        bar.clear();
                        take(result)?;
                    }
                    Item::Unread(path, why) => unread.push((path, why)),
                }
            }
            bar.draw(due, read);
        }
        bar.clear();
        Ok::<(), Trouble>(())
    })?;
    let left = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if left.mails.octets_read == 0 && left.number > 0 && unread.is_empty() && left.mails.octets > 0 {
        return Err(Trouble::new(EXIT_SOFTWARE, "no job could be started", "try --jobs 1"));
    }
    Ok(unread)
}

/// Works on one message after the other. Each job has a runtime of its own, so that the processor time of its thread is
/// that of its messages.
fn job<T>(queue: &Mutex<Queue>, work: &impl AsyncFn(String, Mail) -> T, tell: &SyncSender<Arrived<T>>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    loop {
        let (place, next, read) = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(next) = queue.mails.next() else { return };
            let place = queue.number;
            queue.number += 1;
            (place, next, (queue.mails.octets_read, queue.mails.octets))
        };
        let item = match next {
            Ok(mail) => Item::Done(runtime.block_on(work(format!("run-{place}"), mail))),
            Err((path, why)) => Item::Unread(path, why),
        };
        if tell.send((place, item, read)).is_err() {
            return;
        }
    }
}

/// On a terminal's standard error.
struct Bar {
    begun: Instant,
    drawn: Option<Instant>,
    shown: bool,
}

impl Bar {
    fn new() -> Bar {
        Bar { begun: Instant::now(), drawn: None, shown: has_terminal() }
    }

    fn draw(&mut self, messages: u64, (read, of): (u64, u64)) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAWN_EVERY);
        if !self.shown || !due || self.begun.elapsed() < DRAWN_EVERY {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = if of == 0 { 0.0 } else { read as f64 / of as f64 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the columns")]
        let full = ((share * BAR_COLUMNS as f64) as usize).min(BAR_COLUMNS);
        let (full, empty) = ("#".repeat(full), ".".repeat(BAR_COLUMNS - full));
        let per_second = messages as f64 / self.begun.elapsed().as_secs_f64();
        let mut out = io::stderr().lock();
        // A bar that cannot be drawn is not missed.
        let _ = write!(out, "\r\x1b[K[{full}{empty}] {:3.0} %  {messages} messages, {per_second:.0}/s", share * 100.0);
        let _ = out.flush();
    }

    fn clear(&mut self) {
        if self.shown && self.drawn.is_some() {
            let mut out = io::stderr().lock();
            let _ = write!(out, "\r\x1b[K");
            let _ = out.flush();
        }
    }
}
