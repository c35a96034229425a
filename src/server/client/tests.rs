//! Clients that are slow on purpose, in simulated time: however few octets they say or take, a wait ends.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use tokio::io::DuplexStream;

use super::*;
use crate::smtp::replies;

const MINUTE: Duration = Duration::from_secs(60);

/// A client whose line holds so many octets, and how it is heard here.
fn client(octets: usize) -> (DuplexStream, ClientIo) {
    let (theirs, ours) = tokio::io::duplex(octets);
    let nowhere = SocketAddr::from(([192, 0, 2, 7], 25));
    (theirs, ClientIo::new(Stream::over(ours, nowhere, nowhere), 3 * MINUTE))
}

#[tokio::test(start_paused = true)]
async fn a_command_in_single_octets_has_no_more_time_than_one_in_a_packet() {
    let (mut theirs, mut io) = client(1_024);
    let trickle = async {
        let mut minutes = tokio::time::interval(MINUTE);
        for octet in b"NOOP NOOP NOOP NOOP\r\n".chunks(1) {
            minutes.tick().await;
            theirs.write_all(octet).await.unwrap();
        }
    };
    let began = Instant::now();
    let heard = tokio::select! {
        heard = io.line(Expect::Command, began + 5 * MINUTE) => heard,
        () = trickle => panic!("the whole line was waited for"),
    };
    assert!(matches!(heard, Heard::Silence), "{heard:?}");
    assert_eq!(began.elapsed(), 5 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_no_answer_is_gone() {
    let (_theirs, mut io) = client(16);
    io.queue(&replies::VRFY);
    let began = Instant::now();
    assert_eq!(io.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(began.elapsed(), 3 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_an_answer_octet_by_octet_is_gone_as_soon() {
    let (mut theirs, mut io) = client(16);
    for _ in 0..10 {
        io.queue(&replies::VRFY);
    }
    let sip = async {
        let mut octet = [0];
        let mut seconds = tokio::time::interval(MINUTE / 60);
        loop {
            seconds.tick().await;
            theirs.read_exact(&mut octet).await.unwrap();
        }
    };
    let flushed = tokio::select! {
        flushed = io.flush() => flushed,
        () = sip => panic!("it never ends"),
    };
    assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

/// Pipelined commands whose answers nobody takes fill a buffer of a known size, and then the wait begins.
#[tokio::test(start_paused = true)]
async fn answers_do_not_pile_up() {
    let (mut theirs, mut io) = client(1 << 20);
    theirs.write_all(&b"NOOP\r\n".repeat(50_000)).await.unwrap();
    let mut most = 0;
    loop {
        match io.line(Expect::Command, Instant::now() + MINUTE).await {
            Heard::Line(_) => io.queue(&replies::VRFY),
            Heard::Gone => break,
            other => panic!("{other:?}"),
        }
        most = most.max(io.output.len());
    }
    assert!(most <= REPLIES_BYTES_MAX + COMMAND_READ_BYTES_MAX / 6 * 100, "{most}");
}
