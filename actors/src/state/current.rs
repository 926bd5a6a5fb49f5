//! The current key of a store.

use std::fmt;
use std::ops::Range;

use super::block::{Block, MAX_ROWS};
use super::slots::{MAX_SLOTS, Slots};
use crate::key::Key;
use crate::{Error, Result};

/// The current key, and its slot once that is known: a record whose state nobody touches costs little.
///
/// The keys of a block of records are looked up together, because the processor then waits for memory once for many of
/// them. Until a slot becomes free, what was found holds.
pub(super) struct Current {
    /// A key that was entered by itself.
    single: Key,
    block: Block,
    /// The slot of the key that was entered by itself, then of those of the block, or one of the numbers below.
    places: [u32; 1 + MAX_ROWS],
    /// Which of these places is current.
    at: usize,
    /// Whether the places of keys that were not current yet may be known.
    ahead: bool,
    own: Range<u32>,
    key_groups: u32,
    keyed: bool,
}

/// Whether the key has a slot has to be looked up.
const UNKNOWN: u32 = u32::MAX;
/// The key has no slot.
const NOWHERE: u32 = u32::MAX - 1;

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

impl Current {
    pub(super) fn new(own: Range<u32>, key_groups: u32) -> Current {
        Current {
            single: Key::None,
            block: Block::default(),
            places: [UNKNOWN; 1 + MAX_ROWS],
            at: 0,
            ahead: false,
            own,
            key_groups,
            keyed: true,
        }
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

    #[inline]
    pub(super) fn key(&self) -> Key {
        if self.at == 0 { self.single.clone() } else { self.block.key(self.at - 1) }
    }

    /// Makes a key current that is not one of the block.
    #[inline]
    pub(super) fn enter(&mut self, key: Key) {
        self.enter_slot(key, UNKNOWN);
    }

    /// Makes the key in a slot current.
    #[inline]
    pub(super) fn enter_slot(&mut self, key: Key, slot: u32) {
        self.single = key;
        self.places[0] = slot;
        self.at = 0;
    }

    /// Forgets every key and every place.
    pub(super) fn leave_block(&mut self) {
        self.enter(Key::None);
        self.block.clear();
        if std::mem::take(&mut self.ahead) {
            self.places.fill(UNKNOWN);
        }
    }

    /// Takes the keys of a block, looks all of them up and returns where they are, as far as they are anywhere. None is
    /// current.
    #[inline]
    pub(super) fn find_block(&mut self, keys: impl Iterator<Item = Key>, slots: &Slots) -> &[u32] {
        self.enter(Key::None);
        self.block.fill(keys);
        self.ahead = true;
        let (_, places) = self.places.split_at_mut(1);
        self.block.find(slots, UNKNOWN, places)
    }

    /// Makes the key of a record of the block current.
    #[inline]
    pub(super) fn enter_row(&mut self, row: usize) {
        self.at = row + 1;
    }

    /// Forgets which slot the key has, because a slot has become free.
    pub(super) fn forget(&mut self) {
        if std::mem::take(&mut self.ahead) {
            self.places.fill(UNKNOWN);
        }
        self.places[self.at] = UNKNOWN;
    }

    /// Returns the slot of the current key, if it has one.
    ///
    /// # Errors
    /// If there is no current key; `wanted` is what it is needed for.
    #[inline(always)]
    pub(super) fn find(&mut self, slots: &Slots, wanted: Wanted<'_>) -> Result<Option<u32>> {
        match self.places.get(self.at) {
            Some(slot) if *slot < NOWHERE => Ok(Some(*slot)),
            _ => self.look_up(slots, wanted),
        }
    }

    #[inline(never)]
    fn look_up(&mut self, slots: &Slots, wanted: Wanted<'_>) -> Result<Option<u32>> {
        let key = self.key();
        if key.is_none() || !self.keyed {
            return Err(self.refuse(wanted));
        }
        if self.places[self.at] == NOWHERE {
            return Ok(None);
        }
        let slot = slots.find(&key);
        self.places[self.at] = slot.unwrap_or(NOWHERE);
        Ok(slot)
    }

    #[cold]
    fn refuse(&self, wanted: Wanted<'_>) -> Error {
        if self.keyed {
            return Error::failed(format!(
                "{wanted} belongs to a key, but there is no current key: return one from the operator's `key`, enter \
                 one with `ctx.enter`, or keep what belongs to no key in a `LocalState`"
            ));
        }
        Error::invalid(format!(
            "{wanted} belongs to a key, but the operator was planned as one without keys, because its `key` gave none \
             for a made-up record: let `key` return one, let the operator's `is_keyed` return true if `key` does \
             for other records, or keep what belongs to no key in a `LocalState`"
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
        let group = self.key().group(self.key_groups);
        if !self.own.contains(&group) {
            // A restore would look for it where the key is routed to, and not find it.
            return Err(Error::invalid(format!(
                "{wanted} of key {:?} cannot be kept here: the key belongs to another subtask (key group {group}, and \
                 this one has {:?}); keyed state must belong to the key that `key` returns",
                self.key(),
                self.own
            )));
        }
        let Some(slot) = slots.insert(&self.key()) else {
            return Err(Error::failed(format!("{wanted} has {MAX_SLOTS} keys in one subtask: raise the parallelism")));
        };
        self.places[self.at] = slot;
        Ok(slot)
    }
}
