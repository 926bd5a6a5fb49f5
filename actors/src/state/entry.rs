//! One piece of state of the current key.
//!
//! An entry is made for one call and used up by it. All methods fail if there is no current key, and if the name is
//! in use for another type.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use super::aging::{Access, OfList, OfMap};
use super::chunk::Kind;
use super::handle::{Name, StateValue};
use super::local::Whose;
use super::map::{Iter, StateMap};
use super::store::StateStore;
use super::ttl::Ttl;
use super::undo::{Part, Price};
use crate::Result;

/// The value of the current key.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct ValueEntry<'a, T> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: Name,
    pub(super) ttl: Option<Ttl>,
    pub(super) of: PhantomData<T>,
}

impl<'a, T: StateValue> ValueEntry<'a, T> {
    /// Returns the value, if the key has one.
    ///
    /// # Errors
    /// If there is no current key, or the name is in use for another type; so in every method of an entry.
    pub fn get(self) -> Result<Option<&'a T>> {
        if let Some(ttl) = self.ttl {
            self.store.age_value::<T>(self.name, ttl, Access::Read)?;
        }
        self.store.read(self.name, Kind::Value)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// As `get`.
    #[inline]
    pub fn set(self, value: T) -> Result {
        if let Some(ttl) = self.ttl {
            self.store.age_value::<T>(self.name, ttl, Access::Write)?;
        }
        self.store.put(self.name, Kind::Value, value)
    }

    /// Takes the value away and returns it.
    ///
    /// # Errors
    /// As `get`.
    pub fn take(self) -> Result<Option<T>> {
        if let Some(ttl) = self.ttl {
            self.store.age_value::<T>(self.name, ttl, Access::Look)?;
            self.store.forget_value(self.name, ttl)?;
        }
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
        if let Some(ttl) = self.ttl {
            self.store.age_value::<T>(self.name, ttl, Access::Write)?;
        }
        self.store.change(self.name, Kind::Value, T::default).map(change)
    }

    /// Changes the value if the key has one, and returns what `change` returns then.
    ///
    /// # Errors
    /// As `get`.
    pub fn modify<R>(self, change: impl FnOnce(&mut T) -> R) -> Result<Option<R>> {
        if let Some(ttl) = self.ttl {
            self.store.age_value::<T>(self.name, ttl, Access::Change)?;
        }
        Ok(self.store.change_if_there(self.name, Kind::Value)?.map(change))
    }
}

/// The map of the current key, in the order of its keys. A map that becomes empty is forgotten.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct MapEntry<'a, K, V> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: Name,
    pub(super) ttl: Option<Ttl>,
    pub(super) of: PhantomData<(K, V)>,
}

impl<'a, K: StateValue + Ord, V: StateValue> MapEntry<'a, K, V> {
    fn read(self) -> Result<Option<&'a StateMap<K, V>>> {
        self.store.read(self.name, Kind::Map)
    }

    /// Returns the whole map, of which nothing expires, if the key has one.
    pub(crate) fn whole(self) -> Result<Option<&'a StateMap<K, V>>> {
        debug_assert!(self.ttl.is_none(), "what expires has to be taken out first");
        self.read()
    }

    /// Takes out what has expired, among these.
    #[inline]
    fn age(&mut self, among: &impl RangeBounds<K>, access: Access) -> Result {
        match self.ttl {
            Some(ttl) => self.store.age_pairs::<K, V>(self.name, ttl, among, access),
            None => Ok(()),
        }
    }

    /// Takes out what is there under a key if it has expired.
    #[inline]
    fn age_one<Q: Ord + ?Sized>(&mut self, key: &Q, access: Access) -> Result
    where
        K: Borrow<Q>,
    {
        match self.ttl {
            Some(ttl) => self.store.age_pair::<K, V, Q>(self.name, ttl, key, access),
            None => Ok(()),
        }
    }

    /// Something is going to be written under a key.
    #[inline]
    fn begin_to_write(&mut self, key: &K) -> Result {
        match self.ttl {
            Some(ttl) => self.store.write_pair::<K, V>(self.name, ttl, key),
            None => Ok(()),
        }
    }

    /// Returns the value under a key.
    ///
    /// # Errors
    /// As [`ValueEntry::get`]; so in every other method.
    pub fn get<Q: Ord + ?Sized>(mut self, key: &Q) -> Result<Option<&'a V>>
    where
        K: Borrow<Q>,
    {
        self.age_one(key, Access::Read)?;
        Ok(self.read()?.and_then(|map| map.get(key)))
    }

    /// Returns whether there is a value under a key.
    ///
    /// # Errors
    /// As `get`.
    pub fn contains<Q: Ord + ?Sized>(mut self, key: &Q) -> Result<bool>
    where
        K: Borrow<Q>,
    {
        self.age_one(key, Access::Read)?;
        Ok(self.read()?.is_some_and(|map| map.contains_key(key)))
    }

    /// Sets the value under a key and returns the one before.
    ///
    /// # Errors
    /// As `get`.
    pub fn insert(mut self, key: K, value: V) -> Result<Option<V>> {
        self.begin_to_write(&key)?;
        let part = |map: &StateMap<K, V>, price: &mut Price| Pair::of(map, &key, price);
        Ok(self.store.change_part(self.name, Kind::Map, StateMap::new, part)?.insert(key, value))
    }

    /// Changes the value under a key, or the default if there is none, and returns what `change` returns.
    ///
    /// # Errors
    /// As `get`.
    pub fn update<R>(mut self, key: K, change: impl FnOnce(&mut V) -> R) -> Result<R>
    where
        V: Default,
    {
        self.begin_to_write(&key)?;
        let part = |map: &StateMap<K, V>, price: &mut Price| Pair::of(map, &key, price);
        let map = self.store.change_part(self.name, Kind::Map, StateMap::new, part)?;
        Ok(change(map.get_or_insert_with(key, V::default)))
    }

    /// Changes the value under a key, or the one that `make` makes if there is none, and returns what `change` returns.
    ///
    /// # Errors
    /// As `get`.
    pub fn update_or<R>(mut self, key: K, make: impl FnOnce() -> V, change: impl FnOnce(&mut V) -> R) -> Result<R> {
        self.begin_to_write(&key)?;
        let part = |map: &StateMap<K, V>, price: &mut Price| Pair::of(map, &key, price);
        let map = self.store.change_part(self.name, Kind::Map, StateMap::new, part)?;
        Ok(change(map.get_or_insert_with(key, make)))
    }

    /// Changes the value under a key if there is one, and returns what `change` returns then.
    ///
    /// # Errors
    /// As `get`.
    pub fn modify<Q: Ord + ?Sized, R>(mut self, key: &Q, change: impl FnOnce(&mut V) -> R) -> Result<Option<R>>
    where
        K: Borrow<Q>,
    {
        self.age_one(key, Access::Change)?;
        let MapEntry { store, name, .. } = self;
        let map: Option<&StateMap<K, V>> = store.read(name, Kind::Map)?;
        if !map.is_some_and(|map| map.contains_key(key)) {
            return Ok(None);
        }
        let part = |map: &StateMap<K, V>, price: &mut Price| {
            let (key, _) = map.get_key_value(key)?;
            Pair::of(map, key, price)
        };
        let map = store.change_part(name, Kind::Map, StateMap::new, part)?;
        Ok(map.get_mut(key).map(change))
    }

    /// Takes the value under a key away and returns it.
    ///
    /// # Errors
    /// As `get`.
    pub fn remove<Q: Ord + ?Sized>(mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        self.age_one(key, Access::Look)?;
        let MapEntry { store, name, ttl, .. } = self;
        let map: Option<&StateMap<K, V>> = store.read(name, Kind::Map)?;
        if !map.is_some_and(|map| map.contains_key(key)) {
            return Ok(None);
        }
        let is_only = map.is_some_and(|map| map.len() == 1);
        if let Some(ttl) = ttl {
            store.forget_pair::<K, Q>(name, ttl, key)?;
        }
        if is_only {
            let map: Option<StateMap<K, V>> = store.take(name, Kind::Map)?;
            return Ok(map.and_then(|mut map| map.remove(key)));
        }
        let part = |map: &StateMap<K, V>, price: &mut Price| {
            let (key, _) = map.get_key_value(key)?;
            Pair::of(map, key, price)
        };
        let map = store.change_part(name, Kind::Map, StateMap::new, part)?;
        Ok(map.remove(key))
    }

    /// Returns the pairs in the order of their keys.
    ///
    /// # Errors
    /// As `get`.
    pub fn iter(mut self) -> Result<impl DoubleEndedIterator<Item = (&'a K, &'a V)> + use<'a, K, V>> {
        self.age(&.., Access::Read)?;
        Ok(self.read()?.map_or_else(Iter::default, StateMap::iter))
    }

    /// Returns the pairs whose keys lie in a range, in the order of their keys.
    ///
    /// # Errors
    /// As `get`.
    ///
    /// # Panics
    /// If the range ends before it begins.
    pub fn range<B: RangeBounds<K>>(
        mut self,
        range: B,
    ) -> Result<impl DoubleEndedIterator<Item = (&'a K, &'a V)> + use<'a, B, K, V>> {
        self.age(&range, Access::Read)?;
        Ok(self.read()?.map_or_else(Iter::default, |map| map.range(range)))
    }

    /// Returns how many values there are.
    ///
    /// # Errors
    /// As `get`.
    pub fn len(mut self) -> Result<usize> {
        self.age(&.., Access::Look)?;
        Ok(self.read()?.map_or(0, StateMap::len))
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
        if let Some(ttl) = self.ttl {
            self.store.forget_all::<OfMap<K, V>>(self.name, ttl)?;
        }
        self.store.clear::<StateMap<K, V>>(self.name, Kind::Map)
    }
}

/// A pair of a map, or that there is none under this key.
pub(super) struct Pair<K, V> {
    key: K,
    value: Option<V>,
}

impl<K: StateValue + Ord, V: StateValue> Pair<K, V> {
    /// Copies a pair; nothing if that is not worth its price.
    pub(super) fn of(map: &StateMap<K, V>, key: &K, price: &mut Price) -> Option<Pair<K, V>> {
        let value = map.get(key);
        if value.is_some_and(|value| !price.is_fair(value)) {
            return None;
        }
        Some(Pair { key: key.clone(), value: value.cloned() })
    }
}

impl<K: StateValue + Ord, V: StateValue> Part<StateMap<K, V>> for Pair<K, V> {
    fn put_back(self, map: &mut StateMap<K, V>) {
        match self.value {
            Some(value) => map.insert(self.key, value),
            None => map.remove(&self.key),
        };
    }
}

/// The list of the current key. A list that becomes empty is forgotten.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct ListEntry<'a, T> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: Name,
    pub(super) ttl: Option<Ttl>,
    pub(super) of: PhantomData<T>,
}

impl<'a, T: StateValue> ListEntry<'a, T> {
    /// Returns the items in the order in which they were pushed.
    ///
    /// # Errors
    /// As [`ValueEntry::get`]; so in every other method.
    pub fn get(self) -> Result<&'a [T]> {
        if let Some(ttl) = self.ttl {
            self.store.age_items::<T>(self.name, ttl, Access::Read)?;
        }
        let list: Option<&Vec<T>> = self.store.read(self.name, Kind::List)?;
        Ok(list.map_or(&[], Vec::as_slice))
    }

    /// Appends an item.
    ///
    /// # Errors
    /// As `get`.
    pub fn push(self, item: T) -> Result {
        if let Some(ttl) = self.ttl {
            self.store.push_deadline::<T>(self.name, ttl)?;
        }
        let part = |list: &Vec<T>, _: &mut Price| Some(Length(list.len()));
        self.store.change_part(self.name, Kind::List, Vec::new, part)?.push(item);
        Ok(())
    }

    /// Takes all items away and returns them.
    ///
    /// # Errors
    /// As `get`.
    pub fn take(self) -> Result<Vec<T>> {
        if let Some(ttl) = self.ttl {
            self.store.age_items::<T>(self.name, ttl, Access::Look)?;
            self.store.forget_all::<OfList<T>>(self.name, ttl)?;
        }
        Ok(self.store.take(self.name, Kind::List)?.unwrap_or_default())
    }

    /// Takes all items away.
    ///
    /// # Errors
    /// As `get`.
    pub fn clear(self) -> Result {
        if let Some(ttl) = self.ttl {
            self.store.forget_all::<OfList<T>>(self.name, ttl)?;
        }
        self.store.clear::<Vec<T>>(self.name, Kind::List)
    }
}

/// How long a list was.
pub(super) struct Length(pub(super) usize);

impl<T: StateValue> Part<Vec<T>> for Length {
    fn put_back(self, list: &mut Vec<T>) {
        list.truncate(self.0);
    }
}

/// A value that belongs to the subtask and to no key.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct LocalEntry<'a, T> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: Name,
    pub(super) of: PhantomData<T>,
}

impl<'a, T: StateValue + Default> LocalEntry<'a, T> {
    /// Returns the value; it begins as its type's default.
    ///
    /// # Errors
    /// If the name is in use for another type; so in every other method.
    pub fn get(self) -> Result<&'a T> {
        self.store.locals.get(self.name, Whose::Own)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// As `get`.
    pub fn set(self, value: T) -> Result {
        self.store.locals.set(self.name, Whose::Own, value)
    }

    /// Changes the value and returns what `change` returns.
    ///
    /// # Errors
    /// As `get`.
    pub fn update<R>(self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.store.locals.get_mut(self.name, Whose::Own).map(change)
    }
}

/// A value that all subtasks of an operator have alike.
#[must_use = "an entry does nothing until one of its methods is called"]
pub struct BroadcastEntry<'a, T> {
    pub(super) store: &'a mut StateStore,
    pub(super) name: Name,
    pub(super) of: PhantomData<T>,
}

impl<'a, T: StateValue + Default> BroadcastEntry<'a, T> {
    /// Returns the value; it begins as its type's default.
    ///
    /// # Errors
    /// If the name is in use for another type; so in every other method.
    pub fn get(self) -> Result<&'a T> {
        self.store.locals.get(self.name, Whose::Everybodys)
    }

    /// Sets the value.
    ///
    /// # Errors
    /// As `get`, or if no record of an input is being processed that every subtask sees; so in `update`.
    pub fn set(self, value: T) -> Result {
        self.store.check_broadcast(self.name.text)?;
        self.store.locals.set(self.name, Whose::Everybodys, value)
    }

    /// Changes the value and returns what `change` returns.
    ///
    /// # Errors
    /// As `set`.
    pub fn update<R>(self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.store.check_broadcast(self.name.text)?;
        self.store.locals.get_mut(self.name, Whose::Everybodys).map(change)
    }
}
