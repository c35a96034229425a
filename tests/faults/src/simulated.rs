//! One cell on turmoil's network and clock: three machines, and nothing between them but what the cell says.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use turmoil::net::{TcpListener, TcpStream};
use wasmilter::net::Stream;
use wasmilter::net::dial::{Dial, Dialing};

use super::cell::{Cell, Fault, Place, Way};
use super::client::{Reach, deliver};
use super::stage::{Outcome, Stage};
use super::upstream::converse;

const GATEWAY: (&str, u16) = ("gateway", 2525);
const UPSTREAM: (&str, u16) = ("upstream", 25);
/// How finely time passes. Each packet takes one.
const TICK: Duration = Duration::from_millis(50);
/// On the network, each way.
const LATENCY: Duration = Duration::from_millis(1);
/// Far beyond all waits together.
const LONGEST: Duration = Duration::from_secs(600);
/// What the gateway does after the client is done has been done by then.
const REST: Duration = Duration::from_secs(30);

/// The gateway's and the client's way into the simulated network.
#[derive(Debug)]
struct Simulated;

impl Dial for Simulated {
    fn dial(&self, to: SocketAddr) -> Dialing<'_> {
        Box::pin(async move { TcpStream::connect(to).await.map(over) })
    }
}

impl Reach for Simulated {
    async fn reach(&self) -> Stream {
        over(TcpStream::connect(GATEWAY).await.unwrap())
    }
}

fn over(stream: TcpStream) -> Stream {
    let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    Stream::over(stream, local, peer)
}

pub(crate) fn play(way: Way, cell: Cell) -> Outcome {
    let stage = Stage::new(way, cell);
    let mut network = turmoil::Builder::new();
    network.simulation_duration(LONGEST).tick_duration(TICK).rng_seed(1);
    network.min_message_latency(LATENCY).max_message_latency(LATENCY);
    let mut sim = network.build();
    let own = Arc::clone(&stage);
    sim.host(UPSTREAM.0, move || upstream(Arc::clone(&own)));
    let own = Arc::clone(&stage);
    sim.host(GATEWAY.0, move || gateway(Arc::clone(&own)));
    let outcome = Rc::new(RefCell::new(None));
    let (own, kept) = (Arc::clone(&stage), Rc::clone(&outcome));
    sim.client("client", async move {
        let delivered = deliver(&own, &Simulated).await;
        kept.replace(Some(delivered));
        Ok(())
    });
    if cell == Cell::Upstream(Place::Connect, Fault::Dies) {
        stage.died.happen();
    }
    let (mut died, mut down) = (false, false);
    let mut rest = REST;
    while !rest.is_zero() {
        if sim.step().unwrap_or_else(|error| panic!("{way:?} {cell}: {error}")) {
            rest = rest.saturating_sub(TICK);
        }
        if stage.died.has_happened() && !died {
            sim.hold(GATEWAY.0, UPSTREAM.0);
            sim.crash(UPSTREAM.0);
            (died, down) = (true, true);
        } else if down && stage.well.has_happened() {
            sim.release(GATEWAY.0, UPSTREAM.0);
            sim.bounce(UPSTREAM.0);
            down = false;
        }
    }
    drop(sim);
    let mut outcome = outcome.take().unwrap();
    outcome.accepted.clone_from(&stage.accepted.lock().unwrap());
    outcome
}

async fn upstream(stage: Arc<Stage>) -> turmoil::Result {
    if stage.fault(Place::Connect) == Some(Fault::Resets) {
        stage.well.wait().await;
    }
    let listener = TcpListener::bind(("0.0.0.0", UPSTREAM.1)).await?;
    if stage.fault(Place::Connect) == Some(Fault::Stalls) {
        stage.well.wait().await;
    }
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(converse(Arc::clone(&stage), over(stream)));
    }
}

async fn gateway(stage: Arc<Stage>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", GATEWAY.1)).await?;
    let address = SocketAddr::new(turmoil::lookup(UPSTREAM.0), UPSTREAM.1);
    let gateway = stage.gateway(address, Some(Arc::new(Simulated)));
    loop {
        let (stream, peer) = listener.accept().await?;
        gateway.welcome(&Arc::from("mx"), over(stream), peer);
    }
}
