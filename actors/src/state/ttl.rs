//! How long a value is kept.

use std::time::Duration;

use crate::time::{TimerKind, Timestamp};

/// How long the values of a piece of state are kept after they were written:
///
/// ```
/// use std::time::Duration;
///
/// use piton_actors::prelude::*;
///
/// const HOUR: Duration = Duration::from_secs(3600);
/// const LAST: ValueState<u64> = ValueState::new("last").ttl(Ttl::event_time(HOUR));
/// const SEEN: MapState<String, u64> = MapState::new("seen").ttl(Ttl::processing_time(HOUR).renewed_by_reads());
/// ```
///
/// A value has a deadline: when it was written, plus the duration. From then on it is not there any more, for whoever reads
/// it, whether it was cleaned up by then or not. In a map each entry has its own deadline, in a list each item. A handle
/// that has a time to live must be among what [`Operator::states`](crate::Operator::states) returns.
///
/// *Time* is the operator's watermark, or the engine's clock as [`Context::now`](crate::Context::now) shows it; while
/// event-time timers fire, it is the time of the timer. Neither is read from anywhere else, so that a replay sees the
/// same. As long as there is no watermark, no deadline of event time passes, and once the input has ended none does any more.
/// What was written while there was no time begins to age when the clean-up first comes to it.
///
/// *The clean-up* takes what has expired out of memory: a bounded number of keys with each batch, watermark or round of
/// timers, a little more than a 64th of the duration after their deadlines at the earliest; what is left of these with
/// the next checkpoint; and all that has expired where a checkpoint writes everything anew. Until then, a key of which
/// all has expired may still be among [`Context::keys`](crate::Context::keys).
///
/// Deadlines are kept with the state, so they survive restarts and go where their keys go; another duration counts for
/// what is written from then on. Where a handle gets a time to live, or another clock, the values that a checkpoint
/// holds begin to age when the clean-up first comes to them, at the latest with the first checkpoint; the same holds for
/// the entries of a map that is [migrated](super::Migration). A handle that has none any more keeps what has not been
/// cleaned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    ms: i64,
    pub(super) clock: TimerKind,
    pub(super) is_renewed_by_reads: bool,
}

/// Time is not known, or a deadline because of that.
pub(super) const UNKNOWN: Timestamp = Timestamp::MIN;

impl Ttl {
    /// Counts event time: the operator's watermark.
    ///
    /// # Panics
    /// If the duration is less than a millisecond.
    pub const fn event_time(duration: Duration) -> Ttl {
        Ttl::new(duration, TimerKind::Event)
    }

    /// Counts the engine's time.
    ///
    /// # Panics
    /// As [`event_time`](Ttl::event_time).
    pub const fn processing_time(duration: Duration) -> Ttl {
        Ttl::new(duration, TimerKind::Processing)
    }

    const fn new(duration: Duration, clock: TimerKind) -> Ttl {
        let ms = duration.as_millis();
        assert!(ms > 0, "a time to live is a millisecond or more");
        let ms = if ms > i64::MAX as u128 { i64::MAX } else { ms as i64 };
        Ttl { ms, clock, is_renewed_by_reads: false }
    }

    /// Gives what is read a new deadline, too: values, entries and items that are returned, those of an iteration
    /// included, or of which is said that they are there. Without this, only writing does.
    #[must_use]
    pub const fn renewed_by_reads(self) -> Ttl {
        Ttl { is_renewed_by_reads: true, ..self }
    }

    /// Returns when what is written now expires; unknown if the time is.
    pub(super) fn deadline(self, now: Timestamp) -> Timestamp {
        if now == UNKNOWN { UNKNOWN } else { now.saturating_add(self.ms) }
    }

    /// Returns how many milliseconds are cleaned up together: so the deadline of a key that is written all the time has
    /// to be looked up in the order of deadlines only now and then.
    pub(super) fn grid(self) -> i64 {
        (self.ms / 64).max(1)
    }
}

/// Returns whether a deadline has passed.
#[inline]
pub(super) fn is_past(deadline: Timestamp, now: Timestamp) -> bool {
    deadline != UNKNOWN && deadline <= now
}
