//! What q5 and q7 have in common: the highest of each time window, and all that are as high.
//!
//! It is the operator of `examples/nexmark`, over compact rows.

use std::marker::PhantomData;

use piton::prelude::*;
use serde::Deserialize;

use crate::answer::Row;

/// What can be the highest of its window.
pub(super) trait Ranked: Record {
    /// Returns how high it is.
    fn rank(&self) -> u64;

    /// Returns the window in which it is compared with others.
    fn window(&self) -> TimeWindow;

    /// Returns what is said of it if none is higher.
    fn answer(&self) -> Row;
}

/// Finds the highest of each window.
#[derive(Clone, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub(super) struct Highest<T> {
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T: Ranked> Highest<T> {
    /// The highest so far of the window that is the key; all of them are as high.
    const HIGHEST: ValueState<Vec<T>> = ValueState::new("highest");
}

impl<T: Ranked> Operator for Highest<T> {
    type In = T;
    type Out = Row;
    const HOLDS_ROWS: Option<bool> = Some(false);

    fn key(&self, record: &T) -> Key {
        record.window().start.into()
    }

    fn process(&mut self, record: &T, ctx: &mut Context<Row>) -> Result {
        let so_far = ctx.state(Self::HIGHEST).get()?.and_then(|highest| highest.first()).map(T::rank);
        match so_far {
            Some(highest) if highest > record.rank() => Ok(()),
            Some(highest) if highest == record.rank() => {
                ctx.state(Self::HIGHEST).update(|highest| highest.push(record.clone()))
            }
            Some(_) => ctx.state(Self::HIGHEST).set(vec![record.clone()]),
            None => {
                ctx.state(Self::HIGHEST).set(vec![record.clone()])?;
                ctx.timer_at(record.window().last())
            }
        }
    }

    fn on_timer(&mut self, _timer: Timer, ctx: &mut Context<Row>) -> Result {
        for highest in ctx.state(Self::HIGHEST).take()?.unwrap_or_default() {
            ctx.emit(highest.answer());
        }
        Ok(())
    }
}
