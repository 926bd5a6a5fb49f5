//! A chunk in a file of its own: a header, the chunk as it is, checksums of its frames, a trailer.
//!
//! The checksum of the whole is in the manifest too; those of the frames say *where* a damaged file is damaged. The
//! chunk stands in one piece, so that it is read into memory without another copy; whoever writes one has it in frames.

use std::io::{self, Write};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::protocol::manifest::ChunkId;
use crate::protocol::mutant::{self, Mutant};
use crate::store::StoreError;
use crate::store::disk::{Disk, WriteContent};

const MAGIC: [u8; 8] = *b"PITONBLB";
const VERSION: u16 = 1;
const HEADER: usize = 64;
const TRAILER: usize = 32;
/// The part of a chunk that has a checksum of its own.
const FRAME: usize = 256 << 10;
/// How much of a file is in memory at a time when it is only checked.
const CHECKED_AT_ONCE: u64 = 4 << 20;

/// Returns the length of the file for a chunk of some length; one that no file has, if no chunk has the length either.
pub(super) fn file_len(len: u64) -> u64 {
    let frames = len.div_ceil(FRAME as u64) * 4;
    len.saturating_add(HEADER as u64 + frames + TRAILER as u64)
}

/// Writes a chunk of a length to a new file and returns its checksum; the content is durable then, the name is not.
///
/// # Errors
/// If it cannot be written, or has another length.
pub(super) fn write<D: Disk>(
    disk: &D,
    path: &Path,
    id: &ChunkId,
    len: u64,
    chunk: &mut WriteContent<'_>,
) -> io::Result<u64> {
    let mut checksum = 0;
    disk.write_new_with(path, &mut |to| {
        to.write_all(&header(id, len))?;
        let mut framed = Framed { to, frame: Vec::new(), checksums: Vec::new(), hash: Xxh3::new(), len: 0 };
        chunk(&mut framed)?;
        checksum = framed.finish(len)?;
        Ok(())
    })?;
    Ok(checksum)
}

fn header(id: &ChunkId, len: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend([0; 6]);
    header.extend(len.to_le_bytes());
    header.extend((FRAME as u64).to_le_bytes());
    header.extend(identity(id).to_le_bytes());
    header.resize(HEADER - 4, 0);
    let header_checksum = crc32fast::hash(&header);
    header.extend(header_checksum.to_le_bytes());
    header
}

/// Passes a chunk on, frame by frame: a frame is still in the caches when its checksums are made.
struct Framed<'a> {
    to: &'a mut dyn Write,
    /// What has come of the next frame.
    frame: Vec<u8>,
    checksums: Vec<u8>,
    hash: Xxh3,
    len: u64,
}

impl Framed<'_> {
    fn pass_on(&mut self, frame: &[u8]) -> io::Result<()> {
        self.checksums.extend(crc32fast::hash(frame).to_le_bytes());
        self.hash.update(frame);
        self.len += frame.len() as u64;
        self.to.write_all(frame)
    }

    /// Writes what is behind the chunk, and returns the checksum of the whole.
    fn finish(mut self, expected: u64) -> io::Result<u64> {
        let last = std::mem::take(&mut self.frame);
        if !last.is_empty() {
            self.pass_on(&last)?;
        }
        if self.len != expected {
            return Err(io::Error::other(format!("a chunk of {expected} bytes was told, {} came", self.len)));
        }
        let checksum = self.hash.digest();
        let mut tail = self.checksums;
        let frames_checksum = crc32fast::hash(&tail);
        tail.extend(frames_checksum.to_le_bytes());
        tail.extend([0; 4]);
        tail.extend(self.len.to_le_bytes());
        tail.extend(checksum.to_le_bytes());
        tail.extend(MAGIC);
        self.to.write_all(&tail)?;
        Ok(checksum)
    }
}

impl Write for Framed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.frame.is_empty() && bytes.len() >= FRAME {
            self.pass_on(&bytes[..FRAME])?;
            return Ok(FRAME);
        }
        let taken = bytes.len().min(FRAME - self.frame.len());
        self.frame.extend_from_slice(&bytes[..taken]);
        if self.frame.len() == FRAME {
            let mut frame = std::mem::take(&mut self.frame);
            self.pass_on(&frame)?;
            frame.clear();
            self.frame = frame;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Reads a chunk and verifies it.
pub(super) fn read<D: Disk>(
    disk: &D,
    path: &Path,
    id: &ChunkId,
    len: u64,
    checksum: u64,
) -> Result<Vec<u8>, StoreError> {
    check_header(disk, path, id, len)?;
    let chunk = disk.read_at(path, HEADER as u64, len).map_err(|error| unreadable(path, error))?;
    if chunk.len() as u64 != len {
        return Err(damaged(path, &format!("{len} bytes expected, {} found", chunk.len())));
    }
    match xxh3_64(&chunk) {
        found if found == checksum || mutant::is(Mutant::NoChecksum) => Ok(chunk),
        found => Err(damaged(path, &mismatch(checksum, found, || bad_frame(disk, path, &chunk)))),
    }
}

/// Verifies a chunk without keeping it.
pub(super) fn check<D: Disk>(disk: &D, path: &Path, id: &ChunkId, len: u64, checksum: u64) -> Result<(), StoreError> {
    check_header(disk, path, id, len)?;
    let mut hash = Xxh3::new();
    let mut at = 0;
    while at < len {
        let part = disk
            .read_at(path, HEADER as u64 + at, CHECKED_AT_ONCE.min(len - at))
            .map_err(|error| unreadable(path, error))?;
        if part.is_empty() {
            return Err(damaged(path, &format!("{len} bytes expected, {at} found")));
        }
        hash.update(&part);
        at += part.len() as u64;
    }
    match hash.digest() {
        found if found == checksum || mutant::is(Mutant::NoChecksum) => Ok(()),
        found => Err(damaged(path, &mismatch(checksum, found, || None))),
    }
}

fn check_header<D: Disk>(disk: &D, path: &Path, id: &ChunkId, len: u64) -> Result<(), StoreError> {
    let header = disk.read_at(path, 0, HEADER as u64).map_err(|error| unreadable(path, error))?;
    let Ok(header) = <[u8; HEADER]>::try_from(header) else {
        return Err(damaged(path, "it is cut off within its header"));
    };
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let checksum = u32::from_le_bytes(header[HEADER - 4..].try_into().expect("four bytes"));
    if header[..8] != MAGIC || crc32fast::hash(&header[..HEADER - 4]) != checksum {
        return Err(damaged(path, "it does not begin as a chunk"));
    }
    let version = u16::from_le_bytes([header[8], header[9]]);
    if version != VERSION {
        return Err(StoreError::Format(format!("{}: chunks of version {version} are not known here", path.display())));
    }
    if long(32) != identity(id) {
        return Err(damaged(path, &format!("it holds another chunk than {id}")));
    }
    if long(16) != len {
        return Err(damaged(path, &format!("a chunk of {len} bytes expected, one of {} found", long(16))));
    }
    Ok(())
}

/// Says which frame does not have the checksum that the file has for it.
fn bad_frame<D: Disk>(disk: &D, path: &Path, chunk: &[u8]) -> Option<u64> {
    let table = disk.read_at(path, (HEADER + chunk.len()) as u64, u64::MAX).ok()?;
    let expected = table.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
    let bad = chunk.chunks(FRAME).zip(expected).position(|(frame, expected)| crc32fast::hash(frame) != expected)?;
    Some((bad * FRAME) as u64)
}

fn mismatch(expected: u64, found: u64, frame: impl FnOnce() -> Option<u64>) -> String {
    let place = frame().map_or(String::new(), |at| format!(", in the {} KiB from byte {at} on", FRAME >> 10));
    format!("checksum {expected:016x} expected, {found:016x} found{place}")
}

fn identity(id: &ChunkId) -> u64 {
    xxh3_64(format!("{}/{id}", id.region).as_bytes())
}

fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::Damaged(format!("{}: {reason}", path.display()))
}

fn unreadable(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => damaged(path, "the file is missing"),
        _ => StoreError::io("cannot read", path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Fence;
    use crate::store::disk::SimDisk;

    fn write(disk: &SimDisk, path: &Path, id: &ChunkId, chunk: &[u8]) -> io::Result<u64> {
        super::write(disk, path, id, chunk.len() as u64, &mut |to| to.write_all(chunk))
    }

    fn id(sequence: u64) -> ChunkId {
        ChunkId { region: "a".to_owned(), operator: "b".to_owned(), index: 0, fence: Fence::default(), sequence }
    }

    #[test]
    fn a_chunk_comes_back_and_damage_is_placed() {
        let disk = SimDisk::new(1);
        let path = Path::new("/blob");
        let chunk: Vec<u8> = (0..600_000_u32).map(|nth| (nth / 7) as u8).collect();
        let len = chunk.len() as u64;
        let checksum = write(&disk, path, &id(1), &chunk).unwrap();
        assert_eq!(disk.files()[0].1, file_len(len));
        assert_eq!(read(&disk, path, &id(1), len, checksum).unwrap(), chunk);
        check(&disk, path, &id(1), len, checksum).unwrap();
        let error = read(&disk, path, &id(2), len, checksum).unwrap_err();
        assert!(error.to_string().contains("another chunk"), "{error}");

        disk.flip_bit(path, (HEADER as u64 + 300_000) * 8).unwrap();
        let error = read(&disk, path, &id(1), len, checksum).unwrap_err();
        assert!(error.to_string().contains("/blob") && error.to_string().contains("byte 262144"), "{error}");
        check(&disk, path, &id(1), len, checksum).unwrap_err();
    }

    #[test]
    fn a_chunk_is_the_same_in_whatever_pieces_it_comes_and_has_the_length_that_was_told() {
        let (disk, chunk) = (SimDisk::new(1), vec![7; 2 * FRAME + 100]);
        let written = |len: u64, piece: usize| {
            let content = &mut |to: &mut dyn Write| chunk.chunks(piece).try_for_each(|piece| to.write_all(piece));
            super::write(&disk, Path::new("/blob"), &id(1), len, content)
        };
        let len = chunk.len() as u64;
        for piece in [1, FRAME - 1, FRAME, FRAME + 1, chunk.len()] {
            let checksum = written(len, piece).unwrap();
            assert_eq!(checksum, xxh3_64(&chunk));
            assert_eq!(read(&disk, Path::new("/blob"), &id(1), len, checksum).unwrap(), chunk);
        }
        for wrong in [len - 1, len + 1, 0] {
            written(wrong, FRAME).unwrap_err();
        }
    }

    #[test]
    fn a_chunk_that_cannot_be_has_no_file() {
        let disk = SimDisk::new(1);
        let path = Path::new("/blob");
        let checksum = write(&disk, path, &id(1), &[7; 100]).unwrap();
        for len in [u64::MAX, u64::MAX - 100, u64::MAX / 2] {
            assert_ne!(file_len(len), disk.files()[0].1);
            assert!(matches!(read(&disk, path, &id(1), len, checksum), Err(StoreError::Damaged(_))), "{len}");
            assert!(matches!(check(&disk, path, &id(1), len, checksum), Err(StoreError::Damaged(_))), "{len}");
        }
    }

    #[test]
    fn every_length_but_the_whole_is_refused_for_the_chunk_itself() {
        let disk = SimDisk::new(1);
        let path = Path::new("/blob");
        let checksum = write(&disk, path, &id(1), &[7; 100]).unwrap();
        for len in (0..HEADER as u64 + 100).rev() {
            disk.truncate(path, len).unwrap();
            assert!(matches!(read(&disk, path, &id(1), 100, checksum), Err(StoreError::Damaged(_))), "{len}");
            assert!(matches!(check(&disk, path, &id(1), 100, checksum), Err(StoreError::Damaged(_))), "{len}");
        }
    }
}
