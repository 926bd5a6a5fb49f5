//! Values that belong to no key: those of a subtask, and those that all subtasks have alike.
//!
//! They are kept and written together; the name of the latter goes on with a U+0000 and a word.

use std::any::{Any, type_name};
use std::collections::BTreeMap;

use super::chunk::{LocalWriter, WrittenLocal};
use super::declared::Declared;
use super::handle::{Name, StateValue};
use super::migration::{not_migrated, other_version};
use super::raw::not_readable;
use super::undo::Price;
use crate::{Error, Result, short_type_name};

/// The local values of a store, by name.
#[derive(Default)]
pub(super) struct Locals {
    locals: Vec<Named>,
    /// What was before the transaction; nothing outside of one.
    log: Option<Log>,
}

/// Whose a value is that belongs to no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The subtask's alone.
    Own,
    /// Every subtask has it, all alike.
    Everybodys,
}

/// What the name goes on with under which a value is written that all subtasks have alike.
const BROADCAST: &str = "\0broadcast";

/// Returns the name of a value, and whose it is, by the name that it is written under.
pub(super) fn whose(written: &str) -> (&str, Whose) {
    match written.strip_suffix(BROADCAST) {
        Some(name) => (name, Whose::Everybodys),
        None => (written, Whose::Own),
    }
}

impl Whose {
    /// Returns what a value is called.
    fn words(self) -> &'static str {
        match self {
            Whose::Own => "local state",
            Whose::Everybodys => "broadcast state",
        }
    }
}

struct Named {
    /// As it is written.
    name: String,
    version: u16,
    type_name: &'static str,
    data: Box<dyn AnyLocal>,
    /// Whether it was ever changed: one that was only looked at is not written.
    kept: bool,
    /// Whether it changed since the last cut.
    dirty: bool,
    price: Price,
}

/// A value of which only its user knows the type.
pub(super) trait AnyLocal: Any + Send {
    fn encode(&self) -> Result<Vec<u8>>;
}

struct Log {
    /// How many there were.
    before: usize,
    /// Those that have changed, as they were.
    saved: Vec<Saved>,
    /// Whether one was not saved before it changed, so that there is no way back.
    is_lost: bool,
}

struct Saved {
    index: usize,
    data: Box<dyn AnyLocal>,
    kept: bool,
    dirty: bool,
}

struct Local<T>(T);

/// As it was written, because nobody has asked for it yet.
struct RawLocal(Vec<u8>);

impl<T: StateValue> AnyLocal for Local<T> {
    fn encode(&self) -> Result<Vec<u8>> {
        Ok(rmp_serde::to_vec_named(&self.0)?)
    }
}

impl AnyLocal for RawLocal {
    fn encode(&self) -> Result<Vec<u8>> {
        Ok(self.0.clone())
    }
}

impl Locals {
    /// Makes the values as they were written; those of older versions than are declared are migrated.
    ///
    /// # Errors
    /// If one cannot be migrated.
    pub(super) fn restore(written: &BTreeMap<&str, WrittenLocal<'_>>, declared: &[Declared]) -> Result<Locals> {
        let mut locals = Vec::with_capacity(written.len());
        for (name, written) in written {
            let mut named = Named {
                name: (*name).to_string(),
                version: written.version,
                type_name: "msgpack",
                data: Box::new(RawLocal(written.bytes.to_vec())),
                kept: true,
                dirty: false,
                price: Price::default(),
            };
            let declared = declared.iter().find(|declared| declared.is_local(name));
            if let Some(declared) = declared.filter(|declared| declared.version != written.version) {
                named.data =
                    declared.migrations.local(*written).map_err(|reason| not_migrated(whose(name).0, &reason))?;
                (named.version, named.type_name, named.dirty) = (declared.version, declared.type_name, true);
            }
            locals.push(named);
        }
        Ok(Locals { locals, log: None })
    }

    /// Notes changes from now on.
    pub(super) fn begin(&mut self) {
        self.log = Some(Log { before: self.locals.len(), saved: Vec::new(), is_lost: false });
    }

    /// Notes nothing from now on, and forgets what was noted.
    pub(super) fn settle(&mut self) {
        self.log = None;
    }

    /// Takes back what was noted, notes nothing from now on, and returns whether that was everything that changed.
    pub(super) fn undo(&mut self) -> bool {
        let Some(log) = self.log.take() else { return false };
        // The order of their names is that of their first use.
        self.locals.truncate(log.before);
        for Saved { index, data, kept, dirty } in log.saved {
            let named = &mut self.locals[index];
            (named.data, named.kept, named.dirty) = (data, kept, dirty);
        }
        !log.is_lost
    }

    /// Returns the value of a name, which begins as its type's default.
    ///
    /// # Errors
    /// If the name is in use for another type.
    pub(super) fn get<T: StateValue + Default>(&mut self, name: Name, whose: Whose) -> Result<&T> {
        let index = self.find::<T>(name, whose)?;
        Ok(value(&mut self.locals[index].data).expect("its type was found to be this"))
    }

    /// Returns the value of a name to be changed.
    ///
    /// # Errors
    /// As `get`.
    pub(super) fn get_mut<T: StateValue + Default>(&mut self, name: Name, whose: Whose) -> Result<&mut T> {
        let index = self.find::<T>(name, whose)?;
        let named = &mut self.locals[index];
        let value: &mut T = value(&mut named.data).expect("its type was found to be this");
        if let Some(log) = &mut self.log
            && log.lacks(index)
        {
            if named.price.is_fair(value) {
                let data = Box::new(Local(value.clone()));
                log.saved.push(Saved { index, data, kept: named.kept, dirty: named.dirty });
            } else {
                log.is_lost = true;
            }
        }
        (named.kept, named.dirty) = (true, true);
        Ok(value)
    }

    /// Sets the value of a name.
    ///
    /// # Errors
    /// As `get`.
    pub(super) fn set<T: StateValue + Default>(&mut self, name: Name, whose: Whose, value: T) -> Result {
        let index = self.find::<T>(name, whose)?;
        let named = &mut self.locals[index];
        let data = std::mem::replace(&mut named.data, Box::new(Local(value)));
        if let Some(log) = &mut self.log
            && log.lacks(index)
        {
            log.saved.push(Saved { index, data, kept: named.kept, dirty: named.dirty });
        }
        (named.kept, named.dirty) = (true, true);
        Ok(())
    }

    /// Returns where the value of a name is, which is made or decoded if it is not there yet.
    fn find<T: StateValue + Default>(&mut self, Name { text: name, version, .. }: Name, of: Whose) -> Result<usize> {
        let index = self.locals.iter().position(|named| whose(&named.name) == (name, of)).unwrap_or_else(|| {
            let suffix = if of == Whose::Everybodys { BROADCAST } else { "" };
            self.locals.push(Named {
                name: format!("{name}{suffix}"),
                version,
                type_name: type_name::<T>(),
                data: Box::new(Local(T::default())),
                kept: false,
                dirty: false,
                price: Price::default(),
            });
            self.locals.len() - 1
        });
        let Named { type_name: held, data, version: held_version, .. } = &mut self.locals[index];
        if *held_version != version {
            return Err(other_version(name, *held_version, version));
        }
        let raw: &dyn Any = &**data;
        if let Some(RawLocal(bytes)) = raw.downcast_ref() {
            let value: T = rmp_serde::from_slice(bytes).map_err(|error| not_readable::<T>(name, &error))?;
            *data = Box::new(Local(value));
            *held = type_name::<T>();
        }
        match value::<T>(data) {
            Some(_) => Ok(index),
            None => Err(Error::invalid(format!(
                "{} \"{name}\" is a {}, but is used here as a {}: give one of them another name",
                of.words(),
                short_type_name(held),
                short_type_name(type_name::<T>()),
            ))),
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.locals.iter().any(|named| named.dirty)
    }

    /// Returns whether there is anything to write at all.
    pub(super) fn is_empty(&self) -> bool {
        !self.locals.iter().any(|named| named.kept)
    }

    /// Encodes what changed since the last cut, or everything.
    pub(super) fn encode(&self, everything: bool) -> Result<Vec<LocalWriter<'static>>> {
        let mut encoded = Vec::new();
        for named in self.locals.iter().filter(|named| named.dirty || (everything && named.kept)) {
            let bytes = named.data.encode();
            let bytes = bytes.map_err(|error| {
                let (name, whose) = whose(&named.name);
                error.context(format_args!("{} \"{name}\" cannot be written", whose.words()))
            })?;
            encoded.push(LocalWriter { name: named.name.clone().into(), version: named.version, bytes });
        }
        Ok(encoded)
    }

    /// Notes that everything is in the chunks cut so far.
    pub(super) fn mark_cut(&mut self) {
        for named in &mut self.locals {
            named.dirty = false;
        }
    }
}

impl Log {
    /// Returns whether a value has to be saved before it changes: it was there before, and is not saved yet.
    fn lacks(&self, index: usize) -> bool {
        index < self.before && self.saved.iter().all(|saved| saved.index != index)
    }
}

/// Makes a value.
pub(super) fn local<T: StateValue>(value: T) -> Box<dyn AnyLocal> {
    Box::new(Local(value))
}

fn value<T: 'static>(data: &mut Box<dyn AnyLocal>) -> Option<&mut T> {
    let data: &mut dyn Any = &mut **data;
    data.downcast_mut::<Local<T>>().map(|local| &mut local.0)
}
