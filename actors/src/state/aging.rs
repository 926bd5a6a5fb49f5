//! How values, maps and lists expire.
//!
//! Whoever looks at something that may have expired takes it out first, and then does what he would do without a time to
//! live: so nothing is shown that has expired, and what has none pays for nothing.

mod list;
mod map;
mod value;

use std::marker::PhantomData;
use std::sync::Arc;

pub(super) use self::list::OfList;
pub(super) use self::map::OfMap;
pub(super) use self::value::OfValue;
use super::chunk::{Cells, Encoding, Kind, Primitive};
use super::column::{Column, Data};
use super::columns::Columns;
use super::current::Wanted;
use super::handle::{Name, StateValue};
use super::store::StateStore;
use super::ttl::{Ttl, UNKNOWN};
use crate::time::{TimerKind, Timestamp};
use crate::{Error, Result};

/// What is known of a piece of state that expires without its type.
pub(super) trait Aging: Send + Sync {
    /// Makes an empty column of deadlines.
    fn column(&self) -> Data;

    /// Makes a column of deadlines as they were written.
    ///
    /// # Errors
    /// If they cannot be read.
    fn decode(&self, cells: &Cells<'_, '_>) -> Result<Data>;

    /// Notes of each value that has no deadline that it is not known, and returns whether there was any.
    ///
    /// # Errors
    /// If such a value cannot be read.
    fn complete(&self, deadlines: &mut Data, columns: &mut Columns, name: Name, slots: usize) -> Result<bool>;

    /// Calls `visit` with each deadline of a slot.
    fn each(&self, deadlines: &mut Data, slot: u32, visit: &mut dyn FnMut(Timestamp));

    /// Takes what has expired out of a slot, gives what does not age yet a deadline, and returns how much it has looked
    /// at.
    ///
    /// # Errors
    /// If a value cannot be read.
    fn tend(&self, store: &mut StateStore, place: usize, slot: u32) -> Result<usize>;
}

/// What expires together with what.
pub(super) trait Ages: 'static {
    const KIND: Kind;
    /// What a slot has.
    type Held: StateValue;
    /// When that expires.
    type Deadlines: StateValue;

    /// Returns deadlines that are not known.
    fn unknown(held: &Self::Held) -> Self::Deadlines;

    fn each(deadlines: &Self::Deadlines, visit: &mut dyn FnMut(Timestamp));

    fn tend(store: &mut StateStore, place: usize, slot: u32) -> Result;
}

/// Knows the types of a piece of state that expires.
pub(super) struct Of<A>(PhantomData<fn() -> A>);

impl<A> Default for Of<A> {
    fn default() -> Of<A> {
        Of(PhantomData)
    }
}

fn typed<D: StateValue>(deadlines: &mut Data) -> &mut Column<D> {
    deadlines.typed().expect("the deadlines of a piece of state are of the type that goes with it")
}

impl<A: Ages> Aging for Of<A> {
    fn column(&self) -> Data {
        Data::new::<A::Deadlines>()
    }

    fn decode(&self, cells: &Cells<'_, '_>) -> Result<Data> {
        let damaged = || Error::invalid(format!("the deadlines of a state cannot be read: \"{}\"", cells.name));
        if cells.encoding != Encoding::of::<A::Deadlines>() {
            return Err(damaged());
        }
        let mut column = self.column();
        for (bytes, slot) in cells.iter().zip(0..) {
            let Some(bytes) = bytes else { continue };
            if A::KIND == Kind::Value {
                let deadline = <Timestamp as Primitive>::read(bytes).ok_or_else(damaged)?;
                typed::<Timestamp>(&mut column).set(slot, deadline);
            } else {
                let deadlines: A::Deadlines = rmp_serde::from_slice(bytes).map_err(|_| damaged())?;
                typed::<A::Deadlines>(&mut column).set(slot, deadlines);
            }
        }
        Ok(column)
    }

    fn complete(&self, deadlines: &mut Data, columns: &mut Columns, name: Name, slots: usize) -> Result<bool> {
        let deadlines = typed::<A::Deadlines>(deadlines);
        let column = columns.typed::<A::Held>(name, A::KIND)?;
        let mut is_changed = false;
        for slot in 0..slots as u32 {
            if deadlines.get(slot).is_some() {
                continue;
            }
            column.wake(slot, name.text)?;
            if let Some(held) = column.get(slot) {
                deadlines.set(slot, A::unknown(held));
                is_changed = true;
            }
        }
        Ok(is_changed)
    }

    fn each(&self, deadlines: &mut Data, slot: u32, visit: &mut dyn FnMut(Timestamp)) {
        if let Some(deadlines) = typed::<A::Deadlines>(deadlines).get(slot) {
            A::each(deadlines, visit);
        }
    }

    fn tend(&self, store: &mut StateStore, place: usize, slot: u32) -> Result<usize> {
        let mut looked_at = 1;
        let deadlines = store.expiries.at_mut(place).deadlines::<A::Deadlines>();
        if let Some(deadlines) = deadlines.get(slot) {
            A::each(deadlines, &mut |_| looked_at += 1);
        }
        A::tend(store, place, slot)?;
        Ok(looked_at)
    }
}

/// About how many values and entries that have expired are cleaned up at once, whatever there is to do beside that.
const CLEANED_UP: usize = 256;

/// What is going to be done with something that expires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// It is going to be changed if it is there.
    Change,
    /// It is asked after, or going to be taken away.
    Look,
}

impl Access {
    fn renews(self, ttl: Ttl) -> bool {
        match self {
            Access::Write | Access::Change => true,
            Access::Read => ttl.is_renewed_by_reads,
            Access::Look => false,
        }
    }
}

impl StateStore {
    /// Says what time it is by one of the clocks: the watermark, or the engine's time. What has a time to live ages by it.
    #[inline]
    pub fn set_time(&mut self, clock: TimerKind, at: Timestamp) {
        self.expiries.set_time(clock, at);
    }

    /// Says that an event-time timer of this time fires: event time has come as far as that, if not further.
    #[inline]
    pub(crate) fn come_to_event_time(&mut self, at: Timestamp) {
        if at > self.expiries.now(TimerKind::Event) {
            self.expiries.set_time(TimerKind::Event, at);
        }
    }

    /// Takes what has expired out of memory, as far as it was due a while ago: about so many values and entries.
    ///
    /// # Errors
    /// If a value cannot be read.
    pub fn clean_up(&mut self, budget: usize) -> Result {
        for place in 0..self.expiries.len() {
            let (now, _) = self.now_and_then(place);
            let mut left = budget;
            while left > 0
                && let Some(slot) = self.expiries.at(place).due.first(now)
            {
                left = left.saturating_sub(self.tend(place, slot)?);
            }
        }
        Ok(())
    }

    /// As [`clean_up`](StateStore::clean_up), so that it keeps up with batches of so many records.
    #[inline]
    pub(crate) fn clean_up_with(&mut self, records: usize) -> Result {
        self.clean_up(CLEANED_UP + 2 * records)
    }

    /// Takes out all that has expired in the stretch of time that is now, beyond what [`clean_up`](StateStore::clean_up)
    /// does.
    pub(super) fn clean_up_around_now(&mut self) -> Result {
        for place in 0..self.expiries.len() {
            let (now, _) = self.now_and_then(place);
            if now == UNKNOWN {
                continue;
            }
            for slot in self.expiries.at(place).due.around(now) {
                self.tend(place, slot)?;
            }
        }
        Ok(())
    }

    fn tend(&mut self, place: usize, slot: u32) -> Result<usize> {
        let aging = Arc::clone(&self.expiries.at(place).aging);
        aging.tend(self, place, slot)
    }

    /// Returns what time it is for a piece of state, and when what is written now expires.
    fn now_and_then(&self, place: usize) -> (Timestamp, Timestamp) {
        let ttl = self.expiries.at(place).ttl;
        let now = self.expiries.now(ttl.clock);
        (now, ttl.deadline(now))
    }

    fn current_slot(&mut self, name: Name) -> Result<Option<u32>> {
        self.current.find(&self.slots, Wanted::State(name.text))
    }

    /// Forgets the deadlines of everything that the current key has under this name, which is going to be taken away.
    #[inline(never)]
    pub(super) fn forget_all<A: Ages>(&mut self, name: Name, ttl: Ttl) -> Result {
        let place = self.expiries.find(name, ttl, A::KIND)?;
        let Some(slot) = self.current_slot(name)? else { return Ok(()) };
        let expiry = self.expiries.at_mut(place);
        if let Some(deadlines) = expiry.deadlines::<A::Deadlines>().take(slot) {
            A::each(&deadlines, &mut |deadline| expiry.due.remove(deadline, slot));
        }
        Ok(())
    }
}
