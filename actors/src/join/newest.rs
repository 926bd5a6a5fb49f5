//! Left rows with the newest right row as of their time.
//!
//! A left row waits until the watermark has reached it, because until then a newer right row may still come: so what it
//! is joined with does not depend on which input was faster. Of the right rows, the newest one at or before the
//! watermark stays, for the left rows that follow, and so does each that is newer.

use super::how::How;
use super::matcher::Found;
use super::store::{TIMELESS, Waiting};
use crate::batch::Output;
use crate::state::{Declared, StateValue};
use crate::{Context, MapState, Result, Timestamp};

/// Matches left rows with what was valid at their time.
pub(super) struct Newest<L: 'static, R: 'static> {
    outer: bool,
    /// Whether a right row takes the place of another one of the same time.
    replaces: fn(&R, &R) -> bool,
    lefts: Waiting<L>,
    versions: MapState<Timestamp, R>,
}

impl<L: StateValue, R: StateValue> Newest<L, R> {
    pub(super) fn new(how: How, replaces: fn(&R, &R) -> bool) -> Newest<L, R> {
        Newest { outer: how.outer, replaces, lefts: Waiting::new("left"), versions: MapState::new("versions") }
    }

    pub(super) fn states(&self) -> Vec<Declared> {
        vec![self.lefts.state.into(), self.versions.into()]
    }

    pub(super) fn left<Out: Output>(
        &self,
        ctx: &mut Context<Out>,
        at: Option<Timestamp>,
        left: L,
        found: &mut impl Found<L, R>,
    ) -> Result {
        if let Some(at) = at {
            self.lefts.add(ctx, at, left)?;
            return ctx.timer_at(at);
        }
        let newest = ctx.map_state(self.versions).iter()?.next_back();
        self.tell(&left, newest.map(|(_, right)| right), None, found)?;
        // Without times on the left there may never be a watermark that drops older ones.
        self.forget_before(ctx, Timestamp::MAX)
    }

    pub(super) fn right<Out: Output>(&self, ctx: &mut Context<Out>, at: Option<Timestamp>, right: R) -> Result {
        let Some(at) = at else { return ctx.map_state(self.versions).insert(TIMELESS, right).map(drop) };
        let stays = ctx.map_state(self.versions).get(&at)?.is_some_and(|known| !(self.replaces)(&right, known));
        if stays {
            return Ok(());
        }
        ctx.map_state(self.versions).insert(at, right)?;
        ctx.timer_at(at)
    }

    pub(super) fn timer<Out: Output>(
        &self,
        ctx: &mut Context<Out>,
        now: Timestamp,
        found: &mut impl Found<L, R>,
    ) -> Result {
        let due = self.lefts.first(ctx, |at| at <= now)?;
        for place in &due {
            // A copy, because left rows and versions cannot be borrowed at the same time.
            let Some(left) = ctx.map_state(self.lefts.state).get(place)?.cloned() else { continue };
            let valid = ctx.map_state(self.versions).range(..=place.0)?.next_back();
            self.tell(&left, valid.map(|(_, right)| right), Some(place.0), found)?;
        }
        self.lefts.drop_all(ctx, &due)?;
        self.forget_before(ctx, now)
    }

    fn tell(&self, left: &L, right: Option<&R>, at: Option<Timestamp>, found: &mut impl Found<L, R>) -> Result {
        if right.is_some() || self.outer { found.pair(left, right, at) } else { Ok(()) }
    }

    /// Drops the versions that nobody can ask for any more: all before the newest one at this time.
    fn forget_before<Out: Output>(&self, ctx: &mut Context<Out>, now: Timestamp) -> Result {
        let mut old: Vec<Timestamp> = ctx.map_state(self.versions).range(..=now)?.map(|(at, _)| *at).collect();
        old.pop();
        for at in old {
            ctx.map_state(self.versions).remove(&at)?;
        }
        Ok(())
    }
}
