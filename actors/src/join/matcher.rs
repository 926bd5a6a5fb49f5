//! What all kinds of joins have in common, whatever their rows are made of.

use super::how::{How, Pairing};
use super::newest::Newest;
use super::pairs::Pairs;
use crate::batch::Output;
use crate::record::Either;
use crate::state::{Declared, StateValue};
use crate::{Context, Error, Result, Timestamp};

/// Takes the pairs that a join has found.
pub(crate) trait Found<L, R> {
    /// Takes a pair, or a left row alone, and its event time.
    fn pair(&mut self, left: &L, right: Option<&R>, at: Option<Timestamp>) -> Result;
}

/// Finds the pairs of two inputs, in the state of the current key.
pub(crate) struct Matcher<L: 'static, R: 'static> {
    how: How,
    kind: Kind<L, R>,
}

enum Kind<L: 'static, R: 'static> {
    Pairs(Pairs<L, R>),
    Newest(Newest<L, R>),
}

impl<L: StateValue, R: StateValue> Matcher<L, R> {
    /// Of right rows with the same event time, of which a left row is to find one, `replaces` says whether a row takes
    /// the place of the one that came before it.
    pub(crate) fn new(how: How, replaces: fn(&R, &R) -> bool) -> Matcher<L, R> {
        let kind = match how.pairing {
            Pairing::Newest => Kind::Newest(Newest::new(how, replaces)),
            _ => Kind::Pairs(Pairs::new(how)),
        };
        Matcher { how, kind }
    }

    /// Returns what state it keeps.
    pub(crate) fn states(&self) -> Vec<Declared> {
        match &self.kind {
            Kind::Pairs(pairs) => pairs.states(),
            Kind::Newest(newest) => newest.states(),
        }
    }

    /// Takes a row that is not late, of the current key and the current time; one whose `key` is nothing finds nobody.
    pub(crate) fn take<Out: Output>(
        &self,
        ctx: &mut Context<Out>,
        row: Either<L, R>,
        is_keyed: bool,
        found: &mut impl Found<L, R>,
    ) -> Result {
        let at = ctx.timestamp();
        match (&self.kind, row) {
            (_, Either::Left(left)) if !is_keyed => {
                if self.how.outer {
                    found.pair(&left, None, at)?;
                }
                Ok(())
            }
            (_, Either::Right(_)) if !is_keyed => Ok(()),
            (Kind::Pairs(pairs), Either::Left(left)) => pairs.left(ctx, at, left, found),
            (Kind::Pairs(pairs), Either::Right(right)) => pairs.right(ctx, at, right, found),
            (Kind::Newest(newest), Either::Left(left)) => newest.left(ctx, at, left, found),
            (Kind::Newest(newest), Either::Right(right)) => newest.right(ctx, at, right),
        }
    }

    /// A timer of the current key is due.
    pub(crate) fn timer<Out: Output>(
        &self,
        ctx: &mut Context<Out>,
        at: Timestamp,
        found: &mut impl Found<L, R>,
    ) -> Result {
        match &self.kind {
            Kind::Pairs(pairs) => pairs.timer(ctx, at, found),
            Kind::Newest(newest) => newest.timer(ctx, at, found),
        }
    }

    /// Returns whether the left rows, or the right ones, may be late.
    pub(crate) fn late(&self) -> (bool, bool) {
        self.how.pairing.late()
    }

    /// Returns whether a row of the current time is late: what could have been its partners may be gone.
    ///
    /// # Errors
    /// If it has no event time and needs one.
    pub(crate) fn is_late<Out: Output>(&self, ctx: &Context<Out>, is_left: bool) -> Result<bool> {
        let (left, right) = self.late();
        let counts = if is_left { left } else { right };
        match ctx.timestamp() {
            Some(at) => Ok(counts && at <= ctx.watermark()),
            None if self.how.pairing.is_timed() => Err(Error::invalid(format!(
                "a row of its {} input has no event time, which this join goes by: set `event_time` at the source it comes from",
                if is_left { "left (first)" } else { "right (second)" }
            ))),
            None => Ok(false),
        }
    }
}
