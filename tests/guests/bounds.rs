//! What a filter may use up, and who does not notice.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmilter::chain::{Call, Chain};

use crate::support::{
    ENDING, Filter, SUMMARY, brief, configuration, fault, guest, hello, load, recipient, sender, session, told,
};

#[tokio::test]
async fn memory_obeyed() {
    let chain = load(&[Filter::puppet("helo: grow 16").with("memory = \"32 MiB\"")]).unwrap();
    assert_eq!(told(&session(&chain).helo().await), "16");
}

#[tokio::test]
async fn memory_violated() {
    let chain = load(&[Filter::puppet("helo: hoard; mail: grow 100").with("memory = \"8 MiB\"")]).unwrap();
    let mut session = session(&chain);
    let outcome = session.helo().await;
    assert_eq!((brief(&outcome.verdict).as_str(), fault(&outcome)), ("451 4.3.0", Some("memory")));
    // A filter that takes a refusal well goes on with what it has, in a new instance.
    let megabytes: u32 = told(&session.mail().await).parse().unwrap();
    assert!((4..8).contains(&megabytes), "{megabytes}");
}

/// Every stage, called by itself.
macro_rules! each_stage {
    ($session:ident, $check:expr) => {{
        let hello = hello("x.example");
        let (from, to) = (sender("a@example.net"), recipient("b@example.org"));
        $check($session.ask(Call::Connect).await);
        $check($session.ask(Call::Helo(&hello)).await);
        $check($session.ask(Call::Mail(&from)).await);
        $check($session.ask(Call::Rcpt(&to)).await);
        $check($session.ask(Call::Data).await);
        $check($session.ask(Call::Body(b"x")).await);
    }};
}

#[tokio::test]
async fn cpu_violated_in_each_stage() {
    let chain = load(&[Filter::puppet("*: spin").with("cpu = \"5ms\"").with("on-fault = \"reject\"")]);
    // `init` spins, too: such a filter does not even load.
    assert!(chain.unwrap_err().contains("wasm trap: interrupt"));
    let script = "connect: spin; helo: spin; mail: spin; rcpt: spin; data: spin; body: spin; abort: spin; quit: spin";
    let chain = load(&[Filter::puppet(script).with("cpu = \"5ms\"")]).unwrap();
    let mut session = session(&chain);
    each_stage!(session, |outcome| {
        assert_eq!(fault(&outcome), Some("cpu"));
        assert_eq!(brief(&outcome.verdict), "451 4.3.0");
    });
    for call in [Call::Abort(ENDING), Call::Quit(SUMMARY)] {
        let outcome = session.ask(call).await;
        assert_eq!(fault(&outcome), Some("cpu"));
        assert_eq!(brief(&outcome.verdict), "next", "a report changes nothing");
    }
}

#[tokio::test]
async fn cpu_obeyed() {
    let chain = load(&[Filter::puppet("*: work 1, say done").with("cpu = \"100ms\"")]);
    assert!(chain.unwrap_err().contains("done"), "what init says is shown");
    let chain = load(&[Filter::puppet("helo: work 100, say done").with("cpu = \"5s\"")]).unwrap();
    assert_eq!(told(&session(&chain).helo().await), "done");
}

#[tokio::test]
async fn deadline_violated() {
    let mut config = configuration(&[Filter::puppet("helo: spin")]);
    // A configuration file may not say this; it is what waiting in a queue comes to.
    config.filters[0].bounds.cpu_per_call = Duration::from_secs(60);
    config.filters[0].bounds.deadline = Duration::from_millis(20);
    let chain = Arc::new(Chain::load(&config).unwrap());
    let outcome = session(&chain).helo().await;
    assert_eq!(fault(&outcome), Some("deadline"));
}

#[tokio::test]
async fn recursion_violated() {
    let chain = load(&[Filter::puppet("helo: recurse").with("cpu = \"5s\"")]).unwrap();
    let outcome = session(&chain).helo().await;
    assert!(matches!(fault(&outcome), Some("stack-overflow" | "trap")), "{:?}", fault(&outcome));
    assert_eq!(brief(&outcome.verdict), "451 4.3.0");
}

#[tokio::test]
async fn a_fault_is_no_other_sessions_problem_obeyed() {
    let chain = load(&[Filter::puppet("helo: counter c; mail: panic")]).unwrap();
    let (mut one, mut other) = (session(&chain), session(&chain));
    assert_eq!(told(&one.helo().await), "1");
    assert_eq!(told(&other.helo().await), "2");
    assert_eq!(fault(&one.mail().await), Some("trap"));
    assert_eq!(told(&other.helo().await), "3");
    // And this one goes on with a new instance.
    assert_eq!(told(&one.helo().await), "4");
}

/// Two filters spin on two workers. A client of a third session is answered over a socket 300 times before either
/// of them has used its ten seconds of processor time. (Measured, an answer takes a millisecond more. With wasmtime's
/// own way to yield it would take 61, since tokio looks at its sockets that rarely while tasks are ready.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spinners_do_not_starve_others_obeyed() {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    let mut config = configuration(&[
        Filter::puppet("mail: spin").named("one").with("cpu = \"10s\""),
        Filter::puppet("rcpt: spin").named("two").with("cpu = \"10s\""),
        Filter::new("idle", guest("idle"), "").named("honest"),
    ]);
    // However busy the machine is: only what the spinners really used counts.
    config.filters.iter_mut().for_each(|filter| filter.bounds.deadline = Duration::from_secs(600));
    config.engine.message_deadline = Duration::from_secs(600);
    let chain = Arc::new(Chain::load(&config).unwrap());
    let spin = |rcpt: bool| {
        let mut session = session(&chain);
        tokio::spawn(async move {
            if rcpt {
                session.rcpt().await
            } else {
                session.mail().await
            };
            STOPPED.store(true, Ordering::SeqCst);
        })
    };
    let spinners = [spin(false), spin(true)];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut session = session(&chain);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut octet = [0];
        while stream.read_exact(&mut octet).await.is_ok() {
            assert_eq!(brief(&session.helo().await.verdict), "next");
            stream.write_all(&octet).await.unwrap();
        }
    });
    // The client lives on a thread of its own, as clients do.
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        for _ in 0..300 {
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        assert!(!STOPPED.load(Ordering::SeqCst), "the spinners were stopped first");
    });
    client.await.unwrap();
    server.await.unwrap();
    spinners.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn instances_violated() {
    let chain = load(&[Filter::puppet("helo: say here").with("instances = 2").with("deadline = \"50ms\"")]).unwrap();
    let (mut one, mut two, mut three) = (session(&chain), session(&chain), session(&chain));
    one.helo().await;
    two.helo().await;
    assert_eq!(fault(&three.helo().await), Some("no-instance"));
    drop(one);
    assert_eq!(told(&three.helo().await), "here");
}

#[tokio::test]
async fn lifetimes_obeyed() {
    // A shared filter with one instance serves three sessions.
    let chain = load(&[Filter::puppet("helo: say here").with("instances = 1").with("lifetime = \"shared\"")]).unwrap();
    let (mut one, mut two) = (session(&chain), session(&chain));
    for session in [&mut one, &mut two] {
        assert_eq!(told(&session.helo().await), "here");
    }
    // Also at the same time: the second waits for the first.
    let filter = Filter::puppet("helo: work 1000, say here").with("instances = 1").with("lifetime = \"shared\"");
    let chain = load(&[filter.with("cpu = \"10s\"")]).unwrap();
    let (mut one, mut two) = (session(&chain), session(&chain));
    let (first, second) = tokio::join!(one.helo(), two.helo());
    assert_eq!((told(&first), told(&second)), ("here", "here"));
    // One of a transaction is gone with it.
    let filter = Filter::puppet("mail: say here").with("instances = 1").with("lifetime = \"transaction\"");
    let chain = load(&[filter.with("deadline = \"50ms\"")]).unwrap();
    let (mut one, mut two) = (session(&chain), session(&chain));
    one.mail().await;
    assert_eq!(fault(&two.mail().await), Some("no-instance"));
    one.chain.end_transaction();
    assert_eq!(told(&two.mail().await), "here");
}

#[tokio::test]
async fn kv_quota_violated() {
    let chain = load(&[Filter::puppet("helo: fill-kv; mail: set x=1; rcpt: get k0")]).unwrap();
    let mut session = session(&chain);
    let outcome = session.helo().await;
    let told = told(&outcome);
    let (entries, error) = told.split_once(' ').unwrap();
    // 64 KiB, entries of 1,000 octets and what they cost beside.
    assert!((55..=60).contains(&entries.parse::<u32>().unwrap()) && error == "Error::Full", "{told}");
}

#[tokio::test]
async fn floods_violated() {
    let script = "helo: flood-log 5000; mail: flood-metrics 2000; rcpt: flood-counters 5000";
    let chain = load(&[Filter::puppet(script).with("cpu = \"10s\"")]).unwrap();
    let mut session = session(&chain);
    assert_eq!(brief(&session.helo().await.verdict), "next");
    assert_eq!(brief(&session.mail().await.verdict), "next");
    assert_eq!(brief(&session.rcpt().await.verdict), "next");
    let memory = &chain.programs().next().unwrap().profile().memory;
    assert!(memory.metrics.len() <= 256);
    assert!(memory.counters.len() <= 100_000);
}

#[tokio::test]
async fn sleepers_violated() {
    let script = "helo: sleep 60000; mail: sleep 1";
    let chain = load(&[Filter::puppet_with_wasi(script).with("deadline = \"50ms\"")]).unwrap();
    let mut session = session(&chain);
    assert_eq!(fault(&session.helo().await), Some("deadline"));
    assert_eq!(told(&session.mail().await), "awake");
}

#[tokio::test]
async fn message_deadline_violated() {
    let mut config = configuration(&[
        Filter::puppet("mail: spin").named("one").with("on-fault = \"next\"").with("cpu = \"10s\""),
        Filter::puppet("mail: say never").named("two"),
    ]);
    config.engine.message_deadline = Duration::from_millis(20);
    let chain = Arc::new(Chain::load(&config).unwrap());
    let mut session = session(&chain);
    let outcome = session.mail().await;
    let said: Vec<_> = outcome.opinions.iter().map(|o| (&*o.filter, o.reason.as_deref())).collect();
    assert_eq!(said, [("one", Some("deadline")), ("two", Some("deadline"))]);
    assert_eq!(brief(&outcome.verdict), "451 4.3.0");
    // The time of this message only; outside of one, each filter has its own.
    assert_eq!(fault(&session.helo().await), None);
}

/// A call that nobody waits for any more leaves nothing behind: no instance, no slot, no heartbeat.
#[tokio::test]
async fn abandoned_calls_obeyed() {
    let chain =
        load(&[Filter::puppet("mail: spin; helo: say here").with("instances = 1").with("cpu = \"10s\"")]).unwrap();
    let free = chain.host().unwrap().slots_free();
    let mut one = session(&chain);
    {
        let mut call = Box::pin(one.mail());
        for _ in 0..5 {
            let pending = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
            assert!(pending);
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(chain.host().unwrap().slots_free(), free);
    assert_eq!(told(&session(&chain).helo().await), "here");
    // The session itself goes on, too.
    assert_eq!(told(&one.helo().await), "here");
}
