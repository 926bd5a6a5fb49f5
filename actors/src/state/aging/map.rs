//! Maps whose entries expire.

use crate::state::map::StateMap;
use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use super::{Access, Ages};
use crate::Result;
use crate::state::chunk::Kind;
use crate::state::current::Wanted;
use crate::state::entry::Pair;
use crate::state::handle::{Name, StateValue};
use crate::state::store::StateStore;
use crate::state::ttl::{Ttl, UNKNOWN, is_past};
use crate::state::undo::Price;
use crate::time::Timestamp;

/// A map whose entries expire.
pub(in crate::state) struct OfMap<K, V>(PhantomData<fn() -> (K, V)>);

impl<K: StateValue + Ord, V: StateValue> Ages for OfMap<K, V> {
    const KIND: Kind = Kind::Map;
    type Held = StateMap<K, V>;
    type Deadlines = StateMap<K, Timestamp>;

    fn unknown(held: &StateMap<K, V>) -> StateMap<K, Timestamp> {
        held.keys().map(|key| (key.clone(), UNKNOWN)).collect()
    }

    fn each(deadlines: &StateMap<K, Timestamp>, visit: &mut dyn FnMut(Timestamp)) {
        deadlines.values().copied().for_each(visit);
    }

    fn tend(store: &mut StateStore, place: usize, slot: u32) -> Result {
        let (now, then) = store.now_and_then(place);
        let Some(deadlines) = store.expiries.at_mut(place).deadlines::<StateMap<K, Timestamp>>().get(slot) else {
            return Ok(());
        };
        let is_unknown = |(_, deadline): &(&K, &Timestamp)| **deadline == UNKNOWN;
        let is_past = |(_, deadline): &(&K, &Timestamp)| is_past(**deadline, now);
        let unknown: Vec<K> = deadlines.iter().filter(is_unknown).map(|(key, _)| key.clone()).collect();
        let past: Vec<K> = deadlines.iter().filter(is_past).map(|(key, _)| key.clone()).collect();
        for key in unknown {
            store.stamp_pair(place, slot, key, then);
        }
        store.drop_pairs::<K, V>(place, slot, &past)
    }
}

impl StateStore {
    /// Takes the entries of the current key's map out that have expired, among these; the others may get new deadlines.
    #[inline(never)]
    pub(in crate::state) fn age_pairs<K: StateValue + Ord, V: StateValue>(
        &mut self,
        name: Name,
        ttl: Ttl,
        among: &impl RangeBounds<K>,
        access: Access,
    ) -> Result {
        let place = self.expiries.find(name, ttl, Kind::Map)?;
        self.columns.typed::<StateMap<K, V>>(name, Kind::Map)?;
        let now = self.expiries.now(ttl.clock);
        let Some(slot) = self.current_slot(name)? else { return Ok(()) };
        let Some(deadlines) = self.expiries.at_mut(place).deadlines::<StateMap<K, Timestamp>>().get(slot) else {
            return Ok(());
        };
        let among: (Bound<&K>, Bound<&K>) = (among.start_bound(), among.end_bound());
        let (mut past, mut renewed) = (Vec::new(), Vec::new());
        for (key, deadline) in deadlines.range::<K>(among) {
            if is_past(*deadline, now) {
                past.push(key.clone());
            } else if access.renews(ttl) && *deadline != ttl.deadline(now) {
                renewed.push(key.clone());
            }
        }
        for key in renewed {
            self.stamp_pair(place, slot, key, ttl.deadline(now));
        }
        self.drop_pairs::<K, V>(place, slot, &past)
    }

    /// As [`age_pairs`](StateStore::age_pairs), with one entry.
    #[inline(never)]
    pub(in crate::state) fn age_pair<K, V, Q>(&mut self, name: Name, ttl: Ttl, key: &Q, access: Access) -> Result
    where
        K: StateValue + Ord + Borrow<Q>,
        V: StateValue,
        Q: Ord + ?Sized,
    {
        let place = self.expiries.find(name, ttl, Kind::Map)?;
        self.columns.typed::<StateMap<K, V>>(name, Kind::Map)?;
        let now = self.expiries.now(ttl.clock);
        let Some(slot) = self.current_slot(name)? else { return Ok(()) };
        let deadlines = self.expiries.at_mut(place).deadlines::<StateMap<K, Timestamp>>().get(slot);
        let Some((key, deadline)) = deadlines.and_then(|deadlines| deadlines.get_key_value(key)) else {
            return Ok(());
        };
        if is_past(*deadline, now) {
            let key = key.clone();
            return self.drop_pairs::<K, V>(place, slot, std::slice::from_ref(&key));
        }
        if access.renews(ttl) && *deadline != ttl.deadline(now) {
            let key = key.clone();
            self.stamp_pair(place, slot, key, ttl.deadline(now));
        }
        Ok(())
    }

    /// Gives an entry of the current key's map that is going to be written its deadline, after it was taken out if it had
    /// expired.
    #[inline(never)]
    pub(in crate::state) fn write_pair<K: StateValue + Ord, V: StateValue>(
        &mut self,
        name: Name,
        ttl: Ttl,
        key: &K,
    ) -> Result {
        self.age_pair::<K, V, K>(name, ttl, key, Access::Look)?;
        let place = self.expiries.find(name, ttl, Kind::Map)?;
        let deadline = ttl.deadline(self.expiries.now(ttl.clock));
        let slot = self.current.find_or_insert(&mut self.slots, Wanted::State(name.text))?;
        self.stamp_pair(place, slot, key.clone(), deadline);
        Ok(())
    }

    /// Forgets the deadline of an entry of the current key's map that is going to be taken away.
    #[inline(never)]
    pub(in crate::state) fn forget_pair<K, Q>(&mut self, name: Name, ttl: Ttl, key: &Q) -> Result
    where
        K: StateValue + Ord + Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let place = self.expiries.find(name, ttl, Kind::Map)?;
        let Some(slot) = self.current_slot(name)? else { return Ok(()) };
        let deadlines = self.expiries.at_mut(place).deadlines::<StateMap<K, Timestamp>>().get(slot);
        if let Some((key, _)) = deadlines.and_then(|deadlines| deadlines.get_key_value(key)) {
            let key = key.clone();
            self.forget_pair_of(place, slot, &key);
        }
        Ok(())
    }

    fn forget_pair_of<K: StateValue + Ord>(&mut self, place: usize, slot: u32, key: &K) {
        let expiry = self.expiries.at_mut(place);
        let deadlines = expiry.deadlines::<StateMap<K, Timestamp>>();
        let part = |deadlines: &StateMap<K, Timestamp>, price: &mut Price| Pair::of(deadlines, key, price);
        let map = deadlines.part_or_insert_with(slot, StateMap::new, part);
        let deadline = map.remove(key);
        if map.is_empty() {
            deadlines.remove(slot);
        }
        if let Some(deadline) = deadline {
            expiry.due.remove(deadline, slot);
        }
    }

    fn drop_pairs<K: StateValue + Ord, V: StateValue>(&mut self, place: usize, slot: u32, keys: &[K]) -> Result {
        if keys.is_empty() {
            return Ok(());
        }
        let name = self.expiries.at(place).name;
        for key in keys {
            self.forget_pair_of(place, slot, key);
            let column = self.columns.typed::<StateMap<K, V>>(name, Kind::Map)?;
            column.wake(slot, name.text)?;
            let part = |map: &StateMap<K, V>, price: &mut Price| Pair::of(map, key, price);
            let map = column.part_or_insert_with(slot, StateMap::new, part);
            map.remove(key);
            if map.is_empty() {
                column.remove(slot);
            }
        }
        self.slots.touch(slot);
        self.release_if_free(slot);
        Ok(())
    }

    fn stamp_pair<K: StateValue + Ord>(&mut self, place: usize, slot: u32, key: K, deadline: Timestamp) {
        let expiry = self.expiries.at_mut(place);
        let deadlines = expiry.deadlines::<StateMap<K, Timestamp>>();
        if deadlines.get(slot).and_then(|deadlines| deadlines.get(&key)) == Some(&deadline) {
            return;
        }
        let part = |deadlines: &StateMap<K, Timestamp>, price: &mut Price| Pair::of(deadlines, &key, price);
        match deadlines.part_or_insert_with(slot, StateMap::new, part).insert(key, deadline) {
            Some(old) => expiry.due.replace(old, deadline, slot),
            None => expiry.due.add(deadline, slot),
        }
        self.slots.touch(slot);
    }
}
