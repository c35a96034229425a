//! Who can make calls of a filter not be waited for, and who cannot.

use std::sync::Arc;

use wasmilter::chain::Chain;

use crate::support::{Filter, Session, brief, fault, load, session, told};

fn is_waited_for(chain: &Arc<Chain>, name: &str) -> bool {
    chain.programs().find(|program| *program.profile().name == *name).unwrap().is_waited_for()
}

/// Ten thousand messages that crash a filter, some that let it loop and some that let it hoard: the next is asked about,
/// and so is every other filter.
#[tokio::test]
async fn mail_that_breaks_a_filter_opens_nothing_violated() {
    for (script, rounds, kind, bounds) in [
        ("helo: panic; mail: say here", 10_000, "trap", "instances = 1"),
        ("helo: spin; mail: say here", 50, "cpu", "cpu = \"5ms\""),
        ("helo: hoard; mail: say here", 50, "memory", "memory = \"4 MiB\""),
        ("helo: no-text; mail: say here", 50, "bad-answer", "instances = 1"),
    ] {
        let broken = Filter::puppet(script).with(bounds).with("on-fault = \"next\"");
        let chain = load(&[broken, Filter::puppet("helo: say other").named("other")]).unwrap();
        let mut mail = session(&chain);
        for _ in 0..rounds {
            let outcome = mail.helo().await;
            // With so little processor time its `init` may already be too much.
            assert!([Some(kind), Some("instantiate")].contains(&fault(&outcome)), "{:?}", fault(&outcome));
            assert_eq!(told(&outcome), "other");
        }
        assert!(is_waited_for(&chain, "puppet") && is_waited_for(&chain, "other"));
        assert_eq!(mail.mail().await.opinions[0].reason.as_deref(), Some("here"));
    }
}

/// One session has the only instance and keeps it: the others wait in vain, then no more, and are served again as soon
/// as it is free.
#[tokio::test]
async fn a_host_without_instances_is_not_waited_for_obeyed() {
    let scarce = Filter::puppet("helo: say here").with("instances = 1").with("deadline = \"60ms\"");
    // What is done about the filter's own faults does not matter here.
    let chain = load(&[scarce.with("on-fault = \"next\"")]).unwrap();
    let mut holder = session(&chain);
    assert_eq!(told(&holder.helo().await), "here");
    let mut others: Vec<Session> = (0..7).map(|_| session(&chain)).collect();
    for (turn, other) in others.iter_mut().enumerate() {
        assert_eq!(is_waited_for(&chain, "puppet"), turn < 5, "{turn}");
        let outcome = other.helo().await;
        // The same answer, whether it waited or not, and never a pass.
        assert_eq!((brief(&outcome.verdict).as_str(), fault(&outcome)), ("421 4.3.2", Some("no-instance")));
    }
    drop(holder);
    assert_eq!(told(&others[0].helo().await), "here", "a free one is used");
    assert!(is_waited_for(&chain, "puppet"));
    assert_eq!(told(&others[0].helo().await), "here");
}

/// Where an instance comes free now and then, somebody gets it, and everybody goes on waiting.
#[tokio::test]
async fn a_busy_filter_is_waited_for_obeyed() {
    let scarce = Filter::puppet("helo: say here").with("instances = 1").with("deadline = \"60ms\"");
    let chain = load(&[scarce]).unwrap();
    for _ in 0..3 {
        let mut holder = session(&chain);
        assert_eq!(told(&holder.helo().await), "here");
        for _ in 0..4 {
            assert_eq!(fault(&session(&chain).helo().await), Some("no-instance"));
        }
        assert!(is_waited_for(&chain, "puppet"));
    }
}
