//! Values that expire.

use std::marker::PhantomData;

use super::{Access, Ages};
use crate::Result;
use crate::state::chunk::Kind;
use crate::state::current::Wanted;
use crate::state::handle::{Name, StateValue};
use crate::state::store::StateStore;
use crate::state::ttl::{Ttl, UNKNOWN, is_past};
use crate::time::Timestamp;

/// A value that expires.
pub(in crate::state) struct OfValue<T>(PhantomData<fn() -> T>);

impl<T: StateValue> Ages for OfValue<T> {
    const KIND: Kind = Kind::Value;
    type Held = T;
    type Deadlines = Timestamp;

    fn unknown(_: &T) -> Timestamp {
        UNKNOWN
    }

    fn each(deadline: &Timestamp, visit: &mut dyn FnMut(Timestamp)) {
        visit(*deadline);
    }

    fn tend(store: &mut StateStore, place: usize, slot: u32) -> Result {
        let (now, then) = store.now_and_then(place);
        match store.expiries.at_mut(place).deadlines::<Timestamp>().get(slot) {
            Some(&UNKNOWN) => store.stamp_value(place, slot, then),
            Some(deadline) if is_past(*deadline, now) => store.drop_value::<T>(place, slot)?,
            _ => {}
        }
        Ok(())
    }
}

impl StateStore {
    /// Takes the value of the current key out if it has expired; otherwise it may get a new deadline. A value that is
    /// going to be written gets one too if it is not there.
    #[inline(never)]
    pub(in crate::state) fn age_value<T: StateValue>(&mut self, name: Name, ttl: Ttl, access: Access) -> Result {
        let place = self.expiries.find(name, ttl, Kind::Value)?;
        self.columns.typed::<T>(name, Kind::Value)?;
        let now = self.expiries.now(ttl.clock);
        let Some(slot) = self.current_slot(name)? else {
            if access == Access::Write {
                let slot = self.current.find_or_insert(&mut self.slots, Wanted::State(name.text))?;
                self.stamp_value(place, slot, ttl.deadline(now));
            }
            return Ok(());
        };
        let deadline = self.expiries.at_mut(place).deadlines::<Timestamp>().get(slot).copied();
        let is_there = deadline.is_some_and(|deadline| !is_past(deadline, now));
        if deadline.is_some() && !is_there {
            self.drop_value::<T>(place, slot)?;
        }
        if access == Access::Write || (is_there && access.renews(ttl)) {
            // The slot was given back if it had nothing else.
            let slot = self.current.find_or_insert(&mut self.slots, Wanted::State(name.text))?;
            self.stamp_value(place, slot, ttl.deadline(now));
        }
        Ok(())
    }

    /// Forgets the deadline of the current key's value, which is going to be taken away.
    #[inline(never)]
    pub(in crate::state) fn forget_value(&mut self, name: Name, ttl: Ttl) -> Result {
        let place = self.expiries.find(name, ttl, Kind::Value)?;
        if let Some(slot) = self.current_slot(name)? {
            self.forget_deadline(place, slot);
        }
        Ok(())
    }

    fn forget_deadline(&mut self, place: usize, slot: u32) {
        let expiry = self.expiries.at_mut(place);
        if let Some(deadline) = expiry.deadlines::<Timestamp>().get(slot).copied() {
            expiry.deadlines::<Timestamp>().remove(slot);
            expiry.due.remove(deadline, slot);
        }
    }

    fn drop_value<T: StateValue>(&mut self, place: usize, slot: u32) -> Result {
        let name = self.expiries.at(place).name;
        let column = self.columns.typed::<T>(name, Kind::Value)?;
        column.forget(slot);
        column.remove(slot);
        self.forget_deadline(place, slot);
        self.slots.touch(slot);
        self.release_if_free(slot);
        Ok(())
    }

    fn stamp_value(&mut self, place: usize, slot: u32, deadline: Timestamp) {
        let expiry = self.expiries.at_mut(place);
        let old = expiry.deadlines::<Timestamp>().get(slot).copied();
        if old == Some(deadline) {
            return;
        }
        expiry.deadlines::<Timestamp>().set(slot, deadline);
        match old {
            Some(old) => expiry.due.replace(old, deadline, slot),
            None => expiry.due.add(deadline, slot),
        }
        self.slots.touch(slot);
    }
}
