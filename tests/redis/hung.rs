//! A server that takes questions and says nothing. Time stands still but for waits, so that they can be counted.

use std::time::Duration;

use tokio::time::Instant;
use wasmilter::config::Rates;
use wasmilter::shared::Shared;
use wasmilter::state::keyed::HashKey;
use wasmilter::state::limits::{Group, Limits};

use crate::server::Redis;
use crate::shared::{connected, is_there};

const ADDRESS: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// How long a message waits for its limits.
async fn waited(shared: &Shared, limits: &Limits) -> Duration {
    let before = Instant::now();
    let mut group = Group::new(limits.message_checks(ADDRESS, None), Vec::new());
    shared.settle(&mut group).await;
    assert!(group.finish().refused.is_none());
    before.elapsed()
}

#[test]
fn a_hung_server_costs_its_timeout_once() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limits = Limits::new(&Rates::default(), &[], HashKey::random());
    runtime.block_on(async {
        let shared = connected(&format!("redis = \"{}\"\ntimeout = \"150ms\"", redis.url())).await;
        redis.signal("STOP");
        tokio::time::pause();
        // As many as there may be wait at the same time, and no longer than one.
        let (a, b, c) = tokio::join!(waited(&shared, &limits), waited(&shared, &limits), waited(&shared, &limits));
        for wait in [a, b, c] {
            assert!((150..=152).contains(&wait.as_millis()), "{wait:?}");
        }
        for _ in 0..3 {
            assert_eq!(waited(&shared, &limits).await, Duration::ZERO, "it is known to be away");
        }
        assert!(!shared.is_up());
        // However long it stays away: attempts to reach it are nobody's wait.
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(waited(&shared, &limits).await, Duration::ZERO);
        redis.signal("CONT");
        tokio::time::resume();
        is_there(&shared).await;
    });
}
