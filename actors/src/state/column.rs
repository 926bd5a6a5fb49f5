//! One column: the values of one name, by slot.

use std::any::Any;

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

/// What all columns can do.
pub(super) trait AnyColumn: Any + Send {
    /// Returns whether a slot has a value.
    fn has(&self, slot: u32) -> bool;

    /// Looks at the values of these slots and returns how many there are.
    fn fetch(&self, slots: &[u32]) -> usize;

    fn encoding(&self) -> Encoding;

    /// Appends the values of these slots to a block.
    fn encode(&self, slots: &[(u32, u32)], block: &mut BlockWriter) -> Result;

    /// Renumbers the slots: `old` is the old slot of each new one, in ascending order.
    fn pack(&mut self, old: &[u32]);
}

/// The values of one name, dense by slot.
///
/// Every change of a value goes through [`set`](Column::set), [`get_mut`](Column::get_mut),
/// [`get_or_insert_with`](Column::get_or_insert_with) and [`remove`](Column::remove), and through nothing else: an
/// undo log notes the old value there before the new one, or `&mut` to it, is given out.
pub(super) struct Column<T> {
    cells: Vec<Option<T>>,
}

impl<T> Column<T> {
    pub(super) fn new() -> Column<T> {
        Column { cells: Vec::new() }
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

impl<T: StateValue> AnyColumn for Column<T> {
    fn has(&self, slot: u32) -> bool {
        self.get(slot).is_some()
    }

    fn fetch(&self, slots: &[u32]) -> usize {
        slots.iter().filter(|slot| self.has(**slot)).count()
    }

    fn encoding(&self) -> Encoding {
        Encoding::of::<T>()
    }

    fn encode(&self, slots: &[(u32, u32)], block: &mut BlockWriter) -> Result {
        if encode_primitives(&self.cells, slots, block)? {
            return Ok(());
        }
        for (_, slot) in slots {
            match self.get(*slot) {
                Some(value) => block.push_with(|body| Ok(rmp_serde::encode::write_named(body, value)?))?,
                None => block.skip(),
            }
        }
        Ok(())
    }

    fn pack(&mut self, old: &[u32]) {
        self.cells = old.iter().map(|slot| self.remove(*slot)).collect();
    }
}

/// A restored column that nobody has asked for yet: its type is not known, so its values stay as they were written.
pub(super) struct RawColumn {
    /// Where the value of each slot stands in the bytes.
    cells: Vec<Option<(usize, u32)>>,
    bytes: Vec<u8>,
}

impl RawColumn {
    fn get(&self, slot: u32) -> Option<&[u8]> {
        let (start, length) = (*self.cells.get(slot as usize)?)?;
        self.bytes.get(start..start + length as usize)
    }

    /// Decodes the values.
    pub(super) fn typed<T: StateValue>(&self, name: &str) -> Result<Column<T>> {
        let mut cells = Vec::with_capacity(self.cells.len());
        for slot in 0..self.cells.len() as u32 {
            let value = self.get(slot).map(rmp_serde::from_slice).transpose();
            cells.push(value.map_err(|error| not_readable::<T>(name, &error))?);
        }
        Ok(Column { cells })
    }
}

impl AnyColumn for RawColumn {
    fn has(&self, slot: u32) -> bool {
        self.get(slot).is_some()
    }

    fn fetch(&self, slots: &[u32]) -> usize {
        // Nobody has asked for it so far, and it is unlikely that this batch does.
        slots.len()
    }

    fn encoding(&self) -> Encoding {
        Encoding::MessagePack
    }

    fn encode(&self, slots: &[(u32, u32)], block: &mut BlockWriter) -> Result {
        slots.iter().try_for_each(|(_, slot)| block.push(self.get(*slot)))
    }

    fn pack(&mut self, old: &[u32]) {
        self.cells = old.iter().map(|slot| self.cells.get(*slot as usize).copied().flatten()).collect();
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

/// Makes a column of restored cells; nothing if no slot has a value.
pub(super) fn decode(cells: &Cells<'_, '_>) -> Result<Option<Data>> {
    if cells.iter().all(|value| value.is_none()) {
        return Ok(None);
    }
    decode_any(cells).map(Some)
}

fn decode_raw(cells: &Cells<'_, '_>) -> RawColumn {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for value in cells.iter() {
        places.push(value.map(|value| (bytes.len(), value.len() as u32)));
        bytes.extend_from_slice(value.unwrap_or_default());
    }
    RawColumn { cells: places, bytes }
}

fn decode_primitives<P: Primitive>(cells: &Cells<'_, '_>) -> Result<Vec<Option<P>>> {
    let mut values = Vec::with_capacity(cells.len());
    for value in cells.iter() {
        let value = match value {
            None => None,
            Some(bytes) => match P::read(bytes) {
                None => return Err(Error::invalid(format!("a chunk of state \"{}\" is damaged", cells.name))),
                value => value,
            },
        };
        values.push(value);
    }
    Ok(values)
}

macro_rules! primitive_columns {
    ($(($encoding:ident, $primitive:ty)),*) => {
        fn decode_any(cells: &Cells<'_, '_>) -> Result<Data> {
            Ok(match cells.encoding {
                $(Encoding::$encoding => Data::$encoding(Column { cells: decode_primitives(cells)? }),)*
                Encoding::MessagePack => Data::Raw(decode_raw(cells)),
            })
        }

        /// Writes the values as they are, if they are of a type that allows it; otherwise returns false.
        fn encode_primitives(cells: &dyn Any, slots: &[(u32, u32)], block: &mut BlockWriter) -> Result<bool> {
            $(if let Some(cells) = cells.downcast_ref::<Vec<Option<$primitive>>>() {
                for (_, slot) in slots {
                    match cells.get(*slot as usize) {
                        Some(Some(value)) => block.push_with(|body| {
                            value.put(body);
                            Ok(())
                        })?,
                        _ => block.skip(),
                    }
                }
                return Ok(true);
            })*
            Ok(false)
        }
    };
}
for_primitives!(primitive_columns);
