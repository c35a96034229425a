//! A whole message in the hands of the filters.

use std::io;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::Semaphore;

use super::mime::{TooComplex, Tree};
use crate::checks::Finding;
use crate::smtp::headers::HeaderBlock;
use crate::state::spool::{READ_BYTES_MAX, Spool};

/// Octets of a message that is parsed where it is asked for; larger ones, and nested ones, go to a blocking thread.
const PARSED_AT_ONCE_BYTES_MAX: usize = 128 << 10;
/// Octets of all large messages that are parsed at the same moment: each may take many times its size.
const PARSED_TOGETHER_BYTES_MAX: usize = 64 << 20;
/// One permit of those.
const PARSE_UNIT_BYTES: usize = 1 << 20;

static PARSING: Semaphore = Semaphore::const_new(PARSED_TOGETHER_BYTES_MAX / PARSE_UNIT_BYTES);

/// A message at the stage `message`: its header block and its body, which filters may change in place, and what
/// was found out about it.
#[derive(Debug, Default)]
pub struct Held {
    pub headers: HeaderBlock,
    /// The octets after the header block and its empty line.
    pub body: Spool,
    /// The body as it came, once a filter has written another.
    came: Option<Spool>,
    /// How the new body's lines end so far.
    pub(super) ends: LineEnds,
    tree: Option<Arc<Result<Tree, TooComplex>>>,
    sha256: Option<[u8; 32]>,
    findings: Option<Arc<Vec<Finding>>>,
}

impl Held {
    /// A message as it came.
    #[must_use]
    pub fn new(headers: HeaderBlock, body: Spool) -> Held {
        Held { headers, body, ..Held::default() }
    }

    /// A new body begins. What stood here before is given back, unless it is the body as it came.
    pub(super) fn replace_body(&mut self) -> Option<Spool> {
        let fresh = self.body.fresh();
        let before = std::mem::replace(&mut self.body, fresh);
        self.ends = LineEnds::default();
        self.sha256 = None;
        if self.came.is_some() {
            return Some(before);
        }
        self.came = Some(before);
        None
    }

    /// Undoes [`Held::replace_body`], which gave back `before`.
    pub(super) fn restore_body(&mut self, before: Option<Spool>) {
        if let Some(body) = before.or_else(|| self.came.take()) {
            self.body = body;
            self.sha256 = None;
        }
    }

    /// Octets of the body as it came.
    pub(super) fn came_bytes(&self) -> u64 {
        self.came.as_ref().unwrap_or(&self.body).len()
    }

    pub(super) fn forget_digest(&mut self) {
        self.sha256 = None;
    }

    /// SHA-256 of the body as it is now, computed once.
    pub(super) async fn sha256(&mut self) -> io::Result<[u8; 32]> {
        if let Some(known) = self.sha256 {
            return Ok(known);
        }
        let mut context = Context::new(&SHA256);
        each_piece(&self.body, |piece| context.update(piece)).await?;
        let mut digest = [0; 32];
        digest.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        self.sha256 = Some(digest);
        Ok(digest)
    }

    /// What was found out about its sender.
    pub(super) fn findings(&self) -> Option<Arc<Vec<Finding>>> {
        self.findings.clone()
    }

    pub(super) fn keep_findings(&mut self, findings: Vec<Finding>) -> Arc<Vec<Finding>> {
        Arc::clone(self.findings.insert(Arc::new(findings)))
    }

    /// The message as it came, in one piece.
    pub(super) async fn raw(&self, raw_headers: &[u8]) -> io::Result<Vec<u8>> {
        let body = self.came.as_ref().unwrap_or(&self.body);
        let size = usize::try_from(body.len()).unwrap_or(usize::MAX);
        let mut raw = Vec::with_capacity(raw_headers.len() + size + 2);
        raw.extend_from_slice(raw_headers);
        raw.extend_from_slice(b"\r\n");
        each_piece(body, |piece| raw.extend_from_slice(piece)).await?;
        Ok(raw)
    }

    /// The parts of the message as it came, parsed once.
    pub(super) async fn tree(&mut self, raw_headers: &[u8]) -> io::Result<Arc<Result<Tree, TooComplex>>> {
        if let Some(tree) = &self.tree {
            return Ok(Arc::clone(tree));
        }
        let body = self.came.as_ref().unwrap_or(&self.body);
        let size = usize::try_from(body.len()).unwrap_or(usize::MAX);
        let units = size.div_ceil(PARSE_UNIT_BYTES).min(PARSED_TOGETHER_BYTES_MAX / PARSE_UNIT_BYTES);
        let parsing = PARSING.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await.map_err(io::Error::other)?;
        let raw = self.raw(raw_headers).await?;
        let parsed = if raw.len() <= PARSED_AT_ONCE_BYTES_MAX {
            match std::panic::catch_unwind(|| Tree::parse_at_once(raw)) {
                Ok(Ok(Ok(tree))) => Ok(tree),
                Ok(Ok(Err(raw))) => parse_aside(raw).await,
                Ok(Err(_)) | Err(_) => Err(TooComplex),
            }
        } else {
            parse_aside(raw).await
        };
        drop(parsing);
        let tree = Arc::new(parsed);
        self.tree = Some(Arc::clone(&tree));
        Ok(tree)
    }
}

/// On a thread with time and a stack of its own, where a panic of the parser is caught, too.
async fn parse_aside(raw: Vec<u8>) -> Result<Tree, TooComplex> {
    tokio::task::spawn_blocking(|| Tree::parse(raw)).await.unwrap_or(Err(TooComplex))
}

/// Watches a body that comes in pieces: its lines end in CRLF, and there is no NUL in it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct LineEnds {
    after_cr: bool,
}

impl LineEnds {
    /// The next piece.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<(), &'static str> {
        let mut after_cr = self.after_cr;
        for octet in piece {
            match octet {
                b'\n' if !after_cr => return Err("an LF without a CR before it"),
                b'\n' => {}
                _ if after_cr => return Err("a CR without an LF after it"),
                0 => return Err("a NUL"),
                _ => {}
            }
            after_cr = *octet == b'\r';
        }
        self.after_cr = after_cr;
        Ok(())
    }

    /// Whether the body may end here.
    pub(super) fn may_end(self) -> bool {
        !self.after_cr
    }
}

/// Shows a spool a piece at a time, and lets others run in between.
pub(super) async fn each_piece(spool: &Spool, mut show: impl FnMut(&[u8]) + Send) -> io::Result<()> {
    let mut offset = 0;
    loop {
        let piece = spool.read_at(offset, READ_BYTES_MAX).await?;
        if piece.is_empty() {
            return Ok(());
        }
        show(&piece);
        offset += piece.len() as u64;
        if offset < spool.len() {
            tokio::task::yield_now().await;
        }
    }
}
