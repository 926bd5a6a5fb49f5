//! Writes a chunk.

use std::borrow::Cow;

use super::block::BlockWriter;
use super::encoding::Encoding;
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
    pub(in crate::state) integers: BlockWriter,
    pub(in crate::state) texts: BlockWriter,
    pub(in crate::state) timers: BlockWriter,
    pub(in crate::state) columns: Vec<ColumnWriter<'a>>,
    pub(in crate::state) locals: Vec<LocalWriter<'a>>,
}

impl ChunkWriter<'_> {
    /// Writes the chunk; columns without a value are left out, the others are put in order of their names.
    ///
    /// # Errors
    /// If a name or a local value is too long.
    pub(in crate::state) fn finish(mut self) -> Result<Vec<u8>> {
        self.columns.retain(|column| !column.block.is_empty());
        self.columns.sort_by(|one, other| (&one.name, one.version).cmp(&(&other.name, other.version)));
        self.locals.sort_by(|one, other| one.name.cmp(&other.name));
        let mut versions =
            self.columns.iter().map(|column| column.version).chain(self.locals.iter().map(|local| local.version));
        let has_more = self.columns.iter().any(|column| deadlines_of(&column.name).is_some())
            || self.locals.iter().any(|local| whose(&local.name).1 == Whose::Everybodys);
        let format = if has_more {
            FORMAT_WITH_MORE
        } else if versions.any(|version| version != FIRST_VERSION) {
            FORMAT_WITH_VERSIONS
        } else {
            FORMAT
        };
        let has_versions = format >= FORMAT_WITH_VERSIONS;
        let directory = directory(self.rows, self.removed);
        let mut out = Vec::with_capacity(self.size(directory.len()));
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&format.to_le_bytes());
        out.push(u8::from(self.whole));
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
        put(&mut out, self.key_groups);
        put_length(&mut out, self.rows.len())?;
        put_length(&mut out, self.removed.len())?;
        put_length(&mut out, directory.len())?;
        for (group, rows, removed) in directory {
            put(&mut out, group);
            put(&mut out, rows);
            put(&mut out, removed);
        }
        put_slots(&mut out, self.rows);
        put_slots(&mut out, self.removed);
        self.integers.finish(self.places, &mut out);
        self.texts.finish(self.places, &mut out);
        self.timers.finish(self.places, &mut out);
        put_length(&mut out, self.columns.len())?;
        for column in &self.columns {
            put_text(&mut out, &column.name)?;
            out.push(match column.kind {
                Kind::Value => 0,
                Kind::Map => 1,
                Kind::List => 2,
            });
            put_text(&mut out, column.encoding.name())?;
            if has_versions {
                out.extend_from_slice(&column.version.to_le_bytes());
            }
            column.block.finish(self.places, &mut out);
        }
        put_length(&mut out, self.locals.len())?;
        for LocalWriter { name, version, bytes } in &self.locals {
            put_text(&mut out, name)?;
            if has_versions {
                out.extend_from_slice(&version.to_le_bytes());
            }
            put_length(&mut out, bytes.len())?;
            out.extend_from_slice(bytes);
        }
        let checksum = crc32fast::hash(&out);
        put(&mut out, checksum);
        Ok(out)
    }

    /// Returns about how long the chunk will be, so that it is allocated once.
    fn size(&self, groups: usize) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.name.len() + 16 + column.block.len()).sum();
        let locals: usize = self.locals.iter().map(|local| local.name.len() + 8 + local.bytes.len()).sum();
        let keys = self.integers.len() + self.texts.len() + self.timers.len();
        64 + groups * 12 + (self.rows.len() + self.removed.len()) * 4 + keys + columns + locals
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

fn put_length(out: &mut Vec<u8>, length: usize) -> Result {
    let length = u32::try_from(length).map_err(|_| Error::invalid("a part of state is longer than 4 GiB"))?;
    put(out, length);
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Result {
    let length = u16::try_from(text.len())
        .map_err(|_| Error::invalid(format!("the name of a state has {} bytes: 65535 are the most", text.len())))?;
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
