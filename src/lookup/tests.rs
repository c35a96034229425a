//! What is kept, and what is not.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use super::*;
use crate::net::dial::{Dial, Tcp};
use crate::net::dns::Resolver;

/// Says what it is told to, and counts.
#[derive(Debug, Default)]
struct Scripted {
    says: Mutex<Option<Result<Option<String>, String>>>,
    asked: Mutex<u32>,
}

impl Source for Scripted {
    fn ask<'a>(&'a self, _: &'a str) -> Said<'a> {
        *self.asked.lock().unwrap() += 1;
        let says = self.says.lock().unwrap().clone();
        Box::pin(async move {
            match says {
                Some(says) => says,
                None => std::future::pending().await,
            }
        })
    }
}

struct Asked {
    lookups: Lookups,
    source: Arc<Scripted>,
    metrics: Metrics,
}

impl Asked {
    fn new() -> Asked {
        let table = "[table.people]\nurl = \"https://directory.test/\"\nconcurrent = 1\n";
        let text = format!(
            "hostname = \"mx.test\"\n[upstream]\naddress = \"127.0.0.1:1\"\n[relay]\ndomains = [\"a.test\"]\n\
             recipients = \"people\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n{table}"
        );
        let config = config::parse(&text, "w.toml", &|_| None).unwrap();
        let source = Arc::new(Scripted::default());
        let instead = [("people".to_owned(), Arc::clone(&source) as Arc<dyn Source>)].into();
        let (resolver, dialer) = (Resolver::new(&config.resolver).unwrap(), Arc::new(Tcp) as Arc<dyn Dial>);
        let reach = Reach { upstreams: None, resolver: &resolver, dialer: &dialer };
        let lookups = Lookups::new(&config.tables, &reach, None, &instead).unwrap();
        Asked { lookups, source, metrics: Metrics::detached().unwrap() }
    }

    fn say(&self, says: Result<Option<&str>, &str>) {
        let says = says.map(|value| value.map(str::to_owned)).map_err(str::to_owned);
        *self.source.says.lock().unwrap() = Some(says);
    }

    async fn ask(&self, key: &str) -> Found {
        let wanted = Wanted { table: "people".into(), key: key.into() };
        self.lookups.ask(&wanted, &self.metrics).await
    }

    fn asked(&self) -> u32 {
        *self.source.asked.lock().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_both_ways_for_their_time_and_doubt_is_not() {
    let table = Asked::new();
    table.say(Err("away"));
    assert_eq!((table.ask("a").await, table.ask("a").await, table.asked()), (Found::Doubt, Found::Doubt, 2));
    table.say(Ok(None));
    assert_eq!(table.ask("a").await, Found::Absent);
    table.say(Ok(Some("value")));
    assert_eq!((table.ask("a").await, table.asked()), (Found::Absent, 3));
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(table.ask("a").await, Found::Held("value".into()));
    table.say(Err("away"));
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!((table.ask("a").await, table.asked()), (Found::Held("value".into()), 4));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(table.ask("a").await, Found::Doubt);
}

#[tokio::test]
async fn what_is_too_long_beside_a_key_is_left_out() {
    let table = Asked::new();
    let (longest, longer) = ("x".repeat(VALUE_BYTES_MAX), "x".repeat(VALUE_BYTES_MAX + 1));
    table.say(Ok(Some(&longer)));
    assert_eq!(table.ask("a").await, Found::Held(String::new()));
    table.say(Ok(Some(&longest)));
    assert_eq!(table.ask("b").await, Found::Held(longest));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_in_doubt_and_so_is_who_has_to_wait_too_long() {
    let table = Asked::new();
    let (first, second) = tokio::join!(table.ask("a"), table.ask("b"));
    assert_eq!((first, second, table.asked()), (Found::Doubt, Found::Doubt, 1));
    table.say(Ok(Some("")));
    assert_eq!(table.ask("a").await, Found::Held(String::new()));
    assert_eq!(table.ask(&"x".repeat(KEY_BYTES_MAX + 1)).await, Found::Absent);
}
