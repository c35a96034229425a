//! Each limit from both sides: what is just within it is had, what is beyond it is not, and the filter hears of it in the
//! way the documentation says. (Memory, instances and queues are in `bounds`, answers in `verdicts`, edits in `message`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wasmilter::chain::{Call, Chain, Held};
use wasmilter::smtp::headers::HeaderBlock;
use wasmilter::state::spool::Spool;

use crate::support::{Filter, brief, configuration, fault, load, on_quit, session, told};

async fn say(filter: Filter) -> String {
    let outcome = session(&load(&[filter]).unwrap()).helo().await;
    fault(&outcome).unwrap_or(told(&outcome)).to_owned()
}

/// What a filter tells at `message`, of a body of so many octets.
async fn tell(trick: &str, body: &[u8]) -> String {
    let chain = load(&[Filter::puppet(&format!("message: {trick}"))]).unwrap();
    let mut session = session(&chain);
    session.mail().await;
    let (headers, _) = HeaderBlock::parse(b"Content-Type: multipart/mixed; boundary=q\r\n\r\n");
    let mut spool = Spool::new(8 << 20, &std::env::temp_dir());
    spool.append(body).await.unwrap();
    let mut held = Held::new(headers, spool);
    let outcome = session.ask(Call::Message(&mut held)).await;
    fault(&outcome).unwrap_or(told(&outcome)).to_owned()
}

#[tokio::test]
async fn stack_obeyed() {
    assert_eq!(say(Filter::puppet("helo: dig 2000").with("cpu = \"5s\"")).await, "2000");
}

/// Of a guest in Rust either stack may be the first to end: the engine's, or its own in linear memory.
#[tokio::test]
async fn stack_violated() {
    let dig = Filter::puppet("helo: dig 100000000").with("cpu = \"5s\"").with("deadline = \"60s\"");
    let fault = say(dig).await;
    assert!(["stack-overflow", "trap"].contains(&&*fault), "{fault}");
}

#[tokio::test]
async fn tables_of_functions_obeyed_and_violated() {
    let component = |elements: u32| {
        let text = on_quit(&format!(
            r#"(core module $m (table {elements} funcref) (func (export "quit") (param i32 i32 f64 f64)))
                (core instance $i (instantiate $m)) (alias core export $i "quit" (core func $quit))"#
        ));
        let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("table-{elements}.wasm"));
        std::fs::write(&path, wat::parse_str(&text).unwrap()).unwrap();
        load(&[Filter::new("f", path, "")]).map(|_| ())
    };
    assert_eq!(component(100_000), Ok(()));
    assert!(component(100_001).unwrap_err().contains("100001"));
}

#[tokio::test]
async fn hostcall_octets_obeyed() {
    assert_eq!(say(Filter::puppet("helo: hand 60000").with("hostcall-size = \"64 KiB\"")).await, "0");
    assert_eq!(say(Filter::puppet("helo: hand 4000000")).await, "0");
}

#[tokio::test]
async fn hostcall_octets_violated() {
    assert_eq!(say(Filter::puppet("helo: hand 66000").with("hostcall-size = \"64 KiB\"")).await, "bad-answer");
    assert_eq!(say(Filter::puppet("helo: hand 5000000")).await, "bad-answer");
}

/// The bound is for one call and not for all of them.
#[tokio::test]
async fn hostcall_octets_of_each_call_obeyed() {
    let chain = load(&[Filter::puppet("helo: hand 60000").with("hostcall-size = \"64 KiB\"")]).unwrap();
    let mut session = session(&chain);
    for _ in 0..20 {
        assert_eq!(told(&session.helo().await), "0");
    }
}

#[tokio::test]
async fn random_and_reads_obeyed_and_violated() {
    assert_eq!(say(Filter::puppet("helo: random-bytes 4096")).await, "4096");
    assert_eq!(say(Filter::puppet("helo: random-bytes 4000000000")).await, "4096");
    let body = vec![b'x'; 2 << 20];
    assert_eq!(tell("read 1048576", &body).await, "1048576");
    assert_eq!(tell("read 4000000000", &body).await, "1048576", "at most 1 MiB at once");
}

#[tokio::test]
async fn needles_obeyed_and_violated() {
    assert_eq!(tell("find-long 1024", b"xyz").await, "None");
    assert_eq!(tell("find-long 1025", b"xyz").await, "trap");
}

/// Parts of a message, side by side and inside each other.
#[tokio::test]
async fn parts_obeyed_and_violated() {
    let wide = |parts: usize| format!("{}--q--\r\n", "--q\r\n\r\nx\r\n".repeat(parts)).into_bytes();
    assert_eq!(tell("parts", &wide(3)).await.matches("text/plain").count(), 3);
    assert!(!tell("parts", &wide(990)).await.contains("TooComplex"));
    assert_eq!(tell("parts", &wide(1_100)).await, "Error::TooComplex");
    let deep = |levels: usize| {
        let inner = "--q\r\nContent-Type: message/rfc822\r\n\r\n".to_owned();
        let more = "Content-Type: message/rfc822\r\n\r\n".repeat(levels);
        format!("{inner}{more}Subject: x\r\n\r\nx\r\n--q--\r\n").into_bytes()
    };
    assert!(!tell("parts", &deep(5)).await.contains("TooComplex"));
    assert_eq!(tell("parts", &deep(40)).await, "Error::TooComplex");
}

#[tokio::test]
async fn notes_obeyed() {
    assert_eq!(say(Filter::puppet("helo: fill-notes 64")).await, "64");
    assert_eq!(say(Filter::puppet("helo: note-long 64=1024")).await, "true");
}

#[tokio::test]
async fn notes_violated() {
    assert_eq!(say(Filter::puppet("helo: fill-notes 1000")).await, "64");
    assert_eq!(say(Filter::puppet("helo: note-long 65=1")).await, "false");
    assert_eq!(say(Filter::puppet("helo: note-long 1=1025")).await, "false");
    assert_eq!(say(Filter::puppet("helo: set-note a.b=1")).await, "false", "under another's name");
}

#[tokio::test]
async fn kv_obeyed() {
    let script = "helo: set a=1; mail: get a; rcpt: swap a=1=2; data: get a";
    let chain = load(&[Filter::puppet(script)]).unwrap();
    let mut session = session(&chain);
    assert_eq!(told(&session.helo().await), "Ok(())");
    assert_eq!(told(&session.mail().await), "Ok(Some([49]))");
    assert_eq!(told(&session.rcpt().await), "Ok(true)");
    assert_eq!(told(&session.ask(Call::Data).await), "Ok(Some([50]))");
    assert_eq!(say(Filter::puppet("helo: swap new==1")).await, "Ok(true)", "where nothing was");
    assert_eq!(say(Filter::puppet("helo: set a=1, unset a, get a")).await, "Ok(None)");
    // A key of 1,024 octets; a value as large as the quota lets it be.
    assert_eq!(say(Filter::puppet("helo: set-long 1024=60000")).await, "Ok(())");
}

#[tokio::test]
async fn kv_swap_violated() {
    assert_eq!(say(Filter::puppet("helo: set a=1, swap a=2=3, get a")).await, "Ok(Some([49]))");
    assert_eq!(say(Filter::puppet("helo: set a=1, swap a=2=3")).await, "Ok(false)");
    assert_eq!(say(Filter::puppet("helo: set a=1, swap a==3")).await, "Ok(false)", "there is something");
    assert_eq!(say(Filter::puppet("helo: swap a=1=3")).await, "Ok(false)", "there is nothing");
}

#[tokio::test]
async fn kv_time_to_live_obeyed_and_violated() {
    assert_eq!(say(Filter::puppet("helo: set-for a=600000, get a")).await, "Ok(Some([118]))");
    assert_eq!(say(Filter::puppet("helo: set-for a=0, get a")).await, "Ok(None)", "its time is over");
    assert_eq!(say(Filter::puppet("helo: set-for a=0, swap a==1, get a")).await, "Ok(Some([49]))");
    // What has expired makes room; what has not does not.
    let chain = load(&[Filter::puppet("helo: set-for a=0, set-long 1=64000; mail: set-long 2=60000")]).unwrap();
    let mut session = session(&chain);
    assert_eq!(told(&session.helo().await), "Ok(())");
    assert_eq!(told(&session.mail().await), "Err(Error::Full)");
}

#[tokio::test]
async fn kv_sizes_violated() {
    assert_eq!(say(Filter::puppet("helo: set-long 1025=1")).await, "Err(Error::TooLarge)");
    let small = "kv = { quota = \"64 KiB\", value-size = \"1 KiB\" }";
    let small = |script: &str| Filter::puppet(script).grant("kv = { quota = \"64 KiB\" }", small);
    assert_eq!(say(small("helo: set-long 1=1024")).await, "Ok(())");
    assert_eq!(say(small("helo: set-long 1=1025")).await, "Err(Error::TooLarge)");
}

#[tokio::test]
async fn series_of_metrics_obeyed_and_violated() {
    for (script, series) in [
        ("helo: measure a=4, measure b=0", 2),
        // Of one name and labels there is one; a fifth label, a bad name or a long one is none.
        ("helo: measure a=4, measure a=4", 1),
        ("helo: measure a=5, measure 1a=0, measure a%00=0", 0),
        ("helo: flood-metrics 2000", 256),
    ] {
        let chain = load(&[Filter::puppet(script).with("cpu = \"5s\"")]).unwrap();
        assert_eq!(brief(&session(&chain).helo().await.verdict), "next");
        assert_eq!(chain.programs().next().unwrap().profile().memory.metrics.len(), series, "{script}");
    }
}

#[tokio::test]
async fn keys_of_counters_violated() {
    let chain = load(&[Filter::puppet("helo: flood-counters 101000").with("cpu = \"10s\"").with("deadline = \"60s\"")])
        .unwrap();
    assert_eq!(brief(&session(&chain).helo().await.verdict), "next");
    let kept = chain.programs().next().unwrap().profile().memory.counters.len();
    assert!((50_000..=100_000).contains(&kept), "{kept}");
}

/// Counts what guests write to the log.
struct Lines {
    count: Arc<AtomicUsize>,
    octets: Arc<AtomicU64>,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "wasmilter::guest" && *metadata.level() == tracing::Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(u64);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}").len() as u64;
                }
            }
        }
        let mut message = Message(0);
        event.record(&mut message);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_max(message.0, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Lines that came of it, the longest, and how long it took.
async fn logged(filter: Filter) -> (usize, u64, Duration) {
    let lines = Lines { count: Arc::default(), octets: Arc::default() };
    let (count, octets) = (Arc::clone(&lines.count), Arc::clone(&lines.octets));
    let chain = load(&[filter]).unwrap();
    let _guard = tracing::subscriber::set_default(lines);
    let began = Instant::now();
    assert_eq!(brief(&session(&chain).helo().await.verdict), "next");
    (count.load(Ordering::Relaxed), octets.load(Ordering::Relaxed), began.elapsed())
}

#[tokio::test]
async fn log_obeyed() {
    let (lines, octets, _) = logged(Filter::puppet("helo: flood-log 40, log-long 2048")).await;
    assert_eq!((lines, octets), (41, 2_048));
}

#[tokio::test]
async fn log_violated() {
    let (lines, _, took) = logged(Filter::puppet("helo: flood-log 20000").with("cpu = \"10s\"")).await;
    let allowed = 50.0 + 50.0 * took.as_secs_f64() + 1.0;
    assert!(lines >= 50 && (lines as f64) <= allowed, "{lines} lines in {took:?}");
    let (_, octets, _) = logged(Filter::puppet("helo: log-long 3000000")).await;
    assert!(octets <= 2_048 + 3, "{octets}");
}

/// Each message has the whole time.
#[tokio::test]
async fn message_deadline_obeyed() {
    let mut config = configuration(&[Filter::puppet_with_wasi("mail: sleep 150; rcpt: sleep 1")]);
    config.engine.message_deadline = Duration::from_millis(2_000);
    let chain = Arc::new(Chain::load(&config).unwrap());
    let mut session = session(&chain);
    for _ in 0..20 {
        assert_eq!((told(&session.mail().await), told(&session.rcpt().await)), ("awake", "awake"));
        session.chain.end_transaction();
    }
}

#[tokio::test]
async fn deadline_obeyed() {
    assert_eq!(say(Filter::puppet_with_wasi("helo: sleep 20").with("deadline = \"30s\"")).await, "awake");
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap()
}

/// An endless loop costs its processor time, a tenth of it and 2 ms, counted as the kernel counts it: on a machine where the
/// heartbeat itself has to wait for a core it is more, so the best of some counts.
#[tokio::test]
async fn a_loop_is_stopped_in_time_violated() {
    let budget = Duration::from_millis(50);
    let chain = load(&[Filter::puppet("helo: spin").with("cpu = \"50ms\"").with("deadline = \"60s\"")]).unwrap();
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let mut session = session(&chain);
        let before = thread_time();
        assert_eq!(fault(&session.helo().await), Some("cpu"));
        let took = thread_time() - before;
        assert!(took >= budget - Duration::from_millis(2), "{took:?}: it was not given its time");
        best = best.min(took);
        if best <= budget * 11 / 10 + Duration::from_millis(2) {
            return;
        }
    }
    panic!("{best:?} for {budget:?}");
}
