//! Keyed state.

use std::marker::PhantomData;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::Key;
use crate::time::{Timer, TimerKind, Timestamp};
use crate::{Error, Result};

/// A type of which values can be kept in state.
pub trait StateValue: Serialize + DeserializeOwned + Clone + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + Send + 'static> StateValue for T {}

/// Names one value per key.
pub struct ValueState<T>(pub(crate) &'static str, PhantomData<fn() -> T>);
/// Names one map per key.
pub struct MapState<K, V>(pub(crate) &'static str, PhantomData<fn() -> (K, V)>);
/// Names one list per key.
pub struct ListState<T>(pub(crate) &'static str, PhantomData<fn() -> T>);
/// Names one value per subtask.
pub struct LocalState<T>(pub(crate) &'static str, PhantomData<fn() -> T>);

impl<T> ValueState<T> {
    /// Names it.
    pub const fn new(name: &'static str) -> Self {
        ValueState(name, PhantomData)
    }
}
impl<K, V> MapState<K, V> {
    /// Names it.
    pub const fn new(name: &'static str) -> Self {
        MapState(name, PhantomData)
    }
}
impl<T> ListState<T> {
    /// Names it.
    pub const fn new(name: &'static str) -> Self {
        ListState(name, PhantomData)
    }
}
impl<T> LocalState<T> {
    /// Names it.
    pub const fn new(name: &'static str) -> Self {
        LocalState(name, PhantomData)
    }
}

/// The value of the current key.
pub struct ValueEntry<'a, T>(&'a mut StateStore, PhantomData<T>);
/// The map of the current key.
pub struct MapEntry<'a, K, V>(&'a mut StateStore, PhantomData<(K, V)>);
/// The list of the current key.
pub struct ListEntry<'a, T>(&'a mut StateStore, PhantomData<T>);
/// The subtask's value.
pub struct LocalEntry<'a, T>(&'a mut StateStore, PhantomData<T>);

impl<'a, T: StateValue> ValueEntry<'a, T> {
    /// Returns the value, if the key has one.
    pub fn get(self) -> Result<Option<&'a T>> {
        unimplemented!()
    }
    /// Sets it.
    pub fn set(self, _value: T) -> Result {
        unimplemented!()
    }
    /// Takes it away.
    pub fn take(self) -> Result<Option<T>> {
        unimplemented!()
    }
    /// Updates it, or the default.
    pub fn update<R>(self, _change: impl FnOnce(&mut T) -> R) -> Result<R>
    where
        T: Default,
    {
        unimplemented!()
    }
}

/// All state of one operator instance.
pub struct StateStore {
    key: Key,
}

impl StateStore {
    /// Makes an empty store for a range of key groups.
    pub fn new(_own: Range<u32>, _key_groups: u32) -> StateStore {
        StateStore { key: Key::None }
    }
    /// Makes a key current.
    pub fn enter(&mut self, key: Key) {
        self.key = key;
    }
    /// Returns the current key.
    pub fn key(&self) -> &Key {
        &self.key
    }
    /// Returns a value.
    pub fn value<T: StateValue>(&mut self, _handle: ValueState<T>) -> ValueEntry<'_, T> {
        ValueEntry(self, PhantomData)
    }
    /// Returns a map.
    pub fn map<K: StateValue + Ord, V: StateValue>(&mut self, _handle: MapState<K, V>) -> MapEntry<'_, K, V> {
        MapEntry(self, PhantomData)
    }
    /// Returns a list.
    pub fn list<T: StateValue>(&mut self, _handle: ListState<T>) -> ListEntry<'_, T> {
        ListEntry(self, PhantomData)
    }
    /// Returns a local value.
    pub fn local<T: StateValue + Default>(&mut self, _handle: LocalState<T>) -> LocalEntry<'_, T> {
        LocalEntry(self, PhantomData)
    }
    /// Sets a timer of the current key.
    pub fn set_timer(&mut self, _kind: TimerKind, _at: Timestamp) -> Result {
        Err(Error::failed("no current key"))
    }
    /// Deletes a timer of the current key.
    pub fn delete_timer(&mut self, _kind: TimerKind, _at: Timestamp) -> Result {
        unimplemented!()
    }
    /// Removes the earliest timer of this kind that is due at `now`, makes its key current and returns it.
    pub fn pop_due(&mut self, _kind: TimerKind, _now: Timestamp) -> Option<Timer> {
        None
    }
    /// Returns when the earliest timer of this kind is due.
    pub fn next_timer(&self, _kind: TimerKind) -> Option<Timestamp> {
        None
    }
    /// Returns whether anything changed since the last cut.
    pub fn is_dirty(&self) -> bool {
        false
    }
    /// Encodes what changed since the last cut (everything, the first time) as one chunk; empty if nothing changed.
    pub fn cut(&mut self) -> Result<Vec<u8>> {
        unimplemented!()
    }
    /// Puts chunks back, oldest first.
    pub fn restore(&mut self, _chunks: &[Vec<u8>]) -> Result {
        unimplemented!()
    }
}

/// Merges consecutive chunks, oldest first, into one that restores to the same.
pub fn merge_chunks(_chunks: &[Vec<u8>]) -> Result<Vec<u8>> {
    unimplemented!()
}
