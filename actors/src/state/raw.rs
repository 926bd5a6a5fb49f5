//! A column of restored values that are not decoded yet.

use std::ops::Range;
use std::sync::Arc;

use super::chunk::{BlockWriter, Cells, Encoding};
use super::column::AnyColumn;
use super::handle::StateValue;
use super::migration::WHAT_TO_DO;
use crate::{Error, Result};

/// Restored values that nobody has asked for yet, as they were written: their type is not known, or they wait to be
/// decoded.
#[derive(Default)]
pub(super) struct RawColumn {
    /// By slot.
    places: Vec<RawPlace>,
    /// How many of them there are.
    left: usize,
    /// What the places are in.
    parts: Arc<Vec<Vec<u8>>>,
}

/// Where a value stands.
#[derive(Clone, Copy)]
pub(super) struct RawPlace {
    start: usize,
    length: u32,
    part: u32,
}

/// No value stands here.
const NO_PART: u32 = u32::MAX;
const NO_PLACE: RawPlace = RawPlace { start: 0, length: 0, part: NO_PART };

impl RawColumn {
    /// Makes a column of restored cells. If these are all that stands in some chunks, `origins` says which these are, and
    /// the values are left there.
    pub(super) fn decode(cells: &Cells<'_, '_>, origins: Option<&[u32]>) -> RawColumn {
        let mut raw = RawColumn { places: Vec::with_capacity(cells.len()), left: 0, parts: Arc::default() };
        match origins {
            Some(origins) => raw.places.extend(cells.places().map(|place| match place {
                Some((chunk, Range { start, end })) => {
                    RawPlace { start, length: (end - start) as u32, part: origins[chunk as usize] }
                }
                None => NO_PLACE,
            })),
            None => {
                let mut bytes = Vec::new();
                raw.places.extend(cells.iter().map(|value| match value {
                    Some(value) => {
                        bytes.extend_from_slice(value);
                        RawPlace { start: bytes.len() - value.len(), length: value.len() as u32, part: 0 }
                    }
                    None => NO_PLACE,
                }));
                raw.parts = Arc::new(vec![bytes]);
            }
        }
        raw.left = raw.places.iter().filter(|place| place.part != NO_PART).count();
        raw
    }

    /// Returns how many slots there are, those without a value included.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether no slot has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    #[inline]
    pub(super) fn has(&self, slot: u32) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.part != NO_PART)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&[u8]> {
        let RawPlace { start, length, part } = *self.places.get(slot as usize)?;
        self.parts.get(part as usize)?.get(start..start + length as usize)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<RawPlace> {
        let place = self.places.get_mut(slot as usize).filter(|place| place.part != NO_PART)?;
        self.left -= 1;
        Some(std::mem::replace(place, NO_PLACE))
    }

    pub(super) fn put_back(&mut self, slot: u32, place: RawPlace) {
        self.places[slot as usize] = place;
        self.left += 1;
    }

    /// Gives the chunks that the values stand in, if they were not copied.
    pub(super) fn keep(&mut self, chunks: &Arc<Vec<Vec<u8>>>) {
        if self.parts.is_empty() {
            self.parts = Arc::clone(chunks);
        }
    }

    /// Finds out by the first value whether they can be decoded as this type.
    ///
    /// # Errors
    /// If not; `name` is that of the state.
    pub(super) fn check<T: StateValue>(&self, name: &str) -> Result {
        let Some(first) = (0..self.places.len() as u32).find_map(|slot| self.get(slot)) else { return Ok(()) };
        rmp_serde::from_slice::<T>(first).map(drop).map_err(|error| not_readable::<T>(name, &error))
    }
}

impl AnyColumn for RawColumn {
    fn has(&self, slot: u32) -> bool {
        RawColumn::has(self, slot)
    }

    fn fetch(&self, slots: &[u32]) -> usize {
        // Nobody has asked for it so far, and it is unlikely that this batch does.
        slots.len()
    }

    fn encoding(&self) -> Encoding {
        Encoding::MessagePack
    }

    fn encode(&self, slots: &[u32], block: &mut BlockWriter) -> Result {
        for (row, slot) in slots.iter().enumerate() {
            if let Some(bytes) = self.get(*slot) {
                block.set(row, bytes)?;
            }
        }
        Ok(())
    }

    fn pack(&mut self, old: &[u32]) {
        self.places = old.iter().map(|slot| self.places.get(*slot as usize).copied().unwrap_or(NO_PLACE)).collect();
    }

    // Nobody has asked for it, so nothing of it can change.

    fn begin(&mut self) {}

    fn settle(&mut self) {}

    fn undo(&mut self) -> bool {
        true
    }
}

/// What was restored under this name cannot be read as the type that is asked for.
pub(super) fn not_readable<T>(name: &str, error: &rmp_serde::decode::Error) -> Error {
    let wanted = crate::short_type_name(std::any::type_name::<T>());
    Error::invalid(format!("state \"{name}\" cannot be restored as {wanted}: {error}; {WHAT_TO_DO}"))
}
