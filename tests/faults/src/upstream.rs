//! The upstream: a small mail server that a fault befalls at one place, until it is well.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmilter::net::Stream;

use super::cell::{Fault, Moment, Place};
use super::stage::Stage;

const NONSENSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n";

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

#[derive(Debug)]
struct Conversation {
    stage: Arc<Stage>,
    stream: Stream,
    /// XCLIENT was said: the next EHLO is the client's.
    introduced: bool,
    recipients: usize,
}

/// One connection from its beginning to its end.
pub(crate) async fn converse(stage: Arc<Stage>, stream: Stream) {
    let mut conversation = Conversation { stage, stream, introduced: false, recipients: 0 };
    // However it ends: what was said until then is in the stage.
    let _ = conversation.run().await;
}

impl Conversation {
    async fn run(&mut self) -> std::io::Result<()> {
        if self.answer(Place::Banner, "220 upstream.test ESMTP").await? == Then::End {
            return Ok(());
        }
        // Up to the CR: who resets a connection leaves something unread.
        while let Some(line) = self.line().await? {
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let then = match verb.as_str() {
                "EHLO" if self.introduced => self.answer(Place::ClientHello, self.offer()).await?,
                "EHLO" => self.answer(Place::Hello, self.offer()).await?,
                "STARTTLS" => self.start_tls().await?,
                "XCLIENT" => {
                    self.introduced = true;
                    self.answer(Place::Xclient, "220 upstream.test ESMTP").await?
                }
                "MAIL" => {
                    self.recipients = 0;
                    self.answer(Place::Mail, "250 2.1.0 Ok").await?
                }
                "RCPT" => {
                    self.recipients += 1;
                    let place = if self.recipients == 1 { Place::FirstRcpt } else { Place::SecondRcpt };
                    self.answer(place, "250 2.1.5 Ok").await?
                }
                "DATA" => match self.answer(Place::Data, "354 Go ahead").await? {
                    Then::GoOn => self.content().await?,
                    Then::End => Then::End,
                },
                "QUIT" => {
                    self.finish_line().await?;
                    self.say("221 2.0.0 Bye").await?;
                    Then::End
                }
                _ => {
                    self.finish_line().await?;
                    self.say("250 2.0.0 Ok").await?;
                    Then::GoOn
                }
            };
            if then == Then::End {
                return Ok(());
            }
        }
        Ok(())
    }

    fn offer(&self) -> &'static str {
        match (self.stage.wants_tls(), self.stream.is_tls(), self.introduced) {
            (true, false, _) => "250-upstream.test\r\n250-STARTTLS\r\n250 8BITMIME",
            (_, _, false) => {
                "250-upstream.test\r\n250-PIPELINING\r\n250-XCLIENT NAME ADDR PORT PROTO HELO\r\n250 8BITMIME"
            }
            (_, _, true) => "250-upstream.test\r\n250-PIPELINING\r\n250 8BITMIME",
        }
    }

    /// The answer, or the fault in its place.
    async fn answer(&mut self, place: Place, answer: &str) -> std::io::Result<Then> {
        match self.stage.fault(place) {
            None => {
                self.finish_line_of(place).await?;
                self.say(answer).await?;
                Ok(Then::GoOn)
            }
            Some(fault) => self.strike(place, fault).await,
        }
    }

    async fn strike(&mut self, place: Place, fault: Fault) -> std::io::Result<Then> {
        match fault {
            Fault::Dies => {
                self.stage.died.happen();
                self.stage.struck.happen();
                std::future::pending().await
            }
            Fault::Stalls => {
                self.stage.struck.happen();
                std::future::pending().await
            }
            Fault::Garbage => {
                self.finish_line_of(place).await?;
                // Amid the body the worst is what could pass for an answer to it.
                let said = if place == Place::Body { &b"250 2.0.0 Ok\r\n"[..] } else { NONSENSE };
                self.stream.write_all(said).await?;
                self.stream.flush().await?;
                self.stage.struck.happen();
                Ok(Then::GoOn)
            }
            Fault::Closes => {
                self.finish_line_of(place).await?;
                self.stage.struck.happen();
                Ok(Then::End)
            }
            Fault::Resets => {
                if place == Place::Banner {
                    reset(&self.stream);
                }
                self.stage.struck.happen();
                Ok(Then::End)
            }
        }
    }

    async fn start_tls(&mut self) -> std::io::Result<Then> {
        if self.answer(Place::StartTls, "220 Go ahead").await? == Then::End {
            return Ok(Then::End);
        }
        if self.stage.fault(Place::StartTls).is_some() {
            return Ok(Then::GoOn);
        }
        if let Some(fault) = self.stage.fault(Place::Handshake) {
            // The beginning of its hello; who closes reads all of it first.
            let mut record = [0; 5];
            self.stream.read_exact(&mut record).await?;
            if fault == Fault::Closes {
                let mut rest = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
                self.stream.read_exact(&mut rest).await?;
            }
            return self.strike(Place::Handshake, fault).await;
        }
        let acceptor = self.stage.acceptor();
        Ok(if self.stream.start_tls_server(&acceptor).await.is_ok() { Then::GoOn } else { Then::End })
    }

    async fn content(&mut self) -> std::io::Result<Then> {
        let mut message = String::new();
        while let Some(line) = self.line().await? {
            if line == "." {
                let subject = message.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
                self.stage.accepted.lock().unwrap().push(subject.to_owned());
                self.stage.dotted.happen();
                if self.stage.leaving(Moment::Dot).is_some() {
                    self.stage.struck.wait().await;
                }
                let then = self.answer(Place::Dot, "250 2.0.0 Ok: queued").await?;
                return match self.stage.fault(Place::AfterReply) {
                    Some(fault) => self.after_reply(fault).await,
                    None => Ok(then),
                };
            }
            message.push_str(&line);
            message.push('\n');
            if line == "The middle."
                && let Some(fault) = self.stage.fault(Place::Body)
            {
                if self.strike(Place::Body, fault).await? == Then::End {
                    return Ok(Then::End);
                }
            } else {
                self.finish_line().await?;
            }
        }
        Ok(Then::End)
    }

    /// Its answer is out, and has been heard before anything breaks, but for what comes in the same breath.
    async fn after_reply(&mut self, fault: Fault) -> std::io::Result<Then> {
        if fault == Fault::Resets {
            // Only something unread makes it a reset: the next command.
            self.line().await?;
            return Ok(Then::End);
        }
        if fault == Fault::Dies {
            self.stage.struck.wait().await;
            self.stage.died.happen();
        }
        if fault == Fault::Garbage {
            self.say("250 2.0.0 Ok: once more").await?;
            return Ok(Then::GoOn);
        }
        self.strike(Place::AfterReply, fault).await
    }

    async fn say(&mut self, answer: &str) -> std::io::Result<()> {
        self.stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    /// The next line up to its CR.
    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let mut octet = [0];
            if self.stream.read(&mut octet).await? == 0 {
                return Ok(None);
            }
            match octet[0] {
                b'\r' => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
                other => line.push(other),
            }
        }
    }

    async fn finish_line_of(&mut self, place: Place) -> std::io::Result<()> {
        if matches!(place, Place::Banner | Place::Handshake | Place::AfterReply) {
            return Ok(());
        }
        self.finish_line().await
    }

    async fn finish_line(&mut self) -> std::io::Result<()> {
        self.stream.read_u8().await.map(drop)
    }
}

/// With a real socket, where nothing is there to be left unread.
fn reset(stream: &Stream) {
    let tcp = stream.tcp().unwrap();
    tcp.set_zero_linger().unwrap();
}
