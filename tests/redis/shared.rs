//! The shared state of a gateway without the gateway.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use wasmilter::config::{Rate, parse};
use wasmilter::net::dial::{Dial, Tcp};
use wasmilter::net::dns::Resolver;
use wasmilter::shared::Shared;
use wasmilter::state::limits::{How, Question};

use crate::server::WAIT;

/// Of a configuration with this `[state]`, which is connected to from now on.
pub(crate) fn begun(state: &str) -> Arc<Shared> {
    let text = format!(
        "hostname = \"mx.inside.test\"\nupstream = {{ address = \"127.0.0.1:10025\" }}\n[[listener]]\n\
         name = \"mx\"\naddress = \"127.0.0.1:25\"\n[state]\n{state}\n"
    );
    let config = parse(&text, "/etc/wasmilter/wasmilter.toml", &|_| None).unwrap_or_else(|why| panic!("{why}"));
    let (resolver, dialer) = (Resolver::new(&config.resolver).unwrap(), Arc::new(Tcp) as Arc<dyn Dial>);
    let shared = Shared::new(config.state.shared.as_ref().unwrap(), &resolver, &dialer, None).unwrap();
    shared.begin();
    shared
}

/// The same as soon as all of it is there.
pub(crate) async fn connected(state: &str) -> Arc<Shared> {
    let shared = begun(state);
    is_there(&shared).await;
    shared
}

/// Waits until all of it is there.
pub(crate) async fn is_there(shared: &Shared) {
    let there = async {
        while !shared.is_up() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, there).await.unwrap_or_else(|_| panic!("it is not there: {}", shared.shown()));
}

/// One more of what may be had `burst` times, for somebody.
pub(crate) fn question(who: &str, burst: u32) -> Question<'static> {
    Question {
        quota: "limit:few:messages".into(),
        key: who.into(),
        rate: Rate { count: 1, per: Duration::from_secs(3_600), burst },
        how: How::Charge,
        amount: NonZeroU32::MIN,
        distinct: None,
        refuses: true,
        regardless: false,
    }
}
