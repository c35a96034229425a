//! Decisions of rate limits a second: by this process, and by a redis-server of this bench's own, with as many sessions at
//! once as there may be. A decision is what MAIL asks: two quotas of `[rates]` and three `[[limit]]`s. Then four million
//! addresses, one MAIL each: how much memory they take, and how long a snapshot of that keeps decisions waiting.
//!
//! Run with `cargo bench --bench limits`. Without redis-server only the parts without it run, and it says so. The machine's
//! load stands beside the figures: one that does something else is no measurement.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and may end at once")]

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasmilter::config::{Config, Counted, parse};
use wasmilter::net::dial::{Dial, Tcp};
use wasmilter::net::dns::Resolver;
use wasmilter::policy::limits::Subject;
use wasmilter::shared::Shared;
use wasmilter::state::keyed::HashKey;
use wasmilter::state::limits::{Group, How, Limits};
use wasmilter::state::snapshot::{File, Moment};

const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(1);
/// Sessions that ask at the same time.
const SESSIONS: [usize; 3] = [1, 50, 500];
/// Clients that they are of.
const CLIENTS: u32 = 10_000;
const ANNA: Option<&str> = Some("anna");
/// Addresses that are nobody's again, and how many keys a limit may have then: the default, and one for each.
const STRANGERS: u32 = 4_000_000;
const KEYS: [u32; 2] = [100_000, STRANGERS];
/// A rate that refuses nobody, and one of which a single message counts for 36 seconds.
const ENDLESS: &str = "1000000/1s";
const LASTING: &str = "300/3h";
/// To start a server, and to be connected to it.
const START_MAX: Duration = Duration::from_secs(20);

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    for keys in KEYS {
        strangers(keys);
    }
    let limits = Arc::new(limits(&configuration(6_379, KEYS[0], ENDLESS)));
    let mut client = 0;
    let alone = best(|| {
        let (began, mut decisions) = (Instant::now(), 0_u32);
        while began.elapsed() < RUN {
            for _ in 0..1_000 {
                client = (client + 1) % CLIENTS;
                drop(group(&limits, client, ANNA).finish());
            }
            decisions += 1_000;
        }
        f64::from(decisions) / began.elapsed().as_secs_f64()
    });
    println!("this process, one thread      {alone:>10.0} decisions/s");

    let Some((_redis, port)) = start() else {
        println!("redis-server is not installed: nothing is measured of it");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shared = runtime.block_on(connect(&configuration(port, KEYS[0], ENDLESS)));
    for sessions in SESSIONS {
        let rate = best(|| runtime.block_on(ask(&shared, &limits, sessions)));
        let each = f64::from(u32::try_from(sessions).unwrap()) / rate * 1e3;
        println!("redis, {sessions:>3} sessions at once  {rate:>10.0} decisions/s, {each:.3} ms each");
    }
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
}

fn best(mut run: impl FnMut() -> f64) -> f64 {
    (0..RUNS).map(|_| run()).fold(0.0, f64::max)
}

fn configuration(port: u16, keys: u32, rate: &str) -> Config {
    let limit = |name: &str, per: &str| {
        format!("[[limit]]\nname = \"{name}\"\ncount = \"messages\"\nper = [\"{per}\"]\nrate = \"{rate}\"\n")
    };
    let text = format!(
        "hostname = \"mx.example.org\"\nupstream = {{ address = \"127.0.0.1:10025\" }}\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:25\"\n\
         [rates]\nkeys = {keys}\nmessages-per-address = \"{rate}\"\nmessages-per-identity = \"{rate}\"\n\
         [state]\nredis = \"redis://127.0.0.1:{port}\"\ntimeout = \"2s\"\n{}{}{}",
        limit("address", "address"),
        limit("network", "network/24,48"),
        limit("identity", "identity"),
    );
    parse(&text, "bench.toml", &|_| None).unwrap()
}

fn limits(config: &Config) -> Limits {
    Limits::new(&config.rates, &config.rate_limits, HashKey::random())
}

/// One MAIL of each of four million addresses without a login (three limits), and a snapshot beside more of them.
fn strangers(keys: u32) {
    let limits = Arc::new(limits(&configuration(6_379, keys, LASTING)));
    let (before, began) = (resident_bytes(), Instant::now());
    let most = (0..STRANGERS).map(|client| decided(&limits, client)).max().unwrap_or_default();
    let (seconds, bytes) = (began.elapsed().as_secs_f64(), resident_bytes().saturating_sub(before));
    println!(
        "{STRANGERS} addresses, {keys:>7} keys  {:>10.0} decisions/s, slowest {:.2} ms; {} keys tracked, {:.0} MiB more",
        f64::from(STRANGERS) / seconds,
        most.as_secs_f64() * 1e3,
        limits.tracked() + limits.rules().tracked(),
        mebibytes(bytes),
    );
    let done = Arc::new(AtomicBool::new(false));
    let (others, ended) = (Arc::clone(&limits), Arc::clone(&done));
    let deciding = std::thread::spawn(move || {
        let mut most = Duration::ZERO;
        for client in (0..CLIENTS).cycle() {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            most = most.max(decided(&others, client));
        }
        most
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let mut file = File::open(&path).unwrap().file;
    let began = Instant::now();
    let written = file.write(HashKey::random(), &limits.parts(), u64::MAX, Moment::now).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    done.store(true, Ordering::Relaxed);
    let most = deciding.join().unwrap();
    println!(
        "    its snapshot: {:.0} MiB in a file of {:.0}, in {seconds:.2} s; slowest decision meanwhile {:.2} ms",
        mebibytes(written.bytes),
        mebibytes(path.metadata().unwrap().len()),
        most.as_secs_f64() * 1e3,
    );
}

fn decided(limits: &Limits, client: u32) -> Duration {
    let began = Instant::now();
    drop(group(limits, client, None).finish());
    began.elapsed()
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Of this process.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or_default() << 10
}

/// What MAIL of this client asks.
fn group(limits: &Limits, client: u32, identity: Option<&'static str>) -> Group<'static> {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + client));
    let subject = Subject { identity, ..Subject::arriving(address, "mx") };
    let rules = limits.rules().checks(&[(Counted::Messages, How::Charge, NonZeroU32::MIN)], &subject);
    Group::new(limits.message_checks(address, identity), rules)
}

/// Decisions a second of so many sessions, each with one question at a time.
async fn ask(shared: &Arc<Shared>, limits: &Arc<Limits>, sessions: usize) -> f64 {
    let began = Instant::now();
    let session = |number: usize| {
        let (shared, limits) = (Arc::clone(shared), Arc::clone(limits));
        tokio::spawn(async move {
            let (mut client, mut decisions) = (u32::try_from(number).unwrap(), 0_u32);
            while began.elapsed() < RUN {
                client = (client + 7) % CLIENTS;
                let mut group = group(&limits, client, ANNA);
                shared.settle(&mut group).await;
                drop(group.finish());
                decisions += 1;
            }
            decisions
        })
    };
    let all: Vec<_> = (0..sessions).map(session).collect();
    let mut decisions = 0;
    for one in all {
        decisions += one.await.unwrap();
    }
    assert!(shared.is_up(), "it went away: this is no measurement");
    f64::from(decisions) / began.elapsed().as_secs_f64()
}

async fn connect(config: &Config) -> Arc<Shared> {
    let dialer = Arc::new(Tcp) as Arc<dyn Dial>;
    let resolver = Resolver::new(&config.resolver).unwrap();
    let shared = Shared::new(config.state.shared.as_ref().unwrap(), &resolver, &dialer, None).unwrap();
    shared.begin();
    let there = async {
        while !shared.is_up() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(START_MAX, there).await.unwrap();
    shared
}

/// On a port that nobody had a moment ago.
fn start() -> Option<(Redis, u16)> {
    let port = TcpListener::bind(("127.0.0.1", 0)).ok()?.local_addr().ok()?.port();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Some((Redis(command.spawn().ok()?), port))
}
