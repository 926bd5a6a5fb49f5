//! Which rows of a lineage of chunks are the newest.

use std::collections::BTreeMap;
use std::ops::Range;

use super::block::Block;
use super::encoding::{Encoding, Primitive};
use super::read::{Chunk, Group};
use super::{Kind, WrittenLocal, damaged};
use crate::key::Key;
use crate::state::slots::{MAX_SLOTS, is_sparse};
use crate::{Error, Result};

/// Where a row stands: in which chunk, and which of its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) chunk: u32,
    pub(super) row: u32,
}

/// Stands for a slot without a row.
pub(super) const VACANT: Place = Place { chunk: u32::MAX, row: u32::MAX };

/// Consecutive chunks of one subtask, and the newest row of each slot.
pub(super) struct Lineage<'a> {
    pub(super) chunks: Vec<Chunk<'a>>,
    /// Which of the chunks that were given each of them is.
    origins: Vec<u32>,
    /// By slot; or, if the lineage begins with a change, by index in `changed`.
    places: Vec<Place>,
    /// The slots that occur, in order, if the lineage begins with a change: few, of a store that may be large.
    changed: Vec<u32>,
    /// The number of the first cut, of those that a whole chunk has made void too.
    pub(super) first: u64,
    /// Whether rows were left out because their key group is not wanted.
    pub(super) left_out: bool,
}

impl<'a> Lineage<'a> {
    /// Opens consecutive chunks, oldest first, and finds the newest row of each slot, of the wanted key groups only.
    /// Nothing is left if there are no chunks; empty ones stand for cuts that had nothing to say.
    pub(super) fn open(bytes: &'a [Vec<u8>], wanted: Option<&Range<u32>>) -> Result<Option<Lineage<'a>>> {
        let mut chunks: Vec<Chunk<'a>> = Vec::new();
        let mut origins = Vec::new();
        let mut first = None;
        for (origin, bytes) in bytes.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            let chunk = Chunk::open(bytes)?;
            if let Some(before) = chunks.last() {
                if before.last.checked_add(1) != Some(chunk.first) {
                    return Err(Error::invalid(format!(
                        "the chunks of state are not consecutive: number {} is followed by {}",
                        before.last, chunk.first
                    )));
                }
                if before.key_groups != chunk.key_groups {
                    return Err(damaged("the number of key groups differs from that of the chunk before"));
                }
            }
            if chunk.whole {
                chunks.clear();
                origins.clear();
            }
            origins.push(origin as u32);
            first.get_or_insert(chunk.first);
            chunks.push(chunk);
        }
        let Some(first) = first else { return Ok(None) };
        let changed = if chunks[0].whole { Vec::new() } else { all_slots(&chunks) };
        let mut lineage = Lineage { chunks, origins, places: Vec::new(), changed, first, left_out: false };
        lineage.find_newest(wanted)?;
        Ok(Some(lineage))
    }

    fn find_newest(&mut self, wanted: Option<&Range<u32>>) -> Result {
        let mut places = vec![VACANT; self.changed.len()];
        let mut rows_so_far = 0;
        for (index, chunk) in self.chunks.iter().enumerate() {
            rows_so_far += chunk.rows() as u64;
            let (chosen, others): (Vec<_>, Vec<_>) =
                chunk.groups.iter().partition(|group| wanted.is_none_or(|wanted| wanted.contains(&group.group)));
            self.left_out |= others.iter().any(|group| !group.rows.is_empty());
            // What went makes room for what came, so all of it comes first.
            for removed in chosen.iter().flat_map(|group| group.removed.clone()) {
                if let Some(place) = self.index(chunk.removed(removed)).and_then(|index| places.get_mut(index)) {
                    *place = VACANT;
                }
            }
            if self.chunks[0].whole {
                // The slots of a group are in order: the last is the greatest.
                let last = |group: &&Group| chunk.slots(&group.rows).last().map(|slot| u32::from_le_bytes(*slot));
                let end =
                    chosen.iter().copied().filter_map(|group| last(&group)).max().map_or(0, |last| last as usize + 1);
                // A store packs itself together before it becomes as sparse as that.
                if end > MAX_SLOTS || is_sparse(end as u64, rows_so_far) {
                    return Err(damaged("a slot out of proportion"));
                }
                if end > places.len() {
                    places.resize(end, VACANT);
                }
            }
            for group in chosen {
                for (row, slot) in group.rows.clone().zip(chunk.slots(&group.rows)) {
                    let slot = self.index(u32::from_le_bytes(*slot)).expect("the slots of all rows were collected");
                    let place = Place { chunk: index as u32, row: row as u32 };
                    let before = std::mem::replace(&mut places[slot], place);
                    if before.chunk == place.chunk {
                        return Err(damaged("a slot twice"));
                    }
                }
            }
        }
        while places.last() == Some(&VACANT) {
            places.pop();
        }
        // What is left must not be sparse either: no store cuts such a state, and as one chunk it would be refused.
        let is_all = self.chunks[0].whole && !self.left_out;
        if is_all && is_sparse(places.len() as u64, places.iter().filter(|place| **place != VACANT).count() as u64) {
            return Err(damaged("a slot out of proportion"));
        }
        self.places = places;
        Ok(())
    }

    /// Returns where in `places` a slot is.
    #[inline]
    fn index(&self, slot: u32) -> Option<usize> {
        if self.chunks[0].whole { Some(slot as usize) } else { self.changed.binary_search(&slot).ok() }
    }

    /// Returns where the newest row of a slot stands.
    pub(super) fn newest(&self, slot: u32) -> Option<Place> {
        self.places.get(self.index(slot)?).copied()
    }

    /// Returns the newest of each local value.
    pub(super) fn locals(&self) -> BTreeMap<&'a str, WrittenLocal<'a>> {
        self.chunks.iter().flat_map(|chunk| chunk.locals.iter().copied()).collect()
    }
}

/// Returns the slots of all rows, in order, each once.
fn all_slots(chunks: &[Chunk<'_>]) -> Vec<u32> {
    let mut slots: Vec<u32> = chunks.iter().flat_map(|chunk| (0..chunk.rows()).map(|row| chunk.slot(row))).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// The rows that a store is to be made of, by slot.
pub(in crate::state) struct Picked<'a> {
    chunks: Vec<Chunk<'a>>,
    /// Which of the chunks of the lineage each of them is, if all that stands in them was picked.
    origins: Option<Vec<u32>>,
    places: Vec<Place>,
    /// The newest of each local value, encoded.
    pub(in crate::state) locals: BTreeMap<&'a str, WrittenLocal<'a>>,
    /// The number that the next cut goes on with; nothing if the store is not the one that was cut.
    pub(in crate::state) next: Option<u64>,
}

/// What belongs to one key, without its columns.
pub(in crate::state) struct Row<'a> {
    pub(in crate::state) key: Key,
    /// As they were written.
    pub(in crate::state) timers: Option<&'a [u8]>,
}

/// Picks what a lineage holds. If nothing has to be left out, every row keeps its slot.
///
/// # Errors
/// If a chunk is damaged, missing, or of a job with another number of key groups.
pub(in crate::state) fn restore<'a>(
    chunks: &'a [Vec<u8>],
    own: &Range<u32>,
    key_groups: u32,
) -> Result<Option<Picked<'a>>> {
    let Some(lineage) = Lineage::open(chunks, Some(own))? else { return Ok(None) };
    check_base(&lineage, key_groups)?;
    if lineage.left_out {
        return Ok(Some(join(vec![lineage])));
    }
    let next = lineage.chunks.last().and_then(|chunk| chunk.last.checked_add(1));
    let locals = lineage.locals();
    let origins = Some(lineage.origins);
    Ok(Some(Picked { locals, next, places: lineage.places, chunks: lineage.chunks, origins }))
}

/// Picks what belongs to these key groups from the lineages of several subtasks, and numbers the slots anew, in order
/// of lineage, then slot. Local values are those of the first lineage.
///
/// # Errors
/// As [`restore`].
pub(in crate::state) fn adopt<'a>(
    lineages: &'a [Vec<Vec<u8>>],
    own: &Range<u32>,
    key_groups: u32,
) -> Result<Picked<'a>> {
    let mut opened = Vec::new();
    let mut locals = BTreeMap::new();
    for (index, chunks) in lineages.iter().enumerate() {
        let Some(lineage) = Lineage::open(chunks, Some(own))? else { continue };
        check_base(&lineage, key_groups)?;
        if index == 0 {
            locals = lineage.locals();
        }
        opened.push(lineage);
    }
    Ok(Picked { locals, ..join(opened) })
}

fn check_base(lineage: &Lineage<'_>, key_groups: u32) -> Result {
    let base = lineage.chunks.first().expect("a lineage has a chunk");
    if !base.whole {
        return Err(Error::invalid(format!(
            "the oldest chunk of state, number {}, only says what changed: the one before it is missing",
            base.first
        )));
    }
    if base.key_groups != key_groups {
        return Err(Error::invalid(format!(
            "the state was written with {} key groups, but the job has {key_groups}: the number is fixed at the first start",
            base.key_groups
        )));
    }
    Ok(())
}

fn join(lineages: Vec<Lineage<'_>>) -> Picked<'_> {
    let locals = lineages.first().map(Lineage::locals).unwrap_or_default();
    let mut picked = Picked { chunks: Vec::new(), origins: None, places: Vec::new(), locals, next: None };
    for lineage in lineages {
        let before = picked.chunks.len() as u32;
        let places = lineage.places.iter().filter(|place| **place != VACANT);
        picked.places.extend(places.map(|place| Place { chunk: before + place.chunk, row: place.row }));
        picked.chunks.extend(lineage.chunks);
    }
    picked
}

impl<'a> Picked<'a> {
    /// Returns how many slots there are, free ones between included.
    pub(in crate::state) fn slots(&self) -> usize {
        self.places.len()
    }

    /// Returns the integer keys in all slots, if every slot has one and there are no timers.
    pub(in crate::state) fn integers(&self) -> Option<impl Iterator<Item = Option<u64>> + '_> {
        let simple = |chunk: &Chunk<'_>| chunk.texts.is_empty() && chunk.timers.is_empty();
        if !self.chunks.iter().all(simple) || self.places.contains(&VACANT) {
            return None;
        }
        Some(self.places.iter().map(|place| self.chunks[place.chunk as usize].integers.primitive(place.row as usize)))
    }

    /// Returns the key in a slot and its timers; nothing if the slot is free.
    #[inline]
    pub(in crate::state) fn row(&self, slot: usize) -> Result<Option<Row<'a>>> {
        let place = self.places[slot];
        if place == VACANT {
            return Ok(None);
        }
        let chunk = &self.chunks[place.chunk as usize];
        let row = place.row as usize;
        Ok(Some(Row { key: chunk.key(row)?, timers: chunk.timers.get(row) }))
    }

    /// Returns the columns, in order of their names and versions.
    pub(in crate::state) fn columns(&self) -> Result<Vec<Cells<'_, 'a>>> {
        columns(&self.chunks, &self.places)
    }

    /// Returns which of the chunks of the lineage each picked one is, if all that stands in them was picked: then it
    /// is no waste to keep their bytes.
    pub(in crate::state) fn origins(&self) -> Option<&[u32]> {
        self.origins.as_deref()
    }
}

/// One column of the picked rows.
pub(in crate::state) struct Cells<'p, 'a> {
    pub(in crate::state) name: &'a str,
    pub(in crate::state) kind: Kind,
    pub(in crate::state) encoding: Encoding,
    pub(in crate::state) version: u16,
    /// Of each chunk.
    blocks: Vec<Option<&'p Block<'a>>>,
    places: &'p [Place],
}

impl<'a> Cells<'_, 'a> {
    /// Returns the value in each slot, as it was written.
    pub(in crate::state) fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + '_ {
        self.places.iter().map(|place| self.at(*place))
    }

    /// Returns how many slots there are.
    pub(in crate::state) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the value in each slot, of values of this type: nothing where there is none, an error where none is
    /// written so.
    pub(in crate::state) fn primitives<P: Primitive>(&self) -> impl Iterator<Item = Result<Option<P>>> + '_ {
        debug_assert_eq!(self.encoding.width(), Some(P::WIDTH));
        self.places.iter().map(|place| {
            let Some(block) = self.block(*place) else { return Ok(None) };
            match block.primitive(place.row as usize) {
                None if block.has(place.row as usize) => {
                    Err(Error::invalid(format!("a chunk of state \"{}\" is damaged", self.name)))
                }
                value => Ok(value),
            }
        })
    }

    /// Returns for each slot in which chunk, of those that the rows were picked from, its value stands, and where.
    pub(in crate::state) fn places(&self) -> impl Iterator<Item = Option<(u32, Range<usize>)>> + '_ {
        self.places.iter().map(|place| Some((place.chunk, self.block(*place)?.place(place.row as usize)?)))
    }

    #[inline]
    fn at(&self, place: Place) -> Option<&'a [u8]> {
        self.block(place)?.get(place.row as usize)
    }

    #[inline]
    fn block(&self, place: Place) -> Option<&Block<'a>> {
        *self.blocks.get(place.chunk as usize)?
    }
}

/// Brings the columns of several chunks together by name and version.
pub(super) fn columns<'p, 'a>(chunks: &'p [Chunk<'a>], places: &'p [Place]) -> Result<Vec<Cells<'p, 'a>>> {
    let mut by_name: BTreeMap<(&'a str, u16), Cells<'p, 'a>> = BTreeMap::new();
    for (index, chunk) in chunks.iter().enumerate() {
        for column in &chunk.columns {
            let cells = by_name.entry((column.name, column.version)).or_insert_with(|| Cells {
                name: column.name,
                kind: column.kind,
                encoding: column.encoding,
                version: column.version,
                blocks: vec![None; chunks.len()],
                places,
            });
            if (cells.kind, cells.encoding) != (column.kind, column.encoding) {
                return Err(Error::invalid(format!(
                    "state \"{}\" was written both as a {} of {} and as a {} of {}: give one of them another name",
                    column.name,
                    cells.kind.word(),
                    cells.encoding.name(),
                    column.kind.word(),
                    column.encoding.name()
                )));
            }
            cells.blocks[index] = Some(&column.block);
        }
    }
    Ok(by_name.into_values().collect())
}
