//! One piece of state of the current key.
//!
//! An entry is made for one call and used up by it. All methods fail if there is no current key, and if the name is
//! in use for another type.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::chunk::Kind;
use super::handle::StateValue;
use super::store::StateStore;
use crate::Result;

/// The value of the current key.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct ValueEntry<'a, T> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: &'static str,
    pub(super) of: PhantomData<T>,
}

impl<'a, T: StateValue> ValueEntry<'a, T> {
    /// Returns the value, if the key has one.
    ///
    /// # Errors
    /// If there is no current key, or the name is in use for another type; so in every method of an entry.
    pub fn get(self) -> Result<Option<&'a T>> {
        self.store.read(self.name, Kind::Value)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// As `get`.
    #[inline]
    pub fn set(self, value: T) -> Result {
        self.store.put(self.name, Kind::Value, value)
    }

    /// Takes the value away and returns it.
    ///
    /// # Errors
    /// As `get`.
    pub fn take(self) -> Result<Option<T>> {
        self.store.take(self.name, Kind::Value)
    }

    /// Changes the value, or the default if the key has none, and returns what `change` returns.
    ///
    /// # Errors
    /// As `get`.
    #[inline]
    pub fn update<R>(self, change: impl FnOnce(&mut T) -> R) -> Result<R>
    where
        T: Default,
    {
        self.store.change(self.name, Kind::Value, T::default).map(change)
    }
}

/// The map of the current key, in the order of its keys. A map that becomes empty is forgotten.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct MapEntry<'a, K, V> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: &'static str,
    pub(super) of: PhantomData<(K, V)>,
}

impl<'a, K: StateValue + Ord, V: StateValue> MapEntry<'a, K, V> {
    fn read(self) -> Result<Option<&'a BTreeMap<K, V>>> {
        self.store.read(self.name, Kind::Map)
    }

    /// Returns the value under a key.
    ///
    /// # Errors
    /// As [`ValueEntry::get`]; so in every other method.
    pub fn get<Q: Ord + ?Sized>(self, key: &Q) -> Result<Option<&'a V>>
    where
        K: Borrow<Q>,
    {
        Ok(self.read()?.and_then(|map| map.get(key)))
    }

    /// Returns whether there is a value under a key.
    ///
    /// # Errors
    /// As `get`.
    pub fn contains<Q: Ord + ?Sized>(self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        Ok(self.read()?.is_some_and(|map| map.contains_key(key)))
    }

    /// Sets the value under a key and returns the one before.
    ///
    /// # Errors
    /// As `get`.
    pub fn insert(self, key: K, value: V) -> Result<Option<V>> {
        Ok(self.store.change(self.name, Kind::Map, BTreeMap::new)?.insert(key, value))
    }

    /// Changes the value under a key, or the default if there is none, and returns what `change` returns.
    ///
    /// # Errors
    /// As `get`.
    pub fn update<R>(self, key: K, change: impl FnOnce(&mut V) -> R) -> Result<R>
    where
        V: Default,
    {
        Ok(change(self.store.change(self.name, Kind::Map, BTreeMap::new)?.entry(key).or_default()))
    }

    /// Takes the value under a key away and returns it.
    ///
    /// # Errors
    /// As `get`.
    pub fn remove<Q: Ord + ?Sized>(self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        let MapEntry { store, name, .. } = self;
        let there = store.read::<BTreeMap<K, V>>(name, Kind::Map)?.is_some_and(|map| map.contains_key(key));
        if !there {
            return Ok(None);
        }
        let Some(map) = store.change_existing::<BTreeMap<K, V>>(name, Kind::Map)? else { return Ok(None) };
        let removed = map.remove(key);
        if map.is_empty() {
            store.take::<BTreeMap<K, V>>(name, Kind::Map)?;
        }
        Ok(removed)
    }

    /// Returns the pairs in the order of their keys.
    ///
    /// # Errors
    /// As `get`.
    pub fn iter(self) -> Result<impl DoubleEndedIterator<Item = (&'a K, &'a V)> + use<'a, K, V>> {
        Ok(self.read()?.into_iter().flatten())
    }

    /// Returns how many values there are.
    ///
    /// # Errors
    /// As `get`.
    pub fn len(self) -> Result<usize> {
        Ok(self.read()?.map_or(0, BTreeMap::len))
    }

    /// Returns whether there is no value.
    ///
    /// # Errors
    /// As `get`.
    pub fn is_empty(self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Takes everything away.
    ///
    /// # Errors
    /// As `get`.
    pub fn clear(self) -> Result {
        self.store.take::<BTreeMap<K, V>>(self.name, Kind::Map)?;
        Ok(())
    }
}

/// The list of the current key. A list that becomes empty is forgotten.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct ListEntry<'a, T> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: &'static str,
    pub(super) of: PhantomData<T>,
}

impl<'a, T: StateValue> ListEntry<'a, T> {
    /// Returns the items in the order in which they were pushed.
    ///
    /// # Errors
    /// As [`ValueEntry::get`]; so in every other method.
    pub fn get(self) -> Result<&'a [T]> {
        let list: Option<&Vec<T>> = self.store.read(self.name, Kind::List)?;
        Ok(list.map_or(&[], Vec::as_slice))
    }

    /// Appends an item.
    ///
    /// # Errors
    /// As `get`.
    pub fn push(self, item: T) -> Result {
        self.store.change(self.name, Kind::List, Vec::new)?.push(item);
        Ok(())
    }

    /// Takes all items away and returns them.
    ///
    /// # Errors
    /// As `get`.
    pub fn take(self) -> Result<Vec<T>> {
        Ok(self.store.take(self.name, Kind::List)?.unwrap_or_default())
    }

    /// Takes all items away.
    ///
    /// # Errors
    /// As `get`.
    pub fn clear(self) -> Result {
        self.take()?;
        Ok(())
    }
}

/// A value that belongs to the subtask and to no key.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct LocalEntry<'a, T> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: &'static str,
    pub(super) of: PhantomData<T>,
}

impl<'a, T: StateValue + Default> LocalEntry<'a, T> {
    /// Returns the value; it begins as its type's default.
    ///
    /// # Errors
    /// If the name is in use for another type; so in every other method.
    pub fn get(self) -> Result<&'a T> {
        self.store.locals.get(self.name)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// As `get`.
    pub fn set(self, value: T) -> Result {
        *self.store.locals.get_mut(self.name)? = value;
        Ok(())
    }

    /// Changes the value and returns what `change` returns.
    ///
    /// # Errors
    /// As `get`.
    pub fn update<R>(self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.store.locals.get_mut(self.name).map(change)
    }
}
