//! Makes one chunk of many, without knowing the types in them.

use super::block::BlockWriter;
use super::lineage::{Cells, Lineage, Place, columns};
use super::read::{Chunk, may_be_broadcast};
use super::write::{ChunkWriter, ColumnWriter, LocalWriter};
use crate::Result;
use crate::state::local::{Whose, whose};

/// Merges consecutive chunks, oldest first, into one that restores to the same; empty if there is nothing to merge.
///
/// The chunks need not begin with a whole one: several changes merge into one change.
///
/// # Errors
/// If a chunk is damaged or one between is missing.
pub fn merge_chunks(chunks: &[Vec<u8>]) -> Result<Vec<u8>> {
    let Some(lineage) = Lineage::open(chunks, None)? else { return Ok(Vec::new()) };
    let oldest = lineage.chunks.first().expect("a lineage has a chunk");
    let newest = lineage.chunks.last().expect("a lineage has a chunk");
    let removed = if oldest.whole { Vec::new() } else { removed(&lineage.chunks) };
    let (rows, places) = newest_rows(&lineage);

    let mut integers = BlockWriter::new(Some(8), rows.len());
    let mut texts = BlockWriter::new(None, rows.len());
    let mut timers = BlockWriter::new(None, rows.len());
    for (row, place) in places.iter().enumerate() {
        let (chunk, old) = (&lineage.chunks[place.chunk as usize], place.row as usize);
        for (block, value) in [
            (&mut integers, chunk.integers.get(old)),
            (&mut texts, chunk.texts.get(old)),
            (&mut timers, chunk.timers.get(old)),
        ] {
            if let Some(value) = value {
                block.set(row, value)?;
            }
        }
    }
    let mut merged = Vec::new();
    for cells in columns(&lineage.chunks, &places)? {
        let mut block = BlockWriter::new(cells.encoding.width(), rows.len());
        for (row, value) in cells.iter().enumerate() {
            if let Some(value) = value {
                block.set(row, value)?;
            }
        }
        let Cells { name, kind, encoding, version, .. } = cells;
        merged.push(ColumnWriter { name: name.into(), kind, encoding, version, block });
    }
    let locals = lineage.locals().into_iter();
    let locals: Vec<LocalWriter<'_>> = locals
        .map(|(name, local)| LocalWriter { name: name.into(), version: local.version, bytes: local.bytes.to_vec() })
        .collect();
    ChunkWriter {
        whole: oldest.whole,
        first: lineage.first,
        last: newest.last,
        key_groups: oldest.key_groups,
        rows: &rows,
        removed: &removed,
        places: None,
        integers: &integers,
        texts: &texts,
        timers: &timers,
        columns: &merged,
        locals: &locals,
    }
    .finish()
}

/// Makes a chunk of the values alone that all subtasks have alike: what a subtask begins with that was not there before.
/// Empty if there are none.
///
/// # Errors
/// As [`merge_chunks`].
pub fn broadcast_chunk(chunks: &[Vec<u8>]) -> Result<Vec<u8>> {
    if !chunks.iter().any(|chunk| may_be_broadcast(chunk)) {
        return Ok(Vec::new());
    }
    // No row is wanted.
    let Some(lineage) = Lineage::open(chunks, Some(&(0..0)))? else { return Ok(Vec::new()) };
    let is_wanted = |(name, _): &(&str, _)| whose(name).1 == Whose::Everybodys;
    let locals: Vec<_> = lineage
        .locals()
        .into_iter()
        .filter(is_wanted)
        .map(|(name, local)| LocalWriter { name: name.into(), version: local.version, bytes: local.bytes.to_vec() })
        .collect();
    if locals.is_empty() {
        return Ok(Vec::new());
    }
    ChunkWriter {
        whole: true,
        first: 0,
        last: 0,
        key_groups: lineage.chunks.first().expect("a lineage has a chunk").key_groups,
        rows: &[],
        removed: &[],
        places: None,
        integers: &BlockWriter::new(Some(8), 0),
        texts: &BlockWriter::new(None, 0),
        timers: &BlockWriter::new(None, 0),
        columns: &[],
        locals: &locals,
    }
    .finish()
}

/// Returns group and slot of the rows that are the newest of their slots, in order, and where they stand.
fn newest_rows(lineage: &Lineage<'_>) -> (Vec<(u32, u32)>, Vec<Place>) {
    let mut rows = Vec::new();
    for (index, chunk) in lineage.chunks.iter().enumerate() {
        for group in &chunk.groups {
            for row in group.rows.clone() {
                let (slot, place) = (chunk.slot(row), Place { chunk: index as u32, row: row as u32 });
                if lineage.newest(slot) == Some(place) {
                    rows.push((group.group, slot, place));
                }
            }
        }
    }
    // The rows of each chunk are in order already, which a stable sort makes use of.
    rows.sort_by_key(|(group, slot, _)| (*group, *slot));
    rows.into_iter().map(|(group, slot, place)| ((group, slot), place)).unzip()
}

/// Returns group and slot of every key that went in any of the chunks. Some may have come in one of them too, and
/// were never there for whoever reads the merged chunk; to take nothing away is harmless.
fn removed(chunks: &[Chunk<'_>]) -> Vec<(u32, u32)> {
    let mut removed = Vec::new();
    for chunk in chunks {
        for group in &chunk.groups {
            removed.extend(group.removed.clone().map(|index| (group.group, chunk.removed(index))));
        }
    }
    removed.sort_unstable();
    removed.dedup();
    removed
}
