//! Where tumbling and sliding windows lie, and the slices that they are made of.
//!
//! Windows of one size that begin every so often are made of slices (panes) of the greatest common divisor of the two:
//! every window is a whole number of slices, and a record belongs to one slice, however many windows overlap there. So
//! a record costs the same whatever the overlap. A tumbling window is one slice.

use std::time::Duration;

use super::descriptor::{Sliding, TimeWindow, TimeWindows, Tumbling};
use crate::time::Timestamp;
use crate::{Error, Result};

/// A window may have so many slices.
const MOST_SLICES: i64 = 10_000;

/// Times beyond this cannot be in a window whose end can still be written down.
const FARTHEST: Timestamp = Timestamp::MAX / 4;

/// Where windows begin and end, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    size: i64,
    every: i64,
    offset: i64,
    slice: i64,
}

impl Grid {
    /// Makes the grid of tumbling or sliding windows; nothing for other kinds.
    ///
    /// # Errors
    /// If there are no such windows: what is wrong, and what to do.
    pub(crate) fn of(windows: &TimeWindows) -> Option<Result<Grid, String>> {
        match windows {
            TimeWindows::Tumbling(Tumbling { size, offset }) if offset >= size && !size.is_zero() => {
                Some(Err(format!(
                    "an offset of {offset:?} is not shorter than the window of {size:?}; each begins one window after another: \
                 write {:?}",
                    Duration::from_nanos((offset.as_nanos() % size.as_nanos()) as u64)
                )))
            }
            TimeWindows::Tumbling(windows) => Some(Grid::new(windows.size, windows.size, windows.offset)),
            TimeWindows::Sliding(Sliding { size, every, offset }) => Some(Grid::new(*size, *every, *offset)),
            TimeWindows::Session(_) | TimeWindows::Global(_) => None,
        }
    }

    fn new(size: Duration, every: Duration, offset: Duration) -> Result<Grid, String> {
        if size.is_zero() || every.is_zero() {
            return Err("a time window of 0 ms holds nothing; give it a length".to_string());
        }
        if every > size {
            return Err(format!(
                "windows of {size:?} every {every:?} leave records between them out; make `every` at most as long as the window"
            ));
        }
        let (size, every, offset) = (ms(size)?, ms(every)?, ms(offset)?);
        let slice = greatest_common_divisor(size, every);
        if size / slice > MOST_SLICES {
            return Err(format!(
                "a window of {size} ms every {every} ms is made of {} slices of {slice} ms, which is more than {MOST_SLICES}; \
                 choose an `every` that divides it, or a longer one",
                size / slice
            ));
        }
        Ok(Grid { size, every, offset: offset % every, slice })
    }

    /// Returns whether windows overlap.
    pub(crate) fn overlaps(&self) -> bool {
        self.every < self.size
    }

    /// Returns how many slices a window has.
    pub(crate) fn slices(&self) -> i64 {
        self.size / self.slice
    }

    /// Returns how far the beginnings of two windows are apart.
    pub(crate) fn every(&self) -> i64 {
        self.every
    }

    /// Returns the slice of a moment.
    pub(crate) fn slice_of(&self, time: Timestamp) -> TimeWindow {
        let start = floor(time, self.slice, self.offset);
        TimeWindow { start, end: start + self.slice }
    }

    /// Returns the number of the slice that begins at a moment.
    pub(crate) fn number(&self, start: Timestamp) -> i64 {
        (start - self.offset).div_euclid(self.slice)
    }

    /// Returns where the slice of a number begins.
    pub(crate) fn start_of(&self, number: i64) -> Timestamp {
        number * self.slice + self.offset
    }

    /// Returns the first window that ends after a moment: the first that holds it.
    pub(crate) fn first_over(&self, time: Timestamp) -> TimeWindow {
        let start = floor(time - self.size, self.every, self.offset) + self.every;
        TimeWindow { start, end: start + self.size }
    }

    /// Returns the last window that holds a moment.
    pub(crate) fn last_with(&self, time: Timestamp) -> TimeWindow {
        let start = floor(time, self.every, self.offset);
        TimeWindow { start, end: start + self.size }
    }

    /// Returns the window that ends with a moment, if one does.
    pub(crate) fn ending_with(&self, last: Timestamp) -> Option<TimeWindow> {
        let start = (last + 1) - self.size;
        ((start - self.offset).rem_euclid(self.every) == 0).then_some(TimeWindow { start, end: last + 1 })
    }
}

/// Returns a duration in ms.
pub(crate) fn ms(duration: Duration) -> Result<i64, String> {
    i64::try_from(duration.as_millis())
        .ok()
        .filter(|ms| *ms <= FARTHEST / 4 && Duration::from_millis(*ms as u64) == duration)
        .ok_or_else(|| format!("{duration:?} is not a whole number of milliseconds, or too many of them"))
}

/// Returns a time that windows can be computed of.
///
/// # Errors
/// If it is further away than anything that has happened.
#[inline]
pub(crate) fn in_range(time: Timestamp) -> Result<Timestamp> {
    if (-FARTHEST..FARTHEST).contains(&time) {
        return Ok(time);
    }
    Err(Error::poison(format!("the event time {time} ms is too far from 1970 to lie in a time window")))
}

/// Returns a watermark as a moment that windows can be computed of.
#[inline]
pub(crate) fn clamped(watermark: Timestamp) -> Timestamp {
    watermark.clamp(-2 * FARTHEST, 2 * FARTHEST)
}

#[inline]
fn floor(time: Timestamp, step: i64, offset: i64) -> Timestamp {
    time - (time - offset).rem_euclid(step)
}

fn greatest_common_divisor(left: i64, right: i64) -> i64 {
    if right == 0 { left } else { greatest_common_divisor(right, left % right) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sliding(size: u64, every: u64, offset: u64) -> Grid {
        let [size, every, offset] = [size, every, offset].map(Duration::from_millis);
        Grid::new(size, every, offset).unwrap()
    }

    #[test]
    fn an_offset_is_shorter_than_its_window() {
        let grid = |size, offset| {
            let [size, offset] = [size, offset].map(Duration::from_secs);
            Grid::of(&Tumbling { size, offset }.into()).unwrap()
        };
        assert!(grid(60, 59).is_ok());
        assert!(grid(60, 75).unwrap_err().contains("write 15s"));
        assert!(grid(60, 60).is_err());
    }

    #[test]
    fn a_record_at_the_end_belongs_to_the_next_window() {
        let grid = Grid::of(&Tumbling::of(Duration::from_millis(10)).into()).unwrap().unwrap();
        for (time, start) in [(0, 0), (9, 0), (10, 10), (-1, -10), (-10, -10)] {
            assert_eq!(grid.slice_of(time), TimeWindow { start, end: start + 10 }, "{time}");
            assert_eq!(grid.first_over(time), grid.last_with(time));
        }
        assert_eq!(grid.ending_with(9), Some(TimeWindow { start: 0, end: 10 }));
        assert_eq!(grid.ending_with(10), None);
    }

    #[test]
    fn windows_are_whole_numbers_of_slices_wherever_they_lie() {
        for (size, every, offset) in [(10, 2, 0), (10, 4, 0), (10, 4, 3), (9, 6, 5), (7, 7, 2), (5, 1, 0)] {
            let grid = sliding(size, every, offset);
            for time in -30..30 {
                let with: Vec<i64> = (-60..60)
                    .filter(|start| (start - offset as i64).rem_euclid(every as i64) == 0)
                    .filter(|start| *start <= time && time < start + size as i64)
                    .collect();
                let (first, last) = (grid.first_over(time), grid.last_with(time));
                assert_eq!(
                    (first.start, last.start),
                    (with[0], with[with.len() - 1]),
                    "{size} {every} {offset} {time}"
                );
                let slice = grid.slice_of(time);
                assert!(slice.start <= time && time < slice.end);
                assert_eq!(grid.start_of(grid.number(slice.start)), slice.start);
                for start in with {
                    let window = TimeWindow { start, end: start + size as i64 };
                    assert!(window.start <= slice.start && slice.end <= window.end, "a slice is never cut");
                    assert_eq!(grid.ending_with(window.last()), Some(window));
                }
            }
        }
    }

    #[test]
    fn windows_that_make_no_sense_are_refused() {
        let new = |size, every| Grid::new(Duration::from_millis(size), Duration::from_millis(every), Duration::ZERO);
        assert!(new(0, 1).unwrap_err().contains("0 ms"));
        assert!(new(10, 11).unwrap_err().contains("leave records between them out"));
        assert!(new(1_000_003, 1_000).unwrap_err().contains("1000003 slices of 1 ms"));
        assert!(new(10_000, 1).is_ok());
    }

    #[test]
    fn no_time_overflows() {
        let grid = sliding(100_000, 1_000, 7);
        for time in [-FARTHEST, FARTHEST - 1] {
            grid.first_over(time);
            grid.last_with(in_range(time).unwrap());
        }
        grid.first_over(clamped(Timestamp::MAX) + 1);
        grid.first_over(clamped(Timestamp::MIN) + 1);
        assert!(in_range(Timestamp::MAX).is_err() && in_range(Timestamp::MIN).is_err());
    }
}
