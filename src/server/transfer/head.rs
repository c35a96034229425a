//! The header block: taken whole, measured, shown to the filters, and sent on below our own field.

use crate::chain::{BodyMode, Call, Held};
use crate::config::Limits;
use crate::mail::Stage;
use crate::session::{BodyPlan, received};
use crate::smtp::body::{BareEnds, ContentScanner};
use crate::smtp::headers::{Field, HeaderBlock, HeaderExcess, HeaderLimits, HeaderScan};
use crate::smtp::replies;
use crate::state::spool::Spool;

use super::{Course, Fate, Part, Piece, Then, Transfer};

/// Content up to, and somewhat beyond, the end of the header block.
#[derive(Debug, Default)]
pub(super) struct Head {
    content: Vec<u8>,
    scan: HeaderScan,
}

impl Head {
    pub(super) fn octets(&self) -> usize {
        self.content.capacity()
    }
}

impl Transfer<'_> {
    pub(super) async fn take_head(&mut self, piece: Piece) {
        let new = self.content_of(piece);
        let limits = header_limits(self.with.session.limits());
        let Course::Head(head) = &mut self.message.course else { return };
        head.content.extend_from_slice(&new);
        self.message.content = new;
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
        if let Some(max) = self.with.session.limits().own_received_fields {
            let ours = |field: &Field<'_>| {
                field.name().eq_ignore_ascii_case("Received")
                    && received::is_ours(field.value(), &self.with.config.hostname)
            };
            if block.iter().filter(ours).count() > max as usize {
                return Err(Fate::refused(replies::OWN_MAIL_LOOP));
            }
        }
        // Binary is what a body may be. In fields a line end that one reader sees and another does not would hide one.
        let bad = ContentScanner::new(BareEnds::Refuse).scan(block.came()).filter(|_| self.with.session.is_binary());
        if let Some((_, bad)) = bad {
            return Err(Fate::refused(bad.reply()));
        }
        self.begin_structure(&block, body)?;
        if self.with.chain.wants(Stage::Headers) && self.message.quarantined.is_none() {
            let outcome = self.with.chain.consult(Call::Headers(&mut block), &self.with.context).await;
            self.with.record.heard(&outcome);
            self.weigh(Stage::Headers, outcome.verdict)?;
        }
        self.consult_body(body).await?;
        if self.message.plan == BodyPlan::Hold {
            self.message.course = Course::Hold(Box::new(self.keep(block, body).await?));
            return Ok(());
        }
        let received = self.message.received.as_bytes();
        let mut content = Vec::with_capacity(received.len() + block.octets() + body.len());
        content.extend_from_slice(received);
        block.write_into(&mut content);
        content.extend_from_slice(body);
        let copy = match self.message.mode {
            BodyMode::Stream => None,
            BodyMode::Spooled | BodyMode::Hold => Some(Box::new(self.keep(block, body).await?)),
        };
        let part = if last && copy.is_none() { Part::Last } else { Part::More };
        self.message.course = Course::Forward(copy);
        self.message.outbound.send(self.with.leg, &content, part).await
    }

    async fn keep(&mut self, headers: HeaderBlock, body: &[u8]) -> Result<Held, Fate> {
        let spool = &self.with.config.spool;
        let mut kept = Spool::new(spool.memory_bytes, &spool.directory);
        kept.append(body).await.map_err(|error| self.with.spool_failed(&error))?;
        Ok(Held::new(headers, kept))
    }
}

fn header_limits(limits: &Limits) -> HeaderLimits {
    HeaderLimits {
        octets_max: limits.header_block_bytes.unwrap_or(HeaderLimits::CEILING.octets_max),
        fields_max: limits.header_fields.map_or(HeaderLimits::CEILING.fields_max, |max| max as usize),
    }
}
