//! The upstream's half of the pump: content in the form in which this upstream takes this message. As DATA its lines
//! are stuffed, so that no content is ever an end of data; as BDAT (only for BODY=BINARYMIME) it is counted.

use std::io::IoSlice;

use crate::server::leg::{Leg, Part};
use crate::smtp::Reply;
use crate::smtp::body::Stuffer;

use super::Fate;

#[derive(Debug)]
enum Form {
    Dots(Stuffer),
    Chunks,
}

#[derive(Debug)]
pub(super) struct Outbound {
    form: Form,
    /// Stuffed octets, where there was something to be stuffed.
    stuffed: Vec<u8>,
}

impl Outbound {
    /// For an upstream that says 354.
    pub(super) fn dots() -> Outbound {
        Outbound { form: Form::Dots(Stuffer::new()), stuffed: Vec::new() }
    }

    /// For one that hears BDAT.
    pub(super) fn chunks() -> Outbound {
        Outbound { form: Form::Chunks, stuffed: Vec::new() }
    }

    pub(super) fn is_dots(&self) -> bool {
        matches!(self.form, Form::Dots(_))
    }

    /// Content, which may end anywhere. The last part and the end of data leave in one write.
    pub(super) async fn send(&mut self, leg: &mut Leg, content: &[u8], part: Part) -> Result<(), Fate> {
        if content.is_empty() && part == Part::More {
            return Ok(());
        }
        let stuffer = match &mut self.form {
            Form::Dots(stuffer) => stuffer,
            Form::Chunks => return send_chunk(leg, content, part).await,
        };
        let sent = if stuffer.pass(content) {
            let end = if part == Part::Last { stuffer.end() } else { b"" };
            leg.content(&mut [IoSlice::new(content), IoSlice::new(end)]).await
        } else {
            self.stuffed.clear();
            stuffer.push(content, &mut self.stuffed);
            let end = if part == Part::Last { stuffer.end() } else { b"" };
            leg.content(&mut [IoSlice::new(&self.stuffed), IoSlice::new(end)]).await
        };
        sent.map_err(Fate::upstream_failed)
    }

    /// Content that is stuffed already, and behind it the end of data as it came, if it is to follow.
    pub(super) async fn send_wire(&mut self, leg: &mut Leg, wire: &[u8], end: &[u8]) -> Result<(), Fate> {
        if let Form::Dots(stuffer) = &mut self.form {
            stuffer.passed_wire(wire);
        }
        leg.content(&mut [IoSlice::new(wire), IoSlice::new(end)]).await.map_err(Fate::upstream_failed)
    }

    /// The answer to the message, whose last part is out.
    pub(super) async fn answer(&self, leg: &mut Leg) -> Result<Reply, Reply> {
        match self.form {
            Form::Dots(_) => leg.final_reply().await,
            Form::Chunks => leg.chunk_reply(Part::Last).await,
        }
    }

    /// Nothing is kept while the client thinks about its next chunk.
    pub(super) fn rest(&mut self) {
        self.stuffed = Vec::new();
    }
}

async fn send_chunk(leg: &mut Leg, content: &[u8], part: Part) -> Result<(), Fate> {
    leg.chunk(content, part).await.map_err(Fate::upstream_failed)?;
    if part == Part::Last {
        return Ok(());
    }
    match leg.chunk_reply(part).await {
        Ok(reply) if reply.class() == 2 => Ok(()),
        Ok(reply) => Err(Fate::refused(reply)),
        Err(reply) => Err(Fate::upstream_failed(reply)),
    }
}
