//! How a message is nested, looked at on its way, where there is a bound for it.

use crate::config::Limits;
use crate::smtp::headers::HeaderBlock;
use crate::smtp::parts::{PartExcess, PartLimits, PartScan};
use crate::smtp::replies;

use super::{Fate, Piece, Transfer};

impl Transfer<'_> {
    /// The header block is there, and with it what the body is; `body` is what came behind it.
    pub(super) fn begin_structure(&mut self, block: &HeaderBlock, body: &[u8]) -> Result<(), Fate> {
        let Some(limits) = part_limits(self.with.session.limits()) else { return Ok(()) };
        let field = block.get("Content-Type", 0);
        let mut scan = PartScan::new(field.map(|field| field.value()), limits).map_err(refused)?;
        scan.push(body).map_err(refused)?;
        self.message.structure = Some(Box::new(scan)).filter(|scan| !scan.is_done());
        Ok(())
    }

    /// A piece of the body, as it came.
    pub(super) fn go_on_with_structure(&mut self, piece: Piece) -> Result<(), Fate> {
        let Some(scan) = &mut self.message.structure else { return Ok(()) };
        scan.push(self.with.io.waiting().get(..piece.wire).unwrap_or_default()).map_err(refused)?;
        if scan.is_done() {
            self.message.structure = None;
        }
        Ok(())
    }
}

fn part_limits(limits: &Limits) -> Option<PartLimits> {
    if limits.mime_depth.is_none() && limits.mime_parts.is_none() {
        return None;
    }
    let depth_max = limits.mime_depth.unwrap_or(PartLimits::CEILING.depth_max);
    Some(PartLimits { depth_max, parts_max: limits.mime_parts.unwrap_or(PartLimits::CEILING.parts_max) })
}

fn refused(excess: PartExcess) -> Fate {
    Fate::refused(match excess {
        PartExcess::Depth => replies::MIME_TOO_DEEP,
        PartExcess::Parts => replies::TOO_MANY_MIME_PARTS,
    })
}
