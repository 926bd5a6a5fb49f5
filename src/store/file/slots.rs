//! A file of two slots that are written in turn: the witness of what was committed last.
//!
//! A slot is written over in place and synced, the cheapest durable write there is. A write that a crash tears leaves
//! the other slot whole. Each slot has a checksummed header that says which window it is about, and a body with a
//! checksum in the header; a whole header with a torn body still proves that its window was written. The header is
//! there twice, a sector apart, so that no single damage hides which window a slot was about: beside an older slot and a
//! catalogue that has lost its last batch, that is all that proves the window.

use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{Fence, WindowId};
use crate::protocol::mutant::{self, Mutant};
use crate::store::disk::Disk;

/// The longest body of a slot.
pub(super) const MAX_BODY: usize = 1 << 20;
/// From one slot to the next: room for a header and the longest body. The file is sparse.
const STRIDE: u64 = (MAX_BODY as u64) + 4096;
const MAGIC: [u8; 8] = *b"PITONHED";
const VERSION: u16 = 2;
const HEADER: usize = 64;
/// Where the header is once more.
const COPY: usize = 512;
const BODY: usize = COPY + HEADER;

/// What the body of a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing was committed yet; the body is the name of the region.
    Nothing = 0,
    /// A whole record.
    Record = 1,
    /// The reference to a file that holds the record.
    Reference = 2,
    /// What the store knows beside its regions.
    Root = 3,
}

impl Kind {
    fn from_number(number: u16) -> Option<Kind> {
        [Kind::Nothing, Kind::Record, Kind::Reference, Kind::Root].into_iter().find(|kind| *kind as u16 == number)
    }
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) kind: Kind,
    pub(super) window: WindowId,
    pub(super) fence: Fence,
    pub(super) body: Vec<u8>,
}

/// A slot as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Whole {
        sequence: u64,
        content: Content,
    },
    /// The header is whole, the body is not.
    Torn {
        sequence: u64,
        window: WindowId,
    },
    Unreadable,
}

impl Slot {
    pub(super) fn sequence(&self) -> Option<u64> {
        match self {
            Slot::Whole { sequence, .. } | Slot::Torn { sequence, .. } => Some(*sequence),
            Slot::Unreadable => None,
        }
    }

    pub(super) fn window(&self) -> Option<WindowId> {
        match self {
            Slot::Whole { content, .. } => Some(content.window),
            Slot::Torn { window, .. } => Some(*window),
            Slot::Unreadable => None,
        }
    }

    pub(super) fn content(&self) -> Option<&Content> {
        match self {
            Slot::Whole { content, .. } => Some(content),
            _ => None,
        }
    }
}

/// Returns whether the newest write to a file did not get to its end, as when the process is killed or the power fails:
/// the other slot still is what was written before it.
pub(super) fn is_cut_short(slots: &[Slot; 2]) -> bool {
    match slots {
        [Slot::Whole { sequence, .. }, Slot::Torn { sequence: torn, .. }]
        | [Slot::Torn { sequence: torn, .. }, Slot::Whole { sequence, .. }] => torn.checked_sub(*sequence) == Some(1),
        _ => false,
    }
}

/// Writes the slots of one file in turn.
#[derive(Clone, Debug)]
pub(super) struct SlotFile {
    path: PathBuf,
    /// The newest sequence that is in the file.
    sequence: u64,
    next: u64,
}

impl SlotFile {
    /// Makes the file with the same content in both slots. Its name is not yet durable.
    pub(super) fn create<D: Disk>(disk: &D, path: &Path, content: &Content) -> io::Result<SlotFile> {
        let temporary = super::names::unfinished(path);
        disk.write_new(&temporary, &encode(1, content))?;
        disk.overwrite(&temporary, STRIDE, &encode(2, content))?;
        disk.rename(&temporary, path)?;
        Ok(SlotFile { path: path.to_owned(), sequence: 2, next: 0 })
    }

    /// Reads both slots. A file that is missing has two unreadable ones.
    pub(super) fn read<D: Disk>(disk: &D, path: &Path) -> io::Result<[Slot; 2]> {
        let mut slots = [Slot::Unreadable, Slot::Unreadable];
        for (slot, offset) in slots.iter_mut().zip([0, STRIDE]) {
            let headers = match disk.read_at(path, offset, BODY as u64) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                other => other?,
            };
            // They differ if a write was torn between them: the newer one says what was being written.
            let copies = [headers.get(..HEADER), headers.get(COPY..)].into_iter().flatten();
            let Some(header) = copies.filter_map(Header::decode).max_by_key(|header| header.sequence) else { continue };
            let body = disk.read_at(path, offset + BODY as u64, u64::from(header.body_len))?;
            *slot = header.with(body);
        }
        Ok(slots)
    }

    /// Returns the writer for a file as it was found: a slot that is not whole is the next to be written, else the
    /// older one.
    pub(super) fn resume(path: &Path, slots: &[Slot; 2]) -> SlotFile {
        let sequence = slots.iter().filter_map(Slot::sequence).max().unwrap_or(0);
        let next = match slots {
            [Slot::Whole { sequence: first, .. }, Slot::Whole { sequence: second, .. }] => u64::from(first > second),
            [Slot::Whole { .. }, _] => 1,
            _ => 0,
        };
        SlotFile { path: path.to_owned(), sequence, next }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the slot whose turn it is; durable on return. After an error it may hold anything.
    pub(super) fn write<D: Disk>(&mut self, disk: &D, content: &Content) -> io::Result<()> {
        disk.overwrite(&self.path, self.next * STRIDE, &encode(self.sequence + 1, content))?;
        self.sequence += 1;
        self.next = 1 - self.next;
        Ok(())
    }

    /// Makes the newer of two whole slots durable by writing it over with what it holds: what an earlier life wrote may be
    /// readable without being durable, because it was killed before the sync or because the sync failed.
    pub(super) fn renew<D: Disk>(&self, disk: &D) -> io::Result<()> {
        let (newer, slots) = (1 - self.next, SlotFile::read(disk, &self.path)?);
        match &slots[newer as usize] {
            Slot::Whole { sequence, content } => {
                disk.overwrite(&self.path, newer * STRIDE, &encode(*sequence, content))
            }
            _ => Ok(()),
        }
    }
}

struct Header {
    kind: Kind,
    sequence: u64,
    window: WindowId,
    fence: Fence,
    body_len: u32,
    body_checksum: u64,
}

impl Header {
    fn decode(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER] = bytes.try_into().ok()?;
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"));
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let is_sound = bytes[..8] == MAGIC && word(60) == crc32fast::hash(&bytes[..60]) && short(8) == VERSION;
        // Nobody writes so often: what follows on it could not be told from it.
        if !is_sound || long(16) == u64::MAX {
            return None;
        }
        Some(Header {
            kind: Kind::from_number(short(10))?,
            body_len: word(12),
            sequence: long(16),
            window: WindowId(long(24)),
            fence: Fence { incarnation: long(32), attempt: long(40) },
            body_checksum: long(48),
        })
    }

    fn with(self, body: Vec<u8>) -> Slot {
        let Header { kind, sequence, window, fence, .. } = self;
        if body.len() == self.body_len as usize
            && (xxh3_64(&body) == self.body_checksum || mutant::is(Mutant::NoChecksum))
        {
            Slot::Whole { sequence, content: Content { kind, window, fence, body } }
        } else {
            Slot::Torn { sequence, window }
        }
    }
}

fn encode(sequence: u64, content: &Content) -> Vec<u8> {
    let Content { kind, window, fence, body } = content;
    debug_assert!(body.len() <= MAX_BODY);
    let mut slot = Vec::with_capacity(BODY + body.len());
    slot.extend(MAGIC);
    slot.extend(VERSION.to_le_bytes());
    slot.extend((*kind as u16).to_le_bytes());
    slot.extend((body.len() as u32).to_le_bytes());
    slot.extend(sequence.to_le_bytes());
    slot.extend(window.0.to_le_bytes());
    slot.extend(fence.incarnation.to_le_bytes());
    slot.extend(fence.attempt.to_le_bytes());
    slot.extend(xxh3_64(body).to_le_bytes());
    slot.extend([0; 4]);
    let checksum = crc32fast::hash(&slot);
    slot.extend(checksum.to_le_bytes());
    slot.resize(COPY, 0);
    slot.extend_from_within(..HEADER);
    slot.extend(body);
    slot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::SimDisk;

    fn content(window: u64) -> Content {
        Content {
            kind: Kind::Record,
            window: WindowId(window),
            fence: Fence::default(),
            body: vec![window as u8; 3000],
        }
    }

    fn written(windows: u64) -> (SimDisk, SlotFile) {
        let disk = SimDisk::new(1);
        let mut file = SlotFile::create(&disk, Path::new("/HEAD"), &content(0)).unwrap();
        for window in 1..=windows {
            file.write(&disk, &content(window)).unwrap();
        }
        (disk, file)
    }

    fn windows(disk: &SimDisk) -> [Option<u64>; 2] {
        SlotFile::read(disk, Path::new("/HEAD")).unwrap().map(|slot| slot.content().map(|content| content.window.0))
    }

    #[test]
    fn the_two_newest_are_kept() {
        let (disk, _) = written(5);
        assert_eq!(windows(&disk), [Some(5), Some(4)]);
    }

    #[test]
    fn damage_to_one_slot_leaves_the_other_and_is_written_over_next() {
        let (disk, _) = written(5);
        let path = Path::new("/HEAD");
        disk.flip_bit(path, (BODY as u64 + 700) * 8).unwrap();
        let slots = SlotFile::read(&disk, path).unwrap();
        assert_eq!(slots[0], Slot::Torn { sequence: 7, window: WindowId(5) });
        let mut file = SlotFile::resume(path, &slots);
        file.write(&disk, &content(6)).unwrap();
        assert_eq!(windows(&disk), [Some(6), Some(4)]);

        disk.flip_bit(path, (STRIDE + 30) * 8).unwrap();
        assert_eq!(windows(&disk), [Some(6), Some(4)]);
        disk.flip_bit(path, (STRIDE + COPY as u64 + 30) * 8).unwrap();
        assert_eq!(windows(&disk), [Some(6), None]);
        disk.truncate(path, STRIDE + 10).unwrap();
        assert_eq!(windows(&disk), [Some(6), None]);
        disk.truncate(path, 0).unwrap();
        assert_eq!(windows(&disk), [None, None]);
    }

    #[test]
    fn no_single_damage_hides_which_window_a_slot_is_about() {
        let (disk, _) = written(5);
        for bit in 0..(BODY as u64 + 3000) * 8 {
            let path = Path::new("/HEAD");
            disk.flip_bit(path, bit).unwrap();
            let slots = SlotFile::read(&disk, path).unwrap();
            assert_eq!(slots[0].window(), Some(WindowId(5)), "bit {bit}");
            disk.flip_bit(path, bit).unwrap();
        }
    }

    #[test]
    fn a_write_torn_between_the_headers_says_what_was_being_written() {
        let (disk, _) = written(5);
        let path = Path::new("/HEAD");
        let newer = encode(9, &content(7));
        disk.overwrite(path, 0, &newer[..COPY]).unwrap();
        let torn = Slot::Torn { sequence: 9, window: WindowId(7) };
        assert_eq!(SlotFile::read(&disk, path).unwrap()[0], torn);
        let (disk, _) = written(5);
        disk.overwrite(path, COPY as u64, &newer[COPY..BODY]).unwrap();
        assert_eq!(SlotFile::read(&disk, path).unwrap()[0], torn);
    }

    #[test]
    fn only_the_newest_write_can_have_been_cut_short() {
        let path = Path::new("/HEAD");
        let read = |disk: &SimDisk| SlotFile::read(disk, path).unwrap();
        let (disk, _) = written(5);
        assert!(!is_cut_short(&read(&disk)), "both are whole");
        // A killed process has written whole pages of the slot after the newest one.
        disk.overwrite(path, STRIDE, &encode(8, &content(6))[..2000]).unwrap();
        assert_eq!(read(&disk)[1], Slot::Torn { sequence: 8, window: WindowId(6) });
        assert!(is_cut_short(&read(&disk)));
        SlotFile::resume(path, &read(&disk)).write(&disk, &content(7)).unwrap();
        assert_eq!(windows(&disk), [Some(5), Some(7)]);
        disk.flip_bit(path, (BODY as u64 + 700) * 8).unwrap();
        assert!(!is_cut_short(&read(&disk)), "the older one is damaged");
        disk.truncate(path, 0).unwrap();
        assert!(!is_cut_short(&read(&disk)));
    }

    #[test]
    fn what_is_renewed_is_what_was_there() {
        let (disk, _) = written(5);
        let path = Path::new("/HEAD");
        let slots = SlotFile::read(&disk, path).unwrap();
        let mut file = SlotFile::resume(path, &slots);
        file.renew(&disk).unwrap();
        assert_eq!(SlotFile::read(&disk, path).unwrap(), slots);
        file.write(&disk, &content(6)).unwrap();
        assert_eq!(windows(&disk), [Some(5), Some(6)]);
    }

    #[test]
    fn a_slot_that_nothing_could_follow_is_none() {
        let (disk, _) = written(5);
        let path = Path::new("/HEAD");
        disk.overwrite(path, 0, &encode(u64::MAX, &content(6))).unwrap();
        let slots = SlotFile::read(&disk, path).unwrap();
        assert_eq!(slots[0], Slot::Unreadable);
        SlotFile::resume(path, &slots).write(&disk, &content(6)).unwrap();
        assert_eq!(windows(&disk), [Some(6), Some(4)]);
    }

    #[test]
    fn a_missing_file_has_no_readable_slot() {
        assert_eq!(windows(&SimDisk::new(1)), [None, None]);
    }
}
