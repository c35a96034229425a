//! Decisions of rate limits a second: by this process, and by a redis-server of this bench's own, with as many sessions at
//! once as there may be. A decision is what MAIL asks: two quotas of `[rates]` and three `[[limit]]`s.
//!
//! Run with `cargo bench --bench limits`. Without redis-server only the first part runs, and says so. The machine's load
//! stands beside the figures: one that does something else is no measurement.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and may end at once")]

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmilter::config::{Config, Counted, parse};
use wasmilter::net::dial::{Dial, Tcp};
use wasmilter::net::dns::Resolver;
use wasmilter::policy::limits::Subject;
use wasmilter::shared::Shared;
use wasmilter::state::keyed::HashKey;
use wasmilter::state::limits::{Group, How, Limits};

const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(1);
/// Sessions that ask at the same time.
const SESSIONS: [usize; 3] = [1, 50, 500];
/// Clients that they are of.
const CLIENTS: u32 = 10_000;
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
    let limits = Arc::new(limits(&configuration(6_379)));
    let mut client = 0;
    let alone = best(|| {
        let (began, mut decisions) = (Instant::now(), 0_u32);
        while began.elapsed() < RUN {
            for _ in 0..1_000 {
                client = (client + 1) % CLIENTS;
                drop(group(&limits, client).finish());
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
    let shared = runtime.block_on(connect(&configuration(port)));
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

fn configuration(port: u16) -> Config {
    let limit = |name: &str, per: &str| {
        format!("[[limit]]\nname = \"{name}\"\ncount = \"messages\"\nper = [\"{per}\"]\nrate = \"1000000/1s\"\n")
    };
    let text = format!(
        "hostname = \"mx.example.org\"\nupstream = {{ address = \"127.0.0.1:10025\" }}\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:25\"\n\
         [rates]\nmessages-per-address = \"1000000/1s\"\nmessages-per-identity = \"1000000/1s\"\n\
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

/// What MAIL of this client asks.
fn group(limits: &Limits, client: u32) -> Group<'static> {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + client));
    let subject = Subject { identity: Some("anna"), ..Subject::arriving(address, "mx") };
    let rules = limits.rules().checks(&[(Counted::Messages, How::Charge, NonZeroU32::MIN)], &subject);
    Group::new(limits.message_checks(address, Some("anna")), rules)
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
                let mut group = group(&limits, client);
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
