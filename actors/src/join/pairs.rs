//! Pairs of rows that are partners whichever comes first.
//!
//! Each row looks for the partners that are there already, and waits for those that are still to come. That gives each
//! pair once, with its second row. The rows of a key are kept in the order of their times, so that both the search for
//! partners and the cleaning touch only what they are after.
//!
//! One timer for each moment at which something can be dropped cleans up; a left row that has found nobody until then
//! comes alone. It carries the time of that moment, not its own: a watermark beyond its own time was passed on long ago,
//! and the row would be late for everybody downstream.

use super::how::{How, Pairing};
use super::matcher::Found;
use super::store::{Place, TIMELESS, Waiting};
use crate::batch::Output;
use crate::state::{Declared, StateValue};
use crate::{Context, MapState, Result, Timestamp};

/// The left rows that have found nobody so far; only kept by outer joins.
const ALONE: MapState<Place, ()> = MapState::new("alone");

/// Matches rows whose times make them partners.
pub(super) struct Pairs<L: 'static, R: 'static> {
    pairing: Pairing,
    outer: bool,
    lefts: Waiting<L>,
    rights: Waiting<R>,
}

impl<L: StateValue, R: StateValue> Pairs<L, R> {
    pub(super) fn new(how: How) -> Pairs<L, R> {
        let How { pairing, outer } = how;
        Pairs { pairing, outer, lefts: Waiting::new("left"), rights: Waiting::new("right") }
    }

    pub(super) fn states(&self) -> Vec<Declared> {
        vec![self.lefts.state.into(), self.rights.state.into(), ALONE.into()]
    }

    pub(super) fn left<Out: Output>(
        &self,
        ctx: &mut Context<Out>,
        at: Option<Timestamp>,
        left: L,
        found: &mut impl Found<L, R>,
    ) -> Result {
        let time = at.unwrap_or(TIMELESS);
        let mut alone = true;
        for ((of_right, _), right) in self.rights.at(ctx, self.pairing.rights_of(time))? {
            found.pair(&left, Some(right), later(time, *of_right))?;
            alone = false;
        }
        let place = self.lefts.add(ctx, time, left)?;
        if self.outer && alone {
            ctx.map_state(ALONE).insert(place, ())?;
        }
        // Without an end to wait for there is nothing to do but to tell who was left alone.
        if self.pairing != Pairing::Whole || (self.outer && alone) {
            ctx.timer_at(self.pairing.left_until(time))?;
        }
        Ok(())
    }

    pub(super) fn right<Out: Output>(
        &self,
        ctx: &mut Context<Out>,
        at: Option<Timestamp>,
        right: R,
        found: &mut impl Found<L, R>,
    ) -> Result {
        let time = at.unwrap_or(TIMELESS);
        let mut partners = Vec::new();
        for (place, left) in self.lefts.at(ctx, self.pairing.lefts_of(time))? {
            found.pair(left, Some(&right), later(place.0, time))?;
            if self.outer {
                partners.push(*place);
            }
        }
        for place in partners {
            ctx.map_state(ALONE).remove(&place)?;
        }
        self.rights.add(ctx, time, right)?;
        if self.pairing != Pairing::Whole {
            ctx.timer_at(self.pairing.right_until(time))?;
        }
        Ok(())
    }

    pub(super) fn timer<Out: Output>(
        &self,
        ctx: &mut Context<Out>,
        now: Timestamp,
        found: &mut impl Found<L, R>,
    ) -> Result {
        let lefts = self.lefts.first(ctx, |at| self.pairing.left_until(at) <= now)?;
        for place in &lefts {
            if !self.outer || ctx.map_state(ALONE).remove(place)?.is_none() {
                continue;
            }
            let time = if self.pairing == Pairing::Whole { timed(place.0) } else { Some(now) };
            if let Some(left) = ctx.map_state(self.lefts.state).get(place)? {
                found.pair(left, None, time)?;
            }
        }
        self.lefts.drop_all(ctx, &lefts)?;
        let rights = self.rights.first(ctx, |at| self.pairing.right_until(at) <= now)?;
        self.rights.drop_all(ctx, &rights)
    }
}

fn timed(at: Timestamp) -> Option<Timestamp> {
    (at != TIMELESS).then_some(at)
}

/// Returns the later of two times; rows without one have the earliest of all.
fn later(left: Timestamp, right: Timestamp) -> Option<Timestamp> {
    timed(left.max(right))
}
