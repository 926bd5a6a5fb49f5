//! What q5 and q7 have in common: the highest of each time window, and all that are as high.
//!
//! A library aggregate has one result for each window; here there are as many as there are ties. So this is an operator of
//! its own: windows are its keys, and a timer says when one is over.

use std::marker::PhantomData;

use piton::prelude::*;
use serde::Deserialize;

/// What can be the highest of its window.
pub(crate) trait Ranked: Record {
    /// What is said of the highest.
    type Answer: Record;

    /// Returns how high it is.
    fn rank(&self) -> u64;

    /// Returns the window in which it is compared with others.
    fn window(&self) -> TimeWindow;

    /// Returns what is said of it if none is higher.
    fn answer(&self) -> Self::Answer;
}

/// Finds the highest of each window.
#[derive(Clone, Deserialize)]
#[serde(bound = "", deny_unknown_fields)]
pub(crate) struct Highest<T> {
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T: Ranked> Highest<T> {
    /// The highest so far of the window that is the key; all of them are as high.
    const HIGHEST: ValueState<Vec<T>> = ValueState::new("highest");
}

impl<T: Ranked> Operator for Highest<T> {
    type In = T;
    type Out = T::Answer;

    fn key(&self, record: &T) -> Key {
        record.window().start.into()
    }

    fn process(&mut self, record: &T, ctx: &mut Context<T::Answer>) -> Result {
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

    fn on_timer(&mut self, _timer: Timer, ctx: &mut Context<T::Answer>) -> Result {
        for highest in ctx.state(Self::HIGHEST).take()?.unwrap_or_default() {
            ctx.emit(highest.answer());
        }
        Ok(())
    }
}
