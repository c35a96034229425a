//! Where a message waits: in memory as long as it is small, then in a file without a name, which is gone with
//! the process whatever happens to it.
//!
//! In memory nothing here costs more than a copy. On disk, octets are written and read in large pieces on the
//! runtime's blocking threads: a slow disk holds up this message and no other.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Octets gathered before they are written to the file.
const WRITE_BYTES: usize = 1 << 20;
/// Octets read from the file at once.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// Octets in their order: appended, read anywhere, never changed.
#[derive(Debug, Default)]
pub struct Spool {
    memory_bytes_max: usize,
    directory: PathBuf,
    /// All octets, or those that are not in the file yet.
    memory: Vec<u8>,
    disk: Option<Disk>,
    /// The disk failed: what was to be written is lost.
    lost: bool,
}

#[derive(Debug)]
struct Disk {
    file: Arc<File>,
    bytes: u64,
}

impl Spool {
    /// An empty spool that keeps up to `memory_bytes` in memory, and more in a file in `directory`.
    #[must_use]
    pub fn new(memory_bytes: usize, directory: &Path) -> Spool {
        Spool { memory_bytes_max: memory_bytes, directory: directory.to_owned(), ..Spool::default() }
    }

    /// Another empty one with the same bounds.
    #[must_use]
    pub fn fresh(&self) -> Spool {
        Spool::new(self.memory_bytes_max, &self.directory)
    }

    /// Octets in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.bytes) + self.memory.len() as u64
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What of it is in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory.capacity()
    }

    /// All octets, if they are in memory.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.disk.is_none().then_some(self.memory.as_slice())
    }

    /// Adds octets at the end.
    ///
    /// # Errors
    /// The directory or the disk: the spool is then good for nothing.
    pub async fn append(&mut self, octets: &[u8]) -> io::Result<()> {
        self.check()?;
        self.memory.extend_from_slice(octets);
        if self.disk.is_none() && self.memory.len() <= self.memory_bytes_max {
            return Ok(());
        }
        if self.disk.is_none() {
            let directory = self.directory.clone();
            self.lost = true;
            let file = blocking(move || tempfile::tempfile_in(directory)).await?;
            self.lost = false;
            self.disk = Some(Disk { file: Arc::new(file), bytes: 0 });
        }
        if self.memory.len() >= WRITE_BYTES.min(self.memory_bytes_max.max(1)) { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let (file, offset) = (Arc::clone(&disk.file), disk.bytes);
        let mut octets = std::mem::take(&mut self.memory);
        // Also when this future is dropped in the middle.
        self.lost = true;
        let (mut octets, written) = blocking(move || {
            file.write_all_at(&octets, offset)?;
            let written = octets.len() as u64;
            octets.clear();
            octets.shrink_to(WRITE_BYTES * 2);
            Ok((octets, written))
        })
        .await?;
        self.lost = false;
        disk.bytes += written;
        std::mem::swap(&mut self.memory, &mut octets);
        Ok(())
    }

    /// Octets from `offset` on, at most `len` (and at most [`READ_BYTES_MAX`] from the file). Empty only at the
    /// end, but it may be shorter than asked before it. What is in memory is not copied.
    ///
    /// # Errors
    /// The disk.
    pub async fn read_at(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        self.check()?;
        let on_disk = self.disk.as_ref().map_or(0, |disk| disk.bytes);
        if let Some(disk) = &self.disk
            && offset < on_disk
        {
            let left = usize::try_from(on_disk - offset).unwrap_or(usize::MAX);
            let file = Arc::clone(&disk.file);
            let mut octets = vec![0; len.min(left).min(READ_BYTES_MAX)];
            return blocking(move || file.read_exact_at(&mut octets, offset).map(|()| octets)).await.map(Cow::Owned);
        }
        let start = usize::try_from(offset - on_disk).unwrap_or(usize::MAX).min(self.memory.len());
        let end = start.saturating_add(len).min(self.memory.len());
        Ok(Cow::Borrowed(self.memory.get(start..end).unwrap_or_default()))
    }

    fn check(&self) -> io::Result<()> {
        if self.lost { Err(io::Error::other("an earlier write to the spool failed")) } else { Ok(()) }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    async fn whole(spool: &Spool, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = spool.read_at(all.len() as u64, step).await.unwrap();
            if piece.is_empty() {
                return all;
            }
            all.extend_from_slice(&piece);
        }
    }

    #[tokio::test]
    async fn small_in_memory_large_on_disk_and_always_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let octets: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        for (memory, size) in [(1_000, 1_000), (1_000, 1_001), (0, 10), (100_000, 2_500_000), (4_000_000, 3_000_000)] {
            let mut spool = Spool::new(memory, dir.path());
            for piece in octets[..size].chunks(70_000) {
                spool.append(piece).await.unwrap();
            }
            assert_eq!(spool.len(), size as u64);
            assert_eq!(spool.as_slice().is_some(), size <= memory, "{memory} {size}");
            assert_eq!(whole(&spool, 65_537).await, &octets[..size]);
            assert_eq!(&*spool.read_at(size as u64 - 3, 10).await.unwrap(), &octets[size - 3..size]);
            assert!(spool.read_at(size as u64 + 5, 10).await.unwrap().is_empty());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
    }

    #[tokio::test]
    async fn a_missing_directory_is_an_error_and_stays_one() {
        let mut spool = Spool::new(4, Path::new("/nonexistent/spool"));
        spool.append(b"1234").await.unwrap();
        assert!(spool.append(b"5").await.is_err());
        assert!(spool.append(b"6").await.is_err());
        assert!(spool.read_at(0, 1).await.is_err());
    }
}
