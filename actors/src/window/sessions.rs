//! What becomes of a record in session windows, and of sessions when time goes on: pure decisions.
//!
//! A session's timer is set when it begins, and not moved when it grows: when it is due, it is set anew for the end
//! that the session has by then. So a record costs no timer.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::descriptor::TimeWindow;
use crate::time::Timestamp;

/// Session windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sessions {
    /// How long nothing has to happen for a session to end, in ms.
    pub(crate) gap: i64,
    /// How long sessions take records after their end, in ms.
    pub(crate) lateness: i64,
}

/// A session of one key: its window, and the sum of its records. Written without names, as there are many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Live<S>(Timestamp, Timestamp, pub(crate) S);

impl<S> Live<S> {
    pub(crate) fn new(window: TimeWindow, sum: S) -> Live<S> {
        Live(window.start, window.end, sum)
    }

    #[inline]
    pub(crate) fn window(&self) -> TimeWindow {
        TimeWindow { start: self.0, end: self.1 }
    }

    #[inline]
    pub(crate) fn set_window(&mut self, window: TimeWindow) {
        (self.0, self.1) = (window.start, window.end);
    }
}

/// Where a record belongs among the sessions of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The sessions that it belongs to, which it makes one; where its own stands if it belongs to none.
    pub(crate) merged: Range<usize>,
    /// The window of the session that it is then in.
    pub(crate) window: TimeWindow,
    /// Whether one of the sessions has a timer that comes no later than the session's end: one that is not over.
    pub(crate) has_timer: bool,
}

impl Sessions {
    /// Returns the session that a record alone makes.
    #[inline]
    pub(crate) fn alone(&self, time: Timestamp) -> TimeWindow {
        TimeWindow { start: time, end: time + self.gap }
    }

    /// Returns where a record belongs among sessions, which are in order and do not overlap.
    pub(crate) fn place(
        &self,
        time: Timestamp,
        passed: Timestamp,
        sessions: impl Iterator<Item = TimeWindow>,
    ) -> Place {
        let mut window = self.alone(time);
        let (alone, mut merged, mut has_timer) = (window, 0..0, false);
        for (index, session) in sessions.enumerate() {
            if session.end <= alone.start {
                merged = index + 1..index + 1;
            } else if session.start < alone.end {
                merged.end = index + 1;
                window = TimeWindow { start: window.start.min(session.start), end: window.end.max(session.end) };
                has_timer |= session.last() > passed;
            }
        }
        Place { merged, window, has_timer }
    }

    /// Returns whether nothing comes to a session any more, when nothing is expected up to `last`.
    #[inline]
    pub(crate) fn is_over(&self, session: TimeWindow, last: Timestamp) -> bool {
        session.last() + self.lateness <= last
    }

    /// Returns when something happens next to a session that is not over, after `last`.
    pub(crate) fn next(&self, session: TimeWindow, last: Timestamp) -> Timestamp {
        if session.last() > last { session.last() } else { session.last() + self.lateness }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> TimeWindow {
        TimeWindow { start, end }
    }

    #[test]
    fn a_record_joins_what_it_is_near_to() {
        let sessions = Sessions { gap: 10, lateness: 0 };
        let known = [window(0, 10), window(25, 40), window(40, 55)];
        let place = |time| {
            let place = sessions.place(time, 24, known.into_iter());
            (place.merged, place.window, place.has_timer)
        };
        assert_eq!(place(-20), (0..0, window(-20, -10), false));
        assert_eq!(place(-10), (0..0, window(-10, 0), false), "exactly a gap apart: another session");
        assert_eq!(place(-9), (0..1, window(-9, 10), false));
        assert_eq!(place(10), (1..1, window(10, 20), false));
        assert_eq!(place(16), (1..2, window(16, 40), true));
        assert_eq!(place(31), (1..3, window(25, 55), true));
        assert_eq!(place(54), (2..3, window(40, 64), true));
        assert_eq!(place(55), (3..3, window(55, 65), false));
    }

    #[test]
    fn a_session_emits_at_its_end_and_goes_when_its_lateness_is_over() {
        let sessions = Sessions { gap: 10, lateness: 5 };
        assert_eq!(sessions.next(window(0, 10), 3), 9);
        assert_eq!(sessions.next(window(0, 10), 9), 14);
        assert!(sessions.is_over(window(0, 10), 14) && !sessions.is_over(window(0, 10), 13));
    }

    #[test]
    fn a_session_is_written_without_names() {
        let bytes = rmp_serde::to_vec_named(&Live::new(window(1, 2), 3u64)).unwrap();
        assert_eq!(bytes, [0x93, 1, 2, 3]);
    }
}
