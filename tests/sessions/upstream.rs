//! The upstream of the model: a mail server that keeps to the protocol, or not, as it is told; that writes down what it
//! has accepted; and that minds its manners' being minded.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const READ_BYTES: usize = 4_096;

/// What all connections of one play have heard.
#[derive(Debug, Default)]
pub struct Heard {
    pub accepted: Vec<Accepted>,
    /// What no client of a mail server may say.
    pub offences: Vec<String>,
}

/// A message that got its 2xx.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub number: usize,
    /// The numbers of the answers to its recipients.
    pub recipients: Vec<usize>,
    /// As it came: our trace field first, dots stuffed where it came by DATA.
    pub wire: Vec<u8>,
}

impl Accepted {
    /// Below the gateway's own field, and the empty line that goes below that where no field follows.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        let mut at = 0;
        while let Some(end) = self.wire[at..].windows(2).position(|pair| pair == b"\r\n") {
            at += end + 2;
            if !matches!(self.wire.get(at), Some(b' ' | b'\t')) {
                break;
            }
        }
        let content = &self.wire[at..];
        content.strip_prefix(b"\r\n").unwrap_or(content)
    }
}

/// Which answer comes next.
#[derive(Debug)]
pub struct Choices {
    left: Vec<u8>,
    pub offer: u8,
    numbers: usize,
}

/// An answer, or what takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Yes,
    Later,
    No,
    /// 421, and the connection closes.
    Leave,
    Close,
    Nonsense,
    /// What belongs to another command.
    Wrong,
    /// In two lines.
    Long,
    /// Yes, and something that nobody asked for.
    Twice,
}

impl Choices {
    #[must_use]
    pub fn new(choices: &[u8], offer: u8) -> Choices {
        Choices { left: choices.iter().rev().copied().collect(), offer, numbers: 0 }
    }

    fn next(&mut self) -> Choice {
        match self.left.pop().unwrap_or(0) {
            200..=207 => Choice::Later,
            208..=215 => Choice::No,
            216..=221 => Choice::Leave,
            222..=227 => Choice::Close,
            228..=233 => Choice::Nonsense,
            234..=239 => Choice::Wrong,
            240..=247 => Choice::Long,
            248..=251 => Choice::Twice,
            _ => Choice::Yes,
        }
    }

    pub fn refuses_connection(&mut self) -> bool {
        self.next() == Choice::Close
    }

    fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }
}

#[derive(Debug)]
struct Conversation {
    pipe: DuplexStream,
    input: Vec<u8>,
    heard: Arc<Mutex<Heard>>,
    choices: Arc<Mutex<Choices>>,
    mail: bool,
    recipients: Vec<usize>,
    chunks: Vec<u8>,
}

/// None: the connection is over.
type Then = Option<()>;

pub async fn converse(pipe: DuplexStream, heard: Arc<Mutex<Heard>>, choices: Arc<Mutex<Choices>>) {
    let mut conversation = Conversation {
        pipe,
        input: Vec::new(),
        heard,
        choices,
        mail: false,
        recipients: Vec::new(),
        chunks: Vec::new(),
    };
    let _ = conversation.run().await;
}

impl Conversation {
    async fn run(&mut self) -> Then {
        self.answer(220, "upstream.test").await?;
        loop {
            let line = self.line().await?;
            let text = String::from_utf8_lossy(&line).into_owned();
            let mut words = text.split(' ');
            match words.next().unwrap_or_default() {
                "EHLO" => {
                    self.forget();
                    self.greet().await?;
                }
                "HELO" => {
                    self.forget();
                    self.answer(250, "upstream.test").await?;
                }
                "MAIL" if !self.mail => {
                    let yes = self.answer(250, "sender").await?;
                    self.mail = yes.is_some();
                }
                "RCPT" if self.mail => {
                    let yes = self.answer(250, "recipient").await?;
                    self.recipients.extend(yes);
                }
                "DATA" if !self.recipients.is_empty() => self.data().await?,
                "BDAT" => self.bdat(words.next(), words.next()).await?,
                "RSET" => {
                    self.forget();
                    self.answer(250, "reset").await?;
                }
                "QUIT" => {
                    self.say("221 2.0.0 Bye\r\n").await?;
                    return None;
                }
                "MAIL" | "RCPT" | "DATA" => self.say("503 5.5.1 Not now\r\n").await?,
                _ => {
                    self.offence(format!("unknown command {text:?}"));
                    self.say("500 5.5.2 What?\r\n").await?;
                }
            }
        }
    }

    fn forget(&mut self) {
        self.mail = false;
        self.recipients.clear();
        self.chunks.clear();
    }

    fn offence(&self, what: String) {
        self.heard.lock().unwrap().offences.push(what);
    }

    async fn greet(&mut self) -> Then {
        let offer = self.choices.lock().unwrap().offer;
        let words =
            [(1, "PIPELINING"), (2, "8BITMIME"), (4, "CHUNKING"), (4, "BINARYMIME"), (8, "SMTPUTF8"), (8, "DSN")];
        let mut reply = String::from("250-upstream.test\r\n");
        for (_, word) in words.into_iter().filter(|(bit, _)| offer & bit != 0) {
            reply.push_str(&format!("250-{word}\r\n"));
        }
        reply.push_str("250 ENHANCEDSTATUSCODES\r\n");
        match self.choose() {
            Choice::Yes | Choice::Twice | Choice::Long => self.say(&reply).await,
            other => self.refuse(other).await.map(drop),
        }
    }

    /// An answer too many behind a pipelined command would be the answer to the next one, for anybody.
    fn choose(&self) -> Choice {
        match self.choices.lock().unwrap().next() {
            Choice::Twice if !self.input.is_empty() => Choice::Yes,
            choice => choice,
        }
    }

    /// The number of a yes.
    async fn answer(&mut self, code: u16, what: &str) -> Option<Option<usize>> {
        let number = self.choices.lock().unwrap().number();
        let enhanced = if code == 250 { "2.0.0 " } else { "" };
        match self.choose() {
            Choice::Yes => self.say(&format!("{code} {enhanced}{what} #{number}\r\n")).await?,
            Choice::Long => {
                self.say(&format!("{code}-{enhanced}{what} in so many")).await?;
                tokio::task::yield_now().await;
                self.say(&format!(" words\r\n{code} {enhanced}#{number}\r\n")).await?;
            }
            // The second yes comes before anybody has asked.
            Choice::Twice => {
                self.say(&format!("{code} {enhanced}{what} #{number}\r\n{code} 2.0.0 unasked\r\n")).await?;
            }
            other => return self.refuse(other).await.map(|()| None),
        }
        Some(Some(number))
    }

    async fn refuse(&mut self, choice: Choice) -> Then {
        let number = self.choices.lock().unwrap().number();
        match choice {
            Choice::Later => self.say(&format!("450 4.2.0 later #{number}\r\n")).await,
            Choice::No => self.say(&format!("550 5.1.1 no #{number}\r\n")).await,
            Choice::Leave => {
                self.say(&format!("421 4.3.2 leaving #{number}\r\n")).await?;
                None
            }
            Choice::Nonsense => self.say("250 2.0.0 Ok\n\rHello\r\n").await,
            Choice::Wrong => self.say("334 UGFzc3dvcmQ6\r\n").await,
            Choice::Close | Choice::Yes | Choice::Long | Choice::Twice => None,
        }
    }

    async fn data(&mut self) -> Then {
        if self.go_ahead().await?.is_none() {
            return Some(());
        }
        let mut wire = Vec::new();
        loop {
            let line = self.line().await?;
            if line == b"." {
                break;
            }
            wire.extend_from_slice(&line);
            wire.extend_from_slice(b"\r\n");
        }
        self.take(wire).await
    }

    async fn go_ahead(&mut self) -> Option<Option<()>> {
        match self.choose() {
            Choice::Yes | Choice::Long => self.say("354 Go ahead\r\n").await.map(Some),
            Choice::Twice => self.say("354 Go ahead\r\n250 2.0.0 unasked\r\n").await.map(Some),
            other => self.refuse(other).await.map(|()| None),
        }
    }

    async fn bdat(&mut self, size: Option<&str>, last: Option<&str>) -> Then {
        let Some(size) = size.and_then(|size| size.parse::<usize>().ok()) else {
            self.offence("BDAT without a size".to_owned());
            return self.say("501 5.5.4 What?\r\n").await;
        };
        if self.choices.lock().unwrap().offer & 4 == 0 {
            self.offence("BDAT was not offered".to_owned());
        }
        while self.input.len() < size {
            self.more().await?;
        }
        self.chunks.extend(self.input.drain(..size));
        if self.recipients.is_empty() {
            return self.say("503 5.5.1 Not now\r\n").await;
        }
        if last.is_some_and(|word| word.eq_ignore_ascii_case("LAST")) {
            let message = std::mem::take(&mut self.chunks);
            return self.take(message).await;
        }
        if self.answer(250, "chunk").await?.is_none() {
            self.forget();
        }
        Some(())
    }

    /// The message is whole.
    async fn take(&mut self, wire: Vec<u8>) -> Then {
        let recipients = std::mem::take(&mut self.recipients);
        self.forget();
        if let Some(number) = self.answer(250, "taken").await? {
            self.heard.lock().unwrap().accepted.push(Accepted { number, recipients, wire });
        }
        Some(())
    }

    async fn say(&mut self, reply: &str) -> Then {
        self.pipe.write_all(reply.as_bytes()).await.ok()
    }

    /// A line without its CRLF; content counts as lines, too.
    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).take(end).collect();
                if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
                    self.offence(format!("a line with CR, LF or NUL in it: {:?}", String::from_utf8_lossy(&line)));
                }
                return Some(line);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Then {
        let mut buffer = [0; READ_BYTES];
        match self.pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.input.extend_from_slice(&buffer[..read]);
                Some(())
            }
        }
    }
}
