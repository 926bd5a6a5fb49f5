//! Rows of one input that wait for partners, in the order of their times.

use std::ops::RangeInclusive;

use crate::batch::Output;
use crate::state::StateValue;
use crate::{Context, MapState, Result, Timestamp};

/// Where a row stands among those of its key: its time, and how many of the same time came before it.
pub(crate) type Place = (Timestamp, u32);

/// The time of rows that have none.
pub(super) const TIMELESS: Timestamp = Timestamp::MIN;

/// The rows of the current key under one name.
pub(super) struct Waiting<T: 'static> {
    pub(super) state: MapState<Place, T>,
}

impl<T: 'static> Clone for Waiting<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for Waiting<T> {}

impl<T: StateValue> Waiting<T> {
    pub(super) const fn new(name: &'static str) -> Waiting<T> {
        Waiting { state: MapState::new(name) }
    }

    /// Adds a row behind those of the same time.
    pub(super) fn add<Out: Output>(self, ctx: &mut Context<Out>, at: Timestamp, row: T) -> Result<Place> {
        let last = ctx.map_state(self.state).range(places(at..=at))?.next_back();
        let place = (at, last.map_or(0, |((_, number), _)| number + 1));
        ctx.map_state(self.state).insert(place, row)?;
        Ok(place)
    }

    /// Returns the rows of some times, in order.
    pub(super) fn at<Out: Output>(
        self,
        ctx: &mut Context<Out>,
        times: RangeInclusive<Timestamp>,
    ) -> Result<impl DoubleEndedIterator<Item = (&Place, &T)>> {
        ctx.map_state(self.state).range(places(times))
    }

    /// Returns the places of the first rows, as long as `is_wanted` says so of their times.
    pub(super) fn first<Out: Output>(
        self,
        ctx: &mut Context<Out>,
        is_wanted: impl Fn(Timestamp) -> bool,
    ) -> Result<Vec<Place>> {
        let rows = ctx.map_state(self.state).iter()?.map(|(place, _)| *place);
        Ok(rows.take_while(|(at, _)| is_wanted(*at)).collect())
    }

    /// Drops rows.
    pub(super) fn drop_all<Out: Output>(self, ctx: &mut Context<Out>, rows: &[Place]) -> Result {
        if !rows.is_empty() && ctx.map_state(self.state).len()? == rows.len() {
            return ctx.map_state(self.state).clear();
        }
        for place in rows {
            ctx.map_state(self.state).remove(place)?;
        }
        Ok(())
    }
}

fn places(times: RangeInclusive<Timestamp>) -> RangeInclusive<Place> {
    (*times.start(), 0)..=(*times.end(), u32::MAX)
}
