//! What becomes of a record in session windows, and of sessions when time goes on: pure decisions.
//!
//! A session's timer is set when it begins, and not moved when it grows: when it is due, it is set anew for the end
//! that the session has by then. So a record costs no timer.

use std::ops::Range;

use serde::ser::SerializeTupleStruct;
use serde::{Deserialize, Serialize, Serializer};

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
///
/// Nearly every key of a large state has one, so each byte counts: how long it is takes four of eight, which leaves the
/// place that says whether there is a session at all, and how many.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Written<S>")]
pub(crate) enum Live<S> {
    /// One that is shorter than seven weeks.
    Near { length: u32, start: Timestamp, sum: S },
    /// One that is longer.
    Wide(Box<(TimeWindow, S)>),
}

#[derive(Deserialize)]
struct Written<S>(Timestamp, Timestamp, S);

impl<S> From<Written<S>> for Live<S> {
    fn from(Written(start, end, sum): Written<S>) -> Live<S> {
        Live::new(TimeWindow { start, end }, sum)
    }
}

impl<S: Serialize> Serialize for Live<S> {
    fn serialize<R: Serializer>(&self, serializer: R) -> Result<R::Ok, R::Error> {
        let window = self.window();
        let mut written = serializer.serialize_tuple_struct("Live", 3)?;
        written.serialize_field(&window.start)?;
        written.serialize_field(&window.end)?;
        written.serialize_field(self.sum())?;
        written.end()
    }
}

/// Returns the length of a window, if it is not too long. It wraps around, so that no window is left out.
#[inline]
fn length_of(window: TimeWindow) -> Option<u32> {
    u32::try_from(window.end.wrapping_sub(window.start)).ok()
}

impl<S> Live<S> {
    #[inline]
    pub(crate) fn new(window: TimeWindow, sum: S) -> Live<S> {
        match length_of(window) {
            Some(length) => Live::Near { length, start: window.start, sum },
            None => Live::Wide(Box::new((window, sum))),
        }
    }

    #[inline]
    pub(crate) fn window(&self) -> TimeWindow {
        match self {
            Live::Near { length, start, .. } => {
                TimeWindow { start: *start, end: start.wrapping_add(i64::from(*length)) }
            }
            Live::Wide(wide) => wide.0,
        }
    }

    #[inline]
    pub(crate) fn sum(&self) -> &S {
        match self {
            Live::Near { sum, .. } => sum,
            Live::Wide(wide) => &wide.1,
        }
    }

    #[inline]
    pub(crate) fn sum_mut(&mut self) -> &mut S {
        match self {
            Live::Near { sum, .. } => sum,
            Live::Wide(wide) => &mut wide.1,
        }
    }
}

impl<S: Default> Live<S> {
    #[inline]
    pub(crate) fn set_window(&mut self, window: TimeWindow) {
        if let (Live::Near { length, start, .. }, Some(new)) = (&mut *self, length_of(window)) {
            (*length, *start) = (new, window.start);
        } else {
            let sum = std::mem::take(self.sum_mut());
            *self = Live::new(window, sum);
        }
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
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

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

    #[test]
    fn a_session_of_any_length_is_what_it_was_made_of() {
        #[derive(Serialize)]
        struct Plain(Timestamp, Timestamp, Vec<u8>);

        let mut rng = Pcg64Mcg::seed_from_u64(1);
        let mut any = || {
            let start = match rng.random_range(0..4) {
                0 => [Timestamp::MIN, -1, 0, Timestamp::MAX][rng.random_range(0..4)],
                _ => rng.random::<i64>() >> rng.random_range(0..64),
            };
            let length = match rng.random_range(0..4) {
                0 => (1i64 << 48) - rng.random_range(-1..=1),
                1 => (1i64 << 32) - rng.random_range(-1..=1),
                _ => rng.random::<i64>() >> rng.random_range(0..64),
            };
            window(start, start.wrapping_add(length))
        };
        let mut live = Live::new(any(), vec![1u8]);
        for round in 0..10_000 {
            let window = any();
            live.set_window(window);
            live.sum_mut().push(round as u8);
            assert_eq!((live.window(), live.sum().len()), (window, 2), "{window:?}");
            assert_eq!(matches!(live, Live::Wide(_)), window.end.wrapping_sub(window.start) as u64 >> 32 != 0);
            let bytes = rmp_serde::to_vec_named(&live).unwrap();
            let plain = Plain(window.start, window.end, live.sum().clone());
            assert_eq!(bytes, rmp_serde::to_vec_named(&plain).unwrap(), "what is written stays the same");
            assert_eq!(rmp_serde::from_slice::<Live<Vec<u8>>>(&bytes).unwrap(), live);
            live.sum_mut().pop();
        }
    }
}
