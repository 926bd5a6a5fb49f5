//! One column: the values of one name, by slot.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use super::chunk::{BlockWriter, Cells, Encoding, Primitive, for_primitives};
use super::handle::StateValue;
use crate::{Error, Result};

/// A column of which only its user knows the type. Columns of numbers stand in the enumeration itself, where the
/// compiler sees which of them a handle can mean: reaching one takes no call through a table of methods.
macro_rules! data {
    ($(($encoding:ident, $primitive:ty)),*) => {
        pub(super) enum Data {
            $($encoding(Column<$primitive>),)*
            /// Restored, and not asked for yet.
            Raw(RawColumn),
            Other(Box<dyn AnyColumn>),
        }

        impl Data {
            /// Makes an empty column.
            pub(super) fn new<T: StateValue>() -> Data {
                match Encoding::of::<T>() {
                    $(Encoding::$encoding => Data::$encoding(Column::new()),)*
                    Encoding::MessagePack => Data::Other(Box::new(Column::<T>::new())),
                }
            }

            /// Returns the column, if it is one of this type.
            #[inline(always)]
            pub(super) fn typed<T: StateValue>(&mut self) -> Option<&mut Column<T>> {
                match self {
                    $(Data::$encoding(column) => (column as &mut dyn Any).downcast_mut(),)*
                    // Never one of numbers: for these the compiler leaves the call out.
                    Data::Other(column) if Encoding::of::<T>() == Encoding::MessagePack => {
                        let column: &mut dyn Any = &mut **column;
                        column.downcast_mut()
                    }
                    Data::Raw(_) | Data::Other(_) => None,
                }
            }

            pub(super) fn any(&self) -> &dyn AnyColumn {
                match self {
                    $(Data::$encoding(column) => column,)*
                    Data::Raw(column) => column,
                    Data::Other(column) => &**column,
                }
            }

            pub(super) fn any_mut(&mut self) -> &mut dyn AnyColumn {
                match self {
                    $(Data::$encoding(column) => column,)*
                    Data::Raw(column) => column,
                    Data::Other(column) => &mut **column,
                }
            }
        }
    };
}
for_primitives!(data);

/// The values of so many slots are brought into the caches before they are serialised.
const ENCODED_AT_ONCE: usize = 64;

/// What all columns can do.
pub(super) trait AnyColumn: Any + Send {
    /// Returns whether a slot has a value.
    fn has(&self, slot: u32) -> bool;

    /// Looks at the values of these slots and returns how many there are.
    fn fetch(&self, slots: &[u32]) -> usize;

    fn encoding(&self) -> Encoding;

    /// Writes the values of these slots into a block, each into its row.
    fn encode(&self, slots: &[(u32, u32)], block: &mut BlockWriter) -> Result;

    /// Renumbers the slots: `old` is the old slot of each new one, in ascending order.
    fn pack(&mut self, old: &[u32]);
}

/// The values of one name, dense by slot.
///
/// Every change of a value goes through [`set`](Column::set), [`get_mut`](Column::get_mut),
/// [`get_or_insert_with`](Column::get_or_insert_with) and [`remove`](Column::remove), and through nothing else: an
/// undo log notes the old value there before the new one, or `&mut` to it, is given out.
///
/// A restored value that is no primitive stays as it was written until [`wake`](Column::wake), or
/// [`forget`](Column::forget) where it is replaced: one of them comes before any of these.
pub(super) struct Column<T> {
    cells: Vec<Option<T>>,
    /// The restored values that are not in `cells` yet; never of primitives.
    raw: Option<RawColumn>,
}

impl<T> Column<T> {
    pub(super) fn new() -> Column<T> {
        Column { cells: Vec::new(), raw: None }
    }

    /// Makes a column of values that were restored and are not decoded yet.
    pub(super) fn of_raw(raw: RawColumn) -> Column<T> {
        let mut cells = Vec::new();
        cells.resize_with(raw.places.len(), || None);
        Column { cells, raw: Some(raw) }
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.cells.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.cells.get_mut(slot as usize)?.as_mut()
    }

    #[inline]
    pub(super) fn get_or_insert_with(&mut self, slot: u32, make: impl FnOnce() -> T) -> &mut T {
        self.cell(slot).get_or_insert_with(make)
    }

    #[inline]
    pub(super) fn set(&mut self, slot: u32, value: T) {
        *self.cell(slot) = Some(value);
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        self.cells.get_mut(slot as usize)?.take()
    }

    #[inline]
    fn cell(&mut self, slot: u32) -> &mut Option<T> {
        let slot = slot as usize;
        if slot < self.cells.len() { &mut self.cells[slot] } else { self.grow(slot) }
    }

    #[cold]
    fn grow(&mut self, slot: usize) -> &mut Option<T> {
        self.cells.resize_with(slot + 1, || None);
        &mut self.cells[slot]
    }
}

impl<T: StateValue> Column<T> {
    /// Decodes the value of a slot, if it was restored and nobody has asked for it before.
    ///
    /// # Errors
    /// If it was written as another type; `name` is that of the state.
    #[inline(always)]
    pub(super) fn wake(&mut self, slot: u32, name: &str) -> Result {
        // The compiler leaves this out for primitives.
        if Encoding::of::<T>() == Encoding::MessagePack && self.raw.is_some() {
            return self.decode(slot, name);
        }
        Ok(())
    }

    /// Drops the restored value of a slot, if nobody has asked for it before.
    #[inline(always)]
    pub(super) fn forget(&mut self, slot: u32) {
        if Encoding::of::<T>() == Encoding::MessagePack && self.raw.is_some() {
            self.remove_raw(slot);
        }
    }

    #[inline(never)]
    fn decode(&mut self, slot: u32, name: &str) -> Result {
        let Some(bytes) = self.raw.as_ref().and_then(|raw| raw.get(slot)) else { return Ok(()) };
        let value = rmp_serde::from_slice(bytes).map_err(|error| not_readable::<T>(name, &error))?;
        self.remove_raw(slot);
        self.set(slot, value);
        Ok(())
    }

    #[inline(never)]
    fn remove_raw(&mut self, slot: u32) {
        let Some(raw) = &mut self.raw else { return };
        raw.remove(slot);
        if raw.left == 0 {
            self.raw = None;
        }
    }
}

impl<T: StateValue> AnyColumn for Column<T> {
    fn has(&self, slot: u32) -> bool {
        self.get(slot).is_some() || self.raw.as_ref().is_some_and(|raw| raw.has(slot))
    }

    fn fetch(&self, slots: &[u32]) -> usize {
        slots.iter().filter(|slot| self.get(**slot).is_some()).count()
    }

    fn encoding(&self) -> Encoding {
        Encoding::of::<T>()
    }

    fn encode(&self, slots: &[(u32, u32)], block: &mut BlockWriter) -> Result {
        if encode_primitives(&self.cells, slots, block) {
            return Ok(());
        }
        let slots_in_all = slots.len();
        for slots in slots.chunks(ENCODED_AT_ONCE) {
            // One after the other, each would wait for memory.
            std::hint::black_box(slots.iter().filter(|(slot, _)| self.get(*slot).is_some()).count());
            for (slot, row) in slots {
                if let Some(value) = self.get(*slot) {
                    block.set_with(*row as usize, |body| Ok(rmp_serde::encode::write_named(body, value)?))?;
                } else if let Some(bytes) = self.raw.as_ref().and_then(|raw| raw.get(*slot)) {
                    block.set(*row as usize, bytes)?;
                }
            }
            block.reserve_for(slots_in_all);
        }
        Ok(())
    }

    fn pack(&mut self, old: &[u32]) {
        self.cells = old.iter().map(|slot| self.remove(*slot)).collect();
        if let Some(raw) = &mut self.raw {
            raw.pack(old);
        }
    }
}

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

#[derive(Clone, Copy)]
struct RawPlace {
    start: usize,
    length: u32,
    part: u32,
}

/// No value stands here.
const NO_PART: u32 = u32::MAX;
const NO_PLACE: RawPlace = RawPlace { start: 0, length: 0, part: NO_PART };

impl RawColumn {
    #[inline]
    fn has(&self, slot: u32) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.part != NO_PART)
    }

    fn get(&self, slot: u32) -> Option<&[u8]> {
        let RawPlace { start, length, part } = *self.places.get(slot as usize)?;
        self.parts.get(part as usize)?.get(start..start + length as usize)
    }

    fn remove(&mut self, slot: u32) {
        if self.has(slot) {
            self.places[slot as usize] = NO_PLACE;
            self.left -= 1;
        }
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

    fn encode(&self, slots: &[(u32, u32)], block: &mut BlockWriter) -> Result {
        for (slot, row) in slots {
            if let Some(bytes) = self.get(*slot) {
                block.set(*row as usize, bytes)?;
            }
        }
        Ok(())
    }

    fn pack(&mut self, old: &[u32]) {
        self.places = old.iter().map(|slot| self.places.get(*slot as usize).copied().unwrap_or(NO_PLACE)).collect();
    }
}

/// What was restored under this name cannot be read as the type that is asked for.
pub(super) fn not_readable<T>(name: &str, error: &rmp_serde::decode::Error) -> Error {
    let wanted = crate::short_type_name(std::any::type_name::<T>());
    Error::invalid(format!(
        "state \"{name}\" cannot be restored as {wanted}: {error}; give fields that were added a default, or keep the \
         new type under a new name"
    ))
}

/// Makes a column of restored cells; nothing if no slot has a value. If the cells are all that stands in some chunks,
/// `origins` says which these are, and what is not decoded now is left there.
pub(super) fn decode(cells: &Cells<'_, '_>, origins: Option<&[u32]>) -> Result<Option<Data>> {
    if cells.iter().all(|value| value.is_none()) {
        return Ok(None);
    }
    decode_any(cells, origins).map(Some)
}

fn decode_raw(cells: &Cells<'_, '_>, origins: Option<&[u32]>) -> RawColumn {
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

fn decode_primitives<P: Primitive>(cells: &Cells<'_, '_>) -> Result<Vec<Option<P>>> {
    let mut values = Vec::with_capacity(cells.len());
    for value in cells.primitives() {
        values.push(value?);
    }
    Ok(values)
}

macro_rules! primitive_columns {
    ($(($encoding:ident, $primitive:ty)),*) => {
        fn decode_any(cells: &Cells<'_, '_>, origins: Option<&[u32]>) -> Result<Data> {
            Ok(match cells.encoding {
                $(Encoding::$encoding => Data::$encoding(Column { cells: decode_primitives(cells)?, raw: None }),)*
                Encoding::MessagePack => Data::Raw(decode_raw(cells, origins)),
            })
        }

        /// Writes the values as they are, if they are of a type that allows it; otherwise returns false.
        fn encode_primitives(cells: &dyn Any, slots: &[(u32, u32)], block: &mut BlockWriter) -> bool {
            $(if let Some(cells) = cells.downcast_ref::<Vec<Option<$primitive>>>() {
                for (slot, row) in slots {
                    if let Some(Some(value)) = cells.get(*slot as usize) {
                        block.set_primitive(*row as usize, *value);
                    }
                }
                return true;
            })*
            false
        }
    };
}
for_primitives!(primitive_columns);
