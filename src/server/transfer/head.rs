//! The header block: taken whole, measured, shown to the filters, and sent on below our own field.

use crate::chain::{BodyMode, Call, Held};
use crate::config::Limits;
use crate::mail::Stage;
use crate::session::BodyPlan;
use crate::smtp::headers::{HeaderBlock, HeaderExcess, HeaderLimits, HeaderScan};
use crate::smtp::replies;
use crate::state::spool::Spool;

use super::{Course, Fate, Piece, Then, Transfer};

/// Content up to, and somewhat beyond, the end of the header block.
#[derive(Debug, Default)]
pub(super) struct Head {
    content: Vec<u8>,
    scan: HeaderScan,
}

impl Transfer<'_> {
    pub(super) async fn take_head(&mut self, piece: Piece) {
        let new = self.content_of(piece);
        let limits = header_limits(self.with.session.limits());
        let Course::Head(head) = &mut self.course else { return };
        head.content.extend_from_slice(&new);
        let last = matches!(piece.then, Then::End { .. });
        match head.scan.scan(&head.content, limits) {
            Ok(false) if !last => return,
            Ok(_) => {}
            Err(HeaderExcess::Octets) => return self.turn(Fate::refused(replies::HEADER_TOO_BIG)).await,
            Err(HeaderExcess::Fields) => return self.turn(Fate::refused(replies::TOO_MANY_HEADER_FIELDS)).await,
        }
        let Head { content, scan } = std::mem::take(head);
        let (block, body) = scan.finish(&content);
        let body = content.get(body..).unwrap_or_default();
        if let Err(fate) = self.head_is_whole(block, body, last).await {
            self.turn(fate).await;
        }
    }

    /// The block is complete, with its empty line; `body` is what came behind it so far.
    async fn head_is_whole(&mut self, mut block: HeaderBlock, body: &[u8], last: bool) -> Result<(), Fate> {
        let hops = self.with.session.limits().received_fields;
        if hops.is_some_and(|max| block.count("Received") > max as usize) {
            return Err(Fate::refused(replies::MAIL_LOOP));
        }
        if self.with.chain.wants(Stage::Headers) {
            let outcome = self.with.chain.consult(Call::Headers(&mut block), &self.with.context).await;
            self.with.record.heard(&outcome);
            if let Some(fate) = Fate::weigh(Stage::Headers, outcome.verdict) {
                return Err(fate);
            }
        }
        if let Some(fate) = self.consult_body(body).await {
            return Err(fate);
        }
        if self.plan == BodyPlan::Hold {
            self.course = Course::Hold(Box::new(self.keep(block, body).await?));
            return Ok(());
        }
        let mut fields = Vec::with_capacity(block.octets());
        block.write_into(&mut fields);
        let mut wire = Vec::with_capacity(self.with.received.len() + fields.len() + body.len() + 64);
        wire.extend_from_slice(self.with.received.as_bytes());
        self.stuffer.push(&fields, &mut wire);
        self.stuffer.push(body, &mut wire);
        let copy = match self.mode {
            BodyMode::Stream => None,
            BodyMode::Spooled | BodyMode::Hold => Some(Box::new(self.keep(block, body).await?)),
        };
        if last && copy.is_none() {
            wire.extend_from_slice(b".\r\n");
        }
        self.course = Course::Forward(copy);
        self.with.leg.content(&wire).await.map_err(Fate::upstream_failed)
    }

    async fn keep(&mut self, headers: HeaderBlock, body: &[u8]) -> Result<Held, Fate> {
        let spool = &self.with.config.spool;
        let mut kept = Spool::new(spool.memory_bytes, &spool.directory);
        kept.append(body).await.map_err(|error| self.spool_failed(&error))?;
        Ok(Held::new(headers, kept))
    }
}

fn header_limits(limits: &Limits) -> HeaderLimits {
    HeaderLimits {
        octets_max: limits.header_block_bytes.unwrap_or(HeaderLimits::CEILING.octets_max),
        fields_max: limits.header_fields.map_or(HeaderLimits::CEILING.fields_max, |max| max as usize),
    }
}
