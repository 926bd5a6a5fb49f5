//! Values that belong to the subtask and to no key.

use std::any::{Any, type_name};
use std::collections::BTreeMap;

use super::column::not_readable;
use super::handle::StateValue;
use crate::{Error, Result, short_type_name};

/// The local values of a store, by name.
#[derive(Default)]
pub(super) struct Locals {
    locals: Vec<Named>,
}

struct Named {
    name: String,
    type_name: &'static str,
    data: Box<dyn AnyLocal>,
    /// Whether it was ever changed: one that was only looked at is not written.
    kept: bool,
    /// Whether it changed since the last cut.
    dirty: bool,
}

trait AnyLocal: Any + Send {
    fn encode(&self) -> Result<Vec<u8>>;
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
    /// Makes the values as they were written.
    pub(super) fn restore(written: &BTreeMap<&str, &[u8]>) -> Locals {
        let restored = |(name, bytes): (&&str, &&[u8])| Named {
            name: (*name).to_string(),
            type_name: "msgpack",
            data: Box::new(RawLocal(bytes.to_vec())),
            kept: true,
            dirty: false,
        };
        Locals { locals: written.iter().map(restored).collect() }
    }

    /// Returns the value of a name, which begins as its type's default.
    ///
    /// # Errors
    /// If the name is in use for another type.
    pub(super) fn get<T: StateValue + Default>(&mut self, name: &str) -> Result<&T> {
        self.find(name).map(|(value, _)| &*value)
    }

    /// Returns the value of a name to be changed.
    ///
    /// # Errors
    /// As `get`.
    pub(super) fn get_mut<T: StateValue + Default>(&mut self, name: &str) -> Result<&mut T> {
        let (value, mut marks) = self.find(name)?;
        marks.changed();
        Ok(value)
    }

    fn find<T: StateValue + Default>(&mut self, name: &str) -> Result<(&mut T, Marks<'_>)> {
        let index = self.locals.iter().position(|named| named.name == name).unwrap_or_else(|| {
            let (type_name, data) = (type_name::<T>(), Box::new(Local(T::default())));
            self.locals.push(Named { name: name.to_string(), type_name, data, kept: false, dirty: false });
            self.locals.len() - 1
        });
        let Named { type_name: held, data, kept, dirty, .. } = &mut self.locals[index];
        let raw: &dyn Any = &**data;
        if let Some(RawLocal(bytes)) = raw.downcast_ref() {
            let value: T = rmp_serde::from_slice(bytes).map_err(|error| not_readable::<T>(name, &error))?;
            *data = Box::new(Local(value));
            *held = type_name::<T>();
        }
        let data: &mut dyn Any = &mut **data;
        match data.downcast_mut::<Local<T>>() {
            Some(local) => Ok((&mut local.0, Marks { kept, dirty })),
            None => Err(Error::invalid(format!(
                "local state \"{name}\" is a {}, but is used here as a {}: give one of them another name",
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
    pub(super) fn encode(&self, everything: bool) -> Result<Vec<(&str, Vec<u8>)>> {
        let mut encoded = Vec::new();
        for named in self.locals.iter().filter(|named| named.dirty || (everything && named.kept)) {
            let bytes = named.data.encode();
            let bytes = bytes
                .map_err(|error| error.context(format_args!("local state \"{}\" cannot be written", named.name)))?;
            encoded.push((&*named.name, bytes));
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

struct Marks<'a> {
    kept: &'a mut bool,
    dirty: &'a mut bool,
}

impl Marks<'_> {
    fn changed(&mut self) {
        *self.kept = true;
        *self.dirty = true;
    }
}
