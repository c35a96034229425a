//! What client, upstream and network of one cell share, and what came of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use wasmilter::config;
use wasmilter::net::dial::Dial;
use wasmilter::net::tls::{self, Acceptor};
use wasmilter::report::Metrics;
use wasmilter::server::{Environment, Gateway, Generation};

use super::cell::{Cell, Fault, Leaving, Moment, Place, Way};

/// The gateway's waits, each of another length: so the time that passed says which one it was.
pub(crate) const WAITS: [(&str, u64); 9] = [
    ("upstream-connect", 3),
    ("upstream-greeting", 5),
    ("upstream-command", 8),
    ("upstream-data", 12),
    ("upstream-write", 17),
    ("upstream-final", 23),
    ("command", 31),
    ("data", 40),
    ("write", 50),
];

/// Something that happens once.
#[derive(Debug, Default)]
pub(crate) struct Event {
    happened: AtomicBool,
    waiting: Notify,
}

impl Event {
    pub(crate) fn happen(&self) {
        self.happened.store(true, Ordering::SeqCst);
        self.waiting.notify_waiters();
    }

    pub(crate) fn has_happened(&self) -> bool {
        self.happened.load(Ordering::SeqCst)
    }

    pub(crate) async fn wait(&self) {
        loop {
            let waiting = self.waiting.notified();
            if self.has_happened() {
                return;
            }
            waiting.await;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) way: Way,
    pub(crate) cell: Cell,
    /// The fault has befallen the upstream, or the client has left.
    pub(crate) struck: Event,
    /// The upstream has seen a final dot.
    pub(crate) dotted: Event,
    /// The upstream is well again.
    pub(crate) well: Event,
    /// The upstream's machine is to be gone.
    pub(crate) died: Event,
    /// Messages of which the upstream has seen the final dot.
    pub(crate) accepted: Mutex<Vec<String>>,
    /// The upstream's certificate and key, in files.
    identity: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new(way: Way, cell: Cell) -> Arc<Stage> {
        let made = tls::self_signed(&["upstream.test"]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("certificate.pem"), &made.certificate_pem).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.key_pem.as_bytes()).unwrap();
        Arc::new(Stage {
            way,
            cell,
            struck: Event::default(),
            dotted: Event::default(),
            well: Event::default(),
            died: Event::default(),
            accepted: Mutex::default(),
            identity: folder,
        })
    }

    /// The fault, if it befalls the upstream here.
    pub(crate) fn fault(&self, place: Place) -> Option<Fault> {
        match self.cell {
            Cell::Upstream(at, fault) if at == place && !self.well.has_happened() => Some(fault),
            _ => None,
        }
    }

    /// How the client leaves, if it does so now.
    pub(crate) fn leaving(&self, moment: Moment) -> Option<Leaving> {
        match self.cell {
            Cell::Client(at, leaving) if at == moment => Some(leaving),
            _ => None,
        }
    }

    pub(crate) fn wants_tls(&self) -> bool {
        matches!(self.cell, Cell::Upstream(place, _) if place.wants_tls())
    }

    pub(crate) fn acceptor(&self) -> Acceptor {
        let file = |name| self.identity.path().join(name);
        let files = config::TlsFiles::one(file("certificate.pem"), file("key.pem"));
        Acceptor::new(&tls::Identity::load(&files, std::time::SystemTime::now()).unwrap()).unwrap()
    }

    /// A gateway in front of this upstream.
    pub(crate) fn gateway(&self, upstream: SocketAddr, dialer: Option<Arc<dyn Dial>>) -> Arc<Gateway> {
        let tls = if self.wants_tls() {
            let file = self.identity.path().join("certificate.pem");
            format!("tls = \"verify\"\ntls-name = \"upstream.test\"\ntls-ca = {file:?}\n")
        } else {
            String::new()
        };
        let connect = self.way.connect;
        let waits: String = WAITS.iter().map(|(name, seconds)| format!("{name} = \"{seconds}s\"\n")).collect();
        let text = format!(
            "hostname = \"mx.example.org\"\n[upstream]\naddress = \"{upstream}\"\nconnect = \"{connect}\"\n{tls}\
             [relay]\ndomains = [\"example.org\"]\n[resolver]\npeer-names = false\n\
             [timeouts]\n{waits}handshake = \"{}s\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n",
            WAITS[2].1
        );
        let config = config::parse(&text, "faults.toml", &|_| None).unwrap_or_else(|error| panic!("{error}"));
        let environment =
            dialer.map_or_else(Environment::default, |dialer| Environment { dialer, ..Environment::default() });
        let generation = Generation::build_with(config, None, environment).unwrap();
        Gateway::new(generation, Metrics::detached().unwrap())
    }
}

/// One answer to the client, or the end of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) asked: &'static str,
    /// The first line of it; None: the gateway closed.
    pub(crate) answer: Option<String>,
    pub(crate) after: Duration,
}

impl Told {
    pub(crate) fn class(&self) -> u8 {
        self.answer.as_deref().map_or(0, |answer| answer.as_bytes()[0] - b'0')
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// All that the client was told while the fault lasted.
    pub(crate) faulty: Vec<Told>,
    /// The same, when the upstream was well again: one attempt, and one more if that failed.
    pub(crate) well: Vec<Vec<Told>>,
    /// Subjects of the messages the upstream has taken, in their order.
    pub(crate) accepted: Vec<String>,
}

impl Outcome {
    /// Without the times.
    pub(crate) fn told(&self) -> Vec<(&'static str, Option<String>)> {
        let all = self.faulty.iter().chain(self.well.iter().flatten());
        all.map(|told| (told.asked, told.answer.clone())).collect()
    }

    pub(crate) fn count(&self, subject: &str) -> usize {
        self.accepted.iter().filter(|accepted| *accepted == subject).count()
    }

    /// A message the client was told 250 for is there once, any other is not there; and it is nobody's bounce. What
    /// is not so, in words.
    pub(crate) fn breaches(&self, cell: Cell) -> Vec<String> {
        let mut breaches = Vec::new();
        let attempts = std::iter::once(&self.faulty).chain(&self.well).enumerate();
        for (number, told) in attempts {
            let yes = told.iter().any(|told| told.asked == "the message" && told.class() == 2);
            let there = self.count(&format!("attempt {number}"));
            match (yes, there) {
                (true, 1) | (false, 0) => {}
                (false, 1) if number == 0 && cell.leaves_no_answer() => {}
                _ => breaches.push(format!("attempt {number} was taken {there} times")),
            }
            // What is pipelined behind a MAIL that was deferred is out of sequence; the answer to MAIL counts.
            let refusal = told.iter().find(|told| told.class() > 3);
            if refusal.is_some_and(|refusal| refusal.class() == 5) {
                breaches.push(format!("somebody else's fault became a bounce in attempt {number}"));
            }
        }
        if let Cell::Upstream(..) = cell {
            let last = self.well.last().and_then(|told| told.iter().find(|told| told.asked == "the message"));
            if last.is_none_or(|told| told.class() != 2) {
                breaches.push("it never recovers".to_owned());
            }
        }
        breaches
    }
}
