//! The current key of a store.

use std::fmt;
use std::ops::Range;

use super::slots::{MAX_SLOTS, Slots};
use crate::key::Key;
use crate::{Error, Result};

/// The current key, and its slot once it was asked for: a record whose state nobody touches costs no look-up.
pub(super) struct Current {
    key: Key,
    place: Place,
    own: Range<u32>,
    key_groups: u32,
    keyed: bool,
}

/// What a key is needed for, for messages.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    State(&'a str),
    Timer,
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::State(name) => write!(f, "state \"{name}\""),
            Wanted::Timer => f.write_str("a timer"),
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    Unknown,
    /// The key has no slot.
    None,
    At(u32),
}

impl Current {
    pub(super) fn new(own: Range<u32>, key_groups: u32) -> Current {
        Current { key: Key::None, place: Place::Unknown, own, key_groups, keyed: true }
    }

    pub(super) fn set_keyed(&mut self, keyed: bool) {
        self.keyed = keyed;
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.keyed
    }

    pub(super) fn own(&self) -> &Range<u32> {
        &self.own
    }

    pub(super) fn key_groups(&self) -> u32 {
        self.key_groups
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    #[inline]
    pub(super) fn enter(&mut self, key: Key) {
        self.key = key;
        self.place = Place::Unknown;
    }

    /// Makes the key in a slot current.
    pub(super) fn enter_slot(&mut self, key: Key, slot: u32) {
        self.key = key;
        self.place = Place::At(slot);
    }

    /// Forgets which slot the key has, because slots have changed.
    pub(super) fn forget(&mut self) {
        self.place = Place::Unknown;
    }

    /// Returns the slot of the current key, if it has one.
    ///
    /// # Errors
    /// If there is no current key; `wanted` is what it is needed for.
    #[inline(always)]
    pub(super) fn find(&mut self, slots: &Slots, wanted: Wanted<'_>) -> Result<Option<u32>> {
        match self.place {
            Place::At(slot) => Ok(Some(slot)),
            Place::None => Ok(None),
            Place::Unknown => self.look_up(slots, wanted),
        }
    }

    #[inline(always)]
    fn look_up(&mut self, slots: &Slots, wanted: Wanted<'_>) -> Result<Option<u32>> {
        if self.key.is_none() || !self.keyed {
            return Err(self.refuse(wanted));
        }
        let slot = slots.find(&self.key);
        self.place = slot.map_or(Place::None, Place::At);
        Ok(slot)
    }

    #[cold]
    fn refuse(&self, wanted: Wanted<'_>) -> Error {
        if self.key.is_none() {
            return Error::failed(format!(
                "{wanted} belongs to a key, but there is no current key: return one from the operator's `key`, enter \
                 one with `ctx.enter`, or keep what belongs to no key in a `LocalState`"
            ));
        }
        Error::invalid(format!(
            "{wanted} belongs to a key, but the operator was planned as one without keys, because `key` gave none for \
             a made-up record: let the operator's `is_keyed` return true"
        ))
    }

    /// Returns the slot of the current key, which gets one if it has none.
    ///
    /// # Errors
    /// As `find`, or if the key belongs to another subtask.
    #[inline(always)]
    pub(super) fn find_or_insert(&mut self, slots: &mut Slots, wanted: Wanted<'_>) -> Result<u32> {
        match self.find(slots, wanted)? {
            Some(slot) => Ok(slot),
            None => self.insert(slots, wanted),
        }
    }

    #[cold]
    fn insert(&mut self, slots: &mut Slots, wanted: Wanted<'_>) -> Result<u32> {
        let group = self.key.group(self.key_groups);
        if !self.own.contains(&group) {
            // A restore would look for it where the key is routed to, and not find it.
            return Err(Error::invalid(format!(
                "{wanted} of key {:?} cannot be kept here: the key belongs to another subtask (key group {group}, and \
                 this one has {:?}); keyed state must belong to the key that `key` returns",
                self.key, self.own
            )));
        }
        let Some(slot) = slots.insert(&self.key) else {
            return Err(Error::failed(format!("{wanted} has {MAX_SLOTS} keys in one subtask: raise the parallelism")));
        };
        self.place = Place::At(slot);
        Ok(slot)
    }
}
