//! What the files in tests/configs cannot show.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

fn no_environment(_: &str) -> Option<String> {
    None
}

fn read(text: &str) -> Result<Config, ConfigErrors> {
    parse(text, "/etc/wasmilter/wasmilter.toml", &no_environment)
}

const SMALL: &str = r#"
hostname = "mx.example.org"
upstream = { address = "127.0.0.1:10025" }
relay = { domains = ["example.org", ".example.org"] }
[[listener]]
name = "mx"
address = "0.0.0.0:25"
"#;

#[test]
fn a_small_file_has_every_default() {
    let config = read(SMALL).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.rates, Rates::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.relay.domains, ["example.org"]);
    assert_eq!(config.relay.subdomains_of, ["example.org"]);
    assert_eq!(config.listeners[0].tls, ListenerTls::Off);
    assert_eq!((config.upstream.host.as_str(), config.upstream.port), ("127.0.0.1", 10025));
    assert_eq!(config.admin, None);
}
