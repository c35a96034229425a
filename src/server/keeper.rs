//! Writes down what the gateway remembers, in a thread of its own, and gives it back at the next start. Whatever happens to
//! the file, mail goes on: the gateway then remembers as long as it runs, says why, and tries again.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::gateway::Gateway;
use crate::config::Snapshot;
use crate::report::Metrics;
use crate::state::counters::CountersPart;
use crate::state::keyed::HashKey;
use crate::state::kv::KvPart;
use crate::state::snapshot::{File, Moment, Opened, Part, SnapshotError};

/// For the last snapshot, when the process is to end.
const LAST_WRITE_MAX: Duration = Duration::from_secs(60);
/// What can be asked of the thread while it writes.
const ORDERS_MAX: usize = 16;
/// How often the same trouble is told.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);

/// What was found at the start.
#[derive(Debug)]
pub struct Found {
    /// None where the file is of no use now.
    file: Option<File>,
    /// What names are to be hashed with.
    pub names: HashKey,
    written_ms: Option<u64>,
}

/// The thread that writes. It ends with this.
#[derive(Debug)]
pub struct Keeper {
    settings: Snapshot,
    orders: SyncSender<Order>,
}

#[derive(Debug)]
enum Order {
    /// Now, and who waits for it.
    Write(oneshot::Sender<()>),
    Settings(Snapshot),
}

impl Found {
    /// Nothing is kept.
    #[must_use]
    pub fn nothing() -> Found {
        Found { file: None, names: HashKey::random(), written_ms: None }
    }

    /// Opens the file. What keeps it from being of use is told, and nothing is remembered then. Blocks.
    ///
    /// # Errors
    /// Another process has it: two gateways would forget in turns what the other wrote.
    pub fn open(settings: &Snapshot) -> Result<Found, SnapshotError> {
        match File::open(&settings.path) {
            Ok(Opened { file, key, written_ms, aside }) => {
                if let Some((aside, why)) = aside {
                    let (path, aside) = (settings.path.display(), aside.display());
                    tracing::error!(%path, %aside, why, "the snapshot was of no use and was moved aside: starting without");
                }
                Ok(Found { file: Some(file), names: key, written_ms })
            }
            Err(error @ SnapshotError::Locked(_)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "no snapshot: what is counted and kept ends with this process");
                Ok(Found::nothing())
            }
        }
    }

    /// Gives the gateway back what it knew. To be called before anybody connects. Blocks.
    pub fn restore(&mut self, gateway: &Gateway) {
        let (Some(file), Some(written_ms)) = (&self.file, self.written_ms) else { return };
        let now = Moment::now();
        let moment = now.not_before(written_ms);
        let path = file.path().display();
        if now.wall_ms() < written_ms {
            tracing::warn!(%path, "the snapshot is from the future: the clock was set back, what expires does so later");
        }
        match file.restore(&gateway.parts(), moment) {
            Ok(parts) => {
                let age_seconds = moment.since(written_ms).as_secs();
                tracing::info!(%path, parts, age_seconds, "what was known before the start is known again");
            }
            Err(error) => {
                tracing::error!(%error, "the snapshot could not be read to its end: the rest begins anew");
                // Opened again before the next write, and judged anew then.
                self.file = None;
            }
        }
    }
}

impl Keeper {
    /// Begins to write. `None` for the file: it is opened later, if that is possible then.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(found: Found, settings: Snapshot, gateway: &Arc<Gateway>) -> std::io::Result<Keeper> {
        let (orders, ordered) = mpsc::sync_channel(ORDERS_MAX);
        let thread = Thread {
            settings: settings.clone(),
            names: gateway.names(),
            file: found.file,
            gateway: Arc::downgrade(gateway),
            metrics: gateway.metrics().clone(),
            trouble: None,
        };
        std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || thread.run(&ordered))?;
        Ok(Keeper { settings, orders })
    }

    #[must_use]
    pub fn settings(&self) -> &Snapshot {
        &self.settings
    }

    /// Other times and sizes, for the same file.
    pub fn change(&mut self, settings: &Snapshot) {
        if self.settings != *settings && self.orders.try_send(Order::Settings(settings.clone())).is_ok() {
            self.settings = settings.clone();
        }
    }

    /// Writes once more, and waits for it, but not for ever.
    pub async fn finish(self) {
        let (done, finished) = oneshot::channel();
        if self.orders.try_send(Order::Write(done)).is_ok()
            && tokio::time::timeout(LAST_WRITE_MAX, finished).await.is_err()
        {
            tracing::error!(seconds = LAST_WRITE_MAX.as_secs(), "the last snapshot took too long and is given up");
        }
    }
}

struct Thread {
    settings: Snapshot,
    names: HashKey,
    file: Option<File>,
    gateway: Weak<Gateway>,
    metrics: Metrics,
    /// What was told last, and when.
    trouble: Option<(String, Instant)>,
}

impl Thread {
    fn run(mut self, ordered: &Receiver<Order>) {
        let mut next = Instant::now() + self.settings.every;
        loop {
            match ordered.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Order::Settings(settings)) => self.settings = settings,
                Ok(Order::Write(done)) => {
                    self.write();
                    // Whoever asked may be gone.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.write(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            next = Instant::now() + self.settings.every;
        }
    }

    fn write(&mut self) {
        let Some(gateway) = self.gateway.upgrade() else { return };
        let began = Instant::now();
        match self.try_write(&gateway.parts()) {
            Ok(written) => {
                let took = began.elapsed();
                self.metrics.snapshot(Ok((took, written.bytes)));
                tracing::debug!(bytes = written.bytes, ms = took.as_millis(), "snapshot written");
                let trouble = (written.dropped > 0).then(|| "there is more to remember than snapshot-size".to_owned());
                let was = self.trouble.is_some();
                if let Some(why) = trouble {
                    if self.is_news(&why) {
                        tracing::warn!(records = written.dropped, "{why}: what expires first was left out");
                    }
                } else if was {
                    self.trouble = None;
                    tracing::info!("the snapshot is written as a whole again");
                }
            }
            Err(error) => {
                // After an error redb wants to be opened anew.
                self.file = None;
                self.metrics.snapshot(Err(()));
                if self.is_news(&error.to_string()) {
                    tracing::error!(%error, "the snapshot cannot be written: what is counted and kept ends with this process");
                }
            }
        }
    }

    fn try_write(&mut self, parts: &[Box<dyn Part>]) -> Result<crate::state::snapshot::Written, SnapshotError> {
        if self.file.is_none() {
            let opened = File::open(&self.settings.path)?;
            if let Some((aside, why)) = opened.aside {
                tracing::error!(aside = %aside.display(), why, "the snapshot was of no use and was moved aside");
            }
            self.file = Some(opened.file);
        }
        let Some(file) = &mut self.file else { return Ok(crate::state::snapshot::Written::default()) };
        file.write(self.names, parts, self.settings.bytes_max, Moment::now)
    }

    fn is_news(&mut self, what: &str) -> bool {
        let known = self.trouble.as_ref().filter(|(told, _)| told == what);
        let news = known.is_none_or(|(_, at)| at.elapsed() >= TOLD_EVERY);
        if news {
            self.trouble = Some((what.to_owned(), Instant::now()));
        }
        news
    }
}

impl Gateway {
    /// All that remembers, what would be missed most first.
    pub(super) fn parts(&self) -> Vec<Box<dyn Part>> {
        let mut parts: Vec<Box<dyn Part>> = Vec::new();
        let mut numbers: Vec<Box<dyn Part>> = Vec::new();
        for program in self.generation().chain().programs() {
            let profile = program.profile();
            let memory = profile.memory.kept();
            if profile.config.grants.kv.is_some() {
                parts.push(Box::new(KvPart(Arc::clone(&profile.name), Arc::clone(&memory.kv))));
            }
            if profile.config.grants.counters {
                numbers.push(Box::new(CountersPart(Arc::clone(&profile.name), Arc::clone(&memory.counters))));
            }
        }
        parts.push(Box::new(Arc::clone(&self.addresses)));
        parts.extend(self.limits.parts());
        parts.extend(numbers);
        parts
    }
}
