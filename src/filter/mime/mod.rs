//! MIME, parsed by mail-parser: this folder is the only place that names it.
//!
//! A message is hostile: it is looked over first (`scan`), in linear time, so that what mail-parser is given
//! costs it neither more time nor more memory nor more stack than is fitting. What comes out (`tree`) is flat,
//! bounded, and says where each part's octets are; they are decoded when somebody wants them.

mod decode;
mod scan;
mod tree;

pub(super) use tree::{Part, TooComplex, Tree};

/// Parts of one message, those of attached messages included.
pub(super) const PARTS_MAX: usize = 1_000;
/// Multiparts and messages within each other.
pub(super) const DEPTH_MAX: usize = 30;
/// Octets of a decoded file name; the rest is cut.
pub(super) const FILE_NAME_BYTES_MAX: usize = 1_024;
