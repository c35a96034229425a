//! A gateway inside a program of your own: a configuration as text, an upstream beside it, and both on ports that the
//! system chooses. `cargo run --example embedded`, then speak SMTP to the address it prints; Ctrl-C ends it.

use wasmilter::config;
use wasmilter::net::inherit::Inherited;
use wasmilter::report::Metrics;
use wasmilter::server::{Gateway, Generation, Listeners};
use wasmilter::sink::{Options, Sink};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Stands for your mail server: it takes everything and keeps it in memory.
    let sink = Sink::bind("127.0.0.1:0".parse()?, Options::default()).await?;
    let text = format!(
        r#"
        hostname = "mx.example.org"
        [upstream]
        address = "{}"
        [relay]
        domains = ["example.org"]
        [[listener]]
        name = "mx"
        address = "127.0.0.1:0"
        "#,
        sink.local_addr()
    );
    let config = config::parse(&text, "embedded.toml", &|_| None)?;

    let generation = Generation::build(config, None)?;
    let config = std::sync::Arc::clone(generation.config());
    // Metrics of its own: the process may have others.
    let gateway = Gateway::new(generation, Metrics::detached()?);
    let mut listeners = Listeners::new(Inherited::none());
    let sockets = listeners.bind(&config)?;
    listeners.accept(&gateway, sockets);
    for (name, address) in listeners.bound() {
        eprintln!("{name} on {address}; mail for anybody@example.org is taken");
    }

    tokio::signal::ctrl_c().await?;
    gateway.shutdown.begin();
    let cut = gateway.shutdown.finish(config.shutdown.drain, config.shutdown.final_reply).await;
    eprintln!("{} messages came, {cut} sessions were cut", sink.messages().len());
    sink.shutdown().await;
    Ok(())
}
