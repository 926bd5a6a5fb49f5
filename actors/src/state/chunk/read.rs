//! Reads a chunk, and believes nothing that it can check.

use std::ops::Range;

use super::block::Block;
use super::encoding::Encoding;
use super::{FORMAT, FORMAT_WITH_MORE, Kind, MAGIC, WrittenLocal, damaged};
use crate::key::Key;
use crate::state::migration::FIRST_VERSION;
use crate::{Error, Result};

/// The rest of some bytes. Nothing is allocated for a number that was read before the bytes it stands for are seen.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// How many bytes were read before the rest.
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest, position: 0 }
    }

    /// Returns how many bytes were read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| damaged("it ends too early"))?;
        self.rest = rest;
        self.position += length;
        Ok(taken)
    }

    /// Returns `count` if so many items of this width can follow.
    pub(super) fn remaining(&self, count: usize, width: usize) -> Result<usize> {
        let fits = count.checked_mul(width).is_some_and(|length| length <= self.rest.len());
        if fits { Ok(count) } else { Err(damaged("it ends too early")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u32s(&mut self, count: usize) -> Result<impl Iterator<Item = u32> + use<'a>> {
        let count = self.remaining(count, 4)?;
        Ok(self.take(count * 4)?.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)))
    }

    pub(super) fn u64s(&mut self, count: usize) -> Result<impl Iterator<Item = u64> + use<'a>> {
        let count = self.remaining(count, 8)?;
        Ok(self.take(count * 8)?.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)))
    }

    fn text(&mut self) -> Result<&'a str> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.take(length)?).map_err(|_| damaged("a name that is not text"))
    }
}

/// Returns whether this is a chunk that makes void what came before, as far as its first bytes tell.
pub fn is_whole_chunk(chunk: &[u8]) -> bool {
    chunk.starts_with(&MAGIC) && chunk.get(MAGIC.len() + size_of::<u16>()) == Some(&1)
}

/// Returns whether a chunk may hold values that all subtasks have alike, as far as its first bytes tell.
pub(super) fn may_be_broadcast(chunk: &[u8]) -> bool {
    let format = chunk.get(MAGIC.len()..).and_then(|rest| rest.first_chunk());
    chunk.starts_with(&MAGIC) && format.is_some_and(|format| u16::from_le_bytes(*format) >= FORMAT_WITH_MORE)
}

/// Which rows of a chunk belong to a key group.
pub(super) struct Group {
    pub(super) group: u32,
    pub(super) rows: Range<usize>,
    pub(super) removed: Range<usize>,
}

/// A column as it stands in a chunk.
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) encoding: Encoding,
    pub(super) version: u16,
    pub(super) block: Block<'a>,
}

/// A chunk, opened.
pub(super) struct Chunk<'a> {
    pub(super) whole: bool,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) key_groups: u32,
    pub(super) groups: Vec<Group>,
    slots: &'a [[u8; 4]],
    removed: &'a [[u8; 4]],
    pub(super) integers: Block<'a>,
    pub(super) texts: Block<'a>,
    pub(super) timers: Block<'a>,
    pub(super) columns: Vec<Column<'a>>,
    pub(super) locals: Vec<(&'a str, WrittenLocal<'a>)>,
}

impl<'a> Chunk<'a> {
    /// Opens a chunk.
    ///
    /// # Errors
    /// If it is damaged or of a version that this one does not know.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Chunk<'a>> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let format = reader.u16()?;
        if !(FORMAT..=FORMAT_WITH_MORE).contains(&format) {
            return Err(Error::invalid(format!(
                "a chunk of state has format {format}, but this program reads up to format {FORMAT_WITH_MORE}: use \
                 the one that wrote it"
            )));
        }
        let (body, checksum) = bytes.split_last_chunk().ok_or_else(|| damaged("it ends too early"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(damaged("its checksum does not match"));
        }
        // The checksum is none of its parts.
        reader.rest = &body[reader.position..];
        let chunk = Chunk::read(&mut reader, format)?;
        if !reader.is_empty() {
            return Err(damaged("it goes on behind its end"));
        }
        Ok(chunk)
    }

    fn read(reader: &mut Reader<'a>, format: u16) -> Result<Chunk<'a>> {
        let whole = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(damaged("neither whole nor a change")),
        };
        let (first, last) = (reader.u64()?, reader.u64()?);
        if first > last {
            return Err(damaged("it ends before it begins"));
        }
        let key_groups = reader.u32()?;
        let (rows, removed) = (reader.u32()? as usize, reader.u32()? as usize);
        let groups = read_directory(reader, key_groups, rows, removed)?;
        let chunk = Chunk {
            whole,
            first,
            last,
            key_groups,
            groups,
            slots: reader.take(rows.saturating_mul(4))?.as_chunks().0,
            removed: reader.take(removed.saturating_mul(4))?.as_chunks().0,
            integers: Block::read(reader, rows, Some(8))?,
            texts: Block::read(reader, rows, None)?,
            timers: Block::read(reader, rows, None)?,
            columns: read_columns(reader, rows, format)?,
            locals: read_locals(reader, format)?,
        };
        for group in &chunk.groups {
            let rows = group.rows.clone().map(|row| chunk.slot(row));
            let removed = group.removed.clone().map(|index| chunk.removed(index));
            if !rows.is_sorted_by(|before, after| before < after)
                || !removed.is_sorted_by(|before, after| before < after)
            {
                return Err(damaged("its slots are out of order"));
            }
        }
        Ok(chunk)
    }

    pub(super) fn rows(&self) -> usize {
        self.slots.len()
    }

    /// Returns the slots of some rows, as they were written.
    pub(super) fn slots(&self, rows: &Range<usize>) -> &'a [[u8; 4]] {
        &self.slots[rows.clone()]
    }

    #[inline]
    pub(super) fn slot(&self, row: usize) -> u32 {
        u32::from_le_bytes(self.slots[row])
    }

    pub(super) fn removed(&self, index: usize) -> u32 {
        u32::from_le_bytes(self.removed[index])
    }

    /// Returns the key of a row.
    #[inline]
    pub(super) fn key(&self, row: usize) -> Result<Key> {
        match (self.integers.get(row), self.texts.get(row)) {
            (Some(integer), None) => {
                let integer = integer.try_into().map_err(|_| damaged("a key that is not an integer"))?;
                Ok(Key::from(u64::from_le_bytes(integer)))
            }
            (None, Some(bytes)) => Ok(Key::bytes(bytes)),
            _ => Err(damaged("a row that has not one key")),
        }
    }
}

fn read_directory(reader: &mut Reader<'_>, key_groups: u32, rows: usize, removed: usize) -> Result<Vec<Group>> {
    let count = reader.u32()? as usize;
    let mut groups: Vec<Group> = Vec::with_capacity(reader.remaining(count, 12)?);
    let (mut next_row, mut next_removed) = (0usize, 0usize);
    for _ in 0..count {
        let (group, own_rows, own_removed) = (reader.u32()?, reader.u32()? as usize, reader.u32()? as usize);
        if group >= key_groups || groups.last().is_some_and(|before| before.group >= group) {
            return Err(damaged("its key groups are out of order"));
        }
        groups.push(Group {
            group,
            rows: next_row..next_row + own_rows,
            removed: next_removed..next_removed + own_removed,
        });
        next_row += own_rows;
        next_removed += own_removed;
    }
    if (next_row, next_removed) != (rows, removed) {
        return Err(damaged("its directory does not match its rows"));
    }
    Ok(groups)
}

/// Reads the version of a type, where the format has one.
fn read_version(reader: &mut Reader<'_>, format: u16) -> Result<u16> {
    match if format == FORMAT { FIRST_VERSION } else { reader.u16()? } {
        0 => Err(damaged("a version of nothing")),
        version => Ok(version),
    }
}

fn read_columns<'a>(reader: &mut Reader<'a>, rows: usize, format: u16) -> Result<Vec<Column<'a>>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    for _ in 0..reader.u32()? {
        let name = reader.text()?;
        let kind = match reader.u8()? {
            0 => Kind::Value,
            1 => Kind::Map,
            2 => Kind::List,
            _ => return Err(damaged("a column of unknown kind")),
        };
        let encoding = reader.text()?;
        let Some(encoding) = Encoding::from_name(encoding) else {
            return Err(Error::invalid(format!(
                "state \"{name}\" is encoded as \"{encoding}\", which is not known here"
            )));
        };
        let version = read_version(reader, format)?;
        if columns.last().is_some_and(|before| (before.name, before.version) >= (name, version)) {
            return Err(damaged("its columns are out of order"));
        }
        columns.push(Column { name, kind, encoding, version, block: Block::read(reader, rows, encoding.width())? });
    }
    Ok(columns)
}

fn read_locals<'a>(reader: &mut Reader<'a>, format: u16) -> Result<Vec<(&'a str, WrittenLocal<'a>)>> {
    let mut locals: Vec<(&'a str, WrittenLocal<'a>)> = Vec::new();
    for _ in 0..reader.u32()? {
        let name = reader.text()?;
        let version = read_version(reader, format)?;
        let length = reader.u32()? as usize;
        if locals.last().is_some_and(|(before, _)| *before >= name) {
            return Err(damaged("its local values are out of order"));
        }
        locals.push((name, WrittenLocal { version, bytes: reader.take(length)? }));
    }
    Ok(locals)
}
