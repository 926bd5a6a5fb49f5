//! Where a chunk is written to: into memory, or piece by piece to whoever takes it.

use std::io::{self, Write};

use crc32fast::Hasher;

/// So many bytes are given away at a time, or more if they come so.
const PIECE: usize = 256 << 10;

/// What has been written of a chunk, and not been given away.
pub(super) struct Out<'a> {
    pub(super) bytes: Vec<u8>,
    checksum: Hasher,
    to: Option<&'a mut dyn Write>,
}

impl<'a> Out<'a> {
    /// Keeps everything; it will be about so much.
    pub(super) fn whole(len: usize) -> Out<'a> {
        Out { bytes: Vec::with_capacity(len), checksum: Hasher::new(), to: None }
    }

    /// Gives everything to somebody.
    pub(super) fn pieces(to: &'a mut dyn Write) -> Out<'a> {
        Out { bytes: Vec::with_capacity(2 * PIECE), checksum: Hasher::new(), to: Some(to) }
    }

    /// Gives away what there is, if that is enough.
    ///
    /// # Errors
    /// Of whoever takes it.
    #[inline]
    pub(super) fn spill(&mut self) -> io::Result<()> {
        if self.bytes.len() < PIECE || self.to.is_none() { Ok(()) } else { self.give() }
    }

    fn give(&mut self) -> io::Result<()> {
        let Some(to) = &mut self.to else { return Ok(()) };
        self.checksum.update(&self.bytes);
        to.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// Writes the checksum of all, and returns what has been kept.
    ///
    /// # Errors
    /// Of whoever takes the rest.
    pub(super) fn seal(mut self) -> io::Result<Vec<u8>> {
        let mut checksum = self.checksum.clone();
        checksum.update(&self.bytes);
        self.bytes.extend_from_slice(&checksum.finalize().to_le_bytes());
        self.give()?;
        Ok(self.bytes)
    }
}
