//! One session with the sink: lines in, answers out, content into the store.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Options;
use super::introduced::{Introduced, XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES};
use super::store::{Incoming, Message, Store};
use crate::net::stream::Stream;
use crate::smtp::body::{BareEnds, DataScanner, ScanState, unstuff_into};
use crate::smtp::line::{COMMAND_LINE_OCTETS_MAX, LineEnd, LineScan, Skipped, find_line, has_line, skip_line};
use crate::smtp::sasl::Served;
use crate::smtp::{
    ClientOffer, Command, ForwardPath, MailParams, Params, RcptParams, Reply, ReversePath, ehlo, replies,
};

/// RFC 5321 4.5.3.2.7.
const IDLE_WAIT: Duration = Duration::from_secs(300);
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// Goodbye at both ends.
const FINISH_WAIT: Duration = Duration::from_secs(1);
const READ_BYTES_MAX: usize = 64 * 1_024;
const RECIPIENTS_MAX: usize = 1_000;
/// Refused commands before the sink hangs up.
const ERRORS_MAX: u32 = 100;

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Command,
    Content,
    Close,
}

#[derive(Debug)]
struct Envelope {
    sender: String,
    parameters: String,
    recipients: Vec<String>,
}

pub(super) struct Session {
    stream: Stream,
    peer: SocketAddr,
    options: Arc<Options>,
    store: Arc<Store>,
    input: Vec<u8>,
    output: Vec<u8>,
    errors: u32,
    hello: Option<String>,
    told: Introduced,
    forwarded: Introduced,
    envelope: Option<Envelope>,
}

impl Session {
    pub(super) fn new(stream: Stream, peer: SocketAddr, options: Arc<Options>, store: Arc<Store>) -> Session {
        Session {
            stream,
            peer,
            options,
            store,
            input: Vec::new(),
            output: Vec::new(),
            errors: 0,
            hello: None,
            told: Introduced::default(),
            forwarded: Introduced::default(),
            envelope: None,
        }
    }

    /// Until QUIT, the end of input, or too long a silence.
    pub(super) async fn run(mut self) -> io::Result<()> {
        self.stream.set_nodelay()?;
        self.say(&replies::banner(&self.options.hostname, "ESMTP"));
        while let Some(line) = self.line().await? {
            match self.answer(&line) {
                Next::Command => {}
                Next::Content => self.content().await?,
                Next::Close => break,
            }
            if self.errors > ERRORS_MAX {
                self.say(&replies::TOO_MANY_ERRORS);
                break;
            }
        }
        self.flush().await?;
        timeout(FINISH_WAIT, self.stream.finish()).await.unwrap_or(Ok(()))
    }

    fn say(&mut self, reply: &Reply) {
        self.errors += u32::from(reply.class() >= 4);
        reply.encode(&mut self.output);
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let output = std::mem::take(&mut self.output);
        timeout(WRITE_WAIT, self.stream.write_all(&output)).await?
    }

    /// More octets, once everything is said. False at the end of input.
    async fn read(&mut self) -> io::Result<bool> {
        self.flush().await?;
        match timeout(IDLE_WAIT, self.stream.read_more(&mut self.input, READ_BYTES_MAX)).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => {
                self.say(&replies::TIMEOUT);
                Ok(false)
            }
        }
    }

    /// The next good line without its line end; bad ones are answered here. None: there is no more.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match find_line(&self.input, COMMAND_LINE_OCTETS_MAX) {
                LineScan::Line { text, consumed, end } => {
                    let line = text.to_vec();
                    self.input.drain(..consumed);
                    match end {
                        LineEnd::CrLf => return Ok(Some(line)),
                        LineEnd::BareLf => self.say(&replies::BARE_LINE_FEED),
                        LineEnd::BareCr => self.say(&replies::BARE_CARRIAGE_RETURN),
                    }
                }
                LineScan::TooLong { consumed } => {
                    self.input.drain(..consumed);
                    if !self.skip().await? {
                        return Ok(None);
                    }
                    self.say(&replies::LINE_TOO_LONG);
                }
                LineScan::Incomplete => {
                    if !self.read().await? {
                        return Ok(None);
                    }
                }
            }
            if self.errors > ERRORS_MAX {
                return Ok(None);
            }
        }
    }

    async fn skip(&mut self) -> io::Result<bool> {
        loop {
            match skip_line(&self.input) {
                Skipped::Ended { consumed } => {
                    self.input.drain(..consumed);
                    return Ok(true);
                }
                Skipped::More { .. } => self.input.clear(),
            }
            if !self.read().await? {
                return Ok(false);
            }
        }
    }

    fn answer(&mut self, line: &[u8]) -> Next {
        if let Some(words) = words_behind(line, "XCLIENT") {
            let reply = self.xclient(words);
            self.say(&reply);
            return Next::Command;
        }
        if let Some(words) = words_behind(line, "XFORWARD") {
            let reply = self.xforward(words);
            self.say(&reply);
            return Next::Command;
        }
        let reply = match Command::parse(line) {
            Err(error) => error.reply(),
            Ok(Command::Helo { name }) => {
                self.greet(name);
                replies::helo(&self.options.hostname)
            }
            Ok(Command::Ehlo { name }) => {
                self.greet(name);
                self.extensions()
            }
            Ok(Command::Mail { path, params }) => self.mail(&path, &params),
            Ok(Command::Rcpt { path, params }) => self.rcpt(&path, &params),
            Ok(Command::Data) => match &self.envelope {
                None => replies::NEED_MAIL,
                Some(envelope) if envelope.recipients.is_empty() => replies::NO_VALID_RECIPIENTS,
                Some(_) => {
                    self.say(&replies::START_MAIL_INPUT);
                    return Next::Content;
                }
            },
            Ok(Command::Rset) => {
                self.reset();
                replies::OK
            }
            Ok(Command::Noop) => replies::OK,
            Ok(Command::Help) => replies::help(replies::HELP_TEXT),
            Ok(Command::Vrfy { .. }) => replies::VRFY,
            Ok(Command::Quit) => {
                self.say(&replies::BYE);
                return Next::Close;
            }
            Ok(Command::Foreign) => {
                self.say(&replies::FOREIGN_PROTOCOL);
                return Next::Close;
            }
            Ok(Command::Unknown { .. }) => replies::UNKNOWN_COMMAND,
            Ok(_) => replies::NOT_IMPLEMENTED,
        };
        self.say(&reply);
        Next::Command
    }

    fn greet(&mut self, name: String) {
        self.reset();
        self.hello = Some(name);
    }

    fn reset(&mut self) {
        self.envelope = None;
        self.forwarded = Introduced::default();
    }

    fn offer(&self) -> ClientOffer {
        ClientOffer {
            size: Some(self.options.message_bytes_max),
            eight_bit_mime: true,
            smtp_utf8: true,
            dsn: true,
            ..ClientOffer::default()
        }
    }

    fn extensions(&self) -> Reply {
        let mut reply = ehlo::greeting(&self.options.hostname, &self.offer(), &Served::default());
        let text = reply.text.to_mut();
        if self.may_introduce(self.options.xclient) {
            text.push_str("\nXCLIENT ");
            text.push_str(&XCLIENT_ATTRIBUTES.join(" "));
        }
        if self.may_introduce(self.options.xforward) {
            text.push_str("\nXFORWARD ");
            text.push_str(&XFORWARD_ATTRIBUTES.join(" "));
        }
        reply
    }

    /// As Postfix judges it: by the client's address, which is the one that XCLIENT said, once it has.
    fn may_introduce(&self, on: bool) -> bool {
        let told = self.told.address().filter(|_| !self.options.xclient_again);
        let address = told.unwrap_or(self.peer.ip().to_canonical());
        on && address.is_loopback()
    }

    fn xclient(&mut self, words: &str) -> Reply {
        if !self.may_introduce(self.options.xclient) {
            return replies::XCLIENT_DENIED;
        }
        if self.envelope.is_some() {
            return replies::NOT_DURING_MAIL;
        }
        let mut told = self.told.clone();
        told.forget_hello_and_login();
        match told.take(words, &XCLIENT_ATTRIBUTES) {
            Ok(()) => {
                self.told = told;
                self.hello = None;
                replies::banner(&self.options.hostname, "ESMTP")
            }
            Err(reply) => reply,
        }
    }

    fn xforward(&mut self, words: &str) -> Reply {
        if !self.may_introduce(self.options.xforward) {
            return replies::XCLIENT_DENIED;
        }
        if self.envelope.is_some() {
            return replies::NOT_DURING_MAIL;
        }
        self.forwarded.take(words, &XFORWARD_ATTRIBUTES).map_or_else(|reply| reply, |()| replies::OK)
    }

    fn mail(&mut self, path: &ReversePath, params: &Params) -> Reply {
        if self.hello.is_none() {
            return replies::NEED_HELO;
        }
        if self.envelope.is_some() {
            return replies::NESTED_MAIL;
        }
        if let Err(reply) = MailParams::check(params, &self.offer()) {
            return reply;
        }
        let sender = path.as_str().to_owned();
        self.envelope = Some(Envelope { sender, parameters: params.to_string(), recipients: Vec::new() });
        replies::SENDER_OK
    }

    fn rcpt(&mut self, path: &ForwardPath, params: &Params) -> Reply {
        let offer = self.offer();
        let Some(envelope) = &mut self.envelope else { return replies::NEED_MAIL };
        if let Err(reply) = RcptParams::check(params, &offer) {
            return reply;
        }
        let recipient = path.as_str();
        match recipient.split('@').next().unwrap_or_default() {
            "unknown" => return replies::NO_SUCH_USER,
            "full" => return replies::MAILBOX_FULL,
            _ => {}
        }
        if envelope.recipients.len() == RECIPIENTS_MAX {
            return replies::TOO_MANY_RECIPIENTS;
        }
        envelope.recipients.push(recipient.to_owned());
        replies::RECIPIENT_OK
    }

    /// Reads a message to its end and answers it.
    async fn content(&mut self) -> io::Result<()> {
        let Some(envelope) = self.envelope.take() else { return Ok(()) };
        let message = Message {
            sender: envelope.sender,
            recipients: envelope.recipients,
            parameters: envelope.parameters,
            hello: self.hello.clone().unwrap_or_default(),
            client: self.told.to_string(),
            forwarded: self.forwarded.to_string(),
            content: Vec::new(),
            file: None,
        };
        let mut incoming = self.store.begin(message).await.map_err(|error| self.no_room(&error));
        let mut scanner = DataScanner::new(BareEnds::Refuse);
        let mut room = self.options.message_bytes_max;
        let mut content = Vec::new();
        loop {
            let at_line_start = scanner.at_line_start();
            let scan = scanner.scan(&self.input);
            content.clear();
            unstuff_into(self.input.get(..scan.consumed).unwrap_or_default(), at_line_start, &mut content);
            incoming = match room.checked_sub(content.len() as u64) {
                Some(left) => {
                    room = left;
                    self.keep(incoming, &content).await
                }
                None => incoming.and(Err(replies::MESSAGE_TOO_BIG)),
            };
            self.input.drain(..scan.consumed);
            match scan.state {
                ScanState::End { terminator } => {
                    self.input.drain(..terminator);
                    break;
                }
                ScanState::Bad(octet) => {
                    incoming = incoming.and(Err(octet.reply()));
                    scanner.skip_rest();
                }
                ScanState::More => {
                    if !self.read().await? {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        self.forwarded = Introduced::default();
        let reply = match incoming {
            Ok(incoming) => match self.store.finish(incoming).await {
                Ok(name) => replies::stored(&name),
                Err(error) => self.no_room(&error),
            },
            Err(reply) => reply,
        };
        self.say(&reply);
        if !has_line(&self.input) {
            self.flush().await?;
        }
        Ok(())
    }

    async fn keep(&self, incoming: Result<Incoming, Reply>, content: &[u8]) -> Result<Incoming, Reply> {
        let mut incoming = incoming?;
        incoming.append(content).await.map_err(|error| self.no_room(&error))?;
        Ok(incoming)
    }

    fn no_room(&self, error: &io::Error) -> Reply {
        tracing::error!(%error, maildir = ?self.options.maildir, "the sink cannot store a message");
        replies::NO_ROOM
    }
}

/// What follows a verb that the codec does not know, for it is nobody's but ours.
fn words_behind<'a>(line: &'a [u8], verb: &str) -> Option<&'a str> {
    let (said, rest) = line.split_at_checked(verb.len())?;
    let ours = said.eq_ignore_ascii_case(verb.as_bytes()) && rest.first().is_none_or(|octet| *octet == b' ');
    ours.then(|| str::from_utf8(rest).unwrap_or("?"))
}
