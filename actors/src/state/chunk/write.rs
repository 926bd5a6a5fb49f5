//! Writes a chunk.

use std::borrow::Cow;
use std::io;

use super::block::BlockWriter;
use super::encoding::Encoding;
use super::out::Out;
use super::{FORMAT, FORMAT_WITH_MORE, FORMAT_WITH_VERSIONS, Kind, MAGIC};
use crate::state::expiry::deadlines_of;
use crate::state::local::{Whose, whose};
use crate::state::migration::FIRST_VERSION;
use crate::{Error, Result};

/// A column on its way into a chunk.
pub(in crate::state) struct ColumnWriter<'a> {
    pub(in crate::state) name: Cow<'a, str>,
    pub(in crate::state) kind: Kind,
    pub(in crate::state) encoding: Encoding,
    pub(in crate::state) version: u16,
    pub(in crate::state) block: BlockWriter,
}

/// A value that belongs to no key, on its way into a chunk.
pub(in crate::state) struct LocalWriter<'a> {
    pub(in crate::state) name: Cow<'a, str>,
    pub(in crate::state) version: u16,
    pub(in crate::state) bytes: Vec<u8>,
}

/// Everything that a chunk says, ready to be written.
pub(in crate::state) struct ChunkWriter<'a> {
    pub(in crate::state) whole: bool,
    pub(in crate::state) first: u64,
    pub(in crate::state) last: u64,
    pub(in crate::state) key_groups: u32,
    /// Group and slot of each row, in order.
    pub(in crate::state) rows: &'a [(u32, u32)],
    /// Group and slot of each key that went, in order.
    pub(in crate::state) removed: &'a [(u32, u32)],
    /// Which row each row of the blocks is, if not each its own.
    pub(in crate::state) places: Option<&'a [u32]>,
    pub(in crate::state) integers: &'a BlockWriter,
    pub(in crate::state) texts: &'a BlockWriter,
    pub(in crate::state) timers: &'a BlockWriter,
    pub(in crate::state) columns: &'a [ColumnWriter<'a>],
    pub(in crate::state) locals: &'a [LocalWriter<'a>],
}

impl ChunkWriter<'_> {
    /// Returns the chunk.
    ///
    /// # Errors
    /// If a name or a local value is too long.
    pub(in crate::state) fn finish(&self) -> Result<Vec<u8>> {
        self.write(Out::whole(self.len())).map_err(|error| Error::invalid(error.to_string()))
    }

    /// Writes the chunk piece by piece.
    ///
    /// # Errors
    /// As [`finish`](ChunkWriter::finish), and those of whoever takes the pieces.
    pub(super) fn write_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        self.write(Out::pieces(to)).map(drop)
    }

    /// Writes the chunk; columns without a value are left out, the others are put in order of their names.
    fn write(&self, mut out: Out<'_>) -> io::Result<Vec<u8>> {
        let mut columns: Vec<&ColumnWriter<'_>> = self.columns().collect();
        columns.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
        let mut locals: Vec<&LocalWriter<'_>> = self.locals.iter().collect();
        locals.sort_by(|one, other| one.name.cmp(&other.name));
        let format = self.format();
        let has_versions = format >= FORMAT_WITH_VERSIONS;
        let directory = directory(self.rows, self.removed);
        let head = &mut out.bytes;
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&format.to_le_bytes());
        head.push(u8::from(self.whole));
        head.extend_from_slice(&self.first.to_le_bytes());
        head.extend_from_slice(&self.last.to_le_bytes());
        put(head, self.key_groups);
        put_length(head, self.rows.len())?;
        put_length(head, self.removed.len())?;
        put_length(head, directory.len())?;
        for (group, rows, removed) in directory {
            put(head, group);
            put(head, rows);
            put(head, removed);
        }
        put_slots(head, self.rows);
        put_slots(head, self.removed);
        self.integers.finish(self.places, &mut out)?;
        self.texts.finish(self.places, &mut out)?;
        self.timers.finish(self.places, &mut out)?;
        put_length(&mut out.bytes, columns.len())?;
        for column in columns {
            put_text(&mut out.bytes, &column.name)?;
            out.bytes.push(match column.kind {
                Kind::Value => 0,
                Kind::Map => 1,
                Kind::List => 2,
            });
            put_text(&mut out.bytes, column.encoding.name())?;
            if has_versions {
                out.bytes.extend_from_slice(&column.version.to_le_bytes());
            }
            column.block.finish(self.places, &mut out)?;
        }
        put_length(&mut out.bytes, locals.len())?;
        for LocalWriter { name, version, bytes } in locals {
            put_text(&mut out.bytes, name)?;
            if has_versions {
                out.bytes.extend_from_slice(&version.to_le_bytes());
            }
            put_length(&mut out.bytes, bytes.len())?;
            out.bytes.extend_from_slice(bytes);
            out.spill()?;
        }
        out.seal()
    }

    /// Returns how many bytes the chunk has.
    pub(super) fn len(&self) -> usize {
        let version = if self.format() >= FORMAT_WITH_VERSIONS { size_of::<u16>() } else { 0 };
        let columns = self.columns().map(|column| {
            let described = 2 + column.name.len() + 1 + 2 + column.encoding.name().len() + version;
            described + column.block.len()
        });
        let locals = self.locals.iter().map(|local| 2 + local.name.len() + version + 4 + local.bytes.len());
        let head = MAGIC.len() + 2 + 1 + 8 + 8 + 4 * 4 + directory(self.rows, self.removed).len() * 12;
        let keys = self.integers.len() + self.texts.len() + self.timers.len();
        let slots = (self.rows.len() + self.removed.len()) * 4;
        head + slots + keys + 4 + columns.sum::<usize>() + 4 + locals.sum::<usize>() + 4
    }

    /// Returns the columns that have a value.
    fn columns(&self) -> impl Iterator<Item = &ColumnWriter<'_>> {
        self.columns.iter().filter(|column| !column.block.is_empty())
    }

    fn format(&self) -> u16 {
        let has_more = self.columns().any(|column| deadlines_of(&column.name).is_some())
            || self.locals.iter().any(|local| whose(&local.name).1 == Whose::Everybodys);
        let mut versions =
            self.columns().map(|column| column.version).chain(self.locals.iter().map(|local| local.version));
        if has_more {
            FORMAT_WITH_MORE
        } else if versions.any(|version| version != FIRST_VERSION) {
            FORMAT_WITH_VERSIONS
        } else {
            FORMAT
        }
    }
}

/// Counts rows and removed keys of each group.
fn directory(rows: &[(u32, u32)], removed: &[(u32, u32)]) -> Vec<(u32, u32, u32)> {
    let mut directory: Vec<(u32, u32, u32)> = Vec::new();
    let (mut rows, mut removed) = (by_group(rows).peekable(), by_group(removed).peekable());
    loop {
        let group = match (rows.peek(), removed.peek()) {
            (Some((row, _)), Some((gone, _))) => *row.min(gone),
            (Some((group, _)), None) | (None, Some((group, _))) => *group,
            (None, None) => return directory,
        };
        let count = |counted: Option<(u32, u32)>| counted.map_or(0, |(_, count)| count);
        directory.push((
            group,
            count(rows.next_if(|(of, _)| *of == group)),
            count(removed.next_if(|(of, _)| *of == group)),
        ));
    }
}

/// Returns how many there are of each group.
fn by_group(ordered: &[(u32, u32)]) -> impl Iterator<Item = (u32, u32)> {
    ordered.chunk_by(|(one, _), (next, _)| one == next).map(|group| (group[0].0, group.len() as u32))
}

/// Writes the slots of rows or removed keys.
fn put_slots(out: &mut Vec<u8>, ordered: &[(u32, u32)]) {
    let begin = out.len();
    out.resize(begin + ordered.len() * size_of::<u32>(), 0);
    for (place, (_, slot)) in out[begin..].chunks_exact_mut(size_of::<u32>()).zip(ordered) {
        place.copy_from_slice(&slot.to_le_bytes());
    }
}

fn put(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let length = u32::try_from(length).map_err(|_| io::Error::other("a part of state is longer than 4 GiB"))?;
    put(out, length);
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let length = u16::try_from(text.len())
        .map_err(|_| io::Error::other(format!("the name of a state has {} bytes: 65535 are the most", text.len())))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::directory;

    #[test]
    fn the_directory_counts_by_group() {
        let counts = directory(&[(1, 4), (1, 9), (5, 0)], &[(0, 3), (5, 7)]);
        assert_eq!(counts, [(0, 0, 1), (1, 2, 0), (5, 1, 1)]);
    }
}
