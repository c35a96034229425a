//! The bounds towards servers, on a clock that jumps, with servers on pipes that say what a test wants.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::Cmd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::cluster::{LOOK_EVERY, LOOK_GAP, LOOK_SOON, POINTED_MAX, SERVERS_MAX};
use super::node::{BACKOFF_MAX, BACKOFF_MIN, CONNECT_MAX, PROBE_EVERY, QUESTIONS_MAX};
use super::*;
use crate::config::{self, RedisServer};
use crate::net::Stream;
use crate::net::dial::Dialing;

const PIPE_BYTES: usize = 64 * 1_024;
/// For one answer.
const TIMEOUT: Duration = Duration::from_millis(100);
/// Steps of the clock, and what the round trips in between make of them.
const GRAIN: Duration = Duration::from_millis(20);

enum Says {
    /// What any Redis would.
    Usual,
    This(String),
    Nothing,
}

type Script = dyn Fn(u16, &[String]) -> Says + Send + Sync;
type Heard = Vec<(Instant, Vec<String>)>;

/// Servers at every port, which are asked by their port.
#[derive(Clone)]
struct Fake {
    says: Arc<Script>,
    dialed: Arc<Mutex<Vec<Instant>>>,
    heard: Arc<Mutex<Heard>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Dial for Fake {
    fn dial(&self, to: SocketAddr) -> Dialing<'_> {
        self.dialed.lock().unwrap().push(Instant::now());
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(self.clone().serve(far, to.port()));
        Box::pin(async move { Ok(Stream::over(near, to, to)) })
    }
}

impl Fake {
    fn new(says: impl Fn(u16, &[String]) -> Says + Send + Sync + 'static) -> Fake {
        Fake { says: Arc::new(says), dialed: Arc::default(), heard: Arc::default() }
    }

    async fn serve(self, mut stream: DuplexStream, port: u16) {
        let mut octets = Vec::new();
        while stream.read_buf(&mut octets).await.is_ok_and(|count| count > 0) {
            while let Some((words, length)) = command(&octets) {
                octets.drain(..length);
                let said = match (self.says)(port, &words) {
                    Says::Usual if words[0] == "SCRIPT" => format!("$40\r\n{}\r\n", "a".repeat(40)),
                    Says::Usual => "+OK\r\n".to_owned(),
                    Says::This(said) => said,
                    Says::Nothing => String::new(),
                };
                self.heard.lock().unwrap().push((Instant::now(), words));
                if stream.write_all(said.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }

    fn reach(&self) -> Arc<Reach> {
        let text = "hostname = \"mx.test\"\n[upstream]\naddress = \"127.0.0.1:1\"\n[relay]\ndomains = [\"a.test\"]\n\
                    [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n[state]\nredis = \"redis://127.0.0.1:7001\"\n";
        let config = config::parse(text, "w.toml", &|_| None).unwrap();
        let (resolver, dialer) = (Resolver::new(&config.resolver).unwrap(), Arc::new(self.clone()) as Arc<dyn Dial>);
        Arc::new(Reach::new(config.state.shared.as_ref().unwrap(), &resolver, &dialer).unwrap())
    }

    fn one(&self) -> Kept {
        let node = Node::new(vec![server(7_001)], &Arc::default());
        Kept::new(node, &self.reach(), TIMEOUT, &Arc::new(Notify::new()))
    }

    fn cluster(&self) -> (Arc<Cluster>, Arc<Board>, AbortOnDropHandle<()>) {
        let board = Arc::<Board>::default();
        let cluster = Arc::new(Cluster::new(vec![server(7_001)], self.reach(), TIMEOUT, &board));
        let watcher = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&cluster).watch()));
        (cluster, board, watcher)
    }

    /// When this was heard.
    fn moments(&self, word: &str) -> Vec<Instant> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(_, words)| words[0] == word).map(|(moment, _)| *moment).collect()
    }
}

/// The first whole command, and its octets.
fn command(octets: &[u8]) -> Option<(Vec<String>, usize)> {
    let mut place = 0;
    let mut line = || {
        let rest = octets.get(place..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        place += end + 2;
        Some((String::from_utf8_lossy(&rest[..end]).into_owned(), place))
    };
    let number = |text: &str| text[1..].parse::<usize>().unwrap();
    let mut words = Vec::new();
    let count = number(&line()?.0);
    let mut length = 0;
    for _ in 0..count {
        let (size, at) = line()?;
        let (from, to) = (at, at + number(&size));
        words.push(String::from_utf8_lossy(octets.get(from..to)?).into_owned());
        // The text itself may have lines.
        let mut seen = from;
        while seen < to + 2 {
            (_, seen) = line()?;
        }
        length = seen;
    }
    Some((words, length))
}

fn server(port: u16) -> RedisServer {
    RedisServer { host: "127.0.0.1".to_owned(), port }
}

fn get() -> Call {
    let mut get = Cmd::new();
    get.arg("GET").arg("x");
    Call::Plain(get)
}

/// An answer to CLUSTER SLOTS: as many servers with as many slots each.
fn slots(servers: u16, slots_each: u16) -> String {
    let mut said = format!("*{servers}\r\n");
    for place in 0..servers {
        let (first, last, port) = (place * slots_each, (place + 1) * slots_each - 1, 7_001 + place);
        said += &format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
    }
    said
}

/// Of the time of the clock that jumps.
async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

fn is_about(found: Duration, wanted: Duration) -> bool {
    found >= wanted && found <= wanted + GRAIN
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_and_tried_again_after_longer_and_longer_pauses() {
    let fake = Fake::new(|_, _| Says::Nothing);
    let kept = fake.one();
    pass(Duration::from_secs(120)).await;
    assert!(!kept.node.is_up());
    let dialed = fake.dialed.lock().unwrap().clone();
    let mut pause = BACKOFF_MIN;
    for two in dialed.windows(2) {
        let waited = two[1] - two[0];
        assert!(
            waited >= CONNECT_MAX + pause * 3 / 4 && waited <= CONNECT_MAX + pause + GRAIN,
            "{waited:?}, {pause:?}"
        );
        pause = (pause * 2).min(BACKOFF_MAX);
    }
    assert!(dialed.len() > 10 && pause == BACKOFF_MAX, "{}", dialed.len());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_asks_is_looked_after() {
    let silent = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&silent);
    let fake = Fake::new(move |_, _| if flag.load(Ordering::Relaxed) { Says::Nothing } else { Says::Usual });
    let kept = fake.one();
    pass(GRAIN).await;
    assert!(kept.node.is_up());
    silent.store(true, Ordering::Relaxed);
    pass(PROBE_EVERY).await;
    assert!(kept.node.is_up(), "it was asked just now, and has its time");
    pass(TIMEOUT).await;
    assert!(!kept.node.is_up());
}

#[tokio::test(start_paused = true)]
async fn more_questions_than_a_server_may_have_are_decided_here_at_once() {
    let fake = Fake::new(|_, words| if words[0] == "GET" { Says::Nothing } else { Says::Usual });
    let kept = fake.one();
    pass(GRAIN).await;
    let mut waiting = JoinSet::new();
    let deadline = Instant::now() + Duration::from_secs(1);
    for _ in 0..QUESTIONS_MAX {
        let node = Arc::clone(&kept.node);
        waiting.spawn(async move { node.ask(&get(), false, deadline).await });
    }
    // Each of them has had its turn then.
    pass(GRAIN).await;
    let began = Instant::now();
    assert_eq!(kept.node.ask(&get(), false, deadline).await, Err(NoAnswer::Away));
    assert!(began.elapsed().is_zero() && kept.node.is_up(), "it did not wait, and the server is not to blame");
    assert!(waiting.join_all().await.into_iter().all(|answer| answer == Err(NoAnswer::Away)));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_too_many_servers_is_taken_up_to_the_bound() {
    let servers = u16::try_from(SERVERS_MAX).unwrap() + 200;
    let fake = Fake::new(move |port, words| match (port, words[0].as_str()) {
        (7_001, "CLUSTER") => Says::This(slots(servers, 10)),
        (7_001, _) => Says::Usual,
        _ => Says::Nothing,
    });
    let (_cluster, board, _watcher) = fake.cluster();
    pass(Duration::from_secs(2)).await;
    // The one that the configuration names is counted twice.
    assert_eq!(board.shown().len(), SERVERS_MAX - 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_sent_elsewhere_only_so_often() {
    let fake = Fake::new(|port, words| match words[0].as_str() {
        "CLUSTER" => Says::This(slots(2, 8_192)),
        "GET" => Says::This(format!("-MOVED 1 127.0.0.1:{}\r\n", if port == 7_001 { 7_002 } else { 7_001 })),
        _ => Says::Usual,
    });
    let (cluster, board, _watcher) = fake.cluster();
    pass(Duration::from_secs(5)).await;
    assert!(board.all_up());
    let answer = cluster.ask(1, &get(), Instant::now() + TIMEOUT).await;
    assert_eq!(answer, Err(NoAnswer::Away));
    assert_eq!(fake.moments("GET").len(), POINTED_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_looked_at_seldom_while_it_is_whole_and_never_without_a_pause() {
    let whole = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&whole);
    let fake = Fake::new(move |_, words| match words[0].as_str() {
        "CLUSTER" => Says::This(slots(1, if flag.load(Ordering::Relaxed) { 16_384 } else { 8_192 })),
        "GET" => Says::This("-MOVED 1 127.0.0.1:7001\r\n".to_owned()),
        _ => Says::Usual,
    });
    let (cluster, _board, _watcher) = fake.cluster();
    pass(Duration::from_secs(10)).await;
    let last = |fake: &Fake| {
        let moments = fake.moments("CLUSTER");
        moments[moments.len() - 1] - moments[moments.len() - 2]
    };
    assert!(is_about(last(&fake), LOOK_GAP + LOOK_SOON), "{:?}", last(&fake));
    whole.store(true, Ordering::Relaxed);
    pass(Duration::from_secs(120)).await;
    assert!(is_about(last(&fake), LOOK_GAP + LOOK_EVERY), "{:?}", last(&fake));
    // However often a server says that something has moved.
    let before = fake.moments("CLUSTER").len();
    for _ in 0..500 {
        let _ = cluster.ask(1, &get(), Instant::now() + TIMEOUT).await;
        pass(Duration::from_millis(2)).await;
    }
    let moments = fake.moments("CLUSTER");
    assert!(moments.len() > before + 2);
    assert!(moments[before..].windows(2).all(|two| two[1] - two[0] >= LOOK_GAP));
}
