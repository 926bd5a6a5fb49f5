//! One column: the values of one name, by slot.

use std::any::Any;

use super::chunk::{BlockWriter, Cells, Encoding, Primitive, for_primitives};
use super::handle::StateValue;
use super::raw::{RawColumn, RawPlace, not_readable};
use super::room::make_room;
use super::undo::{Log, Part, Price};
use crate::Result;

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

            /// Makes a column of these values, by slot.
            pub(super) fn of<T: StateValue>(values: Vec<Option<T>>) -> Data {
                let mut data = Data::new::<T>();
                data.typed::<T>().expect("it was made as one of this type").cells = values;
                data
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

    /// Writes the values of these slots into a block, in this order.
    fn encode(&self, slots: &[u32], block: &mut BlockWriter) -> Result;

    /// Renumbers the slots: `old` is the old slot of each new one, in ascending order.
    fn pack(&mut self, old: &[u32]);

    /// Notes changes from now on.
    fn begin(&mut self);

    /// Notes nothing from now on, and forgets what was noted.
    fn settle(&mut self);

    /// Takes back what was noted, notes nothing from now on, and returns whether that was everything that changed.
    fn undo(&mut self) -> bool;
}

/// The values of one name, dense by slot.
///
/// Every change of a value goes through [`set`](Column::set), [`get_or_insert_with`](Column::get_or_insert_with),
/// [`get_mut`](Column::get_mut),
/// [`part_or_insert_with`](Column::part_or_insert_with), [`take`](Column::take) and [`remove`](Column::remove), and
/// through nothing else: they note the old value before the new one, or `&mut` to it, is given out.
///
/// A restored value that is no primitive stays as it was written until [`wake`](Column::wake), or
/// [`forget`](Column::forget) where it is replaced: one of them comes before any of these.
pub(super) struct Column<T> {
    cells: Vec<Option<T>>,
    /// The restored values that are not in `cells` yet; never of primitives.
    raw: Option<RawColumn>,
    log: Log<T>,
    /// Restored values that were dropped in this transaction, without being decoded.
    forgotten: Vec<(u32, RawPlace)>,
}

impl<T: 'static> Column<T> {
    pub(super) fn new() -> Column<T> {
        Column::of_cells(Vec::new())
    }

    fn of_cells(cells: Vec<Option<T>>) -> Column<T> {
        Column { cells, raw: None, log: Log::default(), forgotten: Vec::new() }
    }

    /// Makes a column of values that were restored and are not decoded yet.
    pub(super) fn of_raw(raw: RawColumn) -> Column<T> {
        let mut cells = Vec::new();
        cells.resize_with(raw.len(), || None);
        Column { raw: Some(raw), ..Column::of_cells(cells) }
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.cells.get(slot as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn set(&mut self, slot: u32, value: T) {
        let old = cell(&mut self.cells, slot).replace(value);
        if self.log.is_on() {
            self.log.keep(slot, old);
        }
    }

    /// Drops a value and returns whether there was one.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let Some(old @ Some(_)) = self.cells.get_mut(slot as usize).map(Option::take) else { return false };
        if self.log.is_on() {
            self.log.keep(slot, old);
        }
        true
    }
}

#[inline]
fn cell<T>(cells: &mut Vec<Option<T>>, slot: u32) -> &mut Option<T> {
    let slot = slot as usize;
    if slot < cells.len() { &mut cells[slot] } else { grow(cells, slot) }
}

#[cold]
fn grow<T>(cells: &mut Vec<Option<T>>, slot: usize) -> &mut Option<T> {
    make_room(cells, slot + 1);
    cells.resize_with(slot + 1, || None);
    &mut cells[slot]
}

fn insert<'a, T: 'static>(cell: &'a mut Option<T>, slot: u32, log: &mut Log<T>, value: T) -> &'a mut T {
    if log.is_on() {
        log.keep(slot, None);
    }
    cell.insert(value)
}

impl<T: StateValue> Column<T> {
    /// Returns a value to be changed.
    #[inline]
    pub(super) fn get_or_insert_with(&mut self, slot: u32, make: impl FnOnce() -> T) -> &mut T {
        let cell = cell(&mut self.cells, slot);
        let Some(value) = cell else {
            return insert(cell, slot, &mut self.log, make());
        };
        if self.log.is_on() {
            self.log.copy(slot, value);
        }
        value
    }

    /// Returns a value to be changed, if there is one.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let value = self.cells.get_mut(slot as usize)?.as_mut()?;
        if self.log.is_on() {
            self.log.copy(slot, value);
        }
        Some(value)
    }

    /// Returns a value of which nothing but one part is going to be changed; `part` is that part as it is now.
    pub(super) fn part_or_insert_with<P: Part<T>>(
        &mut self,
        slot: u32,
        make: impl FnOnce() -> T,
        part: impl FnOnce(&T, &mut Price) -> Option<P>,
    ) -> &mut T {
        let cell = cell(&mut self.cells, slot);
        let Some(value) = cell else {
            return insert(cell, slot, &mut self.log, make());
        };
        if self.log.is_on() {
            self.log.copy_part(slot, |price| part(value, price));
        }
        value
    }

    /// Takes a value out.
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        let cell = self.cells.get_mut(slot as usize)?;
        if let Some(value) = cell
            && self.log.is_on()
        {
            self.log.copy(slot, value);
        }
        cell.take()
    }

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
            self.forget_raw(slot);
        }
    }

    #[inline(never)]
    fn decode(&mut self, slot: u32, name: &str) -> Result {
        let Some(raw) = &mut self.raw else { return Ok(()) };
        let Some(bytes) = raw.get(slot) else { return Ok(()) };
        let value = rmp_serde::from_slice(bytes).map_err(|error| not_readable::<T>(name, &error))?;
        raw.remove(slot);
        self.drop_raw();
        // Nothing has changed: it is the same value.
        *cell(&mut self.cells, slot) = Some(value);
        Ok(())
    }

    #[inline(never)]
    fn forget_raw(&mut self, slot: u32) {
        let Some(place) = self.raw.as_mut().and_then(|raw| raw.remove(slot)) else { return };
        if self.log.is_on() {
            self.forgotten.push((slot, place));
        }
        self.drop_raw();
    }

    /// Drops what is left of the restored values if that is none, and no undo can bring one back.
    fn drop_raw(&mut self) {
        if self.forgotten.is_empty() && self.raw.as_ref().is_some_and(|raw| raw.is_empty()) {
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

    fn encode(&self, slots: &[u32], block: &mut BlockWriter) -> Result {
        if encode_primitives(&self.cells, slots, block) {
            return Ok(());
        }
        let slots_in_all = slots.len();
        for (part, slots) in slots.chunks(ENCODED_AT_ONCE).enumerate() {
            // One after the other, each would wait for memory.
            std::hint::black_box(slots.iter().filter(|slot| self.get(**slot).is_some()).count());
            for (row, slot) in (part * ENCODED_AT_ONCE..).zip(slots) {
                if let Some(value) = self.get(*slot) {
                    block.set_with(row, |body| Ok(rmp_serde::encode::write_named(body, value)?))?;
                } else if let Some(bytes) = self.raw.as_ref().and_then(|raw| raw.get(*slot)) {
                    block.set(row, bytes)?;
                }
            }
            block.reserve_for(slots_in_all);
        }
        Ok(())
    }

    fn pack(&mut self, old: &[u32]) {
        self.cells = old.iter().map(|slot| self.cells.get_mut(*slot as usize)?.take()).collect();
        if let Some(raw) = &mut self.raw {
            raw.pack(old);
        }
    }

    fn begin(&mut self) {
        self.log.begin();
    }

    fn settle(&mut self) {
        self.log.settle();
        if !self.forgotten.is_empty() {
            self.forgotten.clear();
            self.drop_raw();
        }
    }

    fn undo(&mut self) -> bool {
        if let Some(raw) = &mut self.raw {
            self.forgotten.drain(..).for_each(|(slot, place)| raw.put_back(slot, place));
        }
        self.log.undo(&mut self.cells)
    }
}

/// Makes a column of restored cells; nothing if no slot has a value. If the cells are all that stands in some chunks,
/// `origins` says which these are, and what is not decoded now is left there.
pub(super) fn decode(cells: &Cells<'_, '_>, origins: Option<&[u32]>) -> Result<Option<Data>> {
    if cells.iter().all(|value| value.is_none()) {
        return Ok(None);
    }
    decode_any(cells, origins).map(Some)
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
                $(Encoding::$encoding => Data::$encoding(Column::of_cells(decode_primitives(cells)?)),)*
                Encoding::MessagePack => Data::Raw(RawColumn::decode(cells, origins)),
            })
        }

        /// Writes the values as they are, if they are of a type that allows it; otherwise returns false.
        fn encode_primitives(cells: &dyn Any, slots: &[u32], block: &mut BlockWriter) -> bool {
            $(if let Some(cells) = cells.downcast_ref::<Vec<Option<$primitive>>>() {
                block.set_every(slots.iter().map(|slot| cells.get(*slot as usize).copied().flatten()));
                return true;
            })*
            false
        }
    };
}
for_primitives!(primitive_columns);
