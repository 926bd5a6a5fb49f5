//! Lists whose items expire.

use std::marker::PhantomData;

use super::{Access, Ages};
use crate::Result;
use crate::state::chunk::Kind;
use crate::state::current::Wanted;
use crate::state::entry::Length;
use crate::state::handle::{Name, StateValue};
use crate::state::store::StateStore;
use crate::state::ttl::{Ttl, UNKNOWN, is_past};
use crate::state::undo::Price;
use crate::time::Timestamp;

/// A list whose items expire.
pub(in crate::state) struct OfList<T>(PhantomData<fn() -> T>);

impl<T: StateValue> Ages for OfList<T> {
    const KIND: Kind = Kind::List;
    type Held = Vec<T>;
    type Deadlines = Vec<Timestamp>;

    fn unknown(held: &Vec<T>) -> Vec<Timestamp> {
        vec![UNKNOWN; held.len()]
    }

    fn each(deadlines: &Vec<Timestamp>, visit: &mut dyn FnMut(Timestamp)) {
        deadlines.iter().copied().for_each(visit);
    }

    fn tend(store: &mut StateStore, place: usize, slot: u32) -> Result {
        let (_, then) = store.now_and_then(place);
        store.drop_items::<T>(place, slot)?;
        store.stamp_items(place, slot, |deadline| if deadline == UNKNOWN { then } else { deadline });
        Ok(())
    }
}

impl StateStore {
    /// Takes the items of the current key's list out that have expired; the others may get new deadlines.
    #[inline(never)]
    pub(in crate::state) fn age_items<T: StateValue>(&mut self, name: Name, ttl: Ttl, access: Access) -> Result {
        let place = self.expiries.find(name, ttl, Kind::List)?;
        self.columns.typed::<Vec<T>>(name, Kind::List)?;
        let deadline = ttl.deadline(self.expiries.now(ttl.clock));
        let Some(slot) = self.current_slot(name)? else { return Ok(()) };
        self.drop_items::<T>(place, slot)?;
        if access.renews(ttl) {
            self.stamp_items(place, slot, |_| deadline);
        }
        Ok(())
    }

    /// Gives an item that is going to be pushed its deadline.
    #[inline(never)]
    pub(in crate::state) fn push_deadline<T: StateValue>(&mut self, name: Name, ttl: Ttl) -> Result {
        let place = self.expiries.find(name, ttl, Kind::List)?;
        self.columns.typed::<Vec<T>>(name, Kind::List)?;
        let deadline = ttl.deadline(self.expiries.now(ttl.clock));
        let slot = self.current.find_or_insert(&mut self.slots, Wanted::State(name.text))?;
        let expiry = self.expiries.at_mut(place);
        let part = |deadlines: &Vec<Timestamp>, _: &mut Price| Some(Length(deadlines.len()));
        expiry.deadlines::<Vec<Timestamp>>().part_or_insert_with(slot, Vec::new, part).push(deadline);
        expiry.due.add(deadline, slot);
        self.slots.touch(slot);
        Ok(())
    }

    fn drop_items<T: StateValue>(&mut self, place: usize, slot: u32) -> Result {
        let (now, _) = self.now_and_then(place);
        let expiry = self.expiries.at_mut(place);
        let Some(deadlines) = expiry.deadlines::<Vec<Timestamp>>().get(slot) else { return Ok(()) };
        if !deadlines.iter().any(|deadline| is_past(*deadline, now)) {
            return Ok(());
        }
        let deadlines = expiry.deadlines::<Vec<Timestamp>>().take(slot).unwrap_or_default();
        deadlines.iter().filter(|deadline| is_past(**deadline, now)).for_each(|deadline| {
            expiry.due.remove(*deadline, slot);
        });
        let left: Vec<Timestamp> = deadlines.iter().copied().filter(|deadline| !is_past(*deadline, now)).collect();
        let is_empty = left.is_empty();
        if !is_empty {
            expiry.deadlines::<Vec<Timestamp>>().set(slot, left);
        }
        let name = expiry.name;
        let column = self.columns.typed::<Vec<T>>(name, Kind::List)?;
        if is_empty {
            column.forget(slot);
            column.remove(slot);
        } else {
            column.wake(slot, name.text)?;
            let mut deadlines = deadlines.iter();
            column
                .get_or_insert_with(slot, Vec::new)
                .retain(|_| deadlines.next().is_none_or(|deadline| !is_past(*deadline, now)));
        }
        self.slots.touch(slot);
        self.release_if_free(slot);
        Ok(())
    }

    fn stamp_items(&mut self, place: usize, slot: u32, stamp: impl Fn(Timestamp) -> Timestamp) {
        let expiry = self.expiries.at_mut(place);
        let Some(old) = expiry.deadlines::<Vec<Timestamp>>().get(slot) else { return };
        let new: Vec<Timestamp> = old.iter().map(|deadline| stamp(*deadline)).collect();
        if new == *old {
            return;
        }
        for (old, new) in old.clone().into_iter().zip(&new) {
            expiry.due.replace(old, *new, slot);
        }
        expiry.deadlines::<Vec<Timestamp>>().set(slot, new);
        self.slots.touch(slot);
    }
}
