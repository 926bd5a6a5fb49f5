//! What becomes of a record in tumbling and sliding windows, and of windows when time goes on: pure decisions.
//!
//! Of each key, what is kept is one sum for each slice that records have come into. One timer leads to the next: it is
//! set for the first thing that happens to any slice of the key. What is due is decided by the moment that a timer was
//! set for, never by the watermark, which may have gone far beyond it.

use super::descriptor::TimeWindow;
use super::grid::Grid;
use crate::time::Timestamp;

/// Tumbling or sliding windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panes {
    pub(crate) grid: Grid,
    /// How long windows take records after their end, in ms.
    pub(crate) lateness: i64,
}

/// What becomes of the records of one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The slice.
    pub(crate) slice: TimeWindow,
    /// Up to where nothing was expected any more when this was decided.
    passed: Timestamp,
    /// Whether every window that they belong to is closed to them.
    pub(crate) is_late: bool,
    /// When the first thing happens to the slice; a timer for it has to be set if it is new.
    pub(crate) timer: Timestamp,
    /// The last window that holds the slice.
    last: TimeWindow,
}

/// What follows from nothing being expected up to a moment: worked out once, where thousands of keys come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) last: Timestamp,
    /// The window that is over now, and was not a moment before.
    pub(crate) ending: Option<TimeWindow>,
    /// No window needs a slice any more that begins before this.
    pub(crate) kept_from: Timestamp,
    /// The first window that has not emitted.
    pub(crate) open: TimeWindow,
}

impl Arrival {
    /// Returns whether this holds for records of a time, too.
    #[inline]
    pub(crate) fn holds(&self, time: Timestamp, passed: Timestamp) -> bool {
        self.slice.start <= time && time < self.slice.end && self.passed == passed
    }
}

impl Panes {
    /// Decides what becomes of a record.
    pub(crate) fn arrival(&self, time: Timestamp, passed: Timestamp) -> Arrival {
        let slice = self.grid.slice_of(time);
        let last = self.grid.last_with(time);
        let is_late = last.last() + self.lateness <= passed;
        let first = self.grid.first_over(time.max(passed + 1));
        let timer = if first.start <= last.start { first.last() } else { last.last() + self.lateness };
        Arrival { slice, passed, is_late, timer, last }
    }

    /// Returns the windows that have emitted and still take the record that has just come.
    pub(crate) fn again(&self, arrival: &Arrival) -> impl Iterator<Item = TimeWindow> + use<> {
        let Arrival { slice, passed, last, .. } = *arrival;
        let (every, lateness) = (self.grid.every(), self.lateness);
        let first = self.grid.first_over(slice.start);
        let windows = (0..)
            .map(move |number| TimeWindow { start: first.start + number * every, end: first.end + number * every });
        let has_emitted = move |window: &TimeWindow| window.start <= last.start && window.last() <= passed;
        windows.take_while(has_emitted).filter(move |window| window.last() + lateness > passed)
    }

    /// Returns what follows when nothing is expected up to `last`, for the slices of all keys.
    pub(crate) fn moment(&self, last: Timestamp) -> Moment {
        let grid = &self.grid;
        let over = last - self.lateness;
        Moment {
            last,
            ending: grid.ending_with(last),
            kept_from: grid.first_over(over + 1).start,
            open: grid.first_over(last + 1),
        }
    }

    /// Returns when something happens next, after a moment: `first` is where the first slice of the key begins that is
    /// kept, `open` where the first one is of which a window has not emitted, if there is one.
    pub(crate) fn next(&self, moment: &Moment, first: Timestamp, open: Option<Timestamp>) -> Timestamp {
        let over = || self.grid.last_with(first).last() + self.lateness;
        let Some(open) = open else { return over() };
        if open <= moment.last + 1 && self.lateness == 0 {
            // No window that ends later ends before the first one of all.
            return moment.open.last();
        }
        over().min(self.grid.first_over(open.max(moment.last + 1)).last())
    }

    /// Returns whether every slice lives exactly until its own timer, so that there is nothing else to be done.
    pub(crate) fn is_simple(&self) -> bool {
        !self.grid.overlaps() && self.lateness == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::descriptor::{Sliding, Tumbling};
    use super::*;

    fn panes(size: u64, every: u64, lateness: i64) -> Panes {
        let [size, every] = [size, every].map(Duration::from_millis);
        let windows = if size == every { Tumbling::of(size).into() } else { Sliding::of(size, every).into() };
        Panes { grid: Grid::of(&windows).unwrap().unwrap(), lateness }
    }

    #[test]
    fn a_watermark_at_the_last_moment_ends_a_window() {
        let panes = panes(10, 10, 0);
        assert_eq!(panes.arrival(5, 8).timer, 9);
        assert!(!panes.arrival(9, 8).is_late);
        assert!(panes.arrival(9, 9).is_late);
        assert_eq!(panes.again(&panes.arrival(5, 8)).count(), 0);
    }

    #[test]
    fn a_late_record_counts_in_the_windows_that_still_take_it() {
        let panes = panes(10, 5, 3);
        // It belongs to 0..10 and 5..15, of which the first is over.
        let arrival = panes.arrival(7, 11);
        assert_eq!((arrival.is_late, arrival.timer), (false, 14));
        assert_eq!(panes.again(&arrival).map(|window| window.start).collect::<Vec<_>>(), [0]);
        let arrival = panes.arrival(7, 12);
        assert_eq!(panes.again(&arrival).count(), 0, "0..10 takes nothing from 12 on");
        let arrival = panes.arrival(7, 16);
        assert_eq!((arrival.is_late, arrival.timer), (false, 17));
        assert_eq!(panes.again(&arrival).map(|window| window.start).collect::<Vec<_>>(), [5]);
        assert!(panes.arrival(7, 17).is_late);
    }

    #[test]
    fn one_thing_leads_to_the_next() {
        let panes = panes(10, 5, 3);
        assert_eq!(panes.arrival(7, -20).timer, 9);
        let next = |last, starts: &[i64]| {
            let moment = panes.moment(last);
            let open = starts.iter().copied().find(|start| *start >= moment.open.start);
            panes.next(&moment, starts[0], open)
        };
        assert_eq!(next(9, &[5]), 14);
        assert_eq!(next(14, &[5]), 17);
        assert_eq!([16, 17].map(|last| panes.moment(last).kept_from), [5, 10]);
        assert_eq!(next(14, &[5, 100]), 17);
        assert_eq!(next(17, &[100]), 104);
        assert_eq!(next(9, &[5, 10]), 14);
    }

    /// What is said of a moment is what its windows say, one by one.
    #[test]
    fn a_moment_is_what_its_windows_say() {
        for (size, every, lateness) in [(10, 10, 0), (10, 5, 0), (10, 5, 3), (12, 4, 30), (15, 6, 7)] {
            let panes = panes(size, every, lateness);
            let windows: Vec<TimeWindow> = (-100..200)
                .map(|number| number * every as i64)
                .map(|start| TimeWindow { start, end: start + size as i64 })
                .collect();
            let slices: Vec<Timestamp> = (-50..150).map(|time| panes.grid.slice_of(time).start).collect();
            for last in 0..60 {
                let moment = panes.moment(last);
                assert_eq!(moment.ending, windows.iter().copied().find(|window| window.last() == last));
                assert_eq!(Some(moment.open), windows.iter().copied().find(|window| window.last() > last));
                for start in &slices {
                    let mut holding = windows.iter().filter(|window| (window.start..window.end).contains(start));
                    let is_over = holding.all(|window| window.last() + lateness <= last);
                    assert_eq!(*start < moment.kept_from, is_over, "slice {start} at {last}, {panes:?}");
                }
                for first in slices.iter().filter(|start| **start >= moment.kept_from) {
                    for open in slices.iter().filter(|start| *start >= first && **start >= moment.open.start) {
                        let over = panes.grid.last_with(*first).last() + lateness;
                        let emits = windows.iter().find(|window| window.last() > last && window.end > *open);
                        let expected = over.min(emits.unwrap().last());
                        assert_eq!(
                            panes.next(&moment, *first, Some(*open)),
                            expected,
                            "{first} {open} {last} {panes:?}"
                        );
                    }
                }
            }
        }
    }
}
