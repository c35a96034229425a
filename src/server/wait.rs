//! An answer that a filter holds back: the one wait that nobody on either side has asked for.

use tokio::time::{Instant, sleep_until};

use super::client::ClientIo;
use super::shutdown::Shutdown;

/// Waits until then, or until the gateway goes down; what was answered before leaves first. False: the client is gone.
pub(super) async fn hold_back(io: &mut ClientIo, shutdown: &Shutdown, until: Instant) -> bool {
    if io.flush().await.is_err() {
        return false;
    }
    tokio::select! {
        biased;
        () = io.stream.closed() => false,
        () = shutdown.beginning() => true,
        () = sleep_until(until) => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::stream::Stream;
    use crate::smtp::replies;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn pair() -> (tokio::io::DuplexStream, ClientIo) {
        let (theirs, ours) = tokio::io::duplex(1_024);
        let nowhere = SocketAddr::from(([192, 0, 2, 7], 25));
        (theirs, ClientIo::new(Stream::over(ours, nowhere, nowhere), HOUR))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_and_those_before_it_do_not() {
        let (mut theirs, mut io) = pair();
        let (began, shutdown) = (Instant::now(), Shutdown::default());
        io.queue(&replies::OK);
        let heard = async {
            let mut octets = [0; 3];
            theirs.read_exact(&mut octets).await.unwrap();
            (octets, began.elapsed())
        };
        let (stays, heard) = tokio::join!(hold_back(&mut io, &shutdown, began + HOUR), heard);
        assert!(stays && heard == (*b"250", Duration::ZERO), "{heard:?}");
        assert!(began.elapsed() >= HOUR && began.elapsed() < 2 * HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_the_wait() {
        let (_theirs, mut io) = pair();
        let (began, shutdown) = (Instant::now(), Shutdown::default());
        shutdown.begin();
        assert!(hold_back(&mut io, &shutdown, began + HOUR).await);
        assert!(began.elapsed() < HOUR);
    }

    #[tokio::test]
    async fn a_client_that_resets_ends_the_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut io = ClientIo::new(Stream::from(listener.accept().await.unwrap().0), HOUR);
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        let shutdown = Shutdown::default();
        assert!(!hold_back(&mut io, &shutdown, Instant::now() + HOUR).await);
    }
}
