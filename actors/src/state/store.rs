//! All state of one operator instance.

use std::marker::PhantomData;
use std::ops::Range;

use super::aggregating::{Aggregating, AggregatingEntry, AggregatingState};
use super::chunk::{BlockWriter, Draft, Kind, Taken};
use super::columns::Columns;
use super::current::{Current, Wanted};
use super::declared::Declared;
use super::entry::{BroadcastEntry, ListEntry, LocalEntry, MapEntry, ValueEntry};
use super::expiry::Expiries;
use super::handle::{BroadcastState, ListState, LocalState, MapState, Name, StateValue, ValueState};
use super::local::Locals;
use super::slots::Slots;
use super::timers::Timers;
use super::undo::{Part, Price};
use crate::key::Key;
use crate::time::{Timer, TimerKind, Timestamp};
use crate::{Error, Result};

/// From so many keys on, state does not fit the caches of a core.
const LARGE: usize = 32 * 1024;

/// All state of one operator instance: columns by name, timers, and values that belong to no key.
pub struct StateStore {
    pub(super) current: Current,
    pub(super) slots: Slots,
    pub(super) columns: Columns,
    pub(super) expiries: Expiries,
    pub(super) timers: Timers,
    pub(super) locals: Locals,
    /// What the operator declares: it says how a restored state of an older version becomes the present one.
    pub(super) declared: Vec<Declared>,
    /// The number of the next cut.
    pub(super) next: u64,
    /// Whether the next cut must write everything.
    pub(super) whole: bool,
    in_transaction: bool,
    /// Whether what is processed is seen by all subtasks.
    is_broadcast: bool,
}

impl StateStore {
    /// Makes an empty store for a range of key groups, out of `key_groups`.
    pub fn new(own: Range<u32>, key_groups: u32) -> StateStore {
        StateStore {
            current: Current::new(own, key_groups),
            slots: Slots::new(key_groups),
            columns: Columns::default(),
            expiries: Expiries::default(),
            timers: Timers::default(),
            locals: Locals::default(),
            declared: Vec::new(),
            next: 0,
            whole: true,
            in_transaction: false,
            is_broadcast: false,
        }
    }

    /// Sets whether the operator was planned as one with keys; if not, keyed state is out of reach, because its
    /// records are not partitioned by key.
    pub fn set_keyed(&mut self, keyed: bool) {
        self.current.set_keyed(keyed);
    }

    /// Sets what the operator declares, before a restore: what is restored in an older version is brought to the one that
    /// is declared.
    pub fn declare(&mut self, declared: Vec<Declared>) {
        self.expiries.declare(&declared);
        self.declared = declared;
    }

    /// Makes a key current.
    #[inline]
    pub fn enter(&mut self, key: Key) {
        self.current.enter(key);
    }

    /// Returns the current key.
    pub fn key(&self) -> Key {
        self.current.key()
    }

    /// Returns whether the operator was planned as one with keys.
    pub(crate) fn is_keyed(&self) -> bool {
        self.current.is_keyed()
    }

    /// Takes the keys of a block of records, looks them up and, where there is a lot of state, brings it into the caches,
    /// all at once: one after the other, each would wait for memory. It changes nothing.
    #[inline]
    pub(crate) fn find_block(&mut self, keys: impl Iterator<Item = Key>) {
        let found = self.current.find_block(keys, &self.slots);
        if self.slots.len() > LARGE {
            self.columns.fetch(found);
        }
    }

    /// Takes a block of records that have no keys.
    #[inline]
    pub(crate) fn leave_block(&mut self) {
        self.current.leave_block();
    }

    /// Makes the key of a record of the block current; none if they have no keys.
    #[inline]
    pub(crate) fn enter_row(&mut self, row: usize) {
        self.current.enter_row(row);
    }

    /// Returns the keys that have state or timers, in the order of their slots: an order that a restore preserves.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slots.occupied().iter().map(|slot| self.slots.key(slot))
    }

    /// Returns one value of the current key.
    #[inline]
    pub fn value<T: StateValue>(&mut self, handle: ValueState<T>) -> ValueEntry<'_, T> {
        ValueEntry { store: self, name: handle.name, ttl: handle.ttl, of: PhantomData }
    }

    /// Returns the map of the current key.
    #[inline]
    pub fn map<K: StateValue + Ord, V: StateValue>(&mut self, handle: MapState<K, V>) -> MapEntry<'_, K, V> {
        MapEntry { store: self, name: handle.name, ttl: handle.ttl, of: PhantomData }
    }

    /// Returns the list of the current key.
    #[inline]
    pub fn list<T: StateValue>(&mut self, handle: ListState<T>) -> ListEntry<'_, T> {
        ListEntry { store: self, name: handle.name, ttl: handle.ttl, of: PhantomData }
    }

    /// Returns what is computed of the values that were added to the current key.
    #[inline]
    pub fn aggregating<A: Aggregating>(&mut self, handle: AggregatingState<A>) -> AggregatingEntry<'_, A> {
        AggregatingEntry { sum: self.value(handle.sum) }
    }

    /// Returns a value that belongs to no key.
    pub fn local<T: StateValue + Default>(&mut self, handle: LocalState<T>) -> LocalEntry<'_, T> {
        LocalEntry { store: self, name: handle.name, of: PhantomData }
    }

    /// Returns a value that all subtasks have alike.
    pub fn broadcast<T: StateValue + Default>(&mut self, handle: BroadcastState<T>) -> BroadcastEntry<'_, T> {
        BroadcastEntry { store: self, name: handle.name, of: PhantomData }
    }

    /// Sets whether what is processed from now on is seen by all subtasks, and may change what they have alike.
    pub fn set_broadcast(&mut self, is_broadcast: bool) {
        self.is_broadcast = is_broadcast;
    }

    pub(super) fn check_broadcast(&self, name: &str) -> Result {
        if self.is_broadcast {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "broadcast state \"{name}\" is the same in all subtasks, so only records that all of them see may change it: \
             name the input that has these in the operator's `BROADCAST`, and change it in `process` of such a record"
        )))
    }

    /// Sets a timer of the current key. Setting it again changes nothing.
    ///
    /// # Errors
    /// If there is no current key.
    pub fn set_timer(&mut self, kind: TimerKind, at: Timestamp) -> Result {
        let slot = self.current.find_or_insert(&mut self.slots, Wanted::Timer)?;
        if self.timers.set(slot, kind, at) {
            self.slots.touch(slot);
        }
        Ok(())
    }

    /// Takes a timer of the current key away; nothing happens if there is none.
    ///
    /// # Errors
    /// If there is no current key.
    pub fn delete_timer(&mut self, kind: TimerKind, at: Timestamp) -> Result {
        if let Some(slot) = self.current.find(&self.slots, Wanted::Timer)?
            && self.timers.remove(slot, kind, at)
        {
            self.slots.touch(slot);
            self.release_if_free(slot);
        }
        Ok(())
    }

    /// Removes the earliest timer of this kind that is due at `now`, makes its key current and returns it. Timers of
    /// the same time come in the order of their keys' slots.
    pub fn pop_due(&mut self, kind: TimerKind, now: Timestamp) -> Option<Timer> {
        let (at, slot) = self.timers.first(kind, now)?;
        self.timers.remove(slot, kind, at);
        self.slots.touch(slot);
        let key = self.slots.key(slot);
        self.current.enter_slot(key.clone(), slot);
        self.release_if_free(slot);
        Some(Timer { at, key, kind })
    }

    /// Returns when the earliest timer of this kind is due.
    pub fn next_timer(&self, kind: TimerKind) -> Option<Timestamp> {
        self.timers.earliest(kind)
    }

    /// Begins a transaction: until [`settle`](StateStore::settle) or [`undo`](StateStore::undo), every change is noted
    /// so that it can be taken back. One that was not ended is settled.
    pub fn begin(&mut self) {
        self.settle();
        self.in_transaction = true;
        self.slots.begin();
        self.columns.begin();
        self.expiries.begin();
        self.timers.begin();
        self.locals.begin();
    }

    /// Keeps what was done since [`begin`](StateStore::begin), and forgets how to take it back.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.in_transaction) {
            self.slots.settle();
            self.columns.settle();
            self.expiries.settle();
            self.timers.settle();
            self.locals.settle();
        }
    }

    /// Takes back everything since [`begin`](StateStore::begin): the store is as it was then, in everything that can be
    /// seen, the order of its keys and the bytes of its next cut included. No key is current.
    ///
    /// Returns false if that cannot be done, because no transaction was begun, or because values were so large that
    /// copying them would have cost more than it is worth: what is in the store is then of no use.
    #[must_use = "a store that cannot be taken back has to be restored"]
    pub fn undo(&mut self) -> bool {
        if !std::mem::take(&mut self.in_transaction) {
            return false;
        }
        self.current.leave_block();
        self.slots.undo();
        self.timers.undo();
        // Both, whatever the first says: what was noted has to go.
        let (columns, expiries, locals) = (self.columns.undo(), self.expiries.undo(), self.locals.undo());
        columns && expiries && locals
    }

    /// Returns whether there is any state, timer or local value, or was since the last cut.
    pub fn has_state(&self) -> bool {
        !self.slots.occupied().is_empty() || !self.locals.is_empty() || self.is_dirty()
    }

    /// Returns whether anything changed since the last cut.
    pub fn is_dirty(&self) -> bool {
        let something = self.next > 0 || !self.slots.occupied().is_empty() || !self.locals.is_empty();
        (self.whole && something) || self.slots.is_dirty() || self.locals.is_dirty()
    }

    /// Takes what changed since the last cut (everything, the first time), to be written as one chunk; empty if nothing
    /// changed.
    ///
    /// Every chunk must be kept until one that holds everything has followed, or it was merged with its neighbour: a
    /// change says nothing about what did not change. A cut whose chunk was lost ends the lineage.
    ///
    /// # Errors
    /// If a value cannot be serialised. Nothing is lost: the next cut writes it again.
    ///
    /// # Panics
    /// Within a transaction: it cannot be taken back.
    pub fn cut(&mut self) -> Result<Draft> {
        assert!(!self.in_transaction, "state is cut between transactions, never within one");
        self.clean_up(usize::MAX)?;
        if !self.is_dirty() {
            return Ok(Draft::default());
        }
        // Where nearly everything has changed, a chunk that makes those before it void costs little more to write, and
        // spares the merging with them.
        let mut whole = self.whole || self.slots.is_mostly_dirty();
        if whole {
            self.clean_up_around_now()?;
        }
        if self.slots.is_sparse() {
            self.pack();
            whole = true;
        }
        let draft = self.take_down(whole, self.next)?;
        self.slots.mark_cut(whole);
        self.locals.mark_cut();
        self.whole = false;
        self.next += 1;
        Ok(draft)
    }

    /// Takes what changed, or everything, for a chunk of this number.
    pub(super) fn take_down(&self, whole: bool, number: u64) -> Result<Draft> {
        let (slots, hashes) = self.slots.changed(whole);
        let mut texts = BlockWriter::new(None, slots.len());
        if !self.slots.has_integers_alone() {
            for (row, slot) in slots.iter().enumerate() {
                if let Some(bytes) = self.slots.bytes(*slot) {
                    texts.set(row, bytes)?;
                }
            }
        }
        let mut timers = BlockWriter::new(None, slots.len());
        if !self.timers.is_empty() {
            let mut of_slot = Vec::new();
            for (row, slot) in slots.iter().enumerate() {
                of_slot.clear();
                if self.timers.encode(*slot, &mut of_slot) {
                    timers.set(row, &of_slot)?;
                }
            }
        }
        let mut columns = self.columns.encode(&slots)?;
        columns.extend(self.expiries.encode(&slots)?);
        let removed = if whole { Vec::new() } else { self.slots.removed() };
        let locals = self.locals.encode(whole)?;
        let key_groups = self.current.key_groups();
        Ok(Taken { whole, number, key_groups, slots, hashes, removed, texts, timers, columns, locals }.into())
    }

    /// Moves the keys together where most slots have become free. Their order stays; the next cut writes everything.
    fn pack(&mut self) {
        let old = self.slots.pack();
        self.columns.pack(&old);
        self.expiries.pack(&old);
        self.timers.pack(&old);
        self.current.forget();
        self.whole = true;
    }

    /// Returns the value of the current key.
    pub(super) fn read<T: StateValue>(&mut self, name: Name, kind: Kind) -> Result<Option<&T>> {
        let column = self.columns.typed::<T>(name, kind)?;
        let slot = self.current.find(&self.slots, Wanted::State(name.text))?;
        let Some(slot) = slot else { return Ok(None) };
        column.wake(slot, name.text)?;
        Ok(column.get(slot))
    }

    /// Returns the value of the current key to be changed; `make` makes it if there is none.
    #[inline]
    pub(super) fn change<T: StateValue>(&mut self, name: Name, kind: Kind, make: impl FnOnce() -> T) -> Result<&mut T> {
        let column = self.columns.typed::<T>(name, kind)?;
        let slot = self.current.find_or_insert(&mut self.slots, Wanted::State(name.text))?;
        column.wake(slot, name.text)?;
        self.slots.touch(slot);
        Ok(column.get_or_insert_with(slot, make))
    }

    /// Returns the value of the current key to be changed, if there is one.
    pub(super) fn change_if_there<T: StateValue>(&mut self, name: Name, kind: Kind) -> Result<Option<&mut T>> {
        let column = self.columns.typed::<T>(name, kind)?;
        let Some(slot) = self.current.find(&self.slots, Wanted::State(name.text))? else { return Ok(None) };
        column.wake(slot, name.text)?;
        let value = column.get_mut(slot);
        if value.is_some() {
            self.slots.touch(slot);
        }
        Ok(value)
    }

    /// As [`change`](StateStore::change), where nothing but a part of the value is going to be changed; `part` is that
    /// part as it is now.
    pub(super) fn change_part<T: StateValue, P: Part<T>>(
        &mut self,
        name: Name,
        kind: Kind,
        make: impl FnOnce() -> T,
        part: impl FnOnce(&T, &mut Price) -> Option<P>,
    ) -> Result<&mut T> {
        let column = self.columns.typed::<T>(name, kind)?;
        let slot = self.current.find_or_insert(&mut self.slots, Wanted::State(name.text))?;
        column.wake(slot, name.text)?;
        self.slots.touch(slot);
        Ok(column.part_or_insert_with(slot, make, part))
    }

    /// Sets the value of the current key.
    #[inline]
    pub(super) fn put<T: StateValue>(&mut self, name: Name, kind: Kind, value: T) -> Result {
        let column = self.columns.typed::<T>(name, kind)?;
        let slot = self.current.find_or_insert(&mut self.slots, Wanted::State(name.text))?;
        column.forget(slot);
        self.slots.touch(slot);
        column.set(slot, value);
        Ok(())
    }

    /// Takes the value of the current key away.
    pub(super) fn take<T: StateValue>(&mut self, name: Name, kind: Kind) -> Result<Option<T>> {
        let column = self.columns.typed::<T>(name, kind)?;
        let Some(slot) = self.current.find(&self.slots, Wanted::State(name.text))? else { return Ok(None) };
        column.wake(slot, name.text)?;
        let taken = column.take(slot);
        if taken.is_some() {
            self.slots.touch(slot);
            self.release_if_free(slot);
        }
        Ok(taken)
    }

    /// Drops the value of the current key.
    pub(super) fn clear<T: StateValue>(&mut self, name: Name, kind: Kind) -> Result {
        let column = self.columns.typed::<T>(name, kind)?;
        let Some(slot) = self.current.find(&self.slots, Wanted::State(name.text))? else { return Ok(()) };
        column.wake(slot, name.text)?;
        if column.remove(slot) {
            self.slots.touch(slot);
            self.release_if_free(slot);
        }
        Ok(())
    }

    pub(super) fn release_if_free(&mut self, slot: u32) {
        if !self.columns.has(slot) && !self.timers.has(slot) {
            self.slots.release(slot);
            self.current.forget();
        }
    }
}
