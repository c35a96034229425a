//! `headers`, `body`, `mime`: the message at hand. Outside of its stages there is nothing there.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use memchr::memmem;
use wasmtime::Result;

use crate::filter::bindings::wasmilter::filter::headers::Header;
use crate::filter::bindings::wasmilter::filter::{body, headers, mime};
use crate::filter::bounds::Pause;
use crate::filter::convert::value_out;
use crate::filter::guest::Guest;
use crate::filter::mime::{Part, TooComplex, Tree};
use crate::smtp::headers::HeaderBlock;
use crate::state::spool::{READ_BYTES_MAX, Spool};

/// Octets of what `find` looks for.
const NEEDLE_BYTES_MAX: usize = 1_024;
/// Octets of one answer to `read` and `text`.
const ANSWER_BYTES_MAX: usize = 1 << 20;

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn large(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Guest {
    fn block(&mut self) -> Result<Option<&HeaderBlock>> {
        Ok(self.work()?.headers.as_deref())
    }
}

impl headers::Host for Guest {
    fn count(&mut self) -> Result<u32> {
        Ok(self.block()?.map_or(0, |block| small(block.len())))
    }

    fn at(&mut self, place: u32) -> Result<Option<Header>> {
        let field = self.block()?.and_then(|block| block.at(large(place)));
        Ok(field.map(|field| Header { name: field.name().to_owned(), value: value_out(field.value()).to_vec() }))
    }

    fn value(&mut self, name: String, nth: u32) -> Result<Option<Vec<u8>>> {
        let field = self.block()?.and_then(|block| block.get(&name, large(nth)));
        Ok(field.map(|field| value_out(field.value()).to_vec()))
    }

    fn names(&mut self) -> Result<Vec<String>> {
        Ok(self.block()?.map(|b| b.iter().map(|field| field.name().to_owned()).collect()).unwrap_or_default())
    }
}

/// At most `len` octets from `offset` on, over the seam between disk and memory.
async fn read(spool: &Spool, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let first = spool.read_at(offset, len).await?;
    let mut octets = first.into_owned();
    while octets.len() < len {
        let more = spool.read_at(offset + octets.len() as u64, len - octets.len()).await?;
        if more.is_empty() {
            break;
        }
        octets.extend_from_slice(&more);
    }
    Ok(octets)
}

/// The first place of `needle` at or after `offset`, a large piece at a time. Says how long it computed.
async fn find(spool: &Spool, needle: &[u8], mut offset: u64, pause: &Pause) -> Result<Option<u64>> {
    if needle.is_empty() {
        return Ok((offset <= spool.len()).then_some(offset));
    }
    let finder = memmem::Finder::new(needle);
    loop {
        let piece = pause.wait(spool.read_at(offset, READ_BYTES_MAX)).await??;
        let start = Instant::now();
        let found = finder.find(&piece);
        pause.charge(start.elapsed())?;
        if let Some(place) = found {
            return Ok(Some(offset + place as u64));
        }
        if offset + piece.len() as u64 >= spool.len() || piece.len() < needle.len() {
            return Ok(None);
        }
        // What ends in this piece may begin a match.
        offset += (piece.len() - (needle.len() - 1)) as u64;
    }
}

impl body::Host for Guest {
    fn size(&mut self) -> Result<u32> {
        let held = self.work()?.held.as_ref();
        Ok(held.map_or(0, |held| u32::try_from(held.body.len()).unwrap_or(u32::MAX)))
    }

    async fn read(&mut self, offset: u32, len: u32) -> Result<Vec<u8>> {
        let pause = self.pause();
        let Some(held) = &self.work()?.held else { return Ok(Vec::new()) };
        let len = large(len).min(ANSWER_BYTES_MAX);
        if let Some(octets) = held.body.as_slice() {
            let start = large(offset).min(octets.len());
            return Ok(octets.get(start..start.saturating_add(len).min(octets.len())).unwrap_or_default().to_vec());
        }
        Ok(pause.wait(read(&held.body, u64::from(offset), len)).await??)
    }

    async fn find(&mut self, needle: Vec<u8>, offset: u32) -> Result<Option<u32>> {
        if needle.len() > NEEDLE_BYTES_MAX {
            wasmtime::bail!(
                "body.find: a needle of {} octets; at most {NEEDLE_BYTES_MAX} are looked for",
                needle.len()
            );
        }
        let pause = self.pause();
        let Some(held) = &self.work()?.held else { return Ok(None) };
        let place = find(&held.body, &needle, u64::from(offset), &pause).await?;
        Ok(place.and_then(|place| u32::try_from(place).ok()))
    }

    async fn sha256(&mut self) -> Result<Vec<u8>> {
        let pause = self.pause();
        let Some(held) = &mut self.work()?.held else { return Ok(Vec::new()) };
        Ok(pause.wait(held.sha256()).await??.to_vec())
    }
}

impl Guest {
    /// The tree of the message at hand, parsed if nobody did so before.
    async fn tree(&mut self) -> Result<Result<Arc<Result<Tree, TooComplex>>, mime::Error>> {
        let pause = self.pause();
        let work = self.work()?;
        let (Some(held), Some(block)) = (&mut work.held, &work.headers) else { return Ok(Err(mime::Error::TooEarly)) };
        Ok(Ok(pause.wait(held.tree(block.came())).await??))
    }

    /// Does something with one part, if there is such a part.
    async fn with_part<R>(&mut self, number: u32, then: impl FnOnce(&Part) -> R + Send) -> Result<Option<R>> {
        let tree = self.tree().await?;
        let tree = tree.as_deref().ok().and_then(|tree| tree.as_ref().ok());
        Ok(tree.and_then(|tree| tree.part(number)).map(then))
    }
}

fn show(part: &Part) -> mime::Part {
    mime::Part {
        parent: part.parent,
        media_type: part.media_type.clone(),
        disposition: part.disposition.clone(),
        file_name: part.file_name.clone(),
        charset: part.charset.clone(),
        size: small(part.octets().len()),
    }
}

impl mime::Host for Guest {
    async fn parts(&mut self) -> Result<Result<Vec<mime::Part>, mime::Error>> {
        let tree = match self.tree().await? {
            Ok(tree) => tree,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match &*tree {
            Ok(tree) => Ok(tree.parts().iter().map(show).collect()),
            Err(TooComplex) => Err(mime::Error::TooComplex),
        })
    }

    async fn read(&mut self, part: u32, offset: u32, len: u32) -> Result<Vec<u8>> {
        let (start, len) = (large(offset), large(len).min(ANSWER_BYTES_MAX));
        let cut = move |part: &Part| {
            let octets = part.octets();
            let start = start.min(octets.len());
            octets.get(start..start.saturating_add(len).min(octets.len())).unwrap_or_default().to_vec()
        };
        Ok(self.with_part(part, cut).await?.unwrap_or_default())
    }

    async fn text(&mut self, part: u32) -> Result<Option<String>> {
        Ok(self.with_part(part, |part| part.text(ANSWER_BYTES_MAX)).await?.flatten())
    }

    async fn sha256(&mut self, part: u32) -> Result<Vec<u8>> {
        let pause = self.pause();
        let hash = |part: &Part| {
            let start = Instant::now();
            let digest = digest(&SHA256, part.octets()).as_ref().to_vec();
            (digest, start.elapsed())
        };
        let Some((digest, took)) = self.with_part(part, hash).await? else { return Ok(Vec::new()) };
        pause.charge(took)?;
        Ok(digest)
    }
}
