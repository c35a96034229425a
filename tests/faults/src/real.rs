//! One cell with real sockets and the real clock, where nobody has to wait for long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use wasmilter::net::Stream;
use wasmilter::server::Gateway;

use super::cell::{Cell, Fault, Place, Way};
use super::client::{Reach, deliver};
use super::stage::{Outcome, Stage};
use super::upstream::converse;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Sockets {
    gateway: Arc<Gateway>,
}

impl Reach for Sockets {
    async fn reach(&self) -> Stream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        for tcp in [&client, &accepted] {
            tcp.set_nodelay(true).unwrap();
        }
        self.gateway.welcome(&Arc::from("mx"), Stream::from(accepted), peer);
        Stream::from(client)
    }
}

pub(crate) fn play(way: Way, cell: Cell) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = Stage::new(way, cell);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(upstream(Arc::clone(&stage), listener, address));
        let gateway = stage.gateway(address, None);
        let network = Sockets { gateway: Arc::clone(&gateway) };
        let delivering = tokio::time::timeout(PATIENCE, deliver(&stage, &network));
        let mut outcome = delivering.await.unwrap_or_else(|_| panic!("{way:?} {cell}: it never ends"));
        gateway.shutdown.begin();
        let cut = gateway.shutdown.finish(PATIENCE, PATIENCE).await;
        assert_eq!(cut, 0, "{way:?} {cell}: sessions were left");
        serving.abort();
        outcome.accepted.clone_from(&stage.accepted.lock().unwrap());
        outcome
    })
}

async fn upstream(stage: Arc<Stage>, mut listener: TcpListener, address: SocketAddr) {
    if stage.fault(Place::Connect) == Some(Fault::Resets) {
        drop(listener);
        stage.well.wait().await;
        listener = TcpListener::bind(address).await.unwrap();
    }
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(converse(Arc::clone(&stage), Stream::from(stream)));
    }
}
