//! When a snapshot got how far: for reports only, nothing is decided by it.

use std::collections::BTreeMap;

use piton_actors::{Timestamp, WindowId};

/// When the snapshot of a subtask got how far, in ms since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The first of its inputs brought word of the checkpoint; a source: it was told to close the window.
    pub heard: Timestamp,
    /// It waited for nothing any more: all of its inputs had brought the end of the window.
    pub aligned: Timestamp,
    /// The snapshot was taken; what is left is to make it durable.
    pub taken: Timestamp,
    /// How many bytes the operators gave for it: all of their state, or what had changed.
    pub fresh: u64,
}

/// The snapshots that are not acknowledged yet.
#[derive(Debug, Default)]
pub(super) struct Timings {
    now: Timestamp,
    of: BTreeMap<WindowId, Timing>,
}

impl Timings {
    /// What is noted from here on happens at this time.
    pub(super) fn at(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// There is word of a checkpoint.
    pub(super) fn heard(&mut self, window: WindowId) {
        self.of_window(window);
    }

    /// All inputs have brought the end of its window.
    pub(super) fn aligned(&mut self, window: WindowId) {
        let now = self.now;
        let timing = self.of_window(window);
        (timing.aligned, timing.taken) = (now, now);
    }

    /// The snapshot was taken, of so many bytes.
    pub(super) fn taken(&mut self, window: WindowId, fresh: u64) {
        let now = self.now;
        let timing = self.of_window(window);
        (timing.taken, timing.fresh) = (now, fresh);
    }

    /// It is durable: returns when it got how far, and forgets it and those before it.
    pub(super) fn kept(&mut self, window: WindowId) -> Timing {
        let timing = *self.of_window(window);
        self.of = self.of.split_off(&window.next());
        timing
    }

    fn of_window(&mut self, window: WindowId) -> &mut Timing {
        let now = self.now;
        self.of.entry(window).or_insert(Timing { heard: now, aligned: now, taken: now, fresh: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_heard_of_aligned_taken_and_kept() {
        let mut timings = Timings::default();
        let (first, second, third) = (WindowId(3), WindowId(4), WindowId(5));
        for (now, window) in [(10, first), (11, second)] {
            timings.at(now);
            timings.heard(window);
        }
        timings.at(15);
        timings.heard(second);
        timings.aligned(second);
        timings.at(18);
        timings.taken(second, 700);
        timings.heard(third);
        timings.at(30);
        assert_eq!(timings.kept(second), Timing { heard: 11, aligned: 15, taken: 18, fresh: 700 });
        assert_eq!(timings.of.keys().collect::<Vec<_>>(), [&third], "the one before was given up");
    }

    #[test]
    fn one_that_nobody_has_heard_of_takes_no_time() {
        let mut timings = Timings::default();
        timings.at(7);
        assert_eq!(timings.kept(WindowId(1)), Timing { heard: 7, aligned: 7, taken: 7, fresh: 0 });
        assert!(timings.of.is_empty());
    }
}
