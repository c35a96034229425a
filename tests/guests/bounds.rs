//! What a filter may use up, and who does not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmilter::chain::{Call, Chain};
use wasmilter::mail::AbortReason;

use crate::support::{Filter, brief, configuration, fault, guest, hello, load, recipient, sender, session, told};

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
    for call in [Call::Abort(AbortReason::Reset), Call::Quit] {
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

/// Two sessions spin on two workers. A third is served a hundred times before either of them is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spinners_do_not_starve_others_obeyed() {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    let chain = load(&[
        Filter::puppet("mail: spin").named("spinner").with("cpu = \"10s\"").with("deadline = \"10s\""),
        Filter::new("idle", guest("idle"), "").named("honest"),
    ])
    .unwrap();
    let spinners: Vec<_> = (0..2)
        .map(|_| {
            let chain = chain.clone();
            tokio::spawn(async move {
                session(&chain).mail().await;
                STOPPED.store(true, Ordering::SeqCst);
            })
        })
        .collect();
    let honest = tokio::spawn(async move {
        let mut session = session(&chain);
        for _ in 0..100 {
            let outcome = session.helo().await;
            assert_eq!(brief(&outcome.verdict), "next");
            tokio::task::yield_now().await;
        }
        assert!(!STOPPED.load(Ordering::SeqCst), "the spinners were stopped first");
    });
    honest.await.unwrap();
    spinners.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn instances_violated() {
    let chain = load(&[Filter::puppet("helo: say here").with("instances = 2").with("deadline = \"50ms\"")]).unwrap();
    let (mut one, mut two, mut three) = (session(&chain), session(&chain), session(&chain));
    one.helo().await;
    two.helo().await;
    assert_eq!(fault(&three.helo().await), Some("instantiate"));
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
    // One of a transaction is gone with it.
    let filter = Filter::puppet("mail: say here").with("instances = 1").with("lifetime = \"transaction\"");
    let chain = load(&[filter.with("deadline = \"50ms\"")]).unwrap();
    let (mut one, mut two) = (session(&chain), session(&chain));
    one.mail().await;
    assert_eq!(fault(&two.mail().await), Some("instantiate"));
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
