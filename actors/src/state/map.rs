//! The map that one key has in a [`MapState`](crate::MapState), in the order of its keys.
//!
//! Most maps in state are small, and many hold one entry: the open slice of a window, the one row that waits for its
//! partner. So one entry lies in the column itself, some lie side by side, and only many are a tree: a tree of the
//! standard library takes the memory of eleven entries for one, and another access to memory that is in no cache.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::slice;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// With so many entries it becomes a tree: to insert in the middle of a list moves half of them. In tests it is sooner.
const MANY: usize = if cfg!(test) { 5 } else { 32 };

/// What a [`MapState`](crate::MapState) holds of one key.
#[derive(Clone)]
pub struct StateMap<K, V>(Entries<K, V>);

#[derive(Clone)]
enum Entries<K, V> {
    One((K, V)),
    /// In order; none, or at least two when it was made.
    Few(Vec<(K, V)>),
    /// In a box, so that an entry of two numbers takes no room beside that of a list.
    #[expect(
        clippy::box_collection,
        reason = "the box is what is seldom, the room beside a list is what every key has"
    )]
    Many(Box<BTreeMap<K, V>>),
}

impl<K, V> Default for StateMap<K, V> {
    fn default() -> Self {
        StateMap::new()
    }
}

impl<K, V> StateMap<K, V> {
    pub(crate) const fn new() -> StateMap<K, V> {
        StateMap(Entries::Few(Vec::new()))
    }

    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Entries::One(_) => 1,
            Entries::Few(few) => few.len(),
            Entries::Many(many) => many.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Ord, V> StateMap<K, V> {
    /// Returns the entries in the order of their keys.
    #[inline]
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        match &self.0 {
            Entries::One(one) => Iter::Few(slice::from_ref(one).iter()),
            Entries::Few(few) => Iter::Few(few.iter()),
            Entries::Many(many) => Iter::Many(many.range::<K, _>(..)),
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    #[inline]
    fn place<Q: Ord + ?Sized>(few: &[(K, V)], key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        // What comes is mostly the latest, or behind it.
        match few.last() {
            None => Err(0),
            Some((last, _)) if last.borrow() < key => Err(few.len()),
            Some((last, _)) if last.borrow() == key => Ok(few.len() - 1),
            Some(_) => few.binary_search_by(|(other, _)| other.borrow().cmp(key)),
        }
    }

    #[inline]
    pub(super) fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match &self.0 {
            Entries::One((one, value)) => (one.borrow() == key).then_some((one, value)),
            Entries::Few(few) => Self::place(few, key).ok().map(|place| (&few[place].0, &few[place].1)),
            Entries::Many(many) => many.get_key_value(key),
        }
    }

    #[inline]
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    #[inline]
    pub(super) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match &mut self.0 {
            Entries::One((one, value)) => (<K as Borrow<Q>>::borrow(one) == key).then_some(value),
            Entries::Few(few) => Self::place(few, key).ok().map(|place| &mut few[place].1),
            Entries::Many(many) => many.get_mut(key),
        }
    }

    pub(super) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).is_some()
    }

    /// Returns the value under a key, which becomes what `make` makes if there is none.
    #[inline]
    pub(super) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        // A key that is there is looked for first: it is by far the most frequent one.
        let is_there = match &self.0 {
            Entries::One((one, _)) => *one == key,
            Entries::Few(_) | Entries::Many(_) => self.contains_key(&key),
        };
        if is_there {
            return self.get_mut(&key).expect("it was there a moment ago");
        }
        self.add(key, make())
    }

    /// Adds an entry under a key that is not there.
    fn add(&mut self, key: K, value: V) -> &mut V {
        if self.is_empty() {
            self.0 = Entries::One((key, value));
            return match &mut self.0 {
                Entries::One((_, value)) => value,
                Entries::Few(_) | Entries::Many(_) => unreachable!("it was just made"),
            };
        }
        self.make_room();
        match &mut self.0 {
            Entries::Few(few) => {
                let place = Self::place(few, &key).unwrap_or_else(|place| place);
                few.insert(place, (key, value));
                &mut few[place].1
            }
            Entries::Many(many) => many.entry(key).or_insert(value),
            Entries::One(_) => unreachable!("there is room"),
        }
    }

    /// Makes one entry a list, and a list that is long a tree.
    fn make_room(&mut self) {
        let is_full = match &self.0 {
            Entries::One(_) => true,
            Entries::Few(few) => few.len() >= MANY,
            Entries::Many(_) => false,
        };
        if is_full {
            self.0 = match std::mem::take(self).0 {
                Entries::One(one) => {
                    let mut few = Vec::with_capacity(2);
                    few.push(one);
                    Entries::Few(few)
                }
                Entries::Few(few) => Entries::Many(Box::new(few.into_iter().collect())),
                many @ Entries::Many(_) => many,
            };
        }
    }

    /// Sets the value under a key and returns the one before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.get_mut(&key) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.add(key, value);
                None
            }
        }
    }

    /// Takes the value under a key out and returns it.
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match &mut self.0 {
            Entries::One((one, _)) if <K as Borrow<Q>>::borrow(one) == key => match std::mem::take(self).0 {
                Entries::One((_, value)) => Some(value),
                Entries::Few(_) | Entries::Many(_) => None,
            },
            Entries::One(_) => None,
            Entries::Few(few) => {
                let place = Self::place(few, key).ok()?;
                Some(few.remove(place).1)
            }
            Entries::Many(many) => many.remove(key),
        }
    }

    /// Returns the entries whose keys lie in a range, in the order of their keys.
    ///
    /// # Panics
    /// If the range ends before it begins.
    pub(crate) fn range<Q: Ord + ?Sized>(&self, range: impl RangeBounds<Q>) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let few = match &self.0 {
            Entries::One(one) => slice::from_ref(one),
            Entries::Few(few) => few,
            Entries::Many(many) => return Iter::Many(many.range((range.start_bound(), range.end_bound()))),
        };
        let from = match range.start_bound() {
            Bound::Included(start) => few.partition_point(|(key, _)| key.borrow() < start),
            Bound::Excluded(start) => few.partition_point(|(key, _)| key.borrow() <= start),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(end) => few.partition_point(|(key, _)| key.borrow() <= end),
            Bound::Excluded(end) => few.partition_point(|(key, _)| key.borrow() < end),
            Bound::Unbounded => few.len(),
        };
        assert!(is_forward(&range), "a range ends before it begins");
        // Of a range that excludes its only key, the end lies before the beginning.
        Iter::Few(few[from.min(until)..until].iter())
    }
}

fn is_forward<Q: Ord + ?Sized>(range: &impl RangeBounds<Q>) -> bool {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Excluded(start), Bound::Excluded(end)) => start < end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start <= end,
        _ => true,
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for StateMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = StateMap::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

/// The entries of a map, or some of them, in the order of their keys.
pub(crate) enum Iter<'a, K, V> {
    Few(slice::Iter<'a, (K, V)>),
    Many(btree_map::Range<'a, K, V>),
}

impl<K, V> Default for Iter<'_, K, V> {
    fn default() -> Self {
        Iter::Few([].iter())
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Few(few) => few.next().map(|(key, value)| (key, value)),
            Iter::Many(many) => many.next(),
        }
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Few(few) => few.next_back().map(|(key, value)| (key, value)),
            Iter::Many(many) => many.next_back(),
        }
    }
}

impl<K: Serialize + Ord, V: Serialize> Serialize for StateMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for StateMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfEntries<K, V>(PhantomData<fn() -> (K, V)>);

        impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for OfEntries<K, V> {
            type Value = StateMap<K, V>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = StateMap::new();
                while let Some((key, value)) = entries.next_entry()? {
                    map.insert(key, value);
                }
                Ok(map)
            }
        }

        deserializer.deserialize_map(OfEntries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn entries<'a>(entries: impl Iterator<Item = (&'a u8, &'a String)>) -> Vec<(u8, String)> {
        entries.map(|(key, value)| (*key, value.clone())).collect()
    }

    #[test]
    fn it_is_the_map_of_the_standard_library() {
        for seed in 0..300 {
            let mut rng = Pcg64Mcg::seed_from_u64(seed);
            let (mut map, mut model) = (StateMap::new(), BTreeMap::new());
            let keys = [1, 2, 4, 20][seed as usize % 4];
            for step in 0..100 {
                let key = rng.random_range(0..keys);
                let value = step.to_string();
                match rng.random_range(0..5) {
                    0 | 1 => assert_eq!(map.insert(key, value.clone()), model.insert(key, value)),
                    2 => assert_eq!(map.remove(&key), model.remove(&key)),
                    3 => {
                        let new = || value.clone();
                        assert_eq!(map.get_or_insert_with(key, new), model.entry(key).or_insert_with(new));
                    }
                    _ => assert_eq!(map.get_mut(&key), model.get_mut(&key)),
                }
                assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                assert_eq!(map.get_key_value(&key), model.get_key_value(&key));
                assert_eq!(entries(map.iter()), entries(model.iter()));
                assert_eq!(entries(map.iter().rev()), entries(model.iter().rev()));
                let [one, other] = [rng.random_range(0..keys), rng.random_range(0..keys)];
                let (from, until) = (one.min(other), one.max(other));
                assert_eq!(entries(map.range(from..until)), entries(model.range(from..until)));
                assert_eq!(entries(map.range(from..=until).rev()), entries(model.range(from..=until).rev()));
                assert_eq!(entries(map.range(until..)), entries(model.range(until..)));
                assert_eq!(entries(map.range(..until)), entries(model.range(..until)));
                let after = (Bound::Excluded(from), Bound::Included(until));
                assert_eq!(entries(map.range(after)), entries(model.range(after)));
                let bytes = rmp_serde::to_vec_named(&map).unwrap();
                assert_eq!(bytes, rmp_serde::to_vec_named(&model).unwrap());
                if step % 10 == 0 {
                    map = rmp_serde::from_slice(&bytes).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_no_range() {
        for count in [0u8, 1, 3, 30] {
            let map: StateMap<u8, ()> = (0..count).map(|key| (key, ())).collect();
            // What lies between two bounds that are nearly the same depends on what `Q` is: it is said here.
            let backwards =
                std::panic::catch_unwind(|| map.range::<u8>((Bound::Included(9), Bound::Excluded(3))).count());
            assert!(backwards.is_err(), "{count} entries");
        }
    }

    #[test]
    fn one_entry_lies_in_the_column_itself() {
        assert_eq!(size_of::<Option<StateMap<i64, u64>>>(), 24);
    }
}
