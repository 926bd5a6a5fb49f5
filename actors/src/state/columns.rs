//! The columns of a store, by name.

use std::any::type_name;
use std::sync::Arc;

use super::chunk::{BlockWriter, ColumnWriter, Encoding, Kind, Picked};
use super::column::{self, AnyColumn, Column, Data};
use super::declared::Declared;
use super::expiry::deadlines_of;
use super::handle::{Name, StateValue};
use super::migration::{not_migrated, other_version};
use crate::{Error, Result, short_type_name};

/// The columns of a store.
///
/// An operator has few names, so they are searched one after the other.
#[derive(Default)]
pub(super) struct Columns {
    columns: Vec<Named>,
    /// How many there were when the transaction began; nothing outside of one.
    before: Option<usize>,
}

struct Named {
    name: String,
    /// What the handle said that the column was found to be right for.
    alias: Option<Name>,
    kind: Kind,
    version: u16,
    /// Whether it has a time to live.
    expires: bool,
    type_name: &'static str,
    data: Data,
}

impl Columns {
    /// Makes the columns of what was picked, in the versions that are declared; says whether any had to be migrated.
    ///
    /// # Errors
    /// If something is damaged, or cannot be migrated.
    pub(super) fn load(picked: &Picked<'_>, declared: &[Declared]) -> Result<(Columns, bool)> {
        let (mut columns, mut is_migrated) = (Columns::default(), false);
        let mut cells = picked.columns()?;
        cells.retain(|cells| cells.iter().any(|value| value.is_some()));
        for versions in cells.chunk_by(|one, other| one.name == other.name) {
            let (name, kind, version) = (versions[0].name, versions[0].kind, versions[0].version);
            if let Some((of, clock)) = deadlines_of(name)
                && let Some(declared) = declared.iter().find(|declared| declared.is_keyed(of, kind))
            {
                // They are kept elsewhere, or not needed any more.
                is_migrated |= !declared.expires_by(clock);
                continue;
            }
            let declared = declared.iter().find(|declared| declared.is_keyed(name, kind));
            let expires = match declared {
                Some(declared) => declared.expiring().is_some(),
                None => cells.iter().any(|cells| deadlines_of(cells.name).is_some_and(|(of, _)| of == name)),
            };
            let is_present = declared.is_none_or(|declared| declared.version == version);
            if versions.len() == 1 && is_present {
                // What expires may be read before anybody has given it the chunks.
                let origins = if expires { None } else { picked.origins() };
                if let Some(column) = column::decode(&versions[0], origins)? {
                    columns.add(name, kind, version, expires, column);
                }
                continue;
            }
            let Some(declared) = declared else {
                return Err(not_migrated(
                    name,
                    "there are several versions of it; return its handle from the operator's `states`",
                ));
            };
            if versions.iter().any(|cells| cells.kind != kind) {
                return Err(not_migrated(name, "it was a value, a map or a list, and became another of these"));
            }
            let column = declared.migrations.column(versions).map_err(|reason| not_migrated(name, &reason))?;
            columns.add(name, kind, declared.version, expires, column);
            is_migrated = true;
        }
        Ok((columns, is_migrated))
    }

    fn add(&mut self, name: &str, kind: Kind, version: u16, expires: bool, data: Data) {
        let type_name = data.any().encoding().name();
        self.columns.push(Named { name: name.to_string(), alias: None, kind, version, expires, type_name, data });
    }

    /// Returns the column of a name, making or decoding it if this is its first use.
    ///
    /// # Errors
    /// If the name is in use for something else.
    #[inline(always)]
    pub(super) fn typed<T: StateValue>(&mut self, name: Name, kind: Kind) -> Result<&mut Column<T>> {
        let is_known = |named: &Named| named.alias.is_some_and(|alias| alias.is(name));
        if let Some(index) = self.columns.iter().position(is_known) {
            return self.columns[index].typed(name.text, kind);
        }
        let index = self.find::<T>(name, kind)?;
        self.columns[index].typed(name.text, kind)
    }

    #[cold]
    fn find<T: StateValue>(&mut self, wanted: Name, kind: Kind) -> Result<usize> {
        let Name { text: name, version, expires } = wanted;
        let Some(index) = self.columns.iter().position(|named| named.name == name) else {
            let data = Data::new::<T>();
            let type_name = type_name::<T>();
            self.columns.push(Named {
                name: name.to_string(),
                alias: Some(wanted),
                kind,
                version,
                expires,
                type_name,
                data,
            });
            return Ok(self.columns.len() - 1);
        };
        let named = &mut self.columns[index];
        if named.version != version {
            return Err(other_version(name, named.version, version));
        }
        if named.expires != expires {
            return Err(other_life(name, expires));
        }
        if let Data::Raw(raw) = &mut named.data {
            // What is written raw has the encoding MessagePack, and no other.
            if named.kind != kind || Encoding::of::<T>() != Encoding::MessagePack {
                return Err(other_type::<T>(name, kind, named.kind, named.type_name));
            }
            raw.check::<T>(name)?;
            let mut column = Column::<T>::of_raw(std::mem::take(raw));
            if self.before.is_some() {
                column.begin();
            }
            named.data = Data::Other(Box::new(column));
        } else if named.kind != kind || named.data.typed::<T>().is_none() {
            return Err(other_type::<T>(name, kind, named.kind, named.type_name));
        }
        named.type_name = type_name::<T>();
        named.alias = Some(wanted);
        Ok(index)
    }

    /// Notes changes from now on.
    pub(super) fn begin(&mut self) {
        self.before = Some(self.columns.len());
        self.columns.iter_mut().for_each(|named| named.data.any_mut().begin());
    }

    /// Notes nothing from now on, and forgets what was noted.
    pub(super) fn settle(&mut self) {
        self.before = None;
        self.columns.iter_mut().for_each(|named| named.data.any_mut().settle());
    }

    /// Takes back what was noted, notes nothing from now on, and returns whether that was everything that changed.
    pub(super) fn undo(&mut self) -> bool {
        let before = self.before.take().unwrap_or(self.columns.len());
        // A chunk names the columns that are empty, too.
        self.columns.truncate(before);
        let mut is_undone = true;
        for named in &mut self.columns {
            is_undone &= named.data.any_mut().undo();
        }
        is_undone
    }

    /// Returns whether a slot has a value in any column.
    pub(super) fn has(&self, slot: u32) -> bool {
        self.columns.iter().any(|named| named.data.any().has(slot))
    }

    /// Reads what these slots hold, so that it is in the caches.
    pub(super) fn fetch(&self, slots: &[u32]) {
        for named in &self.columns {
            std::hint::black_box(named.data.any().fetch(slots));
        }
    }

    /// Gives restored columns the chunks that their values still stand in.
    pub(super) fn keep(&mut self, chunks: &Arc<Vec<Vec<u8>>>) {
        for named in &mut self.columns {
            if let Data::Raw(raw) = &mut named.data {
                raw.keep(chunks);
            }
        }
    }

    /// Encodes the values of these slots, in this order.
    pub(super) fn encode(&self, slots: &[u32]) -> Result<Vec<ColumnWriter<'static>>> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for named in &self.columns {
            let encoding = named.data.any().encoding();
            let mut block = BlockWriter::new(encoding.width(), slots.len());
            let encoded = named.data.any().encode(slots, &mut block);
            encoded.map_err(|error| error.context(format_args!("state \"{}\" cannot be written", named.name)))?;
            let Named { name, kind, version, .. } = named;
            let name = name.clone().into();
            columns.push(ColumnWriter { name, kind: *kind, version: *version, encoding, block });
        }
        Ok(columns)
    }

    /// Renumbers the slots: `old` is the old slot of each new one, in ascending order.
    pub(super) fn pack(&mut self, old: &[u32]) {
        for named in &mut self.columns {
            named.data.any_mut().pack(old);
        }
    }
}

impl Named {
    #[inline(always)]
    fn typed<T: StateValue>(&mut self, name: &'static str, kind: Kind) -> Result<&mut Column<T>> {
        let (held_kind, held_type) = (self.kind, self.type_name);
        match self.data.typed() {
            // A map is also a type that a value may have, and a list likewise; a number is always a value.
            Some(column) if Encoding::of::<T>() != Encoding::MessagePack || held_kind == kind => Ok(column),
            _ => Err(other_type::<T>(name, kind, held_kind, held_type)),
        }
    }
}

#[cold]
fn other_life(name: &str, expires: bool) -> Error {
    let (held, used) = if expires { ("without", "with") } else { ("with", "without") };
    Error::invalid(format!(
        "state \"{name}\" was kept {held} a time to live, but is used here {used} one: use one handle for it, and return that \
         from the operator's `states`"
    ))
}

#[cold]
fn other_type<T>(name: &str, kind: Kind, held_kind: Kind, held_type: &str) -> Error {
    Error::invalid(format!(
        "state \"{name}\" is a {} of {}, but is used here as a {} of {}: give one of them another name",
        held_kind.word(),
        short_type_name(held_type),
        kind.word(),
        short_type_name(type_name::<T>()),
    ))
}
