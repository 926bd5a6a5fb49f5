//! What a cut has taken out of a store, and how a chunk is made of it.
//!
//! An operator stands still for its cut, so a cut only takes values, in the order of their slots, which is that of memory.
//! To sort them by key group and to put them together, which takes longer, is for whoever has the time.

use std::io::{self, Write};

use super::block::BlockWriter;
use super::write::{ChunkWriter, ColumnWriter, LocalWriter};
use crate::Result;
use crate::key::{group_of, unmix};

/// What a cut has taken: [`write`](Draft::write) makes a chunk of it, on any thread, and so does [`Ordered`].
#[derive(Default)]
pub struct Draft {
    taken: Option<Box<Taken>>,
}

/// Everything that a chunk says, in the order of the slots.
pub(in crate::state) struct Taken {
    pub(in crate::state) whole: bool,
    pub(in crate::state) number: u64,
    pub(in crate::state) key_groups: u32,
    /// The slots of the rows, in order, and the hashes of their keys.
    pub(in crate::state) slots: Vec<u32>,
    pub(in crate::state) hashes: Vec<u64>,
    /// Group and slot of each key that went, in any order.
    pub(in crate::state) removed: Vec<(u32, u32)>,
    /// The keys that are no integers.
    pub(in crate::state) texts: BlockWriter,
    pub(in crate::state) timers: BlockWriter,
    pub(in crate::state) columns: Vec<ColumnWriter<'static>>,
    pub(in crate::state) locals: Vec<LocalWriter<'static>>,
}

impl From<Taken> for Draft {
    fn from(taken: Taken) -> Draft {
        Draft { taken: Some(Box::new(taken)) }
    }
}

impl Draft {
    /// Returns whether nothing has changed: its chunk is empty.
    pub fn is_empty(&self) -> bool {
        self.taken.is_none()
    }

    /// Returns about how many bytes the chunk will have.
    pub fn size(&self) -> usize {
        let Some(taken) = &self.taken else { return 0 };
        let columns: usize = taken.columns.iter().map(|column| column.block.len()).sum();
        let locals: usize = taken.locals.iter().map(|local| local.bytes.len()).sum();
        let keys = taken.slots.len() * (size_of::<u32>() + size_of::<u64>()) + taken.removed.len() * size_of::<u32>();
        keys + taken.texts.len() + taken.timers.len() + columns + locals
    }

    /// Returns whether the chunk is everything there is, and voids what came before.
    pub fn is_whole(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.whole)
    }

    /// Returns the chunk; empty if nothing has changed.
    ///
    /// # Errors
    /// If a part of it is longer than 4 GiB.
    pub fn write(self) -> Result<Vec<u8>> {
        self.in_order().map_or_else(|| Ok(Vec::new()), |ordered| ordered.write())
    }

    /// Puts what was taken in order; nothing if nothing has changed.
    pub fn in_order(&self) -> Option<Ordered<'_>> {
        let taken = self.taken.as_deref()?;
        let (rows, places) = by_group(&taken.slots, &taken.hashes, taken.key_groups);
        let mut removed = taken.removed.clone();
        removed.sort_unstable();
        let mut integers = BlockWriter::new(Some(size_of::<u64>()), taken.slots.len());
        let hashes = taken.hashes.iter();
        if taken.texts.is_empty() {
            integers.set_every(hashes.map(|hash| Some(unmix(*hash))));
        } else {
            integers.set_every(hashes.enumerate().map(|(row, hash)| (!taken.texts.has(row)).then(|| unmix(*hash))));
        }
        Some(Ordered { taken, rows, places, removed, integers })
    }
}

/// A draft in the order that its chunk has.
pub struct Ordered<'a> {
    taken: &'a Taken,
    /// Group and slot of each row, in order, and which of them each of the slots has.
    rows: Vec<(u32, u32)>,
    places: Vec<u32>,
    removed: Vec<(u32, u32)>,
    integers: BlockWriter,
}

impl Ordered<'_> {
    /// Returns how many bytes the chunk has.
    #[expect(clippy::len_without_is_empty, reason = "a chunk is not empty")]
    pub fn len(&self) -> u64 {
        self.chunk().len() as u64
    }

    /// Returns the chunk.
    ///
    /// # Errors
    /// As [`Draft::write`].
    pub fn write(&self) -> Result<Vec<u8>> {
        self.chunk().finish()
    }

    /// Writes the chunk piece by piece, without ever having all of it in memory.
    ///
    /// # Errors
    /// If a part of it is longer than 4 GiB, and those of whoever takes the pieces.
    pub fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        self.chunk().write_to(to)
    }

    fn chunk(&self) -> ChunkWriter<'_> {
        let Taken { whole, number, key_groups, texts, timers, columns, locals, .. } = self.taken;
        ChunkWriter {
            whole: *whole,
            first: *number,
            last: *number,
            key_groups: *key_groups,
            rows: &self.rows,
            removed: &self.removed,
            places: Some(&self.places),
            integers: &self.integers,
            texts,
            timers,
            columns,
            locals,
        }
    }
}

/// Returns group and slot of each row, ordered by group, then slot, and which row each of the slots has: a counting sort,
/// as the slots come in order and there are few groups.
fn by_group(slots: &[u32], hashes: &[u64], key_groups: u32) -> (Vec<(u32, u32)>, Vec<u32>) {
    let groups: Vec<u32> = hashes.iter().map(|hash| group_of(*hash, key_groups)).collect();
    let mut next = vec![0u32; key_groups as usize + 1];
    for group in &groups {
        next[*group as usize + 1] += 1;
    }
    for index in 1..next.len() {
        next[index] += next[index - 1];
    }
    let mut rows = vec![(0, 0); slots.len()];
    let place = |(slot, group): (&u32, u32)| {
        let row = &mut next[group as usize];
        rows[*row as usize] = (group, *slot);
        std::mem::replace(row, *row + 1)
    };
    let places = slots.iter().zip(groups).map(place).collect();
    (rows, places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn rows_stand_in_the_order_of_their_groups_and_then_of_their_slots() {
        let keys: Vec<Key> = (0..100u64).map(Key::from).collect();
        let slots: Vec<u32> = (0..100).map(|slot| slot * 3).collect();
        let hashes: Vec<u64> = keys.iter().map(Key::hash).collect();
        let (rows, places) = by_group(&slots, &hashes, 7);
        assert!(rows.is_sorted() && rows.len() == 100);
        for ((key, slot), place) in keys.iter().zip(slots).zip(places) {
            assert_eq!(rows[place as usize], (key.group(7), slot));
        }
    }
}
