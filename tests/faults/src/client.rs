//! The client: a proper mail server with a message to deliver, until it leaves.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use wasmilter::net::Stream;

use super::cell::{Cell, Leaving, Moment, Place, Sending};
use super::stage::{Outcome, Stage, Told};

const MAIL: &str = "MAIL FROM:<a@client.test>\r\n";
const FIRST_RCPT: &str = "RCPT TO:<b@example.org>\r\n";
const SECOND_RCPT: &str = "RCPT TO:<c@example.org>\r\n";

fn first_half(number: usize) -> String {
    format!("Subject: attempt {number}\r\nFrom: a@client.test\r\n\r\nThe middle.\r\n")
}

/// How the client reaches the gateway.
pub(crate) trait Reach {
    async fn reach(&self) -> Stream;
}

#[derive(Debug)]
struct Client<'a, R> {
    stage: &'a Arc<Stage>,
    network: &'a R,
    stream: Option<Stream>,
    told: Vec<Told>,
}

/// Delivers while the fault lasts, and then until it succeeds.
pub(crate) async fn deliver<R: Reach>(stage: &Arc<Stage>, network: &R) -> Outcome {
    let mut client = Client { stage, network, stream: None, told: Vec::new() };
    let mut outcome = Outcome::default();
    client.attempt(0).await;
    outcome.faulty = std::mem::take(&mut client.told);
    if let Cell::Upstream(..) = stage.cell {
        stage.struck.happen();
        stage.well.happen();
        for number in 1..=2 {
            let done = client.attempt(number).await;
            outcome.well.push(std::mem::take(&mut client.told));
            if done {
                break;
            }
        }
    }
    drop(client);
    outcome
}

impl<R: Reach> Client<'_, R> {
    /// One message; true when it was taken.
    async fn attempt(&mut self, number: usize) -> bool {
        self.try_attempt(number).await.unwrap_or(false)
    }

    /// None: the connection is gone, or we are.
    async fn try_attempt(&mut self, number: usize) -> Option<bool> {
        if self.stream.is_none() {
            self.stream = Some(self.network.reach().await);
            self.hear("the connection", Some(Moment::Banner)).await?;
            self.ask("EHLO", "EHLO client.test\r\n", Some(Moment::Hello)).await?;
        } else {
            self.ask("RSET", "RSET\r\n", None).await?;
        }
        match self.stage.way.sending {
            Sending::Stepwise | Sending::Chunked => self.envelope(number).await,
            Sending::Pipelined => self.group(number).await,
        }
    }

    async fn envelope(&mut self, number: usize) -> Option<bool> {
        if self.ask("MAIL", MAIL, Some(Moment::Mail)).await? != 2 {
            return Some(false);
        }
        let first = self.ask("the first RCPT", FIRST_RCPT, None).await?;
        let chunked = self.stage.way.sending == Sending::Chunked;
        // Who resets later leaves the end of an earlier answer unread.
        let unread = chunked && self.resets(Moment::Body);
        self.send(SECOND_RCPT).await;
        let second = self.hear_but("the second RCPT", unread || self.resets(Moment::Rcpt)).await?;
        self.leave(Some(Moment::Rcpt)).await?;
        if first != 2 && second != 2 {
            return Some(false);
        }
        if chunked {
            return self.chunks(number).await;
        }
        self.send("DATA\r\n").await;
        if self.hear_but("DATA", self.resets_in_data()).await? != 3 {
            return Some(false);
        }
        self.content(number).await
    }

    /// MAIL, RCPT, RCPT and DATA in one packet.
    async fn group(&mut self, number: usize) -> Option<bool> {
        self.send(&[MAIL, FIRST_RCPT, SECOND_RCPT, "DATA\r\n"].concat()).await;
        let mail = self.hear("MAIL", None).await?;
        let first = self.hear("the first RCPT", None).await?;
        let second = self.hear("the second RCPT", None).await?;
        if self.hear_but("DATA", self.resets_in_data()).await? != 3 {
            return Some(false);
        }
        if mail != 2 || (first != 2 && second != 2) {
            // Nobody is to get it (RFC 2920 3.1).
            self.send(".\r\n").await;
            self.hear("the message", None).await?;
            return Some(false);
        }
        self.content(number).await
    }

    fn resets_in_data(&self) -> bool {
        self.resets(Moment::Body) || self.resets(Moment::Dot)
    }

    async fn content(&mut self, number: usize) -> Option<bool> {
        self.send(&first_half(number)).await;
        self.leave(Some(Moment::Body)).await?;
        self.wait_for_the_fault(number).await;
        self.send("The end.\r\n.\r\n").await;
        self.hear_of_the_message().await
    }

    async fn chunks(&mut self, number: usize) -> Option<bool> {
        let first = first_half(number);
        if self.stage.leaving(Moment::Body).is_some() {
            self.send(&format!("BDAT {}\r\n{first}", first.len() + 100)).await;
            self.leave(Some(Moment::Body)).await?;
        }
        self.send(&format!("BDAT {}\r\n{first}", first.len())).await;
        let unread = self.resets(Moment::BetweenChunks) || self.resets(Moment::Dot);
        let class = self.hear_but("DATA", unread).await?;
        self.leave(Some(Moment::BetweenChunks)).await?;
        if class != 2 {
            return Some(false);
        }
        self.wait_for_the_fault(number).await;
        self.send("BDAT 10 LAST\r\nThe end.\r\n").await;
        self.hear_of_the_message().await
    }

    async fn wait_for_the_fault(&self, number: usize) {
        // A deferred upstream hears nothing of the message before it is whole.
        let live = self.stage.way.connect != "deferred";
        if live && number == 0 && matches!(self.stage.cell, Cell::Upstream(Place::Body, _)) {
            self.stage.struck.wait().await;
        }
    }

    async fn hear_of_the_message(&mut self) -> Option<bool> {
        if self.stage.leaving(Moment::Dot).is_some() {
            // Not before the upstream has it; it answers when we have left.
            self.stage.dotted.wait().await;
        }
        self.leave(Some(Moment::Dot)).await?;
        Some(self.hear("the message", None).await? == 2)
    }

    fn resets(&self, moment: Moment) -> bool {
        self.stage.leaving(moment) == Some(Leaving::Resets)
    }

    async fn ask(&mut self, name: &'static str, line: &str, moment: Option<Moment>) -> Option<u8> {
        self.send(line).await;
        self.hear(name, moment).await
    }

    async fn send(&mut self, octets: &str) {
        if let Some(stream) = &mut self.stream {
            // If that fails, the answer that does not come says so.
            let _ = stream.write_all(octets.as_bytes()).await;
            let _ = stream.flush().await;
        }
    }

    /// The class of the answer; then we leave, if that is to be now.
    async fn hear(&mut self, name: &'static str, moment: Option<Moment>) -> Option<u8> {
        let unread = moment.is_some_and(|moment| self.resets(moment));
        let class = self.hear_but(name, unread).await?;
        self.leave(moment).await?;
        Some(class)
    }

    /// `unread`: all but the answer's last octet.
    async fn hear_but(&mut self, name: &'static str, unread: bool) -> Option<u8> {
        let (began, mut answer) = (Instant::now(), None);
        while let Some(line) = self.line(unread).await {
            let goes_on = line.as_bytes().get(3) == Some(&b'-');
            answer.get_or_insert(line);
            if !goes_on {
                let told = Told { asked: name, answer, after: began.elapsed() };
                let class = told.class();
                self.told.push(told);
                return Some(class);
            }
        }
        self.told.push(Told { asked: name, answer: None, after: began.elapsed() });
        self.stream = None;
        None
    }

    async fn line(&mut self, unread: bool) -> Option<String> {
        let stream = self.stream.as_mut()?;
        let mut line = Vec::new();
        loop {
            match stream.read_u8().await.ok()? {
                b'\r' if unread && line.get(3) == Some(&b' ') => break,
                b'\n' => break,
                b'\r' => {}
                octet => line.push(octet),
            }
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// None when we have left; what we were told after that is written down.
    async fn leave(&mut self, moment: Option<Moment>) -> Option<()> {
        let Some(leaving) = moment.and_then(|moment| self.stage.leaving(moment)) else { return Some(()) };
        match leaving {
            Leaving::Resets => self.stream = None,
            Leaving::FallsSilent => {}
            Leaving::HalfCloses => self.stream.as_mut()?.shutdown().await.ok()?,
        }
        self.stage.struck.happen();
        let name = if moment == Some(Moment::Dot) { "the message" } else { "nothing" };
        while self.stream.is_some() {
            self.hear_but(name, false).await;
        }
        None
    }
}
