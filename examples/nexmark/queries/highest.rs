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

#[cfg(test)]
mod tests {
    use piton::harness::Harness;
    use serde::Serialize;

    use super::*;

    /// A rank and a time, in windows of ten.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
    struct Ranking(u64, i64);

    impl Ranked for Ranking {
        type Answer = Ranking;

        fn rank(&self) -> u64 {
            self.0
        }

        fn window(&self) -> TimeWindow {
            let start = self.1 - self.1.rem_euclid(10);
            TimeWindow { start, end: start + 10 }
        }

        fn answer(&self) -> Ranking {
            self.clone()
        }
    }

    #[test]
    fn all_that_are_highest_come_when_their_window_is_over() -> Result {
        let mut harness = Harness::new(|| Highest::<Ranking> { of: PhantomData });
        for (rank, time) in [(1, 3), (4, 5), (2, 6), (9, 12)] {
            harness.push_at(time, Ranking(rank, time))?;
        }
        harness.checkpoint()?.crash()?.push_at(9, Ranking(4, 9))?.watermark(8)?;
        assert!(harness.output().is_empty());
        harness.watermark(9)?;
        assert_eq!(harness.output(), [Ranking(4, 5), Ranking(4, 9)]);
        harness.watermark(19)?;
        assert_eq!(harness.output()[2..], [Ranking(9, 12)]);
        assert!(harness.context()?.keys().is_empty());
        Ok(())
    }
}
